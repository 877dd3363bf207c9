//! The only door to threads: a caller and the helpers it borrows for the length of one scope.
//!
//! Helpers are tasks in the current rayon pool: that of the worker the caller runs on, or the
//! global pool. They are borrowed, not owned:
//!
//! 1. [`with_team`] spawns one task per helper and goes on at once. A task that the pool never gets
//!    round to is never waited for; when it starts too late it finds the scope over and ends.
//! 2. [`Team::run`] opens a phase ([`gate`]). Its chunks are claimed one by one through a counter,
//!    by the caller too, which finishes alone if nobody comes. It closes the phase and waits only
//!    for helpers that are in the middle of a chunk.
//! 3. Between phases a helper spins for a set time ([`TeamOptions::spin`]), then parks. A phase that
//!    wants more helpers than are awake unparks some.
//! 4. A helper that has slept for [`shared::LEAVE_AFTER`] gives its thread back to the pool, and
//!    the next phase spawns it anew. So whatever else the pool is asked to do, inside the scope too,
//!    goes on: nothing waits for a helper, and no helper waits forever. A spinning helper lets the
//!    pool run another task every [`shared::COURTESY`].
//!
//! A phase allocates nothing, unless it has to spawn helpers that left. Handing one over to a
//! spinning helper costs some 0.2 to 0.5 us, waking a parked one some 50 us.

mod gate;
mod shared;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use self::shared::Shared;

/// The most members of one team; a larger number asked for is taken as this one.
pub(crate) const MAX_THREADS: usize = 512;

/// Covers the gaps between the phases of a training step, and the loading of a batch.
const DEFAULT_SPIN: Duration = Duration::from_millis(2);

/// A caller and the helpers that follow it through the parallel phases of one scope.
///
/// A team stays with its caller: it is not `Sync`, so the work of a phase cannot use the team that
/// runs it. Work that needs a team of its own makes one, [`Team::solo`] for free.
///
/// ```compile_fail,E0277
/// kernels::with_team(2, |team| team.run(2, &|_, _| team.run(2, &|_, _| ())));
/// ```
pub struct Team {
    threads: usize,
    shared: Option<Arc<Shared>>,
    /// Guards against a second phase inside a phase, which a thread-local can still bring about.
    in_phase: Cell<bool>,
    /// The most chunks of a phase since it was asked for.
    most_chunks: Cell<usize>,
}

/// How many members a team has, and how long its helpers wait for work before they sleep.
///
/// ```
/// use std::time::Duration;
/// let threads = kernels::TeamOptions::new(2)
///     .spin(Duration::from_micros(50))
///     .with_team(|team| team.threads());
/// assert_eq!(threads, 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamOptions {
    threads: usize,
    spin: Duration,
}

impl TeamOptions {
    /// A team of `threads` members, the caller included; 0 means as many as the current rayon pool
    /// has threads. More than 512 are taken as 512.
    ///
    /// The number is not lowered to what the pool has: a team keeps the slots that were asked for,
    /// and members that never arrive are done without.
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            spin: DEFAULT_SPIN,
        }
    }

    /// How long helpers spin for the next phase before they park; 2 ms unless set.
    ///
    /// Longer than the gaps between phases, or each phase pays some 50 us for the waking; but a
    /// spinning helper keeps a core busy.
    pub fn spin(self, spin: Duration) -> Self {
        Self { spin, ..self }
    }

    /// Runs `scope` with such a team; its helpers leave when `scope` returns or panics.
    pub fn with_team<R>(self, scope: impl FnOnce(&Team) -> R) -> R {
        // Asking for the pool's size starts the global pool: not for a team of one.
        let threads = match self.threads {
            0 => rayon::current_num_threads(),
            wanted => wanted,
        }
        .min(MAX_THREADS);
        let team = if threads <= 1 {
            Team::solo()
        } else {
            Team::borrow_helpers(threads, self.spin)
        };
        scope(&team)
    }
}

/// Runs `scope` with a team of `threads` members, as [`TeamOptions::new`] reads the number.
pub fn with_team<R>(threads: usize, scope: impl FnOnce(&Team) -> R) -> R {
    TeamOptions::new(threads).with_team(scope)
}

impl Team {
    /// A team of the caller alone. Allocates nothing and touches no thread pool.
    pub fn solo() -> Self {
        Self {
            threads: 1,
            shared: None,
            in_phase: Cell::new(false),
            most_chunks: Cell::new(0),
        }
    }

    /// The caller and its helpers: one slot of scratch memory for each.
    pub fn threads(&self) -> usize {
        self.threads
    }

    fn borrow_helpers(threads: usize, spin: Duration) -> Self {
        // A caller that is itself a worker of the pool cannot be its own helper.
        let workers =
            rayon::current_num_threads() - usize::from(rayon::current_thread_index().is_some());
        let helpers = workers.min(threads - 1);
        let shared = Arc::new(Shared::new(helpers, spin));
        shared.begin(helpers);
        Self {
            threads,
            shared: Some(shared),
            in_phase: Cell::new(false),
            most_chunks: Cell::new(0),
        }
    }

    /// How many members could take part in what was run since this was asked last: the most chunks of
    /// a phase, and no more than there are members. 1 if no phase was run.
    pub fn take_members(&self) -> usize {
        self.most_chunks.take().clamp(1, self.threads)
    }

    /// Calls `work(chunk, slot)` once for each chunk below `chunks`, on whichever member claims it.
    ///
    /// `slot` is below [`Self::threads`]; two calls at a time never have the same. The caller has
    /// slot 0, helpers are numbered as they arrive. What one phase writes, the next one sees.
    ///
    /// A `run` reached from inside this team's own `work` (through a thread-local) is on the
    /// caller's thread; it runs all its chunks there and then, in slot 0.
    ///
    /// # Panics
    /// With the panic of `work`, if it panics; of several, with the first. Chunks that nobody has
    /// claimed by then are not run. The team stays usable.
    pub fn run(&self, chunks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        self.most_chunks.set(self.most_chunks.get().max(chunks));
        match &self.shared {
            Some(shared) if chunks > 1 && !self.in_phase.get() => {
                self.in_phase.set(true);
                let result = shared.run(chunks, work);
                self.in_phase.set(false);
                if let Err(payload) = result {
                    resume_unwind(payload);
                }
            }
            _ => {
                for chunk in 0..chunks {
                    work(chunk, 0);
                }
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.end();
        }
    }
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
