//! Places where a text can be cut and counted in parts: between two characters that no pretoken has both of.
//!
//! A place is *safe* if the two characters around it prove that
//!
//! 1. every text that has them side by side has a boundary of pretokens between them, wherever it starts, and
//! 2. the pretokens up to there do not depend on whether the text goes on.
//!
//! A pretoken depends only on the text from its start, so what follows is tokenized as if it stood alone. Hence
//! `count(x + y) = count(x) + count(y)` for every x and y that meet at a safe place. Which pairs are safe is read
//! off the pattern (`pretokenizer.rs`). The first property:
//!
//! * a letter or digit, then white space, a digit or punctuation (not a mark). Only words have letters; behind their
//!   first character they have letters and marks and nothing else. A digit is a pretoken.
//! * a digit, then anything; anything, then a digit. A digit is a pretoken.
//! * a newline, then neither white space nor a slash. Newlines stand in white space, and in the tail of punctuation,
//!   which goes on with newlines and slashes only.
//!
//! The second property. Call c the end of a text that is cut there, and take a pretoken of the uncut text that
//! starts before c and ends at c or before. An alternative that fails on the uncut text fails on the cut one: none
//! gains a match by losing text, but `\s+(?!\S)`, at c. An alternative that matches looks at its match and at the
//! character behind it; alternative 1 gives characters back as well, up to the last of both cases, which does not move
//! when the upper case behind it is cut. So the pretokens stay, but for one case: `\s+(?!\S)` gives back the last
//! character of a run of white space that something follows, and keeps it where the text ends. Therefore no place
//! behind white space is safe, newlines apart, which alternative 5 keeps in either case.

use super::char_class::CharClass;

/// Whether the place between two characters is safe.
pub(crate) fn is_safe_between(before: char, behind: char) -> bool {
    use CharClass::{BothCases, Lower, Mark, Newline, Number, Space, Upper};
    match (CharClass::of(before), CharClass::of(behind)) {
        (Space, _) => false,
        (Number, _) | (_, Number) => true,
        (Upper | Lower | BothCases, class) => !matches!(class, Upper | Lower | BothCases | Mark),
        (Newline, class) => !class.is_space() && behind != '/',
        _ => false,
    }
}

/// Whether a place of a text, between two characters of it, is safe.
fn is_safe(text: &str, at: usize) -> bool {
    let (before, behind) = (text[..at].chars().next_back(), text[at..].chars().next());
    before.zip(behind).is_some_and(|(before, behind)| is_safe_between(before, behind))
}

/// The first safe place from `from` on and before `to`. Both are any numbers of bytes in the text.
pub(crate) fn first_safe(text: &str, from: usize, to: usize) -> Option<usize> {
    (from..to).find(|&at| text.is_char_boundary(at) && is_safe(text, at))
}

/// The last safe place from `from` on and before `to`.
pub(super) fn last_safe(text: &str, from: usize, to: usize) -> Option<usize> {
    (from..to).rev().find(|&at| text.is_char_boundary(at) && is_safe(text, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pretokenizer::Pretokens;
    use super::*;

    /// A character of each class, and those that the pattern names.
    const ALPHABET: [char; 13] =
        ['A', 'a', '中', '\u{301}', '1', ' ', '\t', '\n', '\r', '/', '+', 'é', '\u{3000}'];

    fn for_each_text(length: usize, each: &mut impl FnMut(&str)) {
        for number in 0..ALPHABET.len().pow(length as u32) {
            let digits = (0..length as u32).map(|place| number / ALPHABET.len().pow(place) % ALPHABET.len());
            each(&digits.map(|digit| ALPHABET[digit]).collect::<String>());
        }
    }

    fn check(text: &str) {
        let whole: Vec<&str> = Pretokens::new(text).collect();
        for at in (1..text.len()).filter(|&at| text.is_char_boundary(at) && is_safe(text, at)) {
            let (left, right) = text.split_at(at);
            let parts: Vec<&str> = Pretokens::new(left).chain(Pretokens::new(right)).collect();
            assert_eq!(whole, parts, "{text:?} at {at}");
        }
    }

    #[test]
    fn pretokens_are_those_of_the_parts() {
        for length in 2..=5 {
            for_each_text(length, &mut check);
        }
    }

    proptest! {
        #[test]
        fn pretokens_of_any_text_are_those_of_the_parts(
            text in "\\PC{0,12}|[a-cA-C中文\u{301}0-2²½ \t\u{3000}\r\n/.,<ʰǅ]{0,24}|(?s:.){0,12}"
        ) {
            check(&text);
        }
    }

    #[test]
    fn safe_places_are_found_in_both_directions() {
        let text = "été 1!\n中";
        let safe: Vec<usize> =
            (0..=text.len()).filter(|&at| first_safe(text, at, at + 1).is_some()).collect();
        assert_eq!(safe, [5, 7, 9]);
        assert_eq!((first_safe(text, 0, text.len()), last_safe(text, 0, text.len())), (Some(5), Some(9)));
        assert_eq!((first_safe(text, 6, 7), last_safe(text, 8, 9)), (None, None));
    }
}
