//! Text to token ids and back.

/// What can be wrong with token ids or a vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownId {
        /// The id.
        id: u64,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
}
