//! The crate's error: one variant a module, each with an enum of its own beside that module.
//!
//! Messages are in lower case and name the thing that is wrong, with the numbers found and expected.

use std::path::PathBuf;

use crate::arrow::ArrowError;
use crate::backend::DeviceError;
use crate::checkpoint::CheckpointError;
use crate::generation::GenerationError;
use crate::prompt::PromptError;
use crate::tokenizer::TokenizerError;

/// Anything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An argument is outside its range; Python's `ValueError`.
    #[error("{0}")]
    Argument(String),
    /// Whoever watched the work stopped it; the reason is theirs.
    #[error("interrupted")]
    Interrupted,
    /// Token ids or a vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An array of another library.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// Messages that the instruct template does not allow.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A checkpoint's files.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A device or its memory.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A request to the engine.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Puts the path in front of an I/O error.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}
