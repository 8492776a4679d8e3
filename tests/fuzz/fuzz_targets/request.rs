//! Any text, alone or as the messages of a request, is refused or makes a prompt that every way to count agrees on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nemo_fast::prompt::{
    Fitting, Mode, Policy, PromptOptions, ToolCallIds, count_chat, encode_chat, parse_json, read_request,
    render_chat,
};
use nemo_fast::tokenizer::Tokenizer;

fn try_request(tokenizer: &Tokenizer, text: &str) {
    let Ok(json) = parse_json(text) else { return };
    let Ok(request) = read_request(&&json, &mut |_pattern| true) else { return };
    for mode in [Mode::Test, Mode::Serving, Mode::Finetuning, Mode::Agnostic] {
        for tool_call_ids in [ToolCallIds::Strict, ToolCallIds::Last9] {
            let options = PromptOptions { mode, tool_call_ids };
            let ids = encode_chat(tokenizer, &request, options);
            assert_eq!(
                count_chat(tokenizer, &request, options),
                ids.as_ref().map(Vec::len).map_err(Clone::clone)
            );
            assert_eq!(render_chat(tokenizer, &request, options).err(), ids.as_ref().err().cloned());
            if let Ok(ids) = ids {
                let fitting = Fitting::new(tokenizer, &request, options).unwrap();
                let fitted = fitting.fit(ids.len(), 0, Policy::DropOldest).unwrap();
                assert_eq!((fitted.token_count, fitted.dropped.len()), (ids.len(), 0));
            }
        }
    }
}

fuzz_target!(|text: &str| {
    let tokenizer = Tokenizer::embedded();
    try_request(&tokenizer, text);
    try_request(&tokenizer, &format!(r#"{{"model": "m", "messages": [{text}]}}"#));
    try_request(
        &tokenizer,
        &format!(r#"{{"messages": [{{"role": "user", "content": "x"}}], "tools": [{text}]}}"#),
    );
});
