//! The count of a text that grows.
//!
//! Up to the last safe place (`safe_boundary.rs`) a count is final, whatever follows; what is behind it is
//! kept and counted again. That is a word in most texts. Where nothing is safe for long, all pretokens but the last
//! two are final: a text that goes on has the pretokens of its start up to the one that the start ends in, and what
//! the start has of that one are two at the most (`prefixes.rs`).

use super::Tokenizer;
use super::pretokenizer::Pretokens;
use super::safe_boundary::last_safe;

/// Bytes without a safe place from which on pretokens are looked at.
const LONG: usize = 256;

/// Counts the concatenation of texts.
///
/// ```
/// # use nemo_fast::tokenizer::{TokenCounter, Tokenizer};
/// let mut counter = TokenCounter::new(Tokenizer::embedded());
/// counter.append("Premi");
/// assert_eq!(counter.count(), 2);
/// counter.append("ère");
/// assert_eq!(counter.count(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct TokenCounter {
    tokenizer: Tokenizer,
    /// The count before `rest`.
    settled: usize,
    /// The end of the text.
    rest: String,
    /// The count of `rest`, once it was asked for.
    rest_count: Option<usize>,
}

impl TokenCounter {
    /// A counter of nothing yet.
    pub fn new(tokenizer: Tokenizer) -> TokenCounter {
        TokenCounter { tokenizer, settled: 0, rest: String::new(), rest_count: Some(0) }
    }

    /// Adds a text to the end.
    pub fn append(&mut self, text: &str) {
        let known = self.rest.len();
        self.rest.push_str(text);
        self.rest_count = None;
        if let Some(safe) = last_safe(&self.rest, known, self.rest.len()) {
            self.settled += self.tokenizer.count(&self.rest[..safe]);
            self.rest.drain(..safe);
        }
    }

    /// The count of all texts so far, joined.
    pub fn count(&mut self) -> usize {
        if let Some(count) = self.rest_count {
            return self.settled + count;
        }
        if self.rest.len() > LONG {
            self.settle_pretokens();
        }
        let count = self.tokenizer.count(&self.rest);
        self.rest_count = Some(count);
        self.settled + count
    }

    /// The count of all texts so far with one more behind them, which is not added.
    ///
    /// ```
    /// # use nemo_fast::tokenizer::{TokenCounter, Tokenizer};
    /// let mut counter = TokenCounter::new(Tokenizer::embedded());
    /// counter.append("Premi");
    /// assert_eq!((counter.count_with("ère"), counter.count()), (1, 2));
    /// ```
    pub fn count_with(&self, end: &str) -> usize {
        let mut whole = self.clone();
        whole.append(end);
        whole.count()
    }

    /// Counts all pretokens but the last two. Each is counted by itself: joined, white space could be cut otherwise.
    fn settle_pretokens(&mut self) {
        let (mut final_end, mut last_two) = (0, [0; 2]);
        for pretoken in Pretokens::new(&self.rest) {
            let [before_last, last] = last_two;
            self.settled += self.tokenizer.count(&self.rest[final_end..final_end + before_last]);
            final_end += before_last;
            last_two = [last, pretoken.len()];
        }
        self.rest.drain(..final_end);
    }
}
