//! Times several implementations in turn, in orders that favour none of them.
//!
//! Two take turns as A B, B A, A B ... With more, an order and its reverse would keep two of them at the
//! ends for ever, and let each follow the same ones. So the orders are the rows of a Latin square that is
//! balanced for what comes before (Williams, 1949): in as many rounds as there are contestants each is
//! once in each place, and over two such squares each follows each other one equally often.

use std::time::{Duration, Instant};

use kernels::{Isa, Team, with_team};

use crate::machine;
use crate::progress::is_interrupted;
use crate::stats::median;

/// A sample is that many calls that it lasts at least this long: far above the clock's resolution,
/// far below the time slice of a scheduler.
const SAMPLE: Duration = Duration::from_millis(1);

/// Rounds, each with one sample of every contestant. The median of 60 paired ratios of a thing with
/// itself stays within 2 % of 1 on a shared machine.
const ROUNDS: usize = 60;

/// However little time there is, this many are done.
const MIN_ROUNDS: usize = 3;

/// Something to be timed.
pub(crate) trait Contestant {
    /// Who it is, with version where it is not ours.
    fn name(&self) -> String;

    /// How many threads it uses.
    fn threads(&self) -> usize;

    /// Makes `calls` calls and says how long they took, without what comes before and after.
    fn sample(&mut self, calls: usize) -> Duration;
}

/// A call on the calling thread.
pub(crate) struct Call<F> {
    name: &'static str,
    call: F,
}

impl<F: FnMut()> Call<F> {
    pub(crate) fn new(name: &'static str, call: F) -> Self {
        Self { name, call }
    }
}

impl<F: FnMut()> Contestant for Call<F> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn threads(&self) -> usize {
        1
    }

    fn sample(&mut self, calls: usize) -> Duration {
        time_calls(calls, &mut self.call)
    }
}

/// How long `calls` calls take.
pub(crate) fn time_calls(calls: usize, mut call: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..calls {
        call();
    }
    started.elapsed()
}

/// The timings of one contestant, one number per round.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Nanoseconds per call.
    pub(crate) ns: Vec<f64>,
    /// GFLOP/s of multiply-adds on as many threads, measured next to each sample.
    pub(crate) peak: Vec<f64>,
    /// As many times the same of the calling thread alone, where the contestant uses more than one.
    pub(crate) peak_of_cores: Vec<f64>,
    /// GHz of the caller's core, measured next to each sample, where a probe is known.
    pub(crate) clock_ghz: Vec<f64>,
}

impl Series {
    /// Adds a sample, with the clock and the peak of now beside it.
    pub(crate) fn push(&mut self, ns: f64, isa: Isa, threads: usize) {
        self.ns.push(ns);
        with_team(threads, |team| self.probe(isa, team));
    }

    /// The clock and the peak of now, on this team.
    pub(crate) fn probe(&mut self, isa: Isa, team: &Team) {
        self.clock_ghz.extend(machine::clock_ghz());
        machine::gather(team);
        self.peak.extend(machine::peak_burst(isa, team));
        if team.threads() > 1 {
            let alone = machine::peak_burst(isa, &Team::solo());
            let threads = team.threads() as f64;
            self.peak_of_cores
                .extend(alone.map(|alone| threads * alone));
        }
    }

    /// The peak of all threads over as many times that of one: 1 where each has a core of its own, half
    /// of that where two share one, or where a neighbour has the other. `None` for one thread.
    pub(crate) fn cores_share(&self) -> Option<f64> {
        Some(median(&self.peak)? / median(&self.peak_of_cores)?)
    }
}

/// The order of one round: a row of a Latin square in which, over two squares, each follows each other
/// one equally often.
pub(crate) fn order(round: usize, count: usize) -> Vec<usize> {
    // 0, 1, n-1, 2, n-2 ...: all differences between neighbours are different.
    let zigzag = (0..count).map(|place| match place {
        place if place % 2 == 1 => place.div_ceil(2),
        place => (count - place / 2) % count,
    });
    let mut order: Vec<_> = zigzag.map(|i| (i + round) % count).collect();
    // With an odd number of contestants one square is balanced only together with its mirror.
    if count % 2 == 1 && (round / count) % 2 == 1 {
        order.reverse();
    }
    order
}

