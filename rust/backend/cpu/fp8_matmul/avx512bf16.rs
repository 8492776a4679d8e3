//! AVX-512 with VBMI and BF16.
//!
//! **Order.** For each output one f32 chain over ascending pairs of k, each step one `vdpbf16ps`, which adds the product of the
//! second of the pair and then that of the first. Decoding is exact (every E4M3 value is a bf16), so that is all that is
//! rounded. The order is the same for every number of tokens: partial chains are kept as f32 and taken up again.
//!
//! **Decoding.** The two bytes of a bf16 are looked up by the seven bits of the magnitude, the sign is put in by one ternary
//! operation, and two unpacks join them: five instructions for 64 weights.
//!
//! **Few tokens** take the weights straight from memory, four panels side by side: the chain of one output waits six cycles a
//! step, and four streams keep the prefetchers busy. Up to [`FEW`] tokens fit the registers, with two panels; a few more take
//! the tile again from the cache, which is cheaper than to store what was decoded. **Many** decode a part of the columns of four panels to bf16 in the cache once, and multiply it by six tokens at a time.

#![allow(unsafe_code, reason = "loads and stores through pointers whose bounds are checked once a tile")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi8,
    _mm512_unpacklo_epi8,
};
use std::cell::RefCell;

use super::{Operands, TILE};
use crate::fp8::e4m3;
use crate::fp8::panels::{BLOCK, PANEL, QUAD};

/// Most tokens that are multiplied at once.
const FEW: usize = 10;
/// Tokens from which on weights are decoded to memory.
const MANY: usize = 40;
/// Tokens that are multiplied at a time where there are many.
const BAND: usize = 6;
/// Columns that are decoded at a time: four panels of them are 128 KiB, half of what a second-level cache has.
const DEPTH: usize = 1_024;
/// Bytes ahead of the reading: eight blocks. Farther ahead, single threads read a fifth slower on Zen 4.
const AHEAD: usize = 512;

/// Bytes of a tile so short that the processor does not come to see its streams: the next tile is fetched meanwhile.
const SMALL: usize = 64 << 10;

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
pub(super) fn tile(operands: &Operands<'_, u16>, first: usize, count: usize, sums: &mut [f32]) {
    assert!(count <= TILE && sums.len() >= operands.tokens * TILE * PANEL);
    if operands.tokens >= MANY {
        return many(operands, first, count, sums);
    }
    let bands = operands.tokens.div_ceil(FEW);
    for band in 0..bands {
        let tokens = band * operands.tokens / bands..(band + 1) * operands.tokens / bands;
        let sums = &mut sums[tokens.start * TILE * PANEL..];
        let mut panel = 0;
        while panel < count {
            let at = At { operands, token: tokens.start, first: first + panel, panel };
            panel += match (tokens.len(), count - panel) {
                (1, 4..) => at.few::<4, 1>(sums),
                (2, 4..) => at.few::<4, 2>(sums),
                (3, 4..) => at.few::<4, 3>(sums),
                (4, 4..) => at.few::<4, 4>(sums),
                (5, 4..) => at.few::<4, 5>(sums),
                (6, 2..) => at.few::<2, 6>(sums),
                (7, 2..) => at.few::<2, 7>(sums),
                (8, 2..) => at.few::<2, 8>(sums),
                (9, 2..) => at.few::<2, 9>(sums),
                (10, 2..) => at.few::<2, 10>(sums),
                (1, _) => at.few::<1, 1>(sums),
                (2, _) => at.few::<1, 2>(sums),
                (3, _) => at.few::<1, 3>(sums),
                (4, _) => at.few::<1, 4>(sums),
                (5, _) => at.few::<1, 5>(sums),
                (6, _) => at.few::<1, 6>(sums),
                (7, _) => at.few::<1, 7>(sums),
                (8, _) => at.few::<1, 8>(sums),
                (9, _) => at.few::<1, 9>(sums),
                _ => at.few::<1, 10>(sums),
            };
        }
    }
}

/// Where in a product some panels and tokens are.
struct At<'a> {
    operands: &'a Operands<'a, u16>,
    token: usize,
    /// The panel of the matrix, and of the tile.
    first: usize,
    panel: usize,
}

