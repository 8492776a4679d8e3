//! The instruct template of Mistral Nemo (tokenizer version 3): a conversation as special tokens and texts.
//!
//! ```text
//! <s> [INST] user [/INST] assistant </s>
//! [AVAILABLE_TOOLS] tools [/AVAILABLE_TOOLS] [INST] system \n\n user [/INST]
//! [TOOL_CALLS] calls </s> [TOOL_RESULTS] result [/TOOL_RESULTS]
//! ```
//!
//! 1. System messages leave their places; joined, they go in front of the last user message, in the same text. The tools
//!    go right before that message.
//! 2. Messages of one role in a row become one, but tool results stay apart.
//! 3. A conversation that does not start with a user message gets an empty one in front.
//! 4. Spaces at the end of an assistant message are dropped, other white space is not.
//!
//! Wherever texts are joined, a blank line stands between them, and empty ones are left out.
//!
//! A prompt is `<s>` and its [`Block`]s. The tokens of a block depend on nothing outside it: so the number of tokens of
//! a prompt is the sum over the blocks. What moves when a conversation goes on is which user block is the last.

use std::borrow::Cow;

use super::sinks::Sink;
use super::tool_json;
use super::{Message, Part, PromptError, Request, Role, Tool, ToolCallIds};
use crate::tokenizer::special_tokens::{
    BEGIN_INST, BEGIN_TOOL_RESULTS, BEGIN_TOOLS, BOS, END_INST, END_TOOL_RESULTS, END_TOOLS, EOS, TOOL_CALLS,
};

pub(super) const BLANK_LINE: &str = "\n\n";
/// The special tokens around the texts of a user.
pub(super) const AROUND_USER: usize = 2;

