//! Two builds of this program against each other: the comparison that decides.
//!
//! 1. Three programs are started: old, old once more, and new. Each checks its results.
//! 2. They are asked for samples in turn, `old' old new`, then `new old old'`, and so on: what changes
//!    more slowly than a turn meets all three, and a steady drift cancels from turn to turn.
//! 3. Each turn gives a ratio new / old, and a ratio old' / old that shows the noise.
//! 4. All of that several times over, since a program that is started anew lies elsewhere in memory,
//!    and may be faster or slower for that alone.
//!
//! Reported is the median of the ratios with the bootstrap interval over starts and pairs; a
//! difference is claimed where [`Verdict`] says so.

mod program;
pub(crate) mod sampler;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::args::CompareArgs;
use crate::machine;
use crate::progress::{Progress, is_interrupted};
use crate::report::{Versioned, print_json, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::verdict::{SLOWER, Verdict};
use crate::stats::{self, median};
use program::Program;

/// A clock that moves more than this between the turns is worth a word.
const STEADY_CLOCK: f64 = 0.1;

/// What was found for one case.
#[derive(Debug, Serialize)]
struct Comparison {
    case: String,
    old: String,
    new: String,
    /// The new one repeats each call of this number, to see whether that is noticed.
    slow_down_every: Option<usize>,
    old_median_ns: f64,
    new_median_ns: f64,
    /// Median of new / old.
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
    /// The same of old / old: the noise.
    a_to_a: f64,
    a_to_a_low: f64,
    a_to_a_high: f64,
    pairs: usize,
    launches: usize,
    verdict: Verdict,
    /// The clock while the turns went on, where a probe is known.
    clock_low_ghz: Option<f64>,
    clock_high_ghz: Option<f64>,
}

/// Nanoseconds per call, turn by turn; one `Vec` per launch.
#[derive(Debug, Default)]
struct Turns {
    old: Vec<Vec<f64>>,
    old_again: Vec<Vec<f64>>,
    new: Vec<Vec<f64>>,
    clock_ghz: Vec<f64>,
}

/// The three programs of one launch, in the order of a turn.
type Trio<P> = [P; 3];

/// Takes a sample from each, in this order or the reverse: (old again, old, new).
///
/// A sample of old that nobody looks at comes first: without it the first of a turn, which was the
/// last of the turn before, would find its memory in the caches and be the faster for it.
fn turn<P>(
    trio: &mut Trio<P>,
    reversed: bool,
    mut sample: impl FnMut(&mut P) -> anyhow::Result<f64>,
) -> anyhow::Result<[f64; 3]> {
    let mut ns = [0.0; 3];
    let order = if reversed { [1, 2, 1, 0] } else { [1, 0, 1, 2] };
    for who in order {
        ns[who] = sample(&mut trio[who])?;
    }
    Ok(ns)
}

impl Turns {
    /// The two ratios, new / old and old / old.
    fn estimates(&self) -> Option<(Estimate, Estimate)> {
        let over_old = |series: &[Vec<f64>]| {
            let ratios: Vec<_> = series
                .iter()
                .zip(&self.old)
                .map(|(a, b)| stats::paired_ratios(a, b))
                .collect();
            Estimate::of_median(&ratios)
        };
        Some((over_old(&self.new)?, over_old(&self.old_again)?))
    }

    fn launch(&mut self, args: &CompareArgs, case: &[String]) -> anyhow::Result<()> {
        let answers_within = Duration::from_secs(args.limit_s);
        let mut trio = [
            Program::start(&args.old, case, None, answers_within)?,
            Program::start(&args.old, case, None, answers_within)?,
            Program::start(&args.new, case, args.slow_down_every, answers_within)?,
        ];
        let calls = trio.iter().map(|program| program.calls).max().unwrap_or(1);
        let calls = calls.next_multiple_of(args.slow_down_every.unwrap_or(1));
        let limit = Duration::from_secs(args.seconds_per_launch);
        let started = Instant::now();
        let mut series = [Vec::new(), Vec::new(), Vec::new()];
        for pair in 0..args.pairs {
            // Two turns at least, one in each order.
            if pair >= 2 && (started.elapsed() > limit || is_interrupted()) {
                break;
            }
            let ns = turn(&mut trio, pair % 2 == 1, |program| program.sample(calls))?;
            for (series, ns) in series.iter_mut().zip(ns) {
                series.push(ns);
            }
            self.clock_ghz.extend(machine::clock_ghz());
        }
        let [old_again, old, new] = series;
        self.old_again.push(old_again);
        self.old.push(old);
        self.new.push(new);
        Ok(())
    }
}

impl Comparison {
    fn of(args: &CompareArgs, case: &[String], turns: &Turns) -> Option<Self> {
        let (ratio, a_to_a) = turns.estimates()?;
        Some(Self {
            case: case.join(" "),
            old: args.old.display().to_string(),
            new: args.new.display().to_string(),
            slow_down_every: args.slow_down_every,
            old_median_ns: median(&turns.old.concat())?,
            new_median_ns: median(&turns.new.concat())?,
            ratio: ratio.value,
            ratio_low: ratio.low,
            ratio_high: ratio.high,
            a_to_a: a_to_a.value,
            a_to_a_low: a_to_a.low,
            a_to_a_high: a_to_a.high,
            pairs: turns.old.iter().map(Vec::len).sum(),
            launches: turns.old.len(),
            verdict: Verdict::of(&ratio, &a_to_a),
            clock_low_ghz: stats::quantile(&turns.clock_ghz, 0.05),
            clock_high_ghz: stats::quantile(&turns.clock_ghz, 0.95),
        })
    }

    fn print(&self, json: bool) -> anyhow::Result<()> {
        if let (Some(low), Some(high)) = (self.clock_low_ghz, self.clock_high_ghz)
            && high > low * (1.0 + STEADY_CLOCK)
        {
            eprintln!("warning: the clock moved between {low:.2} and {high:.2} GHz");
        }
        if json {
            print_json(&Versioned::new("compare", self))?;
            return Ok(());
        }
        let verdict = self.verdict.words();
        print_line(&format!(
            "{}\n    old {:.2} us, new {:.2} us: takes {:.4} times as long ({:.4} to {:.4}); old \
             against itself {:.4} ({:.4} to {:.4}); {} pairs in {} launches: {verdict}",
            self.case,
            self.old_median_ns / 1e3,
            self.new_median_ns / 1e3,
            self.ratio,
            self.ratio_low,
            self.ratio_high,
            self.a_to_a,
            self.a_to_a_low,
            self.a_to_a_high,
            self.pairs,
            self.launches,
        ))?;
        Ok(())
    }
}

/// Compares, and says with its exit code whether the new build is slower in any case.
pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let mut is_slower = false;
    for case in args.cases()? {
        if is_interrupted() {
            break;
        }
        let mut turns = Turns::default();
        let progress = Progress::of("compare", args.launches.into());
        for launch in 0..args.launches {
            // What two launches say can be told.
            if launch >= 2 && is_interrupted() {
                break;
            }
            turns.launch(args, &case)?;
            progress.advance(1);
        }
        drop(progress);
        let comparison = Comparison::of(args, &case, &turns).context("nothing was timed")?;
        comparison.print(args.json)?;
        is_slower |= comparison.verdict == Verdict::Slower;
    }
    Ok(if is_slower {
        SLOWER.into()
    } else {
        ExitCode::SUCCESS
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::noise::Noise;

    /// How much one start may differ from another of the same build.
    const START: f64 = 0.01;

    /// A comparison with the defaults of the command line on a made-up machine whose clock drifts by
    /// a fifth, whose timings spread by 3 %, and where each start is up to 1 % off.
    fn simulated(noise: &mut Noise, slowdown: f64) -> Verdict {
        let mut turns = Turns::default();
        for _ in 0..10 {
            let mut trio = [1.0, 1.0, slowdown].map(|ns| ns * (1.0 + START * noise.symmetric()));
            let mut now = 0.0;
            let mut series = [Vec::new(), Vec::new(), Vec::new()];
            for pair in 0..30 {
                let ns = turn(&mut trio, pair % 2 == 1, |ns| {
                    now += 1.0;
                    Ok(noise.ratio(*ns) * (1.0 + 0.2 * now / 120.0))
                });
                for (series, ns) in series.iter_mut().zip(ns.expect("nothing fails")) {
                    series.push(ns);
                }
            }
            let [old_again, old, new] = series;
            turns.old_again.push(old_again);
            turns.old.push(old);
            turns.new.push(new);
        }
        let (ratio, a_to_a) = turns.estimates().expect("timings");
        Verdict::of(&ratio, &a_to_a)
    }

    #[test]
    fn a_slowdown_of_five_percent_is_found_and_none_is_not() {
        let mut noise = Noise::new(5);
        let trials = 40;
        let mut count = |slowdown, verdict| {
            (0..trials)
                .filter(|_| simulated(&mut noise, slowdown) == verdict)
                .count()
        };
        assert!(count(1.05, Verdict::Slower) >= trials * 9 / 10);
        assert!(count(0.95, Verdict::Faster) >= trials * 9 / 10);
        assert!(count(1.0, Verdict::Same) >= trials * 19 / 20);
    }

    #[test]
    fn a_drift_cancels_between_turns_of_both_orders() {
        let mut trio = [1.0, 1.0, 1.0];
        let mut now = 100.0;
        let mut ratio = |reversed| {
            let [_, old, new] = turn(&mut trio, reversed, |_: &mut f64| {
                now += 1.0;
                Ok(now)
            })
            .expect("nothing fails");
            new / old
        };
        let (forth, back) = (ratio(false), ratio(true));
        assert!(forth > 1.0 && back < 1.0);
        assert!((forth * back - 1.0).abs() < 1e-3);
    }

    #[test]
    fn none_is_sampled_twice_in_a_row() {
        let mut trio = ["old again", "old", "new"];
        let mut log = Vec::new();
        for pair in 0..4 {
            let note = |who: &mut &'static str| {
                log.push(*who);
                Ok(1.0)
            };
            turn(&mut trio, pair % 2 == 1, note).expect("nothing fails");
        }
        assert!(log.windows(2).all(|pair| pair[0] != pair[1]), "{log:?}");
    }
}
