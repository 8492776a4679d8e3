//! Chat requests to token ids: the methods of `Tokenizer` that take messages or a whole request.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::convert::type_name;
use super::int_lists::int_list;
use super::prompt::{PyText, PyValue, elements};
use super::text_input::utf8_text;
use super::tokenizer::PyTokenizer;
use super::without_gil::{without_gil, without_gil_if_long};
use crate::prompt::{self, Mode, PromptError, PromptOptions, Request, ToolCallIds, Value};
use crate::tokenizer::{TokenId, Tokenizer};

#[pymethods]
impl PyTokenizer {
    /// Return the token ids of the prompt for a conversation, starting with `<s>`.
    ///
    /// `messages`: mappings with a role (system, developer, user, assistant, tool) and a content (a string, or a
    /// list of parts `{"type": "text", "text": ...}`), in OpenAI's shape with tool calls and their results, or objects
    /// whose `model_dump` gives such a mapping. `tools`: the definitions of functions in the same shape.
    ///
    /// `mode`: the rules are those of a prompt for the model ("test"), of one that is served, where all calls have
    /// results ("serving"), of training data, which end with the model ("finetuning"), or say nothing about who is last
    /// ("agnostic"). `tool_call_ids`: ids are nine letters or digits ("strict"), or cut to their last nine ("last9").
    /// With `continue_final_message` the last message, an assistant's, stays open for the model to go on. What is not
    /// allowed is a `PromptError`; its `error_type` names the exception class of mistral-common.
    ///
    /// >>> nemo_fast.Tokenizer().encode_chat([{"role": "user", "content": "Hello, how are you?"}])
    /// [1, 3, 22177, 1044, 2606, 1584, 1636, 1063, 4]
    #[pyo3(signature = (messages, tools=None, *, mode="test", tool_call_ids="strict", continue_final_message=false))]
    fn encode_chat<'py>(
        &self,
        messages: &Bound<'py, PyAny>,
        tools: Option<&Bound<'py, PyAny>>,
        mode: &str,
        tool_call_ids: &str,
        continue_final_message: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let options = options(mode, tool_call_ids)?;
        let request = conversation(messages, tools, continue_final_message)?;
        encode(messages.py(), &self.inner, &request, options)
    }

    /// Return the number of token ids of `encode_chat`. The ids are not built.
    ///
    /// >>> nemo_fast.Tokenizer().count_chat([{"role": "user", "content": "Hello, how are you?"}])
    /// 9
    #[pyo3(signature = (messages, tools=None, *, mode="test", tool_call_ids="strict", continue_final_message=false))]
    fn count_chat(
        &self,
        messages: &Bound<'_, PyAny>,
        tools: Option<&Bound<'_, PyAny>>,
        mode: &str,
        tool_call_ids: &str,
        continue_final_message: bool,
    ) -> PyResult<usize> {
        let options = options(mode, tool_call_ids)?;
        let request = conversation(messages, tools, continue_final_message)?;
        count(messages.py(), &self.inner, &request, options)
    }

    /// Return the prompt of `encode_chat` as a text to read. It does not encode back to the prompt.
    ///
    /// >>> nemo_fast.Tokenizer().render_chat([{"role": "user", "content": "Hi"}])
    /// '<s>[INST]Hi[/INST]'
    #[pyo3(signature = (messages, tools=None, *, mode="test", tool_call_ids="strict", continue_final_message=false))]
    fn render_chat(
        &self,
        messages: &Bound<'_, PyAny>,
        tools: Option<&Bound<'_, PyAny>>,
        mode: &str,
        tool_call_ids: &str,
        continue_final_message: bool,
    ) -> PyResult<String> {
        let options = options(mode, tool_call_ids)?;
        let request = conversation(messages, tools, continue_final_message)?;
        without_gil(messages.py(), || prompt::render_chat(&self.inner, &request, options))
    }

    /// Return the token ids of the prompt for a whole request in OpenAI's shape: a mapping, or its JSON as `str` or
    /// `bytes`.
    ///
    /// The other fields of the request are checked as mistral-common does it: a temperature is from 0 to 1, a mode
    /// "serving" needs a model, unknown fields are ignored. Options and errors are those of `encode_chat`.
    ///
    /// >>> nemo_fast.Tokenizer().encode_request('{"messages": [{"role": "user", "content": "Hi"}]}')
    /// [1, 3, 37133, 4]
    #[pyo3(signature = (request, *, mode="test", tool_call_ids="strict"))]
    fn encode_request<'py>(
        &self,
        request: &Bound<'py, PyAny>,
        mode: &str,
        tool_call_ids: &str,
    ) -> PyResult<Bound<'py, PyList>> {
        let options = options(mode, tool_call_ids)?;
        let py = request.py();
        match json_text(request)? {
            Some(text) => {
                let json = without_gil_if_long(py, text.len(), || prompt::parse_json(&text))?;
                let request = prompt::read_request(&&json, &mut |pattern| is_regex(py, pattern))?;
                encode(py, &self.inner, &request, options)
            }
            None => encode(py, &self.inner, &read(request)?, options),
        }
    }

    /// Return the number of token ids of `encode_request`. The ids are not built.
    ///
    /// >>> nemo_fast.Tokenizer().count_request({"messages": [{"role": "user", "content": "Hi"}], "temperature": 0.3})
    /// 4
    #[pyo3(signature = (request, *, mode="test", tool_call_ids="strict"))]
    fn count_request(&self, request: &Bound<'_, PyAny>, mode: &str, tool_call_ids: &str) -> PyResult<usize> {
        let options = options(mode, tool_call_ids)?;
        let py = request.py();
        match json_text(request)? {
            Some(text) => {
                let json = without_gil_if_long(py, text.len(), || prompt::parse_json(&text))?;
                let request = prompt::read_request(&&json, &mut |pattern| is_regex(py, pattern))?;
                count(py, &self.inner, &request, options)
            }
            None => count(py, &self.inner, &read(request)?, options),
        }
    }

    /// Return the token ids of a prompt to fill in what stands between `prompt` and `suffix`.
    ///
    /// >>> nemo_fast.Tokenizer().encode_fim("def f(", "return 1")
    /// [1, 16, 3004, 1032, 1049, 14, 3149, 1284, 1040]
    #[pyo3(signature = (prompt, suffix=None))]
    fn encode_fim<'py>(
        &self,
        prompt: &Bound<'py, PyAny>,
        suffix: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let before = utf8_text(prompt)?;
        let behind = suffix.map(utf8_text).transpose()?.unwrap_or_default();
        let ids = without_gil_if_long(prompt.py(), before.len() + behind.len(), || {
            prompt::encode_fim(&self.inner, &before, &behind)
        })?;
        int_list(prompt.py(), &ids)
    }
}

