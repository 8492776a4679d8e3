//! The classes of characters that the split pattern tells apart, and the class of a character.
//!
//! The pattern names categories of Unicode (`\p{Lu}`, `\p{M}`, …); what it does with a character depends on
//! no more than the class below. The table of classes is pinned to Unicode 16, as the reference's is; it is
//! not the standard library's, which moves on with the compiler.

use super::unicode_classes::RUNS;

/// What the split pattern sees in a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CharClass {
    /// `\p{Lu}\p{Lt}`: upper and title case.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lm}\p{Lo}`: letters without case, which the pattern takes for either.
    BothCases,
    /// `\p{M}`: combining marks, which the pattern takes for letters inside a word and for punctuation
    /// outside.
    Mark,
    /// `\p{N}`.
    Number,
    /// `\s` without `\r` and `\n`.
    Space,
    /// `\r` and `\n`.
    Newline,
    /// Everything else: punctuation, symbols, controls, code points without a character.
    Other,
}

static ASCII: [CharClass; 128] = {
    let mut classes = [CharClass::Other; 128];
    let (mut code_point, mut run) = (0, 0);
    while code_point < classes.len() {
        if RUNS[run + 1].0 as usize == code_point {
            run += 1;
        }
        classes[code_point] = RUNS[run].1;
        code_point += 1;
    }
    classes
};

impl CharClass {
    pub(super) fn of(character: char) -> CharClass {
        let code_point = character as u32;
        match ASCII.get(code_point as usize) {
            Some(&class) => class,
            // The first run starts at 0, so that there always is one before the partition point.
            None => RUNS[RUNS.partition_point(|&(start, _)| start <= code_point) - 1].1,
        }
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
    pub(super) fn is_upper_part(self) -> bool {
        matches!(self, CharClass::Upper | CharClass::BothCases | CharClass::Mark)
    }

    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
    pub(super) fn is_lower_part(self) -> bool {
        matches!(self, CharClass::Lower | CharClass::BothCases | CharClass::Mark)
    }

    /// `[^\r\n\p{L}\p{N}]`
    pub(super) fn is_word_prefix(self) -> bool {
        matches!(self, CharClass::Mark | CharClass::Space | CharClass::Other)
    }

    /// `[^\s\p{L}\p{N}]`
    pub(super) fn is_punctuation(self) -> bool {
        matches!(self, CharClass::Mark | CharClass::Other)
    }

    /// `\s`
    pub(super) fn is_space(self) -> bool {
        matches!(self, CharClass::Space | CharClass::Newline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_ascend_and_differ_from_their_neighbours() {
        assert_eq!(RUNS[0].0, 0);
        assert!(RUNS.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
    }

    #[test]
    fn the_ascii_table_is_the_runs() {
        for code_point in 0..128_u32 {
            let run = RUNS.iter().rev().find(|(start, _)| *start <= code_point).unwrap();
            assert_eq!(ASCII[code_point as usize], run.1, "U+{code_point:04X}");
        }
    }

    #[test]
    fn letters_of_unicode_17_are_not_letters() {
        for character in ['\u{323B0}', '\u{10940}', '\u{A7CE}'] {
            assert_eq!(CharClass::of(character), CharClass::Other);
        }
        // In Unicode 16 for the first time.
        assert_eq!(CharClass::of('\u{A7DA}'), CharClass::Upper);
    }

    #[test]
    fn white_space_is_that_of_the_pattern() {
        assert!(CharClass::of('\u{85}').is_space() && CharClass::of('\u{3000}').is_space());
        assert!(!CharClass::of('\u{1c}').is_space() && !CharClass::of('\u{200b}').is_space());
    }
}
