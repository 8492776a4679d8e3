//! Where a text may be cut so that its parts, encoded one by one, have the ids of the whole.
//!
//! Such a cut stands between two characters:
//!
//! 1. behind a number;
//! 2. behind a letter, before what is neither letter nor mark;
//! 3. behind a newline, before a letter or a number.
//!
//! It is a boundary of pretokens. A pretoken with a number is that number alone; letters stand in words, behind which
//! come only letters and marks; a newline stands at the end of punctuation or in white space, where no letter and no
//! number follows.
//!
//! The part before it has the pretokens that it has in the whole. No alternative of the pattern looks beyond its match
//! but `\s+(?!\S)`, which looks at the character behind a run of white space. With 1 and 2 that character is in the
//! part. With 3 a run that ends in the newline is taken by `\s*[\r\n]+` before that alternative is tried. All other
//! runs of characters end at the cut, in the whole by the class of the character behind it, in the part by its end;
//! and `+` asks for a lower case letter behind upper case ones, which the character behind a cut never is.
//!
//! The part behind it has them because the pattern has no look-behind.

use super::char_class::CharClass;

/// Bytes of the longest character.
const LONGEST: usize = 4;

/// Whether a text may be cut between these characters.
pub(super) fn is_cut(before: char, behind: char) -> bool {
    let behind = || CharClass::of(behind);
    match CharClass::of(before) {
        CharClass::Number => true,
        CharClass::Upper | CharClass::Lower | CharClass::BothCases => {
            matches!(behind(), CharClass::Number | CharClass::Space | CharClass::Newline | CharClass::Other)
        }
        CharClass::Newline => {
            matches!(behind(), CharClass::Upper | CharClass::Lower | CharClass::BothCases | CharClass::Number)
        }
        CharClass::Mark | CharClass::Space | CharClass::Other => false,
    }
}

/// The first cut at byte `from` or behind it, if it is inside the text.
pub(super) fn first_cut(text: &str, from: usize) -> Option<usize> {
    let from = (from..text.len()).find(|&at| text.is_char_boundary(at))?;
    let mut before = text[..from].chars().next_back();
    for (at, behind) in text[from..].char_indices() {
        if before.is_some_and(|before| is_cut(before, behind)) {
            return Some(from + at);
        }
        before = Some(behind);
    }
    None
}

/// The last cut inside the text.
pub(super) fn last_cut(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().rev();
    let (mut at, mut behind) = characters.next()?;
    for (start, before) in characters {
        if is_cut(before, behind) {
            return Some(at);
        }
        (at, behind) = (start, before);
    }
    None
}

/// A cut at `from` or behind it in bytes that may or may not be UTF-8; where they are, it is one of the text. It stands
/// behind an ASCII character, so that no character is cut in two.
pub(super) fn first_cut_of_bytes(bytes: &[u8], from: usize) -> Option<usize> {
    (from.max(1)..bytes.len()).find(|&at| {
        let before = bytes[at - 1];
        let behind = || {
            let character = &bytes[at..bytes.len().min(at + LONGEST)];
            character.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next())
        };
        (before.is_ascii_alphanumeric() || matches!(before, b'\r' | b'\n'))
            && behind().is_some_and(|behind| is_cut(char::from(before), behind))
    })
}

/// A cut at `from` or behind it, between units of Latin-1, UTF-16 or UTF-32. It never stands beside a surrogate.
pub(super) fn first_cut_of_units<U: Copy + Into<u32>>(units: &[U], from: usize) -> Option<usize> {
    (from.max(1)..units.len()).find(|&at| {
        match (char::from_u32(units[at - 1].into()), char::from_u32(units[at].into())) {
            (Some(before), Some(behind)) => is_cut(before, behind),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::pretokenizer::Pretokens;
    use super::*;
    use proptest::prelude::*;

    fn pieces(text: &str) -> Vec<&str> {
        Pretokens::new(text).collect()
    }

    /// Every cut is where two pretokens of the whole meet, and changes none of them.
    fn check_cuts(text: &str) {
        let whole = pieces(text);
        let mut characters = text.char_indices().peekable();
        while let Some((_, before)) = characters.next() {
            if let Some(&(at, behind)) = characters.peek()
                && is_cut(before, behind)
            {
                let parts = [pieces(&text[..at]), pieces(&text[at..])].concat();
                assert_eq!(parts, whole, "{text:?} cut at {at}");
                assert_eq!(first_cut(text, at), Some(at));
                assert!(last_cut(text).is_some_and(|last| last >= at));
            }
        }
    }

    #[test]
    fn every_text_of_five_characters() {
        // One or two of each class; all that the alternatives distinguish.
        let characters = ['A', 'b', '中', '\u{301}', '1', ' ', '\t', '\n', '/', '.'];
        for number in 0..characters.len().pow(5) {
            let digit = |place: u32| characters[number / characters.len().pow(place) % characters.len()];
            check_cuts(&(0..5).map(digit).collect::<String>());
        }
    }

    #[test]
    fn cuts_of_bytes_and_units_are_cuts_of_the_text() {
        let text = "é1 naïve\n中文 \u{301}x\r\n\u{1d400}b/\n/a9\u{301}";
        for from in 0..=text.len() {
            if let Some(at) = first_cut_of_bytes(text.as_bytes(), from) {
                assert!(at >= from && first_cut(text, at) == Some(at));
            }
        }
        let units: Vec<u16> = text.encode_utf16().collect();
        for from in 0..=units.len() {
            if let Some(at) = first_cut_of_units(&units, from) {
                let before = String::from_utf16(&units[..at]).unwrap();
                assert!(at >= from && first_cut(text, before.len()) == Some(before.len()));
            }
        }
        // The pair is a letter, its first half alone would be none.
        assert_eq!(first_cut_of_units(&[0x61, 0xd835, 0xdc00, 0x62_u16], 0), None);
        assert_eq!(first_cut_of_bytes(b"\xffa\xff", 0), None);
        assert_eq!(first_cut_of_bytes(b"\xffa \xff", 0), Some(2));
        assert_eq!((first_cut("", 0), last_cut(""), last_cut("a")), (None, None, None));
    }

    proptest! {
        #[test]
        fn of_any_text(text in "\\PC{0,12}|[a-cA-C中文\u{301}0-2²½ \t\u{3000}\r\n/.,<ʰǅ]{0,24}|(?s:.){0,12}") {
            check_cuts(&text);
        }
    }
}
