//! Texts to token ids: the methods of `Tokenizer` that take many texts, and `TokenBatch`.

use std::num::NonZero;

use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyType};

use super::convert::{self, type_name};
use super::encode::encode_options;
use super::int_lists::int_list;
use super::text_input::text as text_of;
use super::text_output::new_string;
use super::tokenizer::PyTokenizer;
use super::without_gil::without_gil;
use crate::error::Error;
use crate::tokenizer::{Text, TokenId, TokenizerError, cores};

/// The token ids of many texts, one after the other; made by `encode_batch`.
///
/// `batch[i]` is a view of the ids of text `i`; a batch has a length, can be iterated and pickles.
///
/// >>> batch = nemo_fast.Tokenizer().encode_batch(["Hello", "", "Hi there"])
/// >>> batch
/// TokenBatch(texts=3, ids=3)
/// >>> batch.ids, batch.offsets
/// (array([22177, 37133,  2156], dtype=uint32), array([0, 1, 1, 3]))
/// >>> batch[-1]
/// array([37133,  2156], dtype=uint32)
/// >>> batch.tolist()
/// [[22177], [], [37133, 2156]]
#[pyclass(frozen, name = "TokenBatch", module = "nemo_fast._native")]
pub(super) struct PyTokenBatch {
    ids: Py<PyArray1<TokenId>>,
    offsets: Py<PyArray1<i64>>,
}

/// What a batch is made of: its ids and offsets.
type Parts<'a> = (&'a Py<PyArray1<TokenId>>, &'a Py<PyArray1<i64>>);

#[pymethods]
impl PyTokenBatch {
    #[new]
    fn new(ids: Bound<'_, PyArray1<TokenId>>, offsets: Bound<'_, PyArray1<i64>>) -> PyResult<Self> {
        let total = ids.len()? as i64;
        let is_partition = {
            let offsets = offsets.try_readonly()?;
            let offsets = offsets.as_slice()?;
            offsets.first() == Some(&0) && offsets.last() == Some(&total) && offsets.is_sorted()
        };
        if !is_partition {
            let message = format!("offsets must ascend from 0 to the number of ids, {total}");
            return Err(Error::Argument(message).into());
        }
        Ok(PyTokenBatch { ids: ids.unbind(), offsets: offsets.unbind() })
    }

    /// The ids of all texts, uint32.
    #[getter]
    fn ids<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<TokenId>> {
        self.ids.bind(py).clone()
    }

    /// Where the ids of each text start, and the last ones end, int64.
    #[getter]
    fn offsets<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.offsets.bind(py).clone()
    }

    /// Return the ids of each text as a list.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let (ids, offsets) = (self.ids.bind(py).try_readonly()?, self.offsets.bind(py).try_readonly()?);
        let (ids, offsets) = (ids.as_slice()?, offsets.as_slice()?);
        let lists = PyList::empty(py);
        for ends in offsets.windows(2) {
            let place = |end: i64| usize::try_from(end).ok();
            let text = place(ends[0]).zip(place(ends[1])).and_then(|(start, end)| ids.get(start..end));
            let text = text.ok_or_else(|| Error::Argument("the offsets were changed".to_owned()))?;
            lists.append(int_list(py, text)?)?;
        }
        Ok(lists)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.offsets.bind(py).len()? - 1)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let texts = self.__len__(py)?;
        let place = if index < 0 { index.checked_add_unsigned(texts) } else { Some(index) };
        let place = place.and_then(|place| usize::try_from(place).ok()).filter(|&place| place < texts);
        let Some(place) = place else {
            return Err(PyIndexError::new_err(format!("text {index} is outside a batch of {texts}")));
        };
        let offsets = self.offsets.bind(py);
        let ends = pyo3::types::PySlice::new(
            py,
            offsets.get_item(place)?.extract()?,
            offsets.get_item(place + 1)?.extract()?,
            1,
        );
        self.ids.bind(py).get_item(ends)
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let builtins = py.import("builtins")?;
        let indices = builtins.getattr("range")?.call1((slf.len()?,))?;
        builtins.getattr("map")?.call1((slf.getattr("__getitem__")?, indices))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyType>, Parts<'_>) {
        (py.get_type::<PyTokenBatch>(), (&self.ids, &self.offsets))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("TokenBatch(texts={}, ids={})", self.__len__(py)?, self.ids.bind(py).len()?))
    }
}

