//! The class `Conversation`: messages and their count.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyList;

use super::chat::{conversation, is_regex, mappings, options};
use super::fit::{Budget, PyFittedChat, fit};
use super::prompt::PyValue;
use super::tokenizer::PyTokenizer;
use super::without_gil::without_gil_if_long;
use crate::prompt::{self, Conversation, PromptOptions};
use crate::tokenizer::Tokenizer;

/// A conversation that is counted as it grows.
///
/// `messages` and `tools` are those of `encode_chat`, `tool_call_ids` its option. Messages are kept, not copied, and counted
/// when they are appended: what is changed in one afterwards is not seen. An append takes time in proportion to the new
/// message, and a pop next to none, however long the conversation is. Safe from any thread.
///
/// `token_count` is the count of the prompt, whoever spoke last: where `count_chat` allows the messages with mode
/// "agnostic", it is the same.
///
/// >>> conversation = nemo_fast.Conversation([{"role": "system", "content": "Be brief."}])
/// >>> conversation.append({"role": "user", "content": "Hi"})
/// >>> conversation.token_count
/// 7
/// >>> conversation.append({"role": "assistant", "content": "Hello!"})
/// >>> conversation.token_count
/// 10
/// >>> conversation.pop()
/// {'role': 'assistant', 'content': 'Hello!'}
/// >>> conversation
/// Conversation(messages=2, token_count=7)
#[pyclass(frozen, name = "Conversation", module = "nemo_fast._native")]
pub(super) struct PyConversation {
    tokenizer: Tokenizer,
    tools: Option<Py<PyList>>,
    options: PromptOptions,
    inner: Mutex<Kept>,
}

/// What changes: as many messages as are counted.
struct Kept {
    counted: Conversation,
    messages: Vec<Py<PyAny>>,
}

impl PyConversation {
    pub(super) fn build(
        tokenizer: &Tokenizer,
        messages: Option<&Bound<'_, PyAny>>,
        tools: Option<&Bound<'_, PyAny>>,
        tool_call_ids: &str,
    ) -> PyResult<Self> {
        let options = options("agnostic", tool_call_ids)?;
        let (mut read, mut kept_tools) = (Vec::new(), None);
        if let Some(tools) = tools {
            let values = mappings("tools", tools)?;
            read = prompt::read_tools(&values, &mut |pattern| is_regex(tools.py(), pattern))?;
            kept_tools = Some(PyList::new(tools.py(), values.into_iter().map(|value| value.0))?.unbind());
        }
        let counted = Conversation::new(tokenizer.clone(), &read, options.tool_call_ids)?;
        let inner = Mutex::new(Kept { counted, messages: Vec::new() });
        let made = PyConversation { tokenizer: tokenizer.clone(), tools: kept_tools, options, inner };
        for message in messages.map_or(Ok(Vec::new()), |messages| mappings("messages", messages))? {
            made.append(&message.0)?;
        }
        Ok(made)
    }

    /// A thread that waits here lets others run.
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Kept> {
        self.inner.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl PyConversation {
    #[new]
    #[pyo3(
        signature = (messages=None, tools=None, *, tool_call_ids="strict"),
        text_signature = "(messages=(), tools=None, *, tool_call_ids='strict')"
    )]
    fn new(
        messages: Option<&Bound<'_, PyAny>>,
        tools: Option<&Bound<'_, PyAny>>,
        tool_call_ids: &str,
    ) -> PyResult<Self> {
        PyConversation::build(&Tokenizer::embedded(), messages, tools, tool_call_ids)
    }

    /// Add a message. One that is not allowed here is a `PromptError`, and the conversation is as before.
    fn append(&self, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = message.py();
        let read = prompt::read_message(&PyValue(message.clone()))?;
        let mut kept = self.lock(py);
        let counted = &mut kept.counted;
        without_gil_if_long(py, read.size(), || counted.append(&read))?;
        kept.messages.push(message.clone().unbind());
        Ok(())
    }

    /// Take the last message back and return it. Without messages: an `IndexError`.
    fn pop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mut kept = self.lock(py);
        kept.counted.pop();
        kept.messages.pop().ok_or_else(|| PyIndexError::new_err("pop from a conversation without messages"))
    }

    /// Return what is left of the conversation when turns are dropped until its prompt fits: `fit_chat` of the messages
    /// and tools, which stay as they are.
    ///
    /// `mode` is that of `fit_chat`; by default anyone may have spoken last.
    ///
    /// >>> conversation = nemo_fast.Conversation({"role": "user", "content": text} for text in ["Hello", "Hi"])
    /// >>> conversation.fit(4)
    /// FittedChat(messages=1, token_count=4, dropped=[0])
    #[pyo3(
        signature = (max_tokens, *, reserve=None, policy=None, mode="agnostic"),
        text_signature = "($self, max_tokens, *, reserve=0, policy='drop_oldest', mode='agnostic')"
    )]
    fn fit(
        &self,
        max_tokens: &Bound<'_, PyAny>,
        reserve: Option<&Bound<'_, PyAny>>,
        policy: Option<&Bound<'_, PyAny>>,
        mode: &str,
    ) -> PyResult<PyFittedChat> {
        let py = max_tokens.py();
        let budget = Budget::new(max_tokens, reserve, policy)?;
        let mut options = options(mode, "strict")?;
        options.tool_call_ids = self.options.tool_call_ids;
        // The policy may be a function that uses this conversation: the lock is not held while it runs.
        let messages = self.messages(py)?;
        let tools = self.tools.as_ref().map(|tools| tools.bind(py).as_any());
        let request = conversation(&messages, tools, false)?;
        fit(&self.tokenizer, &messages, &request, options, &budget)
    }

    /// The messages, the same objects in a new list.
    #[getter]
    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let kept = self.lock(py);
        PyList::new(py, kept.messages.iter().map(|message| message.bind(py)))
    }

    /// The count of the prompt. Without messages it is that of an empty text of the user.
    #[getter]
    fn token_count(&self, py: Python<'_>) -> usize {
        self.lock(py).counted.token_count()
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.lock(py).messages.len()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let kept = self.lock(py);
        let (messages, token_count) = (kept.messages.len(), kept.counted.token_count());
        format!("Conversation(messages={messages}, token_count={token_count})")
    }
}

#[pymethods]
impl PyTokenizer {
    /// Return a conversation that is counted as it grows, with this vocabulary; the arguments are those of `Conversation`.
    ///
    /// >>> nemo_fast.Tokenizer().conversation([{"role": "user", "content": "Hello, how are you?"}]).token_count
    /// 9
    #[pyo3(
        signature = (messages=None, tools=None, *, tool_call_ids="strict"),
        text_signature = "($self, messages=(), tools=None, *, tool_call_ids='strict')"
    )]
    fn conversation(
        &self,
        messages: Option<&Bound<'_, PyAny>>,
        tools: Option<&Bound<'_, PyAny>>,
        tool_call_ids: &str,
    ) -> PyResult<PyConversation> {
        PyConversation::build(&self.inner, messages, tools, tool_call_ids)
    }
}
