//! Which conversations the reference allows: its rules of mode `test`, in its order, so that the first fault
//! is the same.

use super::{Message, PromptError, Role};

/// Checks a conversation.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn check(messages: &[Message], continue_final_message: bool) -> Result<(), PromptError> {
    let last_role = messages.last().map(|message| message.role);
    if continue_final_message && last_role != Some(Role::Assistant) {
        return structure("continue_final_message=True requires final message to be an assistant.");
    }
    match messages {
        [] => return structure("Conversation must have at least one message"),
        [only] if only.role == Role::Assistant => {
            return structure("Conversation must start with a user message or system message");
        }
        _ if last_role == Some(Role::Assistant) && !continue_final_message => {
            return structure(
                "Expected last role User or Tool (or Assistant with prefix) for serving but got assistant",
            );
        }
        _ => {}
    }
    for pair in messages.windows(2) {
        if pair[0].role == Role::Assistant && pair[1].role == Role::System {
            return structure("Unexpected role 'system' after role 'assistant'");
        }
    }
    if messages.iter().any(|message| message.role == Role::Assistant && message.content.is_empty()) {
        return Err(PromptError::new(
            "InvalidAssistantMessageException",
            "Assistant message must have either content or tool_calls, but not both.",
        ));
    }
    Ok(())
}

fn structure(message: &str) -> Result<(), PromptError> {
    Err(PromptError::new("InvalidMessageStructureException", message))
}
