//! Two records against each other: a hint, since they were made at different times.
//!
//! Compared are fractions of the peak that was probed beside each sample, not times: the clock of a
//! shared machine drifts by more than most changes make. The ratio of a case is old fraction over new
//! fraction, above 1 where the new one takes longer; its interval is the widest that the intervals of
//! the two allow.
//!
//! Of a case nothing is claimed within its noise, the largest of
//!
//! 1. how far its passes in either record differ from each other;
//! 2. three times what the cases of both records usually differ from themselves (the median): two passes
//!    may agree by chance;
//! 3. [`LEAST`], since an hour lies between two records and a minute between two passes.
//!
//! One case that a neighbour disturbed thus says nothing of the others. Of a case that one of the records
//! has one pass of, as one that was interrupted, nothing is known of its noise and nothing is claimed.

use std::process::ExitCode;

use anyhow::ensure;
use serde::Serialize;

use super::{PASSES, Saved, Timed, is_record, names};
use crate::args::CompareArgs;
use crate::report::{Versioned, print_json, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::median;
use crate::stats::verdict::{SLOWER, Verdict};

/// The least noise there is taken to be, as a part of a time.
const LEAST: f64 = 0.05;

/// The usual difference of two passes is near the standard deviation of what is compared: the ratio of
/// two middles of two passes. So many of it are noise.
const DEVIATIONS: f64 = 3.0;

/// What was found for one case.
#[derive(Debug, Serialize)]
struct Comparison<'a> {
    case: &'a str,
    /// Always false here.
    paired: bool,
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
    /// Differences up to this part are not told from none; `None` after one pass only.
    noise: Option<f64>,
    /// How far its passes differ, in the record where they differ more.
    a_to_a: Option<f64>,
    verdict: Verdict,
}

