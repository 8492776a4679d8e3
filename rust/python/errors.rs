//! The exception classes, and the one place where an [`Error`] becomes an exception.

use pyo3::create_exception;
use pyo3::exceptions::{
    PyException, PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyPermissionError, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;

use crate::arrow::ArrowError;
use crate::error::Error;
use crate::generation;

create_exception!(nemo_fast, NemoFastError, PyException, "The base of every error that nemo_fast defines.");
create_exception!(nemo_fast, TokenizerError, NemoFastError, "Token ids or a vocabulary.");
create_exception!(
    nemo_fast,
    PromptError,
    NemoFastError,
    "Messages that the instruct template does not allow."
);
create_exception!(nemo_fast, CheckpointError, NemoFastError, "A checkpoint's files.");
create_exception!(nemo_fast, DeviceError, NemoFastError, "A device or its memory.");
create_exception!(nemo_fast, GenerationError, NemoFastError, "A request to the engine.");
create_exception!(nemo_fast, ContextLengthError, GenerationError, "More tokens than the context holds.");

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        let message = error.to_string();
        match error {
            Error::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
                std::io::ErrorKind::PermissionDenied => PyPermissionError::new_err(message),
                _ => PyOSError::new_err(message),
            },
            Error::Interrupted => PyKeyboardInterrupt::new_err(message),
            Error::Argument(_) | Error::Arrow(ArrowError::Broken(_)) => PyValueError::new_err(message),
            Error::Tokenizer(_) | Error::Arrow(ArrowError::NotUtf8 { .. }) => {
                TokenizerError::new_err(message)
            }
            Error::Arrow(ArrowError::NotTexts { .. }) => PyTypeError::new_err(message),
            Error::Prompt(error) => prompt_exception(message, error.error_type),
            Error::Checkpoint(_) => CheckpointError::new_err(message),
            Error::Device(_) => DeviceError::new_err(message),
            Error::Generation(error) => generation_exception(message, &error),
        }
    }
}

/// A `ContextLengthError` carries its numbers as `prompt_tokens` and `context_length`.
fn generation_exception(message: String, error: &generation::GenerationError) -> PyErr {
    match error {
        generation::GenerationError::ContextLength { prompt_tokens, context_length, .. } => {
            let exception = ContextLengthError::new_err(message);
            let labelled = Python::attach(|py| {
                exception.value(py).setattr("prompt_tokens", prompt_tokens)?;
                exception.value(py).setattr("context_length", context_length)
            });
            labelled.err().unwrap_or(exception)
        }
        generation::GenerationError::Closed
        | generation::GenerationError::Busy { .. }
        | generation::GenerationError::Failed
        | generation::GenerationError::Forked
        | generation::GenerationError::NotFinite { .. } => GenerationError::new_err(message),
    }
}

/// A `PromptError` that carries the name of the reference's exception as `error_type`.
fn prompt_exception(message: String, error_type: &'static str) -> PyErr {
    let exception = PromptError::new_err(message);
    let labelled = Python::attach(|py| exception.value(py).setattr("error_type", error_type));
    labelled.err().unwrap_or(exception)
}
