//! The tables of the fast tokenizer and their look-ups.
//!
//! Those of the embedded vocabulary are laid out by the build script and lie in read-only data: nothing to build at
//! load, shared by all processes (`embedded.rs`). Those of another vocabulary are built by the same code when its file
//! is read. This folder is compiled into both; it depends on nothing else of the crate.
//!
//! Every table has a fixed size, so that all of them are one block of memory, and a power of two of slots that is
//! indexed by a masked number, so that the compiler leaves the bounds checks out by itself. A vocabulary that does not
//! fit is no error: it takes the plain path.

mod builder;
pub(crate) mod classes;
pub(crate) mod layout;

use bytemuck::{Pod, Zeroable};
use layout::{
    CUT_FOUR_BITS, CUT_THREE_BITS, CUT_WIDE_BITS, LENGTHS_BITS, LONG_LENGTHS_BITS, LONG_SLOT_BITS,
    LONG_TOKENS_BYTES, LONGEST, MOST_RANKS, NO_RANK, PAIR_BUCKET_BITS, PAIR_FILTER_BITS, PAIR_SLOT_BITS,
    PIECE_BUCKET_BITS, PIECE_BYTES, PIECE_SLOT_BITS, RANK_BITS, bucket, context_slot, displaced_slot,
    filter_bit, fingerprint, long_lengths_slot, long_slot, pair_key, piece_hash, word_hash,
};

/// All that the fast path knows of a vocabulary. The builder says what each table holds.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Tables {
    piece_slots: [[u64; 2]; 1 << PIECE_SLOT_BITS],
    piece_displacements: [u16; 1 << PIECE_BUCKET_BITS],
    piece_fingerprints: [u8; 1 << PIECE_SLOT_BITS],
    /// Rank of a token above [`PIECE_BYTES`], and where it starts in `long_tokens`.
    long_slots: [[u32; 2]; 1 << LONG_SLOT_BITS],
    long_tokens: [u8; LONG_TOKENS_BYTES],
    token_lengths: [u8; MOST_RANKS],
    lengths: [u16; 1 << LENGTHS_BITS],
    long_lengths: [u64; 1 << LONG_LENGTHS_BITS],
    pair_slots: [u64; 1 << PAIR_SLOT_BITS],
    pair_displacements: [u16; 1 << PAIR_BUCKET_BITS],
    pair_filter: [u8; 1 << (PAIR_FILTER_BITS - 3)],
    two_bytes: [u64; 1 << 16],
    token_halves: [[u32; 2]; MOST_RANKS],
    token_prefixes: [u32; MOST_RANKS],
    character_ends: [u32; 1 << 14],
    character_begins: [u32; 1 << 14],
    cut_four: [u8; 1 << (CUT_FOUR_BITS - 3)],
    cut_starting: [u8; 1 << (CUT_THREE_BITS - 3)],
    cut_ending: [u8; 1 << (CUT_THREE_BITS - 3)],
    cut_two: [u8; 1 << 13],
    cut_wide: [u8; 1 << (CUT_WIDE_BITS - 3)],
    piece_seed: u64,
    pair_seed: u64,
    /// The id of rank 0: the number of special tokens.
    first_id: u32,
    padding: [u32; 11],
}

/// The key of a piece: its first 15 bytes, zero padded, and its length in the top byte, where 16 stands for that and more.
/// The bytes are the first of the 16 given.
#[inline(always)]
pub(crate) fn piece_key(bytes: [u8; 16], length: usize) -> [u64; 2] {
    let length = length.min(16);
    let word = u128::from_le_bytes(bytes);
    let [low_mask, high_mask] = KEY_MASKS[length];
    [word as u64 & low_mask, (word >> 64) as u64 & high_mask | (length as u64) << 56]
}

/// [`piece_key`] of a piece behind which nothing can be read.
#[inline]
pub(crate) fn key_of(piece: &[u8]) -> [u64; 2] {
    let mut padded = [0; 16];
    let length = piece.len().min(16);
    padded[..length].copy_from_slice(&piece[..length]);
    piece_key(padded, piece.len())
}

