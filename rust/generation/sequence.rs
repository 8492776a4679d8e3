//! One choice of a request: its tokens, its pages of the KV cache, and what ends it.

use std::sync::Arc;

use super::sampler::Sampling;
use super::stop::StopStrings;
use super::{GenerationError, RequestId};
use crate::tokenizer::{SpecialPolicy, StreamDecoder, TokenId, TokenTable};

/// What ends an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopping {
    /// Tokens at most; `None` fills the context.
    pub max_tokens: Option<usize>,
    /// Strings before which the text is cut, at most four.
    pub stop: Vec<String>,
    /// Tokens that end it, besides the model's own.
    pub stop_token_ids: Vec<TokenId>,
    /// Go on after the model's own end tokens.
    pub ignore_eos: bool,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
}

/// What one token brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The token.
    pub token_id: TokenId,
    /// Text that became certain; empty while half a character or the beginning of a stop string is held back.
    pub text: String,
    /// Set with the last token.
    pub finish_reason: Option<FinishReason>,
}

/// A choice that waits or runs.
pub(super) struct Sequence {
    pub(super) request: RequestId,
    pub(super) choice: usize,
    /// Prompt and answer so far.
    tokens: Vec<TokenId>,
    prompt_tokens: usize,
    /// Positions whose keys and values are in the cache.
    computed: usize,
    /// Pages for all positions it can reach, taken when it starts.
    pub(super) pages: Vec<u32>,
    /// Positions it can reach.
    pub(super) longest: usize,
    sampling: Sampling,
    ends: Vec<TokenId>,
    stop_strings: StopStrings,
    decoder: Option<StreamDecoder>,
}

impl Sequence {
    /// `longest` counts prompt and answer; `ends` are all tokens that end it.
    pub(super) fn new(
        (request, choice): (RequestId, usize),
        prompt: Vec<TokenId>,
        longest: usize,
        sampling: Sampling,
        (ends, stop_strings): (Vec<TokenId>, Vec<String>),
        tokens: Option<&Arc<TokenTable>>,
    ) -> Sequence {
        Sequence {
            request,
            choice,
            prompt_tokens: prompt.len(),
            tokens: prompt,
            computed: 0,
            pages: Vec::new(),
            longest,
            sampling,
            ends,
            stop_strings: StopStrings::new(stop_strings),
            decoder: tokens.map(|table| StreamDecoder::new(Arc::clone(table), SpecialPolicy::Skip)),
        }
    }

    /// Tokens whose keys and values are still to be computed: at least one while it runs.
    pub(super) fn pending(&self) -> &[TokenId] {
        &self.tokens[self.computed..]
    }

    /// Whether what is pending is of the prompt; otherwise it is the one token that was drawn last.
    pub(super) fn reads_prompt(&self) -> bool {
        self.computed < self.prompt_tokens
    }

    /// Position of the first pending token.
    pub(super) fn position(&self) -> usize {
        self.computed
    }

    /// Notes that the first `count` pending tokens are in the cache; true if that were all.
    pub(super) fn advance(&mut self, count: usize) -> bool {
        self.computed += count;
        self.computed == self.tokens.len()
    }

    /// Draws the next token from the logits of the last one.
    pub(super) fn extend(&mut self, logits: &[f32]) -> Result<Piece, GenerationError> {
        let position = self.tokens.len();
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(GenerationError::NotFinite { position });
        }
        let token_id = self.sampling.choose(logits, self.choice, position);
        self.tokens.push(token_id);
        let ended = self.ends.contains(&token_id);
        // The text of an end token is not part of the answer, whether it is a special token or not.
        let decoded = match &mut self.decoder {
            // The model's head may have more rows than the tokenizer has tokens: such an id has no text.
            Some(decoder) if !ended => decoder.push(token_id).unwrap_or_default(),
            _ => String::new(),
        };
        let (mut text, stopped) = self.stop_strings.push(&decoded);
        let mut finish_reason = if ended || stopped {
            Some(FinishReason::Stop)
        } else {
            (self.tokens.len() == self.longest).then_some(FinishReason::Length)
        };
        if finish_reason.is_some() && !stopped {
            let rest = self.decoder.as_mut().map_or_else(String::new, StreamDecoder::finish);
            let (released, stopped) = self.stop_strings.push(&rest);
            text.push_str(&released);
            if stopped {
                finish_reason = Some(FinishReason::Stop);
            } else {
                text.push_str(&self.stop_strings.finish());
            }
        }
        Ok(Piece { token_id, text, finish_reason })
    }
}
