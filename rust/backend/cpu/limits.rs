//! What the machine can do at most: bytes read from memory, and products of pairs of bf16. Speeds are shares of these.

#![allow(unsafe_code, reason = "the call of a function for one kind of processor")]

use std::array;
use std::hint::black_box;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use super::ThreadPool;
use super::fetch::{AHEAD, fetch};
use super::level::KernelLevel;
use crate::backend::DeviceError;

/// Bytes that are read: many times what the caches hold.
const BYTES: usize = 1 << 30;
/// Streams of a thread: a single one does not keep its prefetchers busy.
const STREAMS: usize = 4;
/// Bytes of a stream before all of them move on: a panel of Nemo's width. Streams that are a power of two of bytes apart
/// meet in the same banks of memory and sets of the caches, and are read at half of the speed.
const STRETCH: usize = 16 * 5_120;
const ROUNDS: u32 = 12;

/// What was measured, over half a second each.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes read from memory in a second, by all threads.
    pub read_bytes_per_second: f64,
    /// Additions and multiplications of bf16 products in a second, by all threads; `None` without an instruction for them.
    pub dot_operations_per_second: Option<f64>,
}

/// Measures a device of so many threads; takes about a second and a gigabyte of memory.
pub(super) fn measure(pool: &ThreadPool, level: KernelLevel) -> Result<Limits, DeviceError> {
    let memory = memory().map_err(|source| DeviceError::MeasurementMemory { bytes: BYTES, source })?;
    let part = BYTES / pool.threads() / (STREAMS * STRETCH) * (STREAMS * STRETCH);
    let read = mean(|| {
        pool.run(pool.threads(), &|thread| {
            let part = &memory[thread * part..(thread + 1) * part];
            black_box(level.run(|| all_bits(part)));
        });
    });
    let dots = (level == KernelLevel::Avx512Bf16).then(|| {
        const STEPS: usize = 2_000_000;
        let time = mean(|| {
            pool.run(pool.threads(), &|_thread| dot_chains(STEPS));
        });
        (STEPS * CHAINS * 64 * pool.threads()) as f64 / time.as_secs_f64()
    });
    Ok(Limits {
        read_bytes_per_second: (part * pool.threads()) as f64 / read.as_secs_f64(),
        dot_operations_per_second: dots,
    })
}

/// The mean of some rounds: what lasts, as decoding does, and not what a lucky moment gives.
fn mean(mut work: impl FnMut()) -> Duration {
    work();
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| work());
    start.elapsed() / ROUNDS
}

/// Bytes that are there, on huge pages where the system has them: the most that can be read, whatever pages weights lie on.
fn memory() -> std::io::Result<MmapMut> {
    let mut memory = MmapMut::map_anon(BYTES)?;
    #[cfg(target_os = "linux")]
    // Without huge pages the measurement is a little lower.
    let _advice = memory.advise(memmap2::Advice::HugePage);
    memory.fill(1);
    Ok(memory)
}

/// Reads all bytes: whole [`STRETCH`]es of all [`STREAMS`].
#[inline(always)]
fn all_bits(bytes: &[u8]) -> u64 {
    const WORDS: usize = STRETCH / size_of::<u64>();
    const LINE: usize = 8;
    let mut sums = [[0; LINE]; STREAMS];
    for stretches in bytemuck::cast_slice(bytes).chunks_exact(STREAMS * WORDS) {
        let streams: [&[u64]; STREAMS] = array::from_fn(|stream| &stretches[stream * WORDS..][..WORDS]);
        for at in (0..WORDS).step_by(LINE) {
            for (sum, stream) in sums.iter_mut().zip(&streams) {
                fetch(stream[at..].as_ptr().wrapping_byte_add(AHEAD / STREAMS));
                sum.iter_mut().zip(&stream[at..at + LINE]).for_each(|(sum, word)| *sum |= word);
            }
        }
    }
    sums.iter().flatten().fold(0, |all, sum| all | sum)
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
