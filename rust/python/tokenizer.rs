//! The classes `Tokenizer`, `TokenTable` and `StreamDecoder`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::convert;
use super::text_input::utf8_text;
use super::text_output::new_string;
use super::without_gil::{without_gil, without_gil_if_long};
use crate::error::Error;
use crate::tokenizer::{StreamDecoder, TokenId, TokenTable, Tokenizer, TokenizerError, TokenizerParts};

/// The tokenizer of Mistral Nemo, exact to the token id.
///
/// The vocabulary is part of the package. A tokenizer never changes; any number of threads may use the same
/// one, and it pickles to a few bytes.
///
/// Texts are `str` or `bytes` of UTF-8 (`TokenizerError` if they are not). In a `str`, a pair of surrogates
/// is one character and a lone surrogate counts as U+FFFD. Control strings such as `[INST]` in a text are
/// plain text. Token ids are given as a list, a tuple or another sequence, or as a one-dimensional integer
/// buffer such as a numpy array.
///
/// >>> import nemo_fast
/// >>> tokenizer = nemo_fast.Tokenizer()
/// >>> tokenizer.encode("Hello, how are you?")
/// [22177, 1044, 2606, 1584, 1636, 1063]
/// >>> tokenizer.decode([22177, 1044, 2606, 1584, 1636, 1063])
/// 'Hello, how are you?'
#[pyclass(frozen, name = "Tokenizer", module = "nemo_fast._native")]
pub(super) struct PyTokenizer {
    pub(super) inner: Tokenizer,
}

#[pymethods]
impl PyTokenizer {
    #[new]
    fn new() -> Self {
        PyTokenizer { inner: Tokenizer::embedded() }
    }

