//! The classes `TokenCounter` and `TokenIndex`.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::text_input::utf8_text;
use super::text_positions::{PositionedText, natural_number, slice};
use super::without_gil::without_gil;
use crate::error::Error;
use crate::tokenizer::{TokenCounter, TokenIndex, Tokenizer};

/// Counts a text that grows; made by `Tokenizer.counter`.
///
/// The count is always that of all texts so far, joined. What is before the last certain end of a word is not looked
/// at again, so that it takes time in proportion to the new text and the last word.
///
/// >>> counter = nemo_fast.Tokenizer().counter()
/// >>> for text in ["Premi", "ère"]:
/// ...     counter.append(text)
/// ...     print(counter.count)
/// 2
/// 1
#[pyclass(frozen, name = "TokenCounter", module = "nemo_fast._native")]
pub(super) struct PyTokenCounter {
    inner: Mutex<Growing>,
}

/// What is counted, and the first half of a pair of surrogates at its end: the second may follow.
struct Growing {
    counter: TokenCounter,
    half: Option<u16>,
}

impl PyTokenCounter {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let counter = TokenCounter::new(tokenizer.clone());
        PyTokenCounter { inner: Mutex::new(Growing { counter, half: None }) }
    }
}

impl Growing {
    /// Adds a text that starts with the second half of a pair or ends with the first, if they are given: U+FFFD stands
    /// for them in the text.
    fn append(&mut self, mut text: &str, second_half: Option<u16>, first_half: Option<u16>) {
        if let Some(half) = self.half.filter(|_| !text.is_empty()) {
            self.half = None;
            let pair = char::decode_utf16(second_half.map_or(vec![half], |second| vec![half, second]));
            self.counter
                .append(&pair.map(|half| half.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>());
            text = if second_half.is_some() { &text[REPLACEMENT.len()..] } else { text };
        }
        if first_half.is_some() {
            self.half = first_half;
            text = &text[..text.len() - REPLACEMENT.len()];
        }
        self.counter.append(text);
    }

    fn count(&mut self) -> usize {
        if self.half.is_none() {
            return self.counter.count();
        }
        self.counter.count_with(REPLACEMENT)
    }
}

#[pymethods]
impl PyTokenCounter {
    /// Add a text to the end.
    fn append(&self, text: &Bound<'_, PyAny>) -> PyResult<()> {
        let content = utf8_text(text)?;
        let (mut second_half, mut first_half) = (None, None);
        if content.starts_with(REPLACEMENT) && text.is_instance_of::<PyString>() {
            second_half = surrogate(text, 0)?.filter(|unit| *unit >= 0xDC00);
        }
        if content.ends_with(REPLACEMENT) && text.is_instance_of::<PyString>() {
            first_half = surrogate(text, text.len()? - 1)?.filter(|unit| *unit < 0xDC00);
        }
        // The lock is taken where the GIL is not held: a thread that holds it may wait for the lock.
        without_gil(text.py(), || {
            let mut growing = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            growing.append(&content, second_half, first_half);
            Ok::<_, Error>(())
        })
    }

    /// The count of all texts so far, joined.
    #[getter]
    fn count(&self, py: Python<'_>) -> PyResult<usize> {
        without_gil(py, || {
            let mut growing = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, Error>(growing.count())
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("TokenCounter(count={})", self.count(py)?))
    }
}

/// What half a pair of surrogates counts as.
const REPLACEMENT: &str = "\u{FFFD}";

/// The surrogate at a position of a `str`.
fn surrogate(text: &Bound<'_, PyAny>, position: usize) -> PyResult<Option<u16>> {
    let code_point = slice(text, position..position + 1)?;
    let encoded =
        code_point.call_method1("encode", ("utf-16-be", "surrogatepass"))?.cast_into::<PyBytes>()?;
    Ok(match *encoded.as_bytes() {
        [high @ 0xD8..0xE0, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    })
}

/// Counts any part of one text; made by `Tokenizer.index`.
///
/// Only the two edges of a part are counted again.
///
/// >>> text = "Counts are exact, wherever a part starts and ends. " * 1000
/// >>> index = nemo_fast.Tokenizer().index(text)
/// >>> index.count(7, 40_001) == nemo_fast.count(text[7:40_001])
/// True
#[pyclass(frozen, name = "TokenIndex", module = "nemo_fast._native")]
pub(super) struct PyTokenIndex {
    inner: TokenIndex,
    tokenizer: Tokenizer,
    /// A text with pairs of surrogates, whose parts may cut a pair: they are counted as they are.
    with_pairs: Option<Py<PyString>>,
    length: usize,
}

impl PyTokenIndex {
    pub(super) fn new(tokenizer: &Tokenizer, text: &Bound<'_, PyAny>) -> PyResult<Self> {
        let content = PositionedText::new(text)?;
        let with_pairs =
            content.code_point_starts().map(|_| text.clone().cast_into::<PyString>()).transpose()?;
        let utf8 = &*content.utf8;
        let inner =
            without_gil(text.py(), || Ok::<_, Error>(TokenIndex::new(tokenizer.clone(), utf8.to_owned())))?;
        let length = if with_pairs.is_some() { text.len()? } else { inner.len() };
        Ok(PyTokenIndex {
            inner,
            tokenizer: tokenizer.clone(),
            with_pairs: with_pairs.map(Bound::unbind),
            length,
        })
    }
}

#[pymethods]
impl PyTokenIndex {
    /// Return the count of `text[start:stop]`; of `bytes`, positions are those of the characters.
    fn count(&self, py: Python<'_>, start: &Bound<'_, PyAny>, stop: &Bound<'_, PyAny>) -> PyResult<usize> {
        let (start, stop) = (natural_number("start", start)?, natural_number("stop", stop)?);
        if start > stop || stop > self.length {
            let length = self.length;
            let message =
                format!("start and stop must be in order and at most {length}, found {start} and {stop}");
            return Err(Error::Argument(message).into());
        }
        let Some(text) = &self.with_pairs else {
            return without_gil(py, || Ok::<_, Error>(self.inner.count(start..stop)));
        };
        let part = slice(text.bind(py), start..stop)?;
        let content = utf8_text(&part)?;
        without_gil(py, || Ok::<_, Error>(self.tokenizer.count(&content)))
    }

    fn __len__(&self) -> usize {
        self.length
    }

    fn __repr__(&self) -> String {
        format!("TokenIndex(len={}, count={})", self.length, self.inner.count(0..self.inner.len()))
    }
}
