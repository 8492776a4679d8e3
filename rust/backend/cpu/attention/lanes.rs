//! Lanes of f32 side by side, compiled for AVX2 with FMA; AVX-512 without BF16 takes it, too.
//!
//! **Order.** A score is one f32 chain of fused additions over ascending dimensions, then times the scale (of an fp8 page, first
//! times that of the key). The weights of a page are added as sixteen lanes, of four positions each that are sixteen apart, and the
//! lanes by halves. A weighted value is one chain of fused additions over ascending positions; of an fp8 page, weights
//! are first multiplied by the scales of the values.
//!
//! **Speed.** Sixteen positions, and then sixteen dimensions, stand side by side; four queries share what is decoded, and their
//! chains fill half of sixteen registers.

#![allow(unsafe_code, reason = "codes are widened by instructions of AVX2")]

use std::arch::x86_64::{
    __m256, _mm256_and_si256, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cvtepu16_epi32,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_mul_ps, _mm256_permute4x64_epi64, _mm256_set1_epi32,
    _mm256_slli_epi32, _mm256_srai_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};

use super::{STATE, Tile};
use crate::backend::cpu::LARGEST_HEAD;
use crate::backend::cpu::exp::exp;
use crate::backend::cpu::kv_cache::{POSITIONS, Page, QUAD, UNIT};
use crate::backend::cpu::ops::{sum_by_halves, widen};
use crate::backend::{KvFormat, PAGE};

/// Chains side by side.
const LANES: usize = 16;
const _: () = assert!(POSITIONS == LANES && UNIT == 4 * LANES && QUAD == 4);

/// The parts of a unit in ascending order: register, and whether it is the second of each pair.
const QUARTERS: [(usize, bool); 4] = [(0, false), (0, true), (1, false), (1, true)];

/// A unit of keys or values: two registers of sixteen pairs.
trait Unit: bytemuck::Pod {
    /// The first or the second of each pair of a register.
    fn widen(&self, register: usize, is_second: bool) -> [f32; LANES];
}

/// Of bf16.
impl Unit for [[u32; LANES]; 2] {
    #[inline(always)]
    fn widen(&self, register: usize, is_second: bool) -> [f32; LANES] {
        self[register].map(|pair| f32::from_bits(if is_second { pair & 0xffff_0000 } else { pair << 16 }))
    }
}

/// Of E4M3: in each of four lanes four pairs of a register, then four of the other.
impl Unit for [u8; UNIT] {
    #[inline(always)]
    fn widen(&self, register: usize, is_second: bool) -> [f32; LANES] {
        // SAFETY: this kernel runs at levels that have AVX2.
        unsafe { widen_codes(self, register, is_second) }
    }
}

/// Written out: of these shuffles the compiler would make single elements.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_codes(unit: &[u8; UNIT], register: usize, is_second: bool) -> [f32; LANES] {
    // SAFETY: a unit is two registers.
    let (lower, upper) = unsafe {
        (_mm256_loadu_si256(unit.as_ptr().cast()), _mm256_loadu_si256(unit.as_ptr().add(32).cast()))
    };
    let lanes = match register {
        0 => _mm256_unpacklo_epi64(lower, upper),
        _ => _mm256_unpackhi_epi64(lower, upper),
    };
    // The unpacking takes a lane of each in turn.
    let pairs = _mm256_permute4x64_epi64::<0b11_01_10_00>(lanes);
    // Sign, exponent and mantissa go to their places; the exponent's bias differs by 120.
    let mask = _mm256_set1_epi32(0x87F0_0000_u32 as i32);
    let bias = _mm256_castsi256_ps(_mm256_set1_epi32((127 + 120) << 23));
    let values = [_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs)].map(|pairs| {
        let pairs = _mm256_cvtepu16_epi32(pairs);
        let codes = if is_second { _mm256_slli_epi32::<16>(pairs) } else { _mm256_slli_epi32::<24>(pairs) };
        let bits = _mm256_and_si256(_mm256_srai_epi32::<4>(codes), mask);
        // Exact, of subnormals, too.
        _mm256_mul_ps(_mm256_castsi256_ps(bits), bias)
    });
    // SAFETY: the types are the same 512 bits.
    unsafe { std::mem::transmute::<[__m256; 2], [f32; LANES]>(values) }
}

/// See [`super::portable::add`].
///
/// Not a closure of `KernelLevel::run`, which is not inlined at this size: a fused addition without its instruction is a call.
#[target_feature(enable = "avx2,fma")]
pub(super) fn add(tile: &Tile<'_>, scale: f32, records: &mut [f32]) {
    match tile.page.format {
        KvFormat::Bf16 => queries::<[[u32; LANES]; 2]>(tile, scale, records),
        KvFormat::Fp8 => queries::<[u8; UNIT]>(tile, scale, records),
    }
}

