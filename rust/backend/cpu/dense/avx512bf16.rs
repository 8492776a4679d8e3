//! AVX-512 with BF16.
//!
//! **Order.** An output has two registers of lanes. A bf16 weight is multiplied by `vdpbf16ps` (the second of a pair is added
//! first; numbers below the normal floats count as zero), so that lane j of a register has the pairs j, and the registers take
//! turns, 32 weights each; an f16 or f32 weight by a fused addition, sixteen weights each. At the end the registers are added,
//! then the lanes by halves. That does not depend on the number of tokens.
//!
//! **Speed.** Four rows at a time are four streams of memory, which the processor sees coming. Up to three tokens share what is
//! loaded; more find the rows in the cache.

#![allow(unsafe_code, reason = "loads through pointers whose bounds are checked once a call")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm256_loadu_si256, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_castsi512_si256, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_loadu_si512, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_epi32, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_storeu_ps,
};

use super::Operands;
use crate::backend::cpu::ops::sum_by_halves;
use crate::checkpoint::Dtype;

/// Rows at a time.
const ROWS: usize = 4;
/// Tokens at a time.
const TOKENS: usize = 3;
/// Registers of an output.
const REGISTERS: usize = 2;

const BF16: u8 = 0;
const F16: u8 = 1;
const F32: u8 = 2;

/// See [`super::portable::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn multiply(
    operands: &Operands<'_>,
    rows: usize,
    tokens: usize,
    products: &mut impl FnMut(usize, usize, f32),
) {
    assert!(operands.weights.len() >= rows * operands.columns * operands.dtype.size());
    match operands.dtype {
        Dtype::Bf16 => all::<BF16>(operands, rows, tokens, products),
        Dtype::F16 => all::<F16>(operands, rows, tokens, products),
        Dtype::F32 => all::<F32>(operands, rows, tokens, products),
        Dtype::F8E4M3 => unreachable!("a head is dense: checked when the checkpoint was opened"),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn all<const KIND: u8>(
    operands: &Operands<'_>,
    rows: usize,
    tokens: usize,
    products: &mut impl FnMut(usize, usize, f32),
) {
    // Each of the rows that go side by side is followed by its neighbour: four streams of memory as long as can be.
    let apart = rows / ROWS;
    for row in 0..apart {
        let rows: [usize; ROWS] = std::array::from_fn(|r| r * apart + row);
        for token in (0..tokens).step_by(TOKENS) {
            match tokens - token {
                TOKENS.. => some::<KIND, ROWS, TOKENS>(operands, rows, token, products),
                2 => some::<KIND, ROWS, 2>(operands, rows, token, products),
                _ => some::<KIND, ROWS, 1>(operands, rows, token, products),
            }
        }
    }
    for row in ROWS * apart..rows {
        for token in (0..tokens).step_by(TOKENS) {
            match tokens - token {
                TOKENS.. => some::<KIND, 1, TOKENS>(operands, [row], token, products),
                2 => some::<KIND, 1, 2>(operands, [row], token, products),
                _ => some::<KIND, 1, 1>(operands, [row], token, products),
            }
        }
    }
}

/// The products of `R` rows and `T` tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[allow(clippy::needless_range_loop, reason = "several arrays go by the same index, and stay registers")]
fn some<const KIND: u8, const R: usize, const T: usize>(
    operands: &Operands<'_>,
    rows: [usize; R],
    token: usize,
    products: &mut impl FnMut(usize, usize, f32),
) {
    let columns = operands.columns;
    let size = operands.dtype.size();
    let row_bytes = columns * size;
    let weights: [*const u8; R] =
        std::array::from_fn(|r| operands.weights[rows[r] * row_bytes..][..row_bytes].as_ptr());
    let x: [*const u16; T] = std::array::from_fn(|t| operands.x(token + t).as_ptr());
    let mut sums = [[[_mm512_setzero_ps(); REGISTERS]; T]; R];
    let step = REGISTERS * if KIND == BF16 { 32 } else { 16 };
    let whole = columns / step * step;
    for first in (0..whole).step_by(step) {
        // SAFETY: all rows have that many columns from `first` on.
        unsafe { add_step::<KIND, R, T>(&mut sums, weights, x, first, usize::MAX) };
    }
    if whole < columns {
        // SAFETY: rows have what is left; activations are filled up to a whole step.
        unsafe { add_step::<KIND, R, T>(&mut sums, weights, x, whole, columns - whole) };
    }
    for (r, sums) in sums.iter().enumerate() {
        for (t, &[first, second]) in sums.iter().enumerate() {
            let mut lanes = [0.0_f32; 16];
            // SAFETY: sixteen floats.
            unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), _mm512_add_ps(first, second)) };
            products(rows[r], token + t, sum_by_halves(lanes));
        }
    }
}

