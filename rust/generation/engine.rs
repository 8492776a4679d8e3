//! Requests in, events out: each step is one forward pass over whatever is waiting.
//!
//! A pass has room for [`MAX_ROWS`] rows. Choices that are being answered take one row each, first; prompts fill
//! the rest, in the order in which they came, so that a long prompt does not stall the others. A choice starts
//! once pages for the longest it can become are free: it never has to give any back half-way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::sequence::{Piece, Sequence, Stopping};
use super::{GenerationError, Prefill, Sampling};
use crate::backend::{Backend, KvFormat, PAGE, Rows};
use crate::error::{Error, Result};
use crate::model::{Activations, MAX_ROWS, Model, PagePool};
use crate::tokenizer::{TokenId, TokenTable, TokenizerError};

/// Choices that run at a time.
pub(super) const MAX_RUNNING: usize = 16;

/// Answers to a request at most, as in OpenAI's API.
const MOST_CHOICES: usize = 128;

/// Names a request until it has ended.
pub type RequestId = u64;

/// What is to be answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt's token ids, as given.
    pub prompt: Vec<TokenId>,
    /// How many answers.
    pub choices: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What ends an answer.
    pub stopping: Stopping,
}

/// What happened to a choice in a step.
#[derive(Debug)]
pub struct Event {
    /// Whose.
    pub request: RequestId,
    /// Which of its choices.
    pub choice: usize,
    /// A token, or why there is none; after an error the choice has ended.
    pub result: Result<Piece, GenerationError>,
}

/// What waits for its turn.
pub(super) enum Waiting {
    Choice(Box<Sequence>),
    /// Of which logits are wanted, and so many pages.
    Text {
        request: RequestId,
        pages: usize,
    },
}

impl Waiting {
    pub(super) fn request(&self) -> RequestId {
        match self {
            Waiting::Choice(sequence) => sequence.request,
            Waiting::Text { request, .. } => *request,
        }
    }

    /// Pages that it will have.
    fn pages(&self) -> usize {
        match self {
            Waiting::Choice(sequence) => sequence.longest.div_ceil(PAGE),
            Waiting::Text { pages, .. } => *pages,
        }
    }
}

/// A model that answers requests.
pub struct Engine<B: Backend> {
    pub(super) model: Model<B>,
    /// The bytes of each token; a folder without a tokenizer has none, and its answers have no text.
    tokens: Option<Arc<TokenTable>>,
    pub(super) cache: B::KvCache,
    pub(super) pages: PagePool,
    pub(super) activations: Activations<B>,
    pub(super) rows: Rows<B>,
    pub(super) prefill: Prefill,
    pub(super) waiting: VecDeque<Waiting>,
    /// Pages of texts whose turn has come.
    pub(super) granted: HashMap<RequestId, Vec<u32>>,
    running: Vec<Sequence>,
    submitted: RequestId,
}

impl<B: Backend> Engine<B> {
    /// An engine whose KV cache holds one full context.
    pub fn new(model: Model<B>, kv_format: KvFormat, tokens: Option<Arc<TokenTable>>) -> Result<Engine<B>> {
        let pages = model.context_length.div_ceil(PAGE);
        Ok(Engine {
            cache: model.kv_cache(pages, kv_format)?,
            pages: PagePool::new(pages),
            activations: model.activations(MAX_RUNNING)?,
            rows: model.rows(MAX_RUNNING)?,
            prefill: Prefill::Bf16,
            waiting: VecDeque::new(),
            granted: HashMap::new(),
            running: Vec::new(),
            submitted: 0,
            tokens,
            model,
        })
    }

    /// The same engine, reading prompts in another arithmetic.
    pub fn with_prefill(self, prefill: Prefill) -> Engine<B> {
        Engine { prefill, ..self }
    }

    /// The model.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Takes a request into the queue, after checking all of it.
    pub fn submit(&mut self, request: &Request) -> Result<RequestId> {
        let longest = self.check(request)?;
        let id = self.next_request();
        let eos = if request.stopping.ignore_eos { &[] } else { self.model.config.eos_token_ids.as_slice() };
        let ends = [eos, &request.stopping.stop_token_ids].concat();
        for choice in 0..request.choices {
            let sequence = Sequence::new(
                (id, choice),
                request.prompt.clone(),
                longest,
                request.sampling.clone(),
                (ends.clone(), request.stopping.stop.clone()),
                self.tokens.as_ref(),
            );
            self.waiting.push_back(Waiting::Choice(Box::new(sequence)));
        }
        Ok(id)
    }

