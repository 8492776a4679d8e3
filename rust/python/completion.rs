//! The model's output as Python objects: the classes of messages, calls and deltas, and the parser.
//!
//! The classes have OpenAI's names for what they hold; `to_dict` gives OpenAI's nesting.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use super::convert;
use super::tokenizer::PyTokenizer;
use super::without_gil::without_gil_if_long;
use crate::error::Error;
use crate::prompt::completion::{self, CompletionParser, Delta};

/// A call of a tool that the model has written.
///
/// >>> call = nemo_fast.ToolCall("VvvODy9mT", "add", '{"a": 1, "b": 2}')
/// >>> call.to_dict()["function"]
/// {'name': 'add', 'arguments': '{"a": 1, "b": 2}'}
#[pyclass(frozen, eq, hash, get_all, name = "ToolCall", module = "nemo_fast._native")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PyToolCall {
    /// Nine letters and digits; no other call of the message has the same.
    id: String,
    /// The name of the tool.
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

#[pymethods]
impl PyToolCall {
    #[new]
    fn new(id: String, name: String, arguments: String) -> Self {
        PyToolCall { id, name, arguments }
    }

    /// Return nested dicts under OpenAI's field names.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let call = PyDict::new(py);
        call.set_item("id", &self.id)?;
        call.set_item("type", "function")?;
        call.set_item("function", function(py, Some(&self.name), &self.arguments)?)?;
        Ok(call)
    }

    /// Return the same as `to_dict`, under the name of pydantic's objects: a prompt takes it in a message.
    fn model_dump<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.to_dict(py)
    }

    fn __getnewargs__(&self) -> (&str, &str, &str) {
        (&self.id, &self.name, &self.arguments)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let [id, name, arguments] = [&self.id, &self.name, &self.arguments].map(|text| repr(py, text));
        Ok(format!("ToolCall(id={}, name={}, arguments={})", id?, name?, arguments?))
    }
}

/// What the assistant said.
///
/// The content is None if there are calls and no text.
///
/// >>> message = nemo_fast.AssistantMessage("Hello!")
/// >>> message.to_dict()
/// {'content': 'Hello!', 'role': 'assistant', 'refusal': None}
#[pyclass(frozen, eq, hash, name = "AssistantMessage", module = "nemo_fast._native")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PyAssistantMessage {
    /// The text before, between and behind the calls.
    #[pyo3(get)]
    content: Option<String>,
    tool_calls: Vec<PyToolCall>,
}

#[pymethods]
impl PyAssistantMessage {
    #[new]
    #[pyo3(signature = (content=None, tool_calls=None))]
    fn new(content: Option<String>, tool_calls: Option<Vec<PyRef<'_, PyToolCall>>>) -> Self {
        let tool_calls = tool_calls.unwrap_or_default().iter().map(|call| (**call).clone()).collect();
        PyAssistantMessage { content, tool_calls }
    }

    /// The calls, in order.
    #[getter]
    fn tool_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(
            py,
            self.tool_calls.iter().cloned().map(|call| Py::new(py, call)).collect::<PyResult<Vec<_>>>()?,
        )
    }

    /// Always "assistant".
    #[getter]
    fn role(&self) -> &'static str {
        "assistant"
    }

    /// Always None.
    #[getter]
    fn refusal(&self) -> Option<String> {
        None
    }

    /// Return nested dicts and lists under OpenAI's field names; without calls there is no `tool_calls`.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let message = PyDict::new(py);
        message.set_item("content", &self.content)?;
        message.set_item("role", self.role())?;
        message.set_item("refusal", self.refusal())?;
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().map(|call| call.to_dict(py)).collect::<PyResult<Vec<_>>>()?;
            message.set_item("tool_calls", calls)?;
        }
        Ok(message)
    }

    /// Return the same as `to_dict`, under the name of pydantic's objects: a prompt takes it as a message.
    fn model_dump<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.to_dict(py)
    }

    /// Return the JSON that a server sends, UTF-8.
    fn to_json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let options = PyDict::new(py);
        options.set_item("ensure_ascii", false)?;
        options.set_item("separators", (",", ":"))?;
        let text = py.import("json")?.call_method("dumps", (self.to_dict(py)?,), Some(&options))?;
        Ok(PyBytes::new(py, text.extract::<String>()?.as_bytes()))
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<(Option<&str>, Bound<'py, PyTuple>)> {
        Ok((self.content.as_deref(), self.tool_calls(py)?))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let content = self.content.as_deref().map_or_else(|| Ok("None".to_owned()), |text| repr(py, text))?;
        let calls = self.tool_calls(py)?.repr()?;
        Ok(format!("AssistantMessage(content={content}, tool_calls={calls})"))
    }
}

