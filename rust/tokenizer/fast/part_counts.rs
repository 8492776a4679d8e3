//! Counts of all prefixes, or of all suffixes, of a run of bytes that is encoded as one piece.
//!
//! Two facts, which `backtrack.rs` is built on too: the tokens of a piece are the only way to cut it into tokens of
//! which each two neighbours stay apart (`stay_apart`); and a token is the only token of its own bytes. So the tokens
//! of a piece up to one of its borders are those of this prefix, and from there on those of that suffix. A prefix
//! therefore ends with the one token that stays apart from the last token of what is before it:
//!
//! ```text
//! for each position i, for each token that starts there and ends at j:
//!     if i = 0, or the token stays apart from the last token of prefix i:
//!         it is the last token of prefix j, and count j = count i + 1
//! ```
//!
//! and likewise, from the right, a suffix starts with the one token that stays apart from the first token of what is
//! behind it. A position starts few tokens (at most one of each length), so both are linear in the bytes.

use super::backtrack::{longest_match, stay_apart};
use crate::tokenizer::tables::Tables;
use crate::tokenizer::tables::layout::{LONGEST, NO_RANK};

/// The tokens that the bytes start with, the longest first.
fn tokens_from<'a>(tables: &'a Tables, bytes: &[u8]) -> impl Iterator<Item = u32> + use<'a> {
    let longest = (!bytes.is_empty()).then(|| longest_match(tables, bytes));
    std::iter::successors(longest, |&token| Some(tables.prefix_of(token)).filter(|&prefix| prefix != NO_RANK))
}

/// Counts of the prefixes of some bytes, up to a limit.
#[derive(Debug)]
pub(in super::super) struct PrefixCounts {
    /// `[i]` the count of the prefix of i + 1 bytes; one more than the limit stands for all that are above it.
    counts: Vec<usize>,
}

impl PrefixCounts {
    /// The counts of the prefixes. It stops where all of the last prefixes that a token can start behind cost more than
    /// the limit: so do all longer ones, which have a token more than one of them.
    pub(in super::super) fn up_to(limit: usize, tables: &Tables, bytes: &[u8]) -> PrefixCounts {
        let mut counts = vec![limit.saturating_add(1); bytes.len()];
        // `[i]` the last token of the prefix of i + 1 bytes.
        let mut last_tokens = vec![NO_RANK; bytes.len()];
        let mut last_within = 0;
        for start in 0..bytes.len() {
            let count = if start == 0 { 0 } else { counts[start - 1] };
            if count <= limit {
                last_within = start;
            } else if start - last_within > LONGEST {
                break;
            }
            for token in tokens_from(tables, &bytes[start..]) {
                let last = start + tables.token_length(token) - 1;
                let is_new = last_tokens[last] == NO_RANK;
                if is_new && (start == 0 || stay_apart(tables, last_tokens[start - 1], token)) {
                    last_tokens[last] = token;
                    counts[last] = (count + 1).min(counts[last]);
                }
            }
        }
        PrefixCounts { counts }
    }

    /// The count of the first `length` bytes.
    pub(in super::super) fn count(&self, length: usize) -> usize {
        if length == 0 { 0 } else { self.counts[length - 1] }
    }
}

/// Counts of the suffixes of bytes, found as far to the left as they are asked for.
#[derive(Debug, Default)]
pub(in super::super) struct SuffixCounts {
    /// `[i]` the first token of the suffix of i + 1 bytes.
    first_tokens: Vec<u32>,
    /// `[i]` the count of the suffix of i + 1 bytes.
    counts: Vec<usize>,
}

impl SuffixCounts {
    /// The count of the last `length` of these bytes, which must be those of every call before.
    pub(in super::super) fn count(&mut self, tables: &Tables, bytes: &[u8], length: usize) -> usize {
        for known in self.counts.len()..length {
            let start = bytes.len() - known - 1;
            for token in tokens_from(tables, &bytes[start..]) {
                let rest = known + 1 - tables.token_length(token);
                if rest == 0 || stay_apart(tables, token, self.first_tokens[rest - 1]) {
                    self.first_tokens.push(token);
                    self.counts.push(if rest == 0 { 1 } else { self.counts[rest - 1] + 1 });
                    break;
                }
            }
        }
        if length == 0 { 0 } else { self.counts[length - 1] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::bpe::Merger;
    use crate::tokenizer::embedded;
    use crate::tokenizer::vocabulary::Vocabulary;

    fn merged(piece: &[u8]) -> usize {
        let mut count = 0;
        if !piece.is_empty() {
            Merger::new(Vocabulary::embedded().plain_ranks()).encode(piece, |_| count += 1);
        }
        count
    }

    proptest! {
        #[test]
        fn prefixes_and_suffixes_have_the_counts_of_merging(
            piece in "Première|[a-f]{1,40}|[ a-zA-Z=]{1,60}|\\PC{1,20}|a{1,200}| {1,100}|[\u{4e00}-\u{4e40}]{1,20}",
            limit in 0_usize..40,
        ) {
            let (tables, bytes) = (embedded::tables(), piece.as_bytes());
            let prefixes = PrefixCounts::up_to(limit, tables, bytes);
            let mut suffixes = SuffixCounts::default();
            for i in 0..=bytes.len() {
                prop_assert_eq!(prefixes.count(i), merged(&bytes[..i]).min(limit + 1), "prefix {}", i);
                prop_assert_eq!(suffixes.count(tables, bytes, i), merged(&bytes[bytes.len() - i..]), "suffix {}", i);
            }
        }
    }
}
