//! AVX2 with FMA and F16C, any x86 processor of the last ten years: [`super::fused`] with registers of eight rows.

#![allow(unsafe_code, reason = "loads and stores through pointers")]

use std::arch::asm;
use std::arch::x86_64::{
    __m256, __m256i, _mm_load_si128, _mm256_and_si256, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_mul_ps, _mm256_permute2f128_ps, _mm256_set1_epi16, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_slli_epi16, _mm256_srai_epi16, _mm256_store_si256, _mm256_storeu_ps,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};

use super::fused::{self, Chunk, Lanes, MISSING};
use super::{Operands, Rows, TILE};
use crate::fp8::panels::PANEL;

/// Most tokens that are multiplied while weights are decoded: their chains and what decoding needs fill sixteen registers.
const FEW: usize = 5;

/// See [`super::portable::tile`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tile(operands: &Operands<'_, Rows<'_>>, first: usize, count: usize, sums: &mut [f32]) {
    assert!(count <= TILE && sums.len() >= operands.tokens * TILE * PANEL);
    let mut panel = 0;
    while panel < count {
        let (at, left) = (first + panel, count - panel);
        panel += match (operands.tokens, left) {
            (1, 4..) => few::<4, 1>(operands, at, panel, sums),
            (1, _) => few::<1, 1>(operands, at, panel, sums),
            (2, 2..) => few::<2, 2>(operands, at, panel, sums),
            (2, _) => few::<1, 2>(operands, at, panel, sums),
            (3, _) => few::<1, 3>(operands, at, panel, sums),
            (4, _) => few::<1, 4>(operands, at, panel, sums),
            (FEW, _) => few::<1, FEW>(operands, at, panel, sums),
            _ => {
                // SAFETY: the features are those of this function.
                unsafe { fused::many::<Avx2, 1>(operands, first, count, sums) };
                count
            }
        };
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn few<const P: usize, const T: usize>(
    operands: &Operands<'_, Rows<'_>>,
    first: usize,
    panel: usize,
    sums: &mut [f32],
) -> usize {
    // SAFETY: the features are those of this function.
    unsafe { fused::few::<Avx2, P, T>(operands, first, panel, sums) }
}

struct Avx2;

impl Lanes for Avx2 {
    /// The rows 0 to 3 and 8 to 11; the rows 4 to 7 and 12 to 15.
    type Rows = [__m256; 2];

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zero() -> [__m256; 2] {
        [_mm256_setzero_ps(); 2]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(sums: *const f32) -> [__m256; 2] {
        // SAFETY: sixteen sums.
        exchange(unsafe { [_mm256_loadu_ps(sums), _mm256_loadu_ps(sums.add(8))] })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store(rows: [__m256; 2], sums: *mut f32) {
        let rows = exchange(rows);
        // SAFETY: sixteen sums.
        unsafe {
            _mm256_storeu_ps(sums, rows[0]);
            _mm256_storeu_ps(sums.add(8), rows[1]);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn halve(block: *const u8, halves: *mut u16) {
        // Sign, a cleared bit, and the seven bits of the magnitude.
        let mask = _mm256_set1_epi16(0xBF80_u16 as i16);
        let to_f16 = |codes: __m256i| _mm256_and_si256(_mm256_srai_epi16::<1>(codes), mask);
        // SAFETY: a block is 64 bytes.
        let codes: [__m256i; 2] =
            unsafe { [_mm256_loadu_si256(block.cast()), _mm256_loadu_si256(block.add(32).cast())] };
        // In each lane pairs of columns of eight rows: k and k + 1, then k + 2 and k + 3.
        let first = _mm256_unpacklo_epi64(codes[0], codes[1]);
        let second = _mm256_unpackhi_epi64(codes[0], codes[1]);
        let columns = [
            to_f16(_mm256_slli_epi16::<8>(first)),
            to_f16(first),
            to_f16(_mm256_slli_epi16::<8>(second)),
            to_f16(second),
        ];
        for (k, column) in columns.into_iter().enumerate() {
            // SAFETY: four columns of sixteen aligned halves.
            unsafe { _mm256_store_si256(halves.add(k * PANEL).cast(), column) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen(halves: *const u16) -> [__m256; 2] {
        // SAFETY: sixteen aligned halves.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_load_si128(halves.cast())),
                _mm256_cvtph_ps(_mm_load_si128(halves.add(8).cast())),
            ]
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn spread(x: *const f32) -> [__m256; 2] {
        let spread: __m256;
        // The compiler would load neighbours at once and shuffle them apart, for which there are no registers left.
        // SAFETY: an f32 can be read.
        unsafe {
            asm!(
                "vbroadcastss {spread}, dword ptr [{x}]",
                spread = lateout(ymm_reg) spread,
                x = in(reg) x,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        [spread; 2]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_product(sum: [__m256; 2], weights: [__m256; 2], x: [__m256; 2]) -> [__m256; 2] {
        [_mm256_fmadd_ps(weights[0], x[0], sum[0]), _mm256_fmadd_ps(weights[1], x[1], sum[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn complete(sum: [__m256; 2]) -> [__m256; 2] {
        sum.map(|sum| _mm256_mul_ps(sum, _mm256_set1_ps(MISSING)))
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply<const P: usize, const T: usize>(
        chunk: &Chunk<'_>,
        token: usize,
        panel: usize,
        sums: &mut [f32],
    ) {
        // SAFETY: the caller's promise.
        unsafe { chunk.multiply::<Avx2, P, T>(token, panel, sums) }
    }
}

/// From the order of the rows to that of [`Lanes::Rows`], and back.
#[inline]
#[target_feature(enable = "avx2")]
fn exchange([first, second]: [__m256; 2]) -> [__m256; 2] {
    [_mm256_permute2f128_ps::<0x20>(first, second), _mm256_permute2f128_ps::<0x31>(first, second)]
}
