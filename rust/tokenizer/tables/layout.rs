//! How the static tables are laid out: hashes, sizes and the bits of the classes.
//!
//! A look-up and the builder of its table share the functions here, so that both see the same layout.

/// Bytes that decoding copies at a time: the bytes of all tokens are followed by as many.
pub(crate) const COPIED: usize = 16;

/// Bits of a rank, and of a token id.
pub(crate) const RANK_BITS: u32 = 17;
/// The most tokens that tables are made for.
pub(crate) const MOST_RANKS: usize = 1 << RANK_BITS;
/// No rank.
pub(crate) const NO_RANK: u32 = u32::MAX;

/// Longest token that the piece table holds: what 16 bytes leave beside a rank and a length.
pub(crate) const PIECE_BYTES: usize = 12;
/// Longest token of all; which lengths there are above [`PIECE_BYTES`] is kept in the 64 bits of a word.
pub(crate) const LONGEST: usize = PIECE_BYTES + 64;
/// Bytes of all tokens above [`PIECE_BYTES`].
pub(crate) const LONG_TOKENS_BYTES: usize = 1 << 18;

pub(crate) const PIECE_BUCKET_BITS: u32 = 15;
pub(crate) const PIECE_SLOT_BITS: u32 = 17;
pub(crate) const PAIR_BUCKET_BITS: u32 = 14;
pub(crate) const PAIR_SLOT_BITS: u32 = 18;
pub(crate) const PAIR_FILTER_BITS: u32 = 20;
pub(crate) const LONG_SLOT_BITS: u32 = 14;
pub(crate) const LENGTHS_BITS: u32 = 16;
pub(crate) const LONG_LENGTHS_BITS: u32 = 12;
/// Bits of the context sets of hard cuts: of two bytes on either side, and of three in all.
pub(crate) const CUT_FOUR_BITS: u32 = 20;
pub(crate) const CUT_THREE_BITS: u32 = 19;
/// Contexts between two characters of three bytes or more.
pub(crate) const CUT_WIDE_BITS: u32 = 18;

const MIX_LOW: u64 = 0x9E37_79B9_7F4A_7C15;
const MIX_HIGH: u64 = 0xD6E8_FEB8_6659_FD93;
/// The multipliers of [`piece_hash`]. Any odd numbers with bits all over would do; the last is of the hash `MurmurHash3`.
pub(crate) const PIECE_MIX: [u64; 3] = [MIX_LOW, MIX_HIGH, 0xFF51_AFD7_ED55_8CCD];

/// Folded multiplication: one instruction and an xor mix all 128 bits of a key.
#[inline(always)]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

/// Hash of the key of a piece, or of sixteen bytes of a longer one behind a hash of what is before them. Its upper forty
/// bits depend on all of the key. A vector has no wider products than these.
#[inline(always)]
pub(crate) fn piece_hash(key: [u64; 2], seed: u64) -> u64 {
    let word = (key[0] ^ seed ^ key[1].wrapping_mul(PIECE_MIX[0])).wrapping_mul(PIECE_MIX[1]);
    (word ^ word >> 32).wrapping_mul(PIECE_MIX[2])
}

/// Hash of a word: a pair of ranks, or the first bytes of a token.
#[inline(always)]
pub(crate) fn word_hash(word: u64, seed: u64) -> u64 {
    fold(word ^ MIX_LOW ^ seed, MIX_HIGH)
}

/// The key of a pair of ranks.
#[inline(always)]
pub(crate) fn pair_key(left: u32, right: u32) -> u64 {
    u64::from(left) << RANK_BITS | u64::from(right)
}

/// Bucket of a hash in a perfect hash table: its highest bits.
#[inline(always)]
pub(crate) fn bucket(hash: u64, bucket_bits: u32) -> usize {
    (hash >> (64 - bucket_bits)) as usize
}

/// Slot of a hash whose bucket has this displacement: other bits, with the upper sixteen moved.
#[inline(always)]
pub(crate) fn displaced_slot(hash: u64, displacement: u16, slot_bits: u32) -> usize {
    ((hash >> SLOT_SHIFT) as usize ^ (usize::from(displacement) << (slot_bits - 16))) & ((1 << slot_bits) - 1)
}

/// Where the bits of a hash start that are the slot.
pub(crate) const SLOT_SHIFT: u32 = 32;

/// A byte of a piece's hash that neither its bucket nor its slot tells; never 0, which is an empty slot.
#[inline(always)]
pub(crate) fn fingerprint(hash: u64) -> u8 {
    (hash >> 24) as u8 | 1
}

/// Bit of a pair's hash in the set of pairs: other bits again.
#[inline(always)]
pub(crate) fn filter_bit(hash: u64) -> usize {
    (hash >> 8) as usize & ((1 << PAIR_FILTER_BITS) - 1)
}

/// Slot of a long token in its open table, by its first and last eight bytes.
#[inline(always)]
pub(crate) fn long_slot(first: u64, last: u64, length: usize) -> usize {
    (piece_hash([first, last ^ length as u64], 0) >> (64 - LONG_SLOT_BITS)) as usize
}

/// Place of the lengths of the long tokens that start with these eight bytes.
#[inline(always)]
pub(crate) fn long_lengths_slot(first: u64) -> usize {
    (word_hash(first, 0) >> (64 - LONG_LENGTHS_BITS)) as usize
}

/// Index of a bit in a set of `1 << bits` bits of up to four bytes of context.
#[inline(always)]
pub(crate) fn context_slot(context: u32, bits: u32) -> usize {
    (context.wrapping_mul(0x9E37_79B1) >> (32 - bits)) as usize
}
