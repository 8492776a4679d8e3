//! Arrow arrays without an Arrow library: texts in, counts and token ids out, through the C data interface.
//!
//! `c_data` has the three structs of the interface, `texts` reads and checks an array of texts, `column` holds
//! results and lends them to a consumer. Arrays that are neither, and Python's capsules, are not its business.
//!
//! The interface does not say how long a producer's buffers are, but for the data of string views. So a last
//! offset beyond the end of its buffer cannot be noticed by anyone; everything else is checked before use.

pub mod c_data;
mod column;
mod texts;

pub use column::{Chunk, Column};
pub use texts::Texts;

/// What can be wrong with somebody's Arrow array.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrowError {
    /// An array of another type.
    #[error("an Arrow array of texts is needed, found {found}")]
    NotTexts {
        /// The type.
        found: String,
    },
    /// An array, a schema or a stream that breaks the rules of the interface.
    #[error("broken Arrow data: {0}")]
    Broken(String),
    /// A value whose bytes are not UTF-8.
    #[error("value {index} of the Arrow array is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Index of the value.
        index: usize,
        /// Bytes of the value that are UTF-8.
        offset: usize,
    },
}
