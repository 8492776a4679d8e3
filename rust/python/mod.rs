//! The Python module `nemo_fast._native`: the list of its exports, nothing else.

use pyo3::prelude::*;

mod errors;

/// The Rust half of `nemo_fast`.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::errors::{
        CheckpointError, ContextLengthError, DeviceError, GenerationError, NemoFastError, PromptError,
        TokenizerError,
    };
}
