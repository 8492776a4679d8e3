//! The ids of pieces of several tokens that were met before: a small memory of each thread.
//!
//! It is bounded and never grows. Without it a text that repeats its words would take two to three times as long.
//!
//! * *Small* pieces, of up to 15 bytes and seven ids: sets of two entries of 32 bytes, the bytes of the piece and its ids.
//!   A new piece pushes the older one of its set out. 2 MB.
//! * *Large* pieces, of 16 to 127 bytes: entries of any size one behind the other in a ring, and an index to where they
//!   start. A new entry overwrites the oldest ones. 1 MB and 256 kB.
//!
//! Memory comes zeroed from the system and is not touched before use; the small pieces lie in one huge page. A key has the length of its piece, so that no
//! piece is equal to an empty entry.

use super::huge_page::HugePage;
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::key_of;
use crate::tokenizer::tables::layout::{RANK_BITS, piece_hash};

/// Longest small piece.
pub(super) const SMALL_BYTES: usize = 15;
/// Longest large piece.
pub(super) const LARGE_BYTES: usize = 127;
const SMALL_SETS: usize = 1 << 15;
/// Words of a set: two entries of a key and its ids.
const SMALL_SET: usize = 2 * 4;
/// The most ids that a small entry holds.
pub(super) const SMALL_IDS: usize = 7;

const INDEX_SETS: usize = 1 << 14;
const INDEX_SET: usize = 4;
/// Words of the ring.
const RING: usize = 1 << 17;
const RING_BITS: u32 = RING.ilog2();
/// Words of the longest entry: a head, the bytes, and no more ids than bytes, two a word.
const LONGEST_ENTRY: usize = 1 + LARGE_BYTES.div_ceil(8) + LARGE_BYTES.div_ceil(2);

/// The memory of a thread.
pub(super) struct Cache {
    small: HugePage<[[u64; SMALL_SET]; SMALL_SETS]>,
    /// Places in the ring, the newest of a set first.
    index: Vec<[u32; INDEX_SET]>,
    ring: Vec<u64>,
    /// Where the next entry of the ring will stand.
    next: usize,
}

/// Up to seven ids of a small piece, [`RANK_BITS`] each, the first lowest; and in the top bits how many they are.
#[derive(Clone, Copy)]
pub(super) struct Packed(u128);

const COUNT_SHIFT: u32 = RANK_BITS * SMALL_IDS as u32;

impl Cache {
    pub(super) fn new() -> Cache {
        Cache {
            small: HugePage::new(),
            index: vec![[0; INDEX_SET]; INDEX_SETS],
            ring: vec![0; RING],
            next: 0,
        }
    }

    /// The set of a small piece, by its hash.
    #[inline(always)]
    pub(super) fn small_set(&self, hash: u64) -> &[u64; SMALL_SET] {
        &self.small.get()[small_set(hash)]
    }

    /// The ids of a small piece, by its key, and whether it is known; if it is not, the ids are those of another.
    #[inline(always)]
    pub(super) fn find_small(&self, hash: u64, key: [u64; 2]) -> (Packed, bool) {
        let set = self.small_set(hash);
        let [first, second] = [&set[..4], &set[4..]];
        let is = |entry: &[u64]| ((entry[0] ^ key[0]) | (entry[1] ^ key[1])) == 0;
        let entry = if is(second) { second } else { first };
        (Packed(u128::from(entry[2]) | u128::from(entry[3]) << 64), is(entry))
    }

    /// The places that a large piece may have in the ring, by its hash.
    #[inline(always)]
    pub(super) fn large_places(&self, hash: u64) -> &[u32; INDEX_SET] {
        &self.index[index_set(hash)]
    }

    /// What stands at a place of the ring.
    #[inline(always)]
    pub(super) fn ring_word(&self, place: u32) -> &u64 {
        &self.ring[place as usize % RING]
    }

    /// The ids of a large piece, two a word.
    #[inline(always)]
    pub(super) fn find_large(&self, hash: u64, piece: &[u8]) -> Option<(&[u64], usize)> {
        let (places, tag) = (self.large_places(hash), tag(hash));
        let mut rest = (0..INDEX_SET)
            .fold(0_u32, |found, place| found | u32::from(places[place] >> RING_BITS == tag) << place);
        while rest != 0 {
            let place = places[rest.trailing_zeros() as usize % INDEX_SET];
            rest &= rest - 1;
            let entry = &self.ring[place as usize % RING..];
            let head = entry[0];
            // Only a head has the byte FF: text is UTF-8, and an id has fewer than 24 bits. So where a head stands an
            // entry starts; and it is whole, because entries are overwritten from their start.
            if head >> 48 != 0xFF00 | piece.len() as u64 {
                continue;
            }
            let (key, ids) = entry[1..].split_at(piece.len().div_ceil(8));
            let count = head as u32 as usize;
            if is_same(piece, &bytemuck::cast_slice(key)[..piece.len()]) {
                return Some((&ids[..count.div_ceil(2)], count));
            }
        }
        None
    }