#[inline(always)]
fn queries<U: Unit>(tile: &Tile<'_>, scale: f32, records: &mut [f32]) {
    match tile.queries.len() / tile.columns {
        4 => page::<U, 4>(tile, scale, records),
        3 => page::<U, 3>(tile, scale, records),
        2 => page::<U, 2>(tile, scale, records),
        _ => page::<U, 1>(tile, scale, records),
    }
}

#[inline(always)]
fn page<U: Unit, const T: usize>(tile: &Tile<'_>, scale: f32, records: &mut [f32]) {
    let Tile { page, count, columns, .. } = *tile;
    let (keys, values): (&[U], &[U]) = (bytemuck::cast_slice(page.keys), bytemuck::cast_slice(page.values));
    let stride = records.len() / T;

    let mut queries = [[0.0; T]; LARGEST_HEAD];
    for (t, query) in tile.queries.chunks_exact(columns).enumerate() {
        queries.iter_mut().zip(query).for_each(|(queries, &x)| queries[t] = widen(x));
    }
    let queries = queries[..columns].as_chunks::<QUAD>().0;
    let mut weights = [[0.0; PAGE]; T];
    for (block, keys) in keys.chunks_exact(columns / QUAD).enumerate() {
        let mut scores = [[0.0; LANES]; T];
        for (unit, queries) in keys.iter().zip(queries) {
            for ((register, is_second), queries) in QUARTERS.into_iter().zip(queries) {
                add_products(&mut scores, &unit.widen(register, is_second), queries);
            }
        }
        for (weights, scores) in weights.iter_mut().zip(scores) {
            weights[block * LANES..][..LANES].copy_from_slice(&scores);
        }
    }

    for (weights, record) in weights.iter_mut().zip(records.chunks_exact_mut(stride)) {
        let (sums, state) = record.split_at_mut(stride - STATE);
        let shrink = weigh(&page, count, scale, weights, state);
        for sum in sums {
            *sum *= shrink;
        }
    }

    let mut by_position = [[0.0; T]; PAGE];
    for (t, weights) in weights.iter().enumerate() {
        by_position.iter_mut().zip(weights).for_each(|(weights, &weight)| weights[t] = weight);
    }
    for (unit, values) in values.chunks_exact(PAGE).enumerate() {
        for (quarter, (register, is_second)) in QUARTERS.into_iter().enumerate() {
            let mut sums = [[0.0; LANES]; T];
            let at = unit * UNIT + quarter * LANES;
            for (sums, record) in sums.iter_mut().zip(records.chunks_exact(stride)) {
                sums.copy_from_slice(&record[at..at + LANES]);
            }
            for (value, weights) in values[..count].iter().zip(&by_position) {
                add_products(&mut sums, &value.widen(register, is_second), weights);
            }
            for (sums, record) in sums.iter().zip(records.chunks_exact_mut(stride)) {
                record[at..at + LANES].copy_from_slice(sums);
            }
        }
    }
}

/// One step of `T` times sixteen chains.
#[inline(always)]
fn add_products<const T: usize>(sums: &mut [[f32; LANES]; T], values: &[f32; LANES], factors: &[f32; T]) {
    for (sums, &factor) in sums.iter_mut().zip(factors) {
        for lane in 0..LANES {
            sums[lane] = values[lane].mul_add(factor, sums[lane]);
        }
    }
}

/// Turns scores into weights, which are zero from `count` on, and brings the maximum and the sum of weights up to date;
/// what the sums so far are to be multiplied by.
#[inline(always)]
fn weigh(page: &Page<'_>, count: usize, scale: f32, scores: &mut [f32; PAGE], state: &mut [f32]) -> f32 {
    scores.iter_mut().zip(page.key_scales).for_each(|(score, scale)| *score *= scale);
    let mut largest = [f32::NEG_INFINITY; LANES];
    for (block, scores) in scores.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        for lane in 0..LANES {
            // What stands behind the last position may be any bits: it must not count.
            let is_valid = block * LANES + lane < count;
            scores[lane] = if is_valid { scores[lane] * scale } else { f32::NEG_INFINITY };
            largest[lane] = if scores[lane] > largest[lane] { scores[lane] } else { largest[lane] };
        }
    }
    let maximum = largest.into_iter().fold(state[0], f32::max);
    let shrink = exp(state[0] - maximum);
    let mut total = [0.0; LANES];
    for scores in scores.as_chunks_mut::<LANES>().0 {
        for lane in 0..LANES {
            scores[lane] = exp(scores[lane] - maximum);
            total[lane] += scores[lane];
        }
    }
    state[0] = maximum;
    state[1] = state[1] * shrink + sum_by_halves(total);
    scores.iter_mut().zip(page.value_scales).for_each(|(weight, scale)| *weight *= scale);
    shrink
}
