//! Text to pretokens: the pieces that are merged one by one. No token reaches across two of them.
//!
//! The pieces are the matches of the pattern of `tekken_240718.json`, which cover every text without a gap:
//!
//! ```text
//! 1  [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+   … lower case
//! 2  [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*   upper case …
//! 3  \p{N}                                                                          one digit
//! 4   ?[^\s\p{L}\p{N}]+[\r\n/]*                                                     punctuation
//! 5  \s*[\r\n]+                                                                     … last newline
//! 6  \s+(?!\S)                                                                      space but its last
//! 7  \s+                                                                            space
//! ```
//!
//! The first alternative that matches wins, as in any backtracking engine. The grammar is written out by hand
//! because a backtracking engine gives up on long runs; here each character is looked at a bounded number of
//! times: an alternative that scans a run and fails is followed by one that takes this run. The pattern has
//! no look-behind, so a piece depends only on the text from its start.

use super::char_class::CharClass;

/// The pattern as a Tekken file has it.
pub(super) const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The pretokens of a text, in order; joined they are the text.
pub(super) struct Pretokens<'a> {
    rest: &'a str,
}

impl<'a> Pretokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Pretokens { rest: text }
    }
}

impl<'a> Iterator for Pretokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.rest.chars().next()?;
        let (piece, rest) = self.rest.split_at(pretoken_length(self.rest, first));
        self.rest = rest;
        Some(piece)
    }
}

/// Bytes of the pretoken at the start of `text`, whose first character is `first`.
fn pretoken_length(text: &str, first: char) -> usize {
    let class = CharClass::of(first);
    if class == CharClass::Number {
        return first.len_utf8();
    }
    let prefix = if class.is_word_prefix() { first.len_utf8() } else { 0 };
    // `?` is greedy: each of the first two alternatives is tried with its prefix, then without.
    let word = |alternative: fn(&str) -> Option<usize>| {
        let with_prefix =
            if prefix > 0 { alternative(&text[prefix..]).map(|length| prefix + length) } else { None };
        with_prefix.or_else(|| alternative(text))
    };
    word(lower_word)
        .or_else(|| word(upper_word))
        .or_else(|| punctuation(text))
        .unwrap_or_else(|| white_space(text))
}

/// Alternative 1 behind its prefix: `[upper part]*[lower part]+`.
fn lower_word(text: &str) -> Option<usize> {
    let upper = run_length(text, CharClass::is_upper_part);
    if text[upper..].chars().next().is_some_and(|next| CharClass::of(next) == CharClass::Lower) {
        return Some(upper + run_length(&text[upper..], CharClass::is_lower_part));
    }
    // `*` gives characters back until one is left that `+` can take: the last of both cases.
    text[..upper]
        .char_indices()
        .rev()
        .find(|&(_, character)| CharClass::of(character).is_lower_part())
        .map(|(start, character)| start + character.len_utf8())
}

/// Alternative 2 behind its prefix: `[upper part]+[lower part]*`.
fn upper_word(text: &str) -> Option<usize> {
    let upper = run_length(text, CharClass::is_upper_part);
    (upper > 0).then(|| upper + run_length(&text[upper..], CharClass::is_lower_part))
}

/// Alternative 4: ` ?[^\s\p{L}\p{N}]+[\r\n/]*`.
fn punctuation(text: &str) -> Option<usize> {
    let space = usize::from(text.starts_with(' '));
    let marks = run_length(&text[space..], CharClass::is_punctuation);
    if marks == 0 {
        return None;
    }
    let end = space + marks;
    let tail = text[end..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n' | b'/')).count();
    Some(end + tail)
}

/// Alternatives 5 to 7. No other is left for what comes here, so that `text` starts with white space.
fn white_space(text: &str) -> usize {
    let run = &text[..run_length(text, CharClass::is_space)];
    if let Some(newline) = run.rfind(['\r', '\n']) {
        return newline + 1;
    }
    let last = run.chars().next_back().map_or(0, char::len_utf8);
    if run.len() == text.len() || run.len() == last { run.len() } else { run.len() - last }
}

/// Bytes of the longest run of characters of a class at the start of `text`.
fn run_length(text: &str, in_class: fn(CharClass) -> bool) -> usize {
    text.find(|character| !in_class(CharClass::of(character))).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        Pretokens::new(text).collect()
    }

    #[test]
    fn words() {
        assert_eq!(pieces("HTTPServer don't ABC"), ["HTTPServer", " don", "'t", " ABC"]);
        assert_eq!(pieces("_x\u{301}Y"), ["_x\u{301}", "Y"]);
        // A letter of both cases ends the lower part that the upper run gives back.
        assert_eq!(pieces("A\u{4e00}BC"), ["A\u{4e00}", "BC"]);
        // A mark leads a word like punctuation does, and is a word like a letter.
        assert_eq!(pieces("\u{301}a\u{301}\u{302}B"), ["\u{301}a\u{301}\u{302}", "B"]);
    }

    #[test]
    fn numbers_are_single_digits() {
        assert_eq!(pieces("x12 ½Ⅻ"), ["x", "1", "2", " ", "½", "Ⅻ"]);
    }

    #[test]
    fn punctuation_takes_newlines_and_slashes() {
        assert_eq!(pieces(" +=/\r\n/ //x"), [" +=/\r\n/", " //", "x"]);
        assert_eq!(pieces("\t+"), ["\t", "+"]);
    }

    #[test]
    fn white_space_leaves_its_last_character() {
        assert_eq!(pieces("a  \n \n  b   "), ["a", "  \n \n", " ", " b", "   "]);
        assert_eq!(pieces("\u{3000}\u{3000}1 2"), ["\u{3000}", "\u{3000}", "1", " ", "2"]);
    }
}
