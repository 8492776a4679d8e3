//! OpenAI-style messages, as Python mappings, to [`Message`]s.
//!
//! The form of a message is checked here, message by message, and rejected under the name of the exception
//! that the reference raises; what a conversation may be is checked by `prompt`. Fields that the template
//! does not read are ignored, as in the reference.

use std::borrow::Cow;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyMapping, PyString};

use super::convert::{string_text, type_name};
use crate::error::Error;
use crate::prompt::{Content, Message, PromptError, Role, unsupported_part};

/// The messages of a conversation: an iterable of mappings.
pub(super) fn messages(values: &Bound<'_, PyAny>) -> PyResult<Vec<Message>> {
    let is_one_value = values.is_instance_of::<PyString>() || values.cast::<PyMapping>().is_ok();
    let Some(iterator) = values.try_iter().ok().filter(|_| !is_one_value) else {
        let message = format!("messages must be a list of mappings, found {}", type_name(values));
        return Err(PyTypeError::new_err(message));
    };
    iterator.map(|value| message(&value?)).collect()
}

fn message(value: &Bound<'_, PyAny>) -> PyResult<Message> {
    let Ok(fields) = value.cast::<PyMapping>() else {
        let found = type_name(value);
        return rejected("AttributeError", format!("a message must be a mapping, found {found}"));
    };
    let role = role(fields)?;
    if role == Role::Assistant {
        check_assistant_fields(fields)?;
    }
    let content = match field(fields, "content")? {
        Some(value) => content(&value, role)?,
        None if role == Role::Assistant => Content::Absent,
        None => return rejected("KeyError", "a message must have a content".to_owned()),
    };
    Message::new(role, content).map_err(into_exception)
}

fn role(fields: &Bound<'_, PyMapping>) -> PyResult<Role> {
    let name = match field(fields, "role")? {
        Some(value) => value.str()?.to_string_lossy().into_owned(),
        None => "None".to_owned(),
    };
    Role::from_name(&name).map_err(into_exception)
}

/// Refuses the fields of an assistant message that are more than text.
fn check_assistant_fields(fields: &Bound<'_, PyMapping>) -> PyResult<()> {
    if let Some(calls) = field(fields, "tool_calls")?.filter(|calls| !calls.is_none()) {
        let Ok(calls) = calls.cast::<PyList>() else {
            let found = type_name(&calls);
            return rejected("ValueError", format!("tool_calls must be a list, found {found}"));
        };
        if !calls.is_empty() {
            return Err(into_exception(PromptError::unsupported("tool calls are not supported yet")));
        }
    }
    for name in ["reasoning_content", "reasoning"] {
        if field(fields, name)?.is_some_and(|value| !value.is_none()) {
            return Err(into_exception(unsupported_part(Role::Assistant, "thinking")));
        }
    }
    Ok(())
}

fn content(value: &Bound<'_, PyAny>, role: Role) -> PyResult<Content> {
    if value.is_none() {
        return Ok(Content::Absent);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Content::Text(string_text(text)?.into_owned()));
    }
    let Ok(parts) = value.cast::<PyList>() else {
        let found = type_name(value);
        return rejected("ValueError", format!("content must be a string or a list of parts, found {found}"));
    };
    Ok(Content::Parts(parts.iter().map(|part| part_text(&part, role)).collect::<PyResult<_>>()?))
}

fn part_text(value: &Bound<'_, PyAny>, role: Role) -> PyResult<String> {
    let Ok(fields) = value.cast::<PyMapping>() else {
        let found = type_name(value);
        return rejected("AttributeError", format!("a content part must be a mapping, found {found}"));
    };
    let Some(part_type) = field(fields, "type")?.filter(|part_type| !part_type.is_none()) else {
        return rejected("ValueError", "Content chunk must have a type field.".to_owned());
    };
    let part_type = part_type.str()?;
    let part_type = part_type.to_string_lossy();
    if part_type != "text" {
        return Err(into_exception(unsupported_part(role, &part_type)));
    }
    let text = field(fields, "text")?;
    match text.as_ref().map(|text| text.cast::<PyString>()) {
        Some(Ok(text)) => string_text(text).map(Cow::into_owned),
        _ => rejected("ValidationError", "a text part must have a text that is a string".to_owned()),
    }
}

fn field<'py>(fields: &Bound<'py, PyMapping>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    if fields.contains(name)? { fields.get_item(name).map(Some) } else { Ok(None) }
}

fn rejected<T>(error_type: &'static str, message: String) -> PyResult<T> {
    Err(into_exception(PromptError::new(error_type, message)))
}

fn into_exception(error: PromptError) -> PyErr {
    Error::from(error).into()
}
