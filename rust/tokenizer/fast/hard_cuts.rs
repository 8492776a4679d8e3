//! Hard cuts: positions inside a pretoken that no token of the vocabulary can span.
//!
//! Why they are right: merging only ever makes tokens of the vocabulary. A merge across the position would make a
//! token that has a byte before and a byte behind it, and there is none. So the merges on the two sides never
//! meet, none of them waits for one on the other side, and the tokens of the whole are those of the left side
//! followed by those of the right. A part between two cuts is as good as a pretoken: it can be looked up, cached
//! and merged by itself.
//!
//! Whether a token spans a position is asked of sets of contexts (`tables/builder/cuts.rs`): up to two bytes on either
//! side. More context would find a few more cuts and need far greater sets.

use super::class_masks::character_length;
use crate::tokenizer::tables::Tables;

/// Whether the position between two characters of three bytes and more is a hard cut; the four bytes around it.
#[inline(always)]
pub(super) fn is_wide_cut(tables: &Tables, around: [u8; 4]) -> bool {
    !tables.is_spanned_wide(u32::from_le_bytes(around))
}

/// Whether a position inside a piece is a hard cut.
#[inline]
pub(super) fn is_hard_cut(tables: &Tables, piece: &[u8], position: usize) -> bool {
    let byte = |at: usize| u32::from(piece[at]);
    let two = byte(position - 1) | byte(position) << 8;
    if tables.is_spanned_alone(two) {
        return false;
    }
    let before = (position > 1).then(|| byte(position - 2));
    let behind = piece.get(position + 1).map(|&byte| u32::from(byte));
    let from_start = behind.is_some_and(|behind| tables.is_spanned_from_start(two | behind << 16));
    let to_end = before.is_some_and(|before| tables.is_spanned_to_end(before | two << 8));
    let inside = before
        .zip(behind)
        .is_some_and(|(before, behind)| tables.is_spanned_inside(before | two << 8 | behind << 24));
    !(from_start || to_end || inside)
}

/// Calls `each` with the parts of a piece between hard cuts. Characters stay whole: a cut inside one is not
/// asked for.
pub(super) fn for_each_part<'a>(tables: &Tables, piece: &'a [u8], mut each: impl FnMut(&'a [u8])) {
    let mut start = 0;
    for end in 1..piece.len() {
        if piece[end] & 0xC0 != 0x80 && is_hard_cut(tables, piece, end) {
            each(&piece[start..end]);
            start = end;
        }
    }
    each(&piece[start..]);
}

/// Calls `each` with the hard cuts between wide characters of a piece.
pub(super) fn for_each_wide_cut(tables: &Tables, piece: &[u8], mut each: impl FnMut(usize)) {
    let (mut at, mut length_before) = (0, 0);
    while at < piece.len() {
        let length = character_length(piece[at]);
        if length >= 3
            && length_before >= 3
            && is_wide_cut(tables, [piece[at - 2], piece[at - 1], piece[at], piece[at + 1]])
        {
            each(at);
        }
        (at, length_before) = (at + length, length);
    }
}
