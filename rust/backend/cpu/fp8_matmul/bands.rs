//! Activations in bands of up to ten tokens, which stand side by side for each pair of columns.
//!
//! A kernel that multiplies a band reads one stream. Rows of 5,120 or 14,336 bf16 would all begin at the same place of a first-level
//! cache, and ten of them drive each other out.

#![allow(unsafe_code, reason = "the call of a function for one kind of processor")]

use std::ops::Range;

use super::Operands;
use crate::backend::cpu::ThreadPool;
use crate::backend::cpu::ops::{narrow, rows_of_task};
use crate::fp8::GROUP;
use crate::fp8::panels::QUAD;

/// Most tokens of a band.
pub(super) const BAND: usize = 10;
/// Columns that all bands have before the next.
const CHUNK: usize = 2_048;
/// A group of columns is in one chunk.
const _: () = assert!(CHUNK.is_multiple_of(GROUP) && CHUNK.is_multiple_of(QUAD));

/// Activations of some tokens.
#[derive(Clone, Copy)]
pub(super) struct Bands<'a> {
    /// Pairs of bf16, the first in the lower half: `[chunks, bands, pairs of a chunk, tokens of the band]`. A band that has a token
    /// less than others has as much room.
    pairs: &'a [u32],
    tokens: usize,
}

impl<'a> Bands<'a> {
    /// Rounds `[n, columns]` to bf16; n is not zero.
    pub(super) fn round(
        pool: &ThreadPool,
        x: &[f32],
        (n, columns): (usize, usize),
        room: &'a mut Vec<u32>,
    ) -> Bands<'a> {
        let shape = Bands { pairs: &[], tokens: n };
        let bands = shape.count();
        let width = shape.width();
        let total = columns.div_ceil(CHUNK) * bands * width;
        room.resize(room.len().max(total), 0);
        let length = rows_of_task(2 * width);
        pool.for_each_part(&mut room[..total], length * width, |task, parts| {
            for (index, part) in (task * length..).zip(parts.chunks_exact_mut(width)) {
                let first = index / bands * CHUNK;
                let tokens = shape.tokens(index % bands);
                for (t, token) in tokens.clone().enumerate() {
                    let row = &x[token * columns..][first..columns.min(first + CHUNK)];
                    // SAFETY: only the level that has them takes its activations so.
                    unsafe { round_row(row, &mut part[t..], tokens.len()) };
                }
            }
        });
        Bands { pairs: &room[..total], tokens: n }
    }

    /// Bands, of as many tokens each as can be.
    pub(super) fn count(&self) -> usize {
        self.tokens.div_ceil(BAND)
    }

    /// The tokens of a band.
    pub(super) fn tokens(&self, band: usize) -> Range<usize> {
        let start = |band: usize| band * self.tokens / self.count();
        start(band)..start(band + 1)
    }

    /// Pairs of a band and a chunk.
    fn width(&self) -> usize {
        self.tokens.div_ceil(self.count()) * CHUNK / 2
    }
}

/// Rounds a row to pairs that are some places apart. As far as the last block goes, what is behind the columns is zero.
#[target_feature(enable = "avx512f,avx512bw")]
fn round_row(row: &[f32], places: &mut [u32], apart: usize) {
    let mut pairs = [0; CHUNK / 2];
    let (whole, last) = row.as_chunks::<2>();
    for (pair, x) in pairs.iter_mut().zip(whole) {
        *pair = u32::from(narrow(x[0])) | u32::from(narrow(x[1])) << 16;
    }
    if let [last] = last {
        pairs[whole.len()] = u32::from(narrow(*last));
    }
    let pairs = &pairs[..row.len().next_multiple_of(QUAD) / 2];
    if apart == 1 {
        places[..pairs.len()].copy_from_slice(pairs);
    } else {
        places.iter_mut().step_by(apart).zip(pairs).for_each(|(place, pair)| *place = *pair);
    }
}

impl Operands<'_, Bands<'_>> {
    /// The `blocks`, as they are read one after the other: where there are several bands, those of a chunk.
    pub(super) fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let (end, several) = (self.blocks.end, self.x.count() > 1);
        let next = move |start: usize| {
            let stop = if several { (start * QUAD / CHUNK + 1) * CHUNK / QUAD } else { end };
            (start < end).then(|| start..stop.min(end))
        };
        std::iter::successors(next(self.blocks.start), move |part| next(part.end))
    }

    /// The activations of a band for a part of the blocks: `[pairs, tokens of the band]`.
    pub(super) fn pairs(&self, band: usize, part: &Range<usize>) -> &[u32] {
        let Bands { pairs, .. } = self.x;
        let (chunk, within) = (part.start * QUAD / CHUNK, part.start * QUAD % CHUNK);
        let tokens = self.x.tokens(band).len();
        let start = (chunk * self.x.count() + band) * self.x.width() + within / 2 * tokens;
        &pairs[start..][..part.len() * QUAD / 2 * tokens]
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;
    use crate::fp8::{Fp8Rows, Panels};

    #[test]
    fn every_activation_is_where_a_kernel_reads_it() {
        if !(std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw")) {
            return;
        }
        let pool = ThreadPool::new(NonZero::new(2).unwrap()).unwrap();
        // Left from a product before.
        let mut room = vec![0xffff_ffff; 100_000];
        for (tokens, columns) in [(1, 5), (3, 4_500), (10, 2_048), (11, 2_049), (25, 4_500), (40, 130)] {
            let x: Vec<f32> = (0..tokens * columns).map(|index| index as f32).collect();
            let panels = Panels::pack(&Fp8Rows { codes: vec![0; columns], scales: vec![1.0], columns });
            let x_in_bands = Bands::round(&pool, &x, (tokens, columns), &mut room);
            let all = 0..panels.blocks();
            let operands = Operands { panels: &panels, x: x_in_bands, tokens, blocks: all.clone() };
            let parts: Vec<_> = operands.parts().collect();
            assert!(parts.iter().flat_map(Range::clone).eq(all), "every block once");
            assert!(tokens > BAND || parts.len() == 1);
            for (part, band) in
                parts.iter().flat_map(|part| (0..x_in_bands.count()).map(move |band| (part, band)))
            {
                let band_tokens = x_in_bands.tokens(band);
                let mut pairs = operands.pairs(band, part).iter();
                for column in (part.start * QUAD..part.end * QUAD).step_by(2) {
                    for token in band_tokens.clone() {
                        let value =
                            |column| if column < columns { narrow(x[token * columns + column]) } else { 0 };
                        let expected = u32::from(value(column)) | u32::from(value(column + 1)) << 16;
                        assert_eq!(pairs.next(), Some(&expected), "token {token}, column {column}");
                    }
                }
                assert_eq!(pairs.next(), None);
            }
        }
    }
}
