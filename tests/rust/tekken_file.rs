//! What is refused of a Tekken file, by whole messages; and that nothing else than an error comes of it.

use nemo_fast::tokenizer::{
    ControlStrings, CpuLevel, SpecialPolicy, TekkenFileError, Tokenizer, TokenizerParts, Utf8Policy,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

fn base64(byte: u8) -> String {
    let digit = |value: u8| match value {
        0..26 => char::from(b'A' + value),
        26..52 => char::from(b'a' + value - 26),
        52..62 => char::from(b'0' + value - 52),
        62 => '+',
        _ => '/',
    };
    format!("{}{}==", digit(byte >> 2), digit((byte & 3) << 4))
}

/// The bytes, "ab" and "abc"; three special tokens listed, two more filled up.
fn small_file() -> Value {
    let mut vocab: Vec<Value> = (0..=u8::MAX)
        .map(|byte| json!({"rank": byte, "token_bytes": base64(byte), "token_str": null}))
        .collect();
    vocab.push(json!({"rank": 256, "token_bytes": "YWI=", "token_str": "ab"}));
    vocab.push(json!({"rank": 257, "token_bytes": "YWJj", "token_str": "abc"}));
    let special = |rank: u32, name: &str| json!({"rank": rank, "token_str": name, "is_control": true});
    json!({
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": 258,
            "default_vocab_size": 263,
            "default_num_special_tokens": 5,
            "version": "v3",
        },
        "vocab": vocab,
        "special_tokens": [special(0, "<s>"), special(1, "</s>"), special(2, "[INST]")],
        "image": {"image_patch_size": 16},
    })
}

fn parsed(file: &Value) -> Result<Tokenizer, TekkenFileError> {
    Tokenizer::from_tekken_json(file.to_string().as_bytes())
}

/// The message for the small file with another value at a place; `None` takes the key away.
fn message(pointer: &str, value: Option<Value>) -> String {
    let mut file = small_file();
    if let Some(value) = value {
        *file.pointer_mut(pointer).unwrap() = value;
    } else {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        file.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    }
    parsed(&file).unwrap_err().to_string()
}

#[test]
fn a_small_file_is_a_tokenizer() {
    let tokenizer = parsed(&small_file()).unwrap();
    assert_eq!(tokenizer.encode("abcab"), [262, 261]);
    assert_eq!(tokenizer.count("abcab"), 2);
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (0, 1));
    assert_eq!(tokenizer.special_token_id("<SPECIAL_4>"), Some(4));
    assert_eq!(tokenizer.token_id(b"abc"), Some(262));
    assert_eq!(tokenizer.token_table().len(), 263);
    assert!(!tokenizer.is_embedded());
    let mut ids = Vec::new();
    tokenizer.encode_with("ab[INST]<SPECIAL_4>", ControlStrings::Parse, &mut ids).unwrap();
    assert_eq!(ids, [261, 2, 4]);
}

#[test]
fn wrong_values_are_named() {
    for (pointer, value, expected) in [
        (
            "/config/version",
            json!("v4"),
            r#"the tekken file has the version "v4", known are v1, v2, v3, v7, v11, v13, v15"#,
        ),
        ("/config/pattern", json!("a+"), "the tekken file has a pattern that is not Mistral Nemo's: a+"),
        ("/vocab/257/rank", json!(258), "vocab[257] of the tekken file has the rank 258"),
        ("/vocab/257/rank", json!(256), "vocab[257] of the tekken file has the rank 256"),
        ("/special_tokens/2/rank", json!(1), "special_tokens[2] of the tekken file has the rank 1"),
        (
            "/vocab/256/token_bytes",
            json!("YW?="),
            r#"vocab[256] of the tekken file has the token_bytes "YW?=", which is not base64"#,
        ),
        (
            "/vocab/7/token_bytes",
            json!("YWI="),
            "the token of rank 7 is [97, 98], expected the single byte 7",
        ),
        ("/vocab/257/token_bytes", json!("YWI="), "the tokens of rank 256 and 257 have the same bytes"),
        ("/vocab/257/token_bytes", json!("YQ=="), "the tokens of rank 97 and 257 have the same bytes"),
        ("/vocab/257/token_bytes", json!(""), "vocab[257] of the tekken file is empty"),
        ("/special_tokens/2/token_str", json!(""), "special_tokens[2] of the tekken file is empty"),
        ("/special_tokens/2/token_str", json!("<s>"), "two special tokens are called <s>"),
        ("/special_tokens/2/token_str", json!("<SPECIAL_4>"), "two special tokens are called <SPECIAL_4>"),
        ("/special_tokens/0/token_str", json!("[X]"), "no special token is called <s>"),
        ("/special_tokens/1/token_str", json!("[X]"), "no special token is called </s>"),
        (
            "/config/default_num_special_tokens",
            json!(2),
            "a default_vocab_size of 263 with 2 special tokens does not fit: the tekken file has 258 ranked tokens, \
             256 is the least, and 2097152 tokens are the most",
        ),
        (
            "/config/default_num_special_tokens",
            json!(8),
            "a default_vocab_size of 263 with 8 special tokens does not fit: the tekken file has 258 ranked tokens, \
             256 is the least, and 2097152 tokens are the most",
        ),
    ] {
        assert_eq!(message(pointer, Some(value)), expected, "{pointer}");
    }
}

