//! The model's output: exact deltas and messages, and that all ways to cut a text lead to the same message.

use nemo_fast::prompt::completion::{AssistantMessage, CompletionParser, Delta, ToolCall, parse_completion};
use nemo_fast::tokenizer::{TokenId, Tokenizer, TokenizerError};
use proptest::prelude::*;

const MARKER: TokenId = 9;
const EOS: TokenId = 2;

/// A marker, and a token for each byte of a text.
fn section(text: &str) -> Vec<TokenId> {
    std::iter::once(MARKER).chain(text.bytes().map(|byte| 1_000 + TokenId::from(byte))).collect()
}

fn deltas(parser: &mut CompletionParser, ids: &[TokenId]) -> Vec<Delta> {
    let mut deltas: Vec<Delta> = ids.iter().flat_map(|&id| parser.push(id).unwrap()).collect();
    deltas.extend(parser.finish());
    deltas
}

/// Deltas to a message, as a client joins them.
fn joined(deltas: Vec<Delta>) -> AssistantMessage {
    let mut message = AssistantMessage::default();
    for delta in deltas {
        match delta {
            Delta::Content(text) => message.content += &text,
            Delta::ToolCall { index, id, name } => {
                assert_eq!(index, message.tool_calls.len());
                message.tool_calls.push(ToolCall { id, name, arguments: String::new() });
            }
            Delta::Arguments { index, text } => {
                assert_eq!(index, message.tool_calls.len() - 1);
                message.tool_calls[index].arguments += &text;
            }
        }
    }
    message
}

#[test]
fn a_call_is_given_out_in_its_parts() {
    let tokenizer = Tokenizer::embedded();
    let mut parser = CompletionParser::new(&tokenizer, 0);
    let mut ids = vec![MARKER];
    tokenizer.encode_into(r#"[{"name": "add", "id": "VvvODy9mT", "arguments": {"a": 1}}]."#, &mut ids);
    ids.push(EOS);
    let call = Delta::ToolCall { index: 0, id: "VvvODy9mT".to_owned(), name: "add".to_owned() };
    let arguments = |text: &str| Delta::Arguments { index: 0, text: text.to_owned() };
    let expected = [call, arguments("{\""), arguments("a"), arguments("\":"), arguments(" "), arguments("1")];
    let found = deltas(&mut parser, &ids);
    assert_eq!(found[..6], expected);
    assert_eq!(found[6..], [arguments("}"), Delta::Content(".".to_owned())]);
}

#[test]
fn ids_are_those_of_the_seed() {
    let tokenizer = Tokenizer::embedded();
    let ids = section(r#"[{"name": "f", "arguments": {}}, {"name": "f", "arguments": {}}]"#);
    let minted = |seed| {
        let message = parse_completion(&tokenizer, &ids, seed).unwrap();
        message.tool_calls.into_iter().map(|call| call.id).collect::<Vec<_>>()
    };
    assert_eq!(minted(0), ["lwnQgf8ef", "uSTisCCC2"]);
    assert_ne!(minted(1)[0], minted(0)[0]);
}

#[test]
fn the_parser_takes_another_message_after_the_first() {
    let mut parser = CompletionParser::new(&Tokenizer::embedded(), 0);
    let kept = section(r#"{"id": "VvvODy9mT", "name": "f", "arguments": {}}"#);
    let broken = section("[{");
    let first = joined(deltas(&mut parser, &kept));
    assert_eq!(first.tool_calls[0].id, "VvvODy9mT");
    assert_eq!(joined(deltas(&mut parser, &broken)).content, "[TOOL_CALLS][{");
    assert_eq!(joined(deltas(&mut parser, &kept)), first);
}

#[test]
fn an_id_outside_the_vocabulary_is_an_error_wherever_it_stands() {
    let tokenizer = Tokenizer::embedded();
    for before in [&[][..], &[MARKER], &[EOS]] {
        let ids = [before, &[131_072]].concat();
        let error = parse_completion(&tokenizer, &ids, 0).unwrap_err();
        assert!(matches!(error, TokenizerError::UnknownId { id: 131_072, vocab_size: 131_072 }));
    }
}

#[test]
fn nesting_breaks_a_call_at_its_limit_and_not_before() {
    let tokenizer = Tokenizer::embedded();
    let nested = |depth| {
        let text = format!(r#"{{"name": "f", "arguments": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        parse_completion(&tokenizer, &section(&text), 0).unwrap().tool_calls.len()
    };
    let limit = nemo_fast::json::MAX_DEPTH;
    assert_eq!([nested(limit), nested(limit + 1), nested(1_000_000)], [1, 0, 0]);
}

/// Pieces of calls: what a section may be made of, most often in a wrong order.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        r#"[{"name": "f", "arguments": {"a": ["}", 1]}}"#,
        r#"{"name": "f", "arguments": "#,
        r#"{"arguments": {"a": "é"}, "name": "#,
        r#""{\"a\": 1}""#,
        r#""id": "VvvODy9mT""#,
        r#""f""#,
        "{\"a\": ",
        "[",
        "]",
        "}",
        ", ",
        " ",
        "1",
        "\\",
        "\"",
        "😀",
    ]);
    prop::collection::vec(fragment, 0..10).prop_map(|fragments| fragments.concat())
}

proptest! {
    /// Tokens of the text, or a token a byte: where the text is cut changes nothing.
    #[test]
    fn the_cuts_of_a_text_change_nothing(texts in prop::collection::vec(fragments(), 1..4), seed: u64) {
        let tokenizer = Tokenizer::embedded();
        let (mut ids, mut bytes) = (Vec::new(), Vec::new());
        for text in texts {
            ids.push(MARKER);
            tokenizer.encode_into(&text, &mut ids);
            bytes.extend(section(&text));
        }
        let message = parse_completion(&tokenizer, &ids, seed).unwrap();
        prop_assert_eq!(&message, &parse_completion(&tokenizer, &bytes, seed).unwrap());
        let [stream, by_bytes] =
            [ids, bytes].map(|ids| joined(deltas(&mut CompletionParser::new(&tokenizer, seed), &ids)));
        prop_assert_eq!(&stream.content, &message.content);
        prop_assert_eq!(&by_bytes.content, &message.content);
        // The calls of the message are those of the stream without the ones that broke; only ids may have come too late.
        let mut rest = stream.tool_calls.iter();
        for call in &message.tool_calls {
            prop_assert!(rest.any(|other| (&other.name, &other.arguments) == (&call.name, &call.arguments)));
        }
        prop_assert_eq!(
            stream.tool_calls.iter().map(|call| (&call.id, &call.name)).collect::<Vec<_>>(),
            by_bytes.tool_calls.iter().map(|call| (&call.id, &call.name)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn any_ids_are_a_message(ids in prop::collection::vec(prop_oneof![0..131_072_u32, 0..20_u32], 0..40)) {
        let tokenizer = Tokenizer::embedded();
        let message = parse_completion(&tokenizer, &ids, 0).unwrap();
        let stream = joined(deltas(&mut CompletionParser::new(&tokenizer, 0), &ids));
        prop_assert_eq!(message, stream);
    }
}
