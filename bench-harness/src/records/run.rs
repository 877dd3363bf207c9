//! Makes a record: every case in a process of its own, all of them twice.
//!
//! A line is written as soon as it is known, so what was measured stays when the run is cut short.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use super::{Machine, PASSES, path_of};
use crate::args::RunArgs;
use crate::progress::{Progress, is_interrupted};
use crate::report::print_line;

/// What is timed when no case is given.
const USUAL: [&str; 5] = [
    "gemm --suite training --op nt",
    "gemm --suite squares --op nn",
    "train --suite small",
    "train --suite small --threads 0",
    "infer --suite small",
];

/// Runs all cases and saves what they say.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let cases: Vec<Vec<String>> = if args.case.is_empty() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        USUAL.map(words).into()
    } else {
        vec![args.case.clone()]
    };
    fs::create_dir_all(&args.records)?;
    let path = path_of(args.save.as_ref(), &args.records);
    let mut file =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{}", serde_json::to_string(&Machine::here())?)?;
    if let Some(lines) = &args.lines {
        for object in objects_of(lines)? {
            writeln!(file, "{}", serde_json::to_string(&object)?)?;
        }
        print_line(&path.display().to_string())?;
        return Ok(());
    }
    let progress = Progress::of("run", u64::from(PASSES) * cases.len() as u64);
    for pass in 1..=PASSES {
        for case in &cases {
            if is_interrupted() {
                break;
            }
            progress.show(&case.join(" "));
            let budget = ["--budget-ms".to_owned(), args.budget_ms.to_string()];
            run_case(&[&case[..], &budget].concat(), |mut object| {
                object.insert("case".to_owned(), describe(&object).into());
                object.insert("pass".to_owned(), pass.into());
                Ok(writeln!(file, "{}", serde_json::to_string(&object)?)?)
            })?;
            progress.advance(1);
        }
    }
    print_line(&path.display().to_string())?;
    Ok(())
}

/// The objects in a file, one a line.
fn objects_of(path: &Path) -> anyhow::Result<Vec<Map<String, Value>>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let objects = text.lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}: line {}", path.display(), index + 1))
    });
    objects.collect()
}

/// Runs one case in a process of its own and hands over each object it prints. Ctrl-C is an early end
/// and no error.
pub(crate) fn run_case(
    case: &[String],
    mut then: impl FnMut(Map<String, Value>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(case)
        .arg("--json")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .context("stdout was asked for as a pipe")?;
    for line in BufReader::new(stdout).lines() {
        then(serde_json::from_str(&line?)?)?;
    }
    let status = child.wait()?;
    let is_sound = status.success() || is_interrupted();
    ensure!(is_sound, "{} ended with {status}", case.join(" "));
    Ok(())
}

/// What was timed, in words made of the arguments that the object repeats.
fn describe(object: &Map<String, Value>) -> String {
    let word = |name: &str| match object.get(name) {
        Some(Value::String(word)) => word.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let what = if object.contains_key("layers") {
        let name = format!("{} {} x{}", word("network"), word("layers"), word("batch"));
        let optimizer = word("optimizer");
        format!("{} {optimizer}", name.trim_start())
            .trim_end()
            .to_owned()
    } else {
        format!("{} {}x{}x{}", word("op"), word("m"), word("n"), word("k"))
    };
    let who = match word("impl").as_str() {
        crate::report::OURS => String::new(),
        peer => format!(", {peer}"),
    };
    format!("{} {what}, {} T{who}", word("suite"), word("threads"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_described_by_their_arguments() {
        for (object, words) in [
            (
                r#"{"suite":"gemm","m":2,"n":3,"k":4,"op":"nt","impl":"ours","threads":1}"#,
                "gemm nt 2x3x4, 1 T",
            ),
            (
                r#"{"suite":"gemm","m":2,"n":3,"k":4,"op":"nt","impl":"faer 1","threads":1}"#,
                "gemm nt 2x3x4, 1 T, faer 1",
            ),
            (
                r#"{"suite":"train","network":"E","layers":"7,5","batch":8,"optimizer":"adam","impl":"ours","threads":2}"#,
                "train E 7,5 x8 adam, 2 T",
            ),
            (
                r#"{"suite":"infer","layers":"7,5","batch":8,"impl":"ours","threads":2}"#,
                "infer 7,5 x8, 2 T",
            ),
        ] {
            assert_eq!(
                describe(&serde_json::from_str(object).expect("an object")),
                words
            );
        }
    }
}
