//! Counts of all prefixes of a text, in linear time: what cutting to a budget asks for where the budget ends.
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

impl Tokenizer {
    /// Calls `each` with the end and the count of every prefix but the empty one, in order.
    pub(super) fn for_each_prefix(&self, text: &str, mut each: impl FnMut(usize, usize)) {
        if let Some(tables) = self.vocabulary.tables() {
            return prefixes(tables, text, each);
        }
        for (start, character) in text.char_indices() {
            let end = start + character.len_utf8();
            each(end, self.count(&text[..end]));
        }
    }
}

fn prefixes(tables: &Tables, text: &str, mut each: impl FnMut(usize, usize)) {
    // The start of the pretoken and the count before it; the count of the prefix that has one character of it, if
    // that character makes one pretoken with the one before.
    let (mut start, mut before, mut joined) = (0, 0, None);
    for pretoken in Pretokens::new(text) {
        let next = text[start + pretoken.len()..].chars().next().filter(|&next| is_space(next));
        let given_back = next.filter(|_| pretoken.chars().all(is_space)).map_or(0, char::len_utf8);
        let readable = &text[start..start + pretoken.len() + given_back];
        let whole = PrefixCounts::of(tables, readable.as_bytes());
        let mut rest = Rest::default();
        for (at, character) in pretoken.char_indices() {
            let end = at + character.len_utf8();
            let count = match rest.after(tables, pretoken, at, character) {
                Some((split, count)) => whole.count(split) + count,
                None => whole.count(end),
            };
            each(start + end, joined.take().unwrap_or(before + count));
        }
        if given_back > 0 {
            joined = Some(before + whole.count(readable.len()));
        }
        before += whole.count(pretoken.len());
        start += pretoken.len();
    }
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
            (split, PrefixCounts::of(tables, run.as_bytes()))
        });
        Some((split, counts.count(end - split)))
    }
}
