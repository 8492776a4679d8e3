//! AVX2 with FMA and F16C: any x86 processor of the last ten years.
//!
//! **Order.** For each output two f32 chains, one over ascending even k and one over odd k, each step one fused multiply-add;
//! at the end the odd chain is added to the even one. The order is the same for every number of tokens: partial chains are
//! kept as f32 and taken up again.
//!
//! **Decoding.** Shifted by seven places, the sign kept apart, a code is the f16 of its value divided by 2⁸, subnormals
//! included, which `vcvtph2ps` widens exactly; the sums are multiplied by 2⁸ at the end, which is exact, too.
//!
//! **Few tokens** take the weights straight from memory. **Many** decode a part of the columns of a panel to f32 in the
//! cache once, and multiply it by three tokens at a time.

#![allow(unsafe_code, reason = "loads and stores through pointers whose bounds are checked once a tile")]

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_hadd_ps, _mm_mul_ps, _mm_prefetch, _mm_set1_ps, _mm_storeu_ps,
    _mm256_and_si256, _mm256_castpd_ps, _mm256_castps256_ps128, _mm256_castsi256_si128, _mm256_cvtph_ps,
    _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_set1_epi16, _mm256_set1_pd, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_srai_epi16,
    _mm256_storeu_ps, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};
use std::cell::RefCell;

use super::{Operands, TILE};
use crate::fp8::panels::{BLOCK, PANEL, QUAD};

/// Most tokens for which weights are not decoded to memory.
const FEW: usize = 3;
/// Tokens that are multiplied at a time where there are many: their chains fill twelve of sixteen registers.
const BAND: usize = 3;
/// Columns that are decoded at a time: 16 KiB, half of a first-level cache.
const DEPTH: usize = 256;
/// Bytes ahead of the reading.
const AHEAD: usize = 2_048;
/// What the decoded values lack.
const MISSING: f32 = 256.0;
/// Registers of the chains of a panel and a token: four rows each, even and odd k side by side.
const GROUPS: usize = PANEL / 4;

/// The weights of a pair of columns: four rows a register, `[r, k] [r, k + 1] [r + 1, k] …`.
type Pair = [__m256; GROUPS];

/// The columns k, k + 1 and k + 2, k + 3 of a block.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn decode(halves: [__m256i; 2]) -> [Pair; 2] {
    let zero = _mm256_setzero_si256();
    // Sign, a cleared bit, and the seven bits of the magnitude.
    let mask = _mm256_set1_epi16(0xBFFF_u16 as i16);
    let to_f16 = |codes: __m256i| _mm256_and_si256(_mm256_srai_epi16::<1>(codes), mask);
    let first = halves.map(|codes| to_f16(_mm256_unpacklo_epi8(zero, codes)));
    let second = halves.map(|codes| to_f16(_mm256_unpackhi_epi8(zero, codes)));
    let widen = |values: [__m256i; 2]| -> Pair {
        [
            _mm256_cvtph_ps(_mm256_castsi256_si128(values[0])),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(values[0])),
            _mm256_cvtph_ps(_mm256_castsi256_si128(values[1])),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(values[1])),
        ]
    };
    [widen(first), widen(second)]
}

/// # Safety
/// `block` has 64 bytes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn decode_at(block: *const u8) -> [Pair; 2] {
    // SAFETY: two halves of 32 bytes.
    unsafe { decode([_mm256_loadu_si256(block.cast()), _mm256_loadu_si256(block.add(32).cast())]) }
}

/// Two neighbouring activations, four times.
///
/// # Safety
/// Two f32 can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn activations(x: *const f32) -> __m256 {
    // SAFETY: the caller's; the pair need not be aligned.
    unsafe { _mm256_castpd_ps(_mm256_set1_pd(x.cast::<f64>().read_unaligned())) }
}

/// See [`super::portable::tile`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tile(operands: &Operands<'_, f32>, first: usize, count: usize, sums: &mut [f32]) {
    assert!(count <= TILE && sums.len() >= operands.tokens * TILE * PANEL);
    let mut panel = 0;
    while panel < count {
        let (at, left) = (first + panel, count - panel);
        panel += match (operands.tokens, left) {
            (1, 2..) => few::<2, 1>(operands, at, panel, sums),
            (1, _) => few::<1, 1>(operands, at, panel, sums),
            (2, _) => few::<1, 2>(operands, at, panel, sums),
            (FEW, _) => few::<1, FEW>(operands, at, panel, sums),
            _ => many(operands, at, panel, sums),
        };
    }
}

/// `P` panels for `T` tokens; returns `P`. `out` has `TILE` panels for each token.
#[target_feature(enable = "avx2,fma,f16c")]
fn few<const P: usize, const T: usize>(
    operands: &Operands<'_, f32>,
    first: usize,
    panel: usize,
    out: &mut [f32],
) -> usize {
    let codes: [*const u8; P] = std::array::from_fn(|p| operands.codes(first + p).as_ptr());
    let x: [*const f32; T] = std::array::from_fn(|t| operands.row(t).as_ptr());
    let mut chains = [[[_mm256_setzero_ps(); GROUPS]; T]; P];
    for block in 0..operands.blocks.len() {
        for p in 0..P {
            // SAFETY: `codes[p]` is that many blocks of a panel; a prefetch beyond it reads nothing.
            let pairs = unsafe {
                let at = codes[p].add(block * BLOCK);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                decode_at(at)
            };
            for t in 0..T {
                for (half, weights) in pairs.iter().enumerate() {
                    // SAFETY: a row has `QUAD` activations for every block.
                    let x = unsafe { activations(x[t].add(block * QUAD + 2 * half)) };
                    for (chain, &weights) in chains[p][t].iter_mut().zip(weights) {
                        *chain = _mm256_fmadd_ps(weights, x, *chain);
                    }
                }
            }
        }
    }
    for (p, chains) in chains.iter().enumerate() {
        for (t, chains) in chains.iter().enumerate() {
            store_sums(chains, &mut out[(t * TILE + panel + p) * PANEL..][..PANEL]);
        }
    }
    P
}

