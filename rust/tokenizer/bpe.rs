//! Byte pair encoding of one pretoken, plainly.
//!
//! 1. A piece that is a token is that token.
//! 2. Otherwise it starts as single bytes; as long as two neighbours joined are a token, the pair of the
//!    lowest rank is joined, the leftmost of several with the same rank.
//!
//! Pairs wait in a heap and the parts are a linked list, so that a piece of n bytes takes O(n log n) however
//! long it is. A pair stays in the heap when one of its parts has gone into another; it is told by its end
//! and passed over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::plain_ranks::PlainRanks;
use super::vocabulary::Rank;

/// A run of bytes of the piece. A part stands at the index of its first byte; the other indices are not in
/// use.
#[derive(Clone, Copy)]
struct Part {
    rank: Rank,
    /// Where the part ends and the next one starts.
    end: usize,
    /// Where the part before starts; its own start if there is none.
    previous: usize,
    /// Whether it has become the right half of another part.
    is_merged: bool,
}

/// Two neighbours that can be joined, ordered as they are: by rank, then from the left.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: Rank,
    start: usize,
    end: usize,
}

/// Merges pieces one after the other; it only keeps its buffers from one to the next.
pub(super) struct Merger<'a> {
    ranks: &'a PlainRanks,
    parts: Vec<Part>,
    pairs: BinaryHeap<Reverse<Pair>>,
    /// The ranks that were joined last.
    last: [Rank; 2],
}

impl<'a> Merger<'a> {
    pub(super) fn new(ranks: &'a PlainRanks) -> Self {
        Merger { ranks, parts: Vec::new(), pairs: BinaryHeap::new(), last: [0; 2] }
    }

    /// Calls `emit` with the rank of each token of a piece, in order.
    pub(super) fn encode(&mut self, piece: &[u8], mut emit: impl FnMut(Rank)) {
        if let Some(rank) = self.ranks.rank(piece) {
            return emit(rank);
        }
        self.merge(piece);
        let mut start = 0;
        while start < piece.len() {
            emit(self.parts[start].rank);
            start = self.parts[start].end;
        }
    }

    /// The two ranks that merging joins last to make one token of a piece of two bytes or more; `None` if it does not
    /// get there.
    pub(super) fn last_merge(&mut self, piece: &[u8]) -> Option<[Rank; 2]> {
        self.merge(piece);
        (self.parts[0].end == piece.len()).then_some(self.last)
    }

    fn merge(&mut self, piece: &[u8]) {
        self.parts.clear();
        // The ranks of single bytes are the bytes.
        self.parts.extend(piece.iter().enumerate().map(|(start, &byte)| Part {
            rank: Rank::from(byte),
            end: start + 1,
            previous: start.saturating_sub(1),
            is_merged: false,
        }));
        for start in 0..piece.len() {
            self.push_pair(piece, start);
        }
        while let Some(Reverse(pair)) = self.pairs.pop() {
            let middle = self.parts[pair.start].end;
            // The pair still stands if its two parts do, or two others that cover the same bytes.
            if self.parts[pair.start].is_merged || middle >= pair.end || self.parts[middle].end != pair.end {
                continue;
            }
            self.parts[middle].is_merged = true;
            self.last = [self.parts[pair.start].rank, self.parts[middle].rank];
            let part = &mut self.parts[pair.start];
            (part.rank, part.end) = (pair.rank, pair.end);
            let previous = part.previous;
            if pair.end < piece.len() {
                self.parts[pair.end].previous = pair.start;
            }
            self.push_pair(piece, pair.start);
            if previous < pair.start {
                self.push_pair(piece, previous);
            }
        }
    }

    /// Adds the pair of the part at `start` and its right neighbour, if there is one and the two are a token.
    fn push_pair(&mut self, piece: &[u8], start: usize) {
        let middle = self.parts[start].end;
        if middle < piece.len() {
            let end = self.parts[middle].end;
            if let Some(rank) = self.ranks.rank(&piece[start..end]) {
                self.pairs.push(Reverse(Pair { rank, start, end }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::vocabulary::Vocabulary;

    /// Rule 2 word by word: look at all pairs, join the first of the lowest rank, start again.
    fn merge_by_hand(ranks: &PlainRanks, piece: &[u8]) -> Vec<Rank> {
        let mut parts: Vec<&[u8]> = piece.chunks(1).collect();
        let joined = |parts: &[&[u8]], i: usize| parts[i..i + 2].concat();
        loop {
            let pairs = (1..parts.len()).map(|i| i - 1);
            let ranked = pairs.filter_map(|i| ranks.rank(&joined(&parts, i)).map(|rank| (rank, i)));
            let Some((_, i)) = ranked.min() else { break };
            let start = parts[..i].iter().map(|part| part.len()).sum::<usize>();
            let length = parts[i].len() + parts[i + 1].len();
            parts.splice(i..i + 2, [&piece[start..start + length]]);
        }
        parts.iter().map(|part| ranks.rank(part).unwrap()).collect()
    }

    fn merged(ranks: &PlainRanks, piece: &[u8]) -> Vec<Rank> {
        let mut merged = Vec::new();
        Merger::new(ranks).encode(piece, |rank| merged.push(rank));
        merged
    }

    proptest! {
        #[test]
        fn letters_merge_as_by_hand(piece in "[a-f]{1,60}|[ a-zA-Z=]{1,60}|\\PC{1,20}") {
            let vocabulary = Vocabulary::embedded();
            let ranks = vocabulary.plain_ranks();
            let truth = match ranks.rank(piece.as_bytes()) {
                Some(rank) => vec![rank],
                None => merge_by_hand(ranks, piece.as_bytes()),
            };
            prop_assert_eq!(merged(ranks, piece.as_bytes()), truth);
        }
    }

    #[test]
    fn every_token_is_reached_by_merging() {
        // So a piece that is a token needs no rule of its own: it only saves the work.
        let vocabulary = Vocabulary::embedded();
        let mut merger = Merger::new(vocabulary.plain_ranks());
        for id in 1_000..131_072 {
            let token = vocabulary.token_table().token_bytes(id).unwrap();
            merger.merge(token);
            assert_eq!(merger.parts[0].end, token.len(), "{token:?}");
        }
    }
}
