//! Tables for people, in Markdown, made from a record: README's figures come from here alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use super::{Saved, Timed};
use crate::args::TablesArgs;
use crate::stats::median;

/// The marks between which a file holds the tables.
const BEGIN: &str = "<!-- tables of bench-harness: begin -->\n";
const END: &str = "<!-- tables of bench-harness: end -->\n";

/// Prints, writes or checks the tables.
pub(crate) fn run(args: &TablesArgs) -> anyhow::Result<()> {
    let record = Saved::read(args.record.as_ref(), &args.records)?;
    let tables = tables(&args.record, &record);
    if let Some(path) = &args.write {
        let text =
            with_tables(&read(path)?, &tables).with_context(|| path.display().to_string())?;
        fs::write(path, text)?;
    } else if let Some(path) = &args.check {
        let text = read(path)?;
        ensure!(
            with_tables(&text, &tables).with_context(|| path.display().to_string())? == text,
            "the tables in {0} are not those of the record; `bench-harness tables {1} --write {0}` \
             makes them so",
            path.display(),
            args.record
        );
    } else {
        print!("{tables}");
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text with these tables between its marks.
fn with_tables(text: &str, tables: &str) -> anyhow::Result<String> {
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("expected a line {}", BEGIN.trim_end()))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("expected a line {}", END.trim_end()))?;
    Ok(format!("{before}{BEGIN}{tables}{END}{after}"))
}

/// The middle of what the passes say of a case.
fn middle(timed: &[&Timed], figure: impl Fn(&Timed) -> f64) -> f64 {
    let figures: Vec<_> = timed.iter().map(|timed| figure(timed)).collect();
    median(&figures).unwrap_or(f64::NAN)
}

fn tables(name: &str, record: &Saved) -> String {
    let machine = &record.machine;
    let mut text = format!(
        "Record `{name}`: {}, {}, revision {}. Each figure is the middle of two passes; the peak is \
         that of multiply-adds in registers, probed beside each sample.\n",
        machine.name(),
        machine.rustc,
        machine.revision
    );
    for suite in ["gemm", "train", "infer"] {
        let cases: Vec<_> = record
            .cases()
            .into_iter()
            .map(|case| (case, record.of(case)))
            .filter(|(_, timed)| timed.iter().all(|timed| timed.suite == suite))
            .collect();
        if cases.is_empty() {
            continue;
        }
        let has_samples = cases[0].1[0].samples_per_s.is_some();
        let (head, line) = if has_samples {
            (" samples/s |", "---:|")
        } else {
            ("", "")
        };
        text += &format!(
            "\n| {suite} | time | GFLOP/s | of the peak |{head}\n|---|---:|---:|---:|{line}\n"
        );
        for (case, timed) in cases {
            text += &format!(
                "| {} | {} | {:.1} | {:.0} % |",
                case.strip_prefix(suite).unwrap_or(case).trim_start(),
                duration(middle(&timed, |t| t.median_ns)),
                middle(&timed, |t| t.gflop_per_s),
                100.0 * middle(&timed, |t| t.fraction_of_peak),
            );
            if has_samples {
                text += &format!(
                    " {:.0} |",
                    middle(&timed, |t| t.samples_per_s.unwrap_or(0.0))
                );
            }
            text.push('\n');
        }
    }
    text
}

/// Nanoseconds with a unit that leaves few digits.
pub(crate) fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e4 => format!("{:.2} us", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::record;

    #[test]
    fn a_table_by_hand() {
        let expected = "\
Record `zen`: Fast, 2 cores, c, revision r. Each figure is the middle of two passes; the peak is \
that of multiply-adds in registers, probed beside each sample.

| train | time | GFLOP/s | of the peak | samples/s |
|---|---:|---:|---:|---:|
| E 784,10 x128, 1 T | 2.00 us | 50.0 | 60 % | 64000000 |
";
        assert_eq!(tables("zen", &record([0.5, 0.7])), expected);
    }

    #[test]
    fn tables_go_between_the_marks_and_nowhere_else() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let filled = with_tables(&text, "new\n").expect("marks");
        assert_eq!(filled, format!("before\n{BEGIN}new\n{END}after\n"));
        assert!(with_tables("no marks", "new\n").is_err());
        assert!(with_tables(BEGIN, "new\n").is_err());
    }

    #[test]
    fn durations_have_fitting_units() {
        assert_eq!(duration(1234.0), "1.23 us");
        assert_eq!(duration(123_456.0), "123 us");
        assert_eq!(duration(12_345_678.0), "12.35 ms");
    }
}
