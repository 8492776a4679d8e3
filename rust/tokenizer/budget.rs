//! Token budgets: whether a text fits, the longest part of it that does, and cutting it into parts that do.
//!
//! **How many bytes can matter.** No token has more than a certain number of bytes, 76 in Nemo's vocabulary, so that n tokens
//! are at most n times as many bytes. A text that is longer does not fit; the longest prefix or suffix that fits is
//! searched among that many bytes of its start or end, however long the text is.
//!
//! **How far the longest part is searched.** Counts of prefixes are not monotone: "Première" costs 1 token, "Premièr" 4. But between
//! safe places (`safe_boundary.rs`) counts add up. Let P be the last safe place with `count(text[:P]) <= n`, and Q the
//! next one. A prefix that ends behind Q costs at least the count up to Q, which is above n; one that ends at
//! c between P and Q costs `count(text[:P]) + count(text[P:c])`. So the longest that fits ends in `P..Q`, and
//! `longest_prefix` looks at them all. For suffixes it is the same from the right.
//!
//! P is found by counting stretches between safe places: as many bytes as the budget that is left may allow, until
//! it is passed; then the stretch that passed it is cut again until nothing safe is left inside.

use std::ops::Range;

use super::Tokenizer;
use super::safe_boundary::{first_safe, last_safe};
use super::tables::layout::LONGEST;

/// Bytes for which a token of budget is good when a stretch is measured out.
const BYTES_PER_TOKEN: usize = 3;
/// Fewest bytes of a stretch that is counted before a budget is passed.
const SHORTEST_STRETCH: usize = 16;

/// Which end of the text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Start,
    End,
}

/// A character that costs more than a part may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the character at byte {at} costs {count} tokens")]
pub struct CostlyCharacter {
    /// The byte where it starts.
    pub at: usize,
    /// Its count.
    pub count: usize,
}

impl Tokenizer {
    /// The most bytes that a token has.
    fn longest_token(&self) -> usize {
        match self.vocabulary.tables() {
            Some(_) => LONGEST,
            None => self.vocabulary.plain_ranks().longest(),
        }
    }

    /// The most bytes that so many tokens have.
    pub fn most_bytes(&self, tokens: usize) -> usize {
        self.longest_token().saturating_mul(tokens)
    }