pub(super) fn options(mode: &str, tool_call_ids: &str) -> PyResult<PromptOptions> {
    let mode = Mode::from_name(mode)?;
    Ok(PromptOptions { mode, tool_call_ids: ToolCallIds::from_name(tool_call_ids)? })
}

/// The request of a conversation. In any mode it stands for one that names its model.
pub(super) fn conversation(
    messages: &Bound<'_, PyAny>,
    tools: Option<&Bound<'_, PyAny>>,
    continue_final_message: bool,
) -> PyResult<Request<PyText>> {
    let messages = prompt::read_messages(&mappings("messages", messages)?)?;
    let mut request = Request::new(messages, Vec::new());
    if continue_final_message {
        request.continue_final_message()?;
    }
    if let Some(tools) = tools {
        let values = mappings("tools", tools)?;
        request.tools = prompt::read_tools(&values, &mut |pattern| is_regex(tools.py(), pattern))?;
    }
    Ok(request)
}

pub(super) fn mappings<'py>(name: &str, values: &Bound<'py, PyAny>) -> PyResult<Vec<PyValue<'py>>> {
    elements(values)?.ok_or_else(|| {
        PyTypeError::new_err(format!("{name} must be a list of mappings, found {}", type_name(values)))
    })
}

/// The text of a request that is JSON.
fn json_text<'a>(request: &'a Bound<'_, PyAny>) -> PyResult<Option<std::borrow::Cow<'a, str>>> {
    let is_text = request.is_instance_of::<PyString>() || request.is_instance_of::<PyBytes>();
    is_text.then(|| utf8_text(request)).transpose()
}

fn read(request: &Bound<'_, PyAny>) -> PyResult<Request<PyText>> {
    read_fields(&fields(request, "a mapping or JSON")?)
}

/// The fields of a request that is a mapping.
pub(super) fn fields<'py>(request: &Bound<'py, PyAny>, expected: &str) -> PyResult<PyValue<'py>> {
    PyValue(request.clone()).mapping()?.ok_or_else(|| {
        PyTypeError::new_err(format!("a request must be {expected}, found {}", type_name(request)))
    })
}

pub(super) fn read_fields(fields: &PyValue<'_>) -> PyResult<Request<PyText>> {
    prompt::read_request(fields, &mut |pattern| is_regex(fields.0.py(), pattern))
}

/// Whether Python's `re` takes a pattern.
pub(super) fn is_regex(py: Python<'_>, pattern: &str) -> bool {
    py.import("re").and_then(|module| module.call_method1("compile", (pattern,))).is_ok()
}

fn encode<'py, T: AsRef<str> + Sync>(
    py: Python<'py>,
    tokenizer: &Tokenizer,
    request: &Request<T>,
    options: PromptOptions,
) -> PyResult<Bound<'py, PyList>> {
    let encode = || -> Result<Vec<TokenId>, PromptError> { prompt::encode_chat(tokenizer, request, options) };
    int_list(py, &without_gil_if_long(py, request.size(), encode)?)
}

fn count<T: AsRef<str> + Sync>(
    py: Python<'_>,
    tokenizer: &Tokenizer,
    request: &Request<T>,
    options: PromptOptions,
) -> PyResult<usize> {
    without_gil_if_long(py, request.size(), || prompt::count_chat(tokenizer, request, options))
}
