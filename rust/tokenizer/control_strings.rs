//! Names of special tokens that stand in a text: what they mean is the caller's choice.
//!
//! Text is text, unless the caller says otherwise: nothing that a user writes can become a special token.

use super::{TokenId, Tokenizer, TokenizerError};

/// What `<s>`, `[INST]` and the like mean in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ControlStrings {
    /// Text, as in the reference.
    #[default]
    Text,
    /// The special token of that name.
    Parse,
    /// An error.
    Forbid,
}

impl Tokenizer {
    /// Appends the token ids of a text in which control strings have the given meaning. Texts between special
    /// tokens are encoded one by one.
    ///
    /// # Errors
    /// [`TokenizerError::ControlString`] with [`ControlStrings::Forbid`].
    pub fn encode_with(
        &self,
        text: &str,
        meaning: ControlStrings,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        let mut rest = text;
        while meaning != ControlStrings::Text
            && let Some((start, name, id)) = self.vocabulary.special_names().find(rest)
        {
            if meaning == ControlStrings::Forbid {
                return Err(TokenizerError::ControlString { name: name.to_owned(), offset: start });
            }
            self.encode_into(&rest[..start], ids);
            ids.push(id);
            rest = &rest[start + name.len()..];
        }
        self.encode_into(rest, ids);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::special_tokens::special_token_names;

    fn ids(text: &str, meaning: ControlStrings) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = Vec::new();
        Tokenizer::embedded().encode_with(text, meaning, &mut ids).map(|()| ids)
    }

    #[test]
    fn every_name_is_found_among_text() {
        let tokenizer = Tokenizer::embedded();
        for (id, name) in special_token_names().enumerate() {
            let text = format!("<[a{name}<é");
            let expected = [tokenizer.encode("<[a"), vec![id as TokenId], tokenizer.encode("<é")].concat();
            assert_eq!(ids(&text, ControlStrings::Parse).unwrap(), expected, "{name}");
            assert_eq!(ids(&text, ControlStrings::Text).unwrap(), tokenizer.encode(&text));
            let error = ids(&text, ControlStrings::Forbid).unwrap_err();
            assert_eq!(error, TokenizerError::ControlString { name, offset: 3 });
        }
    }

    #[test]
    fn what_only_looks_like_a_name_is_text() {
        for text in
            ["<SPECIAL_19>", "<SPECIAL_020>", "<SPECIAL_1000>", "<S>", "[inst]", "[INST", "< s>", "<<s>"]
        {
            let vocabulary = Tokenizer::embedded().vocabulary;
            let found = vocabulary.special_names().find(text).map(|(start, _, _)| start);
            assert_eq!(found, (text == "<<s>").then_some(1), "{text}");
        }
        assert_eq!(ids("<s><s>", ControlStrings::Parse).unwrap(), [1, 1]);
    }
}
