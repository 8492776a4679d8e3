//! AVX-512 with VBMI and VNNI: `vpdpbusd` adds four products of a column each to sixteen outputs.
//!
//! **Decoding.** One look-up by the seven bits of the magnitude, in the table of the group's exponent; a subtraction from zero
//! where the sign is set; a shuffle that brings the four columns of a row together. The activations are q(x) + 128, without a sign,
//! as the instruction wants them: sums begin at −128 · Σ q(w), which takes that back.
//!
//! Some groups of four panels are decoded to the cache, and multiplied by six tokens at a time: 24 sums in registers.

#![allow(unsafe_code, reason = "loads and stores through pointers whose bounds are checked once a tile")]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_sub_epi8, _mm512_max_epu8, _mm512_movepi8_mask,
    _mm512_mul_ps, _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setr4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi32, _mm512_storeu_ps,
    _mm512_storeu_si512, _mm512_sub_epi32,
};
use std::cell::RefCell;

use super::super::TILE;
use super::{BLOCKS, Group, Operands, TABLES, exponent};
use crate::fp8::panels::{BLOCK, PANEL, QUAD};

/// Tokens that are multiplied at a time.
const BAND: usize = 6;
/// Groups that are decoded at a time: four panels of them are 64 KiB.
const DEPTH: usize = 8;

/// A group of a panel, decoded.
#[derive(Clone)]
struct Decoded {
    /// `[blocks, row, column]`
    weights: [[i8; BLOCK]; BLOCKS],
    /// −128 · Σ q(w) of each row
    starts: [i32; PANEL],
    factors: [f32; PANEL],
}

const EMPTY: Decoded = Decoded { weights: [[0; BLOCK]; BLOCKS], starts: [0; PANEL], factors: [0.0; PANEL] };

thread_local! {
    /// `[DEPTH, TILE]`
    static DECODED: RefCell<Vec<Decoded>> = const { RefCell::new(Vec::new()) };
}

/// See [`super::portable::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
pub(super) fn tile(operands: &Operands<'_>, first: usize, count: usize, sums: &mut [f32]) {
    let sums = &mut sums[..operands.tokens * TILE * PANEL];
    sums.fill(0.0);
    DECODED.with_borrow_mut(|decoded| {
        decoded.resize(DEPTH * TILE, EMPTY);
        for start in (0..operands.groups()).step_by(DEPTH) {
            let groups = DEPTH.min(operands.groups() - start);
            for (group, decoded) in decoded.chunks_exact_mut(TILE).take(groups).enumerate() {
                for (panel, decoded) in decoded.iter_mut().take(count).enumerate() {
                    let codes = operands.codes(first + panel, start + group);
                    let exponent = decode(codes, decoded);
                    decoded.factors = operands.factors(first + panel, start + group, exponent);
                }
            }
            let part = Part { operands, decoded: &decoded[..groups * TILE], start };
            match count {
                4 => part.multiply::<4>(sums),
                3 => part.multiply::<3>(sums),
                2 => part.multiply::<2>(sums),
                _ => part.multiply::<1>(sums),
            }
        }
    });
}

/// Writes the integers of up to [`BLOCKS`] blocks, and where their sums begin; their exponent.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn decode(codes: &[u8], decoded: &mut Decoded) -> usize {
    // SAFETY: a block is 64 bytes.
    let load = |block: &[u8]| unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    let magnitude = _mm512_set1_epi8(0x7f);
    let zero = _mm512_setzero_si512();
    let mut largest = zero;
    for block in codes.chunks_exact(BLOCK) {
        largest = _mm512_max_epu8(largest, _mm512_and_si512(load(block), magnitude));
    }
    let mut bytes = [0_u8; 64];
    // SAFETY: as above.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), largest) };
    let exponent = exponent(bytes.into_iter().fold(0, u8::max));

    let table = [load(&TABLES[exponent][..64]), load(&TABLES[exponent][64..])];
    // In each lane the two pairs of columns of a row, which are eight bytes apart.
    let together = _mm512_setr4_epi32(0x0908_0100, 0x0B0A_0302, 0x0D0C_0504, 0x0F0E_0706);
    let one = _mm512_set1_epi8(1);
    let mut sums = zero;
    for (block, weights) in codes.chunks_exact(BLOCK).zip(&mut decoded.weights) {
        let codes = load(block);
        let integers = _mm512_permutex2var_epi8(table[0], codes, table[1]);
        let integers = _mm512_mask_sub_epi8(integers, _mm512_movepi8_mask(codes), zero, integers);
        let integers = _mm512_shuffle_epi8(integers, together);
        sums = _mm512_dpbusd_epi32(sums, one, integers);
        // SAFETY: a block of weights is 64 bytes.
        unsafe { _mm512_storeu_si512(weights.as_mut_ptr().cast(), integers) };
    }
    let starts = _mm512_sub_epi32(zero, _mm512_slli_epi32::<7>(sums));
    // SAFETY: sixteen i32 are 64 bytes.
    unsafe { _mm512_storeu_si512(decoded.starts.as_mut_ptr().cast(), starts) };
    exponent
}

