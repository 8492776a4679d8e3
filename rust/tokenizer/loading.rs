//! Tokenizers of Tekken files.
//!
//! A file whose ranked tokens are Mistral Nemo's takes the tables that are there; another one gets its own.

use std::path::Path;
use std::sync::Arc;

use super::bpe::Merger;
use super::embedded;
use super::plain_ranks::PlainRanks;
use super::special_tokens::filler_name;
use super::tables::Tables;
use super::tekken_file::{Tekken, TekkenFileError};
use super::vocabulary::{BYTE_RANKS, Rank, TablesOf, Vocabulary};
use super::{TokenId, Tokenizer};
use crate::error::Error;

/// What makes a tokenizer again, for pickling: [`Tokenizer::parts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerParts {
    /// The version of the file.
    pub version: String,
    /// Names of the special tokens, without those at the end that are called by their ids.
    pub special_names: Vec<String>,
    /// Number of special tokens.
    pub special_count: u64,
    /// The bytes of the ranked tokens, unless they are Mistral Nemo's.
    pub tokens: Option<Vec<Vec<u8>>>,
}

impl Tokenizer {
    /// The tokenizer of a `tekken.json`.
    ///
    /// Special tokens, their number and the ids of `<s>` and `</s>` are the file's own.
    ///
    /// # Errors
    /// A file that cannot be read, and one that is not a Tekken file that mistral-common 1.13.1 takes, or
    /// has another pattern than Mistral Nemo's: [`TekkenFileError`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Tokenizer, Error> {
        Tekken::read(path.as_ref()).map(Tokenizer::from_tekken)
    }

    /// The tokenizer of the content of a `tekken.json`: [`Tokenizer::from_file`].
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`].
    pub fn from_tekken_json(json: &[u8]) -> Result<Tokenizer, TekkenFileError> {
        Tekken::parse(json).map(Tokenizer::from_tekken)
    }

    fn from_tekken(tokens: Tekken) -> Tokenizer {
        let nemo = Vocabulary::embedded();
        if tokens.version == nemo.version && tokens.token_table == *nemo.token_table() {
            return Tokenizer { vocabulary: nemo };
        }
        let tables = tables_of(&tokens);
        Tokenizer { vocabulary: Arc::new(Vocabulary::new(tokens, tables)) }
    }

    /// The tokenizer of parts.
    ///
    /// # Errors
    /// Parts that no Tekken file has.
    pub fn from_parts(parts: &TokenizerParts) -> Result<Tokenizer, TekkenFileError> {
        let TokenizerParts { version, special_names, special_count, tokens } = parts;
        let nemo = Vocabulary::embedded();
        let tokens = match tokens {
            Some(tokens) => Tekken::new(version, special_names, *special_count, tokens)?,
            None => Tekken::new(version, special_names, *special_count, &ranked_tokens(&nemo))?,
        };
        Ok(Tokenizer::from_tekken(tokens))
    }

    /// Whether this is the tokenizer of the embedded vocabulary.
    pub fn is_embedded(&self) -> bool {
        Arc::ptr_eq(&self.vocabulary, &Vocabulary::embedded())
    }

    /// Whether the vocabulary has the tables of the fast path. Without them the ids are the same.
    pub fn has_tables(&self) -> bool {
        self.vocabulary.tables().is_some()
    }

    /// What [`Tokenizer::from_parts`] makes this tokenizer of.
    pub fn parts(&self) -> TokenizerParts {
        let vocabulary = &*self.vocabulary;
        let mut names: Vec<String> =
            self.token_table().special_tokens().map(|(_, name)| name.into_owned()).collect();
        while names.last().is_some_and(|last| *last == filler_name(names.len() as TokenId - 1)) {
            names.pop();
        }
        let tokens = ranked_tokens(vocabulary);
        let is_nemo = tokens == ranked_tokens(&Vocabulary::embedded());
        TokenizerParts {
            version: vocabulary.version.to_owned(),
            special_names: names,
            special_count: u64::from(vocabulary.first_id()),
            tokens: (!is_nemo).then(|| tokens.into_iter().map(<[u8]>::to_vec).collect()),
        }
    }
}

/// The bytes of the tokens with a rank, in the order of ranks.
fn ranked_tokens(vocabulary: &Vocabulary) -> Vec<&[u8]> {
    vocabulary.token_table().tokens_from(vocabulary.first_id()).collect()
}

/// The tables for a file: those that are there, if it has the same tokens under the same ids, or new ones; `None` if it
/// does not fit them, so that its texts take the plain path.
fn tables_of(tokens: &Tekken) -> Option<TablesOf> {
    let nemo = Vocabulary::embedded();
    let ranked: Vec<&[u8]> = tokens.token_table.tokens_from(tokens.first_id).collect();
    if tokens.first_id == nemo.first_id() && ranked == ranked_tokens(&nemo) {
        return Some(TablesOf::Embedded(embedded::tables()));
    }
    let halves = halves(tokens, &ranked)?;
    let ranked: Vec<Vec<u8>> = ranked.into_iter().map(<[u8]>::to_vec).collect();
    Tables::build(&ranked, &halves, tokens.first_id).map(TablesOf::File)
}

/// The two ranks of each token's last merge; a byte has itself twice.
///
/// `None` if merging does not reach each token, and from lower ranks: then a token may be found as a whole piece and not
/// in one, or the order of merges is not that of ranks, and the tables and what is proven of them do not hold.
fn halves(tokens: &Tekken, ranked: &[&[u8]]) -> Option<Vec<[Rank; 2]>> {
    let ranks = PlainRanks::new(&tokens.token_table, tokens.first_id);
    let mut merger = Merger::new(&ranks);
    let halves = (0..).zip(ranked).map(|(rank, token)| {
        if rank < BYTE_RANKS {
            return Some([rank; 2]);
        }
        merger.last_merge(token).filter(|halves| halves.iter().all(|&half| half < rank))
    });
    halves.collect()
}
