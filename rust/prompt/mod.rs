//! Chat messages to token ids.

/// Messages that the instruct template does not allow.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PromptError {
    /// The reference's exception class for the same fault.
    pub error_type: &'static str,
    /// What is wrong.
    pub message: String,
}
