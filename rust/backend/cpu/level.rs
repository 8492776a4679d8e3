//! Which kernels run: what the processor has, asked once.
//!
//! Every level sums in an order of its own (its kernel file says which), so logits of two levels differ in their last bits.

use std::sync::OnceLock;

/// A set of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelLevel {
    /// Plain Rust, the twin of all others.
    Portable,
    /// AVX-512 with VBMI for the decoding of weights, and BF16 for products of pairs.
    Avx512Bf16,
}

impl KernelLevel {
    /// What this processor can run, the fastest first.
    pub fn available() -> Vec<KernelLevel> {
        let mut levels = vec![KernelLevel::Portable];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512vbmi")
            && std::is_x86_feature_detected!("avx512bf16")
        {
            levels.push(KernelLevel::Avx512Bf16);
        }
        levels.reverse();
        levels
    }

    /// The fastest one, or what `NEMO_FAST_CPU` allows: `scalar` none but the plain kernels, `avx2` none of AVX-512.
    pub fn in_use() -> KernelLevel {
        static LEVEL: OnceLock<KernelLevel> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            let most = match std::env::var("NEMO_FAST_CPU").as_deref() {
                Ok("scalar" | "avx2") => KernelLevel::Portable,
                _ => KernelLevel::Avx512Bf16,
            };
            let allowed = KernelLevel::available().into_iter().find(|level| *level <= most);
            allowed.unwrap_or(KernelLevel::Portable)
        })
    }

    /// Runs `work`, compiled for the level as far as it is inlined.
    #[inline(always)]
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn avx512<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
            // SAFETY: a backend has only levels that `KernelLevel::available` lists.
            KernelLevel::Avx512Bf16 => unsafe { avx512(work) },
            _ => work(),
        }
    }

    /// The name that `build_info` reports.
    pub fn name(self) -> &'static str {
        match self {
            KernelLevel::Portable => "portable",
            KernelLevel::Avx512Bf16 => "avx512bf16",
        }
    }
}
