//! One pretoken at a time: for those that windows leave out, because they are longer than a window or have a mark
//! where no letter is.
//!
//! It is `pretokenizer.rs` over class bits, with its tables; that file has the pattern and the reasons.

use super::class_masks::decode;
use crate::tokenizer::embedded::class_tables;
use crate::tokenizer::tables::classes::class::{BOTH, LOWER, MARK, NEWLINE, NUMBER, OTHER, SPACE, UPPER};

const UPPER_PART: u8 = UPPER | BOTH | MARK;
const LOWER_PART: u8 = LOWER | BOTH | MARK;

/// Class bit and length of the character at `at`.
#[inline(always)]
fn character(text: &[u8], at: usize) -> (u8, usize) {
    let (code_point, length) = decode(text, at);
    (class_tables().class_of(code_point), length)
}

/// End of the run of characters of the classes that starts at `at`.
#[inline]
fn run_end(text: &[u8], mut at: usize, classes: u8) -> usize {
    while at < text.len() {
        let (class, length) = character(text, at);
        if class & classes == 0 {
            break;
        }
        at += length;
    }
    at
}

/// End of `[upper part]*[lower part]+` at `start`.
fn lower_word_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut last_both) = (start, None);
    while at < text.len() {
        let (class, length) = character(text, at);
        if class & UPPER_PART == 0 {
            break;
        }
        at += length;
        if class & (BOTH | MARK) != 0 {
            last_both = Some(at);
        }
    }
    if at < text.len() && character(text, at).0 == LOWER {
        return Some(run_end(text, at, LOWER_PART));
    }
    // The upper part gives back down to its last character that is of both cases.
    last_both
}

/// End of `[upper part]+[lower part]*` at `start`.
fn upper_word_end(text: &[u8], start: usize) -> Option<usize> {
    let upper = run_end(text, start, UPPER_PART);
    (upper > start).then(|| run_end(text, upper, LOWER_PART))
}

/// End of the pretoken that starts at `start`, which is in the text.
#[inline(never)]
pub(super) fn pretoken_end(text: &[u8], start: usize) -> usize {
    let (class, length) = character(text, start);
    if class == NUMBER {
        return start + length;
    }
    let behind_prefix = (class & (MARK | SPACE | OTHER) != 0).then_some(start + length);
    behind_prefix
        .and_then(|behind| lower_word_end(text, behind))
        .or_else(|| lower_word_end(text, start))
        .or_else(|| behind_prefix.and_then(|behind| upper_word_end(text, behind)))
        .or_else(|| upper_word_end(text, start))
        .or_else(|| punctuation_end(text, start))
        .unwrap_or_else(|| white_space_end(text, start))
}

/// End of ` ?[^\s\p{L}\p{N}]+[\r\n/]*`.
fn punctuation_end(text: &[u8], start: usize) -> Option<usize> {
    let from = start + usize::from(text[start] == b' ');
    let end = run_end(text, from, OTHER | MARK);
    let is_tail = |byte: &&u8| matches!(byte, b'\r' | b'\n' | b'/');
    (end > from).then(|| end + text[end..].iter().take_while(is_tail).count())
}

/// End of white space: its last newline; else all but its last character, unless the text ends.
fn white_space_end(text: &[u8], start: usize) -> usize {
    let (mut at, mut last, mut behind_newline) = (start, start, None);
    while at < text.len() {
        let (class, length) = character(text, at);
        if class & (SPACE | NEWLINE) == 0 {
            break;
        }
        last = at;
        at += length;
        if class == NEWLINE {
            behind_newline = Some(at);
        }
    }
    behind_newline.unwrap_or(if at == text.len() || last == start { at } else { last })
}