/// What a token adds to a call: at first its id, its type and its name, then its arguments, piece by piece.
#[pyclass(frozen, eq, hash, get_all, name = "ToolCallDelta", module = "nemo_fast._native")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PyToolCallDelta {
    /// Which call of the message, from 0.
    index: usize,
    /// The call's id; None after its first delta.
    id: Option<String>,
    /// The name of the tool; None after the first delta.
    name: Option<String>,
    /// The text to append to the arguments.
    arguments: String,
}

#[pymethods]
impl PyToolCallDelta {
    /// "function"; None after the first delta.
    #[getter]
    fn r#type(&self) -> Option<&'static str> {
        self.id.as_ref().map(|_| "function")
    }

    /// Return nested dicts under OpenAI's field names, of what is new only.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let call = PyDict::new(py);
        call.set_item("index", self.index)?;
        if let Some(id) = &self.id {
            call.set_item("id", id)?;
            call.set_item("type", self.r#type())?;
        }
        call.set_item("function", function(py, self.name.as_deref(), &self.arguments)?)?;
        Ok(call)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let [id, name] = [&self.id, &self.name]
            .map(|text| text.as_deref().map_or_else(|| Ok("None".to_owned()), |text| repr(py, text)));
        let (index, arguments) = (self.index, repr(py, &self.arguments)?);
        Ok(format!("ToolCallDelta(index={index}, id={}, name={}, arguments={arguments})", id?, name?))
    }
}

/// What a token adds to a message: text, or a part of one call.
#[pyclass(frozen, eq, hash, name = "MessageDelta", module = "nemo_fast._native")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PyMessageDelta {
    /// The text to append to the content; None in a delta of a call.
    #[pyo3(get)]
    content: Option<String>,
    tool_call: Option<PyToolCallDelta>,
}

#[pymethods]
impl PyMessageDelta {
    /// The one delta of a call, or nothing.
    #[getter]
    fn tool_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tool_call.clone().map(|call| Py::new(py, call)).transpose()?)
    }

    /// Return nested dicts and lists under OpenAI's field names, of what is new only.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let delta = PyDict::new(py);
        if let Some(content) = &self.content {
            delta.set_item("content", content)?;
        }
        if let Some(call) = &self.tool_call {
            delta.set_item("tool_calls", PyList::new(py, [call.to_dict(py)?])?)?;
        }
        Ok(delta)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let content = self.content.as_deref().map_or_else(|| Ok("None".to_owned()), |text| repr(py, text))?;
        let calls = self.tool_calls(py)?.repr()?;
        Ok(format!("MessageDelta(content={content}, tool_calls={calls})"))
    }
}

impl From<Delta> for PyMessageDelta {
    fn from(delta: Delta) -> PyMessageDelta {
        let of_call = |index, id, name, arguments| PyMessageDelta {
            content: None,
            tool_call: Some(PyToolCallDelta { index, id, name, arguments }),
        };
        match delta {
            Delta::Content(text) => PyMessageDelta { content: Some(text), tool_call: None },
            Delta::ToolCall { index, id, name } => of_call(index, Some(id), Some(name), String::new()),
            Delta::Arguments { index, text } => of_call(index, None, None, text),
        }
    }
}

impl From<completion::AssistantMessage> for PyAssistantMessage {
    fn from(message: completion::AssistantMessage) -> PyAssistantMessage {
        let is_text = message.tool_calls.is_empty() || !message.content.is_empty();
        let call = |call: completion::ToolCall| PyToolCall::new(call.id, call.name, call.arguments);
        PyAssistantMessage {
            content: is_text.then_some(message.content),
            tool_calls: message.tool_calls.into_iter().map(call).collect(),
        }
    }
}

