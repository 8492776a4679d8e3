//! The golden conversations of text messages, accepted and rejected.

use nemo_fast::prompt::{
    Content, Message, PromptError, Role, count_chat, encode_chat, render_chat, unsupported_part,
};
use nemo_fast::tokenizer::Tokenizer;
use serde_json::Value;

use crate::golden::{chat_json, token_ids};

/// The messages of a request, or `None` if it has what this part does not know: tools, modes, other
/// parameters.
fn text_messages(case: &Value) -> Option<Result<Vec<Message>, PromptError>> {
    let request = case["request"].as_object()?;
    let known = ["messages", "continue_final_message", "temperature", "unknown_top"];
    if case["mode"] != "test"
        || request.get("temperature").is_some_and(|value| value == 2.0)
        || request.keys().any(|key| !known.contains(&key.as_str()))
    {
        return None;
    }
    let messages = request["messages"].as_array()?;
    if messages.iter().any(|message| message["role"] == "tool" || !message["tool_calls"].is_null()) {
        return None;
    }
    Some(messages.iter().map(message).collect())
}

fn message(value: &Value) -> Result<Message, PromptError> {
    let role = Role::from_name(value["role"].as_str().unwrap())?;
    let content = match &value["content"] {
        Value::Null => Content::Absent,
        Value::String(text) => Content::Text(text.clone()),
        Value::Array(parts) => Content::Parts(
            parts
                .iter()
                .map(|part| match part["type"].as_str().unwrap() {
                    "text" => Ok(part["text"].as_str().unwrap().to_owned()),
                    other => Err(unsupported_part(role, other)),
                })
                .collect::<Result<_, _>>()?,
        ),
        other => panic!("content {other}"),
    };
    Message::new(role, content)
}

#[test]
fn golden_conversations_are_those_of_the_reference() {
    let tokenizer = Tokenizer::embedded();
    let (mut accepted, mut rejected) = (0, 0);
    for case in chat_json()["chat"].as_array().unwrap() {
        let Some(messages) = text_messages(case) else { continue };
        let open = case["request"]["continue_final_message"] == true;
        let encoded = messages.and_then(|messages| {
            let ids = encode_chat(&tokenizer, &messages, open)?;
            assert_eq!(count_chat(&tokenizer, &messages, open)?, ids.len());
            Ok((ids, render_chat(&tokenizer, &messages, open)?))
        });
        let name = &case["name"];
        if case["ok"] == true {
            accepted += 1;
            assert_eq!(encoded, Ok((token_ids(case), case["text"].as_str().unwrap().to_owned())), "{name}");
        } else {
            rejected += 1;
            let error = encoded.expect_err(name.as_str().unwrap());
            assert_eq!(error.error_type, case["error_type"], "{name}");
            if case["is_mistral_exception"] == true {
                assert_eq!(error.message, case["error"], "{name}");
            }
        }
    }
    assert_eq!((accepted, rejected), (39, 10));
}

#[test]
fn an_assistant_of_empty_parts_is_rejected_late() {
    let empty = || Content::Parts(vec![String::new()]);
    let messages = [
        Message::new(Role::Assistant, empty()).unwrap(),
        Message::new(Role::User, Content::Text("x".into())).unwrap(),
    ];
    let error = encode_chat(&Tokenizer::embedded(), &messages, false).unwrap_err();
    assert_eq!(error.error_type, "TokenizerException");
}

#[test]
fn tool_messages_are_refused() {
    let error = Role::from_name("tool").unwrap_err();
    assert_eq!(error.to_string(), "tool messages are not supported yet");
}