/// Adds the odd chains to the even ones.
#[inline]
#[target_feature(enable = "avx2")]
fn store_sums(chains: &[__m256; GROUPS], out: &mut [f32]) {
    for (chain, out) in chains.iter().zip(out.chunks_exact_mut(4)) {
        let (low, high) = (_mm256_castps256_ps128(*chain), _mm256_extractf128_ps::<1>(*chain));
        let sums = _mm_mul_ps(_mm_hadd_ps(low, high), _mm_set1_ps(MISSING));
        // SAFETY: four f32 are 16 bytes.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
    }
}

thread_local! {
    /// Decoded weights of a part of the columns of a panel, and the chains of all tokens.
    static ROOM: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// One panel for any number of tokens; returns 1.
#[target_feature(enable = "avx2,fma,f16c")]
fn many(operands: &Operands<'_, f32>, index: usize, panel: usize, out: &mut [f32]) -> usize {
    let depth = operands.blocks.len() * QUAD;
    ROOM.with_borrow_mut(|(weights, chains)| {
        weights.resize(DEPTH * PANEL, 0.0);
        chains.resize(chains.len().max(operands.tokens * 2 * PANEL), 0.0);
        for start in (0..depth).step_by(DEPTH) {
            let columns = DEPTH.min(depth - start);
            let codes = &operands.codes(index)[start * PANEL..][..columns * PANEL];
            for (block, weights) in codes.chunks_exact(BLOCK).zip(weights.chunks_exact_mut(BLOCK)) {
                // SAFETY: a block has 64 bytes, and room for 64 weights.
                unsafe {
                    for (group, &values) in decode_at(block.as_ptr()).iter().flatten().enumerate() {
                        _mm256_storeu_ps(weights.as_mut_ptr().add(8 * group), values);
                    }
                }
            }
            let mut token = 0;
            while token < operands.tokens {
                let chains = &mut chains[token * 2 * PANEL..];
                let part = Part { operands, weights, start, columns, token };
                match operands.tokens - token {
                    BAND.. => part.multiply::<BAND>(chains),
                    2 => part.multiply::<2>(chains),
                    _ => part.multiply::<1>(chains),
                }
                token += BAND;
            }
        }
        for (token, chains) in chains.chunks_exact(2 * PANEL).take(operands.tokens).enumerate() {
            // SAFETY: the chains of a token are four registers.
            let chains =
                std::array::from_fn(|group| unsafe { _mm256_loadu_ps(chains.as_ptr().add(8 * group)) });
            store_sums(&chains, &mut out[(token * TILE + panel) * PANEL..][..PANEL]);
        }
    });
    1
}

/// A part of the columns, for the tokens from one on.
struct Part<'a> {
    operands: &'a Operands<'a, f32>,
    weights: &'a [f32],
    start: usize,
    columns: usize,
    token: usize,
}

impl Part<'_> {
    /// Goes on with the chains of `T` tokens.
    #[target_feature(enable = "avx2,fma")]
    fn multiply<const T: usize>(&self, kept: &mut [f32]) {
        let x: [*const f32; T] =
            std::array::from_fn(|t| self.operands.row(self.token + t)[self.start..][..self.columns].as_ptr());
        let weights = &self.weights[..self.columns * PANEL];
        let kept = &mut kept[..T * 2 * PANEL];
        let mut chains = [[_mm256_setzero_ps(); GROUPS]; T];
        if self.start > 0 {
            for (t, chains) in chains.iter_mut().enumerate() {
                for (group, chain) in chains.iter_mut().enumerate() {
                    // SAFETY: `kept` has four registers for each token.
                    *chain = unsafe { _mm256_loadu_ps(kept.as_ptr().add((t * GROUPS + group) * 8)) };
                }
            }
        }
        for k in (0..self.columns).step_by(2) {
            let x: [__m256; T] = std::array::from_fn(|t| {
                // SAFETY: a row has `columns` activations from `start` on.
                unsafe { activations(x[t].add(k)) }
            });
            // One register of weights at a time: with the chains and activations that is all sixteen.
            #[allow(clippy::needless_range_loop, reason = "the index is of two arrays, one within the other")]
            for group in 0..GROUPS {
                // SAFETY: sixteen weights for each of the columns, an even number.
                let weights = unsafe { _mm256_loadu_ps(weights.as_ptr().add(k * PANEL + 8 * group)) };
                for t in 0..T {
                    chains[t][group] = _mm256_fmadd_ps(weights, x[t], chains[t][group]);
                }
            }
        }
        for (t, chains) in chains.iter().enumerate() {
            for (group, &chain) in chains.iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm256_storeu_ps(kept.as_mut_ptr().add((t * GROUPS + group) * 8), chain) };
            }
        }
    }
}
