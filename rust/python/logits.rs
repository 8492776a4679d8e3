//! `Engine.logits`: what the model says after each token of a text.

use std::thread;

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use super::convert;
use super::engine::{Engine, wait_for_pages};
use crate::generation::{Forced, TeacherForcing};

#[pymethods]
impl Engine {
    /// Logits, float32 [n, vocab], that follow each of `positions` (all, if None) of `ids`. Waits for pages of the KV cache as
    /// a request does. Raises `GenerationError` where a signal handler asks that interrupts `logits`, which has the pages.
    #[pyo3(signature = (ids, *, positions = None))]
    fn logits<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        positions: Option<Vec<usize>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let ids = convert::token_ids(ids)?;
        let positions = positions.unwrap_or_else(|| (0..ids.len()).collect());
        let shape = [positions.len(), self.config.vocab_size];
        let thread = thread::current().id();
        let mut forcing = self.with(py, |open| {
            let forcing = open.engine.start_logits(ids, positions)?;
            open.forcing.push(thread);
            Ok(forcing)
        })?;
        let computed = self.compute(py, &mut forcing);
        let logits = self.with(py, |open| {
            // A thread is there twice where its signal handler asks, too: any of them goes.
            let at = open.forcing.iter().position(|other| *other == thread);
            at.map(|at| open.forcing.swap_remove(at));
            Ok(open.engine.end_logits(forcing).concat())
        });
        computed?;
        PyArray1::from_vec(py, logits?).reshape(shape)
    }
}

impl Engine {
    /// Waits for the text's turn, working for others, then runs its passes.
    fn compute(&self, py: Python<'_>, forcing: &mut TeacherForcing) -> PyResult<()> {
        loop {
            let (forced, is_busy) = self.with(py, |open| {
                let forced = open.engine.step_logits(forcing);
                Ok((forced, forced != Forced::Waits || open.step(1)?))
            })?;
            match forced {
                Forced::Ended => return Ok(()),
                // Outside the lock: a signal handler may use this model, as far as the pages left go.
                _ if is_busy => py.check_signals()?,
                _ => wait_for_pages(py)?,
            }
        }
    }
}