    pub(super) fn next_request(&mut self) -> RequestId {
        self.submitted += 1;
        self.submitted
    }

    /// Positions that an answer to the request can reach.
    fn check(&self, request: &Request) -> Result<usize> {
        request.sampling.check()?;
        let Request { prompt, choices, stopping, .. } = request;
        let argument = |message: String| Err(Error::Argument(message));
        if !(1..=MOST_CHOICES).contains(choices) {
            return argument(format!("n must be between 1 and {MOST_CHOICES}, found {choices}"));
        }
        if stopping.max_tokens == Some(0) {
            return argument("max_tokens must be at least 1, found 0".to_owned());
        }
        if stopping.stop.len() > 4 {
            return argument(format!("stop takes at most 4 strings, found {}", stopping.stop.len()));
        }
        if stopping.stop.iter().any(String::is_empty) {
            return argument("stop: an empty string would end every answer".to_owned());
        }
        if self.tokens.is_none() && !stopping.stop.is_empty() {
            return argument("stop needs a tokenizer, and this model has none".to_owned());
        }
        self.check_prompt(prompt)?;
        self.check_ids(&stopping.stop_token_ids)?;
        let context_length = self.model.context_length;
        let longest = prompt.len().checked_add(stopping.max_tokens.unwrap_or(1));
        match longest.filter(|&longest| longest <= context_length) {
            None => {
                let (prompt_tokens, max_tokens) = (prompt.len(), stopping.max_tokens);
                Err(GenerationError::ContextLength { prompt_tokens, max_tokens, context_length }.into())
            }
            Some(longest) => Ok(if stopping.max_tokens.is_some() { longest } else { context_length }),
        }
    }

    pub(super) fn check_prompt(&self, prompt: &[TokenId]) -> Result<()> {
        if prompt.is_empty() {
            return Err(Error::Argument("the prompt is empty: there is nothing to continue".to_owned()));
        }
        self.check_ids(prompt)
    }

