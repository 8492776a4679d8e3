//! Which requests the reference allows: its rules, in its order, so that the first fault is the same.

use super::message::NO_ID;
use super::{Content, Message, Mode, Part, PromptError, PromptOptions, Request, Role, Tool, ToolCall};

type Checked = Result<(), PromptError>;

/// Checks a request.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn check<T: AsRef<str>>(request: &Request<T>, options: PromptOptions) -> Checked {
    if options.mode == Mode::Serving && !request.names_model {
        return broken("InvalidRequestException", "Model name parameter is required for serving mode");
    }
    check_structure(&request.messages, options)?;
    let last = request.messages.len() - 1;
    for (index, message) in request.messages.iter().enumerate() {
        check_message(message, index == last, options)?;
    }
    request.tools.iter().try_for_each(check_tool)?;
    request.unsupported.clone().map_or(Ok(()), Err)
}

fn check_structure<T: AsRef<str>>(messages: &[Message<T>], options: PromptOptions) -> Checked {
    let [first, .., last] = messages else {
        let Some(only) = messages.first() else {
            return structure("Conversation must have at least one message");
        };
        if !matches!(only.role, Role::User | Role::System) {
            return structure("Conversation must start with a user message or system message");
        }
        return if options.mode == Mode::Finetuning { check_last(only, options) } else { Ok(()) };
    };
    check_last(last, options)?;
    let mut previous = first.role;
    for message in &messages[1..] {
        check_order(previous, message.role)?;
        previous = message.role;
    }
    check_results(messages, options.mode)
}

fn check_last<T: AsRef<str>>(last: &Message<T>, options: PromptOptions) -> Checked {
    let role = last.role;
    match options.mode {
        Mode::Finetuning if role != Role::Assistant => {
            structure(format!("Expected last role Assistant for finetuning but got {}", role.name()))
        }
        Mode::Finetuning if last.prefix => structure("Cannot continue final message in finetuning mode"),
        Mode::Finetuning => last.calls().iter().try_for_each(|call| check_call(call, true, options)),
        Mode::Test | Mode::Serving if role == Role::Assistant && !last.prefix => structure(
            "Expected last role User or Tool (or Assistant with prefix) for serving but got assistant",
        ),
        Mode::Test | Mode::Serving | Mode::Agnostic => Ok(()),
    }
}

/// System messages come before what the model says, tool messages right behind it.
pub(super) fn check_order(previous: Role, role: Role) -> Checked {
    let allowed = match role {
        Role::User | Role::Assistant => true,
        Role::System => matches!(previous, Role::System | Role::User),
        Role::Tool => matches!(previous, Role::Assistant | Role::Tool),
    };
    if allowed {
        return Ok(());
    }
    structure(format!("Unexpected role '{}' after role '{}'", role.name(), previous.name()))
}

/// As many results as calls before the assistant speaks again. What comes first in a conversation is not looked at.
fn check_results<T>(messages: &[Message<T>], mode: Mode) -> Checked {
    let awaited = messages[1..].iter().try_fold(0, awaited_behind)?;
    match mode {
        Mode::Serving if awaited != 0 => unequal_results(),
        Mode::Finetuning if awaited < 0 => structure("More tool responses than tool calls"),
        _ => Ok(()),
    }
}

/// Results that are to come behind a message, of those before it and its own calls.
pub(super) fn awaited_behind<T>(awaited: isize, message: &Message<T>) -> Result<isize, PromptError> {
    match message.role {
        Role::Tool => Ok(awaited - 1),
        Role::Assistant if awaited != 0 => unequal_results().map(|()| awaited),
        Role::Assistant => Ok(message.calls().len() as isize),
        Role::User | Role::System => Ok(awaited),
    }
}

fn unequal_results() -> Checked {
    structure("Not the same number of function calls and responses")
}

pub(super) fn check_message<T: AsRef<str>>(
    message: &Message<T>,
    is_last: bool,
    options: PromptOptions,
) -> Checked {
    check_parts(message)?;
    match message.role {
        Role::System if matches!(message.content, Content::Absent) => {
            broken("InvalidSystemPromptException", "System prompt must have content")
        }
        Role::System | Role::User => Ok(()),
        Role::Assistant => check_assistant(message, is_last, options),
        Role::Tool => check_tool_message(message, options),
    }
}

