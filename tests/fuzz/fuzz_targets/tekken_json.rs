//! Any `tekken.json` is refused or makes a tokenizer, whose ids and counts are those of the plain path at every level.
//!
//! Bytes that nobody chose are hardly ever JSON: here they are the tokens of a file, and changes of its text.

#![no_main]

mod levels;

use std::collections::HashSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nemo_fast::tokenizer::Tokenizer;
use serde_json::{Value, json};

const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const TEXT: &str =
    "Zwölf Boxkämpfer jagen  Viktor\r\n\tquer über 中文字, 日本語の 한국어 😀 </s>[INST] aaaaaaaabab 0123 ";

#[derive(Arbitrary, Debug)]
struct Input {
    /// Tokens behind the bytes: where a part of the text starts, and how long it is. All beginnings of it are tokens,
    /// so that merging reaches it and the file gets tables.
    parts: Vec<(u8, u8)>,
    /// And any others.
    tokens: Vec<Vec<u8>>,
    special_count: u8,
    special_names: Vec<String>,
    splices: Vec<Splice>,
    text: String,
}

/// In the text of the file: that many bytes gone, others in their place.
#[derive(Arbitrary, Debug)]
struct Splice {
    start: u16,
    removed: u8,
    inserted: Vec<u8>,
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let is_there = digit <= three.len();
            text.push(if is_there { DIGITS[bits >> (18 - 6 * digit) & 63] as char } else { '=' });
        }
    }
    text
}

/// A file with all bytes, parts of the text and the tokens of the input as its vocabulary.
fn file(input: &Input) -> Vec<u8> {
    let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
    let parts = input.parts.iter().flat_map(|&(start, length)| {
        let text = &TEXT.as_bytes()[usize::from(start) % TEXT.len()..];
        (2..text.len().min(3 + usize::from(length) % 10)).map(|length| text[..length].to_vec())
    });
    // A file is refused if it has a token twice; splices may make that again.
    let mut seen = HashSet::from([Vec::new()]);
    let tokens =
        bytes.chain(parts).chain(input.tokens.iter().cloned()).filter(|token| seen.insert(token.clone()));
    let vocab: Vec<Value> = tokens
        .enumerate()
        .map(|(rank, token)| json!({"rank": rank, "token_bytes": base64(&token), "token_str": null}))
        .collect();
    let names = ["<s>", "</s>", "[INST]"].into_iter().chain(input.special_names.iter().map(String::as_str));
    let special: Vec<Value> = names
        .enumerate()
        .map(|(rank, name)| json!({"rank": rank, "token_str": name, "is_control": true}))
        .collect();
    let special_count = usize::from(input.special_count).max(special.len());
    let config = json!({
        "pattern": PATTERN,
        "num_vocab_tokens": vocab.len(),
        "default_vocab_size": vocab.len() + special_count,
        "default_num_special_tokens": special_count,
        "version": "v3",
    });
    json!({"config": config, "special_tokens": special, "vocab": vocab}).to_string().into_bytes()
}

fuzz_target!(|input: Input| {
    let mut json = file(&input);
    for splice in &input.splices {
        let start = usize::from(splice.start) % (json.len() + 1);
        let end = (start + usize::from(splice.removed)).min(json.len());
        json.splice(start..end, splice.inserted.iter().copied());
    }
    let Ok(tokenizer) = Tokenizer::from_tekken_json(&json) else { return };
    for text in [TEXT, &input.text] {
        levels::check(&tokenizer, text);
    }
});
