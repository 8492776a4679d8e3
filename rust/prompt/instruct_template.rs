//! The instruct template of Mistral Nemo (tokenizer version 3): a conversation as special tokens and texts.
//!
//! ```text
//! <s> [INST] user [/INST] assistant </s> [INST] system \n\n user [/INST]
//! ```
//!
//! 1. System messages leave their places; joined, they go in front of the last user message, in the same
//!    text.
//! 2. Messages of one role in a row become one message.
//! 3. A conversation that does not start with a user message gets an empty one in front.
//! 4. Spaces at the end of an assistant message are dropped, other white space is not.
//!
//! Wherever texts are joined, a blank line stands between them, and empty ones are left out.

use super::conversation_rules;
use super::{Message, PromptError, Role};
use crate::tokenizer::TokenId;
use crate::tokenizer::special_tokens::{BEGIN_INST, BOS, END_INST, EOS};

const BLANK_LINE: &str = "\n\n";

/// A part of a prompt that is encoded on its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Special(TokenId),
    Text(String),
}

/// The segments of a prompt.
///
/// # Errors
/// A conversation that the template does not allow.
pub(super) fn segments(
    messages: &[Message],
    continue_final_message: bool,
) -> Result<Vec<Segment>, PromptError> {
    conversation_rules::check(messages, continue_final_message)?;
    let turns = turns(messages);
    let last_user = turns.iter().rposition(|turn| turn.role == Role::User);
    let mut segments = vec![Segment::Special(BOS)];
    for (index, turn) in turns.iter().enumerate() {
        if turn.role == Role::User {
            let system = if Some(index) == last_user { system_prompt(messages) } else { String::new() };
            let text = if system.is_empty() { turn.text.clone() } else { system + BLANK_LINE + &turn.text };
            segments.extend([Segment::Special(BEGIN_INST), Segment::Text(text), Segment::Special(END_INST)]);
        } else if turn.text.is_empty() {
            // All of its messages had parts, and all parts were empty.
            return Err(PromptError::new("TokenizerException", "Invalid assistant message: "));
        } else {
            segments.push(Segment::Text(turn.text.trim_end_matches(' ').to_owned()));
            let is_open = continue_final_message && index == turns.len() - 1;
            if !is_open {
                segments.push(Segment::Special(EOS));
            }
        }
    }
    Ok(segments)
}

/// The text of the user or the assistant until the other one speaks.
struct Turn {
    role: Role,
    text: String,
}

/// The turns of a conversation. System messages vanish, but they do end a turn.
fn turns(messages: &[Message]) -> Vec<Turn> {
    let runs = messages.chunk_by(|one, next| one.role == next.role);
    let spoken = runs.filter(|run| run[0].role != Role::System);
    let mut turns: Vec<Turn> = spoken.map(|run| Turn { role: run[0].role, text: joined(run) }).collect();
    if turns.first().is_none_or(|turn| turn.role != Role::User) {
        turns.insert(0, Turn { role: Role::User, text: String::new() });
    }
    turns
}

/// The text in front of the last user message.
///
/// One thing is the reference's and nobody's intention: a message whose parts are all empty still adds its
/// blank line.
fn system_prompt(messages: &[Message]) -> String {
    let systems =
        messages.iter().filter(|message| message.role == Role::System && !message.content.is_empty());
    let texts: Vec<String> = systems.map(|message| joined(std::slice::from_ref(message))).collect();
    texts.join(BLANK_LINE)
}

/// The texts of messages that are not empty, joined.
fn joined(messages: &[Message]) -> String {
    let texts = messages.iter().flat_map(|message| message.content.texts());
    let texts: Vec<&str> = texts.map(String::as_str).filter(|text| !text.is_empty()).collect();
    texts.join(BLANK_LINE)
}
