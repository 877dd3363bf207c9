//! Makes a record: every case in a process of its own, all of them twice.
//!
//! A line is written as soon as it is known, to a file beside the record (`NAME.partial.jsonl`) that takes
//! its place when it is whole. So what was measured stays when the run is cut short, and so does the
//! record that was there before.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use super::{EXTENSION, Machine, PASSES, Saved, machine_of, object_of, path_of};
use crate::args::RunArgs;
use crate::progress::{Progress, is_interrupted};
use crate::report::print_line;

/// What the arguments of a case are if nothing else is asked for.
const USUAL_ACTIVATION: &str = "relu";
const USUAL_PRECISION: &str = "highest";

/// Runs all cases and saves what they say.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let cases = args.cases()?;
    let path = path_of(args.save.as_ref(), &args.records);
    if let Some(lines) = &args.lines {
        let text = read_record(lines)?;
        let mut file = Partial::of(path)?;
        file.write(&text)?;
        file.finish()?;
        return Ok(());
    }
    let mut file = Partial::of(path)?;
    file.write(&format!("{}\n", serde_json::to_string(&Machine::here())?))?;
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
                file.write(&format!("{}\n", serde_json::to_string(&object)?))
            })?;
            progress.advance(1);
        }
    }
    let path = file.finish()?;
    Saved::read(&path, &args.records)?.warn(&args.save);
    Ok(())
}

/// A record that is being made.
struct Partial {
    path: PathBuf,
    partial: PathBuf,
    file: File,
}

impl Partial {
    /// Of the record that is to lie at `path`.
    fn of(path: PathBuf) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        }
        let partial = path.with_extension(format!("partial.{EXTENSION}"));
        let file = File::create(&partial)
            .with_context(|| format!("cannot write {}", partial.display()))?;
        Ok(Self {
            path,
            partial,
            file,
        })
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let written = self.file.write_all(text.as_bytes());
        written.with_context(|| format!("cannot write {}", self.partial.display()))
    }

    /// Puts it in the place of the record, unless Ctrl-C left it half, and says where it lies.
    fn finish(self) -> anyhow::Result<PathBuf> {
        self.file.sync_all()?;
        let path = if is_interrupted() {
            self.partial
        } else {
            fs::rename(&self.partial, &self.path)
                .with_context(|| format!("cannot write {}", self.path.display()))?;
            self.path
        };
        print_line(&path.display().to_string())?;
        Ok(path)
    }
}

/// A file that is a record already: first the machine, revision and compiler of the program that was
/// measured, then objects.
fn read_record(path: &Path) -> anyhow::Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = || -> anyhow::Result<()> {
        let (_, lines) = machine_of(&text).context(
            "the lines of another program begin with what `bench-harness machine` of the build that \
             was measured prints",
        )?;
        let mut count = 0;
        for (index, line) in lines.enumerate() {
            object_of(line).with_context(|| format!("line {}", index + 2))?;
            count += 1;
        }
        ensure!(count > 0, "line 2: expected what was measured, got nothing");
        Ok(())
    };
    lines().with_context(|| path.display().to_string())?;
    Ok(text)
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

/// What was timed, in words made of the arguments that the object repeats; what they usually are is not
/// said. The instruction set is no part of it, so that records of two machines have the cases in common:
/// a record's lines are of one choice of it, and records of two are told apart before they are compared.
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
    let mut but = String::new();
    for (name, usual) in [
        ("activation", USUAL_ACTIVATION),
        ("precision_asked", USUAL_PRECISION),
    ] {
        let word = word(name);
        if !word.is_empty() && word != usual {
            but += &format!(" {word}");
        }
    }
    if word("prepacked") == "true" {
        but += " prepacked";
    }
    let who = match word("impl").as_str() {
        crate::report::OURS => String::new(),
        peer => format!(", {peer}"),
    };
    format!("{} {what}{but}, {} T{who}", word("suite"), word("threads"))
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
            (
                r#"{"suite":"infer","layers":"7,5","batch":8,"activation":"tanh","precision_asked":"medium","impl":"ours","threads":2}"#,
                "infer 7,5 x8 tanh medium, 2 T",
            ),
            (
                r#"{"suite":"train","layers":"7,5","batch":8,"activation":"relu","optimizer":"sgd","precision_asked":"highest","impl":"ours","threads":2}"#,
                "train 7,5 x8 sgd, 2 T",
            ),
            (
                r#"{"suite":"gemm","m":2,"n":3,"k":4,"op":"nt","prepacked":true,"precision_asked":"ieee","impl":"ours","threads":1}"#,
                "gemm nt 2x3x4 ieee prepacked, 1 T",
            ),
        ] {
            assert_eq!(
                describe(&serde_json::from_str(object).expect("an object")),
                words
            );
        }
    }
}
