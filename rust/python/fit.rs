//! Conversations that fit a budget: `Tokenizer.fit_chat`, `Tokenizer.fit_request` and their result.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::chat::{conversation, fields, mappings, options, read_fields};
use super::convert::type_name;
use super::prompt::PyText;
use super::text_positions::natural_number;
use super::tokenizer::PyTokenizer;
use super::without_gil::without_gil_if_long;
use crate::prompt::{Fitting, Key, Policy, PromptOptions, Request, Value};
use crate::tokenizer::Tokenizer;

/// A conversation that fits a budget; made by `fit_chat` and `fit_request`.
///
/// >>> fitted = nemo_fast.fit_chat([{"role": "user", "content": "Hello, how are you?"}], 100)
/// >>> fitted
/// FittedChat(messages=1, token_count=9, dropped=[])
#[pyclass(frozen, name = "FittedChat", module = "nemo_fast._native")]
pub(super) struct PyFittedChat {
    /// The messages that are left, the same objects.
    #[pyo3(get)]
    messages: Py<PyList>,
    /// The count of their prompt.
    #[pyo3(get)]
    token_count: usize,
    /// The indices of the messages that were dropped, ascending.
    #[pyo3(get)]
    dropped: Vec<usize>,
}

#[pymethods]
impl PyFittedChat {
    fn __repr__(&self, py: Python<'_>) -> String {
        let (messages, token_count, dropped) =
            (self.messages.bind(py).len(), self.token_count, &self.dropped);
        format!("FittedChat(messages={messages}, token_count={token_count}, dropped={dropped:?})")
    }
}

#[pymethods]
impl PyTokenizer {
    /// Return what is left of a conversation when turns are dropped until its prompt has at most `max_tokens`,
    /// `reserve` tokens for the answer included.
    ///
    /// A turn is a user message and all up to the next one; what is before the first user message is a turn, too.
    /// System messages, the tools and the last turn stay, no message is changed, and where the rest would not be
    /// allowed, the next turn goes, too. A conversation without a user message stays whole. If what has to stay does
    /// not fit: a `ContextLengthError` with its count as `prompt_tokens` and `max_tokens` as `context_length`.
    ///
    /// `policy`: `"drop_oldest"`; `"keep_ends"` drops the second turn first and the first turn last; or a function,
    /// called if something has to go, that takes the turns that can be dropped as lists of indices of messages and returns the
    /// order in which to drop them: their positions in that list, each once. The other arguments are those of
    /// `count_chat`.
    ///
    /// >>> texts = ["My name is Ada.", "Hello, Ada!", "How are you?", "Fine.", "And who am I?"]
    /// >>> roles = ["user", "assistant"] * 3
    /// >>> messages = [{"role": role, "content": text} for role, text in zip(roles, texts)]
    /// >>> tokenizer = nemo_fast.Tokenizer()
    /// >>> tokenizer.count_chat(messages)
    /// 29
    /// >>> tokenizer.fit_chat(messages, 25)
    /// FittedChat(messages=3, token_count=17, dropped=[0, 1])
    /// >>> tokenizer.fit_chat(messages, 25, policy="keep_ends")
    /// FittedChat(messages=3, token_count=20, dropped=[2, 3])
    /// >>> tokenizer.fit_chat(messages, 25, policy=lambda turns: sorted(range(len(turns)), reverse=True)).dropped
    /// [2, 3]
    #[pyo3(
        signature = (
            messages, max_tokens, tools=None, *, reserve=None, policy=None, mode="test", tool_call_ids="strict",
            continue_final_message=false
        ),
        text_signature = "($self, messages, max_tokens, tools=None, *, reserve=0, policy='drop_oldest', \
                          mode='test', tool_call_ids='strict', continue_final_message=False)"
    )]
    #[allow(clippy::too_many_arguments, reason = "they are the arguments in Python")]
    fn fit_chat(
        &self,
        messages: &Bound<'_, PyAny>,
        max_tokens: &Bound<'_, PyAny>,
        tools: Option<&Bound<'_, PyAny>>,
        reserve: Option<&Bound<'_, PyAny>>,
        policy: Option<&Bound<'_, PyAny>>,
        mode: &str,
        tool_call_ids: &str,
        continue_final_message: bool,
    ) -> PyResult<PyFittedChat> {
        let budget = Budget::new(max_tokens, reserve, policy)?;
        let options = options(mode, tool_call_ids)?;
        // What an iterator gives is needed twice.
        let objects: Vec<_> = mappings("messages", messages)?.into_iter().map(|value| value.0).collect();
        let list = PyList::new(messages.py(), objects)?;
        let request = conversation(&list, tools, continue_final_message)?;
        fit(&self.inner, &list, &request, options, &budget)
    }
    /// Do the same for a whole request, a mapping as in `encode_request`; its other fields are checked, too.
    ///
    /// >>> request = {"messages": [{"role": "user", "content": text} for text in ["Hello", "Hi"]], "temperature": 0.3}
    /// >>> nemo_fast.Tokenizer().fit_request(request, 4)
    /// FittedChat(messages=1, token_count=4, dropped=[0])
    #[pyo3(
        signature = (
            request, max_tokens, *, reserve=None, policy=None, mode="test", tool_call_ids="strict"
        ),
        text_signature = "($self, request, max_tokens, *, reserve=0, policy='drop_oldest', mode='test', \
                          tool_call_ids='strict')"
    )]
    #[allow(clippy::too_many_arguments, reason = "they are the arguments in Python")]
    fn fit_request(
        &self,
        request: &Bound<'_, PyAny>,
        max_tokens: &Bound<'_, PyAny>,
        reserve: Option<&Bound<'_, PyAny>>,
        policy: Option<&Bound<'_, PyAny>>,
        mode: &str,
        tool_call_ids: &str,
    ) -> PyResult<PyFittedChat> {
        let budget = Budget::new(max_tokens, reserve, policy)?;
        let options = options(mode, tool_call_ids)?;
        let fields = fields(request, "a mapping")?;
        let read = read_fields(&fields)?;
        let messages =
            fields.field(Key::Messages)?.map(|messages| messages.elements()).transpose()?.flatten();
        let objects: Vec<_> = messages.unwrap_or_default().into_iter().map(|value| value.0).collect();
        if objects.len() != read.messages.len() {
            return Err(PyTypeError::new_err("the messages of a request must be a list, found an iterator"));
        }
        fit(&self.inner, &PyList::new(request.py(), objects)?, &read, options, &budget)
    }
}

