//! Chat requests to token ids.
//!
//! The prompts are those of mistral-common 1.13.1, token for token, and what it rejects is rejected with the name of its
//! exception.
//!
//! A request comes in OpenAI's shape, from any [`Value`] (`request_reader`, `message_reader`, `tool_reader`,
//! `field_types`), or is put together from [`Message`]s and [`Tool`]s. It is checked (`validation`, `json_schema`) and written
//! (`instruct_template`, `tool_json`) as segments, special tokens and texts, into one of three `sinks`; each text is
//! encoded on its own and never parsed for special tokens, so that no message can forge one.
//! `conversation` counts one that grows, `fit` drops turns until the rest fits, `request_lines` counts files of
//! requests. What the model answers is read by `completion`.

pub mod completion;
mod conversation;
mod field_types;
mod fit;
mod infilling;
mod instruct_template;
mod json_extent;
mod json_schema;
mod message;
mod message_reader;
mod request;
mod request_lines;
mod request_reader;
mod sinks;
mod tool_call_ids;
mod tool_call_text;
mod tool_json;
mod tool_reader;
mod validation;
mod value;

pub use conversation::Conversation;
pub use fit::{Fitted, Fitting, Policy};
pub use infilling::encode_fim;
pub use message::{Arguments, Content, Message, Part, Role, Tool, ToolCall};
pub use message_reader::{read_message, read_messages};
pub use request::{Mode, PromptOptions, Request, ToolCallIds};
pub use request_lines::{RequestCounts, count_request_lines};
pub use request_reader::read_request;
use sinks::{Count, Ids, Rendered, Sink};
pub use tool_reader::read_tools;
pub use value::{Key, Kind, NotJson, Value};

use crate::json;
use crate::tokenizer::{TokenId, Tokenizer};

/// A request that is not allowed.
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

/// Reads a request that is JSON.
///
/// ```
/// use nemo_fast::json::Json;
/// use nemo_fast::prompt::{PromptOptions, count_chat, parse_json, read_request};
/// use nemo_fast::tokenizer::Tokenizer;
///
/// let json: Json = parse_json(r#"{"messages": [{"role": "user", "content": "Hello, how are you?"}]}"#)?;
/// let request = read_request(&&json, &mut |_pattern| true)?;
/// assert_eq!(count_chat(&Tokenizer::embedded(), &request, PromptOptions::default())?, 9);
/// # Ok::<(), nemo_fast::prompt::PromptError>(())
/// ```
///
/// # Errors
/// What is no JSON to Python.
pub fn parse_json(text: &str) -> Result<json::Json, PromptError> {
    json::parse(text).map_err(|error| tool_json::json_error(&error))
}

/// A request to the token ids of its prompt.
///
/// ```
/// use nemo_fast::prompt::{Content, Message, PromptOptions, Request, Role, encode_chat};
/// use nemo_fast::tokenizer::Tokenizer;
///
/// let message = Message::new(Role::User, Content::Text("Hello, how are you?".to_owned()));
/// let request = Request::new(vec![message], vec![]);
/// let ids = encode_chat(&Tokenizer::embedded(), &request, PromptOptions::default())?;
/// assert_eq!(ids, [1, 3, 22177, 1044, 2606, 1584, 1636, 1063, 4]);
/// # Ok::<(), nemo_fast::prompt::PromptError>(())
/// ```
///
/// # Errors
/// A request that the template does not allow.
pub fn encode_chat<T: AsRef<str>>(
    tokenizer: &Tokenizer,
    request: &Request<T>,
    options: PromptOptions,
) -> Result<Vec<TokenId>, PromptError> {
    let mut sink = Ids { tokenizer, ids: Vec::new() };
    write(request, options, &mut sink)?;
    Ok(sink.ids)
}

/// Number of token ids of a prompt; they are not built.
///
/// # Errors
/// As [`encode_chat`].
pub fn count_chat<T: AsRef<str>>(
    tokenizer: &Tokenizer,
    request: &Request<T>,
    options: PromptOptions,
) -> Result<usize, PromptError> {
    let mut sink = Count { tokenizer, count: 0 };
    write(request, options, &mut sink)?;
    Ok(sink.count)
}

/// A prompt as text for reading, special tokens by their names. It cannot be encoded back: a message may
/// contain the same strings.
///
/// # Errors
/// As [`encode_chat`].
pub fn render_chat<T: AsRef<str>>(
    tokenizer: &Tokenizer,
    request: &Request<T>,
    options: PromptOptions,
) -> Result<String, PromptError> {
    let mut sink = Rendered { tokenizer, text: String::new() };
    write(request, options, &mut sink)?;
    Ok(sink.text)
}

fn write<T: AsRef<str>>(
    request: &Request<T>,
    options: PromptOptions,
    sink: &mut impl Sink,
) -> Result<(), PromptError> {
    validation::check(request, options)?;
    instruct_template::write(request, options.tool_call_ids, sink)
}
