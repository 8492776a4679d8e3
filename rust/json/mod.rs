//! Python's JSON: what `json.loads` reads and `json.dumps(value, ensure_ascii=False)` writes, to the character.
//!
//! Prompts hold JSON as the reference's Python writes it, and the JSON of others has Python's extensions: `NaN`,
//! integers of any size, `1e+16`, the last value of a key that is there twice. `parse` reads, `write` writes,
//! `numbers` has the forms of numbers. Bytes, files and other encodings than UTF-8 are not its business.
//!
//! It differs from Python where a Rust `str` and a thread of unknown stack must: a half of a surrogate pair
//! without the other becomes U+FFFD, and the depth has a limit of its own ([`MAX_DEPTH`]).

mod numbers;
mod parse;
mod write;

pub use parse::parse;
pub use write::{write, write_string};

/// Lists and objects within each other that [`parse`] accepts.
///
/// Python's own limit are the 1,000 frames of its stack, of which a program has used some before `json.loads`
/// starts: 993 is the most that it has ever left. Within the limit, values can be dropped, cloned, compared and
/// printed, which recurses, on a stack of 512 kB.
pub const MAX_DEPTH: usize = 990;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of any size, in decimal digits as Python prints them: `0`, `-12`.
    Int(String),
    /// Any other number, `NaN` and `Infinity` among them.
    Float(f64),
    /// A string.
    String(String),
    /// A list.
    List(Vec<Json>),
    /// An object: keys in the order in which they came first, each once.
    Object(Vec<(String, Json)>),
}

/// What can be wrong with a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// What Python reports as a `JSONDecodeError`.
    #[error("{message} at character {offset}")]
    Syntax {
        /// Python's message, in lower case.
        message: &'static str,
        /// Where, in characters from the start: Python's `pos`.
        offset: usize,
    },
    /// Lists and objects are nested too deep; Python's `RecursionError`.
    #[error("JSON is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// An integer that Python does not convert; its `ValueError`.
    #[error("an integer in JSON has more than {} digits", numbers::MAX_INT_DIGITS)]
    HugeInteger,
}

/// JSON's white space.
pub(crate) fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Bytes of a string before the first one that is a quote, a backslash or a control character.
fn plain_length(bytes: &[u8]) -> usize {
    const LOWEST: u64 = 0x0101_0101_0101_0101;
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // The highest bit of each byte below a limit. A borrow makes higher bytes wrong, never those up to the first.
    let below = |word: u64, limit: u8| word.wrapping_sub(LOWEST * u64::from(limit)) & !word & (LOWEST << 7);
    let equal = |word: u64, byte: u8| below(word ^ (LOWEST * u64::from(byte)), 1);

    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = below(word, b' ') | equal(word, b'"') | equal(word, b'\\');
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let plain_rest = rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len());
    words.len() * 8 + plain_rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_run_ends_at_the_first_special_byte(
            bytes in proptest::collection::vec(
                prop_oneof![4 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0..33_u8, 20 => 32..=255_u8], 0..60,
            ),
        ) {
            let special = bytes.iter().position(|&byte| matches!(byte, 0..32 | b'"' | b'\\'));
            prop_assert_eq!(plain_length(&bytes), special.unwrap_or(bytes.len()));
        }
    }

    #[test]
    fn whole_messages() {
        let messages = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(messages("[1, 2"), "expecting ',' delimiter at character 5");
        assert_eq!(messages(&"[".repeat(100_000)), "JSON is nested deeper than 990 levels");
        assert_eq!(messages(&"9".repeat(4_301)), "an integer in JSON has more than 4300 digits");
    }
}