    /// The count of a text if it is at most `limit`. It stops where that is certain: a text of any length takes
    /// no longer than one of `limit` tokens.
    ///
    /// ```
    /// let tokenizer = nemo_fast::tokenizer::Tokenizer::embedded();
    /// assert_eq!(tokenizer.count_up_to("Hello, how are you?", 6), Some(6));
    /// assert_eq!(tokenizer.count_up_to("Hello, how are you?", 5), None);
    /// ```
    pub fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
        if text.len() > self.most_bytes(limit) {
            return None;
        }
        let (mut at, mut count) = (0, 0);
        while at < text.len() {
            let from = at.saturating_add(stretch(limit - count)).min(text.len());
            let end = first_safe(text, from, text.len()).unwrap_or(text.len());
            count += self.count(&text[at..end]);
            if count > limit {
                return None;
            }
            at = end;
        }
        Some(count)
    }

    /// Whether the count of a text is at most `limit`.
    pub fn fits(&self, text: &str, limit: usize) -> bool {
        self.count_up_to(text, limit).is_some()
    }

    /// The end of the longest prefix with at most `max_tokens`.
    ///
    /// ```
    /// let tokenizer = nemo_fast::tokenizer::Tokenizer::embedded();
    /// assert_eq!(tokenizer.prefix_end("Première", 1), "Première".len());
    /// ```
    pub fn prefix_end(&self, text: &str, max_tokens: usize) -> usize {
        self.search_prefix(text, max_tokens).0
    }

    /// The start of the longest suffix with at most `max_tokens`.
    pub fn suffix_start(&self, text: &str, max_tokens: usize) -> usize {
        self.search_suffix(text, max_tokens).0
    }

    /// [`Tokenizer::prefix_end`], and a place of the text up to which it was looked at: texts that go on otherwise behind it
    /// have the same answer, if it is not the end.
    pub fn search_prefix(&self, text: &str, max_tokens: usize) -> (usize, usize) {
        let text = &text[..floor_boundary(text, self.most_bytes(max_tokens))];
        let (fitting, count, beyond) = self.last_safe_fit(text, Kept::Start, max_tokens);
        let left = max_tokens - count;
        let region = &text[fitting..beyond];
        let region = &region[..floor_boundary(region, self.most_bytes(left))];
        let seen = ceil_boundary(text, beyond + 1);
        (fitting + self.longest_prefix(region, left), seen)
    }

    /// [`Tokenizer::suffix_start`], and a place of the text down to which it was looked at.
    pub fn search_suffix(&self, text: &str, max_tokens: usize) -> (usize, usize) {
        let skipped = ceil_boundary(text, text.len().saturating_sub(self.most_bytes(max_tokens)));
        let text = &text[skipped..];
        let (fitting, count, beyond) = self.last_safe_fit(text, Kept::End, max_tokens);
        let left = max_tokens - count;
        let (beyond, fitting) = (text.len() - beyond, text.len() - fitting);
        let region_start = ceil_boundary(text, beyond.max(fitting.saturating_sub(self.most_bytes(left))));
        let longest = self.longest_suffix(&text[region_start..fitting], left);
        let seen = floor_boundary(text, beyond.saturating_sub(1));
        (skipped + region_start + longest, skipped + seen)
    }

    /// What is left of a text when its middle is cut out: the end of a prefix and the start of a suffix.
    ///
    /// A text that fits is left whole. Else the prefix is the longest with at most half of `max_tokens`, rounded up,
    /// and the suffix the longest behind it with at most the rest for which the join of both has at most
    /// `max_tokens`.
    pub fn without_middle(&self, text: &str, max_tokens: usize) -> (usize, usize) {
        if self.fits(text, max_tokens) {
            return (text.len(), text.len());
        }
        let prefix_end = self.prefix_end(text, max_tokens.div_ceil(2));
        let prefix = &text[..prefix_end];
        let rest_limit = max_tokens - self.count(prefix);
        let mut start = prefix_end + self.suffix_start(&text[prefix_end..], rest_limit);
        let fits = |start: usize| {
            self.fits(&text[start..], rest_limit) && self.fits(&[prefix, &text[start..]].concat(), max_tokens)
        };
        while !fits(start) {
            start = ceil_boundary(text, start + 1);
        }
        (prefix_end, start)
    }

    /// Cuts a text into parts of at most `max_tokens`, each the longest that fits from its start. A part starts with
    /// the longest end of the part before that has at most `overlap` tokens and leaves room for a further
    /// character.
    ///
    /// # Errors
    /// A character that costs more than `max_tokens`.
    pub fn split(
        &self,
        text: &str,
        max_tokens: usize,
        overlap: usize,
    ) -> Result<Vec<Range<usize>>, CostlyCharacter> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut done = 0;
        while done < text.len() {
            let first_start = match parts.last() {
                Some(part) => part.start + self.suffix_start(&text[part.clone()], overlap),
                None => 0,
            };
            // Almost always the first of them.
            let with_room = (first_start..=done).find_map(|start| {
                if !text.is_char_boundary(start) || !self.fits(&text[start..done], overlap) {
                    return None;
                }
                let end = start + self.prefix_end(&text[start..], max_tokens);
                (end > done).then_some(start..end)
            });
            let Some(part) = with_room else {
                let character = &text[done..ceil_boundary(text, done + 1)];
                return Err(CostlyCharacter { at: done, count: self.count(character) });
            };
            done = part.end;
            parts.push(part);
        }
        Ok(parts)
    }

    /// The last safe place up to which a text fits, from the end that is kept; the count up to there; and the next safe
    /// place or the other end, up to which it does not fit. The places are bytes from the kept end. Where all of it
    /// fits, both are the other end.
    fn last_safe_fit(&self, text: &str, kept: Kept, limit: usize) -> (usize, usize, usize) {
        let range = |near: usize, far: usize| match kept {
            Kept::Start => near..far,
            Kept::End => text.len() - far..text.len() - near,
        };
        // The safe place next to `at`, away from the kept end or towards it, that is really between the two.
        let farther = |at: usize, far: usize| match kept {
            Kept::Start => first_safe(text, at, far),
            Kept::End => last_safe(text, text.len() - far + 1, text.len() - at + 1).map(|at| text.len() - at),
        };
        let nearer = |near: usize, at: usize| match kept {
            Kept::Start => last_safe(text, near + 1, at),
            Kept::End => first_safe(text, text.len() - at + 1, text.len() - near).map(|at| text.len() - at),
        };
        let (mut fitting, mut count, mut beyond) = (0, 0, text.len());
        // The count up to `beyond`, once it is known to be above the limit.
        let mut passed: Option<usize> = None;
        let mut halves = false;
        while fitting < beyond {
            let (left, room) = (limit - count, beyond - fitting);
            // Where the limit is passed if tokens are as long as they were; every other time the middle, so that the
            // stretch is halved at least every second time.
            let guess = match passed {
                Some(_) if halves => room.div_ceil(2),
                Some(above) => (room as u128 * left as u128 / (above - count) as u128) as usize,
                None if count > 0 => (left as u128 * fitting as u128 / count as u128) as usize,
                None => stretch(left),
            };
            halves = passed.is_some() && !halves;
            let guess = fitting.saturating_add(guess.max(1));
            let at = if guess >= beyond && passed.is_none() {
                beyond
            } else {
                let guess = guess.min(beyond);
                let Some(at) = farther(guess, beyond).or_else(|| nearer(fitting, guess)) else { break };
                at
            };
            let up_to = count + self.count(&text[range(fitting, at)]);
            if up_to <= limit {
                (fitting, count) = (at, up_to);
            } else {
                (beyond, passed) = (at, Some(up_to));
            }
        }
        (fitting, count, beyond)
    }
}

/// Bytes to count next when that many tokens of a budget are left.
fn stretch(tokens: usize) -> usize {
    tokens.saturating_mul(BYTES_PER_TOKEN).max(SHORTEST_STRETCH)
}

/// The end of a character, at `at` or before; the end of the text if that is before.
fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The start of a character, or the end of the text, at `at` or behind.
fn ceil_boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}
