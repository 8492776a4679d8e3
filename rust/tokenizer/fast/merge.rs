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
//! together (departure 4): all join their pairs and ask for the lines of the new ones, then all read them. For that a step
//! must not branch on what it finds.
//!
//! Looking at all pairs takes the square of the length, which is why it stops at [`MERGE_BYTES`]: longer pieces go to
//! `backtrack.rs`, which is linear and slower for short ones.

use super::class_masks::character_length;
use super::prefetch::prefetch;
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::layout::NO_RANK;
use crate::tokenizer::tables::{Pair, Tables, TwoBytes, piece_key};

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
    /// `[i]` what `merges[i]` wants to know.
    asked: [Asked; TURNS],
    count: usize,
    /// `[place]` the pairs of the piece that was added last, whose ranks are still to be read.
    pairs: [Pair; PLACES],
    /// Whether there is such a piece, the last of `merges`.
    is_started: bool,
}

/// What a piece wants to know of the token that it has just joined: the ranks with its neighbours.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// The place of the token and the one before.
    places: [u8; 2],
    /// Whether there is a token behind, and one before.
    has: [bool; 2],
    /// The token and the one behind, the one before and the token.
    pairs: [Pair; 2],
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
        Turns {
            merges: [merge; TURNS],
            asked: [Asked::default(); TURNS],
            count: 0,
            pairs: [Pair::default(); PLACES],
            is_started: false,
        }
    }

    #[inline(always)]
    fn add(
        &mut self,
        tables: &Tables,
        piece: ShortPiece<'_>,
        tag: u32,
        done: &mut impl FnMut(u32, &[TokenId]),
    ) {
        self.read_started(tables);
        let merge = &mut self.merges[self.count % TURNS];
        merge.start(tables, piece, &mut self.pairs);
        merge.tag = tag;
        self.count += 1;
        self.is_started = true;
        self.turn_until(TURNS - 1, tables, done);
    }

    /// Reads the ranks of the piece that was added last.
    #[inline(always)]
    fn read_started(&mut self, tables: &Tables) {
        if std::mem::take(&mut self.is_started) {
            self.merges[(self.count - 1) % TURNS].read(tables, &self.pairs);
        }
    }

    /// Lets all take turns until no more than `rest` are left.
    #[inline(always)]
    fn turn_until(&mut self, rest: usize, tables: &Tables, done: &mut impl FnMut(u32, &[TokenId])) {
        if self.count > rest {
            self.read_started(tables);
        }
        while self.count > rest {
            self.turn(tables, done);
        }
    }

    /// One step of each piece: all join a pair and ask for the lines of the new ones; then all read them.
    #[inline(always)]
    fn turn(&mut self, tables: &Tables, done: &mut impl FnMut(u32, &[TokenId])) {
        let mut i = 0;
        while i < self.count {
            if let Some(asked) = self.merges[i % TURNS].join(tables) {
                self.asked[i % TURNS] = asked;
                i += 1;
                continue;
            }
            let mut ids = [0; PLACES];
            let count = self.merges[i % TURNS].ids(tables.first_id(), &mut ids);
            done(self.merges[i % TURNS].tag, &ids[..count]);
            self.count -= 1;
            self.merges[i % TURNS] = self.merges[self.count % TURNS];
        }
        for (merge, &asked) in self.merges[..self.count.min(TURNS)].iter_mut().zip(&self.asked) {
            merge.note(tables, asked);
        }
    }
}

impl<const PLACES: usize> Merge<PLACES> {
    /// The tokens that merging starts from: bytes, and more than that where it is proven to be the same. There are at
    /// most `PLACES` bytes.
    #[inline(always)]
    fn start(&mut self, tables: &Tables, piece: ShortPiece<'_>, pairs: &mut [Pair; PLACES]) {
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
        for place in 1..count {
            let pair = tables.pair(self.tokens[place - 1], self.tokens[place]);
            prefetch(tables.pair_entry(pair));
            pairs[place - 1] = pair;
        }
        self.places = ((1_u64 << count) - 1) as u32;
    }

    /// Reads the ranks of the pairs that merging starts from.
    #[inline(always)]
    fn read(&mut self, tables: &Tables, pairs: &[Pair; PLACES]) {
        self.order = [u32::MAX; PLACES];
        let count = self.places.count_ones() as usize;
        for (place, (order, &pair)) in self.order.iter_mut().zip(pairs).take(count - 1).enumerate() {
            *order = ordered(tables.rank_of_pair(pair), place);
        }
    }

    /// Joins the first pair of the lowest rank, and asks for the ranks of the new token and its neighbours.
    #[inline(always)]
    fn join(&mut self, tables: &Tables) -> Option<Asked> {
        let best = self.order.iter().copied().fold(u32::MAX, u32::min);
        if best == u32::MAX {
            return None;
        }
        let place = best % MERGE_BYTES as u32;
        let token = best >> PLACE_BITS;
        // The places behind this one: the first of them goes, and the next one, if any, is the new neighbour.
        let above = self.places & (!1_u32 << place);
        let gone = above.trailing_zeros();
        let above = above & above.wrapping_sub(1);
        let below = self.places & ((1 << place) - 1);
        let before = 31 ^ (below | 1).leading_zeros();
        self.places ^= 1 << gone;
        self.tokens[place as usize % PLACES] = token;
        self.order[gone as usize % PLACES] = u32::MAX;
        let pairs = [
            tables.pair(token, self.tokens[above.trailing_zeros() as usize % PLACES]),
            tables.pair(self.tokens[before as usize % PLACES], token),
        ];
        for pair in pairs {
            prefetch(tables.pair_entry(pair));
        }
        Some(Asked { places: [place as u8, before as u8], has: [above != 0, below != 0], pairs })
    }

    /// Takes the ranks that were asked for.
    #[inline(always)]
    fn note(&mut self, tables: &Tables, asked: Asked) {
        let [place, before] = asked.places.map(usize::from);
        let [with_behind, with_before] = asked.pairs.map(|pair| tables.rank_of_pair(pair));
        self.order[place % PLACES] = if asked.has[0] { ordered(with_behind, place) } else { u32::MAX };
        *if asked.has[1] { &mut self.order[before % PLACES] } else { &mut self.nowhere } =
            ordered(with_before, before);
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
