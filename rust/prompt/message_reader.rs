//! OpenAI-style messages to [`Message`]s; their tool calls are `tool_reader`'s.
//!
//! The form of each is checked here, and refused under the name of the exception that the reference raises; which
//! requests are allowed is `validation`'s matter. Fields that the template does not read are ignored, as in the reference.

use super::PromptError;
use super::field_types::{invalid, optional_text, required_text, switch, text_of};
use super::message::{Content, Message, Part, Role};
use super::tool_reader::read_calls;
use super::value::{Key, Kind, Value};

/// The messages of a conversation.
///
/// # Errors
/// A message that is none.
pub fn read_messages<V: Value>(values: &[V]) -> Result<Vec<Message<V::Text>>, V::Error> {
    values.iter().map(read_message).collect()
}

/// One message.
///
/// # Errors
/// A message that is none.
pub fn read_message<V: Value>(value: &V) -> Result<Message<V::Text>, V::Error> {
    let Some(fields) = value.mapping()? else {
        let found = value.type_name();
        return refused("AttributeError", format!("a message must be a mapping, found {found}"));
    };
    let role = read_role(&fields)?;
    let mut message = Message::new(role, Content::Absent);
    if role == Role::Assistant {
        message.tool_calls = read_calls(&fields)?;
    }
    message.content = match fields.field(Key::Content)? {
        Some(value) => read_content(&value)?,
        None if role == Role::Assistant => Content::Absent,
        None => return refused("KeyError", "a message must have a content"),
    };
    match role {
        Role::Assistant => add_reasoning(&fields, &mut message.content)?,
        Role::Tool => {
            let Some(id) = fields.field(Key::ToolCallId)? else {
                return refused("KeyError", "a tool message must have a tool_call_id");
            };
            check_content(role, &message.content)?;
            message.tool_call_id = text_or_null(&id, Key::ToolCallId)?;
            message.name = optional_text(&fields, Key::Name)?;
        }
        Role::System | Role::User => {}
    }
    check_content(role, &message.content)?;
    Ok(message)
}

fn read_role<V: Value>(fields: &V) -> Result<Role, V::Error> {
    let Some(value) = fields.field(Key::Role)? else { return Ok(Role::from_name("None")?) };
    match value.kind()? {
        Kind::Text(name) => Ok(Role::from_name(name.as_ref())?),
        Kind::Null => Ok(Role::from_name("None")?),
        _ => refused("ValueError", format!("Unknown message role: {}", value.type_name())),
    }
}

