//! Conversations that fit a budget: whole turns are dropped until the rest does.
//!
//! A turn is a user message and all up to the next one; what is before the first user message is a turn, too. System
//! messages belong to none. The last turn stays, and without a user message there is no other.
//!
//! Blocks are counted once. When turns go, all blocks keep their tokens but runs of user messages: a run can lose
//! its start, and two can meet. Their texts are counted once, too, as long as each starts at a safe place: one behind a
//! blank line where the counts of the parts add up (`tokenizer::is_safe_between`).

use std::borrow::Cow;

use super::instruct_template::{self, AROUND_USER, BLANK_LINE, Block, single_or_joined, system_prompt};
use super::sinks::Count;
use super::validation::{self, check_order};
use super::{Message, PromptError, PromptOptions, Request, Role};
use crate::error::Error;
use crate::generation::GenerationError;
use crate::tokenizer::{Tokenizer, is_safe_between};

/// In which order turns are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// From the start on.
    DropOldest,
    /// From the second on, and the first at last.
    KeepEnds,
    /// The positions in [`Fitting::turns`], each once.
    Order(Vec<usize>),
}

impl Policy {
    /// The policy of a name.
    ///
    /// # Errors
    /// A name that is none of a policy.
    pub fn from_name(name: &str) -> Result<Policy, Error> {
        match name {
            "drop_oldest" => Ok(Policy::DropOldest),
            "keep_ends" => Ok(Policy::KeepEnds),
            _ => {
                let message = format!("policy must be drop_oldest, keep_ends or a function, found {name:?}");
                Err(Error::Argument(message))
            }
        }
    }

    fn order(self, turns: usize) -> Result<Vec<usize>, Error> {
        match self {
            Policy::DropOldest => Ok((0..turns).collect()),
            Policy::KeepEnds => Ok((1..turns).chain(0..turns.min(1)).collect()),
            Policy::Order(order) => {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if sorted.iter().copied().eq(0..turns) {
                    return Ok(order);
                }
                let message =
                    format!("policy must return each of 0 to {turns} (exclusive) once, found {order:?}");
                Err(Error::Argument(message))
            }
        }
    }
}

/// What is left of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// Tokens of the prompt.
    pub token_count: usize,
    /// The messages that were dropped, by their indices, ascending.
    pub dropped: Vec<usize>,
}

/// Messages that stay or go together.
struct Turn<'a> {
    /// Its messages, without those of the system.
    messages: Vec<usize>,
    /// Whether it starts with a user message.
    has_user: bool,
    /// Tokens of its other blocks.
    others: usize,
    /// Tokens of the run of user messages that starts here, if one does.
    run: Option<usize>,
    /// The user's text.
    text: Cow<'a, str>,
    /// Whether the text, behind a blank line, starts at a safe place.
    starts_safely: bool,
    /// Tokens of the text alone, and with a blank line behind it, once they were asked for.
    tokens: [Option<usize>; 2],
    /// The turns before and behind it, of those that stay.
    before: Option<usize>,
    behind: Option<usize>,
}

/// A checked and counted conversation.
pub struct Fitting<'a, T> {
    tokenizer: &'a Tokenizer,
    request: &'a Request<T>,
    /// The system's text with a blank line behind it, or nothing; its tokens, once they were asked for.
    system: String,
    system_tokens: Option<usize>,
    /// For each message, the number of the system's before it.
    systems_before: Vec<usize>,
    token_count: usize,
    turns: Vec<Turn<'a>>,
}

