//! `tests/golden/chat.json`: what mistral-common 1.13.1 made of texts and of requests.

use serde_json::Value;

/// The whole file. Its one lone surrogate, which no Rust string can hold, is U+FFFD here, as it is to the
/// tokenizer.
pub(crate) fn chat_json() -> Value {
    let json = include_str!("../golden/chat.json").replace(r"\ud83d ", r"\ufffd ");
    serde_json::from_str(&json).expect("chat.json is JSON")
}

/// The token ids of a case.
pub(crate) fn token_ids(case: &Value) -> Vec<u32> {
    case["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}
