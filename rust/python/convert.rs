//! Python values to Rust: token ids and options; texts are in `text_input`. What is refused here names what was found.

use std::borrow::Cow;

use pyo3::buffer::{Element, ElementType, PyUntypedBuffer};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyList, PySequence, PyString};

use super::int_lists::list_ids;
use crate::error::Error;
use crate::tokenizer::{ControlStrings, SpecialPolicy, Text, TokenId, TokenizerError, Utf8Policy};

/// The UTF-8 of a `str`, borrowed where it is ASCII.
pub(super) fn string_text<'a>(string: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    super::text_input::string_text(string).map(Text::to_utf8)
}

/// Token ids: a list, a tuple or another sequence of integers, or a buffer of integers such as a numpy array.
pub(super) fn token_ids(values: &Bound<'_, PyAny>) -> PyResult<Vec<TokenId>> {
    if let Ok(list) = values.cast::<PyList>()
        && let Some(ids) = list_ids(list)
    {
        return Ok(ids);
    }
    let expected = "token ids must be a sequence or a one-dimensional buffer of integers";
    let is_text = values.is_instance_of::<PyString>() || values.is_instance_of::<PyBytes>();
    if is_text || values.is_instance_of::<PyByteArray>() {
        return Err(type_error(expected, values));
    }
    if let Ok(buffer) = PyUntypedBuffer::get(values) {
        return buffer_ids(values.py(), &buffer);
    }
    let Ok(sequence) = values.cast::<PySequence>() else {
        return Err(type_error(expected, values));
    };
    sequence.try_iter()?.map(|value| token_id(&value?)).collect()
}

/// One token id: any integer but `bool`.
pub(super) fn token_id(value: &Bound<'_, PyAny>) -> PyResult<TokenId> {
    let expected = "a token id must be an integer";
    if value.is_instance_of::<PyBool>() {
        return Err(type_error(expected, value));
    }
    value.extract::<TokenId>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            out_of_range(value)
        } else if error.is_instance_of::<PyTypeError>(value.py()) {
            type_error(expected, value)
        } else {
            error
        }
    })
}

fn buffer_ids(py: Python<'_>, buffer: &PyUntypedBuffer) -> PyResult<Vec<TokenId>> {
    if buffer.dimensions() != 1 {
        let message = format!("token ids must have one dimension, found {}", buffer.dimensions());
        return Err(PyTypeError::new_err(message));
    }
    if matches!(buffer.format().to_bytes().first(), Some(b'>' | b'!')) && cfg!(target_endian = "little") {
        return Err(PyTypeError::new_err(
            "token ids must be in the byte order of this machine, found big-endian",
        ));
    }
    match ElementType::from_format(buffer.format()) {
        ElementType::SignedInteger { bytes: 1 } => typed_ids::<i8>(py, buffer),
        ElementType::SignedInteger { bytes: 2 } => typed_ids::<i16>(py, buffer),
        ElementType::SignedInteger { bytes: 4 } => typed_ids::<i32>(py, buffer),
        ElementType::SignedInteger { bytes: 8 } => typed_ids::<i64>(py, buffer),
        ElementType::UnsignedInteger { bytes: 1 } => typed_ids::<u8>(py, buffer),
        ElementType::UnsignedInteger { bytes: 2 } => typed_ids::<u16>(py, buffer),
        ElementType::UnsignedInteger { bytes: 4 } => typed_ids::<u32>(py, buffer),
        ElementType::UnsignedInteger { bytes: 8 } => typed_ids::<u64>(py, buffer),
        _ => {
            let format = buffer.format().to_string_lossy();
            let message = format!("token ids must be integers, found a buffer of format '{format}'");
            Err(PyTypeError::new_err(message))
        }
    }
}

fn typed_ids<T>(py: Python<'_>, buffer: &PyUntypedBuffer) -> PyResult<Vec<TokenId>>
where
    T: Element + TryInto<TokenId> + std::fmt::Display,
{
    let values = buffer.as_typed::<T>()?.to_vec(py)?;
    values.into_iter().map(|value| value.try_into().map_err(|_| out_of_range(&value))).collect()
}

fn out_of_range(value: &impl std::fmt::Display) -> PyErr {
    Error::from(TokenizerError::IdOutOfRange { value: value.to_string() }).into()
}

fn type_error(expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{expected}, found {}", type_name(found)))
}

/// The name of a value's type, for messages.
pub(super) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// The option `special` of the decoding methods.
pub(super) fn special_policy(name: &str) -> PyResult<SpecialPolicy> {
    match name {
        "skip" => Ok(SpecialPolicy::Skip),
        "keep" => Ok(SpecialPolicy::Keep),
        "raise" => Ok(SpecialPolicy::Raise),
        _ => Err(Error::Argument(format!("special must be skip, keep or raise, found {name:?}")).into()),
    }
}

/// The option `errors` of the decoding methods.
pub(super) fn utf8_policy(name: &str) -> PyResult<Utf8Policy> {
    match name {
        "replace" => Ok(Utf8Policy::Replace),
        "strict" => Ok(Utf8Policy::Strict),
        _ => Err(Error::Argument(format!("errors must be replace or strict, found {name:?}")).into()),
    }
}

/// The option `special` of the encoding methods.
pub(super) fn control_strings(name: &str) -> PyResult<ControlStrings> {
    match name {
        "text" => Ok(ControlStrings::Text),
        "parse" => Ok(ControlStrings::Parse),
        "forbid" => Ok(ControlStrings::Forbid),
        _ => Err(Error::Argument(format!("special must be text, parse or forbid, found {name:?}")).into()),
    }
}