    /// Remembers the ids of a small piece, if an entry holds so many.
    pub(super) fn remember_small(&mut self, piece: &[u8], hash: u64, ids: &[TokenId]) {
        if ids.len() > SMALL_IDS {
            return;
        }
        let set = &mut self.small.get_mut()[small_set(hash)];
        set.copy_within(..SMALL_SET / 2, SMALL_SET / 2);
        set[..2].copy_from_slice(&key_of(piece));
        let packed = ids.iter().rev().fold(0, |packed, &id| packed << RANK_BITS | u128::from(id));
        let packed = packed | (ids.len() as u128) << COUNT_SHIFT;
        [set[2], set[3]] = [packed as u64, (packed >> 64) as u64];
    }

    /// Remembers the ids of a large piece.
    pub(super) fn remember_large(&mut self, piece: &[u8], hash: u64, ids: &[TokenId]) {
        if self.next + LONGEST_ENTRY > RING {
            self.next = 0;
        }
        let key = piece.len().div_ceil(8);
        let entry = &mut self.ring[self.next..][..1 + key + ids.len().div_ceil(2)];
        entry[0] = (0xFF00 | piece.len() as u64) << 48 | ids.len() as u64;
        key_words(piece).zip(&mut entry[1..]).for_each(|(bytes, word)| *word = bytes);
        let (twos, last) = ids.as_chunks::<2>();
        let pairs = twos.iter().copied().chain(last.first().map(|&id| [id, 0]));
        for (word, [first, second]) in entry[1 + key..].iter_mut().zip(pairs) {
            *word = u64::from(first) | u64::from(second) << 32;
        }
        let set = &mut self.index[index_set(hash)];
        set.copy_within(..INDEX_SET - 1, 1);
        set[0] = tag(hash) << RING_BITS | self.next as u32;
        self.next += entry.len();
    }
}

impl Packed {
    /// How many ids.
    #[inline(always)]
    pub(super) fn count(self) -> u32 {
        (self.0 >> COUNT_SHIFT) as u32
    }

    /// The ids as they are packed, and above them what is not theirs.
    #[inline(always)]
    pub(super) fn bits(self) -> u128 {
        self.0
    }

    /// Writes all places for ids, used or not.
    #[inline(always)]
    pub(super) fn unpack(self, ids: &mut [TokenId; SMALL_IDS + 1]) {
        for (place, id) in (0..).zip(ids) {
            *id = (self.0 >> (place * RANK_BITS)) as u32 & ((1 << RANK_BITS) - 1);
        }
    }
}

/// Index of the set of a small piece.
#[inline(always)]
fn small_set(hash: u64) -> usize {
    (hash >> 40) as usize % SMALL_SETS
}

/// Index of the set of a large piece.
#[inline(always)]
fn index_set(hash: u64) -> usize {
    (hash >> 48) as usize % INDEX_SETS
}

/// Bits of a hash that tell most of the pieces of an index set apart; never 0, which is an empty place.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 24) as u32 & ((1 << (32 - RING_BITS)) - 1) | 1
}

/// Hash of a piece of at least 16 bytes, sixteen at a time; the last sixteen overlap.
#[inline(always)]
pub(super) fn large_hash(piece: &[u8]) -> u64 {
    let mut hash = piece.len() as u64;
    let (sixteens, _) = piece.as_chunks::<16>();
    for sixteen in sixteens.iter().chain(piece.last_chunk()) {
        let word = u128::from_le_bytes(*sixteen);
        hash = piece_hash([word as u64, (word >> 64) as u64], hash);
    }
    hash
}

/// Whether two pieces of the same length, at least 16 bytes, are the same. Most have at most 32 bytes.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let ends = |piece: &[u8]| {
        let word = |bytes: Option<&[u8; 16]>| bytes.map_or(0, |bytes| u128::from_le_bytes(*bytes));
        [word(piece.first_chunk()), word(piece.last_chunk())]
    };
    let ([a_first, a_last], [b_first, b_last]) = (ends(a), ends(b));
    (a_first ^ b_first) | (a_last ^ b_last) == 0 && (a.len() <= 32 || a[16..] == b[16..])
}

/// The bytes of a piece of at least 16 bytes, eight a word; the last word is padded with zeros.
#[inline(always)]
fn key_words(piece: &[u8]) -> impl Iterator<Item = u64> {
    let (eights, rest) = piece.as_chunks::<8>();
    let last = piece.last_chunk().filter(|_| !rest.is_empty());
    let last = last.map(|eight| u64::from_le_bytes(*eight) >> (64 - 8 * rest.len()));
    eights.iter().map(|eight| u64::from_le_bytes(*eight)).chain(last)
}
