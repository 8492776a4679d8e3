//! Token ids to text, one id at a time.
//!
//! A token may end inside a character. Its first bytes are held back until they are whole, or until it is
//! certain that they never will be; so the pieces of text, joined, are what [`TokenTable::decode`] makes of
//! all ids at once.

use std::sync::Arc;

use super::token_table::{SpecialPolicy, TokenTable};
use super::{TokenId, TokenizerError};

/// Decodes one stream of token ids; bytes that are not UTF-8 become U+FFFD.
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    token_table: Arc<TokenTable>,
    special: SpecialPolicy,
    /// The beginning of a character: at most three bytes between two calls.
    held_back: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new(token_table: Arc<TokenTable>, special: SpecialPolicy) -> StreamDecoder {
        StreamDecoder { token_table, special, held_back: Vec::new() }
    }

    /// The text that has become certain with this token; often empty.
    ///
    /// # Errors
    /// An id outside the table; a special token under [`SpecialPolicy::Raise`]. The stream is then
    /// as it was before.
    pub fn push(&mut self, id: TokenId) -> Result<String, TokenizerError> {
        let bytes = self.token_table.token_bytes(id)?;
        if self.token_table.is_special(id) {
            let keeps = self.token_table.keeps(id, self.special)?;
            let mut text = self.finish();
            if keeps {
                text.push_str(&self.token_table.name(id));
            }
            return Ok(text);
        }
        self.held_back.extend_from_slice(bytes);
        let certain = self.held_back.len() - unfinished_length(&self.held_back);
        let text = String::from_utf8_lossy(&self.held_back[..certain]).into_owned();
        self.held_back.drain(..certain);
        Ok(text)
    }

    /// What is still held back, as it will never be whole. The decoder is then at the beginning of a stream
    /// again.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held_back)).into_owned()
    }
}

/// Number of bytes at the end that are the beginning of a character and may still become one.
fn unfinished_length(bytes: &[u8]) -> usize {
    let last_chunk = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    // A broken character at the very end is unfinished if more bytes could complete it: the library then
    // reports no length for the error.
    match std::str::from_utf8(last_chunk) {
        Err(error) if error.error_len().is_none() => last_chunk.len(),
        _ => 0,
    }
}
