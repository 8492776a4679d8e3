//! Between bytes of UTF-8, which the tokenizer counts, and the positions of the Python text that they came from.

use std::borrow::Cow;
use std::ops::Range;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice, PyString};

use super::convert;
use super::text_input::utf8_text;
use crate::error::Error;

/// A text of Python as UTF-8, with a way back to its positions.
pub(super) struct PositionedText<'a, 'py> {
    value: &'a Bound<'py, PyAny>,
    pub(super) utf8: Cow<'a, str>,
    unit: Unit,
}

/// What a position of the Python text is.
enum Unit {
    /// A byte: of `bytes`, or of a `str` that is ASCII.
    Byte,
    /// A character.
    Character,
    /// A code point of a `str` with pairs of surrogates, which are one character each: where each character starts,
    /// and the end.
    CodePoint(Vec<usize>),
}

impl<'a, 'py> PositionedText<'a, 'py> {
    pub(super) fn new(value: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let utf8 = utf8_text(value)?;
        let unit = match value.cast::<PyString>() {
            Ok(string) => unit_of(string, &utf8)?,
            Err(_) => Unit::Byte,
        };
        Ok(PositionedText { value, utf8, unit })
    }

    /// The position of each byte, which must start a character or be the end. Bytes near the one before are found
    /// fast.
    pub(super) fn positions(&self, bytes: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let (mut at, mut characters) = (0, 0);
        let position = |byte: usize| {
            if matches!(self.unit, Unit::Byte) {
                return byte;
            }
            if byte >= at {
                characters += self.utf8[at..byte].chars().count();
            } else {
                characters -= self.utf8[byte..at].chars().count();
            }
            at = byte;
            self.code_point_starts().map_or(characters, |starts| starts[characters])
        };
        bytes.into_iter().map(position).collect()
    }

    /// Where each character starts, and the end, if characters are not positions: a pair of surrogates is two.
    pub(super) fn code_point_starts(&self) -> Option<&[usize]> {
        match &self.unit {
            Unit::Byte | Unit::Character => None,
            Unit::CodePoint(starts) => Some(starts),
        }
    }

    /// The part of the Python text that is these bytes.
    pub(super) fn slice(&self, part: Range<usize>) -> PyResult<Bound<'py, PyAny>> {
        let positions = self.positions([part.start, part.end]);
        slice(self.value, positions[0]..positions[1])
    }

    /// The parts of the Python text that are these bytes.
    pub(super) fn slices(&self, parts: &[Range<usize>]) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let starts = self.positions(parts.iter().map(|part| part.start));
        let ends = self.positions(parts.iter().map(|part| part.end));
        starts.into_iter().zip(ends).map(|(start, end)| slice(self.value, start..end)).collect()
    }
}

fn unit_of(string: &Bound<'_, PyString>, utf8: &str) -> PyResult<Unit> {
    let length = string.len()?;
    if utf8.len() == length {
        return Ok(Unit::Byte);
    }
    if utf8.chars().count() == length {
        return Ok(Unit::Character);
    }
    let encoded = string.call_method1("encode", ("utf-32-le", "surrogatepass"))?.cast_into::<PyBytes>()?;
    let (mut starts, mut is_behind_high) = (Vec::new(), false);
    for (position, unit) in encoded.as_bytes().as_chunks::<4>().0.iter().enumerate() {
        let code_point = u32::from_le_bytes(*unit);
        let is_pair = is_behind_high && (0xDC00..0xE000).contains(&code_point);
        is_behind_high = (0xD800..0xDC00).contains(&code_point);
        if !is_pair {
            starts.push(position);
        }
    }
    starts.push(length);
    Ok(Unit::CodePoint(starts))
}

/// A slice of a `str` or `bytes`.
pub(super) fn slice<'py>(value: &Bound<'py, PyAny>, range: Range<usize>) -> PyResult<Bound<'py, PyAny>> {
    value.get_item(PySlice::new(value.py(), range.start.cast_signed(), range.end.cast_signed(), 1))
}

/// A number that is not negative. One that is too large for this machine stands for the largest.
pub(super) fn natural_number(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract::<usize>().or_else(|error| {
        if !error.is_instance_of::<PyOverflowError>(value.py()) {
            let found = convert::type_name(value);
            return Err(PyTypeError::new_err(format!("{name} must be an integer, found {found}")));
        }
        if value.lt(0)? {
            return Err(Error::Argument(format!("{name} must be at least 0, found {value}")).into());
        }
        Ok(usize::MAX)
    })
}