    /// Return the tokenizer of a `tekken.json`.
    ///
    /// Special tokens, their number and the ids of `<s>` and `</s>` are the file's own; chat prompts stay those
    /// of Mistral Nemo. A file that mistral-common would not take, or whose pattern is not Mistral Nemo's, is a
    /// `TokenizerError`; one that cannot be read is an `OSError`. A file's tokenizer pickles with its tokens,
    /// unless they are Mistral Nemo's.
    ///
    /// Example (not run: it needs a file): ``Tokenizer.from_file("tekken.json")``
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        without_gil(py, || Tokenizer::from_file(path).map(|inner| PyTokenizer { inner }))
    }

    /// Make a tokenizer again that was pickled.
    #[staticmethod]
    fn _from_parts(
        py: Python<'_>,
        version: String,
        special_names: Vec<String>,
        special_count: u64,
        tokens: Option<Vec<Vec<u8>>>,
    ) -> PyResult<Self> {
        let parts = TokenizerParts { version, special_names, special_count, tokens };
        without_gil(py, || {
            let inner = Tokenizer::from_parts(&parts).map_err(TokenizerError::from)?;
            Ok::<_, TokenizerError>(PyTokenizer { inner })
        })
    }

    /// Return the text of token ids.
    ///
    /// `errors`: bytes that are not UTF-8 become U+FFFD ("replace"), or are a `TokenizerError` ("strict").
    /// `special`: special tokens are left out ("skip"), written by name ("keep"), or are a `TokenizerError`
    /// ("raise"). They cut the ids into runs that are decoded one by one. An id outside the vocabulary is a
    /// `TokenizerError`.
    ///
    /// >>> nemo_fast.Tokenizer().decode([1, 37133, 2], special="keep")
    /// '<s>Hi</s>'
    #[pyo3(signature = (ids, *, errors="replace", special="skip"))]
    fn decode<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        errors: &str,
        special: &str,
    ) -> PyResult<Bound<'py, PyString>> {
        decode(self.inner.token_table(), ids, errors, special)
    }

    /// Return the bytes of token ids; `special` as in `decode`.
    ///
    /// >>> tokenizer = nemo_fast.Tokenizer()
    /// >>> tokenizer.decode_bytes(tokenizer.encode("😀")[:1])
    /// b'\xf0'
    #[pyo3(signature = (ids, *, special="skip"))]
    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>, special: &str) -> PyResult<Bound<'py, PyBytes>> {
        decode_bytes(self.inner.token_table(), ids, special)
    }

    /// Return a decoder for one stream of token ids; `special` as in `decode`.
    #[pyo3(signature = (*, special="skip"))]
    fn stream_decoder(&self, special: &str) -> PyResult<PyStreamDecoder> {
        PyStreamDecoder::new(self.inner.token_table(), special)
    }

    /// Return the bytes of a token; those of a special token are its name.
    ///
    /// >>> nemo_fast.Tokenizer().token_bytes(22177)
    /// b'Hello'
    fn token_bytes<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        token_bytes(self.inner.token_table(), id)
    }

    /// Return the id of the token that has exactly these bytes, or None. Special tokens are not found by
    /// their names.
    ///
    /// >>> nemo_fast.Tokenizer().token_id(b"Hello")
    /// 22177
    fn token_id(&self, token: &[u8]) -> Option<TokenId> {
        self.inner.token_id(token)
    }

    /// Return the pretokens of a text: the pieces that are encoded one by one, which joined are the text.
    ///
    /// >>> nemo_fast.Tokenizer().pretokens("Hello, how are you?")
    /// ['Hello', ',', ' how', ' are', ' you', '?']
    fn pretokens<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let content = utf8_text(text)?;
        PyList::new(text.py(), self.inner.pretokens(&content).collect::<Vec<_>>())
    }

    /// Return the token ids of bytes as one pretoken, whatever the pattern would make of them. The bytes need
    /// not be UTF-8.
    ///
    /// >>> nemo_fast.Tokenizer().encode_pretoken(b"Hello, how") == nemo_fast.encode("Hello, how")
    /// True
    fn encode_pretoken(&self, py: Python<'_>, pretoken: &[u8]) -> PyResult<Vec<TokenId>> {
        without_gil(py, || Ok::<_, Error>(self.inner.encode_pretoken(pretoken)))
    }

    /// Names and ids of the special tokens.
    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let names = PyDict::new(py);
        for (id, name) in self.inner.token_table().special_tokens() {
            names.set_item(name, id)?;
        }
        Ok(names)
    }

    /// Number of tokens, special tokens included.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.inner.token_table().len()
    }

    /// Id of `<s>`, which starts every prompt.
    #[getter]
    fn bos_id(&self) -> TokenId {
        self.inner.bos_id()
    }

    /// Id of `</s>`, which ends every assistant message.
    #[getter]
    fn eos_id(&self) -> TokenId {
        self.inner.eos_id()
    }

    /// The bytes of every token: what decoding needs of the tokenizer.
    #[getter]
    fn token_table(&self) -> PyTokenTable {
        PyTokenTable { inner: Arc::clone(self.inner.token_table()) }
    }

    /// Version of the Tekken file ("v3"): which special tokens there are.
    #[getter]
    fn tekken_version(&self) -> &'static str {
        self.inner.tekken_version()
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let class = py.get_type::<PyTokenizer>().into_any();
        if self.inner.is_embedded() {
            return Ok((class, PyTuple::empty(py)));
        }
        let parts = self.inner.parts();
        let bytes = |token: Vec<u8>| PyBytes::new(py, &token);
        let tokens = parts.tokens.map(|tokens| tokens.into_iter().map(bytes).collect::<Vec<_>>());
        let arguments =
            (parts.version, parts.special_names, parts.special_count, tokens).into_pyobject(py)?;
        Ok((class.getattr("_from_parts")?, arguments))
    }

    fn __repr__(&self) -> String {
        format!("Tokenizer(vocab_size={})", self.inner.token_table().len())
    }
}

/// The bytes of every token of any vocabulary: `token_bytes[id]`, and the names of the special tokens by
/// their ids.
///
/// Options and errors are those of `Tokenizer`.
///
/// >>> table = nemo_fast.TokenTable([b"<s>", b"a", b"\xc3", b"\xa9"], {0: "<s>"})
/// >>> table.decode([0, 1, 2, 3])
/// 'aé'
#[pyclass(frozen, name = "TokenTable", module = "nemo_fast._native")]
pub(super) struct PyTokenTable {
    pub(super) inner: Arc<TokenTable>,
}

