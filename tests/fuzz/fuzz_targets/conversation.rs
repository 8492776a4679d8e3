//! Messages in any order: a conversation that grows counts each of its states as a whole, and what is cut fits.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nemo_fast::prompt::{
    Arguments, Content, Conversation, Fitting, Message, Mode, Policy, PromptError, PromptOptions, Request,
    Role, ToolCall, ToolCallIds, count_chat,
};
use nemo_fast::tokenizer::Tokenizer;

#[derive(Arbitrary, Debug)]
enum Said<'a> {
    System(&'a str),
    User(&'a str),
    Assistant(&'a str),
    Calls(Vec<&'a str>),
    Result(&'a str),
    Nothing,
}

const ID: &str = "VvvODy9mT";
const AGNOSTIC: PromptOptions = PromptOptions { mode: Mode::Agnostic, tool_call_ids: ToolCallIds::Strict };

fn message<'a>(said: &Said<'a>) -> Option<Message<&'a str>> {
    let text = |role, text| Message::new(role, Content::Text(text));
    Some(match said {
        Said::System(content) => text(Role::System, *content),
        Said::User(content) => text(Role::User, *content),
        Said::Assistant(content) => text(Role::Assistant, *content),
        Said::Calls(arguments) => {
            let call =
                |text: &&'a str| ToolCall { id: Some(ID), name: "f", arguments: Arguments::Text(*text) };
            let calls = arguments.iter().map(call).collect();
            Message { tool_calls: Some(calls), ..Message::new(Role::Assistant, Content::Absent) }
        }
        Said::Result(content) => Message { tool_call_id: Some(ID), ..text(Role::Tool, *content) },
        Said::Nothing => return None,
    })
}

fn count(tokenizer: &Tokenizer, messages: &[Message<&str>]) -> Result<usize, PromptError> {
    count_chat(tokenizer, &Request::new(messages.to_vec(), Vec::new()), AGNOSTIC)
}

fuzz_target!(|input: (Vec<Said<'_>>, u8)| {
    let (said, budget) = input;
    let tokenizer = Tokenizer::embedded();
    let mut grown = Conversation::new::<&str>(tokenizer.clone(), &[], ToolCallIds::Strict).unwrap();
    // Alone, only a user or the system may begin.
    let mut messages = vec![Message::new(Role::User, Content::Text(""))];
    grown.append(&messages[0]).unwrap();
    for said in &said {
        // Saying nothing takes the last message back.
        let Some(message) = message(said) else {
            if messages.len() > 1 {
                messages.pop();
                assert!(grown.pop());
            }
            assert_eq!(Ok(grown.token_count()), count(&tokenizer, &messages));
            continue;
        };
        messages.push(message);
        let whole = count(&tokenizer, &messages);
        let appended = grown.append(&messages[messages.len() - 1]);
        assert_eq!(appended.map(|()| grown.token_count()), whole);
        if whole.is_err() {
            messages.pop();
        }
    }
    let request = Request::new(messages, Vec::new());
    let fitting = Fitting::new(&tokenizer, &request, AGNOSTIC).unwrap();
    if let Ok(fitted) = fitting.fit(usize::from(budget), 0, Policy::KeepEnds) {
        let kept = request.messages.iter().enumerate().filter(|(index, _)| !fitted.dropped.contains(index));
        let kept: Vec<_> = kept.map(|(_, message)| message.clone()).collect();
        assert_eq!(count(&tokenizer, &kept), Ok(fitted.token_count));
        assert!(fitted.token_count <= usize::from(budget));
    }
});
