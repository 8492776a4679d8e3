//! Texts from Python, without a copy: the characters of a `str` where they lie, `bytes` that are UTF-8.
//!
//! The interpreter would make UTF-8 of any `str`, but keep it for as long as the `str` lives. So only ASCII is taken as
//! UTF-8; the rest is read by its kind, in parts ([`Text`]).

#![allow(unsafe_code, reason = "the characters of a `str` are read where they lie")]

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyBytes, PyString};
use pyo3::{exceptions::PyTypeError, ffi};

use super::convert::type_name;
use crate::error::Error;
use crate::tokenizer::{Text, TokenizerError, utf8};

/// A text: `str`, or `bytes` that are UTF-8.
#[inline]
pub(super) fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Text<'a>> {
    if let Ok(string) = value.cast::<PyString>() {
        return string_text(string);
    }
    let Ok(bytes) = value.cast::<PyBytes>() else {
        return Err(PyTypeError::new_err(format!("text must be str or bytes, found {}", type_name(value))));
    };
    let text = utf8(bytes.as_bytes()).map_err(|offset| Error::from(TokenizerError::NotUtf8 { offset }))?;
    Ok(Text::Utf8(text))
}

/// A text in UTF-8.
pub(super) fn utf8_text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    text(value).map(Text::to_utf8)
}

/// The characters of a `str`. It may hold surrogates: a pair of them is one character, a lone one becomes
/// U+FFFD, as in the reference.
#[inline]
pub(super) fn string_text<'a>(string: &'a Bound<'_, PyString>) -> PyResult<Text<'a>> {
    // SAFETY: a `str` never changes, and lives for as long as it is borrowed here.
    let characters = unsafe { string.data()? };
    Ok(match characters {
        // SAFETY: the object is a `str`; `data` has made it ready.
        PyStringData::Ucs1(units) if unsafe { ffi::PyUnicode_IS_ASCII(string.as_ptr()) } != 0 => {
            // SAFETY: every unit is ASCII.
            Text::Utf8(unsafe { std::str::from_utf8_unchecked(units) })
        }
        PyStringData::Ucs1(units) => Text::Latin1(units),
        PyStringData::Ucs2(units) => Text::Utf16(units),
        PyStringData::Ucs4(units) => Text::Utf32(units),
    })
}
