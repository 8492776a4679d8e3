//! What the model writes to a message: text, and calls of tools behind `[TOOL_CALLS]`.
//!
//! The marker is a token id. A text that spells it stays text, so that nothing that was quoted to the model can forge a
//! call. Other special tokens are left out, as in decoding, and `</s>` ends the message.
//!
//! What is no call becomes content, the marker's name in front: from the first call that is broken, cut off or not there
//! at all to the next marker. Calls before it in the same list are calls.
//!
//! **Streamed and whole.** [`parse_completion`] and [`CompletionParser`] are one parser. The deltas of a stream joined are
//! the message, with the same ids for the same seed, but for what a stream cannot know in time:
//!
//! 1. A call that breaks, or is cut off, after its first delta stays among the joined calls, as far as it was given out, and
//!    its index is used up. The message does not have it. The content, the text of that call included, is the same in both.
//! 2. An id that the model writes behind the beginning of the arguments, or behind the name where that comes last, is the
//!    message's. In the stream the call has a new one by then, and keeps it.

use std::sync::Arc;

use super::tool_call_ids::ToolCallIdSource;
use super::tool_call_text::{Event, Progress, ToolCallText};
use crate::tokenizer::special_tokens::{TOOL_CALLS, special_token_name};
use crate::tokenizer::{SpecialPolicy, StreamDecoder, TokenId, Tokenizer, TokenizerError};

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToolCall {
    /// Nine letters and digits; no other call of the message has the same.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// JSON, as the model wrote it.
    pub arguments: String,
}

/// What the assistant said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AssistantMessage {
    /// The text before, between and behind the calls.
    pub content: String,
    /// The calls, in order.
    pub tool_calls: Vec<ToolCall>,
}

/// What a token adds to a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Delta {
    /// Text.
    Content(String),
    /// A call, the arguments of which follow.
    ToolCall {
        /// The number of calls before it.
        index: usize,
        /// Its id.
        id: String,
        /// The name of the tool.
        name: String,
    },
    /// More of the arguments of the call with this index.
    Arguments {
        /// The call's index.
        index: usize,
        /// The text to append.
        text: String,
    },
}

/// Token ids to a message, one id at a time.
#[derive(Clone, Debug)]
pub struct CompletionParser {
    decoder: StreamDecoder,
    marker: Option<TokenId>,
    eos: TokenId,
    ids: ToolCallIdSource,
    section: Option<ToolCallText>,
    /// Calls that were begun.
    next_index: usize,
    has_ended: bool,
}

impl CompletionParser {
    /// A parser at the beginning of a message; the seed decides the ids of calls to which the model gives none.
    pub fn new(tokenizer: &Tokenizer, seed: u64) -> CompletionParser {
        CompletionParser {
            decoder: StreamDecoder::new(Arc::clone(tokenizer.token_table()), SpecialPolicy::Skip),
            marker: tokenizer.special_token_id(special_token_name(TOOL_CALLS)),
            eos: tokenizer.eos_id(),
            ids: ToolCallIdSource::new(seed),
            section: None,
            next_index: 0,
            has_ended: false,
        }
    }

    /// What has become certain with this token; nothing behind `</s>`.
    ///
    /// # Errors
    /// An id outside the vocabulary. The stream is then as it was before.
    pub fn push(&mut self, id: TokenId) -> Result<Vec<Delta>, TokenizerError> {
        Ok(deltas(self.push_events(id)?))
    }

    /// What is still held back, as the message ends here. The parser is then at the beginning of another one.
    pub fn finish(&mut self) -> Vec<Delta> {
        deltas(self.finish_events())
    }

    fn push_events(&mut self, id: TokenId) -> Result<Vec<Event>, TokenizerError> {
        let mut events = Vec::new();
        let text = self.decoder.push(id)?;
        if self.has_ended {
            self.decoder.finish();
            return Ok(events);
        }
        self.take(&text, &mut events);
        if Some(id) == self.marker {
            self.end_section(&mut events);
            self.section = Some(ToolCallText::new(self.next_index));
        } else if id == self.eos {
            self.end_section(&mut events);
            self.has_ended = true;
        }
        Ok(events)
    }