/// Whether what is to be compared are records, and not builds of this program.
pub(crate) fn are_records(args: &CompareArgs) -> anyhow::Result<bool> {
    let both = [&args.old, &args.new];
    let [old, new] = both.map(|name| is_record(name, &args.records));
    for (name, is_record) in both.into_iter().zip([old, new]) {
        ensure!(
            is_record || name.is_file(),
            "{} is neither a program nor a record: expected a file, or the name of a record in {} ({})",
            name.display(),
            args.records.display(),
            names(&args.records).join(", ")
        );
    }
    ensure!(
        old == new,
        "{} is a record and {} is a program: expected two of a kind",
        both[usize::from(new)].display(),
        both[usize::from(old)].display()
    );
    Ok(old)
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
    for (name, saved) in [(&args.old, &old), (&args.new, &new)] {
        saved.warn(&name.display().to_string());
    }
    if let Some(words) = alone(&old, &new) {
        eprintln!("warning: {words}");
    }
    let is_slower = comparisons.iter().any(|c| c.verdict == Verdict::Slower);
    Ok(if is_slower {
        SLOWER.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// How many cases only one of the records has; `None` if each is in both.
fn alone(old: &Saved, new: &Saved) -> Option<String> {
    let missing = |from: &Saved, cases: Vec<&str>| {
        let is_missing = |case: &&str| from.of(case).is_empty();
        cases.into_iter().filter(is_missing).count()
    };
    let (of_old, of_new) = (missing(new, old.cases()), missing(old, new.cases()));
    (of_old + of_new > 0).then(|| {
        let cases = if of_old == 1 { "case" } else { "cases" };
        format!("left out: {of_old} {cases} of the old record alone, {of_new} of the new")
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
    let both = |case| (old.of(case), new.of(case));
    let differences = |case| {
        let (old, new) = both(case);
        Some(difference(&old)?.max(difference(&new)?))
    };
    let cases = old.cases();
    let usual = usual(cases.iter().filter_map(|case| differences(case)).collect());
    let of = |case| {
        let (old, new) = both(case);
        let ratio = ratio(&old, &new)?;
        let a_to_a = differences(case);
        let noise = a_to_a.map(|a_to_a| a_to_a.max(DEVIATIONS * usual).max(LEAST));
        Some(Comparison {
            case,
            paired: false,
            ratio: ratio.value,
            ratio_low: ratio.low,
            ratio_high: ratio.high,
            noise,
            a_to_a,
            verdict: noise.map_or(Verdict::Same, |noise| Verdict::beyond(&ratio, noise)),
        })
    };
    cases.into_iter().filter_map(of).collect()
}

/// How far the passes of a case differ from each other, as a part of the least; `None` for one pass.
fn difference(passes: &[&Timed]) -> Option<f64> {
    if passes.len() < PASSES as usize {
        return None;
    }
    let fractions = passes.iter().map(|timed| timed.fraction_of_peak);
    let least = fractions.clone().fold(f64::INFINITY, f64::min);
    fractions.reduce(f64::max).map(|most| most / least - 1.0)
}

/// The lower of the middle two: of a calm case and a wild one that of the calm one.
fn usual(mut differences: Vec<f64>) -> f64 {
    differences.sort_by(f64::total_cmp);
    let middle = differences.len().saturating_sub(1) / 2;
    differences.get(middle).copied().unwrap_or(0.0)
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
            let judged = match self.noise {
                Some(noise) => format!("noise {:.1} %: {}", 100.0 * noise, self.verdict.words()),
                None => "one pass only: no noise known, nothing is claimed".to_owned(),
            };
            print_line(&format!(
                "{:<56} takes {:.3} times as long ({:.3} to {:.3}), {judged}",
                self.case, self.ratio, self.ratio_low, self.ratio_high,
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{record, record_of};

    fn verdict(old: [f64; 2], new: [f64; 2]) -> Verdict {
        compare(&record(old), &record(new))[0].verdict
    }

    #[test]
    fn claims_stay_above_what_a_case_differs_from_itself() {
        assert_eq!(verdict([0.80, 0.80], [0.60, 0.60]), Verdict::Slower);
        assert_eq!(verdict([0.60, 0.60], [0.80, 0.80]), Verdict::Faster);
        assert_eq!(verdict([0.80, 0.80], [0.80, 0.80]), Verdict::Same);
        // Beyond the intervals of 0.01 to either side, and within the least noise.
        assert_eq!(verdict([0.80, 0.80], [0.77, 0.77]), Verdict::Same);
        // The first record differs from itself by more than the two differ.
        assert_eq!(verdict([0.60, 0.90], [0.70, 0.70]), Verdict::Same);
    }

    #[test]
    fn a_wild_case_does_not_hide_what_a_calm_one_says() {
        let wild = ("wild", [0.40, 0.83]);
        for others in [1, 9] {
            let calm: Vec<_> = (0..others).map(|i| format!("calm {i}")).collect();
            let with = |fraction: f64| {
                let cases = calm
                    .iter()
                    .map(|case| (case.as_str(), [fraction, fraction]));
                record_of(&cases.chain([wild]).collect::<Vec<_>>())
            };
            let (old, new) = (with(0.80), with(0.72));
            let comparisons = compare(&old, &new);
            let verdict = |case: &str| {
                let found = comparisons.iter().find(|c| c.case == case);
                found.map(|comparison| comparison.verdict)
            };
            assert_eq!(verdict("calm 0"), Some(Verdict::Slower), "{comparisons:?}");
            assert_eq!(verdict("wild"), Some(Verdict::Same), "{comparisons:?}");
        }
    }

    #[test]
    fn cases_that_usually_differ_from_themselves_are_not_calm_by_chance() {
        let with = |factor: f64| {
            let noisy = [("b", [0.8, 0.76]), ("c", [0.8, 0.75]), ("d", [0.76, 0.8])];
            record_of(&[&[("a", [0.8 * factor, 0.8 * factor])], &noisy[..]].concat())
        };
        let (old, new) = (with(1.0), with(0.9));
        let first = &compare(&old, &new)[0];
        let noise = first.noise.expect("two passes");
        assert!((noise - 3.0 * (0.8 / 0.76 - 1.0)).abs() < 1e-12);
        assert_eq!((first.a_to_a, first.verdict), (Some(0.0), Verdict::Same));
    }

    #[test]
    fn one_pass_claims_nothing() {
        let (whole, mut cut) = (record([0.80, 0.80]), record([0.40, 0.40]));
        assert_eq!(compare(&whole, &cut)[0].verdict, Verdict::Slower);
        cut.timed.retain(|timed| timed.pass == 1);
        for (old, new) in [(&whole, &cut), (&cut, &whole), (&cut, &cut)] {
            let found = &compare(old, new)[0];
            let judged = (found.noise, found.a_to_a, found.verdict);
            assert_eq!(judged, (None, None, Verdict::Same));
        }
    }

    #[test]
    fn cases_of_one_record_alone_are_counted() {
        let fractions = [0.8, 0.8];
        let both = record_of(&[("a", fractions), ("b", fractions)]);
        let one = record_of(&[("b", fractions), ("c", fractions), ("d", fractions)]);
        let words = alone(&both, &one);
        assert_eq!(
            words.as_deref(),
            Some("left out: 1 case of the old record alone, 2 of the new")
        );
        assert_eq!(alone(&both, &both), None);
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
