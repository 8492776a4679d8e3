//! Products with E4M3 weights, to the bit: each level's order of accumulation, written out, and the same bits whatever
//! else is in the pass and however many threads work.

use std::num::NonZero;

use nemo_fast::backend::cpu::{CpuBackend, KernelLevel};
use nemo_fast::backend::{Backend, Epilogue};
use nemo_fast::fp8::{Fp8Rows, e4m3};
use proptest::prelude::*;

use crate::backend::{filled, row_buffers};
use crate::numbers::{Numbers, bf16};

/// A matrix of any codes but those that are no numbers, and activations that bf16 can hold.
fn operands(seed: u64, rows: usize, columns: usize, tokens: usize) -> (Fp8Rows, Vec<Vec<f32>>) {
    let mut numbers = Numbers::new(seed);
    let code = |value: &f32| (value.to_bits() >> 16) as u8;
    let drawn = numbers.matrix(1, rows * columns).concat();
    let codes = drawn.iter().map(code).map(|code| if e4m3::is_nan(code) { 0 } else { code }).collect();
    let scales = numbers.matrix(1, rows).remove(0);
    let mut x = numbers.matrix(tokens, columns);
    x.iter_mut().flatten().for_each(|x| *x = bf16(*x));
    (Fp8Rows { codes, scales, columns }, x)
}

fn products(backend: &CpuBackend, matrix: &Fp8Rows, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut rows = row_buffers(backend, x.len(), 1, 1);
    let x_buffer = filled(backend, x, &mut rows);
    let mut out = backend.buffer(x.len(), matrix.rows()).unwrap();
    let matrix_there = backend.fp8_matrix(matrix.clone()).unwrap();
    backend.matmul(&matrix_there, &x_buffer, x.len(), Epilogue::Store, &mut out);
    let read = |row| {
        let mut values = vec![0.0; matrix.rows()];
        backend.read(&out, row, &mut values);
        values
    };
    (0..x.len()).map(read).collect()
}

/// A sum in the order that the kernel file of a level gives.
fn in_order(level: KernelLevel, weights: &[f32], x: &[f32]) -> f32 {
    let pairs = || weights.chunks(2).zip(x.chunks(2));
    let at = |values: &[f32], index: usize| values.get(index).copied().unwrap_or(0.0);
    match level {
        KernelLevel::Portable => weights.iter().zip(x).fold(0.0, |sum, (weight, x)| sum + weight * x),
        KernelLevel::Avx2 | KernelLevel::Avx512 => {
            let chain =
                weights.iter().zip(x).fold(0.0, |sum: f32, (weight, x)| (weight / 256.0).mul_add(*x, sum));
            chain * 256.0
        }
        KernelLevel::Avx512Bf16 => pairs().fold(0.0, |sum: f32, (weights, x)| {
            let second = at(weights, 1).mul_add(at(x, 1), sum);
            at(weights, 0).mul_add(at(x, 0), second)
        }),
    }
}

#[test]
fn products_of_no_tokens_write_nothing() {
    for level in KernelLevel::available() {
        let backend = CpuBackend::at_level(level, NonZero::new(2)).unwrap();
        let (matrix, x) = operands(1, 70, 300, 1);
        let x = filled(&backend, &x, &mut row_buffers(&backend, 1, 1, 1));
        let matrix = backend.fp8_matrix(matrix).unwrap();
        let mut out = vec![3.0; 70];
        for epilogue in [Epilogue::Store, Epilogue::Add] {
            backend.matmul(&matrix, &x, 0, epilogue, &mut out);
            for rows in [0..0, 1..1] {
                backend.int8_matmul(&matrix, &x, rows, epilogue, &mut out);
            }
        }
        assert_eq!(out, [3.0; 70]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 10, ..ProptestConfig::default() })]

    #[test]
    fn each_level_has_the_order_that_it_documents(
        seed in any::<u64>(), rows in 1_usize..100, columns in 1_usize..2_500, tokens in 1_usize..50,
    ) {
        let (matrix, x) = operands(seed, rows, columns, tokens);
        for level in KernelLevel::available() {
            let backend = CpuBackend::at_level(level, NonZero::new(1)).unwrap();
            let found = products(&backend, &matrix, &x);
            for (x, found) in x.iter().zip(&found) {
                for (row, found) in found.iter().enumerate() {
                    let codes = &matrix.codes[row * columns..(row + 1) * columns];
                    let weights: Vec<f32> = codes.iter().map(|&code| e4m3::VALUES[code as usize]).collect();
                    let expected = matrix.scales[row] * in_order(level, &weights, x);
                    prop_assert_eq!(found.to_bits(), expected.to_bits(), "{:?}: {} {}", level, found, expected);
                }
            }
        }
    }

    #[test]
    fn a_token_has_the_same_bits_whatever_is_beside_it(
        seed in any::<u64>(), rows in 1_usize..100, columns in 1_usize..4_200, tokens in 1_usize..65,
    ) {
        let (matrix, x) = operands(seed, rows, columns, tokens);
        for level in KernelLevel::available() {
            let alone = CpuBackend::at_level(level, NonZero::new(1)).unwrap();
            let expected: Vec<Vec<f32>> =
                x.iter().flat_map(|x| products(&alone, &matrix, std::slice::from_ref(x))).collect();
            for threads in 1..=4 {
                let backend = CpuBackend::at_level(level, NonZero::new(threads)).unwrap();
                prop_assert_eq!(&products(&backend, &matrix, &x), &expected, "{:?}, {} threads", level, threads);
            }
        }
    }
}
