//! JSON as Python reads and writes it: what is refused and where, what is kept, and depths, times and round trips.
//!
//! `tests/json_exactness.py` compares it with Python's `json` on very many documents, through [`campaign`].

use std::fmt::Write as _;
use std::fs;
use std::{env, thread};

use nemo_fast::json::{Json, JsonError, MAX_DEPTH, parse, write, write_string};
use proptest::prelude::*;

fn written(value: &Json) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// The document as `json.dumps` writes it.
fn rewritten(text: &str) -> String {
    written(&parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")))
}

fn offset(text: &str) -> (&'static str, usize) {
    match parse(text) {
        Err(JsonError::Syntax { message, offset }) => (message, offset),
        other => panic!("{text:?}: {other:?}"),
    }
}

/// So many lists or objects within each other.
fn nested(depth: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn values_as_python_writes_them_again() {
    let cases = [
        (" \t\r\n{ } \n", "{}"),
        ("[ ]", "[]"),
        ("[null,true,false]", "[null, true, false]"),
        ("[NaN,Infinity,-Infinity]", "[NaN, Infinity, -Infinity]"),
        ("[-0,-0.0,0e0,22.50]", "[0, -0.0, 0.0, 22.5]"),
        ("[1e5,1E16,1e-5,1E400,-1e400]", "[100000.0, 1e+16, 1e-05, Infinity, -Infinity]"),
        ("[9007199254740993,9007199254740993.0]", "[9007199254740993, 9007199254740992.0]"),
        (
            r#""\"\\\/\b\f\n\r\t\u001F\u007f\u2028\u00fc""#,
            "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u001f\u{7f}\u{2028}ü\"",
        ),
        ("{\"a\": {\"b\": [1]}, \"c\": \"\"}", r#"{"a": {"b": [1]}, "c": ""}"#),
        ("\"\u{feff}\"", "\"\u{feff}\""),
    ];
    for (text, expected) in cases {
        assert_eq!(rewritten(text), expected);
    }
}

#[test]
fn surrogates_join_as_in_python() {
    let cases = [
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\uD83D\uDE00\ud83d""#, "😀\u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83dA\ude00""#, "\u{fffd}A\u{fffd}"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\udbff\udfff""#, "\u{10ffff}"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap(), Json::String(expected.to_owned()), "{text}");
    }
}

#[test]
fn the_last_value_of_a_key_wins_at_its_first_place() {
    assert_eq!(rewritten(r#"{"a":1,"b":2,"a":3,"c":4,"\u0061":5}"#), r#"{"a": 5, "b": 2, "c": 4}"#);
    assert_eq!(rewritten(r#"{"":{"x":1,"x":2},"":{"x":3}}"#), r#"{"": {"x": 3}}"#);
    // Halves of pairs are told apart, and from the character that stands for them.
    assert_eq!(
        rewritten(r#"{"\ud800":1,"\udc00":2,"\ufffd":3,"k\ud800":{"\ud800":4},"\ud800":5,"\udC00":6}"#),
        "{\"\u{fffd}\": 5, \"\u{fffd}\": 6, \"\u{fffd}\": 3, \"k\u{fffd}\": {\"\u{fffd}\": 4}}"
    );
}

#[test]
fn faults_are_where_python_finds_them() {
    let cases = [
        ("", "expecting value", 0),
        ("  ", "expecting value", 2),
        ("\u{feff}1", "unexpected utf-8 bom (decode using utf-8-sig)", 0),
        ("nul", "expecting value", 0),
        ("-", "expecting value", 0),
        ("-Inf", "expecting value", 0),
        ("\u{b}1", "expecting value", 0),
        ("007", "extra data", 1),
        ("1.", "extra data", 1),
        ("\"ü\" 1", "extra data", 4),
        ("nullx", "extra data", 4),
        ("[1,]", "expecting value", 3),
        ("[1 2]", "expecting ',' delimiter", 3),
        ("[1}", "expecting ',' delimiter", 2),
        ("[", "expecting value", 1),
        ("{", "expecting property name enclosed in double quotes", 1),
        ("{\"ü\":1,}", "expecting property name enclosed in double quotes", 7),
        ("{a:1}", "expecting property name enclosed in double quotes", 1),
        ("{\"a\" 1}", "expecting ':' delimiter", 5),
        ("{\"a\":}", "expecting value", 5),
        ("{\"a\":1]", "expecting ',' delimiter", 6),
        ("[\"é", "unterminated string starting at", 1),
        ("[\"é\\", "unterminated string starting at", 1),
        ("[\"é\\\"", "unterminated string starting at", 1),
        ("\"é\n\"", "invalid control character at", 2),
        ("\"é\\x41\"", "invalid \\escape", 2),
        ("\"é\\\n\"", "invalid \\escape", 2),
        ("\"é\\u12g4\"", "invalid \\uxxxx escape", 3),
        ("\"é\\u12é4\"", "invalid \\uxxxx escape", 3),
        ("\"é\\u+123\"", "invalid \\uxxxx escape", 3),
        ("\"é\\u1234", "invalid \\uxxxx escape", 3),
        ("\"\\ud83d\\u12", "invalid \\uxxxx escape", 8),
    ];
    for (text, message, place) in cases {
        assert_eq!(offset(text), (message, place), "{text:?}");
    }
}

#[test]
fn deep_values_live_on_a_small_stack() {
    let on_a_small_stack = || {
        for (open, close) in [("[", "]"), ("{\"a\": ", "}")] {
            let deepest = nested(MAX_DEPTH, open, close);
            let value = parse(&deepest).unwrap();
            assert_eq!(written(&value), deepest);
            assert_eq!(value.clone(), value);
            assert!(format!("{value:?}").len() > MAX_DEPTH);
            drop(value);
            assert_eq!(parse(&nested(MAX_DEPTH + 1, open, close)), Err(JsonError::TooDeep));
            // What comes first is what is reported, and what was read is dropped.
            assert_eq!(parse(&open.repeat(1_000_000)), Err(JsonError::TooDeep));
            assert!(matches!(parse(&open.repeat(MAX_DEPTH)), Err(JsonError::Syntax { .. })));
        }
    };
    thread::Builder::new().stack_size(512 << 10).spawn(on_a_small_stack).unwrap().join().unwrap();
}

#[test]
fn writing_knows_no_depth() {
    let mut value = Json::Null;
    for _ in 0..100_000 {
        value = Json::List(vec![value]);
    }
    assert_eq!(written(&value), format!("{}null{}", "[".repeat(100_000), "]".repeat(100_000)));
    // By hand, because dropping recurses.
    while let Json::List(mut items) = value {
        value = items.pop().unwrap();
    }
}

#[test]
fn an_object_of_very_many_keys_takes_no_quadratic_time() {
    let mut text = "{\"0\": 0".to_owned();
    for key in 1..200_000 {
        write!(text, ", \"{}\": {key}", key % 150_000).unwrap();
    }
    text.push('}');
    let Json::Object(members) = parse(&text).unwrap() else { panic!() };
    assert_eq!(members.len(), 150_000);
    let expected = |key: usize| Json::Int((if key < 50_000 { key + 150_000 } else { key }).to_string());
    assert!(members.iter().enumerate().all(|(key, member)| *member == (key.to_string(), expected(key))));
}

/// Characters of which each is treated by itself somewhere.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[ab\"\\\\\u{0}\n\u{1f} /\u{7f}\u{2028}é中😀\u{fffd}]{0,12}", "[ab]{0,2}", any::<String>()]
}

fn values() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        "0|-?[1-9][0-9]{0,40}".prop_map(Json::Int),
        any::<f64>().prop_map(Json::Float),
        any::<u64>().prop_map(|bits| Json::Float(f64::from_bits(bits))),
        texts().prop_map(Json::String),
    ];
    leaf.prop_recursive(6, 80, 24, |inner| {
        let members = proptest::collection::btree_map(texts(), inner.clone(), 0..24);
        prop_oneof![
            proptest::collection::vec(inner, 0..8).prop_map(Json::List),
            members.prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

/// A key in escapes, and what Python's str of it holds.
fn keys() -> impl Strategy<Value = (String, Vec<u16>)> {
    let unit = prop_oneof![Just(0x61_u16), Just(0xfffd), 0xd800..0xd802_u16, 0xdc00..0xdc02_u16];
    proptest::collection::vec(unit, 0..3).prop_map(|units| {
        let escapes = units.iter().fold("\"".to_owned(), |text, unit| text + &format!("\\u{unit:04x}"));
        (escapes + "\"", units)
    })
}

fn has_nan(value: &Json) -> bool {
    match value {
        Json::Float(float) => float.is_nan(),
        Json::List(items) => items.iter().any(has_nan),
        Json::Object(members) => members.iter().any(|(_, item)| has_nan(item)),
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in values()) {
        let text = written(&value);
        let read = parse(&text).unwrap();
        prop_assert_eq!(written(&read), text);
        prop_assert!(has_nan(&value) || read == value);
    }

    #[test]
    fn spaces_between_tokens_change_nothing(value in values(), space in "[ \t\r\n]{0,3}") {
        let mut spaced = String::new();
        write_spaced(&value, &space, &mut spaced);
        prop_assert_eq!(rewritten(&spaced), written(&value));
    }

    #[test]
    fn strings_are_read_again(text in texts()) {
        let mut out = String::new();
        write_string(&text, &mut out);
        prop_assert_eq!(parse(&out).unwrap(), Json::String(text));
    }

    #[test]
    fn any_text_is_read_or_has_a_fault_within_it(text in "[\\[\\]{}\",:0-9eE.+\\-\\\\untrfalsINiy \n\u{1}é😀]{0,40}") {
        match parse(&text) {
            Ok(value) => prop_assert_eq!(rewritten(&written(&value)), written(&value)),
            Err(JsonError::Syntax { offset, .. }) => prop_assert!(offset <= text.chars().count()),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn members_are_those_of_a_plain_search(keys in proptest::collection::vec(keys(), 0..40)) {
        let mut expected: Vec<(&[u16], usize)> = Vec::new();
        for (index, (_, units)) in keys.iter().enumerate() {
            match expected.iter_mut().find(|(known, _)| known == units) {
                Some((_, value)) => *value = index,
                None => expected.push((units, index)),
            }
        }
        let expected = expected.into_iter().map(|(units, index)| {
            (String::from_utf16_lossy(units), Json::Int(index.to_string()))
        });
        let members: Vec<String> =
            keys.iter().enumerate().map(|(index, (escapes, _))| format!("{escapes}:{index}")).collect();
        prop_assert_eq!(parse(&format!("{{{}}}", members.join(","))).unwrap(), Json::Object(expected.collect()));
    }
}

/// A value with spaces around each token.
fn write_spaced(value: &Json, space: &str, out: &mut String) {
    out.push_str(space);
    match value {
        Json::List(items) => {
            out.push('[');
            out.push_str(space);
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_spaced(item, space, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                out.push_str(if index == 0 { space } else { "," });
                out.push_str(space);
                write_string(key, out);
                out.push_str(space);
                out.push(':');
                write_spaced(item, space, out);
            }
            out.push_str(space);
            out.push('}');
        }
        _ => write(value, out),
    }
    out.push_str(space);
}

/// What `tests/json_exactness.py` compares: a line of a kind and its value for each document.
fn outcome(text: &str) -> String {
    match parse(text) {
        Ok(value) => format!("value {}", written(&value)),
        Err(JsonError::Syntax { message, offset }) => format!("{message} {offset}"),
        Err(JsonError::TooDeep) => "too deep".to_owned(),
        Err(JsonError::HugeInteger) => "huge integer".to_owned(),
    }
}

#[test]
#[ignore = "needs files: tests/json_exactness.py runs it"]
fn campaign() {
    let path =
        |name| env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start tests/json_exactness.py"));
    let documents = fs::read(path("NEMO_FAST_JSON_DOCUMENTS")).unwrap();
    let mut outcomes = Vec::new();
    let mut rest = documents.as_slice();
    // A document, and what comes of it, is four bytes of its length and then itself, in UTF-8.
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (document, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        let outcome = outcome(std::str::from_utf8(document).unwrap());
        outcomes.extend((outcome.len() as u32).to_le_bytes());
        outcomes.extend(outcome.bytes());
        rest = behind;
    }
    fs::write(path("NEMO_FAST_JSON_OUTCOMES"), outcomes).unwrap();
}
