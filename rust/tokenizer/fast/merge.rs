//! Merging of short pieces, several in turns.
//!
//! ```text
//! tokens = the bytes of the piece                       (departure 1: or pairs and characters that come first)
//! ranks  = for each token the rank that it and its right neighbour merge into
//! while a rank is left:
//!     i = the first place of the lowest rank            (departure 2: rank and place in one number)
//!     join tokens i and i + 1                           (departure 3: places stay; a bit tells which are in use)
//!     ask for the ranks of i and of the one before again
//! ```
//!
//! Each step waits for memory: the lowest rank decides which pairs are looked up next. So several pieces are merged
//! together, a step of each in turn (departure 4): the steps of different pieces do not wait for each other. For that a
//! step must not branch on what it finds.
//!
//! Looking at all pairs takes the square of the length, which is why it stops at [`MERGE_BYTES`]: longer pieces go to
//! `backtrack.rs`, which is linear and slower for short ones.

use super::class_masks::character_length;
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::layout::NO_RANK;
use crate::tokenizer::tables::{Tables, TwoBytes, piece_key};

/// Longest piece, in bytes.
pub(super) const MERGE_BYTES: usize = 32;
/// Bytes that are read from the start of a piece on.
pub(super) const MERGE_READ: usize = MERGE_BYTES + 16;
const PLACE_BITS: u32 = MERGE_BYTES.ilog2();
/// Pieces that are merged together.
const TURNS: usize = 16;

/// A piece of at most [`MERGE_BYTES`] bytes, and bytes behind it that may be read.
#[derive(Clone, Copy)]
pub(super) struct ShortPiece<'a> {
    readable: &'a [u8; MERGE_READ],
    length: usize,
}

impl<'a> ShortPiece<'a> {
    #[inline(always)]
    pub(super) fn new(readable: &'a [u8; MERGE_READ], length: usize) -> ShortPiece<'a> {
        assert!((1..=MERGE_BYTES).contains(&length));
        ShortPiece { readable, length }
    }

    #[inline(always)]
    fn byte(self, at: usize) -> u8 {
        self.readable[at]
    }

    /// What is known of the bytes at `at` and behind, if both are of the piece.
    #[inline(always)]
    fn two_bytes(self, tables: &Tables, at: usize) -> Option<TwoBytes> {
        (at + 1 < self.length).then(|| tables.two_bytes(self.byte(at), self.byte(at + 1)))
    }

    /// Rank of `length` bytes, at most 12, if they are a token; likely they are not.
    #[inline(always)]
    fn rank(self, tables: &Tables, at: usize, length: usize) -> Option<u32> {
        let bytes = self.readable[at..].first_chunk().copied().unwrap_or_default();
        tables.rank_of_unlikely(piece_key(bytes, length))
    }
}

/// A piece that is being merged. A token stays at the place of the first one that it was made of.
#[derive(Clone, Copy)]
struct Merge<const PLACES: usize> {
    /// `[place]` the rank that the token and the next one merge into, and the place in the lowest bits; greater than
    /// all where there is none.
    order: [u32; PLACES],
    /// For what is written where no token is before.
    nowhere: u32,
    /// The places where tokens are, as bits.
    places: u32,
    /// `[place]`
    tokens: [u32; PLACES],
    /// What the caller knows the piece by.
    tag: u32,
}

/// Pieces that are merged together, short ones with short ones.
pub(super) struct Merges {
    short: Turns<16>,
    long: Turns<MERGE_BYTES>,
}

/// Pieces of at most `PLACES` bytes.
struct Turns<const PLACES: usize> {
    merges: [Merge<PLACES>; TURNS],
    count: usize,
}

impl Merges {
    pub(super) fn new() -> Merges {
        Merges { short: Turns::new(), long: Turns::new() }
    }

    /// Adds a piece, which is no token. `done` gets the tag and the ids of each piece that came to its end meanwhile.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        tables: &Tables,
        piece: ShortPiece<'_>,
        tag: u32,
        done: &mut impl FnMut(u32, &[TokenId]),
    ) {
        if piece.length <= 16 {
            self.short.add(tables, piece, tag, done);
        } else {
            self.long.add(tables, piece, tag, done);
        }
    }

    /// Merges what is left to the end.
    #[inline(always)]
    pub(super) fn finish(&mut self, tables: &Tables, done: &mut impl FnMut(u32, &[TokenId])) {
        self.short.turn_until(0, tables, done);
        self.long.turn_until(0, tables, done);
    }
}

impl<const PLACES: usize> Turns<PLACES> {
    fn new() -> Turns<PLACES> {
        let merge = Merge { order: [u32::MAX; PLACES], nowhere: 0, places: 0, tokens: [0; PLACES], tag: 0 };
        Turns { merges: [merge; TURNS], count: 0 }
    }

    #[inline(always)]
    fn add(
        &mut self,
        tables: &Tables,
        piece: ShortPiece<'_>,
        tag: u32,
        done: &mut impl FnMut(u32, &[TokenId]),
    ) {
        let merge = &mut self.merges[self.count % TURNS];
        merge.start(tables, piece);
        merge.tag = tag;
        self.count += 1;
        self.turn_until(TURNS - 1, tables, done);
    }

    /// Lets all take turns until no more than `rest` are left.
    #[inline(always)]
    fn turn_until(&mut self, rest: usize, tables: &Tables, done: &mut impl FnMut(u32, &[TokenId])) {
        while self.count > rest {
            self.turn(tables, done);
        }
    }

