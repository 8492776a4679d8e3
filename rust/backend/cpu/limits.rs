//! What the machine can do at most: bytes read from memory, and products of pairs of bf16. Speeds are shares of these.

#![allow(unsafe_code, reason = "calls of functions for one kind of processor, and their loads")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::ThreadPool;
use super::level::KernelLevel;

/// Bytes that are read: many times what the caches hold.
const BYTES: usize = 1 << 30;
/// Streams of a thread: a single one does not keep its prefetchers busy.
const STREAMS: usize = 4;
const ROUNDS: usize = 5;

/// The most that was measured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes read from memory in a second, by all threads.
    pub read_bytes_per_second: f64,
    /// Additions and multiplications of bf16 products in a second, by all threads; `None` without an instruction for them.
    pub dot_operations_per_second: Option<f64>,
}

/// Measures a device of so many threads; takes about a second and a gigabyte of memory.
pub(super) fn measure(pool: &ThreadPool, level: KernelLevel) -> Limits {
    let memory = vec![1_u8; BYTES];
    let part = BYTES / pool.threads();
    let read = best(|| {
        pool.run(pool.threads(), &|thread| {
            let part = &memory[thread * part..(thread + 1) * part];
            black_box(sum(level, part));
        });
    });
    let dots = (level == KernelLevel::Avx512Bf16).then(|| {
        const STEPS: usize = 2_000_000;
        let time = best(|| {
            pool.run(pool.threads(), &|_thread| dot_chains(STEPS));
        });
        (STEPS * CHAINS * 64 * pool.threads()) as f64 / time.as_secs_f64()
    });
    Limits {
        read_bytes_per_second: (part * pool.threads()) as f64 / read.as_secs_f64(),
        dot_operations_per_second: dots,
    }
}

fn best(mut work: impl FnMut()) -> Duration {
    let time = |()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..ROUNDS).map(|_| ()).map(time).min().unwrap_or_default()
}

/// Reads all bytes.
fn sum(level: KernelLevel, bytes: &[u8]) -> u64 {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a pool's level is one that the processor has.
        KernelLevel::Avx512Bf16 => unsafe { sum_avx512(bytes) },
        _ => {
            let words = bytemuck::pod_align_to::<u8, u64>(bytes).1;
            let parts: Vec<&[u64]> = words.chunks_exact(words.len() / STREAMS).collect();
            let mut sums = [0_u64; STREAMS];
            for at in (0..parts[0].len() - 7).step_by(8) {
                for (sum, part) in sums.iter_mut().zip(&parts) {
                    *sum = part[at..at + 8].iter().fold(*sum, |sum, word| sum ^ word);
                }
            }
            sums.iter().fold(0, |sum, part| sum ^ part)
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_avx512(bytes: &[u8]) -> u64 {
    use std::arch::x86_64::{
        _MM_HINT_T0, _mm_prefetch, _mm512_loadu_si512, _mm512_or_si512, _mm512_reduce_or_epi64,
        _mm512_setzero_si512,
    };
    /// Bytes ahead of the reading, as the kernels do it.
    const AHEAD: usize = 2_048;
    let part = bytes.len() / STREAMS / 256 * 256;
    let mut sums = [_mm512_setzero_si512(); STREAMS];
    for at in (0..part).step_by(256) {
        for (stream, sum) in sums.iter_mut().enumerate() {
            for line in 0..4 {
                // SAFETY: `STREAMS` parts of `part` bytes are in the slice, and `part` is a multiple of 256; a prefetch beyond
                // it reads nothing.
                let values = unsafe {
                    let line = bytes.as_ptr().add(stream * part + at + line * 64);
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                    _mm512_loadu_si512(line.cast())
                };
                *sum = _mm512_or_si512(*sum, values);
            }
        }
    }
    sums.iter().fold(0, |all, sum| all | _mm512_reduce_or_epi64(*sum)).cast_unsigned()
}

/// Independent chains: enough to hide the latency of a step.
const CHAINS: usize = 16;

#[cfg(target_arch = "x86_64")]
fn dot_chains(steps: usize) {
    use std::arch::x86_64::{__m512bh, _mm512_dpbf16_ps, _mm512_setzero_ps};
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn chains(steps: usize) {
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        // SAFETY: any bits are bf16 values.
        let x: __m512bh = black_box(unsafe { std::mem::zeroed() });
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        black_box(sums);
    }
    // SAFETY: only called at the level that has them.
    unsafe { chains(steps) }
}

#[cfg(not(target_arch = "x86_64"))]
fn dot_chains(_steps: usize) {}
