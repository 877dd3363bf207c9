//! What the caller of a team and its helpers share, and what each of them does.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::gate::{Epoch, Gate, Inside, Waiting};

/// A helper that spins longer than this also offers its core to the system: the caller may be
/// waiting for that very core.
const SPIN_BEFORE_YIELD: Duration = Duration::from_micros(10);

/// How often a spinning helper lets its pool run something else.
pub(super) const COURTESY: Duration = Duration::from_millis(1);

/// How long a helper sleeps before it leaves. Longer than the gaps of a caller that other programs
/// keep off its core; bounds the delay when a task of the pool finds itself below a helper.
pub(super) const LEAVE_AFTER: Duration = Duration::from_millis(100);

thread_local! {
    /// Teams that the current thread is the caller of. Such a thread does not help: it may be
    /// waiting inside its scope for a task of the pool, and be handed its own helper meanwhile.
    static TEAMS_CALLED: Cell<usize> = const { Cell::new(0) };
}

/// What a member calls: `work(chunk, slot)`.
type Work<'a> = &'a (dyn Fn(usize, usize) + Sync);

pub(super) type Payload = Box<dyn Any + Send>;

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
pub(super) struct Shared {
    /// Next chunk to be claimed. Reset by the caller while the gate is closed.
    next: CachePadded<AtomicUsize>,
    gate: CachePadded<Gate<Job>>,
    /// Helpers that are spinning or at work: not asleep, not doing their pool a favour.
    awake: CachePadded<AtomicUsize>,
    pub(super) asleep: AtomicUsize,
    /// Helpers that have been spawned and have not left.
    pub(super) present: AtomicUsize,
    seats: Box<[CachePadded<Seat>]>,
    spin: Duration,
    /// The first panic of the phase.
    panic: Mutex<Option<Payload>>,
}

impl Shared {
    pub(super) fn new(helpers: usize, spin: Duration) -> Self {
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

    /// The current thread becomes the caller of a team and asks for its helpers.
    pub(super) fn begin(self: &Arc<Self>, helpers: usize) {
        TEAMS_CALLED.set(TEAMS_CALLED.get() + 1);
        self.spawn(helpers);
    }

    /// The scope is over: on the same thread, outside any phase.
    pub(super) fn end(&self) {
        TEAMS_CALLED.set(TEAMS_CALLED.get() - 1);
        self.gate.end();
        self.wake(self.seats.len());
    }

    /// One phase, from the caller's side.
    pub(super) fn run(self: &Arc<Self>, chunks: usize, work: Work<'_>) -> Result<(), Payload> {
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
