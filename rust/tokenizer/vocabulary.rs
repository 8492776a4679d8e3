//! The embedded vocabulary: bytes to rank to token id.
//!
//! `nemo_vocabulary.bin` lists the tokens of rank 256 and up as pairs of lower ranks whose bytes, joined, are
//! the token's (its last merge); ranks 0 to 255 are the single bytes. A rank is a little-endian number of
//! three bytes. The file holds them as six planes of [`MERGES`] bytes: the low, the middle and the high bytes
//! of all left ranks, then those of all right ranks. Planes of alike bytes are what an archive compresses
//! best: 779 kB become 0.46 MB in the wheel, where the plain bytes of the tokens would take 0.62 MB.
//!
//! The offset between ranks and token ids is known here and nowhere else.

use std::sync::{Arc, LazyLock};

use super::TokenId;
use super::special_tokens::{SPECIAL_TOKEN_COUNT, special_token_names};
use super::token_table::TokenTable;

/// The priority of a token in merging, from 0: lower ranks merge first.
pub(super) type Rank = u32;

const BYTE_RANKS: u32 = 256;
const VOCABULARY_SIZE: usize = 131_072;
const MERGES: usize = VOCABULARY_SIZE - SPECIAL_TOKEN_COUNT as usize - BYTE_RANKS as usize;
static PLANES: &[u8; 6 * MERGES] = include_bytes!("nemo_vocabulary.bin");

/// No token: an empty slot of the hash table.
const EMPTY: Rank = Rank::MAX;
/// Slots of the hash table: a power of two, at most half of them taken.
const SLOTS: usize = 1 << 18;

static EMBEDDED: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| Arc::new(Vocabulary::read()));

/// The tokens with a rank, found by their bytes, and the table of all tokens, special ones included.
#[derive(Debug)]
pub(super) struct Vocabulary {
    token_table: Arc<TokenTable>,
    /// `[SLOTS]` ranks, at the slot that the hash of their bytes names or at the first free one behind.
    slots: Vec<Rank>,
    longest: usize,
}

impl Vocabulary {
    /// The vocabulary of Mistral Nemo, built on first use and shared from then on.
    pub(super) fn embedded() -> Arc<Vocabulary> {
        Arc::clone(&EMBEDDED)
    }

    fn read() -> Vocabulary {
        let (left, right) = PLANES.split_at(3 * MERGES);
        let rank_at = |planes: &[u8], i: usize| {
            Rank::from_le_bytes([planes[i], planes[MERGES + i], planes[2 * MERGES + i], 0])
        };
        let mut token_table = TokenTable::with_capacity(VOCABULARY_SIZE);
        for name in special_token_names() {
            token_table.push(name.as_bytes(), true);
        }
        for byte in 0..=u8::MAX {
            token_table.push(&[byte], false);
        }
        for i in 0..MERGES {
            token_table.push_merge(id_of(rank_at(left, i)), id_of(rank_at(right, i)));
        }
        Vocabulary::new(token_table)
    }

    fn new(token_table: TokenTable) -> Vocabulary {
        let mut vocabulary =
            Vocabulary { token_table: Arc::new(token_table), slots: vec![EMPTY; SLOTS], longest: 0 };
        for rank in 0..BYTE_RANKS + MERGES as u32 {
            let bytes = vocabulary.bytes_of(rank);
            let length = bytes.len();
            let slot = vocabulary.slot_of(bytes);
            vocabulary.slots[slot] = rank;
            vocabulary.longest = vocabulary.longest.max(length);
        }
        vocabulary
    }

    pub(super) fn token_table(&self) -> &Arc<TokenTable> {
        &self.token_table
    }

    /// The rank of the token that has exactly these bytes.
    pub(super) fn rank(&self, bytes: &[u8]) -> Option<Rank> {
        if bytes.len() > self.longest {
            return None;
        }
        let rank = self.slots[self.slot_of(bytes)];
        (rank != EMPTY).then_some(rank)
    }

    /// The slot of a token with these bytes, or the empty one where it would stand.
    fn slot_of(&self, bytes: &[u8]) -> usize {
        let mut slot = first_slot(bytes);
        while self.slots[slot] != EMPTY && self.bytes_of(self.slots[slot]) != bytes {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    fn bytes_of(&self, rank: Rank) -> &[u8] {
        // Every rank comes from the table's own tokens.
        self.token_table.token_bytes(id_of(rank)).unwrap_or_default()
    }
}

/// The token id of a rank.
pub(super) fn id_of(rank: Rank) -> TokenId {
    SPECIAL_TOKEN_COUNT + rank
}

/// FNV-1a, the plainest hash that spreads short strings well; its upper bits are the better ones.
fn first_slot(bytes: &[u8]) -> usize {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_by_its_bytes() {
        let vocabulary = Vocabulary::embedded();
        assert_eq!(vocabulary.token_table.len(), VOCABULARY_SIZE);
        for rank in 0..130_072 {
            assert_eq!(vocabulary.rank(vocabulary.bytes_of(rank)), Some(rank));
        }
        assert_eq!(vocabulary.longest, 76);
    }

    #[test]
    fn other_bytes_are_not_found() {
        let vocabulary = Vocabulary::embedded();
        assert_eq!(vocabulary.rank(b""), None);
        assert_eq!(vocabulary.rank(b"[INST]"), None);
        assert_eq!(vocabulary.rank(&[b' '; 77]), None);
    }
}
