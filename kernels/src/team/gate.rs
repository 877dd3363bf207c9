//! The gate of a parallel phase: who may look at the caller's job, and when the job may go away.
//!
//! One word holds everything that the caller and the helpers have to agree on:
//!
//! | bits | field | meaning |
//! |---|---|---|
//! | 0..16 | inside | helpers that may be looking at the job |
//! | 16..32 | places | no more helpers than this are let in at a time |
//! | 32 | open | helpers may enter |
//! | 33 | over | no phase will follow |
//! | 34..64 | epoch | number of the phase, modulo 2^30 |
//!
//! The caller writes the job while the gate is closed and empty, then opens it with a new epoch. A
//! helper enters by compare-and-swap, which can succeed only while the gate is open. The caller
//! closes it and waits until nobody is inside; from then on nobody looks at the job. The swap
//! acquires what the opening released, and the wait acquires what each leaving helper released, so
//! whatever was written before a phase is seen in it, and whatever was written in it is seen after.

use std::time::{Duration, Instant};

use self::sync::{AtomicU64, JobCell, Ordering, pause, yield_now};

/// The standard library's atomics, or loom's, which try every interleaving.
#[cfg(not(all(loom, test)))]
mod sync {
    pub(super) use std::hint::spin_loop as pause;
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
    pub(super) use std::thread::yield_now;

    /// `loom::cell::UnsafeCell`'s interface over the standard one.
    pub(super) struct JobCell<T>(std::cell::UnsafeCell<T>);

    impl<T> JobCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(super) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        pub(super) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }
}

#[cfg(all(loom, test))]
mod sync {
    pub(super) use loom::cell::UnsafeCell as JobCell;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(super) use loom::thread::{yield_now as pause, yield_now};
}

const PLACES_SHIFT: u32 = 16;
const EPOCH_SHIFT: u32 = 34;
const INSIDE: u64 = (1 << PLACES_SHIFT) - 1;
const OPEN: u64 = 1 << 32;
const OVER: u64 = 1 << 33;

/// The most helpers that the word has room to count.
pub(super) const MAX_HELPERS: usize = INSIDE as usize;

/// How long the caller spins for helpers to leave before it offers its core to the system: a helper
/// that takes longer has work left, or was put to sleep on this very core.
const SPIN_BEFORE_YIELD: Duration = Duration::from_micros(10);

/// Spins between two looks at the clock, which costs about as much as one of them.
const SPINS_PER_CLOCK: u32 = 32;

/// Number of a phase, as a helper remembers the last it took part in; 0 before the first.
pub(super) type Epoch = u64;

/// A door between one caller and the helpers that look at its job of type `J`.
pub(super) struct Gate<J> {
    word: AtomicU64,
    job: JobCell<Option<J>>,
}

// SAFETY: the job is written by the caller alone while nobody is inside, and copied out by helpers
// inside (see the module's comment); `J: Send` lets those copies live on other threads.
unsafe impl<J: Copy + Send> Sync for Gate<J> {}

impl<J: Copy> Gate<J> {
    /// A closed gate, before its first phase.
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            job: JobCell::new(None),
        }
    }

    /// Opens the gate for at most `places` helpers at a time; it closes when the guard goes.
    ///
    /// # Safety
    /// Only one thread, the caller, opens phases, and never while one is open. The guard is dropped,
    /// not forgotten, before anything goes away that `job` points at.
    pub(super) unsafe fn open(&self, job: J, places: usize) -> OpenGate<'_, J> {
        let closed = self.word.load(Ordering::Relaxed);
        debug_assert_eq!(closed & (OPEN | INSIDE), 0, "opened while in use");
        // SAFETY: the gate is closed and empty, so no helper holds a reference to the job, and none
        // can get one before the store below; there is no second caller (contract).
        self.job.with_mut(|cell| unsafe { *cell = Some(job) });
        let epoch = (closed >> EPOCH_SHIFT) + 1;
        let places = places.min(MAX_HELPERS) as u64;
        // SeqCst, not just Release: the caller goes on to ask who sleeps, and a helper that goes to
        // sleep says so before it looks here. One of the two has to see the other.
        self.word.store(
            epoch << EPOCH_SHIFT | OPEN | places << PLACES_SHIFT,
            Ordering::SeqCst,
        );
        OpenGate { gate: self }
    }

    /// Lets a helper in, if the gate is open, has a place, and the phase is not the one last seen.
    pub(super) fn enter(&self, seen: &mut Epoch) -> Option<Inside<'_, J>> {
        let mut word = self.word.load(Ordering::Relaxed);
        while admits(word, *seen) {
            let counted = self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match counted {
                Ok(_) => {
                    *seen = word >> EPOCH_SHIFT;
                    return Some(Inside { gate: self });
                }
                Err(now) => word = now,
            }
        }
        None
    }

    /// Whether a helper that last saw the phase `seen` has a reason not to sleep.
    pub(super) fn calls(&self, seen: Epoch) -> bool {
        let word = self.word.load(Ordering::SeqCst);
        admits(word, seen) || word & OVER != 0
    }

    /// Whether [`Self::end`] was called.
    pub(super) fn is_over(&self) -> bool {
        self.word.load(Ordering::Relaxed) & OVER != 0
    }

    /// Says that no phase will follow. Called by the caller, outside any phase.
    pub(super) fn end(&self) {
        self.word.fetch_or(OVER, Ordering::SeqCst);
    }
}

