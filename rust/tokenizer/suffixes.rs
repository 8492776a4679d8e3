//! The longest suffix of a text that costs no more than a limit, from the counts of all of them, in linear time.
//!
//! A pretoken depends only on the text from its start. So the count of the suffix that starts at a character is that of
//! the pretoken there, and that of the suffix behind it. (Where a suffix starts inside a pretoken of the text, its own
//! pretokens need not ever fall in step with those of the text: of `+́↵/` again and again, every second
//! start never meets the others.)
//!
//! The end of the pretoken at each character comes from the right, by what is known of the character behind it: where
//! the runs of its classes end (`Ends`). There are few ends for the starts of one run, and the counts of all
//! pretokens with the same end are those of suffixes of the first of them (`fast/part_counts.rs`): a pass for each
//! end. A character is passed for one end of a word by each of alternatives 1 and 2, one of punctuation and two of white
//! space at the most.

use std::collections::HashMap;

use super::Tokenizer;
use super::char_class::CharClass;
use super::fast::SuffixCounts;
use super::tables::Tables;

/// Bytes up to which counting each suffix by itself is faster.
const SHORT: usize = 48;

impl Tokenizer {
    /// The start of the longest suffix with at most `limit` tokens.
    pub(super) fn longest_suffix(&self, text: &str, limit: usize) -> usize {
        if let Some(tables) = self.vocabulary.tables()
            && text.len() > SHORT
        {
            return longest_suffix(tables, text, limit);
        }
        let mut starts = text.char_indices().map(|(start, _)| start);
        starts.find(|&start| self.count(&text[start..]) <= limit).unwrap_or(text.len())
    }
}

fn longest_suffix(tables: &Tables, text: &str, limit: usize) -> usize {
    let mut longest = text.len();
    let mut by_end: HashMap<usize, SuffixCounts> = HashMap::new();
    let mut counts = vec![0; text.len() + 1];
    let mut behind = Ends::of_end(text.len());
    for (start, character) in text.char_indices().rev() {
        let here = Ends::before(&behind, start, character, text.len());
        let end = here.pretoken_end(&behind, start, character, text.len());
        let pretoken = by_end.entry(end).or_default().count(tables, &text.as_bytes()[..end], end - start);
        counts[start] = pretoken + counts[end];
        if counts[start] <= limit {
            longest = start;
        }
        behind = here;
    }
    longest
}

/// What the alternatives of the pattern find at a place. A run that is empty ends where it starts.
struct Ends {
    /// Of `[upper part]*[lower part]+` if a lower case letter follows the upper part.
    lower_word: Option<usize>,
    /// Of the last character in the upper part that is of both cases or a mark.
    last_both: Option<usize>,
    upper_part: usize,
    lower_part: usize,
    /// Of a run of punctuation, and of the newlines and slashes behind it.
    punctuation: Option<usize>,
    /// Of a run of newlines and slashes.
    tail: usize,
    /// Of a run of white space, of its last newline, and the start of its last character.
    space: usize,
    newline: Option<usize>,
    last_space: usize,
}

impl Ends {
    /// At the end of a text.
    fn of_end(at: usize) -> Ends {
        Ends {
            lower_word: None,
            last_both: None,
            upper_part: at,
            lower_part: at,
            punctuation: None,
            tail: at,
            space: at,
            newline: None,
            last_space: at,
        }
    }

    /// At a character, by those behind it.
    fn before(behind: &Ends, start: usize, character: char, text_end: usize) -> Ends {
        let class = CharClass::of(character);
        let end = start + character.len_utf8();
        let mut here = Ends::of_end(start);
        if class.is_lower_part() {
            here.lower_part = behind.lower_part;
        }
        if class.is_upper_part() {
            here.upper_part = behind.upper_part;
            here.lower_word = behind.lower_word;
            here.last_both = behind.last_both.or(class.is_lower_part().then_some(end));
        } else if class.is_lower_part() {
            here.lower_word = Some(here.lower_part);
        }
        if class.is_punctuation() {
            here.punctuation = behind.punctuation.or(Some(behind.tail));
        }
        if matches!(character, '\r' | '\n' | '/') {
            here.tail = behind.tail;
        }
        if class.is_space() {
            let is_last = end == text_end || behind.space == end;
            here.space = behind.space;
            here.newline = behind.newline.or((class == CharClass::Newline).then_some(end));
            here.last_space = if is_last { start } else { behind.last_space };
        }
        here
    }

    /// `[upper part]*[lower part]+`, from here.
    fn lower(&self) -> Option<usize> {
        self.lower_word.or(self.last_both)
    }

    /// `[upper part]+[lower part]*` where alternative 1 found nothing, from here.
    fn upper(&self, at: usize) -> Option<usize> {
        (self.upper_part > at).then_some(self.upper_part)
    }

    /// The end of the pretoken that starts with a character.
    fn pretoken_end(&self, behind: &Ends, start: usize, character: char, text_end: usize) -> usize {
        let (class, end) = (CharClass::of(character), start + character.len_utf8());
        if class == CharClass::Number {
            return end;
        }
        let prefixed = class.is_word_prefix().then_some(behind);
        let punctuation = if character == ' ' { behind.punctuation } else { self.punctuation };
        prefixed
            .and_then(Ends::lower)
            .or_else(|| self.lower())
            .or_else(|| prefixed.and_then(|behind| behind.upper(end)))
            .or_else(|| self.upper(start))
            .or(punctuation)
            .or(self.newline)
            .unwrap_or(if self.space == text_end || self.last_space == start {
                self.space
            } else {
                self.last_space
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::embedded;

    proptest! {
        #[test]
        fn the_longest_suffix_that_fits(text in "[Aa中\u{301}1 \t\n\r/+é😀]{0,24}|( |\n|a|A|中){0,60}", limit in 0_usize..20) {
            let tokenizer = Tokenizer::embedded();
            let fits = |start: &usize| tokenizer.encode_plain(&text[*start..]).len() <= limit;
            let longest = text.char_indices().map(|(start, _)| start).find(fits).unwrap_or(text.len());
            prop_assert_eq!(longest_suffix(embedded::tables(), &text, limit), longest);
        }
    }
}
