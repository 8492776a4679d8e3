//! Parts of a message's content that are not text: which of the reference's exceptions each one is.
//!
//! The reference lets some of them through its first checks and refuses them later; here they are refused
//! where they are met, so that a conversation with several faults may be refused for another one.

use super::{PromptError, Role};

/// The error for a part of the given type, which is not `text`, in a message of a role.
pub fn unsupported_part(role: Role, part_type: &str) -> PromptError {
    let error_type = match (part_type, role) {
        ("image" | "image_url", Role::User) => "AssertionError",
        ("input_audio" | "audio_url", Role::User) => "InvalidUserMessageException",
        ("input_audio" | "thinking", Role::System) => "InvalidSystemPromptException",
        ("thinking", Role::Assistant) => "InvalidAssistantMessageException",
        ("image" | "image_url" | "input_audio" | "audio_url" | "thinking", _) => "ValidationError",
        _ => return PromptError::new("ValueError", format!("'{part_type}' is not a type of content part")),
    };
    let role = role.name();
    PromptError::new(
        error_type,
        format!("{role} message: parts of type '{part_type}' are not supported, only text"),
    )
}
