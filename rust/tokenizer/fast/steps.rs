//! The steps that a chunk of pieces goes through together: look-up, cache, merges.
//!
//! The lines of memory that a step reads are prefetched by the step before, and no step branches on whether one piece was
//! found: those that were not are listed.

use bytemuck::zeroed_box;

use super::backtrack::encode_long;
use super::cache::{Cache, LARGE_BYTES, SMALL_BYTES, large_hash};
use super::level::Instructions;
use super::look_up::{BLOCK, Block, first_bytes, key_at, span};
use super::merge::{MERGE_BYTES, Merges, ShortPiece};
use super::output::SLACK;
use super::prefetch::prefetch;
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::Tables;

/// Ids of a piece that are kept beside each other; more go to [`Steps::long_results`].
pub(super) const RESULT: usize = 8;

/// What the steps of a chunk leave for one another; the greater arrays are on the heap, for threads of a small stack.
/// Index `i` is a piece of the chunk, `m` one of its misses.
pub(super) struct Steps<const PIECES: usize> {
    block: Block,
    /// `[i]`; of a miss, any number. [`SLACK`] more can be read.
    pub(super) ids: Box<[TokenId; PIECES]>,
    /// `[m]` its `i`.
    pub(super) misses: Box<[u32; PIECES]>,
    /// `[m]` for the cache.
    hashes: Box<[u64; PIECES]>,
    /// `[m]` its ids. Where they are more than [`RESULT`], the first is their place in `long_results`.
    results: Box<[[TokenId; RESULT]; PIECES]>,
    /// `[m]` how many ids.
    pub(super) counts: Box<[u32; PIECES]>,
    /// The `m` of those of a block that are small, and of those that are large.
    small: [u32; BLOCK],
    large: [u32; BLOCK],
    /// The `m` of those that the cache does not know.
    pub(super) unknown: Box<[u32; PIECES]>,
    long_results: Vec<TokenId>,
    /// The ids of a piece that is too long to be merged in turns; its memory is kept.
    long_piece: Vec<TokenId>,
}

/// How many pieces of a chunk were no short tokens, and how many of these the cache does not know.
pub(super) struct Missed {
    pub(super) missed: usize,
    pub(super) unknown: usize,
}

impl<const PIECES: usize> Steps<PIECES> {
    pub(super) fn new() -> Steps<PIECES> {
        Steps {
            block: Block::new(),
            ids: zeroed_box(),
            misses: zeroed_box(),
            hashes: zeroed_box(),
            results: zeroed_box(),
            counts: zeroed_box(),
            small: [0; BLOCK],
            large: [0; BLOCK],
            unknown: zeroed_box(),
            long_results: Vec::new(),
            long_piece: Vec::new(),
        }
    }

    /// Looks each piece up among the short tokens, and those that are none in the cache.
    #[inline(always)]
    pub(super) fn look_up<I: Instructions>(
        &mut self,
        instructions: I,
        tables: &Tables,
        cache: &Cache,
        readable: &[u8],
        starts: &[u32],
        wants_ids: bool,
    ) -> Missed {
        let pieces = starts.len() - 1;
        self.long_results.clear();
        let mut found = Missed { missed: 0, unknown: 0 };
        for first in (0..pieces).step_by(BLOCK) {
            let first_miss = found.missed;
            let starts_of_block = &starts[first..=pieces.min(first + BLOCK)];
            let misses = (first as u32, &mut self.misses[first_miss..]);
            found.missed += instructions.look_up(
                &mut self.block,
                tables,
                readable,
                starts_of_block,
                &mut self.ids[first..],
                misses,
            );
            if found.missed > first_miss {
                self.ask_cache(
                    instructions,
                    cache,
                    readable,
                    starts,
                    first,
                    first_miss,
                    &mut found,
                    wants_ids,
                );
            }
        }
        found
    }