/// For each length the bits of its bytes in two words, of which the last byte is that of the length.
static KEY_MASKS: [[u64; 2]; 17] = {
    let mut masks = [[0; 2]; 17];
    let mut length = 1;
    while length < masks.len() {
        let bits = if length < 15 { 8 * length } else { 120 };
        let mask = u128::MAX >> (128 - bits);
        masks[length] = [mask as u64, (mask >> 64) as u64];
        length += 1;
    }
    masks
};

/// Bytes that a key is read from.
pub(crate) const KEY_BYTES: usize = 16;
/// The bits of the upper half of an entry that are those of its key; its id is in the others.
pub(crate) const ENTRY_KEY_BITS: u64 = 0xFF00_0000_FFFF_FFFF;

/// The id in an entry of the piece table, and 0 if it is that of this very key. The length of a piece above 12 bytes is in
/// no entry, so that bytes behind the twelfth, where the id is, need no test.
#[inline(always)]
pub(crate) fn entry_id(entry: &[u64; 2], key: [u64; 2]) -> (u32, u64) {
    let id = (entry[1] >> 32) as u32 & ((1 << RANK_BITS) - 1);
    let difference = (entry[0] ^ key[0]) | ((entry[1] ^ key[1]) & ENTRY_KEY_BITS);
    (id, difference)
}

/// Three ranks of two bytes; [`TwoBytes::NONE`] where there is no such token.
#[derive(Clone, Copy)]
pub(crate) struct TwoBytes(u64);

impl TwoBytes {
    /// Greater than all ranks.
    pub(crate) const NONE: u32 = (1 << RANK_BITS) - 1;

    fn new(rank: u32, ends: u32, begins: u32) -> TwoBytes {
        TwoBytes(u64::from(rank) | u64::from(ends) << RANK_BITS | u64::from(begins) << (2 * RANK_BITS))
    }

    /// Rank of the token of the two.
    #[inline(always)]
    pub(crate) fn rank(self) -> u32 {
        self.0 as u32 & TwoBytes::NONE
    }

    /// Lowest rank of a token that ends with the two.
    #[inline(always)]
    pub(crate) fn ends(self) -> u32 {
        (self.0 >> RANK_BITS) as u32 & TwoBytes::NONE
    }

    /// Lowest rank of a token that begins with the two.
    #[inline(always)]
    pub(crate) fn begins(self) -> u32 {
        (self.0 >> (2 * RANK_BITS)) as u32 & TwoBytes::NONE
    }
}

/// Two neighbouring tokens, and the slot of the table that has what they merge into.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pair {
    key: u64,
    slot: u32,
}

impl Tables {
    /// The id of rank 0; the id of a token is its rank plus this.
    #[inline(always)]
    pub(crate) fn first_id(&self) -> u32 {
        self.first_id
    }

    /// Hash of a key for the piece table.
    #[inline(always)]
    pub(crate) fn hash_of(&self, key: [u64; 2]) -> u64 {
        piece_hash(key, self.piece_seed)
    }

    /// The slot where a piece with this hash stands if it is a token.
    #[inline(always)]
    pub(crate) fn piece_slot(&self, hash: u64) -> usize {
        displaced_slot(hash, self.piece_displacements[bucket(hash, PIECE_BUCKET_BITS)], PIECE_SLOT_BITS)
    }

    /// The seed of [`Tables::hash_of`].
    #[inline(always)]
    pub(crate) fn piece_seed(&self) -> u64 {
        self.piece_seed
    }

    /// For each bucket of the piece table its displacement; two bytes more can be read.
    #[inline(always)]
    pub(crate) fn piece_displacements(&self) -> *const u16 {
        // What is behind the table is of the same tables.
        const OFFSET: usize = std::mem::offset_of!(Tables, piece_displacements);
        const { assert!(OFFSET + (2 << PIECE_BUCKET_BITS) < size_of::<Tables>()) };
        let tables: *const Tables = self;
        tables.cast::<u8>().wrapping_add(OFFSET).cast()
    }

