//! What the machine can do at most: multiply-adds, clock, bandwidth, hand-over between threads.
//!
//! A clock moves with the load, by 15 % and more within minutes. So every probe is a short burst,
//! to be run between the timings that it is compared with.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kernels::{Isa, Team, probe, with_team};

/// Rounds of the multiply-add loop in one burst: some 100 us, long enough for the clock's resolution
/// and short enough to be repeated between timings.
const BURST_ROUNDS: u64 = 20_000;

/// Length of the clock probe: some 3 us.
const CLOCK_MULTIPLICATIONS: u64 = 4_000;

/// Tries of the clock probe; the fastest is the one that nothing interrupted.
const CLOCK_TRIES: usize = 4;

/// How long a member waits for the other before a hand-over counts as failed.
const HAND_OVER_LIMIT: Duration = Duration::from_millis(1);

/// Multiply-adds per nanosecond times two, that is GFLOP/s, of all members of the team at once;
/// `None` if this CPU cannot run `isa`.
pub(crate) fn peak_burst(isa: Isa, team: &Team) -> Option<f64> {
    burst(team, &|| probe::multiply_add(isa, BURST_ROUNDS))
}

/// The same of products of bf16 numbers on the matrix unit, whose operands are in tiles already or are
/// loaded each time; `None` if there is none.
pub(crate) fn tile_burst(loads: bool, team: &Team) -> Option<f64> {
    burst(team, &|| probe::tile_multiply(BURST_ROUNDS, loads))
}

/// GFLOP/s of a loop that counts its operations, run by all members of the team at once.
fn burst(team: &Team, work: &(dyn Fn() -> Option<u64> + Sync)) -> Option<f64> {
    let flop = work()? as f64;
    let started = Instant::now();
    team.run(team.threads(), &|_, _| {
        black_box(work());
    });
    let elapsed = started.elapsed().as_nanos() as f64;
    Some(team.threads() as f64 * flop / elapsed)
}

/// The clock in GHz, where a probe for it is known.
pub(crate) fn clock_ghz() -> Option<f64> {
    (0..CLOCK_TRIES)
        .map(|_| {
            let started = Instant::now();
            let cycles = probe::cycles(CLOCK_MULTIPLICATIONS)? as f64;
            Some(cycles / started.elapsed().as_nanos() as f64)
        })
        .reduce(|best, next| Some(best?.max(next?)))
        .flatten()
}

/// Gigabytes per second of one pass of `work` that moves `bytes`.
pub(crate) fn bandwidth(bytes: usize, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    bytes as f64 / started.elapsed().as_nanos() as f64
}

/// Nanoseconds of reading all numbers once, after they have been read before.
pub(crate) fn read_ns(numbers: &[f32]) -> f64 {
    black_box(probe::read(numbers));
    let started = Instant::now();
    black_box(probe::read(black_box(numbers)));
    started.elapsed().as_nanos() as f64
}

/// Nanoseconds of a phase of two chunks that do nothing. The caller may well do both.
pub(crate) fn empty_phase_ns(team: &Team) -> f64 {
    let started = Instant::now();
    team.run(2, &|chunk, _| {
        black_box(chunk);
    });
    started.elapsed().as_nanos() as f64
}

/// Nanoseconds of a phase in which two members have to meet, from before it to after it; `None` if
/// no second member came in time.
pub(crate) fn hand_over_ns(team: &Team) -> Option<f64> {
    hand_over_since(Instant::now(), team)
}

/// The same of the first phase of a scope with so many members, from before the scope.
pub(crate) fn first_hand_over_ns(members: usize) -> Option<f64> {
    let started = Instant::now();
    with_team(members, |team| hand_over_since(started, team))
}

