//! Token ids to bytes: all that decoding and the engine know of a vocabulary.
//!
//! A table comes from the embedded vocabulary or from anything else that can list the bytes of its tokens;
//! how text becomes ids is not its concern.
//!
//! Decoding follows the reference: special tokens cut the ids into runs, and each run is decoded on its own,
//! so that half a character before a special token and half a character behind it never join.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::tables::layout::COPIED;
use super::utf8::utf8_string;
use super::{TokenId, TokenizerError};

/// What decoding does with special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SpecialPolicy {
    /// Leaves them out.
    #[default]
    Skip,
    /// Writes their names.
    Keep,
    /// Refuses them.
    Raise,
}

/// What decoding does with bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Utf8Policy {
    /// Writes U+FFFD for each maximal part of a character, as Python's `errors="replace"` does.
    #[default]
    Replace,
    /// Refuses them.
    Strict,
}

/// Bytes of a token in most texts: room that is made at once.
const BYTES_PER_TOKEN: usize = 4;
/// Ids that are decoded together.
const BLOCK: usize = 64;

/// The bytes of every token.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenTable {
    /// The bytes of all tokens in the order of ids, and [`COPIED`] more; those of a special token are its name.
    bytes: Cow<'static, [u8]>,
    /// `[len + 1]` where each token starts in `bytes`, and the end.
    starts: Cow<'static, [u32]>,
    /// A bit for each token.
    special: Vec<u64>,
    /// All ids from here on are of ordinary tokens.
    ordinary_from: TokenId,
}

impl TokenTable {
    /// A table of `token_bytes[id]`, in which the tokens of `special_names` are special, with these names.
    ///
    /// # Errors
    /// A special token whose id is outside the table.
    pub fn new(
        token_bytes: &[impl AsRef<[u8]>],
        special_names: &BTreeMap<TokenId, String>,
    ) -> Result<TokenTable, TokenizerError> {
        if let Some((&id, _)) =
            special_names.last_key_value().filter(|&(&id, _)| id as usize >= token_bytes.len())
        {
            return Err(TokenizerError::UnknownId { id, vocab_size: token_bytes.len() });
        }
        let (mut bytes, mut starts) = (Vec::new(), Vec::with_capacity(token_bytes.len() + 1));
        starts.push(0);
        for (id, token) in (0..).zip(token_bytes) {
            bytes.extend_from_slice(special_names.get(&id).map_or(token.as_ref(), String::as_bytes));
            starts.push(u32::try_from(bytes.len()).map_err(|_| TokenizerError::TooManyBytes)?);
        }
        bytes.resize(bytes.len() + COPIED, 0);
        Ok(TokenTable::of_parts(Cow::Owned(bytes), Cow::Owned(starts), special_names.keys().copied()))
    }

    /// A table of the bytes of all tokens and [`COPIED`] more, where each starts and the last ends, and which of them are
    /// special.
    pub(super) fn of_parts(
        bytes: Cow<'static, [u8]>,
        starts: Cow<'static, [u32]>,
        special_ids: impl IntoIterator<Item = TokenId>,
    ) -> TokenTable {
        let (mut special, mut ordinary_from) = (vec![0; starts.len().div_ceil(64)], 0);
        for id in special_ids {
            special[id as usize / 64] |= 1 << (id % 64);
            ordinary_from = ordinary_from.max(id + 1);
        }
        TokenTable { bytes, starts, special, ordinary_from }
    }