/// The reference has classes for messages, and each its kinds of parts.
fn check_content<T>(role: Role, content: &Content<T>) -> Result<(), PromptError> {
    let is_refused = |part: &Part<T>| match (role, part) {
        (_, Part::Text(_)) => false,
        (Role::User | Role::Tool, part) => matches!(part, Part::Thinking),
        (Role::System, part) => !matches!(part, Part::Audio | Part::Thinking),
        (Role::Assistant, part) => !matches!(part, Part::Thinking),
    };
    match content {
        Content::Absent if role != Role::Assistant => Err(PromptError::new(
            "ValidationError",
            format!("{} message: content must be a string or a list of parts", role.name()),
        )),
        Content::Parts(parts) => match parts.iter().find(|part| is_refused(part)) {
            Some(part) => Err(PromptError::new(
                "ValidationError",
                format!("{} cannot be used in {} message.", part.class(), role.name()),
            )),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn read_content<V: Value>(value: &V) -> Result<Content<V::Text>, V::Error> {
    match value.kind()? {
        Kind::Null => Ok(Content::Absent),
        Kind::Text(text) => Ok(Content::Text(text)),
        Kind::List => {
            let parts = value.elements()?.unwrap_or_default();
            Ok(Content::Parts(parts.iter().map(read_part).collect::<Result<_, _>>()?))
        }
        _ => {
            let found = value.type_name();
            refused("ValueError", format!("content must be a string or a list of parts, found {found}"))
        }
    }
}

fn read_part<V: Value>(value: &V) -> Result<Part<V::Text>, V::Error> {
    let Some(fields) = value.mapping()? else {
        let found = value.type_name();
        return refused("AttributeError", format!("a content part must be a mapping, found {found}"));
    };
    let part_type = match fields.field(Key::Type)? {
        Some(value) => value.kind()?,
        None => Kind::Null,
    };
    let part_type = match &part_type {
        Kind::Null => return refused("ValueError", "Content chunk must have a type field."),
        Kind::Text(name) => name.as_ref(),
        _ => return refused("ValueError", "the type of a content part must be a string"),
    };
    match part_type {
        "text" => Ok(Part::Text(required_text(&fields, Key::Text)?)),
        "thinking" => {
            required_text(&fields, Key::Thinking)?;
            switch(&fields, Key::Closed)?;
            Ok(Part::Thinking)
        }
        "image" => refused("AssertionError", "parts of type 'image' are not supported, only text"),
        "image_url" => {
            let Some(url) = fields.field(Key::ImageUrl)? else {
                return refused("KeyError", "an image_url part must have an image_url");
            };
            check_url(&url, Key::ImageUrl)?;
            Ok(Part::ImageUrl)
        }
        "audio_url" => {
            let Some(url) = fields.field(Key::AudioUrl)? else {
                return Err(invalid(Key::AudioUrl, "a text").into());
            };
            check_url(&url, Key::AudioUrl)?;
            Ok(Part::AudioUrl)
        }
        "input_audio" => {
            check_audio(&fields)?;
            Ok(Part::Audio)
        }
        _ => refused("ValueError", format!("'{part_type}' is not a type of content part")),
    }
}

/// An address is a text, or a mapping with one.
fn check_url<V: Value>(value: &V, key: Key) -> Result<(), V::Error> {
    if text_of(value)?.is_some() {
        return Ok(());
    }
    let Some(fields) = value.mapping()? else { return Err(invalid(key, "a text or a mapping").into()) };
    required_text(&fields, Key::Url)?;
    if key == Key::ImageUrl {
        optional_text(&fields, Key::Detail)?;
        let known = 1 + usize::from(fields.field(Key::Detail)?.is_some());
        if fields.field_count()? != known {
            return Err(invalid(key, "a mapping of url and detail").into());
        }
    }
    Ok(())
}

fn check_audio<V: Value>(fields: &V) -> Result<(), V::Error> {
    let wrong = || invalid(Key::InputAudio, "a text that is not blank");
    let Some(mut audio) = fields.field(Key::InputAudio)? else { return Err(wrong().into()) };
    if let Some(data) = audio.mapping()?.map(|audio| audio.field(Key::Data)).transpose()?.flatten() {
        audio = data;
    }
    match audio.kind()? {
        Kind::Text(text) if !text.as_ref().trim().is_empty() => Ok(()),
        Kind::Bytes(bytes) if !bytes.as_ref().is_empty() => Ok(()),
        _ => Err(wrong().into()),
    }
}

/// What the model thought is a part in front of the others.
fn add_reasoning<V: Value>(fields: &V, content: &mut Content<V::Text>) -> Result<(), V::Error> {
    let mut texts = [None, None];
    let mut found = 0;
    for (key, text) in [Key::ReasoningContent, Key::Reasoning].into_iter().zip(&mut texts) {
        let Some(value) = fields.field(key)? else { continue };
        if !matches!(value.kind()?, Kind::Null) {
            found += 1;
            *text = text_of(&value)?;
        }
    }
    if found == 0 {
        return Ok(());
    }
    let [one, other] = texts.each_ref().map(|text| text.as_ref().map(AsRef::as_ref));
    if found == 2 && one != other {
        return refused("ValueError", "`reasoning_content` and `reasoning` should be equal.");
    }
    let taken = std::mem::replace(content, Content::Absent);
    let mut parts = match taken {
        Content::Absent => Vec::new(),
        Content::Text(text) => vec![Part::Text(text)],
        Content::Parts(parts) => parts,
    };
    if parts.iter().any(|part| matches!(part, Part::Thinking)) {
        return refused(
            "InvalidAssistantMessageException",
            "Message cannot have both thinking chunks in `content` and a top-level `reasoning` or \
             `reasoning_content` field.",
        );
    }
    if one.or(other).is_none() {
        return Err(invalid(Key::Reasoning, "a text").into());
    }
    parts.insert(0, Part::Thinking);
    *content = Content::Parts(parts);
    Ok(())
}

fn text_or_null<V: Value>(value: &V, key: Key) -> Result<Option<V::Text>, V::Error> {
    if matches!(value.kind()?, Kind::Null) {
        return Ok(None);
    }
    Ok(Some(text_of(value)?.ok_or_else(|| invalid(key, "a text"))?))
}

pub(super) fn refused<R, E: From<PromptError>>(
    error_type: &'static str,
    message: impl Into<String>,
) -> Result<R, E> {
    Err(PromptError::new(error_type, message).into())
}