/// Times all contestants in turn ([`order`]), with a burst of the multiply-add peak of `isa` after each
/// sample. No round begins after `budget`, but for the first few.
pub(crate) fn in_turn(
    contestants: &mut [Box<dyn Contestant + '_>],
    isa: Isa,
    budget: Duration,
) -> Vec<Series> {
    let calls: Vec<_> = contestants
        .iter_mut()
        .map(|contestant| calls_per_sample(contestant.as_mut()))
        .collect();
    let mut series: Vec<Series> = contestants.iter().map(|_| Series::default()).collect();
    let started = Instant::now();
    for round in 0..ROUNDS {
        let is_enough = round >= MIN_ROUNDS && started.elapsed() > budget;
        if is_enough || round > 0 && is_interrupted() {
            break;
        }
        for i in order(round, contestants.len()) {
            let elapsed = contestants[i].sample(calls[i]);
            let ns = elapsed.as_nanos() as f64 / calls[i] as f64;
            series[i].push(ns, isa, contestants[i].threads());
        }
    }
    series
}

/// How many calls make a sample long enough. Also warms up.
pub(crate) fn calls_per_sample(contestant: &mut dyn Contestant) -> usize {
    let mut calls = 1;
    loop {
        let elapsed = contestant.sample(calls);
        if elapsed >= SAMPLE {
            return calls;
        }
        // Aim a little higher, so that the last round of this loop is the only long one.
        let factor = 1.2 * SAMPLE.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        calls = (calls as f64 * factor.clamp(2.0, 1e3)) as usize;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Pretends to take a microsecond per call, and notes who was called.
    struct Fake<'a>(&'static str, &'a RefCell<Vec<&'static str>>);

    impl Contestant for Fake<'_> {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        fn threads(&self) -> usize {
            1
        }

        fn sample(&mut self, calls: usize) -> Duration {
            self.1.borrow_mut().push(self.0);
            Duration::from_micros(calls as u64)
        }
    }

    #[test]
    fn two_take_turns_to_begin() {
        let log = RefCell::new(Vec::new());
        let mut contestants: Vec<Box<dyn Contestant + '_>> =
            vec![Box::new(Fake("a", &log)), Box::new(Fake("b", &log))];
        let series = in_turn(&mut contestants, Isa::Scalar, Duration::from_secs(9));
        let log = log.borrow();
        assert!(series.len() == 2 && series.iter().all(|s| s.ns.len() >= MIN_ROUNDS));
        assert!(series[0].ns.iter().all(|&ns| (ns - 1000.0).abs() < 1e-6));
        let rounds = 2 * series[0].ns.len();
        let timed = &log[log.len() - rounds..];
        assert_eq!(&timed[..6], ["a", "b", "b", "a", "a", "b"]);
    }

    #[test]
    fn no_order_favours_anybody() {
        for count in 1..7 {
            let rounds: Vec<_> = (0..2 * count).map(|round| order(round, count)).collect();
            for who in 0..count {
                let places = rounds[..count].iter();
                let mut places: Vec<_> = places
                    .filter_map(|round| round.iter().position(|&i| i == who))
                    .collect();
                places.sort_unstable();
                assert!(places.into_iter().eq(0..count), "{who} of {count}");
                for other in (0..count).filter(|&other| other != who) {
                    let follows = |round: &&Vec<usize>| round.windows(2).any(|w| w == [other, who]);
                    let times = rounds.iter().filter(follows).count();
                    assert_eq!(times, 2, "{who} after {other} of {count}");
                }
            }
        }
    }

    #[test]
    fn a_core_that_is_not_there_shows_in_the_peak() {
        let series = Series {
            peak: vec![100.0, 110.0, 90.0],
            peak_of_cores: vec![200.0, 180.0, 220.0],
            ..Series::default()
        };
        assert_eq!(series.cores_share(), Some(0.5));
        assert_eq!(Series::default().cores_share(), None);
    }

    #[test]
    fn samples_are_long_enough() {
        let log = RefCell::new(Vec::new());
        let calls = calls_per_sample(&mut Fake("a", &log));
        assert!((1_000..3_000).contains(&calls), "{calls}");
    }
}
