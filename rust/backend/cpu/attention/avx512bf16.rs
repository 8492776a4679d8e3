//! AVX-512 with VBMI and BF16.
//!
//! **Order.** A score is one f32 chain over ascending pairs of dimensions, each step one `vdpbf16ps` (numbers below the normal
//! floats count as zero), then times the scale (of an fp8 page, first times that of the key). The weights of a page are added as
//! sixteen lanes, of four positions each that are sixteen apart, and the lanes by halves. A weighted value is one chain of fused
//! additions over ascending positions; of an fp8 page, weights are first multiplied by the scales of the values.
//!
//! **Speed.** For each query 64 × `head_dim` / 32 dots and as many fused additions twice: no sum across a register, since
//! sixteen positions, and then sixteen dimensions, stand side by side. Four queries share what is loaded and decoded. The page
//! that comes next is fetched meanwhile, a line for each line read.

#![allow(unsafe_code, reason = "loads and stores through pointers whose bounds are checked once a page")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_mov_ps, _mm512_max_ps, _mm512_mul_ps,
    _mm512_reduce_max_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    _mm512_storeu_ps,
};

use super::{STATE, TILE, Tile};
use crate::backend::cpu::exp::exp;
use crate::backend::cpu::fetch::fetch;
use crate::backend::cpu::fp8_matmul::Decoder;
use crate::backend::cpu::kv_cache::{POSITIONS, Page, QUAD, UNIT};
use crate::backend::cpu::ops::sum_by_halves;
use crate::backend::{KvFormat, PAGE};

/// Lanes of a register of f32.
const LANES: usize = 16;
/// Registers of scores of a page, and of sums of a unit of values.
const REGISTERS: usize = 4;
const _: () = assert!(REGISTERS * LANES == PAGE && REGISTERS * LANES == UNIT && POSITIONS == LANES);

