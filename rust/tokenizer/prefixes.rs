//! The longest prefix of a text that costs no more than a limit, from the counts of all of them, in linear time.
//!
//! Take a prefix that ends at c, inside or at the end of a pretoken X of the text. Its pretokens are those of the text
//! before X (`safe_boundary.rs` has the reasons), and then those of X up to c, as a text of its own. Only two
//! alternatives give characters back, so that only theirs can be in two parts, by the last character before c:
//!
//! * upper case, behind one that is of both cases or a mark: alternative 1, cut before its lower case, gives back
//!   down to the last of both cases; alternative 2 takes the rest.
//! * a space, behind a newline: alternative 5 ends at its last newline; alternative 6 takes the rest, since nothing
//!   follows.
//! * anything else: one part.
//!
//! The exception is the other way round: where X is white space that gave its last character back, the prefix that ends
//! with this character has it and X in one pretoken.
//!
//! So one pass over the bytes of X gives its counts (`fast/part_counts.rs`), and one over each run of upper case or
//! space the rest.

use super::Tokenizer;
use super::char_class::CharClass;
use super::fast::PrefixCounts;
use super::pretokenizer::Pretokens;
use super::tables::Tables;

/// Bytes up to which counting each prefix by itself is faster.
const SHORT: usize = 48;

impl Tokenizer {
    /// The end of the longest prefix with at most `limit` tokens.
    pub(super) fn longest_prefix(&self, text: &str, limit: usize) -> usize {
        if let Some(tables) = self.vocabulary.tables()
            && text.len() > SHORT
        {
            return longest_prefix(tables, text, limit);
        }
        let ends = text.char_indices().map(|(start, _)| start).chain([text.len()]);
        ends.rev().find(|&end| self.count(&text[..end]) <= limit).unwrap_or(0)
    }
}

fn longest_prefix(tables: &Tables, text: &str, limit: usize) -> usize {
    let mut longest = 0;
    // The start of the pretoken and the count before it; whether the prefix that has one character of it fits, if
    // that character makes one pretoken with the one before.
    let (mut start, mut before, mut joined) = (0, 0, None);
    for pretoken in Pretokens::new(text) {
        let next = text[start + pretoken.len()..].chars().next().filter(|&next| is_space(next));
        let given_back = next.filter(|_| pretoken.chars().all(is_space)).map_or(0, char::len_utf8);
        let readable = &text[start..start + pretoken.len() + given_back];
        let left = limit - before;
        let whole = PrefixCounts::up_to(left, tables, readable.as_bytes());
        let mut rest = Rest::default();
        for (at, character) in pretoken.char_indices() {
            let end = at + character.len_utf8();
            let count = match rest.after(left, tables, pretoken, at, character) {
                Some((split, count)) => whole.count(split).saturating_add(count),
                None => whole.count(end),
            };
            if joined.take().unwrap_or(count <= left) {
                longest = start + end;
            }
        }
        let is_passed = whole.count(pretoken.len()) > left;
        if given_back > 0 {
            let fits = whole.count(readable.len()) <= left;
            if is_passed && fits {
                longest = start + readable.len();
            }
            joined = Some(fits);
        }
        if is_passed {
            break;
        }
        before += whole.count(pretoken.len());
        start += pretoken.len();
    }
    longest
}

fn is_space(character: char) -> bool {
    CharClass::of(character) == CharClass::Space
}

/// The second part of a prefix of a pretoken.
#[derive(Default)]
struct Rest {
    /// The end of the last character of both cases, or of the last mark.
    behind_both: Option<usize>,
    /// The end of the last newline.
    behind_newline: Option<usize>,
    /// Where the second part starts, and its counts, as long as it grows.
    counts: Option<(usize, PrefixCounts)>,
}

impl Rest {
    /// Where the second part starts, and its count, when the pretoken ends behind the character at `at`.
    fn after(
        &mut self,
        limit: usize,
        tables: &Tables,
        pretoken: &str,
        at: usize,
        character: char,
    ) -> Option<(usize, usize)> {
        let (class, end) = (CharClass::of(character), at + character.len_utf8());
        let split = match class {
            CharClass::Upper => self.behind_both,
            CharClass::Space => self.behind_newline,
            CharClass::BothCases | CharClass::Mark => {
                self.behind_both = Some(end);
                None
            }
            CharClass::Newline => {
                self.behind_newline = Some(end);
                None
            }
            _ => None,
        };
        let Some(split) = split else {
            self.counts = None;
            return None;
        };
        let (_, counts) = self.counts.get_or_insert_with(|| {
            let length = pretoken[split..].find(|next| CharClass::of(next) != class);
            let run = &pretoken[split..][..length.unwrap_or(pretoken.len() - split)];
            (split, PrefixCounts::up_to(limit, tables, run.as_bytes()))
        });
        Some((split, counts.count(end - split)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::embedded;

    proptest! {
        #[test]
        fn the_longest_prefix_that_fits(text in "[Aa中\u{301}1 \t\n\r/+é😀]{0,24}|( |\n|a|A|中){0,60}", limit in 0_usize..20) {
            let tokenizer = Tokenizer::embedded();
            let ends = text.char_indices().map(|(start, _)| start).chain([text.len()]);
            let longest = ends.rev().find(|&end| tokenizer.encode_plain(&text[..end]).len() <= limit);
            prop_assert_eq!(Some(longest_prefix(embedded::tables(), &text, limit)), longest);
        }
    }
}
