//! AVX-512 without BF16 (Skylake-X to Tiger Lake): [`super::fused`] with registers of sixteen rows, the bits of AVX2.

#![allow(unsafe_code, reason = "loads and stores through pointers")]

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, _mm256_load_si256, _mm512_and_si512, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_permutex2var_epi64, _mm512_set1_epi16, _mm512_set1_ps,
    _mm512_setr_epi64, _mm512_setzero_ps, _mm512_slli_epi16, _mm512_srai_epi16, _mm512_store_si512,
    _mm512_storeu_ps,
};

use super::fused::{self, Chunk, Lanes, MISSING};
use super::{Operands, Rows, TILE};
use crate::fp8::panels::{PANEL, QUAD};

/// Most tokens that are multiplied while weights are decoded.
const FEW: usize = 4;

/// See [`super::portable::tile`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn tile(operands: &Operands<'_, Rows<'_>>, first: usize, count: usize, sums: &mut [f32]) {
    assert!(count <= TILE && sums.len() >= operands.tokens * TILE * PANEL);
    let mut panel = 0;
    while panel < count {
        let (at, left) = (first + panel, count - panel);
        panel += match (operands.tokens, left) {
            (1, 4..) => few::<4, 1>(operands, at, panel, sums),
            (2, 4..) => few::<4, 2>(operands, at, panel, sums),
            (3, 4..) => few::<4, 3>(operands, at, panel, sums),
            (FEW, 4..) => few::<4, FEW>(operands, at, panel, sums),
            (1, _) => few::<1, 1>(operands, at, panel, sums),
            (2, _) => few::<1, 2>(operands, at, panel, sums),
            (3, _) => few::<1, 3>(operands, at, panel, sums),
            (FEW, _) => few::<1, FEW>(operands, at, panel, sums),
            _ => {
                // SAFETY: the features are those of this function.
                unsafe { fused::many::<Avx512, 4>(operands, first, count, sums) };
                count
            }
        };
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw")]
fn few<const P: usize, const T: usize>(
    operands: &Operands<'_, Rows<'_>>,
    first: usize,
    panel: usize,
    sums: &mut [f32],
) -> usize {
    // SAFETY: the features are those of this function.
    unsafe { fused::few::<Avx512, P, T>(operands, first, panel, sums) }
}

struct Avx512;

impl Lanes for Avx512 {
    type Rows = __m512;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn load(sums: *const f32) -> __m512 {
        // SAFETY: sixteen sums.
        unsafe { _mm512_loadu_ps(sums) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn store(rows: __m512, sums: *mut f32) {
        // SAFETY: sixteen sums.
        unsafe { _mm512_storeu_ps(sums, rows) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn halve(block: *const u8, halves: *mut u16) {
        // Sign, a cleared bit, and the seven bits of the magnitude.
        let mask = _mm512_set1_epi16(0xBF80_u16 as i16);
        let to_f16 = |codes: __m512i| _mm512_and_si512(_mm512_srai_epi16::<1>(codes), mask);
        // SAFETY: a block is 64 bytes.
        let codes = unsafe { _mm512_loadu_si512(block.cast()) };
        // Of each 128-bit lane, k of four rows and k + 2 of them; then k + 1 and k + 3.
        let (even, odd) = (to_f16(_mm512_slli_epi16::<8>(codes)), to_f16(codes));
        let lower = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
        let upper = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
        for (pair, halves_of_lanes) in [lower, upper].into_iter().enumerate() {
            let columns = _mm512_permutex2var_epi64(even, halves_of_lanes, odd);
            // SAFETY: two pairs of columns of sixteen aligned halves.
            unsafe { _mm512_store_si512(halves.add(pair * QUAD / 2 * PANEL).cast(), columns) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn widen(halves: *const u16) -> __m512 {
        // SAFETY: sixteen aligned halves.
        _mm512_cvtph_ps(unsafe { _mm256_load_si256(halves.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn spread(x: *const f32) -> __m512 {
        let spread: __m512;
        // See `Avx2::spread`.
        // SAFETY: an f32 can be read.
        unsafe {
            asm!(
                "vbroadcastss {spread}, dword ptr [{x}]",
                spread = lateout(zmm_reg) spread,
                x = in(reg) x,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        spread
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn add_product(sum: __m512, weights: __m512, x: __m512) -> __m512 {
        _mm512_fmadd_ps(weights, x, sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn complete(sum: __m512) -> __m512 {
        _mm512_mul_ps(sum, _mm512_set1_ps(MISSING))
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn multiply<const P: usize, const T: usize>(
        chunk: &Chunk<'_>,
        token: usize,
        panel: usize,
        sums: &mut [f32],
    ) {
        // SAFETY: the caller's promise.
        unsafe { chunk.multiply::<Avx512, P, T>(token, panel, sums) }
    }
}
