//! Which kernels run: what the processor has, asked once.
//!
//! Every level sums in an order of its own (its kernel file says which), so logits of two levels differ in their last bits.

use std::sync::OnceLock;

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
            // Those of AVX-512 run some kernels of AVX2, too.
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

    /// The fastest one, or what `NEMO_FAST_CPU` allows: `scalar` the plain kernels, `avx2` none of AVX-512, `avx512` none
    /// that needs BF16; `avx512bf16` is all.
    pub fn in_use() -> KernelLevel {
        static LEVEL: OnceLock<KernelLevel> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            let most = match std::env::var("NEMO_FAST_CPU").as_deref() {
                Ok("scalar") => KernelLevel::Portable,
                Ok("avx2") => KernelLevel::Avx2,
                Ok("avx512") => KernelLevel::Avx512,
                _ => KernelLevel::Avx512Bf16,
            };
            let allowed = KernelLevel::available().into_iter().find(|level| *level <= most);
            allowed.unwrap_or(KernelLevel::Portable)
        })
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