/// Token ids to the deltas of a message, one id at a time; made by `completion_parser`.
///
/// A parser belongs to one message at a time.
///
/// >>> tokenizer = nemo_fast.Tokenizer()
/// >>> parser = tokenizer.completion_parser(seed=0)
/// >>> deltas = []
/// >>> for id in [9, *tokenizer.encode('[{"name": "add", "arguments": {"a": 1}}]'), 2]:
/// ...     deltas += parser.push(id)
/// >>> deltas += parser.finish()
/// >>> deltas[0].tool_calls[0].name
/// 'add'
/// >>> "".join(delta.tool_calls[0].arguments for delta in deltas)
/// '{"a": 1}'
#[pyclass(frozen, name = "CompletionParser", module = "nemo_fast._native")]
pub(super) struct PyCompletionParser {
    inner: Mutex<CompletionParser>,
}

#[pymethods]
impl PyCompletionParser {
    /// Return what has become certain with this token: often one delta, or none. Behind `</s>` there is nothing.
    fn push(&self, id: &Bound<'_, PyAny>) -> PyResult<Vec<PyMessageDelta>> {
        let id = convert::token_id(id)?;
        let mut parser = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(parser.push(id).map_err(Error::from)?.into_iter().map(PyMessageDelta::from).collect())
    }

    /// Return what is still held back, as the message ends here. The parser can then take another one.
    fn finish(&self) -> Vec<PyMessageDelta> {
        let mut parser = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        parser.finish().into_iter().map(PyMessageDelta::from).collect()
    }
}

#[pymethods]
impl PyTokenizer {
    /// Return the message that the model has written: its text, and its calls of tools.
    ///
    /// A call starts with the token `[TOOL_CALLS]`, never with a text that spells it. `</s>` ends the message; other
    /// special tokens are left out. `arguments` is the JSON that the model wrote, byte for byte; if that is a string
    /// which holds JSON, it is what the string holds. A valid id of the model is kept if no other call has it; else the
    /// call gets a new one, which `seed` decides. What is no call becomes content behind `[TOOL_CALLS]`; nothing is lost.
    ///
    /// >>> tokenizer = nemo_fast.Tokenizer()
    /// >>> ids = tokenizer.encode('[{"name": "add", "arguments": {"a": 1}, "id": "VvvODy9mT"}]')
    /// >>> tokenizer.parse_completion([9, *ids, 2]).tool_calls
    /// (ToolCall(id='VvvODy9mT', name='add', arguments='{"a": 1}'),)
    /// >>> tokenizer.parse_completion([9, *ids[:5]]).content
    /// '[TOOL_CALLS][{"name": "'
    #[pyo3(signature = (ids, *, seed=None))]
    fn parse_completion(
        &self,
        ids: &Bound<'_, PyAny>,
        seed: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyAssistantMessage> {
        let (token_ids, seed) = (convert::token_ids(ids)?, key(seed)?);
        let message = without_gil_if_long(ids.py(), token_ids.len(), || {
            completion::parse_completion(&self.inner, &token_ids, seed)
        })?;
        Ok(message.into())
    }

    /// Return a parser of what the model writes, for one id at a time.
    ///
    /// The deltas joined are the message of `parse_completion` with the same `seed`, but for a call that breaks after its
    /// first delta, which the message has in its content only, and an id that the model writes behind the arguments, which
    /// comes too late for the first delta.
    #[pyo3(signature = (*, seed=None))]
    fn completion_parser(&self, seed: Option<&Bound<'_, PyAny>>) -> PyResult<PyCompletionParser> {
        let parser = CompletionParser::new(&self.inner, key(seed)?);
        Ok(PyCompletionParser { inner: Mutex::new(parser) })
    }
}

/// The lowest 64 bits of a seed, or any.
fn key(seed: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    let Some(seed) = seed else { return Ok(RandomState::new().hash_one(0)) };
    let Ok(seed) = seed.cast::<PyInt>() else {
        let message = format!("seed must be an integer, found {}", convert::type_name(seed));
        return Err(pyo3::exceptions::PyTypeError::new_err(message));
    };
    seed.call_method1("__and__", (u64::MAX,))?.extract()
}

fn function<'py>(py: Python<'py>, name: Option<&str>, arguments: &str) -> PyResult<Bound<'py, PyDict>> {
    let function = PyDict::new(py);
    if let Some(name) = name {
        function.set_item("name", name)?;
    }
    function.set_item("arguments", arguments)?;
    Ok(function)
}

fn repr(py: Python<'_>, text: &str) -> PyResult<String> {
    PyString::new(py, text).repr()?.extract()
}
