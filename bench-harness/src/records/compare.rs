//! Two records against each other: a hint, since they were made at different times.
//!
//! Compared are fractions of the peak that was probed beside each sample, not times: the clock of a
//! shared machine drifts by more than most changes make. The ratio of a case is old fraction over new
//! fraction, above 1 where the new one takes longer; its interval is the widest that the intervals of
//! the two allow. Nothing below the largest difference of a case with itself is claimed.

use std::process::ExitCode;

use anyhow::ensure;
use serde::Serialize;

use super::{Saved, Timed};
use crate::args::CompareArgs;
use crate::report::{Versioned, print_json, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::median;
use crate::stats::verdict::{SLOWER, Verdict};

/// What was found for one case.
#[derive(Debug, Serialize)]
struct Comparison<'a> {
    case: &'a str,
    /// Always false here.
    paired: bool,
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
    /// The largest difference of a case with itself, in either record.
    noise: f64,
    verdict: Verdict,
}

/// Compares, and says with its exit code whether any case of the new record is slower.
pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let old = Saved::read(&args.old, &args.records)?;
    let new = Saved::read(&args.new, &args.records)?;
    check_machines(&old, &new, args.across_machines)?;
    let comparisons = compare(&old, &new);
    ensure!(
        !comparisons.is_empty(),
        "the records have no case in common"
    );
    if !args.json {
        print_line(&format!(
            "not paired: the records were made at different times; compare builds to decide\n\
             {} ({}) against {} ({})",
            args.new.display(),
            new.machine.revision,
            args.old.display(),
            old.machine.revision
        ))?;
    }
    for comparison in &comparisons {
        comparison.print(args.json)?;
    }
    let is_slower = comparisons.iter().any(|c| c.verdict == Verdict::Slower);
    Ok(if is_slower {
        SLOWER.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn check_machines(old: &Saved, new: &Saved, across_machines: bool) -> anyhow::Result<()> {
    ensure!(
        across_machines || old.made_on() == new.made_on(),
        "the records are of different machines ({} and {}); --across-machines compares them \
         nevertheless",
        old.made_on(),
        new.made_on()
    );
    Ok(())
}

fn compare<'a>(old: &'a Saved, new: &Saved) -> Vec<Comparison<'a>> {
    let noise = noise(old).max(noise(new));
    let of = |case| {
        let ratio = ratio(&old.of(case), &new.of(case))?;
        Some(Comparison {
            case,
            paired: false,
            ratio: ratio.value,
            ratio_low: ratio.low,
            ratio_high: ratio.high,
            noise,
            verdict: Verdict::beyond(&ratio, noise),
        })
    };
    old.cases().into_iter().filter_map(of).collect()
}

/// The largest difference of a case with itself, as a part of it.
fn noise(record: &Saved) -> f64 {
    let differences = record.cases().into_iter().map(|case| {
        let fractions = record.of(case).into_iter().map(|t| t.fraction_of_peak);
        let least = fractions.clone().fold(f64::INFINITY, f64::min);
        fractions.fold(0.0, f64::max) / least - 1.0
    });
    differences.fold(0.0, f64::max)
}

/// Old fraction over new fraction; `None` if the case is missing in one.
fn ratio(old: &[&Timed], new: &[&Timed]) -> Option<Estimate> {
    let middle = |timed: &[&Timed]| {
        let fractions: Vec<_> = timed.iter().map(|t| t.fraction_of_peak).collect();
        median(&fractions)
    };
    let low = |timed: &[&Timed]| {
        timed
            .iter()
            .fold(f64::INFINITY, |x, t| x.min(t.fraction_low))
    };
    let high = |timed: &[&Timed]| timed.iter().fold(0.0_f64, |x, t| x.max(t.fraction_high));
    Some(Estimate {
        value: middle(old)? / middle(new)?,
        low: low(old) / high(new),
        high: high(old) / low(new),
    })
}

impl Comparison<'_> {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            print_json(&Versioned::new("compare", self))?;
        } else {
            print_line(&format!(
                "{:<56} takes {:.3} times as long ({:.3} to {:.3}), noise {:.3}: {}",
                self.case,
                self.ratio,
                self.ratio_low,
                self.ratio_high,
                self.noise,
                self.verdict.words()
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::record;

    fn verdict(old: [f64; 2], new: [f64; 2]) -> Verdict {
        compare(&record(old), &record(new))[0].verdict
    }

    #[test]
    fn claims_stay_above_what_a_case_differs_from_itself() {
        assert_eq!(verdict([0.80, 0.80], [0.60, 0.60]), Verdict::Slower);
        assert_eq!(verdict([0.60, 0.60], [0.80, 0.80]), Verdict::Faster);
        assert_eq!(verdict([0.80, 0.80], [0.80, 0.80]), Verdict::Same);
        // Within the intervals of 0.01 to either side.
        assert_eq!(verdict([0.80, 0.80], [0.79, 0.79]), Verdict::Same);
        // The first record differs from itself by more than the two differ.
        assert_eq!(verdict([0.60, 0.90], [0.70, 0.70]), Verdict::Same);
    }

    #[test]
    fn records_of_two_machines_are_compared_only_if_told() {
        let old = record([0.5, 0.5]);
        let mut new = old.clone();
        assert!(check_machines(&old, &new, false).is_ok());
        new.machine.cores = 64;
        let error = check_machines(&old, &new, false).expect_err("two machines");
        assert!(error.to_string().contains("64 cores"), "{error}");
        assert!(check_machines(&old, &new, true).is_ok());
        let mut new = old.clone();
        new.timed[0].isa = "avx512".to_owned();
        let error = check_machines(&old, &new, false).expect_err("two generations of one name");
        assert!(error.to_string().contains("avx2 and avx512"), "{error}");
    }
}
