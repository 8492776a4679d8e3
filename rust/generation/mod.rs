//! Requests to tokens and text: the engine, the sampler and the rules that end an answer.
//!
//! Knows token ids and the table of their bytes; how a prompt was made from messages is not its business.

mod engine;
mod sampler;
mod sequence;
mod stop;
mod teacher_forcing;

pub use engine::{Engine, Event, Request, RequestId};
pub use sampler::Sampling;
pub use sequence::{FinishReason, Piece, Stopping};
pub use teacher_forcing::{Forced, TeacherForcing};

/// In which arithmetic the tokens of prompts are read. Answers are always written in bf16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prefill {
    /// [`Backend::matmul`](crate::backend::Backend::matmul), as answers are.
    #[default]
    Bf16,
    /// [`Backend::int8_matmul`](crate::backend::Backend::int8_matmul), for every token of every prompt.
    Int8,
}

impl Prefill {
    /// What a user means by "bf16" or "int8".
    pub fn named(name: &str) -> Option<Prefill> {
        match name {
            "bf16" => Some(Prefill::Bf16),
            "int8" => Some(Prefill::Int8),
            _ => None,
        }
    }
}

/// What can be wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// More tokens than the context holds.
    #[error("{}", context_message(*.prompt_tokens, *.max_tokens, *.context_length))]
    ContextLength {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens asked for, if a number was given.
        max_tokens: Option<usize>,
        /// Positions that a sequence can have.
        context_length: usize,
    },
    /// The model was closed.
    #[error("the model is closed")]
    Closed,
    /// A step panicked, which is a fault of this crate.
    #[error("the engine failed in an earlier call: load the model again")]
    Failed,
    /// Another thread ran a step when this process was forked, and is not there to end it.
    #[error("the model was in use when this process was forked: load it again here")]
    Forked,
    /// No memory is free at the moment.
    #[error("{needed} pages of the KV cache are needed and {free} are free: other requests run")]
    Busy {
        /// Pages asked for.
        needed: usize,
        /// Pages not in use.
        free: usize,
    },
    /// The forward pass overflowed.
    #[error("the logits at position {position} are not finite numbers")]
    NotFinite {
        /// Position of the token that would have been drawn.
        position: usize,
    },
}

fn context_message(prompt_tokens: usize, max_tokens: Option<usize>, context_length: usize) -> String {
    match max_tokens {
        Some(max_tokens) => format!(
            "the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}: together more than the context of {context_length}"
        ),
        None => format!(
            "the prompt has {prompt_tokens} tokens and leaves no room in the context of {context_length}"
        ),
    }
}
