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
//! 4. A helper that has slept for [`LEAVE_AFTER`] gives its thread back to the pool, and the next
//!    phase spawns it anew. So whatever else the pool is asked to do, inside the scope too, goes on:
//!    nothing waits for a helper, and no helper waits forever. A spinning helper lets the pool run
//!    another task every [`COURTESY`].
//!
//! A phase allocates nothing, unless it has to spawn helpers that left. Handing one over to a
//! spinning helper costs some 0.2 to 0.5 us, waking a parked one some 50 us.

mod gate;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use self::gate::{Epoch, Gate, Inside, Waiting};

/// The most members of one team; a larger number asked for is taken as this one.
const MAX_THREADS: usize = 512;

/// Covers the gaps between the phases of a training step, and the loading of a batch.
const DEFAULT_SPIN: Duration = Duration::from_millis(2);

/// A helper that spins longer than this also offers its core to the system: the caller may be
/// waiting for that very core.
const SPIN_BEFORE_YIELD: Duration = Duration::from_micros(10);

/// How often a spinning helper lets its pool run something else.
const COURTESY: Duration = Duration::from_millis(1);

/// How long a helper sleeps before it leaves. Longer than the gaps of a caller that other programs
/// keep off its core; bounds the delay when a task of the pool finds itself below a helper.
const LEAVE_AFTER: Duration = Duration::from_millis(100);

thread_local! {
    /// Teams that the current thread is the caller of. Such a thread does not help: it may be
    /// waiting inside its scope for a task of the pool, and be handed its own helper meanwhile.
    static TEAMS_CALLED: Cell<usize> = const { Cell::new(0) };
}

/// What a member calls: `work(chunk, slot)`.
type Work<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A caller and the helpers that follow it through the parallel phases of one scope.
///
/// A team stays with its caller: it is not `Sync`, so the work of a phase cannot use the team that
/// runs it. Work that needs a team of its own makes one, [`Team::solo`] for free.
///
/// ```compile_fail
/// kernels::with_team(2, |team| team.run(2, &|_, _| team.run(2, &|_, _| ())));
/// ```
pub struct Team {
    threads: usize,
    shared: Option<Arc<Shared>>,
    /// Guards against a second phase inside a phase, which a thread-local can still bring about.
    in_phase: Cell<bool>,
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
        shared.spawn(helpers);
        TEAMS_CALLED.set(TEAMS_CALLED.get() + 1);
        Self {
            threads,
            shared: Some(shared),
            in_phase: Cell::new(false),
        }
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
            TEAMS_CALLED.set(TEAMS_CALLED.get() - 1);
            shared.gate.end();
            shared.wake(shared.seats.len());
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

type Payload = Box<dyn Any + Send>;

/// A phase as helpers see it.
#[derive(Clone, Copy)]
struct Job {
    /// Points at a [`Work`] on the caller's stack, alive until the gate has closed.
    work: *const (),
    chunks: usize,
}

// SAFETY: the `Work` behind the pointer is a shared borrow of something `Sync`.
unsafe impl Send for Job {}

/// What a helper has to itself: its slot, and where it sleeps.
#[derive(Default)]
struct Seat {
    taken: AtomicBool,
    asleep: AtomicBool,
    /// Whom to wake while `asleep`.
    thread: Mutex<Option<Thread>>,
}

/// What the caller and its helpers share. Lives until the last helper has left.
struct Shared {
    /// Next chunk to be claimed. Reset by the caller while the gate is closed.
    next: CachePadded<AtomicUsize>,
    gate: CachePadded<Gate<Job>>,
    /// Helpers that are spinning or at work: not asleep, not doing their pool a favour.
    awake: CachePadded<AtomicUsize>,
    asleep: AtomicUsize,
    /// Helpers that have been spawned and have not left.
    present: AtomicUsize,
    seats: Box<[CachePadded<Seat>]>,
    spin: Duration,
    /// The first panic of the phase.
    panic: Mutex<Option<Payload>>,
}

impl Shared {
    fn new(helpers: usize, spin: Duration) -> Self {
        Self {
            next: CachePadded::default(),
            gate: CachePadded::new(Gate::new()),
            awake: CachePadded::default(),
            asleep: AtomicUsize::new(0),
            present: AtomicUsize::new(0),
            seats: (0..helpers).map(|_| CachePadded::default()).collect(),
            spin,
            panic: Mutex::new(None),
        }
    }

    /// One phase, from the caller's side.
    fn run(self: &Arc<Self>, chunks: usize, work: Work<'_>) -> Result<(), Payload> {
        self.next.store(0, Ordering::Relaxed);
        let helpers = (chunks - 1).min(self.seats.len());
        let job = Job {
            work: (&raw const work).cast(),
            chunks,
        };
        // SAFETY: a `Team` is not `Sync` and `in_phase` is set, so this is the one caller and no
        // phase is open. The guard is dropped in this function, before `work` goes.
        let open = unsafe { self.gate.open(job, helpers) };
        let missing = helpers.saturating_sub(self.awake.load(Ordering::SeqCst));
        if missing > 0 {
            if self.asleep.load(Ordering::SeqCst) > 0 {
                self.wake(missing);
            }
            let present = self.present.load(Ordering::Acquire);
            self.spawn(helpers.saturating_sub(present));
        }
        self.claim_chunks(chunks, 0, work);
        drop(open);
        match self.lock_panic().take() {
            Some(payload) => Err(payload),
            None => Ok(()),
        }
    }