    /// Number of tokens; their ids are the numbers below.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a token; those of a special token are its name.
    ///
    /// # Errors
    /// An id outside the table.
    pub fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        let index = id as usize;
        if index >= self.len() {
            return Err(TokenizerError::UnknownId { id, vocab_size: self.len() });
        }
        Ok(&self.bytes[self.starts[index] as usize..self.starts[index + 1] as usize])
    }

    /// The bytes of the tokens from an id on, in the order of ids.
    pub(super) fn tokens_from(&self, first: TokenId) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts[first as usize..].windows(2);
        ends.map(|ends| &self.bytes[ends[0] as usize..ends[1] as usize])
    }

    /// Whether a token is special; an id outside the table is not.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.special.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }

    /// The bytes of a token as text; the name, if it is special. Empty if there is no such token.
    pub fn name(&self, id: TokenId) -> Cow<'_, str> {
        String::from_utf8_lossy(self.token_bytes(id).unwrap_or_default())
    }

    /// The special tokens and their names, in the order of ids.
    pub fn special_tokens(&self) -> impl Iterator<Item = (TokenId, Cow<'_, str>)> {
        (0..self.len() as TokenId).filter(|&id| self.is_special(id)).map(|id| (id, self.name(id)))
    }

    /// Ids to bytes.
    ///
    /// # Errors
    /// An id outside the table; a special token under [`SpecialPolicy::Raise`].
    pub fn decode_bytes(&self, ids: &[TokenId], special: SpecialPolicy) -> Result<Vec<u8>, TokenizerError> {
        let mut decoded = Vec::with_capacity(ids.len() * BYTES_PER_TOKEN);
        let mut rest = &ids[self.append_ordinary(ids, &mut decoded)..];
        while let Some((&id, behind)) = rest.split_first() {
            let name = self.token_bytes(id)?;
            if self.keeps(id, special)? {
                decoded.extend_from_slice(name);
            }
            rest = &behind[self.append_ordinary(behind, &mut decoded)..];
        }
        Ok(decoded)
    }

    /// Appends the bytes of the ordinary tokens that the ids start with; returns how many these are.
    ///
    /// Blocks of ids are worked on together: first where their bytes are, then the bytes, [`COPIED`] at a time, of which
    /// the next token overwrites what is too much. Few tokens are longer.
    fn append_ordinary(&self, ids: &[TokenId], decoded: &mut Vec<u8>) -> usize {
        for (number, block) in ids.chunks(BLOCK).enumerate() {
            let (mut spans, mut total, mut count) = ([[0; 2]; BLOCK], 0, 0);
            for (span, &id) in spans.iter_mut().zip(block).take_while(|&(_, &id)| self.is_ordinary(id)) {
                *span = [self.starts[id as usize], self.starts[id as usize + 1]].map(|start| start as usize);
                total += span[1] - span[0];
                count += 1;
            }
            let mut at = decoded.len();
            decoded.resize(at + total + COPIED, 0);
            for &[start, end] in &spans[..count] {
                decoded[at..at + COPIED].copy_from_slice(&self.bytes[start..start + COPIED]);
                if end - start > COPIED {
                    decoded[at..at + end - start].copy_from_slice(&self.bytes[start..end]);
                }
                at += end - start;
            }
            decoded.truncate(at);
            if count < block.len() {
                return number * BLOCK + count;
            }
        }
        ids.len()
    }

    #[inline]
    fn is_ordinary(&self, id: TokenId) -> bool {
        (id as usize) < self.len() && (id >= self.ordinary_from || !self.is_special(id))
    }

    /// Ids to text.
    ///
    /// # Errors
    /// An id outside the table; a special token under [`SpecialPolicy::Raise`]; bytes that are not
    /// UTF-8 under [`Utf8Policy::Strict`].
    pub fn decode(
        &self,
        ids: &[TokenId],
        special: SpecialPolicy,
        utf8: Utf8Policy,
    ) -> Result<String, TokenizerError> {
        let (mut decoded, mut run_start) = (String::new(), 0);
        // Most often there is one run.
        let mut run = Vec::with_capacity(ids.len() * BYTES_PER_TOKEN);
        loop {
            let special_at = run_start + self.append_ordinary(&ids[run_start..], &mut run);
            decode_run(&mut run, run_start, utf8, &mut decoded)?;
            let Some(&id) = ids.get(special_at) else { return Ok(decoded) };
            let name = self.token_bytes(id)?;
            if self.keeps(id, special)? {
                decoded.push_str(&String::from_utf8_lossy(name));
            }
            run_start = special_at + 1;
        }
    }

    /// Whether the policy writes the special token `id`.
    pub(super) fn keeps(&self, id: TokenId, policy: SpecialPolicy) -> Result<bool, TokenizerError> {
        match policy {
            SpecialPolicy::Skip => Ok(false),
            SpecialPolicy::Keep => Ok(true),
            SpecialPolicy::Raise => {
                Err(TokenizerError::SpecialToken { id, name: self.name(id).into_owned() })
            }
        }
    }
}

/// Decodes the bytes of a run of tokens, the first of which stands at `run_start`; leaves the run empty.
fn decode_run(
    run: &mut Vec<u8>,
    run_start: usize,
    utf8: Utf8Policy,
    decoded: &mut String,
) -> Result<(), TokenizerError> {
    match utf8_string(std::mem::take(run)) {
        // Most often the whole: nothing is copied.
        Ok(text) if decoded.is_empty() => *decoded = text,
        Ok(text) => decoded.push_str(&text),
        Err(error) if utf8 == Utf8Policy::Replace => {
            decoded.push_str(&String::from_utf8_lossy(error.as_bytes()));
        }
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            return Err(TokenizerError::UndecodableIds { run_start, offset });
        }
    }
    Ok(())
}
