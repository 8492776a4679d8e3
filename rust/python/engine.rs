//! The engine behind `Model`: requests from any thread, events to whoever asked.
//!
//! There is no engine thread: a caller that waits for an event runs the next step for all, and what it brings to
//! others is kept in their queues.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::checkpoint::{self, config_dict};
use super::convert;
use super::tokenizer::PyTokenTable;
use super::without_gil::without_gil;
use crate::backend::cpu::{CpuBackend, KernelLevel};
use crate::backend::{DeviceError, KvFormat, PAGE};
use crate::checkpoint::{MAX_CONTEXT_LENGTH, ModelConfig};
use crate::error::{Error, Result};
use crate::generation::{
    self, Event, FinishReason, GenerationError, Prefill, Request, RequestId, Sampling, Stopping,
};
use crate::model::{Model, kv_shape};

/// More threads than any machine has cores for are a slip, and might not even start.
const MOST_THREADS: usize = 1024;

/// How often a call asks, a millisecond apart, whether a lock that is held here is held by a thread of this process.
const QUESTIONS: usize = 10;

/// What one token brought: choice, token id, text, finish reason.
type EventTuple = (usize, u32, String, Option<&'static str>);

/// A loaded model that answers requests. `Model` is its public face.
#[pyclass(frozen, module = "nemo_fast._native")]
pub(super) struct Engine {
    state: Mutex<State>,
    /// The process that last held `state`. After a fork, the thread that holds it may be one that only the parent has.
    process: AtomicU32,
    pub(super) config: ModelConfig,
    context_length: usize,
    threads: usize,
    level: KernelLevel,
}

enum State {
    Open(Box<Open>),
    Closed,
}

pub(super) struct Open {
    pub(super) engine: generation::Engine<CpuBackend>,
    requests: HashMap<RequestId, Mailbox>,
    /// The threads that compute logits of a text or wait for that; nobody else gives its pages back.
    pub(super) forcing: Vec<ThreadId>,
}

/// A request that somebody listens to.
struct Mailbox {
    events: VecDeque<Event>,
    /// Choices that have not ended.
    live: usize,
}

impl Engine {
    /// Runs `work` on the open engine, without the GIL.
    pub(super) fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Open) -> Result<T> + Send,
    ) -> PyResult<T> {
        without_gil(py, || match &mut *self.lock()? {
            State::Open(open) => work(open),
            State::Closed => Err(GenerationError::Closed.into()),
        })
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, GenerationError> {
        let process = std::process::id();
        for _ in 0..QUESTIONS {
            if self.process.load(Ordering::Relaxed) == process {
                return self.state.lock().map_err(|_| GenerationError::Failed);
            }
            match self.state.try_lock() {
                Ok(state) => {
                    self.process.store(process, Ordering::Relaxed);
                    return Ok(state);
                }
                Err(TryLockError::Poisoned(_)) => return Err(GenerationError::Failed),
                // Perhaps by a thread of this process that is about to say so.
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        }
        Err(GenerationError::Forked)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Held, though nobody has the engine: by a thread that a fork left behind half-way through a change.
        if matches!(self.state.try_lock(), Err(TryLockError::WouldBlock)) {
            let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::replace(state, State::Closed));
        }
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[allow(clippy::too_many_arguments, reason = "the settings, by name")]
    #[pyo3(signature = (checkpoint, *, device = "auto", context_length = None, kv_cache = "bf16", prefill = "bf16", threads = None, tokens = None, progress = None))]
    fn new(
        py: Python<'_>,
        checkpoint: &Bound<'_, checkpoint::Checkpoint>,
        device: &str,
        context_length: Option<usize>,
        kv_cache: &str,
        prefill: &str,
        threads: Option<usize>,
        tokens: Option<&Bound<'_, PyTokenTable>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Engine> {
        if !["auto", "cpu"].contains(&device) {
            return Err(Error::from(DeviceError::Unavailable(device.to_owned())).into());
        }
        let kv_format = kv_format(kv_cache)?;
        let prefill = Prefill::named(prefill).ok_or_else(|| {
            Error::Argument(format!("prefill must be \"bf16\" or \"int8\", found {prefill:?}"))
        })?;
        let threads = threads.map(|count| match NonZero::new(count) {
            Some(threads) if count <= MOST_THREADS => Ok(threads),
            _ => Err(Error::Argument(format!("threads must be between 1 and {MOST_THREADS}, found {count}"))),
        });
        let threads = threads.transpose()?;
        let tokens = tokens.map(|table| Arc::clone(&table.get().inner));
        let checkpoint = &checkpoint.get().inner;
        let mut interrupted = None;
        let loaded = without_gil(py, || {
            let longest = checkpoint.config().max_position_embeddings.min(MAX_CONTEXT_LENGTH);
            let context_length = context_length.unwrap_or(longest);
            if !(1..=longest).contains(&context_length) {
                return Err(Error::Argument(format!(
                    "context_length must be between 1 and {longest}, found {context_length}"
                )));
            }
            let backend = CpuBackend::new(threads)?;
            let pages = context_length.div_ceil(PAGE);
            let weights = checkpoint.weight_sizes()?.private;
            backend.check_memory(weights, &kv_shape(checkpoint.config(), pages, kv_format))?;
            let mut report = |done: usize, total: usize| {
                Python::attach(|py| {
                    py.check_signals()?;
                    progress.as_ref().map_or(Ok(()), |callback| callback.call1(py, (done, total)).map(drop))
                })
                .map_err(|error: PyErr| {
                    interrupted = Some(error);
                    Error::Interrupted
                })
            };
            let model = Model::load(checkpoint, backend, context_length, &mut report)?;
            Ok(generation::Engine::new(model, kv_format, tokens)?.with_prefill(prefill))
        });
        if let Some(error) = interrupted {
            return Err(error);
        }
        let engine = loaded?;
        Ok(Engine {
            config: engine.model().config.clone(),
            context_length: engine.model().context_length,
            threads: engine.model().backend.threads(),
            level: engine.model().backend.level(),
            state: Mutex::new(State::Open(Box::new(Open {
                engine,
                requests: HashMap::new(),
                forcing: Vec::new(),
            }))),
            process: AtomicU32::new(std::process::id()),
        })
    }

    /// The model's shape under Hugging Face's names.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        config_dict(py, &self.config)
    }

    /// Positions that a sequence can have.
    #[getter]
    fn context_length(&self) -> usize {
        self.context_length
    }

    /// Threads in use.
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// The kernels in use: "portable", "avx2", "avx512" or "avx512bf16".
    #[getter]
    fn kernels(&self) -> &'static str {
        self.level.name()
    }

    /// What the machine can do at most with these threads: bytes read from memory in a second, and operations of bf16
    /// products, None where the kernels in use have no instruction for them. Takes a second and 1 GiB;
    /// raises `DeviceError` where that is not there.
    fn limits(&self, py: Python<'_>) -> PyResult<(f64, Option<f64>)> {
        let limits = self.with(py, |open| open.engine.model().backend.limits())?;
        Ok((limits.read_bytes_per_second, limits.dot_operations_per_second))
    }

    /// Queues a request and returns its number. Raises `ValueError`, `TokenizerError` or `ContextLengthError`.
    #[pyo3(signature = (prompt, *, n, max_tokens, temperature, top_p, top_k, min_p, seed, stop, stop_token_ids, ignore_eos))]
    #[allow(
        clippy::fn_params_excessive_bools,
        clippy::too_many_arguments,
        reason = "the sampling parameters, by name"
    )]
    fn submit(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        n: usize,
        max_tokens: Option<usize>,
        temperature: f32,
        top_p: f32,
        top_k: usize,
        min_p: f32,
        seed: u64,
        stop: Vec<String>,
        stop_token_ids: &Bound<'_, PyAny>,
        ignore_eos: bool,
    ) -> PyResult<RequestId> {
        let request = Request {
            prompt: convert::token_ids(prompt)?,
            choices: n,
            sampling: Sampling { temperature, top_p, top_k, min_p, seed },
            stopping: Stopping {
                max_tokens,
                stop,
                stop_token_ids: convert::token_ids(stop_token_ids)?,
                ignore_eos,
            },
        };
        self.with(py, |open| {
            let live = request.choices;
            let id = open.engine.submit(&request)?;
            open.requests.insert(id, Mailbox { events: VecDeque::new(), live });
            Ok(id)
        })
    }

    /// Waits for the request's next token: (choice, token id, text, finish reason or None); None when all of its
    /// choices have ended. Ctrl-C ends the wait. Raises `GenerationError` where a signal handler interrupts `logits`, which has
    /// the pages that are needed.
    fn next_event(&self, py: Python<'_>, request: RequestId) -> PyResult<Option<EventTuple>> {
        loop {
            match self.with(py, |open| open.poll(request))? {
                Poll::Event(event) => {
                    let piece = event.result.map_err(Error::from)?;
                    let reason = piece.finish_reason.map(|reason| match reason {
                        FinishReason::Stop => "stop",
                        FinishReason::Length => "length",
                    });
                    return Ok(Some((event.choice, piece.token_id, piece.text, reason)));
                }
                Poll::Ended => return Ok(None),
                Poll::Pending => py.check_signals()?,
                Poll::OutOfPages => wait_for_pages(py)?,
            }
        }
    }

    /// Drops a request. One that has ended is no error, nor is a model that has failed or that a fork made useless.
    fn cancel(&self, py: Python<'_>, request: RequestId) -> PyResult<()> {
        without_gil(py, || {
            if let Ok(mut state) = self.lock()
                && let State::Open(open) = &mut *state
            {
                open.engine.cancel(request);
                open.requests.remove(&request);
            }
            Ok::<_, Error>(())
        })
    }

    /// Numbers of the moment: waiting and running choices, pages of the KV cache.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let ((waiting, running), free, total) = self.with(py, |open| {
            Ok((open.engine.queue_lengths(), open.engine.pages().free(), open.engine.pages().total()))
        })?;
        let dict = PyDict::new(py);
        dict.set_item("requests_waiting", waiting)?;
        dict.set_item("requests_running", running)?;
        dict.set_item("kv_pages_free", free)?;
        dict.set_item("kv_pages_total", total)?;
        Ok(dict)
    }

    /// Frees the weights; every later call raises `GenerationError`. Closing twice is no error.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        without_gil(py, || {
            match self.lock() {
                Ok(mut state) => *state = State::Closed,
                Err(GenerationError::Failed) => {
                    *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Closed;
                }
                // Half-way through a step for ever: what it has is left to the end of the process.
                Err(_) => {}
            }
            Ok::<_, Error>(())
        })
    }
}