/// See [`super::portable::add`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
pub(super) fn add(tile: &Tile<'_>, scale: f32, records: &mut [f32]) {
    let queries = tile.queries.len() / tile.columns;
    match tile.page.format {
        KvFormat::Bf16 => match queries {
            4 => page::<4, false>(tile, scale, records),
            3 => page::<3, false>(tile, scale, records),
            2 => page::<2, false>(tile, scale, records),
            _ => page::<1, false>(tile, scale, records),
        },
        KvFormat::Fp8 => match queries {
            4 => page::<4, true>(tile, scale, records),
            3 => page::<3, true>(tile, scale, records),
            2 => page::<2, true>(tile, scale, records),
            _ => page::<1, true>(tile, scale, records),
        },
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
fn page<const T: usize, const FP8: bool>(tile: &Tile<'_>, scale: f32, records: &mut [f32]) {
    const { assert!(T <= TILE) };
    let Tile { page, ahead, count, queries, columns } = tile;
    let stride = records.len() / T;
    let (sums, size) = (stride - STATE, if FP8 { 1 } else { 2 });
    assert!(queries.len() == T * columns && columns.is_multiple_of(QUAD) && sums.is_multiple_of(UNIT));
    assert!(records.len() == T * stride && *count <= PAGE);
    for page in [page, ahead] {
        assert!(page.keys.len() == PAGE * columns * size && page.values.len() == PAGE * sums * size);
    }
    let decoder = Decoder::new();

    let mut scores = [[_mm512_setzero_ps(); REGISTERS]; T];
    for quad in 0..columns / QUAD {
        for block in 0..REGISTERS {
            let unit = block * columns / QUAD + quad;
            // SAFETY: `keys` has four rows of `columns / QUAD` units, and `queries` `QUAD` dimensions for each `quad`.
            unsafe {
                let pairs = load::<FP8>(&decoder, page.keys, ahead.keys, unit);
                for (t, scores) in scores.iter_mut().enumerate() {
                    let query = queries.as_ptr().add(t * columns + quad * QUAD);
                    for (pair, keys) in pairs.into_iter().enumerate() {
                        let query = query.add(2 * pair).cast::<i32>().read_unaligned();
                        scores[block] = dot(scores[block], keys, query);
                    }
                }
            }
        }
    }

    let mut weights = [[0.0_f32; PAGE]; T];
    for ((scores, weights), record) in scores.iter().zip(&mut weights).zip(records.chunks_exact_mut(stride)) {
        let (sums, state) = record.split_at_mut(stride - STATE);
        let shrink = weigh::<FP8>(page, *count, scale, scores, weights, state);
        // Multiplying by one would change nothing.
        if shrink.to_bits() != 1.0_f32.to_bits() {
            for sum in sums {
                *sum *= shrink;
            }
        }
    }

    for unit in 0..sums / UNIT {
        let records = records.as_mut_ptr();
        // SAFETY: a record has `sums` sums, whole units of them.
        let at =
            |t: usize, register: usize| unsafe { records.add(t * stride + unit * UNIT + register * LANES) };
        let mut sums = [[_mm512_setzero_ps(); REGISTERS]; T];
        for (t, sums) in sums.iter_mut().enumerate() {
            for (register, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                *sum = unsafe { _mm512_loadu_ps(at(t, register)) };
            }
        }
        for slot in 0..*count {
            // SAFETY: `values` has `PAGE` units of positions for each unit of dimensions, and `slot` is below `PAGE`.
            let [first, second] =
                unsafe { load::<FP8>(&decoder, page.values, ahead.values, unit * PAGE + slot) };
            let values = [lower(first), upper(first), lower(second), upper(second)];
            for (sums, weights) in sums.iter_mut().zip(&weights) {
                let weight = _mm512_set1_ps(weights[slot]);
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = _mm512_fmadd_ps(weight, values, *sum);
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            for (register, &sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(at(t, register), sum) };
            }
        }
    }
}

/// Turns scores into weights, which are zero from `count` on, and brings the maximum and the sum of weights up to date;
/// what the sums so far are to be multiplied by.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
fn weigh<const FP8: bool>(
    page: &Page<'_>,
    count: usize,
    scale: f32,
    scores: &[__m512; REGISTERS],
    weights: &mut [f32; PAGE],
    state: &mut [f32],
) -> f32 {
    let lowest = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut largest = lowest;
    for (register, &score) in scores.iter().enumerate() {
        let first = register * LANES;
        let mut score = score;
        if FP8 {
            // SAFETY: sixteen floats.
            score =
                _mm512_mul_ps(score, unsafe { _mm512_loadu_ps(page.key_scales[first..][..LANES].as_ptr()) });
        }
        score = _mm512_mul_ps(score, _mm512_set1_ps(scale));
        // What stands behind the last position may be any bits: it must not count.
        let valid = ((1_u32 << LANES.min(count.saturating_sub(first))) - 1) as u16;
        score = _mm512_mask_mov_ps(lowest, valid, score);
        largest = _mm512_max_ps(score, largest);
        // SAFETY: `weights` has sixteen floats for each register.
        unsafe { _mm512_storeu_ps(weights.as_mut_ptr().add(first), score) };
    }
    let maximum = state[0].max(_mm512_reduce_max_ps(largest));
    let shrink = exp(state[0] - maximum);
    for weight in weights.iter_mut() {
        *weight = exp(*weight - maximum);
    }
    let total = weights.chunks_exact(LANES).fold(_mm512_setzero_ps(), |total, weights| {
        // SAFETY: sixteen floats.
        _mm512_add_ps(total, unsafe { _mm512_loadu_ps(weights.as_ptr()) })
    });
    let mut lanes = [0.0_f32; LANES];
    // SAFETY: sixteen floats.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), total) };
    state[0] = maximum;
    state[1] = state[1] * shrink + sum_by_halves(lanes);
    if FP8 {
        weights.iter_mut().zip(page.value_scales).for_each(|(weight, scale)| *weight *= scale);
    }
    shrink
}

/// A unit as two registers of bf16; fetches the same of the page ahead.
///
/// # Safety
/// Both pages have the unit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn load<const FP8: bool>(decoder: &Decoder, page: &[u8], ahead: &[u8], unit: usize) -> [__m512i; 2] {
    let lines = if FP8 { 1 } else { 2 };
    let line = |line: usize| (unit * lines + line) * 64;
    // SAFETY: the caller's promise; a unit of codes is one line of 64 bytes, and one of bf16 two.
    unsafe {
        let first = _mm512_loadu_si512(page.as_ptr().add(line(0)).cast());
        fetch(ahead.as_ptr().add(line(0)));
        if FP8 {
            return decoder.decode(first);
        }
        fetch(ahead.as_ptr().add(line(1)));
        [first, _mm512_loadu_si512(page.as_ptr().add(line(1)).cast())]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot(sum: __m512, keys: __m512i, query: i32) -> __m512 {
    // SAFETY: the types are the same 512 bits.
    let (keys, query) = unsafe {
        (
            std::mem::transmute::<__m512i, __m512bh>(keys),
            std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(query)),
        )
    };
    _mm512_dpbf16_ps(sum, keys, query)
}

/// The first of each pair of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn lower(pairs: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))
}

/// The second of each pair of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper(pairs: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32)))
}
