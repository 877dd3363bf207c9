//! `report`: everything at a glance, as one page, with its plots as files and the lines that they were
//! made from.
//!
//! Suites are run one after the other, each in a process of its own, and what they say is written to
//! `measured.jsonl` line by line. Plots and tables come from these lines alone, so a report can be
//! drawn again from a file, and a report that is interrupted shows what was measured until then.

mod cells;
mod figures;
mod html;
mod line;
mod markdown;
mod plan;
mod plot;
mod tables;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use crate::args::ReportArgs;
use crate::progress::{Progress, is_interrupted};
use crate::records::run::run_case;
use crate::records::{Machine, lines_of};
use crate::report::{ALONE, STEADY, print_line};
use html::{Page, Plotted};
use line::Line;
pub(crate) use markdown::markdown;
use plot::{png, standalone};

/// The lines that a report is made from.
const MEASURED: &str = "measured.jsonl";

const PAGE: &str = "index.html";

/// Measures, or reads what was measured, and writes the report.
pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the directory {}", args.out.display()))?;
    let (machine, lines, failed) = match &args.from {
        Some(record) => {
            let (machine, objects) = lines_of(record, &args.records)?;
            ensure!(
                objects.iter().any(is_shown),
                "{}: expected lines of what `report` measures, got none: nothing to draw",
                record.display()
            );
            let lines = objects.into_iter().map(Line).collect();
            (machine, lines, Vec::new())
        }
        None => {
            let machine = Machine::here();
            let (lines, failed) = measure(args, &machine)?;
            (machine, lines, failed)
        }
    };
    let page = args.out.join(PAGE);
    write_report(&args.out, &page, &machine, &lines, &failed)?;
    print_line(&page.display().to_string())?;
    ensure!(
        failed.is_empty(),
        "the page is without what these should have said: {}",
        failed.join("; ")
    );
    Ok(())
}

/// Runs all suites; returns what they said until the last one, or until Ctrl-C, and what those died of that
/// did not end well.
fn measure(args: &ReportArgs, machine: &Machine) -> anyhow::Result<(Vec<Line>, Vec<String>)> {
    let path = args.out.join(MEASURED);
    // An earlier report stays until this one is measured.
    let partial = path.with_extension("partial.jsonl");
    let mut file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    writeln!(file, "{}", serde_json::to_string(machine)?)?;
    let cases = plan::cases(args);
    let progress = Progress::of("report", cases.len() as u64);
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for case in cases {
        if is_interrupted() {
            break;
        }
        progress.show(&case.join(" "));
        let ran = run_case(&case, |object| {
            writeln!(file, "{}", serde_json::to_string(&object)?)?;
            lines.push(Line(object));
            Ok(())
        });
        if let Err(error) = ran {
            // What it said until then is shown, and so are the others.
            failed.push(format!("{error:#}"));
        }
        progress.advance(1);
    }
    if let Some(first) = failed.first()
        && lines.is_empty()
    {
        bail!("no suite said anything; the first error: {first}");
    }
    file.sync_all()?;
    fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((lines, failed))
}

