//! A whole OpenAI-shaped request: its messages and tools, and the rules for its other fields, in the reference's order.

use super::field_types::{
    check_fraction, check_natural, check_switch, invalid, optional_text, required_text, switch, text_of,
};
use super::json_schema;
use super::message_reader::read_messages;
use super::tool_reader::{check_function_type, read_schema, read_tools};
use super::value::{Key, Kind, Value};
use super::{PromptError, Request};

/// Reads a request. `is_regex` is that of [`super::Tool::new`].
///
/// # Errors
/// A request that the reference would not take, whatever the mode.
pub fn read_request<V: Value>(
    value: &V,
    is_regex: &mut dyn FnMut(&str) -> bool,
) -> Result<Request<V::Text>, V::Error> {
    let Some(fields) = value.mapping()? else {
        let message = format!("a request must be a mapping, found {}", value.type_name());
        return Err(PromptError::new("TypeError", message).into());
    };
    let seed = fields.field(Key::Seed)?;
    let random_seed = fields.field(Key::RandomSeed)?;
    if seed.is_some() && random_seed.is_some() {
        let message = "Cannot specify both `seed` and `random_seed`.";
        return Err(PromptError::new("ValueError", message).into());
    }
    let Some(messages) = fields.field(Key::Messages)? else {
        return Err(PromptError::new("TypeError", "a request must have messages").into());
    };
    let messages = read_messages(&elements(&messages, Key::Messages)?)?;
    let mut request = Request::new(messages, Vec::new());
    if switch(&fields, Key::ContinueFinalMessage)? == Some(true) {
        request.continue_final_message()?;
    }
    if let Some(tools) = fields.field(Key::Tools)?
        && !matches!(tools.kind()?, Kind::Null)
    {
        request.tools = read_tools(&elements(&tools, Key::Tools)?, is_regex)?;
    }
    check_sampling(&fields, seed.or(random_seed).as_ref())?;
    check_tool_choice(&fields)?;
    check_response_format(&fields, is_regex)?;
    request.names_model = optional_text(&fields, Key::Model)?.is_some();
    let truncates = switch(&fields, Key::TruncateForContextLength)? == Some(true);
    request.unsupported = reasoning_effort(&fields)?.or_else(|| {
        let message = "encoding a chat completion request with truncation, but no max model len was provided";
        truncates.then(|| PromptError::new("TokenizerException", message))
    });
    Ok(request)
}

/// The elements of a list; what is none fails as a loop over it does in Python.
fn elements<V: Value>(value: &V, key: Key) -> Result<Vec<V>, V::Error> {
    let name = key.name();
    let is_empty = match value.kind()? {
        Kind::Text(text) => Some(text.as_ref().is_empty()),
        Kind::Mapping => Some(value.field_count()? == 0),
        _ => None,
    };
    match is_empty {
        Some(true) => return Ok(Vec::new()),
        Some(false) => {
            let message = format!("{name} must be a list of mappings, found {}", value.type_name());
            return Err(PromptError::new("AttributeError", message).into());
        }
        None => {}
    }
    let missing =
        || PromptError::new("TypeError", format!("{name} must be a list, found {}", value.type_name()));
    value.elements()?.ok_or_else(|| missing().into())
}

fn check_sampling<V: Value>(fields: &V, seed: Option<&V>) -> Result<(), V::Error> {
    check_fraction(fields, Key::Temperature)?;
    check_fraction(fields, Key::TopP)?;
    check_natural(fields.field(Key::MaxTokens)?.as_ref(), Key::MaxTokens)?;
    check_natural(seed, Key::RandomSeed)?;
    check_switch(fields, Key::ParallelToolCalls)
}

fn check_tool_choice<V: Value>(fields: &V) -> Result<(), V::Error> {
    let wrong = || invalid(Key::ToolChoice, "auto, none, any, required or a function");
    let Some(choice) = fields.field(Key::ToolChoice)? else { return Ok(()) };
    if let Kind::Text(name) = choice.kind()? {
        let is_known = matches!(name.as_ref(), "auto" | "none" | "any" | "required");
        return if is_known { Ok(()) } else { Err(wrong().into()) };
    }
    let Some(choice) = choice.mapping()? else { return Err(wrong().into()) };
    check_function_type(&choice)?;
    let function = choice.field(Key::Function)?.map(|function| function.mapping()).transpose()?.flatten();
    required_text(&function.ok_or_else(wrong)?, Key::Name).map(|_| ())
}

fn check_response_format<V: Value>(
    fields: &V,
    is_regex: &mut dyn FnMut(&str) -> bool,
) -> Result<(), V::Error> {
    let Some(format) = fields.field(Key::ResponseFormat)? else { return Ok(()) };
    let Some(format) = format.mapping()? else {
        return Err(invalid(Key::ResponseFormat, "a mapping").into());
    };
    let wrong = || invalid(Key::Type, "text, json_object or json_schema");
    let needs_schema = match format.field(Key::Type)?.map(|value| value.kind()).transpose()? {
        None => false,
        Some(Kind::Text(name)) => match name.as_ref() {
            "text" | "json_object" => false,
            "json_schema" => true,
            _ => return Err(wrong().into()),
        },
        Some(_) => return Err(wrong().into()),
    };
    match format.field(Key::JsonSchema)? {
        Some(schema) if !matches!(schema.kind()?, Kind::Null) => check_named_schema(&schema, is_regex),
        _ if needs_schema => Err(invalid(Key::ResponseFormat, "a mapping with a json_schema").into()),
        _ => Ok(()),
    }
}

fn check_named_schema<V: Value>(value: &V, is_regex: &mut dyn FnMut(&str) -> bool) -> Result<(), V::Error> {
    let Some(fields) = value.mapping()? else { return Err(invalid(Key::JsonSchema, "a mapping").into()) };
    required_text(&fields, Key::Name)?;
    optional_text(&fields, Key::Description)?;
    switch(&fields, Key::Strict)?;
    let schema = match fields.field(Key::Schema)? {
        Some(schema) => Some(schema),
        None => fields.field(Key::CustomSchema)?,
    };
    let schema = schema.map(|schema| read_schema(&schema, Key::Schema)).transpose()?.flatten();
    let schema = schema.ok_or_else(|| invalid(Key::Schema, "a mapping"))?;
    json_schema::check(&schema, is_regex)
        .map_err(|fault| PromptError::new("ValidationError", format!("json_schema: {fault}")).into())
}

/// How hard the model should think: this one does not. It is refused behind everything else.
fn reasoning_effort<V: Value>(fields: &V) -> Result<Option<PromptError>, V::Error> {
    let Some(value) = fields.field(Key::ReasoningEffort)? else { return Ok(None) };
    if matches!(value.kind()?, Kind::Null) {
        return Ok(None);
    }
    let efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    let effort = text_of(&value)?;
    match effort.as_ref().map(AsRef::as_ref).filter(|effort| efforts.contains(effort)) {
        Some(effort) => {
            let message = format!("reasoning_effort='{effort}' is not supported for this model");
            Ok(Some(PromptError::new("InvalidRequestException", message)))
        }
        None => Err(invalid(Key::ReasoningEffort, &efforts.join(", ")).into()),
    }
}
