//! Fill-in-the-middle prompts: what stands behind the gap, then what stands before it.

use super::PromptError;
use super::sinks::{Ids, Sink};
use crate::tokenizer::special_tokens::{BOS, PREFIX, SUFFIX};
use crate::tokenizer::{TokenId, Tokenizer};

/// The reference encodes a suffix behind this character and drops the first two ids, which are the character's unless
/// the suffix goes on the same pretoken.
const MARK: &str = "☺";
const MARK_IDS: usize = 2;

/// The token ids of `<s>[SUFFIX]suffix[PREFIX]prompt`.
///
/// ```
/// use nemo_fast::prompt::encode_fim;
/// use nemo_fast::tokenizer::Tokenizer;
///
/// let ids = encode_fim(&Tokenizer::embedded(), "def f(", "return 1")?;
/// assert_eq!(ids, [1, 16, 3004, 1032, 1049, 14, 3149, 1284, 1040]);
/// # Ok::<(), nemo_fast::prompt::PromptError>(())
/// ```
///
/// # Errors
/// A vocabulary without the special tokens.
pub fn encode_fim(tokenizer: &Tokenizer, prompt: &str, suffix: &str) -> Result<Vec<TokenId>, PromptError> {
    let mut sink = Ids { tokenizer, ids: Vec::new() };
    sink.control(BOS)?;
    sink.control(SUFFIX)?;
    if !suffix.is_empty() {
        let marked = tokenizer.encode(&format!("{MARK}{suffix}"));
        sink.ids.extend(marked.iter().skip(MARK_IDS));
    }
    sink.control(PREFIX)?;
    sink.text(prompt);
    Ok(sink.ids)
}