/// What a run of messages, or the tools, puts into a prompt.
pub(super) enum Block<'a, T> {
    /// The definitions of the tools.
    Tools(&'a [Tool<T>]),
    /// Texts of the user; the last such block has the system's text in front.
    User { system: &'a str, messages: &'a [Message<T>] },
    /// Texts or calls of the model.
    Assistant(&'a [Message<T>]),
    /// The result of one call.
    ToolResult(&'a Message<T>),
}

/// Why a block cannot be written. The reference goes through all messages twice: a fault of the first round comes before
/// any of the second.
enum Fault {
    First(PromptError),
    Second(PromptError),
}

/// Writes a checked request.
///
/// # Errors
/// What the reference finds out only here.
pub(super) fn write<T: AsRef<str>>(
    request: &Request<T>,
    tool_call_ids: ToolCallIds,
    sink: &mut impl Sink,
) -> Result<(), PromptError> {
    write_blocks(request, tool_call_ids, sink, |_block, _sink| ())
}

/// The same; after each block `written` is called.
pub(super) fn write_blocks<T: AsRef<str>, S: Sink>(
    request: &Request<T>,
    tool_call_ids: ToolCallIds,
    sink: &mut S,
    mut written: impl FnMut(&Block<'_, T>, &S),
) -> Result<(), PromptError> {
    let mut writer = Writer { tool_call_ids, joined: String::new() };
    let mut fault = None;
    sink.control(BOS)?;
    for_each_block(request, |block| {
        match writer.write(&block, sink) {
            Err(Fault::First(error)) => return Err(error),
            Err(Fault::Second(error)) => {
                fault.get_or_insert(error);
            }
            Ok(()) => written(&block, sink),
        }
        Ok(())
    })?;
    fault.map_or(Ok(()), Err)
}

/// Writes one block.
pub(super) fn write_block<T: AsRef<str>>(
    block: &Block<'_, T>,
    tool_call_ids: ToolCallIds,
    sink: &mut impl Sink,
) -> Result<(), PromptError> {
    let mut writer = Writer { tool_call_ids, joined: String::new() };
    writer.write(block, sink).map_err(|(Fault::First(error) | Fault::Second(error))| error)
}

/// Calls `visit` with the blocks in order.
fn for_each_block<T: AsRef<str>>(
    request: &Request<T>,
    mut visit: impl FnMut(Block<'_, T>) -> Result<(), PromptError>,
) -> Result<(), PromptError> {
    let messages = &request.messages;
    let system = system_prompt(messages);
    let visit_user = |is_last: bool, run: &[Message<T>], visit: &mut dyn FnMut(Block<'_, T>) -> _| {
        if is_last && !request.tools.is_empty() {
            visit(Block::Tools(&request.tools))?;
        }
        visit(Block::User { system: if is_last { &system } else { "" }, messages: run })
    };
    let last_user = messages.iter().rposition(|message| message.role == Role::User);
    let first_spoken = messages.iter().find(|message| message.role != Role::System);
    if first_spoken.is_none_or(|message| message.role != Role::User) {
        visit_user(last_user.is_none(), &[], &mut visit)?;
    }
    let mut behind = 0;
    // System messages vanish, but they do end a run.
    for run in messages.chunk_by(|one, next| one.role == next.role) {
        behind += run.len();
        match run[0].role {
            Role::System => {}
            Role::User => visit_user(last_user == Some(behind - 1), run, &mut visit)?,
            Role::Assistant => visit(Block::Assistant(run))?,
            Role::Tool => run.iter().try_for_each(|message| visit(Block::ToolResult(message)))?,
        }
    }
    Ok(())
}

/// The text in front of the last user message.
///
/// One thing is the reference's and nobody's intention: a message whose parts are all empty still adds its
/// blank line.
pub(super) fn system_prompt<T: AsRef<str>>(messages: &[Message<T>]) -> String {
    let mut prompt = String::new();
    let systems = messages.iter().filter(|message| message.role == Role::System);
    for (index, message) in systems.filter(|message| !message.content.is_empty()).enumerate() {
        if index > 0 {
            prompt.push_str(BLANK_LINE);
        }
        join(message.content.texts(), &mut prompt);
    }
    prompt
}

struct Writer {
    tool_call_ids: ToolCallIds,
    /// Room for texts that are put together.
    joined: String,
}

impl Writer {
    fn write<T: AsRef<str>>(&mut self, block: &Block<'_, T>, sink: &mut impl Sink) -> Result<(), Fault> {
        match block {
            Block::Tools(tools) => {
                self.joined.clear();
                tool_json::write_tools(tools, &mut self.joined);
                self.between(BEGIN_TOOLS, END_TOOLS, sink)
            }
            Block::User { system, messages } => self.write_user(system, messages, sink),
            Block::Assistant(messages) => self.write_assistant(messages, sink),
            Block::ToolResult(message) => {
                self.joined.clear();
                let id = message.tool_call_id.as_ref().map_or("", AsRef::as_ref);
                let content = single_or_joined(std::slice::from_ref(*message));
                tool_json::write_result(&content, self.tool_call_ids.of(id), &mut self.joined)
                    .map_err(Fault::First)?;
                self.between(BEGIN_TOOL_RESULTS, END_TOOL_RESULTS, sink)
            }
        }
    }

    fn write_user<T: AsRef<str>>(
        &mut self,
        system: &str,
        messages: &[Message<T>],
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        check_texts(messages).map_err(Fault::Second)?;
        sink.control(BEGIN_INST).map_err(Fault::Second)?;
        if system.is_empty() {
            sink.text(&single_or_joined(messages));
        } else {
            self.joined.clear();
            self.joined.push_str(system);
            self.joined.push_str(BLANK_LINE);
            join(texts(messages), &mut self.joined);
            sink.text(&self.joined);
        }
        sink.control(END_INST).map_err(Fault::Second)
    }

    fn write_assistant<T: AsRef<str>>(
        &mut self,
        messages: &[Message<T>],
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        let calls = messages.iter().flat_map(Message::calls);
        let has_calls = calls.clone().next().is_some();
        let has_text = texts(messages).next().is_some();
        if has_calls {
            self.joined.clear();
            tool_json::write_calls(calls, self.tool_call_ids, &mut self.joined).map_err(Fault::First)?;
        }
        check_run(has_calls, has_text).map_err(Fault::Second)?;
        if has_calls {
            sink.control(TOOL_CALLS).map_err(Fault::Second)?;
            sink.text(&self.joined);
        } else {
            sink.text(single_or_joined(messages).trim_end_matches(' '));
        }
        if messages.iter().any(|message| message.prefix) {
            return Ok(());
        }
        sink.control(EOS).map_err(Fault::Second)
    }

    /// Writes what was put together between two special tokens.
    fn between(&self, before: u32, behind: u32, sink: &mut impl Sink) -> Result<(), Fault> {
        sink.control(before).map_err(Fault::Second)?;
        sink.text(&self.joined);
        sink.control(behind).map_err(Fault::Second)
    }
}

/// A user may send images, and they are refused only here.
pub(super) fn check_texts<T: AsRef<str>>(messages: &[Message<T>]) -> Result<(), PromptError> {
    let mut parts = messages.iter().flat_map(|message| message.content.parts());
    if parts.any(|part| !matches!(part, Part::Text(_))) {
        return Err(PromptError::new("AssertionError", "images are not supported, only text"));
    }
    Ok(())
}

/// Assistant messages in a row have either calls or texts.
pub(super) fn check_run(has_calls: bool, has_text: bool) -> Result<(), PromptError> {
    match (has_calls, has_text) {
        (true, true) => Err(PromptError::new(
            "ValueError",
            "Cannot have tool calls and content defined in the same assistant message",
        )),
        // All of them had parts, and all parts were empty.
        (false, false) => Err(PromptError::new("TokenizerException", "Invalid assistant message: ")),
        _ => Ok(()),
    }
}

/// The texts of messages that are not empty.
pub(super) fn texts<T: AsRef<str>>(messages: &[Message<T>]) -> impl Iterator<Item = &str> {
    messages.iter().flat_map(|message| message.content.texts())
}

/// The texts of messages, joined; borrowed where there is one.
pub(super) fn single_or_joined<T: AsRef<str>>(messages: &[Message<T>]) -> Cow<'_, str> {
    let mut texts = texts(messages);
    let first = texts.next().unwrap_or_default();
    let Some(second) = texts.next() else { return Cow::Borrowed(first) };
    let mut joined = String::new();
    join([first, second].into_iter().chain(texts), &mut joined);
    Cow::Owned(joined)
}

/// Appends texts with blank lines between them.
pub(super) fn join<'a>(texts: impl Iterator<Item = &'a str>, joined: &mut String) {
    for (index, text) in texts.enumerate() {
        if index > 0 {
            joined.push_str(BLANK_LINE);
        }
        joined.push_str(text);
    }
}