    /// What stands in a slot of the piece table.
    #[inline(always)]
    pub(crate) fn piece_entry(&self, slot: usize) -> &[u64; 2] {
        &self.piece_slots[slot % (1 << PIECE_SLOT_BITS)]
    }

    /// Rank of a piece that is likely no token of at most 12 bytes: a byte a slot turns most of them away.
    #[inline(always)]
    pub(crate) fn rank_of_unlikely(&self, key: [u64; 2]) -> Option<u32> {
        let hash = self.hash_of(key);
        let slot = self.piece_slot(hash);
        if self.piece_fingerprints[slot % (1 << PIECE_SLOT_BITS)] != fingerprint(hash) {
            return None;
        }
        let (id, difference) = entry_id(self.piece_entry(slot), key);
        (difference == 0).then(|| id - self.first_id)
    }

    /// Rank of a piece of 13 bytes and more.
    #[inline(never)]
    pub(crate) fn rank_of_long(&self, piece: &[u8]) -> Option<u32> {
        if piece.len() <= PIECE_BYTES || piece.len() > LONGEST {
            return None;
        }
        // Most are turned away by a table that stays in the first caches.
        let lengths = self.long_token_lengths_from(first_word(piece));
        if lengths >> (piece.len() - PIECE_BYTES - 1) & 1 == 0 {
            return None;
        }
        let mut slot = long_slot(first_word(piece), first_word(&piece[piece.len() - 8..]), piece.len());
        loop {
            let [rank, start] = self.long_slots[slot];
            if rank == NO_RANK {
                return None;
            }
            let length = self.token_length(rank);
            if length == piece.len() && self.long_tokens[start as usize..][..length] == *piece {
                return Some(rank);
            }
            slot = (slot + 1) % self.long_slots.len();
        }
    }

    /// Rank of a piece of any length that is a token.
    #[inline]
    pub(crate) fn rank_of(&self, piece: &[u8]) -> Option<u32> {
        if piece.len() > PIECE_BYTES {
            return self.rank_of_long(piece);
        }
        let key = key_of(piece);
        let (id, difference) = entry_id(self.piece_entry(self.piece_slot(self.hash_of(key))), key);
        (difference == 0).then(|| id - self.first_id)
    }

    /// Bytes of a token.
    #[inline(always)]
    pub(crate) fn token_length(&self, rank: u32) -> usize {
        usize::from(self.token_lengths[rank as usize])
    }

    /// The longest token that is a proper prefix of a token, or `NO_RANK`.
    pub(crate) fn prefix_of(&self, rank: u32) -> u32 {
        self.token_prefixes[rank as usize]
    }

    /// The two tokens that a token's last merge joined.
    #[inline(always)]
    pub(crate) fn halves_of(&self, rank: u32) -> [u32; 2] {
        self.token_halves[rank as usize]
    }

    /// Rank of the token of two bytes, or `NO_RANK`.
    #[inline(always)]
    pub(crate) fn two_byte_rank(&self, first: u8, second: u8) -> u32 {
        let rank = self.two_bytes(first, second).rank();
        if rank == TwoBytes::NONE { NO_RANK } else { rank }
    }

    /// What is known of two neighbouring bytes.
    #[inline(always)]
    pub(crate) fn two_bytes(&self, first: u8, second: u8) -> TwoBytes {
        TwoBytes(self.two_bytes[usize::from(first) | usize::from(second) << 8])
    }

    /// Rank of the token that two neighbours merge into, or `NO_RANK`.
    #[inline(always)]
    pub(crate) fn merged_rank(&self, left: u32, right: u32) -> u32 {
        self.rank_of_pair(self.pair(left, right))
    }

