//! Tools, calls and results as the JSON that a prompt shows.
//!
//! Arguments and results that are JSON are read and written again, so that white space, escapes and the forms of numbers
//! are Python's; what is not JSON is a string.

use super::message::{Arguments, NO_ID, Tool, ToolCall};
use super::{PromptError, ToolCallIds};
use crate::json::{self, JsonError};

/// Appends the list of tools, keys in a fixed order.
pub(super) fn write_tools<T: AsRef<str>>(tools: &[Tool<T>], out: &mut String) {
    for (index, tool) in tools.iter().enumerate() {
        out.push_str(if index == 0 { "[" } else { ", " });
        out.push_str(r#"{"type": "function", "function": {"name": "#);
        json::write_string(tool.name.as_ref(), out);
        out.push_str(r#", "description": "#);
        json::write_string(tool.description.as_ref().map_or("", AsRef::as_ref), out);
        out.push_str(r#", "parameters": "#);
        json::write(&tool.parameters, out);
        out.push_str("}}");
    }
    out.push(']');
}

/// Appends the list of calls.
///
/// # Errors
/// Arguments that Python's JSON gives up on.
pub(super) fn write_calls<'a, T: AsRef<str> + 'a>(
    calls: impl Iterator<Item = &'a ToolCall<T>>,
    tool_call_ids: ToolCallIds,
    out: &mut String,
) -> Result<(), PromptError> {
    for (index, call) in calls.enumerate() {
        out.push_str(if index == 0 { "[" } else { ", " });
        out.push_str(r#"{"name": "#);
        json::write_string(call.name.as_ref(), out);
        out.push_str(r#", "arguments": "#);
        match &call.arguments {
            Arguments::Text(text) => write_read_again(text.as_ref(), out)?,
            Arguments::Value(value) => json::write(value, out),
        }
        let id = tool_call_ids.of(call.id.as_ref().map_or(NO_ID, AsRef::as_ref));
        if id != NO_ID {
            out.push_str(r#", "id": "#);
            json::write_string(id, out);
        }
        out.push('}');
    }
    out.push(']');
    Ok(())
}

/// Appends the result of a call.
///
/// # Errors
/// A result that Python's JSON gives up on.
pub(super) fn write_result(content: &str, id: &str, out: &mut String) -> Result<(), PromptError> {
    out.push_str(r#"{"content": "#);
    write_read_again(content, out)?;
    out.push_str(r#", "call_id": "#);
    json::write_string(id, out);
    out.push('}');
    Ok(())
}

/// Appends a text that should be JSON; the empty one is an empty object.
fn write_read_again(text: &str, out: &mut String) -> Result<(), PromptError> {
    if text.is_empty() {
        out.push_str("{}");
        return Ok(());
    }
    match json::parse(text) {
        Ok(value) => json::write(&value, out),
        Err(JsonError::Syntax { .. }) => json::write_string(text, out),
        Err(error) => return Err(json_error(&error)),
    }
    Ok(())
}

/// What Python raises for JSON that it cannot read.
pub(super) fn json_error(error: &JsonError) -> PromptError {
    let error_type = match error {
        JsonError::Syntax { .. } => "JSONDecodeError",
        JsonError::TooDeep => "RecursionError",
        JsonError::HugeInteger => "ValueError",
    };
    PromptError::new(error_type, error.to_string())
}
