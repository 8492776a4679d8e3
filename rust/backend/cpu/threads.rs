//! A small pool of threads that share the rows of one operation.
//!
//! The operations of a pass follow each other within microseconds, while to wake a thread takes many. So whoever waits
//! looks for [`SPIN`] whether it may go on, then sleeps on a condition variable: a spin that knows no end has hung
//! machines under a quota. Pools share the cores of the process ([`cores`]). The calling thread works too.
//!
//! The results do not depend on the number of threads: a task index decides what is computed, never who does it.

#![allow(
    unsafe_code,
    reason = "lends borrowed closures and disjoint parts of a slice to threads that outlive the call"
)]

use std::marker::PhantomData;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cores;
use crate::backend::DeviceError;

/// Threads that run the tasks of one operation at a time.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held for the length of an operation: a second caller waits here.
    turn: Mutex<()>,
    /// The process that has the workers: a fork of it has only the thread that called it.
    process: u32,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
    next_task: AtomicUsize,
    /// What `state` has, for those who spin.
    operation: AtomicU64,
    busy: AtomicUsize,
}

/// How long to look before sleeping.
const SPIN: Duration = Duration::from_micros(20);

struct State {
    job: Option<Job>,
    /// Counts operations, so that a worker sees each once.
    operation: u64,
    /// Workers that have not yet finished the current operation.
    busy: usize,
    /// Workers that wait for the next one and no longer look.
    sleeping: usize,
    panicked: bool,
    closing: bool,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

// SAFETY: the closure behind the pointer is `Sync`, and `run` does not return before every worker is done with it.
unsafe impl Send for Job {}

impl ThreadPool {
    /// A pool of that many threads, the caller's included.
    pub fn new(threads: NonZero<usize>) -> Result<ThreadPool, DeviceError> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                job: None,
                operation: 0,
                busy: 0,
                sleeping: 0,
                panicked: false,
                closing: false,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            next_task: AtomicUsize::new(0),
            operation: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
        });
        // Built first, so that dropping it ends the threads that did start.
        let mut pool =
            ThreadPool { shared, workers: Vec::new(), turn: Mutex::new(()), process: std::process::id() };
        for started in 1..threads.get() {
            let shared = Arc::clone(&pool.shared);
            let spawned =
                std::thread::Builder::new().name("nemo-fast".to_owned()).spawn(move || shared.worker());
            let failed = |source| DeviceError::Threads { started, wanted: threads.get(), source };
            pool.workers.push(spawned.map_err(failed)?);
        }
        Ok(pool)
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)`, …, `task(count - 1)`, each once, in any order; returns when all have ended.
    ///
    /// # Panics
    /// If a task panics, after the others have ended.
    pub fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if count <= 1 {
            return (0..count).for_each(task);
        }
        if self.workers.is_empty() || std::process::id() != self.process {
            let _core = cores::take(1);
            return (0..count).for_each(task);
        }
        let _turn = lock(&self.turn);
        let _cores = cores::take(self.threads());
        // SAFETY: only the lifetime changes. Workers use the pointer between the two places below where `busy` is set
        // and is seen to be zero again, and `task` is borrowed for longer than that.
        let task: *const (dyn Fn(usize) + Sync) =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        let job = Job { task, count };
        self.shared.next_task.store(0, Ordering::Relaxed);
        {
            let mut state = lock(&self.shared.state);
            state.job = Some(job);
            state.operation += 1;
            state.busy = self.workers.len();
            self.shared.busy.store(state.busy, Ordering::Relaxed);
            self.shared.operation.store(state.operation, Ordering::Release);
            if state.sleeping > 0 {
                self.shared.work.notify_all();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(|| self.shared.work_on(job)));
        spin_until(|| self.shared.busy.load(Ordering::Acquire) == 0);
        let mut state = lock(&self.shared.state);
        while state.busy > 0 {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.job = None;
        let panicked = std::mem::take(&mut state.panicked) || own.is_err();
        drop(state);
        assert!(!panicked, "a task of an operation panicked");
    }

    /// Runs `task(i, part)` for the parts of `slice`, `length` elements each but for the last.
    pub fn for_each_part<T: Send>(
        &self,
        slice: &mut [T],
        length: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let (total, base) = (slice.len(), SendPointer(slice.as_mut_ptr()));
        self.run(total.div_ceil(length), &|i| {
            let base = &base;
            let start = i * length;
            // SAFETY: `start < total`, the end is cut to it, and each i is given out once, so no two parts overlap;
            // `slice` stays mutably borrowed until all tasks have ended.
            let part =
                unsafe { std::slice::from_raw_parts_mut(base.0.add(start), length.min(total - start)) };
            task(i, part);
        });
    }

    /// Runs `task(i, band)` for bands of `length` columns each but for the last, of a matrix with rows of `width`.
    pub fn for_each_band<T: Send>(
        &self,
        matrix: &mut [T],
        width: usize,
        length: usize,
        task: impl Fn(usize, Band<'_, T>) + Sync,
    ) {
        let (total, base) = (matrix.len(), SendPointer(matrix.as_mut_ptr()));
        self.run(width.div_ceil(length), &|i| {
            let base = &base;
            let columns = i * length..width.min((i + 1) * length);
            task(i, Band { base: base.0, rows: 0..total / width, width, columns, matrix: PhantomData });
        });
    }

    /// Runs `task(b, i, tile)` for the same columns of each of the `blocks` of rows, which are ascending.
    ///
    /// # Panics
    /// If blocks overlap, or are not in the matrix.
    pub fn for_each_tile<T: Send>(
        &self,
        matrix: &mut [T],
        width: usize,
        length: usize,
        blocks: &[Range<usize>],
        task: impl Fn(usize, usize, Band<'_, T>) + Sync,
    ) {
        let (total, base) = (matrix.len(), SendPointer(matrix.as_mut_ptr()));
        let end = blocks.iter().fold(0, |end, block| {
            assert!(end <= block.start && block.start <= block.end);
            block.end
        });
        assert!(end * width <= total);
        let bands = width.div_ceil(length);
        self.run(blocks.len() * bands, &|i| {
            let base = &base;
            let (block, i) = (i / bands, i % bands);
            let columns = i * length..width.min((i + 1) * length);
            let rows = blocks[block].clone();
            task(block, i, Band { base: base.0, rows, width, columns, matrix: PhantomData });
        });
    }
}

/// Some columns of some rows of a matrix, which one task has to itself.
pub struct Band<'a, T> {
    base: *mut T,
    rows: Range<usize>,
    width: usize,
    columns: Range<usize>,
    matrix: PhantomData<&'a mut T>,
}

impl<T> Band<'_, T> {
    /// The columns of a row, counted from the first of the band.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows.len());
        // SAFETY: the row is in the matrix and the columns are in the row; bands have no element in common, and this one is
        // borrowed as long as what is returned.
        unsafe {
            let start = self.base.add((self.rows.start + row) * self.width + self.columns.start);
            std::slice::from_raw_parts_mut(start, self.columns.len())
        }
    }
}

struct SendPointer<T>(*mut T);

// SAFETY: the pointer is only turned into disjoint parts, and `T` may be sent to other threads.
unsafe impl<T: Send> Sync for SendPointer<T> {}

impl Shared {
    fn work_on(&self, job: Job) {
        // SAFETY: `run` keeps the closure alive until `busy` is zero, which a worker brings about after this call.
        let task = unsafe { &*job.task };
        loop {
            let index = self.next_task.fetch_add(1, Ordering::Relaxed);
            if index >= job.count {
                return;
            }
            task(index);
        }
    }

    fn worker(&self) {
        let mut seen = 0;
        let mut state = lock(&self.state);
        loop {
            if state.closing {
                return;
            }
            match state.job {
                Some(job) if state.operation != seen => {
                    seen = state.operation;
                    drop(state);
                    let result = catch_unwind(AssertUnwindSafe(|| self.work_on(job)));
                    state = lock(&self.state);
                    state.panicked |= result.is_err();
                    state.busy -= 1;
                    self.busy.store(state.busy, Ordering::Release);
                    if state.busy == 0 {
                        self.done.notify_one();
                    }
                    drop(state);
                    spin_until(|| self.operation.load(Ordering::Acquire) != seen);
                    state = lock(&self.state);
                }
                _ => {
                    state.sleeping += 1;
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.sleeping -= 1;
                }
            }
        }
    }
}

/// Returns when something is so, or after [`SPIN`].
fn spin_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() && start.elapsed() < SPIN {
        (0..16).for_each(|_| std::hint::spin_loop());
    }
}

/// No task runs under these locks, so a poisoned one still guards a consistent state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            // To let go of a thread is a call of the system, and these are not there.
            self.workers.drain(..).for_each(std::mem::forget);
            return;
        }
        lock(&self.shared.state).closing = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_every_number_of_threads() {
        for threads in 1..=4 {
            let pool = ThreadPool::new(NonZero::new(threads).unwrap()).unwrap();
            for total in [0, 1, 2, 7, 1000] {
                let mut counts = vec![0_u32; total];
                pool.for_each_part(&mut counts, 3, |_, part| part.iter_mut().for_each(|count| *count += 1));
                assert_eq!(counts, vec![1; total]);
            }
        }
    }

    #[test]
    fn every_element_of_a_block_is_in_one_tile() {
        let pool = ThreadPool::new(NonZero::new(3).unwrap()).unwrap();
        let (width, blocks) = (7, [0..2, 3..3, 4..9]);
        let mut counts = vec![0_u32; 10 * width];
        pool.for_each_tile(&mut counts, width, 3, &blocks, |block, i, mut tile| {
            for row in 0..blocks[block].len() {
                assert_eq!(tile.row(row).len(), if i == 2 { 1 } else { 3 });
                tile.row(row).iter_mut().for_each(|count| *count += 1 + block as u32);
            }
        });
        let expected = |row| [1, 1, 0, 0, 3, 3, 3, 3, 3, 0][row / width];
        assert_eq!(counts, (0..10 * width).map(expected).collect::<Vec<u32>>());
        let overlap = || pool.for_each_tile(&mut counts, width, 3, &[0..2, 1..3], |_, _, _| ());
        assert!(catch_unwind(AssertUnwindSafe(overlap)).is_err());
    }

    #[test]
    fn a_panic_of_a_task_reaches_the_caller_and_the_pool_lives_on() {
        let pool = ThreadPool::new(NonZero::new(2).unwrap()).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|i| assert_ne!(i, 5))));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(8, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 28);
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = ThreadPool::new(NonZero::new(3).unwrap()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mut values = vec![1_u64; 100];
                        pool.for_each_part(&mut values, 7, |i, part| part.fill(1 + i as u64));
                        assert_eq!(values.iter().sum::<u64>(), 100 + (0..100).map(|i| i / 7).sum::<u64>());
                    }
                });
            }
        });
    }
}
