//! Text to token ids and back: the Tekken tokenizer of Mistral Nemo. It knows no model and no device.
//!
//! Text is cut into pieces (`pretokenizer`), each piece is merged on its own (`bpe`) with the ranks of the
//! `vocabulary`, the embedded one or that of a file (`loading`). Ids go back to bytes through a [`TokenTable`], which also stands for vocabularies
//! that are not ours.
//!
//! That is the plain path, the plainest that is exact on every input and linear in its length: it is the
//! specification, and what the tests compare with. `fast` is its twin, which everyone gets. Control strings such as
//! `[INST]` in a text are text like any other; special tokens come from the code that builds a prompt. Only a
//! caller who asks for it gets them from a text (`control_strings`). Texts that are not UTF-8 come in through [`Text`],
//! and many or large ones are shared among threads (`parallel`).
//!
//! What counts and cuts texts stands on one fact, which places of a text pretokens never span (`safe_boundary`):
//! `budget`, `counter` and `index`, with `prefixes` and `suffixes` for what is between two such places.

mod base64;
mod bpe;
mod budget;
mod char_class;
mod control_strings;
mod counter;
mod embedded;
mod fast;
mod index;
mod loading;
mod offsets;
mod parallel;
mod plain_ranks;
mod prefixes;
mod pretokenizer;
mod safe_boundary;
mod special_names;
pub mod special_tokens;
mod stream_decoder;
mod suffixes;
#[allow(dead_code, reason = "some of it only the build script calls")]
mod tables;
mod tekken_file;
mod text;
mod text_cuts;
mod token_table;
mod transcode;
mod unicode_classes;
mod units;
mod utf8;
mod vocabulary;

use std::sync::Arc;

use bpe::Merger;
pub use budget::CostlyCharacter;
pub use control_strings::ControlStrings;
pub use counter::TokenCounter;
#[cfg(feature = "python")]
pub(crate) use fast::Unit;
pub use fast::{CpuChoice, CpuLevel};
pub use index::TokenIndex;
pub use loading::TokenizerParts;
pub use offsets::OffsetUnit;
pub use parallel::{Encoded, cores};
pub(crate) use parallel::{in_parallel, threads_of};
use pretokenizer::Pretokens;
pub(crate) use safe_boundary::{first_safe, is_safe_between};
pub use stream_decoder::StreamDecoder;
pub use tekken_file::TekkenFileError;
pub use text::{EncodeOptions, Text};
pub use token_table::{SpecialPolicy, TokenTable, Utf8Policy};
#[cfg(feature = "python")]
pub(crate) use units::write_units;
pub(crate) use utf8::utf8;
use vocabulary::Vocabulary;

/// A token's number in the vocabulary, special tokens included.
pub type TokenId = u32;

/// What can be wrong with token ids, a vocabulary or a text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownId {
        /// The id.
        id: TokenId,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A number that no vocabulary has for a token id.
    #[error("token id {value} is outside the range 0 to {max}", max = TokenId::MAX)]
    IdOutOfRange {
        /// The number.
        value: String,
    },
    /// A special token where none is allowed.
    #[error("special token {name} (id {id}) is not allowed here")]
    SpecialToken {
        /// The token.
        id: TokenId,
        /// Its name.
        name: String,
    },
    /// Token ids whose bytes are not UTF-8.
    #[error("the bytes of the token ids from index {run_start} on are not UTF-8 at byte {offset}")]
    UndecodableIds {
        /// Index of the first id of the run: runs between special tokens are decoded one by one.
        run_start: usize,
        /// Bytes of the run that are UTF-8.
        offset: usize,
    },
    /// A special token's name in a text, where none is allowed.
    #[error("the text has the control string {name} at byte {offset}")]
    ControlString {
        /// The name.
        name: String,
        /// Where it starts.
        offset: usize,
    },
    /// A table of more than 4 GiB.
    #[error("the bytes of all tokens are more than {}", u32::MAX)]
    TooManyBytes,
    /// A vocabulary's file.
    #[error(transparent)]
    TekkenFile(#[from] TekkenFileError),
    /// A text whose bytes are not UTF-8.
    #[error("the text is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Bytes of the text that are UTF-8.
        offset: usize,
    },
    /// What is wrong with one of many texts.
    #[error("text {index}: {error}")]
    InText {
        /// Which one.
        index: usize,
        /// What.
        error: Box<TokenizerError>,
    },
}

