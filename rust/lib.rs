//! Mistral Nemo 12B in process: exact tokenizer, chat prompts and an fp8 engine.
//!
//! Dependencies point downward only; `tokenizer` imports nothing but `error`.
//!
//! ```text
//! python ──► generation ──► prompt ──► tokenizer       text, messages ◄──► token ids
//!                   │         └─────► json
//!                   └─────► model ──► checkpoint       token ids ──► logits
//!                             └─────► backend ──► fp8
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`arrow`] | arrays of texts from other libraries, and results for them |
//! | [`tokenizer`] | text to token ids and back; knows no model and no device |
//! | [`prompt`] | chat requests to token ids |
//! | [`json`] | JSON as Python reads and writes it |
//! | [`fp8`] | the one conversion between E4M3 and floats, and the choice of scales |
//! | [`checkpoint`] | files to typed, checked weights |
//! | [`model`] | the transformer, written once over any backend |
//! | [`backend`] | the operations that a device offers |
//! | [`generation`] | requests, sampling, stopping, text |
//! | `mapped_file` | the bytes of a file, mapped into memory |
//! | [`error`] | one error type, one variant a module |
//!
//! The Python bindings (`python`, behind the feature of that name) are the only files that name pyo3.

pub mod arrow;
pub mod backend;
pub mod checkpoint;
pub mod error;
pub mod fp8;
pub mod generation;
pub mod json;
mod mapped_file;
pub mod model;
pub mod prompt;
#[cfg(feature = "python")]
mod python;
mod split_mix;
pub mod tokenizer;

pub use error::{Error, Result};
