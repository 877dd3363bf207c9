//! Tables for people, in Markdown, made from a record: the figures of README and of the documentation
//! come from here alone.

mod checks;
mod peers;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use crate::args::TablesArgs;
use crate::page;
use crate::records::{Saved, Timed, lines_of};
use crate::report::{duration, print_line};
use crate::stats::median;

/// Whether a line is one of `run`, which counts its passes; other suites name the passes of a step.
fn is_of_a_pass(line: &Map<String, Value>) -> bool {
    line.get("pass").is_some_and(Value::is_u64)
}

/// The marks between which a file holds the tables of a record.
fn marks(record: &str) -> [String; 2] {
    ["begin", "end"].map(|which| format!("<!-- record {record}: {which} -->\n"))
}

/// Prints, writes or checks the tables.
pub(crate) fn run(args: &TablesArgs) -> anyhow::Result<()> {
    let name = args.record.as_ref();
    let (machine, lines) = lines_of(name, &args.records)?;
    let tables = if let Some(record) = peers::Saved::read(name, &args.records)? {
        peers::table(&args.record, &record)
    } else if let Some(table) = checks::table(&args.record, &machine, &lines) {
        table
    } else if lines.iter().any(is_of_a_pass) {
        let saved = Saved::read(name, &args.records)?;
        saved.warn(&args.record);
        tables(&args.record, &saved)
    } else {
        page::markdown(&args.record, &machine, lines)
    };
    let filled = |text: &str, path: &Path| {
        let marks = marks(&args.record);
        with_tables(text, &marks, &tables).with_context(|| path.display().to_string())
    };
    if let Some(path) = &args.write {
        let text = filled(&read(path)?, path)?;
        fs::write(path, text)?;
    } else if let Some(path) = &args.check {
        let text = read(path)?;
        ensure!(
            filled(&text, path)? == text,
            "the tables in {0} are not those of the record; `bench-harness tables {1} --write {0}` \
             makes them so",
            path.display(),
            args.record
        );
    } else {
        print_line(tables.trim_end())?;
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text with these tables between the marks, wherever the text has them.
fn with_tables(text: &str, [begin, end]: &[String; 2], tables: &str) -> anyhow::Result<String> {
    let mut blocks = text.split(begin.as_str());
    let mut filled = blocks.next().unwrap_or_default().to_owned();
    ensure!(filled != text, "expected a line {}", begin.trim_end());
    for block in blocks {
        let (_, after) = block
            .split_once(end)
            .with_context(|| format!("expected a line {}", end.trim_end()))?;
        filled += &format!("{begin}{tables}{end}{after}");
    }
    Ok(filled)
}

/// The middle of what the passes say of a case.
fn middle(timed: &[&Timed], figure: impl Fn(&Timed) -> f64) -> f64 {
    let figures: Vec<_> = timed.iter().map(|timed| figure(timed)).collect();
    median(&figures).unwrap_or(f64::NAN)
}

fn tables(name: &str, record: &Saved) -> String {
    let machine = &record.machine;
    let passes = match record.passes() {
        0 | 1 => "Not whole: some figures are of one pass, the others the middle of two",
        _ => "Each figure is the middle of two passes",
    };
    let mut text = format!(
        "Record `{name}`: {}, {}, revision {}. {passes}; the peak is \
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
    fn a_record_that_was_cut_short_says_so() {
        let mut cut = record([0.5, 0.7]);
        cut.timed.retain(|timed| timed.pass == 1);
        let text = tables("zen", &cut);
        assert!(
            text.contains("Not whole") && text.contains("50 %"),
            "{text}"
        );
    }

    #[test]
    fn a_pass_of_a_step_is_none_of_a_record() {
        for (line, expected) in [
            (r#"{"pass":2}"#, true),
            (r#"{"pass":"forward"}"#, false),
            (r#"{"suite":"peak"}"#, false),
        ] {
            let line = serde_json::from_str(line).expect("an object");
            assert_eq!(is_of_a_pass(&line), expected, "{line:?}");
        }
    }

    #[test]
    fn tables_go_between_the_marks_and_nowhere_else() {
        let marks = marks("zen");
        let [begin, end] = &marks;
        let other = super::marks("other").concat();
        let text = format!("before\n{other}{begin}old\n{end}after\n");
        let filled = with_tables(&text, &marks, "new\n").expect("marks");
        assert_eq!(filled, format!("before\n{other}{begin}new\n{end}after\n"));
        let twice = format!("{text}between\n{begin}older\n{end}");
        let filled = with_tables(&twice, &marks, "new\n").expect("marks");
        assert_eq!(filled.matches("new\n").count(), 2, "{filled}");
        assert!(!filled.contains("old"), "{filled}");
        assert!(with_tables("no marks", &marks, "new\n").is_err());
        assert!(with_tables(begin, &marks, "new\n").is_err());
    }
}
