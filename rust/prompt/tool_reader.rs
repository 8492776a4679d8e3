//! OpenAI-style tool definitions to [`Tool`]s, tool calls to [`ToolCall`]s.

use super::PromptError;
use super::field_types::{check_switch, invalid, optional_text, required_text, text_of};
use super::message::{Arguments, Tool, ToolCall};
use super::message_reader::refused;
use super::tool_json::json_error;
use super::value::{Key, Kind, NotJson, Value};
use crate::json::{self, Json};

/// The definitions of tools. `is_regex` is that of [`Tool::new`].
///
/// # Errors
/// A definition that is none.
pub fn read_tools<V: Value>(
    values: &[V],
    is_regex: &mut dyn FnMut(&str) -> bool,
) -> Result<Vec<Tool<V::Text>>, V::Error> {
    values.iter().map(|value| read_tool(value, is_regex)).collect()
}

/// `None` and no call are told apart.
type Calls<T> = Option<Vec<ToolCall<T>>>;

/// The calls of an assistant's message.
pub(super) fn read_calls<V: Value>(fields: &V) -> Result<Calls<V::Text>, V::Error> {
    let Some(calls) = fields.field(Key::ToolCalls)? else { return Ok(None) };
    match calls.kind()? {
        Kind::Null => Ok(None),
        Kind::List => {
            let calls = calls.elements()?.unwrap_or_default();
            Ok(Some(calls.iter().map(read_call).collect::<Result<_, _>>()?))
        }
        _ => refused("ValueError", format!("tool_calls must be a list, found {}", calls.type_name())),
    }
}

fn read_call<V: Value>(value: &V) -> Result<ToolCall<V::Text>, V::Error> {
    let Some(call) = value.mapping()? else {
        let found = value.type_name();
        return refused("ValidationError", format!("a tool call must be a mapping, found {found}"));
    };
    let Some(function) = call.field(Key::Function)? else {
        return Err(invalid(Key::Function, "a mapping").into());
    };
    let Some(function) = function.mapping()? else { return Err(invalid(Key::Function, "a mapping").into()) };
    let arguments = read_arguments(&function)?;
    let id = match call.field(Key::Id)? {
        Some(id) => Some(text_of(&id)?.ok_or_else(|| invalid(Key::Id, "a text"))?),
        None => None,
    };
    check_function_type(&call)?;
    Ok(ToolCall { id, name: required_text(&function, Key::Name)?, arguments })
}

fn read_arguments<V: Value>(function: &V) -> Result<Arguments<V::Text>, V::Error> {
    let wrong = || invalid(Key::Arguments, "a text or a mapping");
    let Some(arguments) = function.field(Key::Arguments)? else { return Err(wrong().into()) };
    match arguments.kind()? {
        Kind::Null => Ok(Arguments::Value(Json::Object(Vec::new()))),
        Kind::Text(text) | Kind::Bytes(text) => Ok(Arguments::Text(text)),
        Kind::Mapping => match arguments.to_json()? {
            Ok(value) => Ok(Arguments::Value(read_again(value)?)),
            Err(NotJson::Raised(error)) => Err(error.into()),
            Err(NotJson::BadValue(message)) => refused("ValidationError", message),
        },
        _ => Err(wrong().into()),
    }
}

/// What is left of a value that is written and read again: of two keys that are written alike, one.
fn read_again(value: Json) -> Result<Json, PromptError> {
    if !has_equal_keys(&value) {
        return Ok(value);
    }
    let mut text = String::new();
    json::write(&value, &mut text);
    json::parse(&text).map_err(|error| json_error(&error))
}

fn has_equal_keys(value: &Json) -> bool {
    match value {
        Json::List(values) => values.iter().any(has_equal_keys),
        Json::Object(fields) => {
            let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1])
                || fields.iter().any(|(_, value)| has_equal_keys(value))
        }
        _ => false,
    }
}

fn read_tool<V: Value>(value: &V, is_regex: &mut dyn FnMut(&str) -> bool) -> Result<Tool<V::Text>, V::Error> {
    let Some(tool) = value.mapping()? else {
        let found = value.type_name();
        return refused("AttributeError", format!("a tool must be a mapping, found {found}"));
    };
    let Some(function) = tool.field(Key::Function)? else {
        return Err(invalid(Key::Function, "a mapping").into());
    };
    let Some(function) = function.mapping()? else { return Err(not_a_function(&function)?) };
    let name = required_text(&function, Key::Name)?;
    let description = optional_text(&function, Key::Description)?;
    let parameters = match function.field(Key::Parameters)? {
        Some(value) => read_schema(&value, Key::Parameters)?,
        None => None,
    };
    check_switch(&function, Key::Strict)?;
    check_function_type(&tool)?;
    let parameters = parameters.unwrap_or(Json::Object(Vec::new()));
    Ok(Tool::new(name, description, parameters, is_regex))
}

/// A schema, or `None` for `null`.
pub(super) fn read_schema<V: Value>(value: &V, key: Key) -> Result<Option<Json>, V::Error> {
    match value.kind()? {
        Kind::Null => Ok(None),
        Kind::Mapping if value.has_text_keys()? => match value.to_json()? {
            Ok(schema) => Ok(Some(schema)),
            Err(NotJson::Raised(error)) => Err(error.into()),
            Err(NotJson::BadValue(message)) => refused("ValueError", message),
        },
        _ => Err(invalid(key, "a mapping").into()),
    }
}

/// The reference makes a `dict` of what is no mapping, and fails in one of the ways in which `dict` does.
fn not_a_function<V: Value>(value: &V) -> Result<V::Error, V::Error> {
    let message = || format!("function must be a mapping, found {}", value.type_name());
    let error_type = match value.kind()? {
        Kind::Null | Kind::Bool(false) | Kind::Int(0) | Kind::Float(0.0) => "ValidationError",
        Kind::Text(text) if text.as_ref().is_empty() => "ValidationError",
        Kind::Text(_) => "ValueError",
        Kind::List => match value.elements()?.unwrap_or_default().first() {
            None => "ValidationError",
            Some(first) if matches!(first.kind()?, Kind::Text(_) | Kind::List | Kind::Mapping) => {
                "ValueError"
            }
            Some(_) => "TypeError",
        },
        _ => "TypeError",
    };
    Ok(PromptError::new(error_type, message()).into())
}

/// There is one type of tools.
pub(super) fn check_function_type<V: Value>(fields: &V) -> Result<(), V::Error> {
    let Some(value) = fields.field(Key::Type)? else { return Ok(()) };
    match value.kind()? {
        Kind::Text(name) if name.as_ref() == "function" => Ok(()),
        _ => Err(invalid(Key::Type, "'function'").into()),
    }
}