    /// Runs chunks as member `slot` until none is left. A panic ends the phase and is kept.
    fn claim_chunks(&self, chunks: usize, slot: usize, work: Work<'_>) {
        // The panic goes on in the caller, who sees what it left behind as after any panic.
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let chunk = self.next.fetch_add(1, Ordering::Relaxed);
                if chunk >= chunks {
                    break;
                }
                work(chunk, slot);
            }
        }));
        if let Err(payload) = result {
            self.next.store(chunks, Ordering::Relaxed);
            self.lock_panic().get_or_insert(payload);
        }
    }

    /// The kept panic. Nothing panics under this lock but the destructor of a second payload.
    fn lock_panic(&self) -> MutexGuard<'_, Option<Payload>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the pool for `count` more helpers; there are never more than seats.
    fn spawn(self: &Arc<Self>, count: usize) {
        for _ in 0..count {
            self.present.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(self);
            rayon::spawn(move || shared.help());
        }
    }

    /// Unparks `count` of the sleeping helpers, or all that there are.
    fn wake(&self, count: usize) {
        self.seats
            .iter()
            .filter(|seat| {
                seat.asleep.load(Ordering::SeqCst) && seat.asleep.swap(false, Ordering::SeqCst)
            })
            .take(count)
            .for_each(|seat| seat.unpark());
    }

    /// What a helper does, from its arrival until the scope is over or it has slept too long.
    fn help(&self) {
        let free = |seat: &&CachePadded<Seat>| !seat.taken.swap(true, Ordering::Acquire);
        let mut seats = self.seats.iter().enumerate();
        let may_help = TEAMS_CALLED.get() == 0 && !self.gate.is_over();
        if let Some((index, seat)) = seats.find(|(_, seat)| may_help && free(seat)) {
            seat.sit_down();
            self.awake.fetch_add(1, Ordering::SeqCst);
            let mut seen = 0;
            while let Some(inside) = self.next_phase(seat, &mut seen) {
                if let Some(job) = inside.job() {
                    // SAFETY: while this helper is inside, the caller stays in `Shared::run`, where
                    // the `Work` that the pointer was made from is alive.
                    let work = unsafe { *job.work.cast::<Work<'_>>() };
                    self.claim_chunks(job.chunks, index + 1, work);
                }
            }
            self.awake.fetch_sub(1, Ordering::SeqCst);
            seat.taken.store(false, Ordering::Release);
        }
        self.present.fetch_sub(1, Ordering::Release);
    }

    /// Waits for a phase and enters it; `None` when it is time to leave.
    fn next_phase(&self, seat: &Seat, seen: &mut Epoch) -> Option<Inside<'_, Job>> {
        let mut waiting = Waiting::default();
        let mut next_courtesy = COURTESY;
        loop {
            if let Some(inside) = self.gate.enter(seen) {
                return Some(inside);
            }
            if self.gate.is_over() {
                return None;
            }
            let Some(waited) = waiting.turn() else {
                continue;
            };
            if waited >= self.spin {
                if !self.sleep(seat, *seen) {
                    return None;
                }
                waiting = Waiting::default();
                next_courtesy = COURTESY;
            } else if waited >= next_courtesy {
                next_courtesy = waited + COURTESY;
                self.oblige_pool();
            } else if waited >= SPIN_BEFORE_YIELD {
                std::thread::yield_now();
            }
        }
    }

    /// Sleeps until a phase or the end of the scope calls; `false` if none does in time.
    fn sleep(&self, seat: &Seat, seen: Epoch) -> bool {
        self.awake.fetch_sub(1, Ordering::SeqCst);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        seat.asleep.store(true, Ordering::SeqCst);
        // A caller who opened the gate too early to see this seat asleep is seen here.
        let deadline = Instant::now() + LEAVE_AFTER;
        let mut called = self.gate.calls(seen);
        while !called && seat.asleep.load(Ordering::SeqCst) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
            called = self.gate.calls(seen);
        }
        // Woken for a phase that is past by now: the next one is not far.
        called |= !seat.asleep.swap(false, Ordering::SeqCst);
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        self.awake.fetch_add(1, Ordering::SeqCst);
        called
    }

    /// Lets the pool run a waiting task on this helper's thread; the helper is absent meanwhile.
    fn oblige_pool(&self) {
        self.awake.fetch_sub(1, Ordering::SeqCst);
        rayon::yield_now();
        self.awake.fetch_add(1, Ordering::SeqCst);
    }
}

impl Seat {
    fn sit_down(&self) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
    }

    fn unpark(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            thread.unpark();
        }
    }
}
