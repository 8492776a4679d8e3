//! Counts of any range of one text, from counts that were made once.
//!
//! The index has the count up to safe places (`safe_boundary.rs`), some hundred bytes apart. Counts of parts add up
//! there, wherever the range starts and ends; so the count of a range is that of its two edges, and the difference
//! between two places of the index. A stretch without a safe place is counted as a whole.

use std::ops::Range;

use super::Tokenizer;
use super::safe_boundary::first_safe;

/// Bytes from one place of the index to the next, if there is a safe one.
const STRETCH: usize = 256;
/// Characters from one place that is known by its number to the next.
const CHARACTERS: usize = 128;

/// Counts the ranges of a text.
///
/// ```
/// # use nemo_fast::tokenizer::{TokenIndex, Tokenizer};
/// let index = TokenIndex::new(Tokenizer::embedded(), "Hello, how are you?".to_owned());
/// assert_eq!(index.count(0..5), 1);
/// assert_eq!(index.count(0..index.len()), 6);
/// ```
#[derive(Debug)]
pub struct TokenIndex {
    tokenizer: Tokenizer,
    text: String,
    /// Safe places and the counts up to them, the start first.
    places: Vec<[usize; 2]>,
    /// Where the character of each [`CHARACTERS`] starts; empty if all are ASCII.
    character_starts: Vec<usize>,
    /// Number of characters.
    length: usize,
}

impl TokenIndex {
    /// Counts a text.
    pub fn new(tokenizer: Tokenizer, text: String) -> TokenIndex {
        let mut places = vec![[0, 0]];
        let (mut at, mut count) = (0, 0);
        while let Some(next) = first_safe(&text, at + STRETCH, text.len()) {
            count += tokenizer.count(&text[at..next]);
            at = next;
            places.push([at, count]);
        }
        let (character_starts, length) = if text.is_ascii() {
            (Vec::new(), text.len())
        } else {
            let starts = text.char_indices().step_by(CHARACTERS).map(|(start, _)| start);
            (starts.collect(), text.chars().count())
        };
        TokenIndex { tokenizer, text, places, character_starts, length }
    }

    /// Number of characters.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the text has no character.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The count of a range of characters.
    ///
    /// # Panics
    /// If the range is not in the text.
    pub fn count(&self, characters: Range<usize>) -> usize {
        let (start, stop) = (self.byte_of(characters.start), self.byte_of(characters.end));
        let first = self.places.partition_point(|place| place[0] < start);
        let behind_last = self.places.partition_point(|place| place[0] <= stop);
        if first >= behind_last {
            return self.tokenizer.count(&self.text[start..stop]);
        }
        let ([from, count_before], [to, count_up_to]) = (self.places[first], self.places[behind_last - 1]);
        self.tokenizer.count(&self.text[start..from])
            + (count_up_to - count_before)
            + self.tokenizer.count(&self.text[to..stop])
    }

    /// The byte where a character starts; the end of the text for the number of characters.
    fn byte_of(&self, character: usize) -> usize {
        assert!(character <= self.length, "character {character} of {}", self.length);
        if character == self.length {
            return self.text.len();
        }
        if self.character_starts.is_empty() {
            return character;
        }
        let from = self.character_starts[character / CHARACTERS];
        let more = self.text[from..].char_indices().nth(character % CHARACTERS);
        more.map_or(self.text.len(), |(start, _)| from + start)
    }
}