    fn finish_events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let text = self.decoder.finish();
        self.take(&text, &mut events);
        self.end_section(&mut events);
        self.ids.clear();
        self.next_index = 0;
        self.has_ended = false;
        events
    }

    fn take(&mut self, text: &str, events: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let Some(section) = &mut self.section else { return add_content(text, events) };
        match section.push(text, &mut self.ids, events) {
            Progress::Open => {}
            Progress::Over { left } => {
                self.next_index = section.next_index();
                self.section = None;
                add_content(&text[text.len() - left..], events);
            }
            Progress::Broken => self.end_section(events),
        }
    }

    fn end_section(&mut self, events: &mut Vec<Event>) {
        let Some(mut section) = self.section.take() else { return };
        self.next_index = section.next_index();
        if let Some(left) = section.end(events) {
            add_content(special_token_name(TOOL_CALLS), events);
            add_content(&left, events);
        }
    }
}

/// Token ids to a message.
///
/// ```
/// use nemo_fast::prompt::completion::parse_completion;
/// use nemo_fast::tokenizer::Tokenizer;
///
/// let tokenizer = Tokenizer::embedded();
/// let mut ids = vec![9];
/// tokenizer.encode_into(r#"[{"name": "add", "arguments": {"a": 1, "b": 2}}]"#, &mut ids);
/// let message = parse_completion(&tokenizer, &ids, 0)?;
/// assert_eq!(message.content, "");
/// assert_eq!(message.tool_calls[0].name, "add");
/// assert_eq!(message.tool_calls[0].arguments, r#"{"a": 1, "b": 2}"#);
/// # Ok::<(), nemo_fast::tokenizer::TokenizerError>(())
/// ```
///
/// # Errors
/// An id outside the vocabulary, also behind `</s>`.
pub fn parse_completion(
    tokenizer: &Tokenizer,
    ids: &[TokenId],
    seed: u64,
) -> Result<AssistantMessage, TokenizerError> {
    let mut parser = CompletionParser::new(tokenizer, seed);
    let mut message = AssistantMessage::default();
    for &id in ids {
        message.extend(parser.push_events(id)?);
    }
    message.extend(parser.finish_events());
    Ok(message)
}

impl AssistantMessage {
    fn extend(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Content(text) => self.content.push_str(&text),
                Event::Start { id, name, .. } => {
                    self.tool_calls.push(ToolCall { id, name, arguments: String::new() });
                }
                Event::Arguments { text, .. } => {
                    self.tool_calls.last_mut().into_iter().for_each(|call| call.arguments.push_str(&text));
                }
                Event::End { late_id: Some(id) } => {
                    self.tool_calls.last_mut().into_iter().for_each(|call| call.id.clone_from(&id));
                }
                Event::End { late_id: None } => {}
                Event::Broken => drop(self.tool_calls.pop()),
            }
        }
    }
}

fn deltas(events: Vec<Event>) -> Vec<Delta> {
    let deltas = events.into_iter().filter_map(|event| match event {
        Event::Content(text) => Some(Delta::Content(text)),
        Event::Start { index, id, name } => Some(Delta::ToolCall { index, id, name }),
        Event::Arguments { index, text } => Some(Delta::Arguments { index, text }),
        Event::End { .. } | Event::Broken => None,
    });
    deltas.collect()
}

/// Adds text to the content, in one event with the text before.
fn add_content(text: &str, events: &mut Vec<Event>) {
    match events.last_mut() {
        _ if text.is_empty() => {}
        Some(Event::Content(before)) => before.push_str(text),
        _ => events.push(Event::Content(text.to_owned())),
    }
}
