//! A whole request, and what there is to choose about its prompt.

use super::{Message, PromptError, Role, Tool};
use crate::error::Error;

/// Which rules a request has to obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The model speaks next.
    #[default]
    Test,
    /// The model speaks next; it is named, and every call has its result.
    Serving,
    /// The model has spoken.
    Finetuning,
    /// Anyone may have spoken last.
    Agnostic,
}

impl Mode {
    /// The mode of a name.
    ///
    /// # Errors
    /// A name that is none of a mode.
    pub fn from_name(name: &str) -> Result<Mode, Error> {
        match name {
            "test" => Ok(Mode::Test),
            "serving" => Ok(Mode::Serving),
            "finetuning" => Ok(Mode::Finetuning),
            "agnostic" => Ok(Mode::Agnostic),
            _ => {
                let message = format!("mode must be test, serving, finetuning or agnostic, found {name:?}");
                Err(Error::Argument(message))
            }
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Test => "test",
            Mode::Serving => "serving",
            Mode::Finetuning => "finetuning",
            Mode::Agnostic => "agnostic",
        }
    }
}

/// Which ids of tool calls are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolCallIds {
    /// Those of nine letters or digits.
    #[default]
    Strict,
    /// The last nine characters of any.
    Last9,
}

impl ToolCallIds {
    /// The choice of a name.
    ///
    /// # Errors
    /// A name that is none of a choice.
    pub fn from_name(name: &str) -> Result<ToolCallIds, Error> {
        match name {
            "strict" => Ok(ToolCallIds::Strict),
            "last9" => Ok(ToolCallIds::Last9),
            _ => Err(Error::Argument(format!("tool_call_ids must be strict or last9, found {name:?}"))),
        }
    }

    /// The part of an id that counts.
    pub(super) fn of(self, id: &str) -> &str {
        match self {
            ToolCallIds::Strict => id,
            ToolCallIds::Last9 => id.char_indices().rev().nth(8).map_or(id, |(start, _)| &id[start..]),
        }
    }
}

/// What there is to choose about a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptOptions {
    /// Which rules the request has to obey.
    pub mode: Mode,
    /// Which ids of tool calls are taken.
    pub tool_call_ids: ToolCallIds,
}

/// A request for the model's next message: what its prompt depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<T = String> {
    /// The conversation.
    pub messages: Vec<Message<T>>,
    /// The tools that the model may call.
    pub tools: Vec<Tool<T>>,
    /// Whether the request names its model.
    pub names_model: bool,
    /// What the request asks for and this model does not have; refused after all else is found good.
    pub unsupported: Option<PromptError>,
}

impl<T> Request<T> {
    /// A request that names its model.
    pub fn new(messages: Vec<Message<T>>, tools: Vec<Tool<T>>) -> Request<T> {
        Request { messages, tools, names_model: true, unsupported: None }
    }

    /// Bytes of the texts, roughly: enough to tell little work from much.
    #[cfg(feature = "python")]
    pub(crate) fn size(&self) -> usize
    where
        T: AsRef<str>,
    {
        self.messages.iter().map(Message::size).sum::<usize>() + self.tools.len() * 1_024
    }

    /// Leaves the last message open for the model to go on.
    ///
    /// # Errors
    /// A last message that is not the assistant's.
    pub fn continue_final_message(&mut self) -> Result<(), PromptError> {
        match self.messages.last_mut() {
            Some(message) if message.role == Role::Assistant => message.prefix = true,
            _ => {
                return Err(PromptError::new(
                    "InvalidMessageStructureException",
                    "continue_final_message=True requires final message to be an assistant.",
                ));
            }
        }
        Ok(())
    }
}
