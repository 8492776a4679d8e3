//! The plain kernel: a score is one chain of f32 additions over ascending dimensions, times the scale; weights and weighted
//! values are added over ascending positions. Multiply and add are rounded separately.
//!
//! Of an fp8 page, the scale of a key multiplies its score, and the scale of a value its weight, after the sum of weights.

use super::{STATE, Tile};
use crate::backend::cpu::exp::exp;
use crate::backend::cpu::kv_cache::{Element, POSITIONS, QUAD, UNIT, key_place, value_place};
use crate::backend::cpu::ops::widen;
use crate::backend::{KvFormat, PAGE};

/// Adds the positions of a page to a record for each query.
#[inline(always)]
pub(super) fn add(tile: &Tile<'_>, scale: f32, records: &mut [f32]) {
    match tile.page.format {
        KvFormat::Bf16 => add_page::<u16>(tile, scale, records),
        KvFormat::Fp8 => add_page::<u8>(tile, scale, records),
    }
}

#[inline(always)]
fn add_page<E: Element>(tile: &Tile<'_>, scale: f32, records: &mut [f32]) {
    let Tile { page, count, queries, columns, .. } = tile;
    let (keys, values): (&[E], &[E]) = (bytemuck::cast_slice(page.keys), bytemuck::cast_slice(page.values));
    let stride = records.len() / (queries.len() / columns);
    for (query, record) in queries.chunks_exact(*columns).zip(records.chunks_exact_mut(stride)) {
        let (sums, state) = record.split_at_mut(stride - STATE);
        let mut scores = [0.0; PAGE];
        for (scores, keys) in scores.chunks_exact_mut(POSITIONS).zip(keys.chunks_exact(POSITIONS * columns)) {
            add_scores(query, keys, scores);
        }
        for score in &mut scores {
            *score *= scale;
        }
        scores.iter_mut().zip(page.key_scales).for_each(|(score, scale)| *score *= scale);
        let scores = &scores[..*count];
        let maximum = scores.iter().fold(state[0], |largest, &score| largest.max(score));
        let shrink = exp(state[0] - maximum);
        (state[0], state[1]) = (maximum, state[1] * shrink);
        for sum in sums.iter_mut() {
            *sum *= shrink;
        }
        for (slot, score) in scores.iter().enumerate() {
            let weight = exp(score - maximum);
            state[1] += weight;
            let weight = page.value_scales.get(slot).map_or(weight, |scale| weight * scale);
            let units = values.chunks_exact(UNIT).skip(slot).step_by(PAGE);
            for (sums, unit) in sums.chunks_exact_mut(UNIT).zip(units) {
                for (dimension, sum) in sums.iter_mut().enumerate() {
                    *sum += weight * unit[value_place::<E>(dimension)].decode();
                }
            }
        }
    }
}

/// Products of a query with sixteen keys.
#[inline(always)]
fn add_scores<E: Element>(query: &[u16], keys: &[E], scores: &mut [f32]) {
    for (query, unit) in query.chunks_exact(QUAD).zip(keys.chunks_exact(UNIT)) {
        for (k, &query) in query.iter().enumerate() {
            for (position, score) in scores.iter_mut().enumerate() {
                *score += widen(query) * unit[key_place::<E>(position, k)].decode();
            }
        }
    }
}
