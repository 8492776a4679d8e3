//! The Python module `nemo_fast._native`: the list of its exports, nothing else.

#![allow(
    clippy::doc_link_with_quotes,
    clippy::needless_pass_by_value,
    clippy::unused_self,
    reason = "doc comments are docstrings in Python, and signatures are those that PyO3 calls"
)]

use pyo3::prelude::*;

mod arrow;
mod batch;
mod budget;
mod build_info;
mod chat;
mod checkpoint;
mod completion;
mod conversation;
mod convert;
mod encode;
mod engine;
mod errors;
mod file_bytes;
mod files;
mod fit;
mod int_lists;
mod json_values;
mod logits;
mod prompt;
mod request_lines;
mod running_counts;
mod text_input;
mod text_output;
mod text_positions;
mod tokenizer;
mod without_gil;

/// The Rust half of `nemo_fast`.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::arrow::ArrowColumn;
    #[pymodule_export]
    use super::batch::PyTokenBatch;
    #[pymodule_export]
    use super::build_info::build_info;
    #[pymodule_export]
    use super::checkpoint::{Checkpoint, pack_rows, quantize_rows};
    #[pymodule_export]
    use super::completion::{
        PyAssistantMessage, PyCompletionParser, PyMessageDelta, PyToolCall, PyToolCallDelta,
    };
    #[pymodule_export]
    use super::conversation::PyConversation;
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::errors::{
        CheckpointError, ContextLengthError, DeviceError, GenerationError, NemoFastError, PromptError,
        TokenizerError,
    };
    #[pymodule_export]
    use super::files::walk_files;
    #[pymodule_export]
    use super::fit::PyFittedChat;
    #[pymodule_export]
    use super::request_lines::PyRequestCounts;
    #[pymodule_export]
    use super::running_counts::{PyTokenCounter, PyTokenIndex};
    #[pymodule_export]
    use super::tokenizer::{PyStreamDecoder, PyTokenTable, PyTokenizer};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // Every instance has its own; the class has one so that the attribute can be relied on.
        module.py().get_type::<PromptError>().setattr("error_type", "")
    }
}