/// Some groups of all tokens and a tile.
struct Part<'a> {
    operands: &'a Operands<'a>,
    /// `[groups, TILE]`
    decoded: &'a [Decoded],
    /// The first group.
    start: usize,
}

impl Part<'_> {
    /// Adds the products of `P` panels to the sums of all tokens.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn multiply<const P: usize>(&self, sums: &mut [f32]) {
        let bands = sums.chunks_mut(BAND * TILE * PANEL);
        for (band, sums) in bands.enumerate() {
            let token = band * BAND;
            match self.operands.tokens - token {
                BAND.. => self.band::<P, BAND>(token, sums),
                5 => self.band::<P, 5>(token, sums),
                4 => self.band::<P, 4>(token, sums),
                3 => self.band::<P, 3>(token, sums),
                2 => self.band::<P, 2>(token, sums),
                _ => self.band::<P, 1>(token, sums),
            }
        }
    }

    /// The same for `T` tokens, whose sums are given.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn band<const P: usize, const T: usize>(&self, token: usize, sums: &mut [f32]) {
        let sums: &mut [[[f32; PANEL]; TILE]] = sums.as_chunks_mut().0.as_chunks_mut().0;
        let rows: [&[Group]; T] = std::array::from_fn(|t| &self.operands.row(token + t)[self.start..]);
        let blocks = self.operands.panels.blocks() - self.start * BLOCKS;
        for (group, decoded) in self.decoded.chunks_exact(TILE).enumerate() {
            let panels: [&Decoded; P] = std::array::from_fn(|p| &decoded[p]);
            let x: [&Group; T] = std::array::from_fn(|t| &rows[t][group]);
            let products = integers(panels, x, BLOCKS.min(blocks - group * BLOCKS));
            for t in 0..T {
                let scale = _mm512_set1_ps(x[t].scale);
                for p in 0..P {
                    let factors = load_f32(&panels[p].factors);
                    let scaled =
                        _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(products[t][p]), factors), scale);
                    let sum = _mm512_add_ps(load_f32(&sums[t][p]), scaled);
                    // SAFETY: sixteen f32 are 64 bytes.
                    unsafe { _mm512_storeu_ps(sums[t][p].as_mut_ptr(), sum) };
                }
            }
        }
    }
}

/// The sums of integers over some blocks of a group.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn integers<const P: usize, const T: usize>(
    panels: [&Decoded; P],
    x: [&Group; T],
    blocks: usize,
) -> [[__m512i; P]; T] {
    assert!(blocks <= BLOCKS);
    // SAFETY: sixteen i32 are 64 bytes.
    let starts: [__m512i; P] =
        panels.map(|panel| unsafe { _mm512_loadu_si512(panel.starts.as_ptr().cast()) });
    let mut sums = [starts; T];
    for block in 0..blocks {
        let weights: [__m512i; P] = panels.map(|panel| {
            // SAFETY: there are `BLOCKS` blocks of 64 bytes.
            unsafe { _mm512_loadu_si512(panel.weights.as_ptr().add(block).cast()) }
        });
        for t in 0..T {
            // SAFETY: a group has `QUAD` codes for each of `BLOCKS` blocks.
            let quad = unsafe { x[t].codes.as_ptr().add(block * QUAD).cast::<i32>().read_unaligned() };
            for p in 0..P {
                sums[t][p] = _mm512_dpbusd_epi32(sums[t][p], _mm512_set1_epi32(quad), weights[p]);
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_f32(values: &[f32; PANEL]) -> __m512 {
    // SAFETY: sixteen f32 are 64 bytes.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}
