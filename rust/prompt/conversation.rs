//! A conversation that is counted as it grows.
//!
//! Each message leaves a [`Step`] behind: the tokens up to it, and the blocks that a next message could change. These are
//! two: the last of the user, which has the system's text in front and which more messages of the user join, and what
//! the model is saying. So a message costs its own tokens, and those around the place where the system's text meets the
//! user's. Taking it back drops its step.

use std::sync::Arc;

use super::instruct_template::{self, AROUND_USER, BLANK_LINE, Block, check_run, check_texts, join, texts};
use super::sinks::{Count, Sink, control_token};
use super::validation::{self, awaited_behind, check_order};
use super::{Message, Mode, PromptError, PromptOptions, Role, Tool, ToolCallIds, tool_json};
use crate::tokenizer::special_tokens::{BEGIN_INST, BOS, END_INST, EOS, TOOL_CALLS};
use crate::tokenizer::{TokenCounter, Tokenizer, first_safe};

/// Counts a conversation while messages are added and taken back.
///
/// The count is that of [`super::count_chat`] in [`Mode::Agnostic`], for what is allowed there. A conversation may also be
/// empty, or one message of the model or of a tool: that is how others start.
///
/// ```
/// use nemo_fast::prompt::{Content, Conversation, Message, Role, Tool, ToolCallIds};
/// use nemo_fast::tokenizer::Tokenizer;
///
/// let tools: &[Tool] = &[];
/// let mut conversation = Conversation::new(Tokenizer::embedded(), tools, ToolCallIds::Strict)?;
/// conversation.append(&Message::new(Role::User, Content::Text("Hello, how are you?")))?;
/// assert_eq!(conversation.token_count(), 9);
/// # Ok::<(), nemo_fast::prompt::PromptError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conversation {
    tokenizer: Tokenizer,
    options: PromptOptions,
    /// Before the first message.
    start: Step,
    /// Behind each message.
    steps: Vec<Step>,
}

/// A conversation up to one of its messages.
#[derive(Clone, Debug)]
struct Step {
    /// Tokens of `<s>`, the tools, and all blocks but the last of the user and what the model is saying.
    settled: usize,
    user_tokens: usize,
    assistant_tokens: usize,
    system: Arc<SystemText>,
    user: Arc<UserText>,
    /// What the model said last. Nothing else has to be looked at once another role has spoken.
    assistant: Option<Arc<AssistantText>>,
    /// The role of the last message.
    role: Option<Role>,
    /// Whether there is a message that is not the system's.
    is_spoken: bool,
    /// Results of calls that are to come.
    awaited: isize,
    /// Why nothing may follow the last message, if so.
    must_be_last: Option<PromptError>,
}

/// The texts of all system messages, joined.
#[derive(Clone, Debug)]
struct SystemText {
    counter: TokenCounter,
    is_empty: bool,
    /// Whether a message had any content, if only an empty part: the next one then begins with a blank line.
    has_content: bool,
}

/// The texts of user messages in a row, joined.
#[derive(Clone, Debug)]
struct UserText {
    counter: TokenCounter,
    is_empty: bool,
    tokens: usize,
    /// The text up to its first safe place: all that the system's text in front of it can change.
    head: String,
    head_tokens: usize,
    is_head_whole: bool,
}

/// The texts or the calls of assistant messages in a row, joined.
#[derive(Clone, Debug)]
struct AssistantText {
    counter: TokenCounter,
    /// Spaces at the end, which count only if something follows.
    spaces: usize,
    has_calls: bool,
}

