//! Token ids with the part of the text that each stands for.

use super::{TokenId, Tokenizer};

/// What the offsets of a span count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OffsetUnit {
    /// Characters. The span of a token is the smallest that covers it, so that two tokens of one character share it.
    #[default]
    Char,
    /// Bytes of UTF-8. The spans are a partition of the text.
    Byte,
}

impl Tokenizer {
    /// The token ids of a text, without special tokens, and where each starts and ends.
    ///
    /// ```
    /// # use nemo_fast::tokenizer::{OffsetUnit, Tokenizer};
    /// let tokenizer = Tokenizer::embedded();
    /// let (ids, spans) = tokenizer.encode_with_offsets("é!", OffsetUnit::Char);
    /// assert_eq!((ids.len(), spans), (2, vec![[0, 1], [1, 2]]));
    /// ```
    pub fn encode_with_offsets(&self, text: &str, unit: OffsetUnit) -> (Vec<TokenId>, Vec<[usize; 2]>) {
        let ids = self.encode(text);
        let bytes = text.as_bytes();
        let is_start = |byte: &u8| byte & 0xC0 != 0x80;
        let (mut at, mut characters) = (0, 0);
        let mut spans = Vec::with_capacity(ids.len());
        for &id in &ids {
            let end = at + self.token_table().token_bytes(id).map_or(0, <[u8]>::len);
            spans.push(match unit {
                OffsetUnit::Byte => [at, end],
                OffsetUnit::Char => {
                    let begun = usize::from(!is_start(&bytes[at]));
                    let first = characters - begun;
                    characters += bytes[at..end].iter().filter(|byte| is_start(byte)).count();
                    [first, characters]
                }
            });
            at = end;
        }
        (ids, spans)
    }
}
