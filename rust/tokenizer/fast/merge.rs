//! Merging of small pieces, without a heap: the best pair is found by looking at all of them.
//!
//! ```text
//! tokens = the bytes of the piece                       (departure 1: or whole characters)
//! ranks  = for each token the rank that it and its right neighbour merge into
//! while a rank is left:
//!     i = the first place of the lowest rank            (departure 2: rank and place in one number)
//!     join tokens i and i + 1, close the gap
//!     ask for the ranks of i and of i - 1 again
//! ```
//!
//! Looking at all pairs takes the square of the length, which is why it stops at [`MERGE_BYTES`]: longer pieces go to
//! `backtrack.rs`, which is linear and slower for short ones.

use crate::tokenizer::TokenId;
use crate::tokenizer::tables::layout::NO_RANK;
use crate::tokenizer::tables::{Tables, words};

/// Longest piece.
pub(super) const MERGE_BYTES: usize = 32;

/// Writes the ids of a piece of at most [`MERGE_BYTES`] bytes that is no token; returns how many.
pub(super) fn merge(tables: &Tables, piece: &[u8], ids: &mut [TokenId; MERGE_BYTES]) -> usize {
    // `[count]` tokens; `ranks[i]` is that of tokens i and i + 1.
    let tokens = ids;
    let mut ranks = [NO_RANK; MERGE_BYTES];
    let mut count = first_tokens(tables, piece, tokens, &mut ranks);
    loop {
        let (mut best, mut place) = (NO_RANK, 0);
        for (i, &rank) in ranks[..count].iter().enumerate() {
            (best, place) = if rank < best { (rank, i) } else { (best, place) };
        }
        if best == NO_RANK {
            break;
        }
        tokens[place] = best;
        tokens.copy_within(place + 2..count, place + 1);
        ranks.copy_within(place + 1..count, place);
        count -= 1;
        ranks[count - 1] = NO_RANK;
        if place + 1 < count {
            ranks[place] = tables.merged_rank(best, tokens[place + 1]);
        }
        if place > 0 {
            ranks[place - 1] = tables.merged_rank(tokens[place - 1], best);
        }
    }
    for id in &mut tokens[..count] {
        *id += tables.first_id();
    }
    count
}

/// The tokens that merging starts from, and the ranks of their pairs: bytes, or whole characters where that is
/// proven to be the same.
pub(super) fn first_tokens(
    tables: &Tables,
    piece: &[u8],
    tokens: &mut [u32; MERGE_BYTES],
    ranks: &mut [u32; MERGE_BYTES],
) -> usize {
    if piece.is_ascii() {
        for (token, &byte) in tokens.iter_mut().zip(piece) {
            *token = u32::from(byte);
        }
        for (rank, pair) in ranks.iter_mut().zip(piece.windows(2)) {
            *rank = tables.two_byte_rank(pair[0], pair[1]);
        }
        return piece.len();
    }
    let (mut at, mut count) = (0, 0);
    while at < piece.len() {
        let length = character_length(piece[at]).min(piece.len() - at);
        if let Some(rank) = whole_character(tables, piece, at, length) {
            tokens[count] = rank;
            count += 1;
        } else {
            for &byte in &piece[at..at + length] {
                tokens[count] = u32::from(byte);
                count += 1;
            }
        }
        at += length;
    }
    for i in 1..count {
        ranks[i - 1] = tables.merged_rank(tokens[i - 1], tokens[i]);
    }
    count
}

fn character_length(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    }
}

/// Rank of a character if merging makes it whole before it could take a part of it away.
///
/// Taking a part away makes a token that ends inside the character, with the byte before it, or one that begins
/// inside it, with the byte behind. If every such token has a higher rank than the character, the merges
/// of the character come first.
#[inline]
fn whole_character(tables: &Tables, piece: &[u8], at: usize, length: usize) -> Option<u32> {
    let character = &piece[at..at + length];
    let rank = match *character {
        [first, second] => tables.two_byte_rank(first, second),
        [_] => return None,
        _ => tables.rank_of_unlikely(words(character).0, 0, length as u64)?,
    };
    let ends = if at > 0 { tables.end_inside(piece[at - 1], character[0]) } else { NO_RANK };
    let behind = piece.get(at + length);
    let begins = behind.map_or(NO_RANK, |&behind| tables.begin_inside(character[length - 1], behind));
    (rank < ends && rank < begins).then_some(rank)
}