/// Writes the page, and each plot as SVG and PNG beside it.
fn write_report(
    directory: &Path,
    page: &Path,
    machine: &Machine,
    lines: &[Line],
    failed: &[String],
) -> anyhow::Result<()> {
    let save = |path: &Path, content: &[u8]| {
        fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    let (mut plots, mut drawn) = (Vec::new(), Vec::new());
    for figure in figures::figures(lines) {
        drawn.push(figure.name);
        let svg = figure.draw()?;
        let file = |extension| directory.join(figure.name).with_extension(extension);
        save(&file("svg"), standalone(&svg[0]).as_bytes())?;
        save(&file("png"), &png::encode(&svg[0])?)?;
        plots.push(Plotted {
            name: figure.name.to_owned(),
            title: figure.title().to_owned(),
            caption: figure.caption,
            svg,
        });
    }
    // Plots of an earlier report that this one has not.
    for name in figures::NAMES.iter().filter(|name| !drawn.contains(name)) {
        for extension in ["svg", "png"] {
            let file = directory.join(name).with_extension(extension);
            if file.exists() {
                fs::remove_file(&file)
                    .with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
    }
    let content = Page {
        title: format!("What {} reaches", machine.cpu),
        facts: facts(machine, lines),
        warnings: [died(failed), warnings(lines)].concat(),
        plots,
        tables: tables::tables(lines),
    };
    save(page, content.html().as_bytes())
}

fn facts(machine: &Machine, lines: &[Line]) -> Vec<(&'static str, String)> {
    let mut facts = vec![("CPU", machine.name())];
    if let Some(cpu) = lines.iter().find(|line| line.is("kind", "cpu")) {
        let kib = |name| cpu.count(name) >> 10;
        facts.push((
            "Caches",
            format!(
                "L1d {} KiB, L2 {} KiB, L3 {} KiB",
                kib("l1d_bytes"),
                kib("l2_bytes"),
                kib("l3_bytes")
            ),
        ));
        facts.push(("Instruction set", cpu.text("isa")));
    }
    if let Some(amx) = lines.iter().find(|line| line.is("kind", "amx")) {
        let words = format!("{}: {}", amx.text("state"), amx.text("reason"));
        facts.push(("AMX", words));
    }
    let clocks: Vec<_> = lines
        .iter()
        .filter(|line| line.is("kind", "clock"))
        .map(|line| {
            format!(
                "{:.2} GHz after {}",
                line.number("clock_ghz"),
                line.text("after")
            )
        })
        .collect();
    if !clocks.is_empty() {
        facts.push(("Clock", clocks.join(", ")));
    }
    facts.push(("Sources", machine.revision.clone()));
    facts.push(("Compiler", machine.rustc.clone()));
    facts
}

/// What to say of suites that did not end well.
fn died(failed: &[String]) -> Vec<String> {
    let words = |error: &String| format!("Missing or cut short: {error}.");
    failed.iter().map(words).collect()
}

/// Whether a line is one of what `report` measures, and not of another kind of record.
fn is_shown(line: &Map<String, Value>) -> bool {
    let suite = line.get("suite").and_then(Value::as_str);
    suite.is_some_and(|suite| !["peers", "compare", "loops", "machine"].contains(&suite))
}

fn warnings(lines: &[Line]) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_interrupted() {
        warnings.push("Interrupted: some of the suites are missing or cut short.".to_owned());
    }
    let said = |name: &str| -> Vec<f64> {
        let numbers = lines.iter().map(|line| line.number(name));
        numbers.filter(|number| number.is_finite()).collect()
    };
    let spreads = said("peak_spread");
    let unsteady = spreads.iter().filter(|&&spread| spread > STEADY).count();
    if unsteady > 0 {
        warnings.push(format!(
            "The peak moved by more than {:.0} % beside {unsteady} of {} cases (clock or \
             neighbours): trust fractions of the peak and ratios, not times.",
            100.0 * STEADY,
            spreads.len()
        ));
    }
    let shares = said("cores_share");
    let shared = shares.iter().filter(|&&share| share < ALONE).count();
    if shared > 0 {
        warnings.push(format!(
            "Beside {shared} of {} cases with several threads these together reached less than {:.0} % of \
             the peaks that each reaches alone (a neighbour had a core): trust nothing about threads there.",
            shares.len(),
            100.0 * ALONE
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::line::tests::line;

    #[test]
    fn a_suite_that_died_is_told_on_the_page() {
        let words = died(&["vector ended with signal: 9".to_owned()]);
        assert_eq!(
            words,
            ["Missing or cut short: vector ended with signal: 9."]
        );
        assert!(died(&[]).is_empty());
    }

    #[test]
    fn a_machine_that_was_not_steady_is_told() {
        let steady = r#"{"suite":"train","threads":2,"peak_spread":0.05,"cores_share":0.98}"#;
        assert!(warnings(&[line(steady)]).is_empty());
        let shared = r#"{"suite":"train","threads":2,"peak_spread":0.3,"cores_share":0.51}"#;
        let warnings = warnings(&[line(steady), line(shared)]);
        assert!(warnings[0].contains("beside 1 of 2 cases"), "{warnings:?}");
        assert!(warnings[1].contains("Beside 1 of 2 cases"), "{warnings:?}");
    }
}