/// Adds the products of a step of columns, of which `left` are there.
///
/// # Safety
/// Each of `weights` has so many columns from `first` on, or a whole step, and each of `x` a whole step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[allow(clippy::needless_range_loop, reason = "several arrays go by the same index, and stay registers")]
unsafe fn add_step<const KIND: u8, const R: usize, const T: usize>(
    sums: &mut [[[__m512; REGISTERS]; T]; R],
    weights: [*const u8; R],
    x: [*const u16; T],
    first: usize,
    left: usize,
) {
    let (width, size) = match KIND {
        BF16 => (32, 2),
        F16 => (16, 2),
        _ => (16, 4),
    };
    for register in 0..REGISTERS {
        let (at, left) = (first + register * width, left.saturating_sub(register * width));
        // SAFETY: the caller's promise.
        let x: [__m512i; T] = std::array::from_fn(|t| unsafe { load_x::<KIND>(x[t].add(at)) });
        for r in 0..R {
            // SAFETY: the caller's promise; no more than what is left is loaded.
            let loaded = unsafe { load::<KIND>(weights[r].wrapping_add(at * size), left) };
            for t in 0..T {
                sums[r][t][register] = add_product::<KIND>(sums[r][t][register], loaded, x[t]);
            }
        }
    }
}

/// A register of activations: 32 in bf16 for weights of bf16, else sixteen in f32.
///
/// # Safety
/// As many can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_x<const KIND: u8>(x: *const u16) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        if KIND == BF16 {
            return _mm512_loadu_si512(x.cast());
        }
        _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x.cast())))
    }
}

/// A register of weights: 32 of bf16, or sixteen as f32; zeros behind the first `left`.
///
/// # Safety
/// As many, but no more than `left`, can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load<const KIND: u8>(weights: *const u8, left: usize) -> __m512i {
    let valid = |most: usize| ((1_u64 << left.min(most)) - 1) as u32;
    // SAFETY: the caller's promise; masked elements are not read.
    unsafe {
        match KIND {
            BF16 => _mm512_maskz_loadu_epi16(valid(32), weights.cast()),
            F16 => {
                let halves = _mm512_maskz_loadu_epi16(valid(16), weights.cast());
                _mm512_castps_si512(_mm512_cvtph_ps(_mm512_castsi512_si256(halves)))
            }
            _ => _mm512_maskz_loadu_epi32(valid(16) as u16, weights.cast()),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_product<const KIND: u8>(sum: __m512, weights: __m512i, x: __m512i) -> __m512 {
    if KIND != BF16 {
        return _mm512_fmadd_ps(_mm512_castsi512_ps(weights), _mm512_castsi512_ps(x), sum);
    }
    // SAFETY: the types are the same 512 bits.
    let (weights, x) = unsafe {
        (std::mem::transmute::<__m512i, __m512bh>(weights), std::mem::transmute::<__m512i, __m512bh>(x))
    };
    _mm512_dpbf16_ps(sum, weights, x)
}
