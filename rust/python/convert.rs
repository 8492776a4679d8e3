//! Python values to Rust: texts, token ids and options. What is refused here names what was found.

use std::borrow::Cow;

use pyo3::buffer::{Element, ElementType, PyUntypedBuffer};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PySequence, PyString};

use crate::error::Error;
use crate::tokenizer::{ControlStrings, SpecialPolicy, TokenId, TokenizerError, Utf8Policy};

/// A text: `str`, or `bytes` that are UTF-8.
pub(super) fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    if let Ok(string) = value.cast::<PyString>() {
        return string_text(string);
    }
    let Ok(bytes) = value.cast::<PyBytes>() else {
        return Err(type_error("text must be str or bytes", value));
    };
    match std::str::from_utf8(bytes.as_bytes()) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => Err(Error::from(TokenizerError::NotUtf8 { offset: error.valid_up_to() }).into()),
    }
}

/// The characters of a `str`. It may hold surrogates: a pair of them is one character, a lone one becomes
/// U+FFFD, as in the reference.
pub(super) fn string_text<'a>(string: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    match string.to_str() {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(string.py()) => {
            let encoded = string.call_method1("encode", ("utf-16-le", "surrogatepass"))?;
            let encoded = encoded.cast_into::<PyBytes>()?;
            let units = encoded.as_bytes().chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            let characters = char::decode_utf16(units);
            Ok(Cow::Owned(characters.map(|result| result.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()))
        }
        Err(error) => Err(error),
    }
}

/// Token ids: a list, a tuple or another sequence of integers, or a buffer of integers such as a numpy array.
pub(super) fn token_ids(values: &Bound<'_, PyAny>) -> PyResult<Vec<TokenId>> {
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