    /// Two neighbours, and where the table has what they merge into.
    #[inline(always)]
    pub(crate) fn pair(&self, left: u32, right: u32) -> Pair {
        let key = pair_key(left, right);
        let hash = word_hash(key, self.pair_seed);
        // Most pairs that are asked for do not exist; the filter knows without touching a cold line of the table. Slot 0
        // is as good as any for them, and warm: there is no branch to guess wrong.
        let is_likely = has_bit(&self.pair_filter, filter_bit(hash));
        let displacement = self.pair_displacements[bucket(hash, PAIR_BUCKET_BITS)];
        let slot = displaced_slot(hash, displacement, PAIR_SLOT_BITS) & usize::from(is_likely).wrapping_neg();
        Pair { key, slot: slot as u32 }
    }

    /// What the table has for a pair: a line of memory to ask for.
    #[inline(always)]
    pub(crate) fn pair_entry(&self, pair: Pair) -> &u64 {
        &self.pair_slots[pair.slot as usize % (1 << PAIR_SLOT_BITS)]
    }

    /// Rank of the token that a pair merges into, or `NO_RANK`.
    #[inline(always)]
    pub(crate) fn rank_of_pair(&self, pair: Pair) -> u32 {
        let entry = *self.pair_entry(pair);
        if entry >> RANK_BITS == pair.key { entry as u32 & ((1 << RANK_BITS) - 1) } else { NO_RANK }
    }

    /// Lowest rank of a token that ends inside a character with this first byte, behind this byte.
    #[inline(always)]
    pub(crate) fn end_inside(&self, before: u8, first: u8) -> u32 {
        self.character_ends[usize::from(first & 63) << 8 | usize::from(before)]
    }

    /// Lowest rank of a token that begins inside a character with this last byte, before this byte.
    #[inline(always)]
    pub(crate) fn begin_inside(&self, last: u8, behind: u8) -> u32 {
        self.character_begins[usize::from(last & 63) << 8 | usize::from(behind)]
    }

    /// Lengths of the tokens of 4 to 12 bytes that start with these four bytes, as bits; bit 15: there are longer ones.
    #[inline(always)]
    pub(crate) fn token_lengths_from(&self, first_four: u32) -> u32 {
        u32::from(self.lengths[context_slot(first_four, LENGTHS_BITS)])
    }

    /// Lengths of the tokens above 12 bytes that start with these eight bytes; bit 0 stands for 13.
    #[inline(always)]
    pub(crate) fn long_token_lengths_from(&self, first_eight: u64) -> u64 {
        self.long_lengths[long_lengths_slot(first_eight)]
    }

    /// Whether there is a token of these two bytes.
    #[inline(always)]
    pub(crate) fn is_spanned_alone(&self, context: u32) -> bool {
        has_bit(&self.cut_two, context as usize)
    }

    /// Whether some token that starts with the first of three bytes spans the position behind it.
    #[inline(always)]
    pub(crate) fn is_spanned_from_start(&self, context: u32) -> bool {
        has_bit(&self.cut_starting, context_slot(context, CUT_THREE_BITS))
    }

    /// Whether some token that ends with the last of three bytes spans the position before it.
    #[inline(always)]
    pub(crate) fn is_spanned_to_end(&self, context: u32) -> bool {
        has_bit(&self.cut_ending, context_slot(context, CUT_THREE_BITS))
    }

    /// Whether some token spans the middle of four bytes and holds them all.
    #[inline(always)]
    pub(crate) fn is_spanned_inside(&self, context: u32) -> bool {
        has_bit(&self.cut_four, context_slot(context, CUT_FOUR_BITS))
    }

    /// Whether some token spans the middle of four bytes: two of a character of three or more, two of the next.
    #[inline(always)]
    pub(crate) fn is_spanned_wide(&self, context: u32) -> bool {
        has_bit(&self.cut_wide, context_slot(context, CUT_WIDE_BITS))
    }
}

/// The first eight bytes of at least as many.
#[inline(always)]
fn first_word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[inline(always)]
fn has_bit<const BYTES: usize>(set: &[u8; BYTES], index: usize) -> bool {
    set[index / 8 % BYTES] >> (index % 8) & 1 != 0
}

/// Sets bit `index` of a set of bits.
fn set_bit(set: &mut [u8], index: usize) {
    set[index / 8] |= 1 << (index % 8);
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Tables({} bytes)", size_of::<Tables>())
    }
}
