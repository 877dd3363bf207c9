//! Times several implementations in turn: A B B A A B B A ...

use std::time::{Duration, Instant};

use kernels::{Isa, with_team};

use crate::machine;
use crate::progress::is_interrupted;

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
    /// GHz of the caller's core, measured next to each sample, where a probe is known.
    pub(crate) clock_ghz: Vec<f64>,
}

/// Times all contestants in turn, reversing the order from round to round, with a burst of the
/// multiply-add peak of `isa` after each sample. No round begins after `budget`, but for the first few.
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
        let mut order: Vec<_> = (0..contestants.len()).collect();
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        for i in order {
            let elapsed = contestants[i].sample(calls[i]);
            series[i]
                .ns
                .push(elapsed.as_nanos() as f64 / calls[i] as f64);
            series[i].clock_ghz.extend(machine::clock_ghz());
            let peak = with_team(contestants[i].threads(), |team| {
                machine::gather(team);
                machine::peak_burst(isa, team)
            });
            series[i].peak.extend(peak);
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
    fn order_is_reversed_from_round_to_round() {
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
    fn samples_are_long_enough() {
        let log = RefCell::new(Vec::new());
        let calls = calls_per_sample(&mut Fake("a", &log));
        assert!((1_000..3_000).contains(&calls), "{calls}");
    }
}