impl Conversation {
    /// A conversation without messages.
    ///
    /// # Errors
    /// A tool that is not allowed.
    pub fn new<T: AsRef<str>>(
        tokenizer: Tokenizer,
        tools: &[Tool<T>],
        tool_call_ids: ToolCallIds,
    ) -> Result<Conversation, PromptError> {
        tools.iter().try_for_each(validation::check_tool)?;
        let mut sink = Count { tokenizer: &tokenizer, count: 0 };
        sink.control(BOS)?;
        if !tools.is_empty() {
            instruct_template::write_block(&Block::Tools(tools), tool_call_ids, &mut sink)?;
        }
        let settled = sink.count;
        let nothing = TokenCounter::new(tokenizer.clone());
        let user = UserText {
            counter: nothing.clone(),
            is_empty: true,
            tokens: 0,
            head: String::new(),
            head_tokens: 0,
            is_head_whole: false,
        };
        let system = SystemText { counter: nothing, is_empty: true, has_content: false };
        let mut start = Step {
            settled,
            user_tokens: 0,
            assistant_tokens: 0,
            system: Arc::new(system),
            user: Arc::new(user),
            assistant: None,
            role: None,
            is_spoken: false,
            awaited: 0,
            must_be_last: None,
        };
        start.count_user(&tokenizer)?;
        let options = PromptOptions { mode: Mode::Agnostic, tool_call_ids };
        Ok(Conversation { tokenizer, options, start, steps: Vec::new() })
    }

    /// Adds a message.
    ///
    /// # Errors
    /// A message that is not allowed here; the conversation is as before.
    pub fn append<T: AsRef<str>>(&mut self, message: &Message<T>) -> Result<(), PromptError> {
        let mut step = self.last().clone();
        self.check(&mut step, message)?;
        match message.role {
            Role::System => self.add_system(&mut step, message)?,
            Role::User => self.add_user(&mut step, message)?,
            Role::Assistant => self.add_assistant(&mut step, message)?,
            Role::Tool => {
                step.settle_assistant();
                step.settled += self.count_block(&Block::ToolResult(message))?;
            }
        }
        step.role = Some(message.role);
        step.is_spoken |= message.role != Role::System;
        self.steps.push(step);
        Ok(())
    }