fn hand_over_since(started: Instant, team: &Team) -> Option<f64> {
    let arrived = AtomicUsize::new(0);
    team.run(2, &|_, _| {
        arrived.fetch_add(1, Ordering::Relaxed);
        let mut turns = 0_u32;
        while arrived.load(Ordering::Relaxed) < 2 {
            std::hint::spin_loop();
            turns += 1;
            if turns.is_multiple_of(64) && started.elapsed() > HAND_OVER_LIMIT {
                break;
            }
        }
    });
    let elapsed = started.elapsed();
    (elapsed < HAND_OVER_LIMIT).then_some(elapsed.as_nanos() as f64)
}

/// Waits until the helpers of the team have come, or long enough.
pub(crate) fn gather(team: &Team) {
    let members = team.threads();
    let arrived = AtomicUsize::new(0);
    let started = Instant::now();
    if members > 1 {
        team.run(members, &|_, _| {
            arrived.fetch_add(1, Ordering::Relaxed);
            while arrived.load(Ordering::Relaxed) < members && started.elapsed() < HAND_OVER_LIMIT {
                std::hint::spin_loop();
            }
        });
    }
}

/// An error that says so where what takes so many numbers does not fit in the memory that is left; of a
/// system that does not say how much is left, where no memory could hold it.
pub(crate) fn ensure_memory(what: &str, values: Option<usize>) -> anyhow::Result<()> {
    let bytes = values.and_then(|values| values.checked_mul(size_of::<f32>()));
    let left = available_bytes().unwrap_or(isize::MAX as usize);
    let gigabytes = |bytes: usize| bytes as f64 / 1e9;
    match bytes {
        Some(bytes) if bytes <= left => Ok(()),
        Some(bytes) => anyhow::bail!(
            "{what}: expected what fits in the {:.1} GB of memory that are left, got {:.1} GB",
            gigabytes(left),
            gigabytes(bytes)
        ),
        None => anyhow::bail!("{what}: more than any memory can hold"),
    }
}

/// The memory that a program can still have, as Linux estimates it.
fn available_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Keeps this thread, and those that it starts from now on, to as many of its cores as there are threads,
/// the first ones. Cores of a shared machine differ in speed, from one moment to the next: programs that
/// are compared run on the same ones. Where the system knows no such thing, or refuses it, nothing
/// changes.
#[cfg(target_os = "linux")]
pub(crate) fn keep_to_cores(threads: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let mut kept = CpuSet::new();
    let cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    cores.take(threads).for_each(|core| kept.set(core));
    if kept.count() > 0 {
        // Refused means unchanged.
        let _ = sched_setaffinity(None, &kept);
    }
}

/// The same elsewhere: nothing.
#[cfg(not(target_os = "linux"))]
pub(crate) fn keep_to_cores(_: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_is_kept_to_the_first_of_its_cores() {
        use rustix::thread::sched_getaffinity;

        // A thread of its own, since a core lost is not given back.
        let kept = std::thread::spawn(|| {
            keep_to_cores(0);
            let all = sched_getaffinity(None).expect("the cores of a thread");
            keep_to_cores(1);
            (all, sched_getaffinity(None).expect("the cores of a thread"))
        });
        let (all, one) = kept.join().expect("no panic");
        assert_eq!(one.count(), 1);
        let first = (0..).find(|&core| all.is_set(core)).expect("a core");
        assert!(one.is_set(first));
    }

    #[test]
    fn what_no_memory_holds_is_refused() {
        assert!(ensure_memory("a", Some(1000)).is_ok());
        for values in [Some(1 << 55), Some(usize::MAX / 2), None] {
            let error = ensure_memory("--layers", values).expect_err("too much");
            assert!(error.to_string().starts_with("--layers: "), "{error}");
        }
    }

    #[test]
    fn peak_of_every_isa_that_is_there() {
        let team = Team::solo();
        for isa in Isa::ALL {
            let burst = peak_burst(isa, &team);
            assert_eq!(burst.is_some(), isa.is_supported(), "{isa}");
            assert!(burst.is_none_or(|rate| rate > 0.0), "{isa}");
        }
    }
}