/// What a conversation has to fit, and how.
pub(super) struct Budget<'a, 'py> {
    max_tokens: usize,
    reserve: usize,
    policy: PolicyArgument<'a, 'py>,
}

enum PolicyArgument<'a, 'py> {
    Named(Policy),
    Function(&'a Bound<'py, PyAny>),
}

impl<'a, 'py> Budget<'a, 'py> {
    pub(super) fn new(
        max_tokens: &Bound<'py, PyAny>,
        reserve: Option<&Bound<'py, PyAny>>,
        policy: Option<&'a Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let max_tokens = natural_number("max_tokens", max_tokens)?;
        let reserve = reserve.map_or(Ok(0), |reserve| natural_number("reserve", reserve))?;
        let policy = match policy {
            None => PolicyArgument::Named(Policy::DropOldest),
            Some(name) if name.is_instance_of::<PyString>() => {
                PolicyArgument::Named(Policy::from_name(&name.extract::<String>()?)?)
            }
            Some(function) if function.is_callable() => PolicyArgument::Function(function),
            Some(other) => {
                let found = type_name(other);
                return Err(PyTypeError::new_err(format!(
                    "policy must be a name or a function, found {found}"
                )));
            }
        };
        Ok(Budget { max_tokens, reserve, policy })
    }
}

/// Drops turns of `request`, whose messages were read from `list`.
pub(super) fn fit(
    tokenizer: &Tokenizer,
    list: &Bound<'_, PyList>,
    request: &Request<PyText>,
    options: PromptOptions,
    budget: &Budget<'_, '_>,
) -> PyResult<PyFittedChat> {
    let py = list.py();
    let size = request.size();
    let fitting = without_gil_if_long(py, size, || Fitting::new(tokenizer, request, options))?;
    let (max_tokens, reserve) = (budget.max_tokens, budget.reserve);
    let policy = match &budget.policy {
        PolicyArgument::Named(policy) => policy.clone(),
        PolicyArgument::Function(_) if fitting.fits(max_tokens, reserve) => Policy::DropOldest,
        PolicyArgument::Function(function) => {
            let turns: Vec<Vec<usize>> = fitting.turns().map(<[usize]>::to_vec).collect();
            let order = function.call1((turns,))?.try_iter()?;
            Policy::Order(
                order.map(|turn| natural_number("a position of policy", &turn?)).collect::<PyResult<_>>()?,
            )
        }
    };
    let fitted = without_gil_if_long(py, size, || fitting.fit(max_tokens, reserve, policy))?;
    let mut dropped = fitted.dropped.iter().copied().peekable();
    let kept = list.iter().enumerate().filter(|(index, _)| dropped.next_if_eq(index).is_none());
    let messages = PyList::new(py, kept.map(|(_, message)| message).collect::<Vec<_>>())?.unbind();
    Ok(PyFittedChat { messages, token_count: fitted.token_count, dropped: fitted.dropped })
}