    /// Finds the ids of the misses from `first_miss` on that the cache knows; lists the others in `unknown`.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a step of one function, inlined into it")]
    fn ask_cache<I: Instructions>(
        &mut self,
        instructions: I,
        cache: &Cache,
        readable: &[u8],
        starts: &[u32],
        block: usize,
        first_miss: usize,
        found: &mut Missed,
        wants_ids: bool,
    ) {
        // Small pieces and large ones, each by themselves: whether the next is the one or the other cannot be guessed.
        let (mut small, mut large) = (0, 0);
        for m in first_miss..found.missed {
            let (start, end) = span(starts, self.misses[m] as usize);
            let is_small = end - start <= SMALL_BYTES;
            self.small[small % BLOCK] = m as u32;
            small += usize::from(is_small);
            self.large[large % BLOCK] = m as u32;
            large += usize::from(!is_small);
        }
        for &m in &self.small[..small] {
            let m = m as usize;
            self.hashes[m] = self.block.hashes[self.misses[m] as usize - block];
            prefetch(cache.small_set(self.hashes[m]));
        }
        for &m in &self.large[..large] {
            let m = m as usize;
            let (start, end) = span(starts, self.misses[m] as usize);
            self.hashes[m] = large_hash(&readable[start..end]);
            prefetch(cache.large_places(self.hashes[m]));
        }
        for &m in &self.small[..small] {
            let m = m as usize;
            let key = key_at(readable, span(starts, self.misses[m] as usize));
            let (ids, is_known) = cache.find_small(self.hashes[m], key);
            self.counts[m] = ids.count();
            if wants_ids {
                instructions.unpack(ids, &mut self.results[m]);
            }
            self.unknown[found.unknown] = m as u32;
            found.unknown += usize::from(!is_known);
        }
        for &m in &self.large[..large] {
            prefetch(cache.ring_word(cache.large_places(self.hashes[m as usize])[0]));
        }
        for l in 0..large {
            let m = self.large[l] as usize;
            let (start, end) = span(starts, self.misses[m] as usize);
            if end - start <= LARGE_BYTES
                && let Some((words, count)) = cache.find_large(self.hashes[m], &readable[start..end])
            {
                self.counts[m] = count as u32;
                if wants_ids {
                    let ids = words.iter().flat_map(|&word| [word as TokenId, (word >> 32) as TokenId]);
                    self.set_result(m, ids.take(count), count);
                }
            } else {
                self.unknown[found.unknown] = m as u32;
                found.unknown += 1;
            }
        }
    }

    /// Encodes miss `m`, which the cache does not know, and makes it know it. The ids may come later: [`Steps::finish`].
    /// 48 bytes can be read from the start of each piece.
    #[inline(always)]
    pub(super) fn encode_unknown(
        &mut self,
        tables: &Tables,
        (cache, merges): (&mut Cache, &mut Merges),
        readable: &[u8],
        starts: &[u32],
        m: usize,
    ) {
        let (start, end) = span(starts, self.misses[m] as usize);
        let piece = &readable[start..end];
        if piece.len() <= MERGE_BYTES {
            if let Some(rank) = tables.rank_of_long(piece) {
                return self.keep(cache, piece, m, &[rank + tables.first_id()]);
            }
            let short = ShortPiece::new(first_bytes(readable, start), piece.len());
            let mut done = |m: u32, ids: &[TokenId]| self.keep_merged(cache, readable, starts, m, ids);
            return merges.add(tables, short, m as u32, &mut done);
        }
        let mut ids = std::mem::take(&mut self.long_piece);
        ids.clear();
        encode_long(tables, piece, |id| ids.push(id));
        self.keep(cache, piece, m, &ids);
        self.long_piece = ids;
    }

    /// Merges to the end what has been begun.
    #[inline(always)]
    pub(super) fn finish(
        &mut self,
        tables: &Tables,
        (cache, merges): (&mut Cache, &mut Merges),
        readable: &[u8],
        starts: &[u32],
    ) {
        merges.finish(tables, &mut |m, ids| self.keep_merged(cache, readable, starts, m, ids));
    }

    fn keep_merged(&mut self, cache: &mut Cache, readable: &[u8], starts: &[u32], m: u32, ids: &[TokenId]) {
        let (start, end) = span(starts, self.misses[m as usize] as usize);
        self.keep(cache, &readable[start..end], m as usize, ids);
    }

    /// Makes the ids those of miss `m`, here and in the cache.
    #[inline(always)]
    fn keep(&mut self, cache: &mut Cache, piece: &[u8], m: usize, ids: &[TokenId]) {
        let hash = self.hashes[m];
        if piece.len() <= SMALL_BYTES {
            cache.remember_small(piece, hash, ids);
        } else if piece.len() <= LARGE_BYTES {
            cache.remember_large(piece, hash, ids);
        }
        self.counts[m] = ids.len() as u32;
        self.set_result(m, ids.iter().copied(), ids.len());
    }

    /// Makes the `count` ids those of miss `m`.
    #[inline(always)]
    fn set_result(&mut self, m: usize, ids: impl Iterator<Item = TokenId>, count: usize) {
        if count <= RESULT {
            self.results[m].iter_mut().zip(ids).for_each(|(place, id)| *place = id);
        } else {
            let from = self.long_results.len();
            self.results[m][0] = from as TokenId;
            self.long_results.extend(ids);
            self.long_results.resize(from + count + SLACK, 0);
        }
    }

    /// The ids of miss `m` and how many they are; [`SLACK`] more can be read, or [`RESULT`] in all.
    #[inline(always)]
    pub(super) fn result(&self, m: usize) -> (&[TokenId], usize) {
        let count = self.counts[m] as usize;
        let ids = &self.results[m];
        if count <= RESULT { (&ids[..], count) } else { (&self.long_results[ids[0] as usize..], count) }
    }
}
