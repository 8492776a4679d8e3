//! The ids of pieces of several tokens that were met before: a small memory of each thread.
//!
//! It is bounded and never grows: 1 MB for pieces of up to 15 bytes, 1 MB for those of up to 31. A set has two
//! ways, and a new piece pushes the older one out. Without the memory a text that repeats its words would take
//! two to three times as long; a quarter of the size costs a quarter of the speed on long texts.
//!
//! Three ids of 17 bits fit a word of 64. Memory comes zeroed from the system and is not touched before use; a key
//! has the length of its piece in the top byte, so that no piece is equal to an empty entry.

use crate::tokenizer::TokenId;
use crate::tokenizer::tables::layout::RANK_BITS;
use crate::tokenizer::tables::words;

/// Longest piece of a small entry.
pub(super) const SMALL_BYTES: usize = 15;
/// Longest piece of a large entry.
pub(super) const LARGE_BYTES: usize = 31;
const SMALL_SETS: usize = 1 << 14;
const LARGE_SETS: usize = 1 << 13;
/// Words of a set: two entries of a key and its ids.
const SMALL_SET: usize = 2 * 4;
const LARGE_SET: usize = 2 * 8;
/// The most ids that an entry holds.
const SMALL_IDS: usize = 6;
const LARGE_IDS: usize = 12;
const IDS_PER_WORD: usize = 3;
const LINE: usize = 64;

pub(super) type LargeKey = [u64; 4];

/// Ids of a piece: as many as [`RESULT`], and how many they are.
pub(super) const RESULT: usize = 16;

/// The memory of a thread.
pub(super) struct Cache {
    small: Lines,
    large: Lines,
}

/// Zeroed words that start at a cache line.
struct Lines {
    storage: Vec<u64>,
    offset: usize,
    words: usize,
}

impl Lines {
    fn new(words: usize) -> Lines {
        let storage = vec![0_u64; words + LINE / size_of::<u64>()];
        let offset = storage.as_ptr().align_offset(LINE);
        Lines { storage, offset, words }
    }

    #[inline(always)]
    fn sets<const SET: usize>(&self) -> &[[u64; SET]] {
        self.storage[self.offset..self.offset + self.words].as_chunks().0
    }

    #[inline(always)]
    fn sets_mut<const SET: usize>(&mut self) -> &mut [[u64; SET]] {
        self.storage[self.offset..self.offset + self.words].as_chunks_mut().0
    }
}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache { small: Lines::new(SMALL_SETS * SMALL_SET), large: Lines::new(LARGE_SETS * LARGE_SET) }
    }

    /// The set of a piece of up to 15 bytes, by its hash.
    #[inline(always)]
    pub(super) fn small_set(&self, hash: u64) -> &[u64; SMALL_SET] {
        &self.small.sets()[small_index(hash)]
    }

    /// The set of a piece of 16 to 31 bytes, by the hash of its key.
    #[inline(always)]
    pub(super) fn large_set(&self, hash: u64) -> &[u64; LARGE_SET] {
        &self.large.sets()[large_index(hash)]
    }

    /// Remembers the ids of a piece of at most 31 bytes, if an entry holds so many.
    #[inline]
    pub(super) fn remember(&mut self, piece: &[u8], hash: u64, ids: &[TokenId]) {
        if piece.len() <= SMALL_BYTES {
            if ids.len() <= SMALL_IDS {
                let (low, high) = words(piece);
                let [first, second] = packed(ids);
                let set = &mut self.small.sets_mut::<SMALL_SET>()[small_index(hash)];
                set.copy_within(..SMALL_SET / 2, SMALL_SET / 2);
                set[..4].copy_from_slice(&[low, high | (piece.len() as u64) << 56, first, second]);
            }
        } else if ids.len() <= LARGE_IDS {
            let set = &mut self.large.sets_mut::<LARGE_SET>()[large_index(hash)];
            set.copy_within(..LARGE_SET / 2, LARGE_SET / 2);
            set[..4].copy_from_slice(&padded_large_key(piece));
            set[4..8].copy_from_slice(&packed::<4>(ids));
        }
    }
}

#[inline(always)]
fn small_index(hash: u64) -> usize {
    (hash >> 16) as usize % SMALL_SETS
}

#[inline(always)]
fn large_index(hash: u64) -> usize {
    (hash >> 16) as usize % LARGE_SETS
}

/// The key of a piece of 16 to 31 bytes, of which 32 can be read.
#[inline(always)]
pub(super) fn large_key(readable: &[u8; 32], length: usize) -> LargeKey {
    let mut key = [0; 4];
    for (word, bytes) in key.iter_mut().zip(readable.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    // 1 to 8 bytes of the third word are of the piece, and up to 7 of the fourth.
    let bits = 8 * (length as u32 - 16);
    key[2] &= if bits >= 64 { !0 } else { (1 << bits) - 1 };
    key[3] &= if bits > 64 { (1 << (bits - 64)) - 1 } else { 0 };
    key[3] |= (length as u64) << 56;
    key
}

fn padded_large_key(piece: &[u8]) -> LargeKey {
    let mut padded = [0; 32];
    padded[..piece.len()].copy_from_slice(piece);
    large_key(&padded, piece.len())
}

/// The words of the ids of a small piece, if its entry is in the set.
#[inline(always)]
pub(super) fn find_small(set: &[u64; SMALL_SET], low: u64, high: u64, length: u64) -> (&[u64; 2], bool) {
    let [first, second] = [&set[..4], &set[4..]];
    let is = |entry: &[u64]| ((entry[0] ^ low) | (entry[1] ^ (high | length << 56))) == 0;
    let entry = if is(second) { second } else { first };
    (entry[2..].first_chunk().unwrap_or(&[0; 2]), is(entry))
}

/// The words of the ids of a large piece, if its entry is in the set.
#[inline(always)]
pub(super) fn find_large<'a>(set: &'a [u64; LARGE_SET], key: &LargeKey) -> (&'a [u64; 4], bool) {
    let [first, second] = [&set[..8], &set[8..]];
    let is = |entry: &[u64]| entry[..4] == key[..];
    let entry = if is(second) { second } else { first };
    (entry[4..].first_chunk().unwrap_or(&[0; 4]), is(entry))
}

/// Three ids a word, from the lowest bits; how many in the top bits of the first.
#[inline(always)]
fn packed<const WORDS: usize>(ids: &[TokenId]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, three) in words.iter_mut().zip(ids.chunks(IDS_PER_WORD)) {
        *word = three.iter().rev().fold(0, |word, &id| word << RANK_BITS | u64::from(id));
    }
    words[0] |= (ids.len() as u64) << (IDS_PER_WORD as u32 * RANK_BITS);
    words
}

/// How many ids are packed.
#[inline(always)]
pub(super) fn packed_count(words: &[u64]) -> u32 {
    (words[0] >> (IDS_PER_WORD as u32 * RANK_BITS)) as u32
}

/// Unpacks all places for ids, used or not.
#[inline(always)]
pub(super) fn unpack<const WORDS: usize>(words: &[u64; WORDS], ids: &mut [TokenId; RESULT]) {
    for (word, three) in words.iter().zip(ids.as_chunks_mut::<IDS_PER_WORD>().0) {
        for (place, id) in (0..).zip(three) {
            *id = (word >> (place * RANK_BITS)) as u32 & ((1 << RANK_BITS) - 1);
        }
    }
}
