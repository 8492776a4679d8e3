//! Linear encoding of one piece of any length: longest match, with steps back.
//!
//! Two facts make it exact. (1) The merges of a piece leave tokens of which each two neighbours would also be
//! left side by side if they were merged alone; and there is only one way to cut a piece into tokens with this
//! property. (2) Whether two tokens are left side by side can be told from their last merges (`stay_apart`).
//!
//! So the tokens are searched from the left, the longest first. Where the neighbours would not stay apart, a shorter
//! prefix is tried; where none is left, the search takes back the token before. A position from which no way
//! leads on is marked, and never tried again: each position is given up once at most, so the whole is linear.
//! (The method is that of rust-gems' `bpe`; facts and proofs are in its README.)

use super::hard_cuts::for_each_part;
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::layout::{NO_RANK, PIECE_BYTES};
use crate::tokenizer::tables::{Tables, piece_key};

/// Calls `emit` with the ids of a piece of any length.
pub(super) fn encode_long(tables: &Tables, piece: &[u8], mut emit: impl FnMut(TokenId)) {
    if let Some(rank) = tables.rank_of(piece) {
        return emit(rank + tables.first_id());
    }
    let mut search = Search::default();
    for_each_part(tables, piece, |part| {
        if let Some(rank) = tables.rank_of(part) {
            emit(rank + tables.first_id());
        } else {
            search.encode(tables, part);
            search.tokens.iter().for_each(|rank| emit(rank + tables.first_id()));
        }
    });
}

/// The buffers of a search, kept from one part to the next.
#[derive(Default)]
struct Search {
    tokens: Vec<u32>,
    /// A bit for every position: no way leads on from it.
    is_dead: Vec<u64>,
}

impl Search {
    fn encode(&mut self, tables: &Tables, piece: &[u8]) {
        self.tokens.clear();
        self.is_dead.clear();
        self.is_dead.resize(piece.len() / 64 + 1, 0);
        let (mut at, mut token) = (0, longest_match(tables, piece));
        while at < piece.len() {
            let end = at + tables.token_length(token);
            let is_alive = self.is_dead[end / 64] >> (end % 64) & 1 == 0;
            if is_alive && self.tokens.last().is_none_or(|&last| stay_apart(tables, last, token)) {
                self.tokens.push(token);
                at = end;
                if at < piece.len() {
                    token = longest_match(tables, &piece[at..]);
                }
                continue;
            }
            token = tables.prefix_of(token);
            if token == NO_RANK {
                self.is_dead[at / 64] |= 1 << (at % 64);
                // There is a token before: the tokens of the piece start with one of the prefixes of the first.
                token = self.tokens.pop().unwrap_or_default();
                at -= tables.token_length(token);
                // Its end is dead now, so that the next round goes on to its prefixes.
            }
        }
    }
}

/// Whether merging leaves two tokens side by side.
///
/// Undoes their last merges, the youngest first, and looks for a merge across the border that would have come before
/// the one that was undone. The ranks of bytes are the lowest, and nothing made them, so that the greater rank
/// of the two can be undone until both are bytes.
#[inline(always)]
pub(super) fn stay_apart(tables: &Tables, mut left: u32, mut right: u32) -> bool {
    // A merge across the border that comes before this rank takes the tokens apart.
    let mut limit = NO_RANK;
    loop {
        if tables.merged_rank(left, right) < limit {
            return false;
        }
        let is_left = left > right;
        let youngest = if is_left { left } else { right };
        if youngest < 256 {
            return true;
        }
        let [first, second] = tables.halves_of(youngest);
        // Of two merges of the same rank the one further left comes first.
        limit = youngest + u32::from(!is_left);
        if is_left {
            left = second;
        } else {
            right = first;
        }
    }
}

/// The longest token that the bytes start with. Which lengths are worth a look-up is known from the first bytes.
pub(super) fn longest_match(tables: &Tables, bytes: &[u8]) -> u32 {
    let mut first = [0; 16];
    let known = bytes.len().min(first.len());
    first[..known].copy_from_slice(&bytes[..known]);
    let first_eight = u64::from_le_bytes(first[..8].try_into().unwrap_or_default());
    let room = bytes.len();
    if room >= 4 {
        let lengths = tables.token_lengths_from(first_eight as u32);
        if lengths >> 15 != 0
            && room > PIECE_BYTES
            && let Some(rank) = longest_long_match(tables, bytes, first_eight)
        {
            return rank;
        }
        let mut lengths = lengths & 0x7FFF & ((2 << room.min(PIECE_BYTES)) - 1);
        while lengths != 0 {
            let length = lengths.ilog2();
            if let Some(rank) = tables.rank_of_unlikely(piece_key(first, length as usize)) {
                return rank;
            }
            lengths ^= 1 << length;
        }
    }
    if room >= 3
        && let Some(rank) = tables.rank_of_unlikely(piece_key(first, 3))
    {
        return rank;
    }
    let two = bytes.get(1).map_or(NO_RANK, |&second| tables.two_byte_rank(bytes[0], second));
    if two == NO_RANK { u32::from(bytes[0]) } else { two }
}

#[inline(never)]
fn longest_long_match(tables: &Tables, bytes: &[u8], first_eight: u64) -> Option<u32> {
    let shortest = PIECE_BYTES + 1;
    let mut lengths = tables.long_token_lengths_from(first_eight);
    let more = bytes.len() - PIECE_BYTES;
    if more < 64 {
        lengths &= (1 << more) - 1;
    }
    while lengths != 0 {
        let length = lengths.ilog2();
        if let Some(rank) = tables.rank_of_long(&bytes[..length as usize + shortest]) {
            return Some(rank);
        }
        lengths ^= 1 << length;
    }
    None
}
