//! Bytes to ranks, plainly: an open hash table over the bytes of the tokens.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::TokenId;
use super::token_table::TokenTable;
use super::vocabulary::Rank;

/// No token: an empty slot of the hash table.
const EMPTY: Rank = Rank::MAX;

/// The tokens with a rank, found by their bytes.
#[derive(Debug)]
pub(super) struct PlainRanks {
    token_table: Arc<TokenTable>,
    /// The id of rank 0.
    first_id: TokenId,
    /// Ranks, at the slot that the hash of their bytes names or at the first free one behind: a power of two, at most half
    /// of them taken.
    slots: Vec<Rank>,
    /// Random, so that no file can be made whose tokens all ask for one slot.
    hasher: RandomState,
    longest: usize,
}

impl PlainRanks {
    /// The ranks of the tokens from `first_id` on.
    pub(super) fn new(token_table: &Arc<TokenTable>, first_id: TokenId) -> PlainRanks {
        let count = token_table.len() - first_id as usize;
        let slots = vec![EMPTY; (2 * count).next_power_of_two()];
        let (token_table, hasher) = (Arc::clone(token_table), RandomState::new());
        let mut ranks = PlainRanks { token_table, first_id, slots, hasher, longest: 0 };
        for rank in 0..count as Rank {
            let bytes = ranks.bytes_of(rank);
            let (length, slot) = (bytes.len(), ranks.slot_of(bytes));
            ranks.slots[slot] = rank;
            ranks.longest = ranks.longest.max(length);
        }
        ranks
    }

    /// The rank of the token that has exactly these bytes.
    pub(super) fn rank(&self, bytes: &[u8]) -> Option<Rank> {
        if bytes.len() > self.longest {
            return None;
        }
        let rank = self.slots[self.slot_of(bytes)];
        (rank != EMPTY).then_some(rank)
    }

    /// The most bytes that a token has.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The slot of a token with these bytes, or the empty one where it would stand.
    fn slot_of(&self, bytes: &[u8]) -> usize {
        let mut slot = self.hasher.hash_one(bytes) as usize % self.slots.len();
        while self.slots[slot] != EMPTY && self.bytes_of(self.slots[slot]) != bytes {
            slot = (slot + 1) % self.slots.len();
        }
        slot
    }

    fn bytes_of(&self, rank: Rank) -> &[u8] {
        // Every rank comes from the table's own tokens.
        self.token_table.token_bytes(self.first_id + rank).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::embedded::{self, VOCABULARY_SIZE};
    use super::*;

    fn embedded_ranks() -> PlainRanks {
        PlainRanks::new(&Arc::new(embedded::token_table()), embedded::tables().first_id())
    }

    #[test]
    fn every_token_is_found_by_its_bytes() {
        let ranks = embedded_ranks();
        assert_eq!(ranks.token_table.len(), VOCABULARY_SIZE);
        for rank in 0..130_072 {
            assert_eq!(ranks.rank(ranks.bytes_of(rank)), Some(rank));
            assert_eq!(embedded::tables().rank_of(ranks.bytes_of(rank)), Some(rank));
        }
        assert_eq!(ranks.longest, 76);
    }

    #[test]
    fn other_bytes_are_not_found() {
        for bytes in [&b""[..], b"[INST]", &[b' '; 77]] {
            assert_eq!(embedded_ranks().rank(bytes), None);
            assert_eq!(embedded::tables().rank_of(bytes), None);
        }
    }
}