fn admits(word: u64, seen: Epoch) -> bool {
    let places = (word >> PLACES_SHIFT) & INSIDE;
    word & OPEN != 0 && word >> EPOCH_SHIFT != seen && word & INSIDE < places
}

/// The caller's side of an open phase; dropping it closes the gate and waits for those inside.
pub(super) struct OpenGate<'a, J: Copy> {
    gate: &'a Gate<J>,
}

impl<J: Copy> Drop for OpenGate<'_, J> {
    fn drop(&mut self) {
        let word = &self.gate.word;
        let mut inside = word.fetch_and(!OPEN, Ordering::Acquire) & INSIDE;
        let mut waiting = Waiting::default();
        while inside != 0 {
            if waiting
                .turn()
                .is_some_and(|waited| waited >= SPIN_BEFORE_YIELD)
            {
                yield_now();
            }
            inside = word.load(Ordering::Acquire) & INSIDE;
        }
    }
}

/// A helper's stay inside an open phase; dropping it leaves.
pub(super) struct Inside<'a, J: Copy> {
    gate: &'a Gate<J>,
}

impl<J: Copy> Inside<'_, J> {
    /// The job of the phase.
    pub(super) fn job(&self) -> Option<J> {
        // SAFETY: this helper is counted as inside, so the caller does not write the job.
        self.gate.job.with(|cell| unsafe { *cell })
    }
}

impl<J: Copy> Drop for Inside<'_, J> {
    fn drop(&mut self) {
        self.gate.word.fetch_sub(1, Ordering::Release);
    }
}

/// A wait that looks at the clock only now and then.
#[derive(Default)]
pub(super) struct Waiting {
    turns: u32,
    since: Option<Instant>,
}

impl Waiting {
    /// Spins once; every [`SPINS_PER_CLOCK`] turns says how long it has lasted.
    pub(super) fn turn(&mut self) -> Option<Duration> {
        pause();
        self.turns = self.turns.wrapping_add(1);
        if !self.turns.is_multiple_of(SPINS_PER_CLOCK) {
            return None;
        }
        Some(self.since.get_or_insert_with(Instant::now).elapsed())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn lets_in_only_while_open_once_each_and_no_more_than_places() {
        let gate = Gate::new();
        let mut seen = [0, 0];
        assert!(gate.enter(&mut seen[0]).is_none(), "closed");
        // SAFETY: one caller, the guard is dropped below, the job is a number.
        let open = unsafe { gate.open(7, 1) };
        assert!(gate.calls(seen[0]));
        let first = gate.enter(&mut seen[0]).expect("open");
        assert_eq!(first.job(), Some(7));
        assert!(gate.enter(&mut seen[1]).is_none(), "one place");
        drop(first);
        assert!(gate.enter(&mut seen[0]).is_none(), "seen");
        assert!(
            gate.enter(&mut seen[1]).is_some(),
            "the place is free again"
        );
        drop(open);
        assert!(gate.enter(&mut 0).is_none(), "closed again");
        assert!(!gate.is_over() && !gate.calls(0));
        gate.end();
        assert!(gate.is_over() && gate.calls(seen[0]));
    }

    #[test]
    fn epoch_wraps_without_touching_the_other_fields() {
        let gate = Gate::new();
        let last = (1 << (64 - EPOCH_SHIFT)) - 1;
        gate.word.store(last << EPOCH_SHIFT, Ordering::Relaxed);
        // SAFETY: one caller, the guard is dropped below, the job is a number.
        let open = unsafe { gate.open(1, 3) };
        assert!(gate.enter(&mut last.clone()).is_some());
        drop(open);
        assert_eq!(gate.word.load(Ordering::Relaxed), 3 << PLACES_SHIFT);
    }
}

/// Every interleaving of two phases with two helpers that has at most three preemptions:
/// `LOOM_MAX_PREEMPTIONS=3 RUSTFLAGS="--cfg loom" cargo test -p kernels --lib --release model`
#[cfg(all(loom, test))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    const HELPERS: usize = 2;

    /// Loom reports any look at the job that races with its change, and any access to a helper's
    /// result that races with the caller's look at it after the phase.
    #[test]
    fn phases_are_ordered_by_the_gate_alone() {
        loom::model(|| {
            let gate = Arc::new(Gate::new());
            let results = Arc::new([const { 0 }; HELPERS].map(UnsafeCell::new));
            let helpers: Vec<_> = (0..HELPERS)
                .map(|index| {
                    let (gate, results) = (Arc::clone(&gate), Arc::clone(&results));
                    loom::thread::spawn(move || {
                        let mut seen = 0;
                        // A bounded number of looks: a helper may always come too late.
                        for _ in 0..2 {
                            if let Some(inside) = gate.enter(&mut seen) {
                                let job = inside.job().expect("an open gate has a job");
                                assert_eq!(job, seen);
                                // SAFETY: one helper per cell; the caller looks between phases.
                                results[index].with_mut(|cell| unsafe { *cell = job });
                            }
                        }
                    })
                })
                .collect();
            for phase in 1..=2 {
                // SAFETY: one caller, the guard is dropped at once, the job is a number.
                drop(unsafe { gate.open(phase, HELPERS) });
                for result in results.iter() {
                    // SAFETY: the gate is closed, so helpers do not write.
                    assert!(result.with(|cell| unsafe { *cell }) <= phase);
                }
            }
            for helper in helpers {
                helper.join().expect("a helper without a panic");
            }
        });
    }
}
