//! Text to Python: a `str` is made in the form in which the interpreter keeps it.
//!
//! The interpreter's own way checks once more that the text is UTF-8 and goes through it one character at a time.

#![allow(unsafe_code, reason = "a new `str` is filled before anyone sees it")]

use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::tokenizer::{Unit, write_units};

/// Bytes up to which the interpreter's own way is as good.
const SHORT: usize = 32;

/// A `str` of a text.
pub(super) fn new_string<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    if text.len() <= SHORT {
        return Ok(PyString::new(py, text));
    }
    // The greatest byte tells the greatest kind of character: bytes that go on a character are below all first bytes.
    match text.bytes().fold(0, u8::max) {
        0..0x80 => filled(py, text, text.len(), 0x7F, |text, units: &mut [MaybeUninit<u8>]| {
            for (unit, byte) in units.iter_mut().zip(text.bytes()) {
                unit.write(byte);
            }
        }),
        0x80..0xC4 => transcoded::<u8>(py, text, 0xFF),
        0xC4..0xF0 => transcoded::<u16>(py, text, 0xFFFF),
        _ => transcoded::<u32>(py, text, 0x10_FFFF),
    }
}

/// A `str` of a text whose characters are units, of which one at least is no lesser one.
fn transcoded<'py, U: Unit>(py: Python<'py>, text: &str, greatest: u32) -> PyResult<Bound<'py, PyString>> {
    filled(py, text, text.chars().count(), greatest, |text, units: &mut [MaybeUninit<U>]| {
        assert_eq!(write_units(text, units), units.len(), "a text has as many units as characters");
    })
}

/// A `str` of `length` characters of up to `greatest`, which has to be the greatest of the kind; `fill` writes all of them.
fn filled<'py, U>(
    py: Python<'py>,
    text: &str,
    length: usize,
    greatest: u32,
    fill: impl FnOnce(&str, &mut [MaybeUninit<U>]),
) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: the thread is attached. The result is a new reference to a `str`, or null with an exception set.
    let string = unsafe {
        let string = ffi::PyUnicode_New(length as ffi::Py_ssize_t, greatest);
        Bound::from_owned_ptr_or_err(py, string)?.cast_into_unchecked::<PyString>()
    };
    // SAFETY: the new `str` has room for `length` units of the size that its greatest character has, which is that of `U`;
    // nobody else has it yet.
    let units = unsafe {
        let units = ffi::PyUnicode_DATA(string.as_ptr()).cast::<MaybeUninit<U>>();
        std::slice::from_raw_parts_mut(units, length)
    };
    fill(text, units);
    Ok(string)
}
