//! Which kernels run: what the processor has, asked once.
//!
//! Every level sums in an order of its own (its kernel file says which), so logits of two levels differ in their last bits.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// A set of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelLevel {
    /// Plain Rust, the twin of all others.
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 (F, BW) without more.
    Avx512,
    /// AVX-512 with VBMI for the decoding of weights, and BF16 for products of pairs.
    Avx512Bf16,
}

impl KernelLevel {
    /// What this processor can run, the fastest first.
    pub fn available() -> Vec<KernelLevel> {
        let mut levels = vec![KernelLevel::Portable];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c")
        {
            levels.push(KernelLevel::Avx2);
            // Each level has kernels of those below.
            if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw") {
                levels.push(KernelLevel::Avx512);
                if std::is_x86_feature_detected!("avx512vbmi") && std::is_x86_feature_detected!("avx512bf16")
                {
                    levels.push(KernelLevel::Avx512Bf16);
                }
            }
        }
        levels.reverse();
        levels
    }

    /// The fastest one that `NEMO_FAST_CPU` allows, read once: `portable` or `scalar` the plain kernels, `avx2` none of
    /// AVX-512, `avx512` none that needs BF16; `avx512bf16` is all, and so is nothing. Another value is an error.
    pub fn in_use() -> Result<KernelLevel> {
        static LEVEL: OnceLock<Result<KernelLevel, String>> = OnceLock::new();
        let level = LEVEL.get_or_init(|| {
            let wish = std::env::var_os("NEMO_FAST_CPU").unwrap_or_default();
            KernelLevel::allowed(&wish.to_string_lossy())
        });
        level.clone().map_err(Error::Argument)
    }

    fn allowed(wish: &str) -> Result<KernelLevel, String> {
        let most = match wish {
            "portable" | "scalar" => KernelLevel::Portable,
            "avx2" => KernelLevel::Avx2,
            "avx512" => KernelLevel::Avx512,
            "" | "avx512bf16" => KernelLevel::Avx512Bf16,
            _ => {
                return Err(format!(
                    "NEMO_FAST_CPU must be portable, scalar, avx2, avx512 or avx512bf16, found {wish:?}"
                ));
            }
        };
        let allowed = KernelLevel::available().into_iter().find(|level| *level <= most);
        Ok(allowed.unwrap_or(KernelLevel::Portable))
    }

    /// Runs `work`, compiled for the level as far as it is inlined. What it computes has the same bits at every level.
    #[inline(always)]
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn avx512<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
            // SAFETY: a backend has only levels that `KernelLevel::available` lists.
            KernelLevel::Avx512 | KernelLevel::Avx512Bf16 => unsafe { avx512(work) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
            // SAFETY: as above.
            KernelLevel::Avx2 => unsafe { avx2(work) },
            _ => work(),
        }
    }

    /// The name that `build_info` reports.
    pub fn name(self) -> &'static str {
        match self {
            KernelLevel::Portable => "portable",
            KernelLevel::Avx2 => "avx2",
            KernelLevel::Avx512 => "avx512",
            KernelLevel::Avx512Bf16 => "avx512bf16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KernelLevel;

    #[test]
    fn a_wish_allows_no_more_than_it_names_and_another_word_is_an_error() {
        let best = KernelLevel::available()[0];
        for (wish, most) in [
            ("portable", KernelLevel::Portable),
            ("scalar", KernelLevel::Portable),
            ("avx2", KernelLevel::Avx2),
            ("avx512", KernelLevel::Avx512),
            ("avx512bf16", best),
            ("", best),
        ] {
            assert_eq!(KernelLevel::allowed(wish).unwrap(), most.min(best), "{wish}");
        }
        for wish in ["avx9", "AVX2", " ", "\u{fffd}"] {
            assert!(KernelLevel::allowed(wish).unwrap_err().ends_with(&format!("found {wish:?}")));
        }
    }
}