/// The tokenizer of Mistral Nemo. It never changes, and a copy shares everything.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    vocabulary: Arc<Vocabulary>,
}

impl Tokenizer {
    /// The tokenizer on the embedded vocabulary: nothing is built, and all share it.
    ///
    /// ```
    /// let tokenizer = nemo_fast::tokenizer::Tokenizer::embedded();
    /// assert_eq!(tokenizer.encode("Hello, how are you?"), [22177, 1044, 2606, 1584, 1636, 1063]);
    /// assert_eq!(tokenizer.count("Hello, how are you?"), 6);
    /// ```
    pub fn embedded() -> Tokenizer {
        Tokenizer { vocabulary: Vocabulary::embedded() }
    }

    /// The token ids of a text, without special tokens.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        let mut ids = Vec::new();
        self.encode_into(text, &mut ids);
        ids
    }

    /// Appends the token ids of a text.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<TokenId>) {
        self.encode_at(CpuLevel::in_use(), text, ids);
    }

    /// Number of token ids of a text; they are not built.
    pub fn count(&self, text: &str) -> usize {
        self.count_at(CpuLevel::in_use(), text)
    }

    /// [`Tokenizer::encode_into`] at a level: what the tests of the levels are made of.
    pub fn encode_at(&self, level: CpuLevel, text: &str, ids: &mut Vec<TokenId>) {
        match self.vocabulary.tables() {
            Some(tables) => fast::encode_into(level, self.vocabulary.key, tables, text, ids),
            None => ids.extend(self.encode_plain(text)),
        }
    }

    /// [`Tokenizer::count`] at a level.
    pub fn count_at(&self, level: CpuLevel, text: &str) -> usize {
        match self.vocabulary.tables() {
            Some(tables) => fast::count(level, self.vocabulary.key, tables, text),
            None => self.encode_plain(text).len(),
        }
    }

    /// The token ids of a text by the plain path: the specification of [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Vec<TokenId> {
        let mut merger = Merger::new(self.vocabulary.plain_ranks());
        let mut ids = Vec::new();
        for piece in Pretokens::new(text) {
            merger.encode(piece.as_bytes(), |rank| ids.push(self.vocabulary.id_of(rank)));
        }
        ids
    }

    /// The pretokens of a text, in order: the pieces that are encoded one by one. Joined they are the text.
    pub fn pretokens<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        Pretokens::new(text)
    }

    /// The token ids of bytes as one pretoken, whatever the pattern would make of them.
    pub fn encode_pretoken(&self, bytes: &[u8]) -> Vec<TokenId> {
        let mut ids = Vec::new();
        if !bytes.is_empty() {
            let mut merger = Merger::new(self.vocabulary.plain_ranks());
            merger.encode(bytes, |rank| ids.push(self.vocabulary.id_of(rank)));
        }
        ids
    }

    /// The id of `<s>`, which starts a prompt.
    pub fn bos_id(&self) -> TokenId {
        self.vocabulary.bos
    }

    /// The id of `</s>`, which ends an assistant message.
    pub fn eos_id(&self) -> TokenId {
        self.vocabulary.eos
    }

    /// The id of the special token of that name.
    pub fn special_token_id(&self, name: &str) -> Option<TokenId> {
        self.vocabulary.special_names().id(name)
    }

    /// The version of the Tekken file: which special tokens there are.
    pub fn tekken_version(&self) -> &'static str {
        self.vocabulary.version
    }

    /// The id of the token that has exactly these bytes; special tokens are not found by theirs.
    pub fn token_id(&self, bytes: &[u8]) -> Option<TokenId> {
        self.vocabulary.rank(bytes).map(|rank| self.vocabulary.id_of(rank))
    }

    /// The bytes of every token, and decoding.
    pub fn token_table(&self) -> &Arc<TokenTable> {
        self.vocabulary.token_table()
    }

    /// Ids to text: [`TokenTable::decode`].
    ///
    /// # Errors
    /// As [`TokenTable::decode`].
    pub fn decode(
        &self,
        ids: &[TokenId],
        special: SpecialPolicy,
        utf8: Utf8Policy,
    ) -> Result<String, TokenizerError> {
        self.token_table().decode(ids, special, utf8)
    }

    /// A decoder for one stream of ids.
    pub fn stream_decoder(&self, special: SpecialPolicy) -> StreamDecoder {
        StreamDecoder::new(Arc::clone(self.token_table()), special)
    }
}
