//! The fast tokenizer at every level of this CPU against its plain twin: one body of tests for all.

use nemo_fast::tokenizer::{CpuLevel, Tokenizer};
use proptest::prelude::*;

/// Ids and counts of the text at every level are those of the plain path.
fn check(text: &str) {
    let tokenizer = Tokenizer::embedded();
    let truth = tokenizer.encode_plain(text);
    for level in CpuLevel::available() {
        let mut ids = Vec::new();
        // Twice: what a thread remembers of the first time must not change the second.
        for _ in 0..2 {
            ids.clear();
            tokenizer.encode_at(level, text, &mut ids);
            assert_eq!(ids, truth, "{level}: {text:?}");
        }
        assert_eq!(tokenizer.count_at(level, text), truth.len(), "{level}: {text:?}");
    }
}

#[test]
fn every_stretch_of_code_points() {
    // In each surrounding the class of the character decides where pretokens start. Far more than a window, so that
    // characters fall on its end in all ways.
    let characters: Vec<char> = (0..=0x0010_FFFF).filter_map(char::from_u32).collect();
    for (before, behind) in [("", ""), ("a", "B"), (" ", " ")] {
        for some in characters.chunks(40_000) {
            let parts: Vec<String> =
                some.iter().map(|character| format!("{before}{character}{behind}")).collect();
            check(&parts.concat());
        }
    }
}

#[test]
fn runs_of_every_length_around_a_window() {
    for character in
        ["a", "A", "1", " ", "\n", "\r\n", "/", "=", "é", "中", "の", "\u{301}", "ʰ", "😀", "\u{a0}", "\t "]
    {
        for length in (1..80).chain([127, 128, 129, 191, 192, 193, 200, 255, 1_000, 3_000]) {
            let run = character.repeat(length);
            for (before, behind) in [("", ""), ("x", "y"), (" ", "A"), ("\n", "b"), (".", "\n\n")] {
                check(&format!("{before}{run}{behind}"));
            }
        }
    }
}

#[test]
fn long_runs() {
    for character in ["a", " ", "-", "中", "\u{301}", "ab", "\r\n"] {
        check(&character.repeat(60_000));
    }
}

#[test]
fn neighbours_of_a_sample_of_tokens() {
    let tokenizer = Tokenizer::embedded();
    let token = |id: u32| tokenizer.token_table().token_bytes(id).unwrap();
    let sample: Vec<&str> =
        (1_000..131_072).step_by(463).filter_map(|id| std::str::from_utf8(token(id)).ok()).collect();
    for left in &sample {
        // One text for all pairs of a token: it is also a text of thousands of pieces.
        let joined: Vec<String> = sample.iter().map(|right| format!("{left}{right}")).collect();
        check(&joined.join("\n"));
    }
}

/// Characters of all classes, those that the pattern names among them, and the edges of UTF-8 lengths.
const SOUP: &str = "[aAzZ019 \t\n\r/.,'\"!=_-éÉßµǅʰªºٱ中の한ไ्\u{301}\u{fe0f}\u{200d}😀𐐀𝒜\u{a0}\u{2028}²½Ⅷ\u{7ff}\u{800}\u{ffff}\u{10ffff}]{0,90}";

/// Pretokens longer than a window, of letters without case and what may stand before, between and behind them.
const LONG_RUN: &str = "[aA1 .。\u{301}ǅ-]{0,2}[一-龥ぁ-んァ-ヶー]{15,50}([A-Zaéǅʰ\u{301}\u{3099}。、 1😀]{1,3}[一-龥ぁ-ん]{0,40}){0,4}";

proptest! {
    #[test]
    fn class_soup(text in SOUP) {
        check(&text);
    }

    #[test]
    fn any_text(text in "(?s:.){0,60}|\\PC{0,60}|[ -~\\s]{0,200}|[а-яА-Яa-z ]{0,150}|[一-龥ぁ-ん、。]{0,80}") {
        check(&text);
    }

    #[test]
    fn long_runs_without_case(text in LONG_RUN) {
        check(&text);
    }

    #[test]
    fn many_copies(text in SOUP, copies in 1_usize..120) {
        check(&text.repeat(copies));
    }
}