    /// Takes the last message back; false if there is none.
    pub fn pop(&mut self) -> bool {
        self.steps.pop().is_some()
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Tokens of the prompt, whoever spoke last. Without messages it is that of an empty text of the user.
    pub fn token_count(&self) -> usize {
        let last = self.last();
        last.settled + last.user_tokens + last.assistant_tokens
    }

    fn last(&self) -> &Step {
        self.steps.last().unwrap_or(&self.start)
    }

    /// The rules of `validation` for a message behind those that are there.
    fn check<T: AsRef<str>>(&self, step: &mut Step, message: &Message<T>) -> Result<(), PromptError> {
        if let Some(previous) = step.role {
            check_order(previous, message.role)?;
            step.awaited = awaited_behind(step.awaited, message)?;
        }
        if let Some(error) = step.must_be_last.take() {
            return Err(error);
        }
        validation::check_message(message, true, self.options)?;
        step.must_be_last = validation::check_message(message, false, self.options).err();
        Ok(())
    }

    fn add_system<T: AsRef<str>>(&self, step: &mut Step, message: &Message<T>) -> Result<(), PromptError> {
        if message.content.is_empty() {
            return Ok(());
        }
        let system = Arc::make_mut(&mut step.system);
        let mut text = String::from(if system.has_content { BLANK_LINE } else { "" });
        join(message.content.texts(), &mut text);
        system.counter.append(&text);
        system.is_empty &= text.is_empty();
        system.has_content = true;
        step.count_user(&self.tokenizer)
    }

    fn add_user<T: AsRef<str>>(&self, step: &mut Step, message: &Message<T>) -> Result<(), PromptError> {
        check_texts(std::slice::from_ref(message))?;
        if step.role != Some(Role::User) {
            step.settle_assistant();
            if step.is_spoken {
                // From now on another block is the user's last, and this one is without the system's text.
                step.settled += step.user.tokens + AROUND_USER;
            }
            step.user = Arc::clone(&self.start.user);
        }
        Arc::make_mut(&mut step.user).add(message, &self.tokenizer);
        step.count_user(&self.tokenizer)
    }

    fn add_assistant<T: AsRef<str>>(&self, step: &mut Step, message: &Message<T>) -> Result<(), PromptError> {
        let calls = message.calls();
        let has_text = texts(std::slice::from_ref(message)).next().is_some();
        let earlier = step.assistant.as_deref();
        check_run(
            !calls.is_empty() || earlier.is_some_and(|earlier| earlier.has_calls),
            has_text || earlier.is_some_and(|earlier| !earlier.has_calls),
        )?;
        let mut text = String::new();
        if calls.is_empty() {
            if has_text && earlier.is_some() {
                text.push_str(BLANK_LINE);
            }
            join(message.content.texts(), &mut text);
        } else {
            tool_json::write_calls(calls.iter(), self.options.tool_call_ids, &mut text)?;
            // The list stays open; what was there already has the bracket in front.
            text.pop();
            if earlier.is_some() {
                text.replace_range(..1, ", ");
            }
        }
        let assistant = step.assistant.get_or_insert_with(|| {
            let counter = TokenCounter::new(self.tokenizer.clone());
            Arc::new(AssistantText { counter, spaces: 0, has_calls: !calls.is_empty() })
        });
        let assistant = Arc::make_mut(assistant);
        assistant.add(&text);
        step.assistant_tokens = if assistant.has_calls {
            control_token(&self.tokenizer, TOOL_CALLS)?;
            1 + assistant.counter.count_with("]")
        } else {
            assistant.counter.count()
        };
        if !message.prefix {
            control_token(&self.tokenizer, EOS)?;
            step.assistant_tokens += 1;
        }
        Ok(())
    }

    fn count_block<T: AsRef<str>>(&self, block: &Block<'_, T>) -> Result<usize, PromptError> {
        let mut sink = Count { tokenizer: &self.tokenizer, count: 0 };
        instruct_template::write_block(block, self.options.tool_call_ids, &mut sink)?;
        Ok(sink.count)
    }
}

impl Step {
    /// Counts the last block of the user, with the system's text in front.
    fn count_user(&mut self, tokenizer: &Tokenizer) -> Result<(), PromptError> {
        let mut sink = Count { tokenizer, count: 0 };
        sink.control(BEGIN_INST)?;
        sink.control(END_INST)?;
        self.user_tokens = sink.count + self.user.tokens;
        if !self.system.is_empty {
            let head = format!("{BLANK_LINE}{}", self.user.head);
            self.user_tokens += self.system.counter.count_with(&head) - self.user.head_tokens;
        }
        Ok(())
    }

    /// Another role speaks: what the model said can no longer change.
    fn settle_assistant(&mut self) {
        self.settled += std::mem::take(&mut self.assistant_tokens);
        self.assistant = None;
    }
}

impl UserText {
    fn add<T: AsRef<str>>(&mut self, message: &Message<T>, tokenizer: &Tokenizer) {
        let mut text = String::new();
        if !self.is_empty && message.content.texts().next().is_some() {
            text.push_str(BLANK_LINE);
        }
        join(message.content.texts(), &mut text);
        self.is_empty &= text.is_empty();
        self.counter.append(&text);
        self.tokens = self.counter.count();
        if self.is_head_whole {
            return;
        }
        let known = self.head.len();
        self.head.push_str(&text);
        if let Some(safe) = first_safe(&self.head, known, self.head.len()) {
            self.head.truncate(safe);
            self.is_head_whole = true;
        }
        self.head_tokens = tokenizer.count(&self.head);
    }
}

impl AssistantText {
    fn add(&mut self, text: &str) {
        let kept = text.trim_end_matches(' ');
        if !kept.is_empty() {
            self.counter.append(&" ".repeat(std::mem::take(&mut self.spaces)));
            self.counter.append(kept);
        }
        self.spaces += text.len() - kept.len();
    }
}
