//! Any ids are a message: its calls have JSON for arguments and ids of their own, and a stream has the same content.

#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nemo_fast::json;
use nemo_fast::prompt::completion::{CompletionParser, Delta, parse_completion};
use nemo_fast::tokenizer::Tokenizer;

/// What a model writes.
#[derive(Arbitrary, Debug)]
enum Written<'a> {
    Marker,
    Text(&'a str),
    /// Pieces of calls, which bytes that nobody chose hardly ever are.
    Call(u8),
    Id(u32),
}

const PIECES: [&str; 12] = [
    "[",
    "]",
    "{",
    "}",
    ", ",
    r#""name": "f""#,
    r#""arguments": "#,
    r#""id": "VvvODy9mT""#,
    r#"{"a": [1, "\"}"]}"#,
    r#"{"name": "f", "arguments": {}}"#,
    r#"{"arguments": {"é": 1e5}, "name": "g"}"#,
    r#""{\"a\": 1}""#,
];

fuzz_target!(|input: (Vec<Written<'_>>, u64)| {
    let (written, seed) = input;
    let tokenizer = Tokenizer::embedded();
    let mut ids = Vec::new();
    for part in &written {
        match part {
            Written::Marker => ids.push(9),
            Written::Text(text) => tokenizer.encode_into(text, &mut ids),
            Written::Call(piece) => {
                tokenizer.encode_into(PIECES[usize::from(*piece) % PIECES.len()], &mut ids)
            }
            Written::Id(id) => ids.push(*id),
        }
    }
    let Ok(message) = parse_completion(&tokenizer, &ids, seed) else {
        return assert!(
            ids.iter().any(|id| tokenizer.decode(&[*id], Default::default(), Default::default()).is_err())
        );
    };
    let mut used = HashSet::new();
    for call in &message.tool_calls {
        assert!(json::parse(&call.arguments).is_ok(), "{}", call.arguments);
        assert!(call.id.len() == 9 && used.insert(&call.id), "{}", call.id);
    }
    let mut parser = CompletionParser::new(&tokenizer, seed);
    let mut deltas: Vec<Delta> = ids.iter().flat_map(|id| parser.push(*id).unwrap()).collect();
    deltas.extend(parser.finish());
    let content: String = deltas
        .iter()
        .filter_map(|delta| if let Delta::Content(text) = delta { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(content, message.content);
});