#[test]
fn sizes_that_do_not_fit() {
    let sized = |vocab_size: u64, special: u64| {
        let mut file = small_file();
        file["config"]["default_vocab_size"] = json!(vocab_size);
        file["config"]["default_num_special_tokens"] = json!(special);
        parsed(&file).map(|tokenizer| tokenizer.token_table().len())
    };
    assert_eq!(sized(262, 5), Ok(262));
    assert_eq!(sized(1_258, 1_000), Ok(1_258));
    assert_eq!(sized(261, 3), Ok(261));
    let found = TekkenFileError::TooManySpecialTokens { found: 3, room: 2 };
    assert_eq!(sized(260, 2), Err(found));
    for (vocab_size, special) in [
        (260, 5),
        (264, 5),
        (4, 5),
        (0, 0),
        (1 << 40, 5),
        ((1 << 40) + 258, 1 << 40),
        (u64::MAX, u64::MAX - 258),
    ] {
        let expected = TekkenFileError::WrongSizes { vocab_size, special, ranked: 258 };
        assert_eq!(sized(vocab_size, special), Err(expected));
    }
}

#[test]
fn missing_keys_and_wrong_types_are_named_with_their_place() {
    for key in [
        "config",
        "vocab",
        "config/pattern",
        "config/version",
        "config/default_vocab_size",
        "config/default_num_special_tokens",
        "vocab/3/rank",
        "vocab/3/token_bytes",
        "vocab/3/token_str",
        "special_tokens/0/rank",
        "special_tokens/0/token_str",
    ] {
        let message = message(&format!("/{key}"), None);
        let name = key.rsplit('/').next().unwrap();
        assert!(message.starts_with("the tekken file does not have its format at byte "), "{message}");
        assert!(message.ends_with(&format!(": missing field `{name}`")), "{message}");
    }
    for (pointer, value, expected) in [
        ("/config", json!(1), "invalid type: integer `1`, expected an object"),
        ("/vocab", json!({}), "invalid type: map, expected a sequence"),
        ("/vocab/3", json!(null), "invalid type: null, expected an object"),
        ("/vocab/3", json!([3, "Aw==", null]), "invalid type: sequence, expected an object"),
        ("/vocab/3/rank", json!("3"), r#"invalid type: string "3", expected u64"#),
        ("/vocab/3/rank", json!(-3), "invalid value: integer `-3`, expected u64"),
        ("/vocab/3/rank", json!(3.0), "invalid type: floating point `3.0`, expected u64"),
        ("/vocab/3/token_bytes", json!(3), "invalid type: integer `3`, expected a string"),
        ("/special_tokens", json!("x"), r#"invalid type: string "x", expected a sequence"#),
        ("/special_tokens/0/token_str", json!(null), "invalid type: null, expected a string"),
        ("/config/default_vocab_size", json!(true), "invalid type: boolean `true`, expected u64"),
    ] {
        let message = message(pointer, Some(value));
        assert!(message.ends_with(&format!(": {expected}")), "{message}");
    }
    let mut file = small_file();
    file["vocab"][3]["score"] = json!(1);
    let message = parsed(&file).unwrap_err().to_string();
    assert!(message.contains(": unknown field `score`, expected one of `rank`"), "{message}");
}

#[test]
fn faults_are_found_by_their_byte() {
    let error = |json: &str| Tokenizer::from_tekken_json(json.as_bytes()).unwrap_err().to_string();
    assert_eq!(error(""), "the tekken file is not JSON at byte 0: EOF while parsing a value");
    assert_eq!(error("{\n\n  \"config\": }"), "the tekken file is not JSON at byte 15: expected value");
    assert_eq!(
        error("[1]x"),
        "the tekken file does not have its format at byte 0: invalid type: sequence, expected an object"
    );
    let cut = small_file().to_string();
    let cut = &cut[..cut.len() / 2];
    assert!(error(cut).starts_with(&format!("the tekken file is not JSON at byte {}: EOF", cut.len())));
    let trailing = small_file().to_string() + "\n]";
    assert_eq!(
        error(&trailing),
        format!("the tekken file is not JSON at byte {}: trailing characters", trailing.len() - 1)
    );
}

#[test]
fn a_file_has_a_greatest_size() {
    let error = |size| Tokenizer::from_tekken_json(&vec![b'\0'; size]).unwrap_err().to_string();
    assert_eq!(error((1 << 28) + 1), "the tekken file is larger than 268435456 bytes");
    assert_eq!(error(1 << 28), "the tekken file is not JSON at byte 0: expected value");
}

#[test]
fn a_list_of_special_tokens_is_needed_from_version_11_on() {
    for (version, special_count, is_known) in
        [("v1", 20, true), ("v3", 20, true), ("v7", 30, true), ("v11", 30, false), ("v15", 30, false)]
    {
        let mut file = small_file();
        file["config"]["version"] = json!(version);
        file["config"]["default_num_special_tokens"] = json!(special_count);
        file["config"]["default_vocab_size"] = json!(special_count + 258);
        file["special_tokens"] = json!(null);
        let tokenizer = parsed(&file);
        match tokenizer {
            Ok(tokenizer) => assert_eq!(tokenizer.special_token_id("[TOOL_CONTENT]"), Some(19)),
            Err(error) => assert_eq!(
                error.to_string(),
                format!("the tekken file has no special_tokens, which version {version} needs")
            ),
        }
        assert_eq!(parsed(&file).is_ok(), is_known);
    }
}

/// Changes of single bytes, cuts, and parts that are there twice.
fn mutated(mut json: Vec<u8>, changes: &[(usize, usize, u8)]) -> Vec<u8> {
    for &(kind, place, byte) in changes {
        let place = place % json.len().max(1);
        match kind {
            0 => json.truncate(place),
            1 => drop(json.drain(place..(place + usize::from(byte)).min(json.len()))),
            2 => json.extend_from_within(place..),
            3 => json.insert(place.min(json.len()), byte),
            _ => json.iter_mut().skip(place).take(1).for_each(|old| *old = byte),
        }
    }
    json
}

proptest! {
    #[test]
    fn a_mutated_file_is_an_error_or_a_tokenizer(
        changes in prop::collection::vec((0..12_usize, any::<usize>(), prop_oneof![any::<u8>(), b' '..b'~']), 1..4),
    ) {
        let json = mutated(small_file().to_string().into_bytes(), &changes);
        match Tokenizer::from_tekken_json(&json) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(tokenizer) => {
                let ids = tokenizer.encode("abc é [INST]");
                let decoded = tokenizer.decode(&ids, SpecialPolicy::Raise, Utf8Policy::Strict);
                prop_assert_eq!(decoded.unwrap(), "abc é [INST]");
            }
        }
    }

    #[test]
    fn a_value_of_any_kind_anywhere_is_an_error_or_a_tokenizer(
        place in prop::sample::select(vec![
            "/config", "/config/pattern", "/config/version", "/config/default_vocab_size",
            "/config/default_num_special_tokens", "/config/num_vocab_tokens", "/vocab", "/vocab/0", "/vocab/257",
            "/vocab/257/rank", "/vocab/257/token_bytes", "/vocab/257/token_str", "/special_tokens",
            "/special_tokens/1", "/special_tokens/1/rank", "/special_tokens/1/token_str", "/image",
        ]),
        value in prop_oneof![
            Just(json!(null)), Just(json!([])), Just(json!({})), Just(json!([[[]]])), any::<bool>().prop_map(|v| json!(v)),
            any::<u64>().prop_map(|v| json!(v)), any::<i64>().prop_map(|v| json!(v)), any::<f64>().prop_map(|v| json!(v)),
            "\\PC{0,8}".prop_map(|v| json!(v)), (0..300_u32).prop_map(|v| json!(v)),
        ],
    ) {
        let mut file = small_file();
        *file.pointer_mut(place).unwrap() = value;
        if let Ok(tokenizer) = parsed(&file) {
            prop_assert_eq!(tokenizer.count("abcab"), tokenizer.encode("abcab").len());
        }
    }
}

fn of_tokens(tokens: Vec<Vec<u8>>, special_count: u64) -> Tokenizer {
    let special_names = vec!["<s>".to_owned(), "</s>".to_owned()];
    let parts =
        TokenizerParts { version: "v3".to_owned(), special_names, special_count, tokens: Some(tokens) };
    let tokenizer = Tokenizer::from_parts(&parts).unwrap();
    assert_eq!(tokenizer.parts(), parts);
    tokenizer
}

fn bytes_and(tokens: &[&str]) -> Vec<Vec<u8>> {
    let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
    bytes.chain(tokens.iter().map(|token| token.as_bytes().to_vec())).collect()
}

/// Joins neighbours as long as two are a token, the lowest rank first, the leftmost of several.
fn merge_by_hand(tokens: &[Vec<u8>], piece: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = piece.iter().map(|&byte| vec![byte]).collect();
    while let Some((_, place)) = (1..parts.len())
        .filter_map(|i| Some((tokens.iter().position(|token| *token == parts[i - 1..=i].concat())?, i - 1)))
        .min()
    {
        let joined = parts[place..place + 2].concat();
        parts.splice(place..place + 2, [joined]);
    }
    parts
}

#[test]
fn tables_are_for_vocabularies_that_merging_reaches() {
    let fits = |tokens: &[&str]| of_tokens(bytes_and(tokens), 2).has_tables();
    assert!(fits(&[]));
    assert!(fits(&["ab", "abc", "cab"]));
    assert!(!fits(&["abab"]), "merging does not reach it");
    assert!(!fits(&["abc", "ab"]), "merging reaches it from a higher rank");
    assert!(!fits(&["bc", "ab", "abd", "abcd"]), "merging takes another way");
    // Each is the one before and another character, so that merging walks along the longest.
    let characters: String = ('!'..'n').collect();
    let long: Vec<&str> = (2..=77).map(|length| &characters[..length]).collect();
    assert!(fits(&long[..75]));
    assert!(!fits(&long), "longer than the tables allow");
}

#[test]
fn nemo_tokens_under_other_ids_get_tables_of_their_own() {
    let mut parts = Tokenizer::embedded().parts();
    assert_eq!(parts.tokens, None);
    assert!(Tokenizer::from_parts(&parts).unwrap().is_embedded());
    (parts.version, parts.special_count) = ("v11".to_owned(), 900);
    let tokenizer = Tokenizer::from_parts(&parts).unwrap();
    assert!(tokenizer.has_tables() && !tokenizer.is_embedded());
    let text = "Hello, how are you? Größe 中文字 [INST]";
    let expected: Vec<u32> = Tokenizer::embedded().encode(text).into_iter().map(|id| id - 100).collect();
    assert_eq!(tokenizer.encode(text), expected);
    parts.special_count = 1_001;
    let larger = Tokenizer::from_parts(&parts).unwrap();
    assert!(!larger.has_tables(), "a token more than the tables allow");
    assert_eq!(larger.encode(text), expected.iter().map(|id| id + 101).collect::<Vec<_>>());
}

proptest! {
    /// Tokens are two earlier ones joined, so that most vocabularies get tables; some get one that merging does not reach.
    #[test]
    fn every_level_encodes_as_the_plain_path(
        joins in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..60),
        is_reached in prop::bool::weighted(0.8),
        texts in prop::collection::vec(("[ab c\ndé中文\u{20ac}😀]{0,120}|[中文]{0,60}|[abcd]{0,200}", 1..40_usize), 1..6),
    ) {
        let mut tokens = bytes_and(&[]);
        let mut pool: Vec<Vec<u8>> = "ab c\ndé中文€😀".bytes().map(|byte| vec![byte]).collect();
        for (left, right) in joins {
            let token = [left.get(&pool).clone(), right.get(&pool).clone()].concat();
            let is_new = !tokens.contains(&token);
            if is_new && token.len() < 40 && (!is_reached || merge_by_hand(&tokens, &token).len() == 2) {
                tokens.push(token.clone());
                pool.push(token);
            }
        }
        let tokenizer = of_tokens(tokens, 5);
        prop_assert!(tokenizer.has_tables() || !is_reached);
        for (text, times) in texts {
            let text = text.repeat(times);
            let expected = tokenizer.encode_plain(&text);
            for level in CpuLevel::available() {
                let mut ids = Vec::new();
                tokenizer.encode_at(level, &text, &mut ids);
                prop_assert_eq!(&ids, &expected, "{:?}", level);
                prop_assert_eq!(tokenizer.count_at(level, &text), expected.len());
            }
        }
    }
}