    /// One step of each piece.
    #[inline(always)]
    fn turn(&mut self, tables: &Tables, done: &mut impl FnMut(u32, &[TokenId])) {
        let mut i = 0;
        while i < self.count {
            if self.merges[i % TURNS].step(tables) {
                i += 1;
                continue;
            }
            let mut ids = [0; PLACES];
            let count = self.merges[i % TURNS].ids(tables.first_id(), &mut ids);
            done(self.merges[i % TURNS].tag, &ids[..count]);
            self.count -= 1;
            self.merges[i % TURNS] = self.merges[self.count % TURNS];
        }
    }
}

impl<const PLACES: usize> Merge<PLACES> {
    /// The tokens that merging starts from: bytes, and more than that where it is proven to be the same. There are at
    /// most `PLACES` bytes.
    #[inline(always)]
    fn start(&mut self, tables: &Tables, piece: ShortPiece<'_>) {
        let (mut at, mut count) = (0, 0);
        // Of the byte before `at` and that at `at`; of that and the next.
        let (mut before, mut here) = (None, piece.two_bytes(tables, 0));
        while at < piece.length {
            let length = character_length(piece.byte(at)).min(piece.length - at);
            let (token, bytes) = match here {
                _ if length > 1
                    && let Some(rank) = whole_character(tables, piece, at, length) =>
                {
                    (rank, length)
                }
                Some(two) if two.is_first(before, piece.two_bytes(tables, at + 1)) => (two.rank(), 2),
                _ => (u32::from(piece.byte(at)), 1),
            };
            self.tokens[count % PLACES] = token;
            count += 1;
            at += bytes;
            before = piece.two_bytes(tables, at - 1);
            here = piece.two_bytes(tables, at);
        }
        self.order = [u32::MAX; PLACES];
        for place in 1..count {
            let rank = tables.merged_rank(self.tokens[place - 1], self.tokens[place]);
            self.order[place - 1] = ordered(rank, place - 1);
        }
        self.places = ((1_u64 << count) - 1) as u32;
    }

    /// Joins the first pair of the lowest rank; false if there is none.
    #[inline(always)]
    fn step(&mut self, tables: &Tables) -> bool {
        let best = self.order.iter().copied().fold(u32::MAX, u32::min);
        if best == u32::MAX {
            return false;
        }
        let place = best % MERGE_BYTES as u32;
        let token = best >> PLACE_BITS;
        // The places behind this one: the first of them goes, and the next one, if any, is the new neighbour.
        let above = self.places & (!1_u32 << place);
        let gone = above.trailing_zeros();
        let above = above & above.wrapping_sub(1);
        self.places ^= 1 << gone;
        self.tokens[place as usize % PLACES] = token;
        self.order[gone as usize % PLACES] = u32::MAX;
        let behind = self.tokens[above.trailing_zeros() as usize % PLACES];
        let with_behind = ordered(tables.merged_rank(token, behind), place as usize);
        self.order[place as usize % PLACES] = if above == 0 { u32::MAX } else { with_behind };
        let below = self.places & ((1 << place) - 1);
        let ahead = (31 ^ (below | 1).leading_zeros()) as usize % PLACES;
        let with_ahead = ordered(tables.merged_rank(self.tokens[ahead], token), ahead);
        *if below == 0 { &mut self.nowhere } else { &mut self.order[ahead] } = with_ahead;
        true
    }

    /// Writes the ids of the tokens; returns how many.
    #[inline(always)]
    fn ids(&self, first_id: TokenId, ids: &mut [TokenId; PLACES]) -> usize {
        let (mut rest, mut count) = (self.places, 0);
        while rest != 0 {
            ids[count % PLACES] = self.tokens[rest.trailing_zeros() as usize % PLACES] + first_id;
            rest &= rest - 1;
            count += 1;
        }
        count
    }
}

impl TwoBytes {
    /// Whether two bytes are merged before anything else takes one of them away.
    ///
    /// What takes the first away makes a token that ends with the byte before and the first; what takes the second away
    /// makes one that begins with the second and the byte behind. If all such tokens have a higher rank than that of the two
    /// bytes, the two are merged first. Later merges lose nothing by it: a token has a higher rank than its halves.
    #[inline(always)]
    fn is_first(self, before: Option<TwoBytes>, behind: Option<TwoBytes>) -> bool {
        self.rank() < before.map_or(TwoBytes::NONE, TwoBytes::ends)
            && self.rank() < behind.map_or(TwoBytes::NONE, TwoBytes::begins)
    }
}

/// A rank and a place as a number in the order of merging; no rank is greater than all.
#[inline(always)]
fn ordered(rank: u32, place: usize) -> u32 {
    if rank == NO_RANK { u32::MAX } else { rank << PLACE_BITS | place as u32 }
}

/// Rank of a character if merging makes it whole before it could take a part of it away.
///
/// Taking a part away makes a token that ends inside the character, with the byte before it, or one that begins
/// inside it, with the byte behind. If every such token has a higher rank than the character, the merges
/// of the character come first.
#[inline(always)]
fn whole_character(tables: &Tables, piece: ShortPiece<'_>, at: usize, length: usize) -> Option<u32> {
    let rank = match length {
        2 => tables.two_byte_rank(piece.byte(at), piece.byte(at + 1)),
        _ => piece.rank(tables, at, length)?,
    };
    let end = at + length;
    let ends = if at > 0 { tables.end_inside(piece.byte(at - 1), piece.byte(at)) } else { NO_RANK };
    let begins =
        if end < piece.length { tables.begin_inside(piece.byte(end - 1), piece.byte(end)) } else { NO_RANK };
    (rank < ends && rank < begins).then_some(rank)
}