impl<'a, T: AsRef<str>> Fitting<'a, T> {
    /// Checks and counts a conversation.
    ///
    /// # Errors
    /// As [`super::count_chat`].
    pub fn new(
        tokenizer: &'a Tokenizer,
        request: &'a Request<T>,
        options: PromptOptions,
    ) -> Result<Fitting<'a, T>, PromptError> {
        validation::check(request, options)?;
        let messages = &request.messages;
        let mut turns = turns(messages);
        let mut turn_of = vec![0; messages.len()];
        for (position, turn) in turns.iter().enumerate() {
            turn.messages.iter().for_each(|message| turn_of[*message] = position);
        }
        let mut systems = 0;
        let mut systems_before = Vec::with_capacity(messages.len());
        for message in messages {
            systems_before.push(systems);
            systems += usize::from(message.role == Role::System);
        }
        let mut spoken = (0..messages.len()).filter(|index| messages[*index].role != Role::System);
        let mut sink = Count { tokenizer, count: 0 };
        let mut counted = 1;
        instruct_template::write_blocks(request, options.tool_call_ids, &mut sink, |block, sink| {
            let tokens = sink.count - counted;
            counted = sink.count;
            let length = match block {
                // They always stay.
                Block::Tools(_) => return,
                Block::User { messages, .. } | Block::Assistant(messages) => messages.len(),
                Block::ToolResult(_) => 1,
            };
            // The empty message in front of what is not the user's belongs to the first turn.
            let first = if length == 0 { None } else { spoken.next() };
            spoken.by_ref().take(length.saturating_sub(1)).for_each(drop);
            let turn = turns.get_mut(first.map_or(0, |first| turn_of[first]));
            match turn {
                Some(turn) if first.is_some() && matches!(block, Block::User { .. }) => {
                    turn.run = Some(tokens);
                }
                Some(turn) => turn.others += tokens,
                None => {}
            }
        })?;
        let mut system = system_prompt(messages);
        if !system.is_empty() {
            system.push_str(BLANK_LINE);
        }
        Ok(Fitting {
            tokenizer,
            request,
            system,
            system_tokens: None,
            systems_before,
            token_count: sink.count,
            turns,
        })
    }

    /// Whether the whole prompt and `reserve` more tokens have at most `max_tokens`.
    pub fn fits(&self, max_tokens: usize, reserve: usize) -> bool {
        self.token_count.saturating_add(reserve) <= max_tokens
    }

    /// The turns that can be dropped, by the indices of their messages.
    pub fn turns(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        let droppable = self.turns.len().saturating_sub(1);
        self.turns[..droppable].iter().map(|turn| turn.messages.as_slice())
    }

    /// Drops turns until the rest, with `reserve` more tokens, has at most `max_tokens` and is allowed.
    ///
    /// # Errors
    /// An order that is none, and a budget below what has to stay.
    pub fn fit(mut self, max_tokens: usize, reserve: usize, policy: Policy) -> Result<Fitted, Error> {
        let budget = max_tokens.checked_sub(reserve);
        if self.fits(max_tokens, reserve) {
            return Ok(Fitted { token_count: self.token_count, dropped: Vec::new() });
        }
        let order = policy.order(self.turns().len())?;
        let mut known = self.token_count;
        let mut forbidden = 0_usize;
        let mut dropped = Vec::new();
        for turn in order {
            let (before, behind) = (self.turns[turn].before, self.turns[turn].behind);
            dropped.extend_from_slice(&self.turns[turn].messages);
            known -= self.turns[turn].others;
            forbidden -= self.forbidden(before, Some(turn)) + self.forbidden(Some(turn), behind);
            forbidden += self.forbidden(before, behind);
            let meet = self.joined(before, Some(turn)) || self.joined(before, behind);
            let before = before.filter(|_| meet);
            let behind = behind.filter(|_| meet || self.joined(Some(turn), behind));
            for changed in [before, Some(turn), behind].into_iter().flatten() {
                let start = self.run_start(changed);
                known -= self.turns[start].run.take().unwrap_or(0);
            }
            self.unlink(turn);
            for changed in [before, behind].into_iter().flatten() {
                let start = self.run_start(changed);
                let Turn { has_user: true, run: None, .. } = self.turns[start] else { continue };
                known += self.count_run(start);
            }
            if forbidden == 0 && budget.is_some_and(|budget| known <= budget) {
                dropped.sort_unstable();
                return Ok(Fitted { token_count: known, dropped });
            }
        }
        let reserve = (reserve > 0).then_some(reserve);
        let (prompt_tokens, context_length) = (known, max_tokens);
        Err(GenerationError::ContextLength { prompt_tokens, max_tokens: reserve, context_length }.into())
    }

    /// Counts the run of user messages that starts with a turn, with the system's text if it is the last.
    fn count_run(&mut self, start: usize) -> usize {
        let tokenizer = self.tokenizer;
        let mut run = vec![start];
        let mut last = start;
        while let Some(behind) =
            self.turns[last].behind.filter(|behind| self.joined(Some(last), Some(*behind)))
        {
            run.push(behind);
            last = behind;
        }
        let has_system = self.turns[last].behind.is_none();
        run.retain(|turn| !self.turns[*turn].text.is_empty());
        // What is behind the last safe place.
        let mut pending = String::new();
        let mut tokens = AROUND_USER;
        if has_system && run.first().is_none_or(|first| self.turns[*first].starts_safely) {
            let count = || tokenizer.count(&self.system);
            tokens += *self.system_tokens.get_or_insert_with(count);
        } else if has_system {
            pending.push_str(&self.system);
        }
        for (position, turn) in run.iter().enumerate() {
            let next = run.get(position + 1);
            let turn_ends_safely = next.is_none_or(|next| self.turns[*next].starts_safely);
            let blank_line = if next.is_some() { BLANK_LINE } else { "" };
            let Turn { text, starts_safely, tokens: known, .. } = &mut self.turns[*turn];
            if *starts_safely {
                tokens += tokenizer.count(&pending);
                pending.clear();
            }
            if pending.is_empty() && turn_ends_safely {
                let count = || tokenizer.count(&format!("{text}{blank_line}"));
                tokens += *known[usize::from(next.is_some())].get_or_insert_with(count);
            } else {
                pending.push_str(text);
                pending.push_str(blank_line);
            }
        }
        tokens += tokenizer.count(&pending);
        self.turns[start].run = Some(tokens);
        tokens
    }

    /// The turn whose user message starts the run that a turn's is in.
    fn run_start(&self, mut turn: usize) -> usize {
        while self.joined(self.turns[turn].before, Some(turn)) {
            turn = self.turns[turn].before.unwrap_or(turn);
        }
        turn
    }

    /// Whether two turns, one behind the other, have their user messages in one run.
    fn joined(&self, before: Option<usize>, behind: Option<usize>) -> bool {
        let (Some(before), Some(behind)) = (before, behind) else { return false };
        let before = &self.turns[before];
        before.has_user && before.messages.len() == 1 && !self.system_between(before, &self.turns[behind])
    }

    /// 1 if a system message is between two turns, one behind the other, and must not be there.
    fn forbidden(&self, before: Option<usize>, behind: Option<usize>) -> usize {
        let (Some(before), Some(behind)) = (before, behind) else { return 0 };
        let (before, behind) = (&self.turns[before], &self.turns[behind]);
        let last = before.messages.last().map_or(Role::User, |last| self.request.messages[*last].role);
        usize::from(self.system_between(before, behind) && check_order(last, Role::System).is_err())
    }

    fn system_between(&self, before: &Turn<'_>, behind: &Turn<'_>) -> bool {
        let (Some(last), Some(first)) = (before.messages.last(), behind.messages.first()) else {
            return false;
        };
        self.systems_before[*last] < self.systems_before[*first]
    }

    fn unlink(&mut self, turn: usize) {
        let (before, behind) = (self.turns[turn].before, self.turns[turn].behind);
        if let Some(before) = before {
            self.turns[before].behind = behind;
        }
        if let Some(behind) = behind {
            self.turns[behind].before = before;
        }
    }
}

fn turns<T: AsRef<str>>(messages: &[Message<T>]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let has_user = message.role == Role::User;
        match turns.last_mut() {
            _ if message.role == Role::System => {}
            Some(turn) if !has_user => turn.messages.push(index),
            _ => {
                let said = if has_user { std::slice::from_ref(message) } else { &[] };
                let text = single_or_joined(said);
                turns.push(Turn {
                    messages: vec![index],
                    has_user,
                    others: 0,
                    run: None,
                    starts_safely: text.chars().next().is_some_and(|first| is_safe_between('\n', first)),
                    text,
                    tokens: [None; 2],
                    before: turns.len().checked_sub(1),
                    behind: Some(turns.len() + 1),
                });
            }
        }
    }
    if let Some(last) = turns.last_mut() {
        last.behind = None;
    }
    turns
}
