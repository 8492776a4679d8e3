//! What a prompt can become: token ids, their number, or a text to read. The template writes to one of these and does
//! not know which.

use super::PromptError;
use crate::tokenizer::special_tokens::special_token_name;
use crate::tokenizer::{TokenId, Tokenizer};

/// Takes the segments of a prompt in order. Each text is encoded on its own and never parsed for special tokens: only
/// `control` makes one.
pub(super) trait Sink {
    /// A special token of Mistral Nemo.
    fn control(&mut self, id: TokenId) -> Result<(), PromptError>;
    /// A text between two special tokens.
    fn text(&mut self, text: &str);
}

/// Token ids.
pub(super) struct Ids<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) ids: Vec<TokenId>,
}

impl Sink for Ids<'_> {
    fn control(&mut self, id: TokenId) -> Result<(), PromptError> {
        self.ids.push(control_token(self.tokenizer, id)?);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.tokenizer.encode_into(text, &mut self.ids);
    }
}

/// The number of token ids; they are not built.
pub(super) struct Count<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) count: usize,
}

impl Sink for Count<'_> {
    fn control(&mut self, id: TokenId) -> Result<(), PromptError> {
        control_token(self.tokenizer, id)?;
        self.count += 1;
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.count += self.tokenizer.count(text);
    }
}

/// A text in which special tokens have their names.
pub(super) struct Rendered<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) text: String,
}

impl Sink for Rendered<'_> {
    fn control(&mut self, id: TokenId) -> Result<(), PromptError> {
        let id = control_token(self.tokenizer, id)?;
        self.text.push_str(&self.tokenizer.token_table().name(id));
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

/// The tokenizer's own id of a special token of Mistral Nemo: the one of the same name.
pub(super) fn control_token(tokenizer: &Tokenizer, id: TokenId) -> Result<TokenId, PromptError> {
    if tokenizer.is_embedded() {
        return Ok(id);
    }
    let name = special_token_name(id);
    let missing = || PromptError::unsupported(format!("the vocabulary has no special token {name}"));
    tokenizer.special_token_id(name).ok_or_else(missing)
}