/// What `kv_cache` says.
pub(super) fn kv_format(name: &str) -> Result<KvFormat> {
    KvFormat::named(name)
        .ok_or_else(|| Error::Argument(format!("kv_cache must be \"bf16\" or \"fp8\", found {name:?}")))
}

enum Poll {
    Event(Event),
    /// Nothing yet: a step was run.
    Pending,
    /// Nothing, before another thread gives pages back.
    OutOfPages,
    Ended,
}

impl Open {
    /// The request's next event if there is one; otherwise one step for all.
    fn poll(&mut self, request: RequestId) -> Result<Poll> {
        let Some(mailbox) = self.requests.get_mut(&request) else { return Ok(Poll::Ended) };
        if let Some(event) = mailbox.events.pop_front() {
            return Ok(Poll::Event(event));
        }
        if mailbox.live == 0 {
            self.requests.remove(&request);
            return Ok(Poll::Ended);
        }
        Ok(if self.step(0)? { Poll::Pending } else { Poll::OutOfPages })
    }

    /// One step for all; false if nothing can be done before another thread gives pages back. An error where that
    /// would be this thread, kept from it by a signal handler: where it computes logits for more texts than the `own` that it
    /// is at work on.
    pub(super) fn step(&mut self, own: usize) -> Result<bool> {
        for event in self.engine.step() {
            if let Some(mailbox) = self.requests.get_mut(&event.request) {
                let ended = event.result.as_ref().map_or(true, |piece| piece.finish_reason.is_some());
                mailbox.live -= usize::from(ended);
                mailbox.events.push_back(event);
            }
        }
        let thread = thread::current().id();
        let texts = self.forcing.iter().filter(|other| **other == thread).count();
        match self.engine.lack_of_pages() {
            Some(error) if texts > own => Err(error.into()),
            lack => Ok(lack.is_none()),
        }
    }
}

/// Gives other threads a millisecond to give pages back.
pub(super) fn wait_for_pages(py: Python<'_>) -> PyResult<()> {
    py.detach(|| thread::sleep(Duration::from_millis(1)));
    py.check_signals()
}
