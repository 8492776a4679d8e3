//! Class masks of a window to the positions where pretokens start.
//!
//! A window begins at the start of a pretoken. The pattern looks only ahead, so what a pretoken is depends on
//! nothing before it, and no state goes from one window to the next: what a window cannot decide, because it
//! depends on bytes behind it, is left to the next one, which begins at the last start that is certain.
//!
//! Three things happen here in 64 positions at once that `pretoken.rs` does in one after the other:
//!
//! * *Floods.* Adding the first bit of a run of ones to the run carries through it; the bits that change are the
//!   run. That is how a tail of newlines, or the marks of a word, are found.
//! * *Starts by neighbours.* Most starts depend on a position and the one before: a letter behind a letter
//!   starts nothing, a capital behind a small one does.
//! * *Rare questions in loops.* A run of capitals before letters without case, or white space around newlines, is
//!   looked at one by one.

use super::class_masks::{ClassMasks, WINDOW, first_bits};

/// Starts of pretokens in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boundaries {
    /// Bit 0 is always set: the window begins at a start.
    pub(super) starts: u64,
    /// The pretoken at the last start has a mark that follows no letter: it is for `pretoken.rs`.
    pub(super) is_irregular: bool,
}

/// Bits of `run` that are reached from `seeds`, which are in it, going up.
#[inline(always)]
fn flood(run: u64, seeds: u64) -> u64 {
    (run & !run.wrapping_add(seeds)) | seeds
}

/// The starts in a window of `length` bytes of text: 64 if the text may go on, less where it ends.
#[inline(always)]
pub(super) fn boundaries(masks: &ClassMasks, length: usize) -> Boundaries {
    let valid = first_bits(length);
    let &ClassMasks { upper, lower, number, space, newline, other, inner, .. } = masks;
    let mut both = masks.both;
    let mut word = upper | lower | both;
    // Starts behind these are not certain.
    let mut certain = !0_u64;
    let mut is_irregular = false;
    if masks.mark != 0 {
        let of_word = flood(masks.mark, masks.mark & word << 1);
        let orphans = masks.mark & !of_word & !inner;
        if orphans != 0 {
            certain = (orphans & orphans.wrapping_neg()) - 1;
            is_irregular = true;
        }
        both |= masks.mark;
        word |= masks.mark;
    }

    // Newlines and slashes behind punctuation belong to it.
    let mut tail = newline & other << 1;
    if tail != 0 {
        tail = flood(newline | masks.slash, tail);
    }
    let punctuation = other & !tail;
    let newline = newline & !tail;
    let white = space | newline;

    // Punctuation starts a pretoken unless it goes on one or has a blank before it. Alone before a word it is
    // the word's prefix.
    let punctuation_start = punctuation & !(punctuation << 1) & !(masks.blank << 1);
    let space_start = space & !(space << 1);
    let mut prefix = punctuation_start;
    // The last space of a run is a pretoken, or part of one, of its own, if something follows.
    let mut last_space = space & (valid & !white) >> 1;
    if inner != 0 {
        for _ in 0..3 {
            prefix |= prefix << 1 & inner;
        }
        for _ in 0..2 {
            last_space = (last_space & !inner) | (last_space & inner) >> 1;
        }
    }
    let behind_newlines = space_behind_newlines(space, newline, space_start, length);
    let word_start = word & !(word << 1) & !(space << 1) & !(prefix << 1);
    let mut case = upper & lower << 1;
    let behind_both = upper & both << 1;
    if behind_both != 0 {
        case |= capitals_behind_both(upper, lower, both, word, behind_both, &mut certain);
    }
    let starts = number
        | word_start
        | case
        | punctuation_start
        | (space_start & !(newline << 1))
        | behind_newlines
        | last_space
        | (newline & !(white << 1));
    Boundaries { starts: starts & !inner & certain | 1, is_irregular }
}

/// Spaces that follow newlines start a pretoken if no newline comes behind them: white space goes up to its last
/// newline.
#[inline(always)]
fn space_behind_newlines(space: u64, newline: u64, space_start: u64, length: usize) -> u64 {
    let mut starts = space_start & newline << 1;
    if starts == 0 {
        return 0;
    }
    let ends = space.wrapping_add(starts) & !space;
    if ends & newline != 0 {
        let mut rest = starts;
        while rest != 0 {
            let start = rest.trailing_zeros();
            let end = start + (!(space >> start)).trailing_zeros();
            if end < WINDOW as u32 && newline >> end & 1 != 0 {
                starts &= !(1 << start);
            }
            rest &= rest - 1;
        }
    }
    // A run that touches the end of the window may still come to a newline.
    if length == WINDOW && space >> 63 != 0 {
        starts &= !(1_u64 << (!space).ilog2() << 1);
    }
    starts
}

/// Capitals that follow a letter of both cases and start a pretoken.
///
/// The letter of both cases may belong to the lower part of a word; then the capital starts the next word. Or
/// it belongs to an upper part that goes on with the capital: unless no lower part follows, when the upper part
/// gives back down to its last letter of both cases.
#[inline(always)]
fn capitals_behind_both(
    upper: u64,
    lower: u64,
    both: u64,
    word: u64,
    behind_both: u64,
    certain: &mut u64,
) -> u64 {
    let lower_part = flood(both, both & lower << 1);
    let mut starts = behind_both & lower_part << 1;
    let mut rest = behind_both & !(lower_part << 1);
    while rest != 0 {
        let start = rest.trailing_zeros();
        let end = start + (!(upper >> start)).trailing_zeros();
        if end >= WINDOW as u32 {
            *certain &= (1 << start) - 1;
        } else if word >> end & 1 == 0 {
            starts |= 1 << start;
        }
        rest &= rest - 1;
    }
    starts
}