/// Only texts, and a user's images: those are refused when they would be encoded.
fn check_parts<T: AsRef<str>>(message: &Message<T>) -> Checked {
    let role = message.role;
    let is_allowed = |part: &Part<T>| match part {
        Part::Text(_) => true,
        Part::ImageUrl => role == Role::User,
        _ => false,
    };
    let refused = message.content.parts().iter().filter(|part| !is_allowed(part));
    let mut classes: Vec<&str> = refused.map(Part::class).collect();
    if classes.is_empty() {
        return Ok(());
    }
    classes.sort_unstable();
    classes.dedup();
    let error_type = match role {
        Role::System => "InvalidSystemPromptException",
        Role::User => "InvalidUserMessageException",
        Role::Assistant => "InvalidAssistantMessageException",
        Role::Tool => "InvalidToolMessageException",
    };
    let classes = classes.join("', '");
    broken(error_type, format!("Unexpected content chunk types in {} message: ['{classes}']", role.name()))
}

fn check_assistant<T: AsRef<str>>(message: &Message<T>, is_last: bool, options: PromptOptions) -> Checked {
    if message.content.is_empty() == message.calls().is_empty() {
        return broken(
            "InvalidAssistantMessageException",
            "Assistant message must have either content or tool_calls, but not both.",
        );
    }
    message.calls().iter().try_for_each(|call| check_call(call, is_last, options))?;
    if message.prefix && !is_last {
        return broken(
            "InvalidAssistantMessageException",
            "Assistant message with prefix True must be last message",
        );
    }
    Ok(())
}

fn check_call<T: AsRef<str>>(call: &ToolCall<T>, is_last: bool, options: PromptOptions) -> Checked {
    let error_type = "InvalidFunctionCallException";
    let id = options.tool_call_ids.of(call.id.as_ref().map_or(NO_ID, AsRef::as_ref));
    let mode = options.mode;
    if id == NO_ID {
        match mode {
            Mode::Finetuning | Mode::Agnostic if is_last => {}
            Mode::Finetuning | Mode::Agnostic => {
                let mode = mode.name();
                return broken(
                    error_type,
                    format!(
                        "Tool call id of assistant message that is not last has to be defined in {mode} mode."
                    ),
                );
            }
            Mode::Serving => {
                return broken(error_type, "Tool call id has to be defined in serving mode.");
            }
            Mode::Test => {
                return broken(
                    error_type,
                    "Tool call id 'null' is only allowed for the last assistant message in finetuning mode.",
                );
            }
        }
    } else {
        check_id(id, error_type)?;
    }
    check_name(call.name.as_ref(), error_type)
}

fn check_tool_message<T: AsRef<str>>(message: &Message<T>, options: PromptOptions) -> Checked {
    let error_type = "InvalidToolMessageException";
    if let Some(name) = &message.name {
        check_name(name.as_ref(), error_type)?;
    }
    match &message.tool_call_id {
        Some(id) => check_id(options.tool_call_ids.of(id.as_ref()), error_type),
        None => broken("InvalidRequestException", "Tool call id has to be defined."),
    }
}

pub(super) fn check_tool<T: AsRef<str>>(tool: &Tool<T>) -> Checked {
    if let Some(fault) = &tool.fault {
        return broken("InvalidToolSchemaException", format!("Invalid tool schema: {fault}"));
    }
    check_name(tool.name.as_ref(), "InvalidToolException")
}

/// Nine letters or digits. One newline more is taken, too, as the reference's regular expression does.
fn check_id(id: &str, error_type: &'static str) -> Checked {
    let line = id.strip_suffix('\n').unwrap_or(id);
    if line.len() == 9 && line.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    broken(error_type, format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."))
}

/// One to 64 letters, digits, underscores or dashes; the same holds for a newline.
fn check_name(name: &str, error_type: &'static str) -> Checked {
    let line = name.strip_suffix('\n').unwrap_or(name);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if matches!(line.len(), 1..=64) && line.bytes().all(is_allowed) {
        return Ok(());
    }
    broken(
        error_type,
        format!(
            "Function name was {name} but must be a-z, A-Z, 0-9, or contain underscores and dashes, \
             with a maximum length of 64."
        ),
    )
}

fn structure(message: impl Into<String>) -> Checked {
    broken("InvalidMessageStructureException", message)
}

fn broken(error_type: &'static str, message: impl Into<String>) -> Checked {
    Err(PromptError::new(error_type, message))
}
