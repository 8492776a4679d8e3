//! Speed of the products with E4M3 weights, as shares of what this machine can read and multiply.
//!
//! `cargo bench --bench matmul [-- [int8] [THREADS [ROWS COLUMNS]]]` prints for each number of tokens: bytes of weights read in a
//! second and their share of the read speed of memory, operations in a second and their share of the peak of bf16 products. The
//! weights (Nemo's down projection, or what is asked for, several times) do not fit the caches. Best of several rounds. With
//! `int8` the products are those in integers, and the peak is still that of bf16.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::num::NonZero;
use std::time::{Duration, Instant};

use nemo_fast::backend::cpu::CpuBackend;
use nemo_fast::backend::{Backend, Epilogue};
use nemo_fast::fp8::Fp8Rows;

/// Bytes of all matrices.
const BYTES: usize = 560 << 20;
const ROUNDS: usize = 7;

fn main() {
    // Cargo adds `--bench`.
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let (rows, columns) =
        if let [_, rows, columns] = numbers[..] { (rows, columns) } else { (5_120, 14_336) };
    let in_integers = std::env::args().any(|argument| argument == "int8");
    let backend = CpuBackend::new(NonZero::new(threads)).expect("threads");
    let matrices: Vec<_> =
        (0..BYTES / rows / columns).map(|seed| matrix(&backend, rows, columns, seed)).collect();
    println!("{} threads, kernels {}", backend.threads(), backend.level().name());
    for tokens in [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 32, 64, 128, 256, 512] {
        let limits = backend.limits().expect("memory");
        let x = backend.buffer(tokens, columns).expect("memory");
        let mut out = backend.buffer(tokens, rows).expect("memory");
        let time = best(|| {
            for matrix in &matrices {
                if in_integers {
                    backend.int8_matmul(matrix, &x, 0..tokens, Epilogue::Store, &mut out);
                } else {
                    backend.matmul(matrix, &x, tokens, Epilogue::Store, &mut out);
                }
            }
        });
        let weights = (rows * columns * matrices.len()) as f64;
        let read = weights / time.as_secs_f64();
        let operations = 2.0 * read * tokens as f64;
        println!(
            "{tokens:4} tokens: {:6.1} GB/s {:5.1} % of {:.1}   {:7.1} GFLOP/s {:5.1} %",
            read / 1e9,
            100.0 * read / limits.read_bytes_per_second,
            limits.read_bytes_per_second / 1e9,
            operations / 1e9,
            limits.dot_operations_per_second.map_or(f64::NAN, |peak| 100.0 * operations / peak),
        );
    }
}

fn matrix(
    backend: &CpuBackend,
    rows: usize,
    columns: usize,
    seed: usize,
) -> <CpuBackend as Backend>::Fp8Matrix {
    let codes = (0..rows * columns).map(|index| ((index * 31 + seed) % 0x78) as u8).collect();
    backend.fp8_matrix(Fp8Rows { codes, scales: vec![1.0; rows], columns }).expect("memory")
}

fn best(mut work: impl FnMut()) -> Duration {
    work();
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}
