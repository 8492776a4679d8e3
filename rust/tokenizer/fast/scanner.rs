//! Text to the starts of pieces: pretokens, cut at the hard cuts between wide characters.
//!
//! Window after window is added until a chunk is full. Between characters of three bytes and more, hard cuts are
//! made right here: most parts of Han and Kana are one token, and the windows know where these characters are.
//! (Cuts everywhere were tried: the tests cost more than the merges that they save.) Text without spaces has pretokens
//! that are longer than a window; a cut in one is where the next window begins.
//!
//! Positions have 32 bits. The encoder starts a new scanner before they run out: any start of a pretoken is as good
//! a beginning as that of the text.

use super::boundaries::{Boundaries, boundaries};
use super::class_masks::{ClassMasks, READ, WINDOW, first_bits};
use super::hard_cuts::{for_each_wide_cut, is_wide_cut};
use super::level::Instructions;
use super::pretoken::pretoken_end;
use crate::tokenizer::tables::Tables;

/// Pieces after which a chunk is full.
pub(super) const CHUNK: usize = 1_024;
/// Bytes of the longest pretoken that is cut into a chunk; longer ones are encoded by themselves.
const LONGEST_IN_CHUNK: usize = 192;
/// Starts of a chunk. What the window adds that fills it, and the pretoken behind that window (at most one piece in
/// three bytes), come on top, and 64 places that vectors may write to.
pub(super) const STARTS: usize = CHUNK + WINDOW + LONGEST_IN_CHUNK / 3 + 64;
/// A chunk must start below, so that its positions fit.
pub(super) const LAST_CHUNK: usize = 1 << 31;

/// Pieces of a text, in order.
pub(super) struct Chunk {
    /// How many. Piece i goes from start i to start i + 1.
    pub(super) pieces: usize,
    /// The end of a pretoken that follows the last piece, starts at its end, and is too long to be one.
    pub(super) long_end: Option<usize>,
}

/// Where a scanner stands in a text.
pub(super) struct Scanner<'a> {
    /// The text, and bytes behind it that may be read.
    readable: &'a [u8],
    /// Bytes of the text.
    length: usize,
    /// The start of a pretoken.
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner of the first `length` bytes. It stops where fewer than [`READ`] bytes can be read from the start of
    /// a piece on.
    pub(super) fn new(readable: &'a [u8], length: usize) -> Scanner<'a> {
        Scanner { readable, length, at: 0 }
    }

    /// The text and what can be read behind it.
    pub(super) fn readable(&self) -> &'a [u8] {
        self.readable
    }

    /// Fills a chunk. One without pieces and without a long pretoken is the end.
    #[inline(always)]
    pub(super) fn next_chunk<I: Instructions>(
        &mut self,
        instructions: I,
        tables: &Tables,
        starts: &mut [u32; STARTS],
    ) -> Chunk {
        let mut pieces = 0;
        let mut long_end = None;
        while pieces < CHUNK && self.at < self.length {
            let Some(window) = self.readable[self.at..].first_chunk() else { break };
            let left = self.length - self.at;
            let masks = instructions.class_masks(window, left.min(WINDOW));
            let Boundaries { starts: pretokens, is_irregular } = boundaries(&masks, left.min(WINDOW));
            let is_end = left < WINDOW && !is_irregular;
            let last = WINDOW - 1 - pretokens.leading_zeros() as usize;
            let (end, found) = if is_end {
                (left, pretokens | wide_cuts(tables, window, &masks, pretokens, left))
            } else {
                let known = if is_irregular { last } else { caseless_end(&masks, last) };
                let cuts = wide_cuts(tables, window, &masks, pretokens, known);
                // What opens the next window is the last start, or a cut behind it.
                let next = WINDOW - 1 - (cuts | 1 << last).leading_zeros() as usize;
                (next, (pretokens | cuts) & first_bits(next))
            };
            if let Some(places) = starts[pieces..].first_chunk_mut() {
                instructions.write_positions(found, self.at as u32, places);
            }
            pieces += found.count_ones() as usize;
            self.at += end;
            if is_irregular || end == 0 {
                match self.one_pretoken(tables, starts, &mut pieces) {
                    Single::Added => {}
                    Single::Long(end) => {
                        long_end = Some(end);
                        break;
                    }
                    Single::TooNear => break,
                }
            }
        }
        starts[pieces] = self.at as u32;
        Chunk { pieces, long_end }
    }

    /// Adds the pretoken that the window at its start could not decide.
    #[inline(never)]
    fn one_pretoken(&mut self, tables: &Tables, starts: &mut [u32; STARTS], pieces: &mut usize) -> Single {
        let end = pretoken_end(&self.readable[..self.length], self.at);
        if end - self.at > LONGEST_IN_CHUNK {
            return Single::Long(end);
        }
        if end + READ > self.readable.len() {
            return Single::TooNear;
        }
        let mut add = |start: usize| {
            starts[*pieces] = start as u32;
            *pieces += 1;
        };
        add(self.at);
        for_each_wide_cut(tables, &self.readable[self.at..end], |cut| add(self.at + cut));
        self.at = end;
        Single::Added
    }
}

/// What became of a pretoken that a window could not decide.
enum Single {
    Added,
    /// It ends here and is not for a chunk.
    Long(usize),
    /// So near to the end of what can be read that its last pieces could not be read in whole words.
    TooNear,
}

/// How far cuts behind the last start of a window are as good as a start: up to the end of letters without case.
///
/// A pretoken of a prefix, capitals and such letters goes on in the same way from each of the letters as it does from its
/// start (`lower_word_end` in `pretoken.rs` keeps nothing but the last of them). Not behind a small letter: there a
/// capital ends the pretoken.
#[inline(always)]
fn caseless_end(masks: &ClassMasks, last: usize) -> usize {
    let behind = (masks.inner >> last).wrapping_shr(1).trailing_ones() as usize + last + 1;
    if (masks.lower | masks.mark) >> last & 1 != 0 || behind >= WINDOW {
        return last;
    }
    behind + (!(masks.both >> behind)).trailing_zeros() as usize
}

/// Hard cuts before `end` that are not starts of pretokens: between two characters of three bytes and more.
#[inline(always)]
fn wide_cuts(tables: &Tables, window: &[u8; READ], masks: &ClassMasks, pretokens: u64, end: usize) -> u64 {
    let behind_wide = masks.three << 3 | masks.four << 4;
    let mut places = (masks.three | masks.four) & behind_wide & !pretokens & first_bits(end);
    let mut cuts = 0;
    while places != 0 {
        let place = places.trailing_zeros() as usize;
        if let Some(&around) = window[place - 2..].first_chunk() {
            cuts |= u64::from(is_wide_cut(tables, around)) << place;
        }
        places &= places - 1;
    }
    cuts
}
