//! Byte contexts that some token spans. A position whose context is in none of these sets is a hard cut.
//!
//! A token spans a position if it has a byte before and a byte behind it. What the sets hold of it is up to
//! two bytes on either side: two and two; one and two, where the token starts a byte before the position; two
//! and one, where it ends a byte behind; one and one, the tokens of two bytes.
//!
//! A set is hashed without a check: a foreign context that falls onto a bit of the set loses a cut, which
//! costs time and changes nothing.

use super::super::layout::{CUT_FOUR_BITS, CUT_THREE_BITS, CUT_WIDE_BITS, context_slot};
use super::super::{Tables, set_bit};
use super::Vocabulary;

pub(super) fn lay_out(vocabulary: &Vocabulary<'_>, tables: &mut Tables) {
    for (_, token) in vocabulary.iter() {
        for position in 1..token.len() {
            let (left, right) = token.split_at(position);
            let (left, right) = (&left[left.len().saturating_sub(2)..], &right[..right.len().min(2)]);
            let context = context(left, right);
            match (left.len(), right.len()) {
                (2, 2) => set_bit(&mut tables.cut_four, context_slot(context, CUT_FOUR_BITS)),
                (1, 2) => set_bit(&mut tables.cut_starting, context_slot(context, CUT_THREE_BITS)),
                (2, 1) => set_bit(&mut tables.cut_ending, context_slot(context, CUT_THREE_BITS)),
                _ => set_bit(&mut tables.cut_two, context as usize),
            }
            if right[0] >= 0xE0 && left[left.len() - 1] >= 0x80 {
                for context in wide_contexts(left, right) {
                    set_bit(&mut tables.cut_wide, context_slot(context, CUT_WIDE_BITS));
                }
            }
        }
    }
}

/// The same for positions between characters of three bytes and more, in one set: there the byte that an edge
/// context does not know can only be one of the 64 that go on a character.
fn wide_contexts(left: &[u8], right: &[u8]) -> Vec<u32> {
    let inner = 0x80..=0xBF_u8;
    match (left, right) {
        (&[_], &[_]) => {
            let rights = inner.map(|byte| [right[0], byte]);
            rights.flat_map(|right| wide_contexts(left, &right)).collect()
        }
        (&[_], &[_, _]) => inner.map(|byte| context(&[byte, left[0]], right)).collect(),
        (&[_, _], &[_]) => inner.map(|byte| context(left, &[right[0], byte])).collect(),
        _ => vec![context(left, right)],
    }
}

/// Up to four bytes as a number, the first lowest.
fn context(left: &[u8], right: &[u8]) -> u32 {
    left.iter().chain(right).rev().fold(0, |context, &byte| context << 8 | u32::from(byte))
}