    fn check_ids(&self, ids: &[TokenId]) -> Result<()> {
        let vocab_size = self.model.config.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(TokenizerError::UnknownId { id, vocab_size }.into()),
            None => Ok(()),
        }
    }

    /// Drops a request and gives its pages back. An ended or unknown one is no error: it may just have ended.
    pub fn cancel(&mut self, request: RequestId) {
        self.waiting.retain(|waiting| waiting.request() != request);
        self.end(|sequence| sequence.request == request);
    }

    /// Whether a step would have nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// One forward pass; the tokens it brought, at most one a choice.
    pub fn step(&mut self) -> Vec<Event> {
        self.start_waiting();
        let plan = self.plan();
        if plan.is_empty() {
            return Vec::new();
        }
        let mut pass = Pass::default();
        for &(slot, count) in &plan {
            let sequence = &self.running[slot];
            let is_bf16 = self.prefill == Prefill::Bf16 || !sequence.reads_prompt();
            pass.append(&sequence.pending()[..count], sequence.position(), slot, is_bf16);
        }
        let tables: Vec<&[u32]> = self.running.iter().map(|sequence| sequence.pages.as_slice()).collect();
        run(&mut self.model, &pass, &tables, &mut self.rows, &mut self.cache, &mut self.activations);

        // A choice whose pending tokens are all in the cache draws its next one from the row of the last of them.
        let mut ready = Vec::new();
        let mut end = 0;
        for &(slot, count) in &plan {
            end += count;
            if self.running[slot].advance(count) {
                ready.push((slot, end as u32 - 1));
            }
        }
        let selected: Vec<u32> = ready.iter().map(|&(_, row)| row).collect();
        let logits = self.model.logits(&selected, &mut self.activations);
        let mut events = Vec::with_capacity(ready.len());
        for (&(slot, _), logits) in ready.iter().zip(&logits) {
            let sequence = &mut self.running[slot];
            events.push(Event {
                request: sequence.request,
                choice: sequence.choice,
                result: sequence.extend(logits),
            });
        }
        let ended =
            |event: &&Event| event.result.as_ref().map_or(true, |piece| piece.finish_reason.is_some());
        let ended: Vec<_> = events.iter().filter(ended).map(|event| (event.request, event.choice)).collect();
        self.end(|sequence| ended.contains(&(sequence.request, sequence.choice)));
        events
    }

    /// Starts what waits, in order, as far as pages and slots go.
    pub(super) fn start_waiting(&mut self) {
        while self.running.len() < MAX_RUNNING
            && let Some(next) = self.waiting.front()
            && let Some(pages) = self.pages.take(next.pages())
        {
            match self.waiting.pop_front() {
                Some(Waiting::Choice(mut sequence)) => {
                    sequence.pages = pages;
                    self.running.push(*sequence);
                }
                Some(Waiting::Text { request, .. }) => drop(self.granted.insert(request, pages)),
                None => {}
            }
        }
    }

    /// Which running choices get how many rows of the next pass, in the order of the rows: one for each answer, then prompts.
    fn plan(&self) -> Vec<(usize, usize)> {
        let slots = 0..self.running.len();
        let (prompts, answers): (Vec<_>, Vec<_>) = slots.partition(|&slot| self.running[slot].reads_prompt());
        let mut left = MAX_ROWS - answers.len();
        let mut plan: Vec<_> = answers.into_iter().map(|slot| (slot, 1)).collect();
        for slot in prompts {
            let rows = self.running[slot].pending().len().min(left);
            if rows > 0 {
                plan.push((slot, rows));
                left -= rows;
            }
        }
        plan
    }

    fn end(&mut self, ends: impl Fn(&Sequence) -> bool) {
        let (ended, running) =
            std::mem::take(&mut self.running).into_iter().partition(|sequence| ends(sequence));
        self.running = running;
        for sequence in Vec::<Sequence>::into_iter(ended) {
            self.pages.give(sequence.pages);
        }
    }

    /// What the first that waits lacks, while nothing runs that would give pages back: the logits of a text have them.
    pub fn lack_of_pages(&self) -> Option<GenerationError> {
        let next = self.waiting.front().filter(|_| self.running.is_empty())?;
        let (needed, free) = (next.pages(), self.pages.free());
        (needed > free).then_some(GenerationError::Busy { needed, free })
    }

    /// Pages of the KV cache, free and in all.
    pub fn pages(&self) -> &PagePool {
        &self.pages
    }

    /// Choices that wait, and that run.
    pub fn queue_lengths(&self) -> (usize, usize) {
        let choices = self.waiting.iter().filter(|waiting| matches!(waiting, Waiting::Choice(_)));
        (choices.count(), self.running.len())
    }
}

/// The rows of a pass, on the host; those in integers stand last.
#[derive(Default)]
pub(super) struct Pass {
    token_ids: Vec<u32>,
    positions: Vec<u32>,
    sequences: Vec<u32>,
    int8_len: usize,
}

impl Pass {
    pub(super) fn append(&mut self, ids: &[TokenId], position: usize, slot: usize, is_bf16: bool) {
        if is_bf16 {
            debug_assert_eq!(self.int8_len, 0);
        } else {
            self.int8_len += ids.len();
        }
        self.token_ids.extend(ids);
        self.positions.extend((position..position + ids.len()).map(|position| position as u32));
        self.sequences.extend(ids.iter().map(|_| slot as u32));
    }
}

/// Uploads the rows and runs the pass.
pub(super) fn run<B: Backend>(
    model: &mut Model<B>,
    pass: &Pass,
    page_tables: &[&[u32]],
    rows: &mut Rows<B>,
    cache: &mut B::KvCache,
    activations: &mut Activations<B>,
) {
    let mut tables = vec![0; page_tables.len() * rows.pages_per_sequence];
    for (table, pages) in tables.chunks_exact_mut(rows.pages_per_sequence).zip(page_tables) {
        table[..pages.len()].copy_from_slice(pages);
    }
    model.reach(pass.positions.iter().max().map_or(0, |&last| last as usize + 1));
    let backend = &model.backend;
    rows.len = pass.token_ids.len();
    rows.int8_len = pass.int8_len;
    backend.write(&pass.token_ids, &mut rows.token_ids);
    backend.write(&pass.positions, &mut rows.positions);
    backend.write(&pass.sequences, &mut rows.sequences);
    backend.write(&tables, &mut rows.page_tables);
    model.forward(rows, cache, activations);
}
