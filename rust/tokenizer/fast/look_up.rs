//! The one look-up of a piece: is it a token of at most twelve bytes?
//!
//! Some hundred pieces go through it together, in two rounds: the first finds where each would stand and asks for that line
//! of memory, the second reads it. Neither branches on what it finds.

use super::class_masks::READ;
use super::prefetch::prefetch;
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::{Tables, entry_id, piece_key};

/// Pieces that are looked up together: what is known of them and the lines that they ask for fit the first cache.
pub(super) const BLOCK: usize = 256;
/// Pieces of a step, at most: behind those that are looked up, so many results more may be written.
pub(super) const STEP: usize = 8;

/// What the first round leaves to the second.
pub(super) struct Block {
    /// `[i]` where the piece stands if it is a token.
    pub(super) slots: [u32; BLOCK],
    /// The keys, in an order that a level chooses.
    pub(super) keys: [[u64; 2]; BLOCK],
    /// `[i]` the hash of the key; for the cache.
    pub(super) hashes: [u64; BLOCK],
}

/// Start and end of piece `i` of those that are one behind the other: their starts, and the end of the last.
#[inline(always)]
pub(super) fn span(starts: &[u32], i: usize) -> (usize, usize) {
    (starts[i] as usize, starts[i + 1] as usize)
}

/// The bytes from `start` on.
#[inline(always)]
pub(super) fn first_bytes<const COUNT: usize>(readable: &[u8], start: usize) -> &[u8; COUNT] {
    const { assert!(COUNT <= READ) };
    match readable[start..start + COUNT].first_chunk() {
        Some(bytes) => bytes,
        None => &[0; COUNT],
    }
}

/// The key of a piece.
#[inline(always)]
pub(super) fn key_at(readable: &[u8], (start, end): (usize, usize)) -> [u64; 2] {
    piece_key(*first_bytes(readable, start), end - start)
}

impl Block {
    pub(super) fn new() -> Block {
        Block { slots: [0; BLOCK], keys: [[0; 2]; BLOCK], hashes: [0; BLOCK] }
    }

    /// Looks the pieces between `starts` up, of which there are at most [`BLOCK`]. Writes the id of each to `ids`, or any
    /// number; and the index of each that has none, plus `first`, to `misses`. Returns how many they are.
    #[inline(always)]
    pub(super) fn look_up(
        &mut self,
        tables: &Tables,
        readable: &[u8],
        starts: &[u32],
        ids: &mut [TokenId],
        (first, misses): (u32, &mut [u32]),
    ) -> usize {
        let pieces = 0..starts.len() - 1;
        let places = self.keys.iter_mut().zip(&mut self.slots).zip(&mut self.hashes);
        for (i, ((key, slot), hash)) in pieces.clone().zip(places) {
            *key = key_at(readable, span(starts, i));
            *hash = tables.hash_of(*key);
            let place = tables.piece_slot(*hash);
            prefetch(tables.piece_entry(place));
            *slot = place as u32;
        }
        let mut missed = 0;
        for ((i, id), (key, &slot)) in pieces.zip(ids).zip(self.keys.iter().zip(&self.slots)) {
            let (entry_id, difference) = entry_id(tables.piece_entry(slot as usize), *key);
            *id = entry_id;
            misses[missed] = first + i as u32;
            missed += usize::from(difference != 0);
        }
        missed
    }
}