#[pymethods]
impl PyTokenizer {
    /// Return the token ids of each text of an iterable as a `TokenBatch`; options as in `encode`.
    ///
    /// `threads`: how many at most, all cores if None. They change nothing but the time.
    ///
    /// >>> nemo_fast.Tokenizer().encode_batch(["Hello", "Hi"], eos=True).tolist()
    /// [[22177, 2], [37133, 2]]
    #[pyo3(signature = (texts, *, threads=None, bos=false, eos=false, special="text"))]
    fn encode_batch(
        &self,
        texts: &Bound<'_, PyAny>,
        threads: Option<isize>,
        bos: bool,
        eos: bool,
        special: &str,
    ) -> PyResult<PyTokenBatch> {
        let (threads, options) = (thread_count(threads)?, encode_options(&self.inner, bos, eos, special)?);
        let values = values(texts)?;
        let contents = contents(&values)?;
        let encoded = without_gil(texts.py(), || {
            self.inner
                .encode_texts(&contents, options, threads)
                .map_err(|(index, error)| in_text(index, error))
        })?;
        Ok(PyTokenBatch {
            ids: PyArray1::from_vec(texts.py(), encoded.ids).unbind(),
            offsets: PyArray1::from_vec(texts.py(), encoded.offsets).unbind(),
        })
    }

    /// Return the number of token ids of each text of an iterable, an array of int64; `threads` as in `encode_batch`.
    ///
    /// >>> nemo_fast.Tokenizer().count_batch(["Hello", "", "Hi there"])
    /// array([1, 0, 2])
    #[pyo3(signature = (texts, *, threads=None))]
    fn count_batch<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        threads: Option<isize>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let threads = thread_count(threads)?;
        let values = values(texts)?;
        let contents = contents(&values)?;
        let counts = without_gil(texts.py(), || Ok::<_, Error>(self.inner.count_texts(&contents, threads)))?;
        Ok(PyArray1::from_vec(texts.py(), counts))
    }

    /// Return the text of each element of a `TokenBatch`, or of an iterable of token ids; options as in `decode`.
    ///
    /// >>> tokenizer = nemo_fast.Tokenizer()
    /// >>> tokenizer.decode_batch(tokenizer.encode_batch(["Hello", "Hi there"]))
    /// ['Hello', 'Hi there']
    #[pyo3(signature = (batch, *, errors="replace", special="skip"))]
    fn decode_batch<'py>(
        &self,
        batch: &Bound<'py, PyAny>,
        errors: &str,
        special: &str,
    ) -> PyResult<Vec<Bound<'py, PyString>>> {
        let (errors, special) = (convert::utf8_policy(errors)?, convert::special_policy(special)?);
        let (py, mut rows) = (batch.py(), Vec::new());
        for (index, row) in batch.try_iter()?.enumerate() {
            rows.push(convert::token_ids(&row?).map_err(|error| named(py, "element", index, &error))?);
        }
        let texts: Vec<String> = without_gil(py, || {
            let texts = rows.iter().enumerate().map(|(index, ids)| {
                self.inner.decode(ids, special, errors).map_err(|error| in_text(index, error))
            });
            texts.collect::<Result<_, _>>()
        })?;
        texts.iter().map(|text| new_string(py, text)).collect()
    }
}

/// The option `threads`.
pub(super) fn thread_count(threads: Option<isize>) -> PyResult<NonZero<usize>> {
    let Some(threads) = threads else { return Ok(cores()) };
    usize::try_from(threads)
        .ok()
        .and_then(NonZero::new)
        .ok_or_else(|| Error::Argument(format!("threads must be at least 1, found {threads}")).into())
}

/// The elements of an iterable. They are held, because another thread may change a list while the GIL is released.
fn values<'py>(texts: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if texts.is_instance_of::<PyString>() || texts.is_instance_of::<PyBytes>() {
        let message = format!("texts must be an iterable of str or bytes, found one {}", type_name(texts));
        return Err(PyTypeError::new_err(message));
    }
    texts.try_iter()?.collect()
}

fn contents<'a>(values: &'a [Bound<'_, PyAny>]) -> PyResult<Vec<Text<'a>>> {
    let content = |(index, value): (usize, &'a Bound<'_, PyAny>)| {
        text_of(value).map_err(|error| named(value.py(), "text", index, &error))
    };
    values.iter().enumerate().map(content).collect()
}

/// The error of one of many, named by its index.
fn named(py: Python<'_>, what: &str, index: usize, error: &PyErr) -> PyErr {
    let message = format!("{what} {index}: {}", error.value(py));
    if error.is_instance_of::<PyTypeError>(py) {
        PyTypeError::new_err(message)
    } else {
        super::errors::TokenizerError::new_err(message)
    }
}

fn in_text(index: usize, error: TokenizerError) -> TokenizerError {
    TokenizerError::InText { index, error: Box::new(error) }
}
