//! Files of requests: the methods of `Tokenizer` that count JSON Lines, and their result.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::batch::thread_count;
use super::chat::{is_regex, options};
use super::file_bytes::with_file_bytes;
use super::text_input::utf8_text;
use super::tokenizer::PyTokenizer;
use super::without_gil::without_gil;
use crate::error::Error;
use crate::prompt::{self, PromptOptions, RequestCounts};
use crate::tokenizer::Tokenizer;

/// The counts of requests that stand one a line; made by `count_requests_file` and `count_request_lines`.
///
/// `lines`, `counts` and the requests correspond; blank lines are no requests. A request that is refused has the
/// count 0, which no prompt has, and its line and error are in `errors`.
///
/// >>> lines = '{"messages": [{"role": "user", "content": "Hi"}]}\n\n{"messages": []}\n'
/// >>> found = nemo_fast.Tokenizer().count_request_lines(lines)
/// >>> found
/// RequestCounts(requests=2, tokens=4, errors=1)
/// >>> found.lines, found.counts
/// (array([1, 3]), array([4, 0]))
/// >>> found.errors
/// [(3, PromptError('Conversation must have at least one message'))]
#[pyclass(frozen, name = "RequestCounts", module = "nemo_fast._native")]
pub(super) struct PyRequestCounts {
    /// The line of each request, counted from 1, int64.
    #[pyo3(get)]
    lines: Py<PyArray1<i64>>,
    /// The tokens of each request's prompt, int64; 0 where it is refused.
    #[pyo3(get)]
    counts: Py<PyArray1<i64>>,
    /// Line and error of each request that is refused, ascending: a `PromptError`, or a `TokenizerError` for a line
    /// that is not UTF-8.
    #[pyo3(get)]
    errors: Py<PyList>,
    requests: usize,
    /// The tokens of all requests.
    #[pyo3(get)]
    total: i64,
}

impl PyRequestCounts {
    fn new(py: Python<'_>, found: RequestCounts) -> PyResult<PyRequestCounts> {
        let (requests, total) = (found.counts.len(), found.counts.iter().sum());
        let errors = found.errors.into_iter().map(|(line, error)| (line, PyErr::from(error).into_value(py)));
        Ok(PyRequestCounts {
            lines: PyArray1::from_vec(py, found.lines).unbind(),
            counts: PyArray1::from_vec(py, found.counts).unbind(),
            errors: PyList::new(py, errors.collect::<Vec<_>>())?.unbind(),
            requests,
            total,
        })
    }
}

#[pymethods]
impl PyRequestCounts {
    fn __len__(&self) -> usize {
        self.requests
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let errors = self.errors.bind(py).len();
        format!("RequestCounts(requests={}, tokens={}, errors={errors})", self.requests, self.total)
    }
}

#[pymethods]
impl PyTokenizer {
    /// Count the requests of a file that holds one a line (JSON Lines), and return `RequestCounts`.
    ///
    /// Each line counts as `count_request` counts it; a refused one does not stop the others. The file is mapped into
    /// memory and counted on at most `threads` threads, all cores if None, without the GIL; what is no regular file is
    /// read to its end. A file must not shrink meanwhile: the system would end the process. One that cannot be read is an
    /// `OSError`. `mode` and `tool_call_ids` are those of `encode_chat`.
    ///
    /// >>> from pathlib import Path
    /// >>> from tempfile import TemporaryDirectory
    /// >>> with TemporaryDirectory() as folder:
    /// ...     path = Path(folder) / "requests.jsonl"
    /// ...     _ = path.write_text('{"messages": [{"role": "user", "content": "Hello, how are you?"}]}\n' * 3)
    /// ...     nemo_fast.Tokenizer().count_requests_file(path).counts
    /// array([9, 9, 9])
    #[pyo3(signature = (path, *, mode="test", tool_call_ids="strict", threads=None))]
    fn count_requests_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        mode: &str,
        tool_call_ids: &str,
        threads: Option<isize>,
    ) -> PyResult<PyRequestCounts> {
        let (options, threads) = (options(mode, tool_call_ids)?, thread_count(threads)?);
        let found = without_gil(py, || {
            with_file_bytes(&path, |bytes| Ok(count_lines(&self.inner, bytes, options, threads)))
        })?;
        PyRequestCounts::new(py, found)
    }

    /// The same for lines in memory: one `str` or `bytes` that holds all of them.
    ///
    /// >>> nemo_fast.Tokenizer().count_request_lines(b'{"messages": [{"role": "user", "content": "Hi"}]}').total
    /// 4
    #[pyo3(signature = (lines, *, mode="test", tool_call_ids="strict", threads=None))]
    fn count_request_lines(
        &self,
        lines: &Bound<'_, PyAny>,
        mode: &str,
        tool_call_ids: &str,
        threads: Option<isize>,
    ) -> PyResult<PyRequestCounts> {
        let (options, threads) = (options(mode, tool_call_ids)?, thread_count(threads)?);
        // Bytes that are not UTF-8 are the fault of one line, not of all.
        let bytes = match lines.cast::<PyBytes>() {
            Ok(bytes) => Cow::Borrowed(bytes.as_bytes()),
            Err(_) => match utf8_text(lines)? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
        };
        let work = || Ok::<_, Error>(count_lines(&self.inner, &bytes, options, threads));
        PyRequestCounts::new(lines.py(), without_gil(lines.py(), work)?)
    }
}

/// Counts without the GIL, which is taken for a pattern that was not met before.
fn count_lines(
    tokenizer: &Tokenizer,
    bytes: &[u8],
    options: PromptOptions,
    threads: NonZero<usize>,
) -> RequestCounts {
    let known = Mutex::new(HashMap::<String, bool>::new());
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    // Who waits for the GIL must not hold the lock.
    let is_regex = |pattern: &str| {
        let answer = known().get(pattern).copied();
        answer.unwrap_or_else(|| {
            let answer = Python::attach(|py| is_regex(py, pattern));
            known().insert(pattern.to_owned(), answer);
            answer
        })
    };
    prompt::count_request_lines(tokenizer, bytes, options, threads, &is_regex)
}
