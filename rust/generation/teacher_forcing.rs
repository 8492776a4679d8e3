//! The logits that follow the tokens of a given text: a text waits in the engine's queue, then takes passes of its own.

use super::engine::{Engine, MAX_RUNNING, Pass, Waiting, run};
use super::{GenerationError, Prefill, RequestId};
use crate::backend::{Backend, PAGE};
use crate::error::{Error, Result};
use crate::model::MAX_ROWS;
use crate::tokenizer::TokenId;

/// Logits that are being computed for a given text.
pub struct TeacherForcing {
    request: RequestId,
    ids: Vec<TokenId>,
    positions: Vec<usize>,
    /// Empty until its turn has come.
    pages: Vec<u32>,
    /// Ids whose keys and values are in the cache.
    computed: usize,
    /// A vector for each of `positions`, empty until its pass.
    logits: Vec<Vec<f32>>,
}

/// How far the logits of a text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forced {
    /// Its pages are not free yet: [`Engine::step`] brings that nearer, as far as choices have them.
    Waits,
    /// A pass was run, and there is another to come.
    Continues,
    /// All are there.
    Ended,
}

impl<B: Backend> Engine<B> {
    /// Begins teacher forcing: the logits that follow each of the `positions` of `ids`, in that order.
    ///
    /// It waits for pages of the cache as choices do, after those that came before. [`end_logits`](Self::end_logits) gives them
    /// back.
    pub fn start_logits(&mut self, ids: Vec<TokenId>, positions: Vec<usize>) -> Result<TeacherForcing> {
        self.check_prompt(&ids)?;
        let context_length = self.model.context_length;
        if ids.len() > context_length {
            let prompt_tokens = ids.len();
            return Err(
                GenerationError::ContextLength { prompt_tokens, max_tokens: None, context_length }.into()
            );
        }
        if let Some(position) = positions.iter().find(|&&position| position >= ids.len()) {
            return Err(Error::Argument(format!("position {position} is outside the {} ids", ids.len())));
        }
        let request = self.next_request();
        self.waiting.push_back(Waiting::Text { request, pages: ids.len().div_ceil(PAGE) });
        let logits = vec![Vec::new(); positions.len()];
        Ok(TeacherForcing { request, ids, positions, pages: Vec::new(), computed: 0, logits })
    }

    /// One pass of teacher forcing, once its pages are free.
    pub fn step_logits(&mut self, forcing: &mut TeacherForcing) -> Forced {
        let TeacherForcing { request, ids, positions, pages, computed, logits } = forcing;
        if pages.is_empty() {
            self.start_waiting();
            let Some(granted) = self.granted.remove(request) else { return Forced::Waits };
            *pages = granted;
        }
        let first = *computed;
        let last = ids.len().min(first + MAX_ROWS);
        let mut pass = Pass::default();
        pass.append(&ids[first..last], first, 0, self.prefill == Prefill::Bf16);
        run(&mut self.model, &pass, &[pages], &mut self.rows, &mut self.cache, &mut self.activations);
        let here: Vec<usize> =
            (0..positions.len()).filter(|&i| (first..last).contains(&positions[i])).collect();
        for group in here.chunks(MAX_RUNNING) {
            let selected: Vec<u32> = group.iter().map(|&i| (positions[i] - first) as u32).collect();
            let found = self.model.logits(&selected, &mut self.activations);
            for (&i, found) in group.iter().zip(found) {
                logits[i] = found;
            }
        }
        *computed = last;
        if last == ids.len() { Forced::Ended } else { Forced::Continues }
    }

    /// Gives the pages back, or the place in the queue; the logits found so far.
    pub fn end_logits(&mut self, forcing: TeacherForcing) -> Vec<Vec<f32>> {
        self.waiting.retain(|waiting| waiting.request() != forcing.request);
        self.pages.give(self.granted.remove(&forcing.request).unwrap_or_default());
        self.pages.give(forcing.pages);
        forcing.logits
    }
}
