//! Texts to token ids: the methods of `Tokenizer` that take one text or a file.

use std::cell::Cell;
use std::path::PathBuf;

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::convert;
use super::file_bytes::with_file_bytes;
use super::int_lists::int_list;
use super::text_input::text as text_of;
use super::tokenizer::PyTokenizer;
use super::without_gil::{without_gil, without_gil_if_long};
use crate::error::Error;
use crate::tokenizer::{EncodeOptions, Text, TokenId, Tokenizer, cores};

/// Units from which a text is shared among the threads of the process.
const LARGE: usize = 512 * 1_024;
/// Units up to which ids are copied into a new array: an array that owns a vector takes longer to make.
const COPIED: usize = 8 * 1_024;
/// Ids that a thread keeps room for between calls.
const KEPT: usize = 64 * 1_024;

thread_local! {
    static IDS: Cell<Vec<TokenId>> = const { Cell::new(Vec::new()) };
}

#[pymethods]
impl PyTokenizer {
    /// Return the token ids of a text, on request between `<s>` (bos) and `</s>` (eos).
    ///
    /// `special`: control strings such as `[INST]` in the text are text ("text"), the special tokens of these
    /// names ("parse"), or a `TokenizerError` ("forbid").
    ///
    /// >>> nemo_fast.Tokenizer().encode("Hi", bos=True, eos=True)
    /// [1, 37133, 2]
    /// >>> nemo_fast.Tokenizer().encode("<s>Hi", special="parse")
    /// [1, 37133]
    #[pyo3(signature = (text, *, bos=false, eos=false, special="text"))]
    fn encode<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        bos: bool,
        eos: bool,
        special: &str,
    ) -> PyResult<Bound<'py, PyList>> {
        let content = text_of(text)?;
        let options = encode_options(&self.inner, bos, eos, special)?;
        let mut ids = IDS.take();
        ids.clear();
        without_gil_if_long(text.py(), content.len(), || encode(&self.inner, content, options, &mut ids))?;
        let list = int_list(text.py(), &ids);
        if ids.capacity() <= KEPT {
            IDS.set(ids);
        }
        list
    }

    /// Return the token ids of a text as an array of uint32; options as in `encode`.
    ///
    /// >>> nemo_fast.Tokenizer().encode_array("Hello, how are you?")
    /// array([22177,  1044,  2606,  1584,  1636,  1063], dtype=uint32)
    #[pyo3(signature = (text, *, bos=false, eos=false, special="text"))]
    fn encode_array<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        bos: bool,
        eos: bool,
        special: &str,
    ) -> PyResult<Bound<'py, PyArray1<TokenId>>> {
        let content = text_of(text)?;
        let options = encode_options(&self.inner, bos, eos, special)?;
        let mut ids = if content.len() <= COPIED { IDS.take() } else { Vec::new() };
        ids.clear();
        without_gil_if_long(text.py(), content.len(), || encode(&self.inner, content, options, &mut ids))?;
        if content.len() > COPIED {
            return Ok(PyArray1::from_vec(text.py(), ids));
        }
        let array = PyArray1::from_slice(text.py(), &ids);
        IDS.set(ids);
        Ok(array)
    }

    /// Return the number of token ids of a text, without special tokens. The ids are not built.
    ///
    /// >>> nemo_fast.Tokenizer().count("Hello, how are you?")
    /// 6
    fn count(&self, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        let content = text_of(text)?;
        without_gil_if_long(text.py(), content.len(), || Ok::<_, Error>(count(&self.inner, content)))
    }

    /// Return the number of token ids of a file's bytes as they are: a byte order mark and `\r\n` count.
    ///
    /// The file is mapped into memory and counted on all cores; what is no regular file is read to its end. Bytes
    /// that are not UTF-8 are a `TokenizerError`. A file must not shrink meanwhile: the system would end the process.
    ///
    /// >>> from pathlib import Path
    /// >>> from tempfile import TemporaryDirectory
    /// >>> with TemporaryDirectory() as folder:
    /// ...     path = Path(folder) / "greeting.txt"
    /// ...     _ = path.write_text("Hello, how are you?")
    /// ...     nemo_fast.Tokenizer().count_file(path)
    /// 6
    fn count_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<usize> {
        without_gil(py, || with_file_bytes(&path, |bytes| Ok(self.inner.count_bytes(bytes, cores())?)))
    }
}

/// The options of the encoding methods.
pub(super) fn encode_options(
    tokenizer: &Tokenizer,
    bos: bool,
    eos: bool,
    special: &str,
) -> PyResult<EncodeOptions> {
    Ok(EncodeOptions {
        before: bos.then(|| tokenizer.bos_id()),
        behind: eos.then(|| tokenizer.eos_id()),
        control_strings: convert::control_strings(special)?,
    })
}

fn encode(
    tokenizer: &Tokenizer,
    text: Text<'_>,
    options: EncodeOptions,
    ids: &mut Vec<TokenId>,
) -> Result<(), Error> {
    if text.len() < LARGE {
        return Ok(tokenizer.encode_text(text, options, ids)?);
    }
    *ids = tokenizer.encode_texts(&[text], options, cores()).map_err(|(_, error)| error)?.ids;
    Ok(())
}

fn count(tokenizer: &Tokenizer, text: Text<'_>) -> usize {
    if text.len() < LARGE {
        return tokenizer.count_text(text);
    }
    tokenizer.count_texts(&[text], cores()).iter().sum::<i64>().unsigned_abs() as usize
}
