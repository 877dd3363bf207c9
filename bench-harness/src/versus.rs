//! Two ways to do the same thing, timed in turn with a second copy of the first: A, B and A'.

use std::time::Duration;

use anyhow::Context;
use kernels::Isa;
use serde::Serialize;

use crate::report::{Beside, Versioned, print_json, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::verdict::Verdict;
use crate::stats::{median, paired_ratios};
use crate::timing::{Contestant, in_turn};

/// How the second way compares with the first.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Versus {
    pub(crate) first_median_ns: f64,
    pub(crate) second_median_ns: f64,
    /// Median of second / first, paired.
    pub(crate) ratio: f64,
    pub(crate) ratio_low: f64,
    pub(crate) ratio_high: f64,
    /// How far from 1 the interval of the first against itself reaches.
    pub(crate) noise: f64,
    /// Of the second.
    pub(crate) verdict: Verdict,
    repeats: usize,
    /// Beside the samples of the second.
    #[serde(flatten)]
    beside: Beside,
}

impl Versus {
    /// Times the three in turn: the first, the second, the first again.
    pub(crate) fn time(
        contestants: [Box<dyn Contestant + '_>; 3],
        isa: Isa,
        budget: Duration,
    ) -> anyhow::Result<Self> {
        let mut contestants = contestants;
        let series = in_turn(&mut contestants, isa, budget);
        let ns: Vec<_> = series.iter().map(|series| series.ns.as_slice()).collect();
        let beside = Beside::of(&series[1]).context("nothing was timed")?;
        Self::of(ns[0], ns[1], ns[2], beside).context("nothing was timed")
    }

    fn of(first: &[f64], second: &[f64], first_again: &[f64], beside: Beside) -> Option<Self> {
        let ratio = Estimate::of_median(&[paired_ratios(second, first)])?;
        let a_to_a = Estimate::of_median(&[paired_ratios(first_again, first)])?;
        Some(Self {
            first_median_ns: median(first)?,
            second_median_ns: median(second)?,
            ratio: ratio.value,
            ratio_low: ratio.low,
            ratio_high: ratio.high,
            noise: a_to_a.distance_from_one(),
            verdict: Verdict::of(&ratio, &a_to_a),
            repeats: first.len(),
            beside,
        })
    }

    /// Prints a case with its comparison: as JSON, or as a line of a table.
    pub(crate) fn print(
        &self,
        suite: &'static str,
        case: &impl Serialize,
        title: &str,
        json: bool,
    ) -> anyhow::Result<()> {
        #[derive(Serialize)]
        struct Line<'a, C> {
            #[serde(flatten)]
            case: &'a C,
            #[serde(flatten)]
            versus: &'a Versus,
        }
        if json {
            print_json(&Versioned::new(suite, Line { case, versus: self }))?;
        } else {
            self.beside.warn(title)?;
            print_line(&format!(
                "{title:<48} {:>11.2} us {:>11.2} us  takes {:.3} times as long ({:.3} to {:.3}): \
                 {}",
                self.first_median_ns / 1e3,
                self.second_median_ns / 1e3,
                self.ratio,
                self.ratio_low,
                self.ratio_high,
                self.verdict.words()
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_judged_by_the_first_against_itself() {
        let first = [10.0, 20.0, 10.0, 20.0];
        let twice = first.map(|ns| 2.0 * ns);
        let beside = Beside {
            peak_gflop_per_s: 100.0,
            clock_ghz: None,
            peak_spread: 0.0,
            cores_share: None,
        };
        let versus = Versus::of(&first, &twice, &first, beside).expect("timings");
        assert_eq!((versus.ratio, versus.noise), (2.0, 0.0));
        assert_eq!(versus.verdict, Verdict::Slower);
        // The first differs from itself as much.
        let versus = Versus::of(&first, &twice, &twice, beside).expect("timings");
        assert_eq!((versus.verdict, versus.noise), (Verdict::Same, 1.0));
        assert!(Versus::of(&[], &[], &[], beside).is_none());
    }
}
