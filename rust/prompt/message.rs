//! What a request is made of: messages, tool calls and tool definitions.
//!
//! `T` is a text: `String`, or whatever borrows one where it lies. Nothing here is checked but a tool's schema, once,
//! when the tool is made; `validation` reports it in its turn.

use super::PromptError;
use super::json_schema;
use crate::json::Json;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions; the role `developer` is the same.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The role of an OpenAI-style message.
    ///
    /// # Errors
    /// A role that does not exist.
    pub fn from_name(name: &str) -> Result<Role, PromptError> {
        match name {
            "system" | "developer" => Ok(Role::System),
            "user" => Ok(Role::User),
            "assistant" => Ok(Role::Assistant),
            "tool" => Ok(Role::Tool),
            _ => Err(PromptError::new("ValueError", format!("Unknown message role: {name}"))),
        }
    }

    /// The name in messages and errors.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// A part of a message's content. Parts that are not text are known so that they are refused as the reference does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<T> {
    /// A text.
    Text(T),
    /// An image by its address.
    ImageUrl,
    /// Sound.
    Audio,
    /// Sound by its address.
    AudioUrl,
    /// What the model thought.
    Thinking,
}

impl<T> Part<T> {
    /// The reference's class of such parts.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Part::Text(_) => "TextChunk",
            Part::ImageUrl => "ImageURLChunk",
            Part::Audio => "AudioChunk",
            Part::AudioUrl => "AudioURLChunk",
            Part::Thinking => "ThinkChunk",
        }
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<T = String> {
    /// `null`, or no content at all.
    Absent,
    /// One text.
    Text(T),
    /// A list of parts, whose texts the template joins by blank lines.
    Parts(Vec<Part<T>>),
}

impl<T: AsRef<str>> Content<T> {
    /// As Python sees it: a list of one empty part is not empty.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Content::Absent => true,
            Content::Text(text) => text.as_ref().is_empty(),
            Content::Parts(parts) => parts.is_empty(),
        }
    }

    /// The texts that are not empty.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let (one, parts) = match self {
            Content::Absent => (None, [].as_slice()),
            Content::Text(text) => (Some(text.as_ref()), [].as_slice()),
            Content::Parts(parts) => (None, parts.as_slice()),
        };
        let of_parts = parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_ref()),
            _ => None,
        });
        one.into_iter().chain(of_parts).filter(|text| !text.is_empty())
    }

    pub(super) fn parts(&self) -> &[Part<T>] {
        if let Content::Parts(parts) = self { parts } else { &[] }
    }
}

/// The arguments of a tool call.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments<T = String> {
    /// A text that should be JSON; what is not is passed on as a string.
    Text(T),
    /// The value itself.
    Value(Json),
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall<T = String> {
    /// Nine letters or digits; a call without one is allowed in few places.
    pub id: Option<T>,
    /// The tool.
    pub name: T,
    /// What it is called with.
    pub arguments: Arguments<T>,
}

/// The id of a call that has none.
pub(super) const NO_ID: &str = "null";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<T = String> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content<T>,
    /// An assistant's calls; `None` and an empty list are told apart by one rule.
    pub tool_calls: Option<Vec<ToolCall<T>>>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<T>,
    /// A tool's name, which no prompt shows.
    pub name: Option<T>,
    /// Whether an assistant's message stays open for the model to go on.
    pub prefix: bool,
}

impl<T> Message<T> {
    /// A message without calls.
    pub fn new(role: Role, content: Content<T>) -> Message<T> {
        Message { role, content, tool_calls: None, tool_call_id: None, name: None, prefix: false }
    }

    /// Bytes of the texts, roughly.
    #[cfg(feature = "python")]
    pub(crate) fn size(&self) -> usize
    where
        T: AsRef<str>,
    {
        self.content.texts().map(str::len).sum::<usize>() + 16
    }

    pub(super) fn calls(&self) -> &[ToolCall<T>] {
        self.tool_calls.as_deref().unwrap_or_default()
    }
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool<T = String> {
    pub(super) name: T,
    pub(super) description: Option<T>,
    pub(super) parameters: Json,
    /// What is wrong with the schema.
    pub(super) fault: Option<String>,
}

impl<T> Tool<T> {
    /// A tool whose arguments have the JSON schema (draft 7) `parameters`. `is_regex` says whether a string is a regular
    /// expression in the dialect of whoever reads the schema.
    pub fn new(
        name: T,
        description: Option<T>,
        parameters: Json,
        is_regex: &mut dyn FnMut(&str) -> bool,
    ) -> Tool<T> {
        let fault = json_schema::check(&parameters, is_regex).err();
        Tool { name, description, parameters, fault }
    }
}
