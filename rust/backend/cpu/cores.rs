//! The cores that this process may use, shared by the operations of all models.
//!
//! An operation takes as many cores as its pool has threads, and waits where others have them: two models with a thread for
//! each core take turns, two with half as many run side by side. First come, first served, so that nobody starves.
//!
//! Knows nothing of what is computed, and starts no threads.

use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Takes cores until the value is dropped, no more than there are.
pub(super) fn take(wanted: usize) -> Taken<'static> {
    static FIRST: OnceLock<Box<Cores>> = OnceLock::new();
    let all = || Box::new(Cores::new(std::thread::available_parallelism().map_or(1, NonZero::get)));
    let process = std::process::id();
    let mut cores = FIRST.get_or_init(all);
    while cores.process != process {
        cores = cores.of_fork.get_or_init(|| Box::new(Cores::new(cores.all)));
    }
    cores.take(wanted)
}

/// The cores as the threads of a process share them. A fork of it has none of those that had taken some, or that held the lock.
struct Cores {
    process: u32,
    all: usize,
    state: Mutex<State>,
    given_back: Condvar,
    of_fork: OnceLock<Box<Cores>>,
}

struct State {
    free: usize,
    /// Numbers of those that came, and of the one that is next.
    came: u64,
    next: u64,
}

impl Cores {
    fn new(all: usize) -> Cores {
        Cores {
            process: std::process::id(),
            all,
            state: Mutex::new(State { free: all, came: 0, next: 0 }),
            given_back: Condvar::new(),
            of_fork: OnceLock::new(),
        }
    }

    fn take(&self, wanted: usize) -> Taken<'_> {
        let count = wanted.min(self.all);
        let mut state = self.lock();
        let number = state.came;
        state.came += 1;
        while state.next != number || state.free < count {
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.next += 1;
        state.free -= count;
        if state.free > 0 && state.next < state.came {
            self.given_back.notify_all();
        }
        Taken { cores: self, count }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cores that an operation has.
pub(super) struct Taken<'a> {
    cores: &'a Cores,
    count: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.cores.lock();
        state.free += self.count;
        if state.next < state.came {
            self.cores.given_back.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_cores_are_taken_than_there_are_and_everybody_gets_some() {
        let (cores, busy, most) = (Cores::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for wanted in [1, 1, 2, 3, 5] {
                let (cores, busy, most) = (&cores, &busy, &most);
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let taken = cores.take(wanted);
                        let now = busy.fetch_add(taken.count, Ordering::SeqCst) + taken.count;
                        most.fetch_max(now, Ordering::SeqCst);
                        busy.fetch_sub(taken.count, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(cores.lock().free, 3);
    }

    #[test]
    fn narrow_operations_run_side_by_side() {
        let cores = Cores::new(2);
        let first = cores.take(1);
        let second = cores.take(1);
        assert_eq!((first.count, second.count, cores.lock().free), (1, 1, 0));
        drop((first, second));
        assert_eq!(cores.take(8).count, 2);
    }

    #[test]
    fn whoever_came_first_is_next() {
        let cores = Cores::new(2);
        let held = cores.take(1);
        std::thread::scope(|scope| {
            let wide = scope.spawn(|| drop(cores.take(2)));
            while cores.lock().came < 2 {
                std::thread::yield_now();
            }
            // One is free, but whoever waits for two came before.
            let narrow = scope.spawn(|| drop(cores.take(1)));
            while cores.lock().came < 3 {
                std::thread::yield_now();
            }
            assert_eq!(cores.lock().next, 1);
            drop(held);
            wide.join().unwrap();
            narrow.join().unwrap();
        });
        assert_eq!(cores.lock().free, 2);
    }
}
