//! The team on real threads, in pools of the tests' own and in the global one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;

/// A test that waits this long has met a hang, not a slow machine.
const HANG: Duration = Duration::from_secs(60);

fn pool(workers: usize) -> ThreadPool {
    ThreadPoolBuilder::new()
        .num_threads(workers)
        .build()
        .expect("a pool")
}

/// Calls `test` with teams of several sizes, borrowed from pools smaller, equal and larger, by a
/// caller inside the pool and by one outside any.
fn for_each_team(test: impl Fn(&Team) + Sync) {
    for threads in [1, 2, 3, 8] {
        with_team(threads, &test);
        for workers in [1, 2, 8] {
            pool(workers).install(|| with_team(threads, &test));
        }
    }
}

/// Runs a phase in which `members` members are inside at once; returns their slots, sorted.
fn meet(team: &Team, members: usize) -> Vec<usize> {
    let slots = Mutex::new(Vec::new());
    let started = Instant::now();
    team.run(members, &|_, slot| {
        slots.lock().unwrap().push(slot);
        while slots.lock().unwrap().len() < members {
            assert!(started.elapsed() < HANG, "{members} members never met");
            std::thread::yield_now();
        }
    });
    let mut slots = slots.into_inner().unwrap();
    slots.sort_unstable();
    slots
}

#[test]
fn every_chunk_runs_exactly_once() {
    for_each_team(|team| {
        for chunks in (0..20).chain([63, 64, 65, 1000]) {
            let calls: Vec<_> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            team.run(chunks, &|chunk, _| {
                calls[chunk].fetch_add(1, Ordering::Relaxed);
            });
            let wrong = calls.iter().position(|n| n.load(Ordering::Relaxed) != 1);
            assert_eq!(wrong, None, "{chunks} chunks, {} threads", team.threads());
        }
    });
}

#[test]
fn phases_see_what_earlier_phases_wrote() {
    const CHUNKS: usize = 4;
    const PHASES: u64 = 5_000;
    for_each_team(|team| {
        // Relaxed on purpose: the order between phases has to come from the gate.
        let cells: Vec<_> = (0..CHUNKS).map(|_| AtomicU64::new(0)).collect();
        for phase in 0..PHASES {
            team.run(CHUNKS, &|chunk, _| {
                let neighbour = &cells[(chunk + 1) % CHUNKS];
                assert!((phase..=phase + 1).contains(&neighbour.load(Ordering::Relaxed)));
                cells[chunk].fetch_add(1, Ordering::Relaxed);
            });
            assert!(cells.iter().all(|c| c.load(Ordering::Relaxed) == phase + 1));
        }
    });
}

#[test]
fn no_two_calls_at_a_time_have_the_same_slot() {
    for_each_team(|team| {
        let threads = team.threads();
        let taken: Vec<_> = (0..threads).map(|_| AtomicBool::new(false)).collect();
        for _ in 0..500 {
            team.run(2 * threads, &|_, slot| {
                assert!(!taken[slot].swap(true, Ordering::Relaxed), "slot {slot}");
                std::hint::spin_loop();
                taken[slot].store(false, Ordering::Relaxed);
            });
        }
    });
}

#[test]
fn helpers_come_and_have_the_slots_after_the_callers() {
    for members in [2, 3, 8] {
        let all: Vec<_> = (0..members).collect();
        pool(members).install(|| with_team(members, |team| assert_eq!(meet(team, members), all)));
    }
    // From outside, the helpers come from the global pool, whatever its size.
    with_team(2, |team| assert_eq!(meet(team, 2), [0, 1]));
}

#[test]
fn parked_helpers_come_back() {
    let options = TeamOptions::new(3).spin(Duration::ZERO);
    pool(3).install(|| {
        options.with_team(|team| {
            for _ in 0..50 {
                assert_eq!(meet(team, 3), [0, 1, 2]);
                let shared = team.shared.as_ref().expect("a team of three");
                let idle = Instant::now();
                while shared.asleep.load(Ordering::SeqCst) < 2 {
                    assert!(idle.elapsed() < HANG, "nobody goes to sleep");
                    std::thread::yield_now();
                }
            }
        });
    });
}

#[test]
fn helpers_that_left_are_replaced() {
    let options = TeamOptions::new(2).spin(Duration::ZERO);
    pool(2).install(|| {
        options.with_team(|team| {
            for _ in 0..3 {
                assert_eq!(meet(team, 2), [0, 1]);
                let shared = team.shared.as_ref().expect("a team of two");
                let idle = Instant::now();
                while shared.present.load(Ordering::SeqCst) > 0 {
                    assert!(idle.elapsed() < HANG, "nobody leaves");
                    std::thread::yield_now();
                }
            }
        });
    });
}

