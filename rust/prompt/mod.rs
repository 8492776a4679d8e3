//! Chat messages to token ids.
//!
//! The prompts are those of mistral-common 1.13.1 in its mode `test`, token for token, and what it rejects is
//! rejected with the name of its exception. Messages are text here: tool calls, tool results and tool
//! definitions are refused.
//!
//! A prompt is a list of segments (`instruct_template`), special tokens and texts; each text is encoded on
//! its own and never parsed for special tokens, so that no message can forge one.

mod content_parts;
mod conversation_rules;
mod instruct_template;

use crate::tokenizer::special_tokens::special_token_name;
use crate::tokenizer::{TokenId, Tokenizer};
pub use content_parts::unsupported_part;
use instruct_template::{Segment, segments};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions; the role `developer` is the same.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The role of an OpenAI-style message.
    ///
    /// # Errors
    /// A role that does not exist, or `tool`.
    pub fn from_name(name: &str) -> Result<Role, PromptError> {
        match name {
            "system" | "developer" => Ok(Role::System),
            "user" => Ok(Role::User),
            "assistant" => Ok(Role::Assistant),
            "tool" => Err(PromptError::unsupported("tool messages are not supported yet")),
            _ => Err(PromptError::new("ValueError", format!("Unknown message role: {name}"))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `null`, or no content at all.
    Absent,
    /// One text.
    Text(String),
    /// A list of text parts, which the template joins by blank lines.
    Parts(Vec<String>),
}

impl Content {
    /// As Python sees it: a list of one empty part is not empty.
    fn is_empty(&self) -> bool {
        match self {
            Content::Absent => true,
            Content::Text(text) => text.is_empty(),
            Content::Parts(parts) => parts.is_empty(),
        }
    }

    fn texts(&self) -> &[String] {
        match self {
            Content::Absent => &[],
            Content::Text(text) => std::slice::from_ref(text),
            Content::Parts(parts) => parts,
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    role: Role,
    content: Content,
}

impl Message {
    /// A message; only an assistant's may lack content, as far as its form goes.
    ///
    /// # Errors
    /// A system or user message without content.
    pub fn new(role: Role, content: Content) -> Result<Message, PromptError> {
        if content == Content::Absent && role != Role::Assistant {
            let message = format!("{} message: content must be a string or a list of parts", role.name());
            return Err(PromptError::new("ValidationError", message));
        }
        Ok(Message { role, content })
    }
}

/// Messages that the instruct template does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PromptError {
    /// The reference's exception class for the same fault.
    pub error_type: &'static str,
    /// What is wrong; in the words of the reference where they are its own.
    pub message: String,
}

impl PromptError {
    /// A fault that the reference reports with the exception class `error_type`.
    pub fn new(error_type: &'static str, message: impl Into<String>) -> PromptError {
        PromptError { error_type, message: message.into() }
    }

    /// Something that the reference may allow and this template does not know.
    pub fn unsupported(message: impl Into<String>) -> PromptError {
        PromptError::new("UnsupportedTokenizerFeatureException", message)
    }
}

/// Messages to the token ids of a prompt.
///
/// With `continue_final_message` the last message, an assistant's, is left open for the model to go on.
///
/// ```
/// use nemo_fast::prompt::{Content, Message, Role, encode_chat};
/// use nemo_fast::tokenizer::Tokenizer;
///
/// let message = Message::new(Role::User, Content::Text("Hello, how are you?".to_owned()))?;
/// let ids = encode_chat(&Tokenizer::embedded(), &[message], false)?;
/// assert_eq!(ids, [1, 3, 22177, 1044, 2606, 1584, 1636, 1063, 4]);
/// # Ok::<(), nemo_fast::prompt::PromptError>(())
/// ```
///
/// # Errors
/// Messages that the template does not allow.
pub fn encode_chat(
    tokenizer: &Tokenizer,
    messages: &[Message],
    continue_final_message: bool,
) -> Result<Vec<TokenId>, PromptError> {
    let mut ids = Vec::new();
    for segment in segments(messages, continue_final_message)? {
        match segment {
            Segment::Special(id) => ids.push(control_token(tokenizer, id)?),
            Segment::Text(text) => tokenizer.encode_into(&text, &mut ids),
        }
    }
    Ok(ids)
}

/// Number of token ids of a prompt; they are not built.
///
/// # Errors
/// As [`encode_chat`].
pub fn count_chat(
    tokenizer: &Tokenizer,
    messages: &[Message],
    continue_final_message: bool,
) -> Result<usize, PromptError> {
    let lengths = segments(messages, continue_final_message)?.into_iter().map(|segment| match segment {
        Segment::Special(id) => control_token(tokenizer, id).map(|_| 1),
        Segment::Text(text) => Ok(tokenizer.count(&text)),
    });
    lengths.sum()
}

/// A prompt as text for reading, special tokens by their names. It cannot be encoded back: a message may
/// contain the same strings.
///
/// # Errors
/// As [`encode_chat`].
pub fn render_chat(
    tokenizer: &Tokenizer,
    messages: &[Message],
    continue_final_message: bool,
) -> Result<String, PromptError> {
    let mut rendered = String::new();
    for segment in segments(messages, continue_final_message)? {
        match segment {
            Segment::Special(id) => {
                let id = control_token(tokenizer, id)?;
                rendered.push_str(&tokenizer.token_table().name(id));
            }
            Segment::Text(text) => rendered.push_str(&text),
        }
    }
    Ok(rendered)
}

/// The tokenizer's own id of a special token of Mistral Nemo: the one of the same name.
fn control_token(tokenizer: &Tokenizer, id: TokenId) -> Result<TokenId, PromptError> {
    let name = special_token_name(id);
    let missing = || PromptError::unsupported(format!("the vocabulary has no special token {name}"));
    tokenizer.special_token_id(name).ok_or_else(missing)
}