#[pymethods]
impl PyTokenTable {
    #[new]
    fn new(token_bytes: Vec<PyBackedBytes>, special_ids: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut special_names = BTreeMap::new();
        for (id, name) in special_ids {
            special_names.insert(convert::token_id(&id)?, name.extract::<String>()?);
        }
        let table = TokenTable::new(&token_bytes, &special_names).map_err(Error::from)?;
        Ok(PyTokenTable { inner: Arc::new(table) })
    }

    /// Return the text of token ids.
    #[pyo3(signature = (ids, *, errors="replace", special="skip"))]
    fn decode<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        errors: &str,
        special: &str,
    ) -> PyResult<Bound<'py, PyString>> {
        decode(&self.inner, ids, errors, special)
    }

    /// Return the bytes of token ids.
    #[pyo3(signature = (ids, *, special="skip"))]
    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>, special: &str) -> PyResult<Bound<'py, PyBytes>> {
        decode_bytes(&self.inner, ids, special)
    }

    /// Return a decoder for one stream of token ids.
    #[pyo3(signature = (*, special="skip"))]
    fn stream_decoder(&self, special: &str) -> PyResult<PyStreamDecoder> {
        PyStreamDecoder::new(&self.inner, special)
    }

    /// Return the bytes of a token; those of a special token are its name.
    fn token_bytes<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        token_bytes(&self.inner, id)
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __repr__(&self) -> String {
        format!("TokenTable(len={})", self.inner.len())
    }
}

/// Decodes token ids one at a time; made by `stream_decoder`.
///
/// The pieces of text, joined, are what `decode` makes of all ids: bytes of a character that is not yet whole
/// are held back. A decoder belongs to one stream.
///
/// >>> tokenizer = nemo_fast.Tokenizer()
/// >>> decoder = tokenizer.stream_decoder()
/// >>> [decoder.push(id) for id in tokenizer.encode("a 😀")], decoder.finish()
/// (['a', ' ', '', '😀'], '')
#[pyclass(frozen, name = "StreamDecoder", module = "nemo_fast._native")]
pub(super) struct PyStreamDecoder {
    inner: Mutex<StreamDecoder>,
}

impl PyStreamDecoder {
    fn new(token_table: &Arc<TokenTable>, special: &str) -> PyResult<Self> {
        let decoder = StreamDecoder::new(Arc::clone(token_table), convert::special_policy(special)?);
        Ok(PyStreamDecoder { inner: Mutex::new(decoder) })
    }
}

#[pymethods]
impl PyStreamDecoder {
    /// Return the text that has become certain with this token; often empty.
    fn push(&self, id: &Bound<'_, PyAny>) -> PyResult<String> {
        let id = convert::token_id(id)?;
        let mut decoder = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(decoder.push(id).map_err(Error::from)?)
    }

    /// Return what is still held back, as U+FFFD. The decoder can then take another stream.
    fn finish(&self) -> String {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

fn decode<'py>(
    table: &TokenTable,
    ids: &Bound<'py, PyAny>,
    errors: &str,
    special: &str,
) -> PyResult<Bound<'py, PyString>> {
    let (errors, special) = (convert::utf8_policy(errors)?, convert::special_policy(special)?);
    let token_ids = convert::token_ids(ids)?;
    let text = without_gil_if_long(ids.py(), token_ids.len(), || table.decode(&token_ids, special, errors))?;
    new_string(ids.py(), &text)
}

fn decode_bytes<'py>(
    table: &TokenTable,
    ids: &Bound<'py, PyAny>,
    special: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let special = convert::special_policy(special)?;
    let token_ids = convert::token_ids(ids)?;
    let bytes = without_gil_if_long(ids.py(), token_ids.len(), || table.decode_bytes(&token_ids, special))?;
    Ok(PyBytes::new(ids.py(), &bytes))
}

fn token_bytes<'py>(table: &TokenTable, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = table.token_bytes(convert::token_id(id)?).map_err(Error::from)?;
    Ok(PyBytes::new(id.py(), bytes))
}
