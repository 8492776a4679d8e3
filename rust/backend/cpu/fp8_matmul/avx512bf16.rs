//! AVX-512 with VBMI and BF16.
//!
//! **Order.** For each output one f32 chain over ascending pairs of k, each step one `vdpbf16ps`, which adds the product of the
//! second of the pair and then that of the first; numbers below the normal floats count as zero. Decoding is exact (every
//! E4M3 value is a bf16, and none but zero is so small), so that is all that is rounded. The order is the same for every number
//! of tokens: partial chains are kept as f32 and taken up again.
//!
//! **Decoding.** The two bytes of a bf16 are looked up by the seven bits of the magnitude, the sign is put in by one ternary
//! operation, and two unpacks join them: five instructions for 64 weights.
//!
//! **Products.** A band of up to ten tokens takes the weights as they are, and decodes them beside the products: the two need
//! different ports. Up to five tokens take four panels side by side, four streams of memory; the chain of one output waits six cycles
//! a step, and theirs fill these. More take two panels, twenty chains. Each further band finds the weights in the cache.

#![allow(unsafe_code, reason = "loads and stores through pointers whose bounds are checked once a tile")]

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_storeu_ps, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi8, _mm512_unpacklo_epi8,
};
use std::array;
use std::ops::Range;

use super::bands::{BAND, Bands};
use super::{Operands, TILE};
use crate::backend::cpu::fetch::{AHEAD, fetch};
use crate::fp8::e4m3;
use crate::fp8::panels::{BLOCK, PANEL};

/// Panels that share what is loaded of the activations.
const BESIDE: usize = 2;

/// The bytes of the bf16 for each magnitude.
struct Tables {
    high: [u8; 128],
    low: [u8; 128],
}

static TABLES: Tables = {
    let mut tables = Tables { high: [0; 128], low: [0; 128] };
    let mut code = 0;
    while code < 128 {
        let [low, high] = ((e4m3::VALUES[code].to_bits() >> 16) as u16).to_le_bytes();
        tables.high[code] = high;
        tables.low[code] = low;
        code += 1;
    }
    tables
};

/// Turns 64 codes into two registers of 32 bf16.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct Decoder {
    high: [__m512i; 2],
    low: [__m512i; 2],
    sign: __m512i,
}

impl Decoder {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(in crate::backend::cpu) fn new() -> Decoder {
        let load = |table: &[u8; 128]| {
            // SAFETY: two registers of 64 bytes are the table.
            unsafe {
                [_mm512_loadu_si512(table.as_ptr().cast()), _mm512_loadu_si512(table.as_ptr().add(64).cast())]
            }
        };
        Decoder { high: load(&TABLES.high), low: load(&TABLES.low), sign: _mm512_set1_epi8(-128) }
    }