impl At<'_> {
    /// `P` panels for `T` tokens; returns `P`. `out` has `TILE` panels for each token.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    fn few<const P: usize, const T: usize>(&self, out: &mut [f32]) -> usize {
        let decoder = Decoder::new();
        let blocks = self.operands.blocks.len();
        let codes: [*const u8; P] = std::array::from_fn(|p| self.operands.codes(self.first + p).as_ptr());
        let x: [*const u16; T] = std::array::from_fn(|t| self.operands.row(self.token + t).as_ptr());
        let mut sums = [[_mm512_setzero_ps(); T]; P];
        let tile_bytes = P * self.operands.panels.panel_bytes();
        let next_tile = codes[0].wrapping_add(tile_bytes);
        for block in 0..blocks {
            for p in 0..P {
                // SAFETY: `codes[p]` is that many blocks of a panel; a prefetch beyond it reads nothing.
                let weights = unsafe {
                    let at = codes[p].add(block * BLOCK);
                    if tile_bytes <= SMALL {
                        _mm_prefetch::<_MM_HINT_T1>(next_tile.wrapping_add((block * P + p) * BLOCK).cast());
                    } else {
                        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                    }
                    decoder.decode(_mm512_loadu_si512(at.cast()))
                };
                for t in 0..T {
                    for (half, &weights) in weights.iter().enumerate() {
                        // SAFETY: a row has `QUAD` activations for every block.
                        let pair =
                            unsafe { x[t].add(block * QUAD + 2 * half).cast::<i32>().read_unaligned() };
                        sums[p][t] = dot(sums[p][t], weights, _mm512_set1_epi32(pair));
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (t, &sum) in sums.iter().enumerate() {
                let out = &mut out[(t * TILE + self.panel + p) * PANEL..][..PANEL];
                // SAFETY: sixteen f32 are 64 bytes.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
            }
        }
        P
    }
}

thread_local! {
    /// Decoded weights of a part of the columns of a tile.
    static DECODED: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
fn many(operands: &Operands<'_, u16>, first: usize, count: usize, sums: &mut [f32]) {
    DECODED.with_borrow_mut(|weights| {
        weights.resize(TILE * DEPTH * PANEL, 0);
        let depth = operands.blocks.len() * QUAD;
        for start in (0..depth).step_by(DEPTH) {
            let columns = DEPTH.min(depth - start);
            for p in 0..count {
                let codes = &operands.codes(first + p)[start * PANEL..][..columns * PANEL];
                decode(codes, &mut weights[p * DEPTH * PANEL..][..columns * PANEL]);
            }
            let part = Part { operands, weights, start, columns };
            match count {
                4 => part.multiply::<4>(sums),
                3 => part.multiply::<3>(sums),
                2 => part.multiply::<2>(sums),
                _ => part.multiply::<1>(sums),
            }
        }
    });
}

/// Decodes blocks; 32 bf16 follow each other for each pair of columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn decode(codes: &[u8], weights: &mut [u16]) {
    let decoder = Decoder::new();
    for (codes, weights) in codes.chunks_exact(BLOCK).zip(weights.chunks_exact_mut(BLOCK)) {
        // SAFETY: a block is 64 bytes of codes and 64 bf16.
        unsafe {
            let [first, second] = decoder.decode(_mm512_loadu_si512(codes.as_ptr().cast()));
            _mm512_storeu_si512(weights.as_mut_ptr().cast(), first);
            _mm512_storeu_si512(weights.as_mut_ptr().add(32).cast(), second);
        }
    }
}

/// A part of the columns.
struct Part<'a> {
    operands: &'a Operands<'a, u16>,
    weights: &'a [u16],
    start: usize,
    columns: usize,
}

impl Part<'_> {
    /// Goes on with the chains of all tokens and `P` panels.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply<const P: usize>(&self, sums: &mut [f32]) {
        let mut token = 0;
        while token < self.operands.tokens {
            match self.operands.tokens - token {
                BAND.. => self.band::<P, BAND>(token, sums),
                5 => self.band::<P, 5>(token, sums),
                4 => self.band::<P, 4>(token, sums),
                3 => self.band::<P, 3>(token, sums),
                2 => self.band::<P, 2>(token, sums),
                _ => self.band::<P, 1>(token, sums),
            }
            token += BAND;
        }
    }

    /// The same for `T` tokens.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn band<const P: usize, const T: usize>(&self, token: usize, sums: &mut [f32]) {
        let x: [*const u16; T] =
            std::array::from_fn(|t| self.operands.row(token + t)[self.start..][..self.columns].as_ptr());
        let chains = &mut sums[token * TILE * PANEL..][..T * TILE * PANEL];
        let weights = &self.weights[..((P - 1) * DEPTH + self.columns) * PANEL];
        let mut sums = [[_mm512_setzero_ps(); P]; T];
        if self.start > 0 {
            for (t, sums) in sums.iter_mut().enumerate() {
                for (p, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `chains` has `TILE` panels of sixteen sums for each token, and `P` is at most `TILE`.
                    *sum = unsafe { _mm512_loadu_ps(chains.as_ptr().add((t * TILE + p) * PANEL)) };
                }
            }
        }
        for k in (0..self.columns).step_by(2) {
            let panels: [__m512i; P] = std::array::from_fn(|p| {
                // SAFETY: `weights` ends with `columns` columns of the last panel.
                unsafe { _mm512_loadu_si512(weights.as_ptr().add(p * DEPTH * PANEL + k * PANEL).cast()) }
            });
            for t in 0..T {
                // SAFETY: a row has `columns`, an even number, of activations from `start` on.
                let pair = _mm512_set1_epi32(unsafe { x[t].add(k).cast::<i32>().read_unaligned() });
                for p in 0..P {
                    sums[t][p] = dot(sums[t][p], panels[p], pair);
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            for (p, &sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(chains.as_mut_ptr().add((t * TILE + p) * PANEL), sum) };
            }
        }
    }
}
