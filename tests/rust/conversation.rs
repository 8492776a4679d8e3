//! Conversations that grow, and those that are cut to a budget, against the count of the whole.

use nemo_fast::Error;
use nemo_fast::generation::GenerationError;
use nemo_fast::prompt::{
    Arguments, Content, Conversation, Fitting, Message, Mode, Policy, PromptError, PromptOptions, Request,
    Role, ToolCall, ToolCallIds, count_chat,
};
use nemo_fast::tokenizer::Tokenizer;
use proptest::prelude::*;

const AGNOSTIC: PromptOptions = PromptOptions { mode: Mode::Agnostic, tool_call_ids: ToolCallIds::Strict };
const ID: &str = "VvvODy9mT";

/// Messages of all roles in any order; those that break a rule are left out.
fn conversations() -> impl Strategy<Value = Vec<Message<&'static str>>> {
    let texts = prop::sample::select(
        &["", "a", "two words", " b \n", "Premi", "ère", "[INST]", "!", "1  ", "\n"][..],
    );
    let message = (0..6, texts).prop_map(|(kind, text)| match kind {
        0 => Message::new(Role::System, Content::Text(text)),
        1 => {
            let call = ToolCall { id: Some(ID), name: "ping", arguments: Arguments::Text(text) };
            Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, Content::Absent) }
        }
        2 => Message { tool_call_id: Some(ID), ..Message::new(Role::Tool, Content::Text(text)) },
        3 => Message::new(Role::Assistant, Content::Text(text)),
        _ => Message::new(Role::User, Content::Text(text)),
    });
    prop::collection::vec(message, 0..16).prop_map(|drawn| {
        let mut messages = vec![Message::new(Role::User, Content::Text("Hi"))];
        for message in drawn {
            messages.push(message);
            if count(&messages).is_err() {
                messages.pop();
            }
        }
        messages
    })
}

fn count(messages: &[Message<&'static str>]) -> Result<usize, PromptError> {
    count_chat(&Tokenizer::embedded(), &Request::new(messages.to_vec(), Vec::new()), AGNOSTIC)
}

/// What `Fitting` does, with every candidate counted as a whole.
fn fit_slowly(messages: &[Message<&'static str>], budget: usize) -> Result<(usize, Vec<usize>), usize> {
    let mut tokens = 0;
    // The first message is the user's, so that a turn starts with each of theirs.
    for start in (0..messages.len()).filter(|index| messages[*index].role == Role::User) {
        let dropped: Vec<usize> = (0..start).filter(|index| messages[*index].role != Role::System).collect();
        let kept = (0..messages.len()).filter(|index| !dropped.contains(index));
        let kept: Vec<_> = kept.map(|index| messages[index].clone()).collect();
        let Ok(counted) = count(&kept) else { continue };
        tokens = counted;
        if tokens <= budget {
            return Ok((tokens, dropped));
        }
    }
    Err(tokens)
}

proptest! {
    #[test]
    fn a_conversation_that_grows_counts_as_a_whole(messages in conversations()) {
        let mut grown = Conversation::new::<&str>(Tokenizer::embedded(), &[], ToolCallIds::Strict).unwrap();
        let mut counts = vec![grown.token_count()];
        for (index, message) in messages.iter().enumerate() {
            grown.append(message).unwrap();
            prop_assert_eq!(Ok(grown.token_count()), count(&messages[..=index]));
            counts.push(grown.token_count());
        }
        while grown.pop() {
            counts.pop();
            prop_assert_eq!((grown.token_count(), grown.len() + 1), (counts[counts.len() - 1], counts.len()));
        }
    }

    #[test]
    fn what_is_dropped_is_what_has_to_be(messages in conversations(), budget in 0_usize..80) {
        let tokenizer = Tokenizer::embedded();
        let request = Request::new(messages.clone(), Vec::new());
        let fitted = Fitting::new(&tokenizer, &request, AGNOSTIC).unwrap().fit(budget, 0, Policy::DropOldest);
        match (fitted, fit_slowly(&messages, budget)) {
            (Ok(fitted), expected) => prop_assert_eq!(Ok((fitted.token_count, fitted.dropped)), expected),
            (Err(Error::Generation(GenerationError::ContextLength { prompt_tokens, .. })), expected) => {
                prop_assert_eq!(Err(prompt_tokens), expected);
            }
            (Err(error), _) => panic!("{error}"),
        }
    }
}

#[test]
fn a_message_left_open_must_be_last() {
    let mut grown = Conversation::new::<&str>(Tokenizer::embedded(), &[], ToolCallIds::Strict).unwrap();
    grown.append(&Message::new(Role::User, Content::Text("Hi"))).unwrap();
    let closed = {
        grown.append(&Message::new(Role::Assistant, Content::Text("Well"))).unwrap();
        grown.token_count()
    };
    assert!(grown.pop());
    let open = Message { prefix: true, ..Message::new(Role::Assistant, Content::Text("Well")) };
    grown.append(&open).unwrap();
    assert_eq!(grown.token_count(), closed - 1);
    let error = grown.append(&Message::new(Role::User, Content::Text("Hi"))).unwrap_err();
    assert_eq!(error.message, "Assistant message with prefix True must be last message");
    assert_eq!(grown.len(), 2);
}