    /// The columns k, k + 1 and k + 2, k + 3 of a block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(in crate::backend::cpu) fn decode(&self, codes: __m512i) -> [__m512i; 2] {
        let high = _mm512_permutex2var_epi8(self.high[0], codes, self.high[1]);
        let low = _mm512_permutex2var_epi8(self.low[0], codes, self.low[1]);
        // high | (codes & sign)
        let high = _mm512_ternarylogic_epi32::<0xF8>(high, codes, self.sign);
        [_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot(sum: __m512, weights: __m512i, pair: __m512i) -> __m512 {
    // SAFETY: the types are the same 512 bits.
    let (weights, pair) = unsafe {
        (std::mem::transmute::<__m512i, __m512bh>(weights), std::mem::transmute::<__m512i, __m512bh>(pair))
    };
    _mm512_dpbf16_ps(sum, pair, weights)
}

/// See [`super::portable::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
pub(super) fn tile(operands: &Operands<'_, Bands<'_>>, first: usize, count: usize, sums: &mut [f32]) {
    assert!(count <= TILE && sums.len() >= operands.tokens * TILE * PANEL);
    for part in operands.parts() {
        let bands = operands.x.count();
        for band in 0..bands {
            let x = operands.pairs(band, &part);
            let next = if band + 1 < bands { operands.pairs(band + 1, &part) } else { &[] };
            let tokens = operands.x.tokens(band);
            let sums = &mut sums[tokens.start * TILE * PANEL..tokens.end * TILE * PANEL];
            let mut panel = 0;
            while panel < count {
                let at = At { operands, part: &part, x, next, first: first + panel, panel };
                panel += match (tokens.len(), count - panel) {
                    (1, 4..) => at.multiply::<4, 1>(sums),
                    (2, 4..) => at.multiply::<4, 2>(sums),
                    (3, 4..) => at.multiply::<4, 3>(sums),
                    (4, 4..) => at.multiply::<4, 4>(sums),
                    (5, 4..) => at.multiply::<4, 5>(sums),
                    (6, 2..) => at.multiply::<2, 6>(sums),
                    (7, 2..) => at.multiply::<2, 7>(sums),
                    (8, 2..) => at.multiply::<2, 8>(sums),
                    (9, 2..) => at.multiply::<2, 9>(sums),
                    (BAND, 2..) => at.multiply::<2, BAND>(sums),
                    (1, _) => at.multiply::<1, 1>(sums),
                    (2, _) => at.multiply::<1, 2>(sums),
                    (3, _) => at.multiply::<1, 3>(sums),
                    (4, _) => at.multiply::<1, 4>(sums),
                    (5, _) => at.multiply::<1, 5>(sums),
                    (6, _) => at.multiply::<1, 6>(sums),
                    (7, _) => at.multiply::<1, 7>(sums),
                    (8, _) => at.multiply::<1, 8>(sums),
                    (9, _) => at.multiply::<1, 9>(sums),
                    _ => at.multiply::<1, BAND>(sums),
                };
            }
        }
    }
}

/// Where in a product some panels and a band of tokens are.
struct At<'a> {
    operands: &'a Operands<'a, Bands<'a>>,
    /// Blocks.
    part: &'a Range<usize>,
    /// The activations of the band for these.
    x: &'a [u32],
    /// Those of the next band, if there is one: all of hundreds of tokens are more than the cache holds.
    next: &'a [u32],
    /// The panel of the matrix, and of the tile.
    first: usize,
    panel: usize,
}

impl At<'_> {
    /// Goes on with the chains of `P` panels and `T` tokens; returns `P`. `chains`: `[T, TILE, PANEL]`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    #[allow(clippy::needless_range_loop, reason = "several arrays go by the same index, and stay registers")]
    fn multiply<const P: usize, const T: usize>(&self, chains: &mut [f32]) -> usize {
        let At { operands, part, x, next, first, panel } = *self;
        let decoder = Decoder::new();
        let whole = operands.blocks.start;
        let codes: [*const u8; P] = array::from_fn(|p| {
            operands.codes(first + p)[(part.start - whole) * BLOCK..(part.end - whole) * BLOCK].as_ptr()
        });
        assert!(x.len() == part.len() * 2 * T && chains.len() == T * TILE * PANEL && panel + P <= TILE);
        let at = |p: usize, t: usize| (t * TILE + panel + p) * PANEL;
        // Behind the end of a panel is the next, which is being read: there the next tile is fetched.
        let (panel_bytes, ahead) = (operands.panels.panel_bytes(), AHEAD / P);
        let fetched = |offset: usize| {
            if offset + ahead < panel_bytes { offset + ahead } else { offset + ahead + (P - 1) * panel_bytes }
        };
        let mut sums = [[_mm512_setzero_ps(); T]; P];
        if part.start > whole {
            for (p, sums) in sums.iter_mut().enumerate() {
                for (t, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `chains` has `TILE` panels of sixteen sums for each token.
                    *sum = unsafe { _mm512_loadu_ps(chains.as_ptr().add(at(p, t))) };
                }
            }
        }
        for (block, x) in x.chunks_exact(2 * T).enumerate() {
            let fetched = fetched((part.start + block) * BLOCK);
            if panel == 0
                && let Some(next) = next.get(block * 2 * T)
            {
                fetch(next);
            }
            for beside in (0..P).step_by(BESIDE) {
                let mut x = x.as_ptr();
                // SAFETY: no instruction. Without it the compiler loads the activations once for all panels, for which there are no
                // registers, and sends sums to memory.
                unsafe { asm!("/* {0} */", inout(reg) x, options(readonly, nostack, preserves_flags)) };
                let count = BESIDE.min(P - beside);
                let mut weights = [[_mm512_setzero_si512(); 2]; BESIDE];
                for (weights, codes) in weights.iter_mut().zip(&codes[beside..beside + count]) {
                    // SAFETY: `codes` is that many blocks of a panel.
                    *weights = unsafe {
                        fetch(codes.wrapping_add(fetched - part.start * BLOCK));
                        decoder.decode(_mm512_loadu_si512(codes.add(block * BLOCK).cast()))
                    };
                }
                for half in 0..2 {
                    for t in 0..T {
                        // SAFETY: a block has two pairs of every token.
                        let pair = _mm512_set1_epi32(unsafe { *x.add(half * T + t) } as i32);
                        for (p, weights) in weights[..count].iter().enumerate() {
                            sums[beside + p][t] = dot(sums[beside + p][t], weights[half], pair);
                        }
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (t, &sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(chains.as_mut_ptr().add(at(p, t)), sum) };
            }
        }
        P
    }
}