#[test]
fn a_pool_that_is_busy_is_not_waited_for() {
    // The only other worker does not return before the scope has.
    let entered = AtomicBool::new(false);
    let scope_is_over = AtomicBool::new(false);
    let wait_for = |flag: &AtomicBool| {
        while !flag.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    };
    let calls = AtomicUsize::new(0);
    pool(2).scope(|s| {
        s.spawn(|_| {
            entered.store(true, Ordering::SeqCst);
            wait_for(&scope_is_over);
        });
        wait_for(&entered);
        with_team(2, |team| {
            team.run(10, &|_, slot| {
                assert_eq!(slot, 0);
                calls.fetch_add(1, Ordering::Relaxed);
            });
        });
        scope_is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(calls.into_inner(), 10);
}

#[test]
fn a_panic_reaches_the_caller_and_the_team_goes_on() {
    for thrower in [0, 1] {
        pool(2).install(|| {
            with_team(2, |team| {
                for _ in 0..20 {
                    let slots = AtomicUsize::new(0);
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        team.run(2, &|_, slot| {
                            // Both have to be inside, or the caller might do without the helper.
                            slots.fetch_add(1, Ordering::SeqCst);
                            while slots.load(Ordering::SeqCst) < 2 {
                                std::thread::yield_now();
                            }
                            if slot == thrower {
                                std::panic::panic_any(slot);
                            }
                        });
                    }));
                    let payload = result.expect_err("the panic of the member");
                    assert_eq!(payload.downcast_ref::<usize>(), Some(&thrower));
                }
                assert_eq!(meet(team, 2), [0, 1]);
            });
        });
    }
}

#[test]
fn a_panic_ends_the_phase() {
    for_each_team(|team| {
        let calls = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.run(usize::MAX / 2, &|_, _| {
                calls.fetch_add(1, Ordering::Relaxed);
                panic!("each of them");
            });
        }));
        assert!(result.is_err());
        assert!((1..=team.threads()).contains(&calls.into_inner()));
    });
}

#[test]
fn a_scope_that_panics_lets_its_helpers_go() {
    let shared = Mutex::new(None);
    let result = catch_unwind(AssertUnwindSafe(|| {
        pool(2).install(|| {
            with_team(2, |team| {
                meet(team, 2);
                *shared.lock().unwrap() = team.shared.clone();
                panic!("in the scope");
            });
        });
    }));
    assert!(result.is_err());
    all_leave(&shared.into_inner().unwrap().expect("a team of two"));
}

#[test]
fn helpers_leave_with_the_scope() {
    for spin in [Duration::ZERO, DEFAULT_SPIN, Duration::from_secs(3600)] {
        let shared = pool(4).install(|| {
            TeamOptions::new(4).spin(spin).with_team(|team| {
                meet(team, 4);
                Arc::clone(team.shared.as_ref().expect("a team of four"))
            })
        });
        all_leave(&shared);
    }
}

fn all_leave(shared: &Shared) {
    let over = Instant::now();
    while shared.present.load(Ordering::SeqCst) > 0 {
        assert!(over.elapsed() < HANG, "helpers stay behind");
        std::thread::yield_now();
    }
}

#[test]
fn teams_nest_and_share_a_pool() {
    let calls = AtomicUsize::new(0);
    let team_of_two = |phases: usize| {
        with_team(2, |team| {
            for _ in 0..phases {
                team.run(3, &|_, _| {
                    calls.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
    };
    // A team inside a chunk of another, and two teams at a time in one pool.
    pool(2).install(|| {
        with_team(2, |outer| outer.run(4, &|_, _| team_of_two(100)));
        rayon::join(|| team_of_two(1000), || team_of_two(1000));
    });
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| team_of_two(1000));
        }
    });
    assert_eq!(calls.into_inner(), 3 * (4 * 100 + 4 * 1000));
}

#[test]
fn a_scope_may_use_the_pool_that_its_helpers_come_from() {
    let sum = |from: usize, to: usize| (from..to).sum::<usize>();
    for workers in [1, 2, 3] {
        pool(workers).install(|| {
            with_team(workers, |team| {
                for _ in 0..100 {
                    team.run(2, &|_, _| ());
                    let (low, high) = rayon::join(|| sum(0, 50), || sum(50, 100));
                    assert_eq!(low + high, 4950);
                }
            });
        });
    }
}

/// A second phase inside a phase: a `&Team` cannot be captured by the work, but the same thread may
/// find it elsewhere.
#[test]
fn a_run_inside_a_run_is_the_callers_alone() {
    thread_local! {
        static TEAM: Cell<Option<*const Team>> = const { Cell::new(None) };
    }
    for_each_team(|team| {
        TEAM.set(Some(team));
        let inner_calls = AtomicUsize::new(0);
        team.run(16, &|_, slot| {
            let Some(again) = TEAM.get() else { return };
            assert_eq!(slot, 0, "a helper is on another thread");
            // SAFETY: set above on this thread, by the scope that is still running.
            let again = unsafe { &*again };
            again.run(5, &|_, slot| {
                assert_eq!(slot, 0);
                inner_calls.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(inner_calls.into_inner() % 5, 0);
        TEAM.set(None);
    });
}

#[test]
fn a_team_of_one_borrows_nobody() {
    with_team(1, |team| {
        assert!(team.shared.is_none());
        let caller = std::thread::current().id();
        team.run(3, &|_, _| assert_eq!(std::thread::current().id(), caller));
    });
    assert!(Team::solo().shared.is_none());
}

#[test]
fn number_of_threads_is_what_was_asked_for_within_reason() {
    pool(3).install(|| {
        assert_eq!(with_team(0, Team::threads), 3);
        assert_eq!(with_team(7, Team::threads), 7);
        assert_eq!(with_team(usize::MAX, Team::threads), MAX_THREADS);
    });
    assert_eq!(with_team(0, Team::threads), rayon::current_num_threads());
}
