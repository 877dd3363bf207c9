//! What was measured, kept: lines of JSON, the first about the machine, one more for each case.
//!
//! Each case is timed twice, the second time when all have been timed once. How far the two are apart
//! is what a machine that changes from minute to minute makes of no difference at all; no comparison
//! of records claims less than that.

pub(crate) mod compare;
pub(crate) mod run;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, ensure};
use kernels::CpuInfo;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::report::{ALONE, SCHEMA_VERSION, STEADY};

/// Extension of the files.
const EXTENSION: &str = "jsonl";

/// Times that each case is timed.
const PASSES: u32 = 2;

/// What a record was made on and with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Machine {
    schema_version: u32,
    suite: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Of the sources that the program was built from.
    pub(crate) revision: String,
    pub(crate) rustc: String,
    unix_seconds: u64,
    /// Why the revision is not in the history of the repository, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_in_history: Option<String>,
    /// Why it is only a part of what was to be measured, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<String>,
}

impl Machine {
    /// This machine and this build, now.
    pub(crate) fn here() -> Self {
        let info = CpuInfo::get();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            schema_version: SCHEMA_VERSION,
            suite: "machine".to_owned(),
            cpu: info.model.clone(),
            cores: info.cores,
            revision: env!("BENCH_HARNESS_REVISION").to_owned(),
            rustc: env!("BENCH_HARNESS_RUSTC").to_owned(),
            unix_seconds: now.map_or(0, |now| now.as_secs()),
            not_in_history: None,
            part: None,
        }
    }

    /// How the machine is named.
    pub(crate) fn name(&self) -> String {
        format!("{}, {} cores", self.cpu, self.cores)
    }
}

/// One case as it was timed once: the fields of its line that are used again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Timed {
    pub(crate) pass: u32,
    pub(crate) suite: String,
    /// What was timed, in words that are the same whenever it is timed.
    pub(crate) case: String,
    pub(crate) isa: String,
    pub(crate) threads: usize,
    pub(crate) median_ns: f64,
    pub(crate) gflop_per_s: f64,
    pub(crate) fraction_of_peak: f64,
    pub(crate) fraction_low: f64,
    pub(crate) fraction_high: f64,
    pub(crate) samples_per_s: Option<f64>,
    /// How far the peak moved while it was timed, and what part of their cores the threads had.
    peak_spread: Option<f64>,
    cores_share: Option<f64>,
}

impl Timed {
    /// One line of a record, whose figures can be reckoned with.
    fn parse(line: &str) -> anyhow::Result<Self> {
        let object: Map<String, Value> = serde_json::from_str(line)?;
        check_version(&object)?;
        let timed: Self = serde_json::from_value(Value::Object(object))?;
        for (field, value) in [
            ("median_ns", timed.median_ns),
            ("gflop_per_s", timed.gflop_per_s),
            ("fraction_of_peak", timed.fraction_of_peak),
            ("fraction_low", timed.fraction_low),
            ("fraction_high", timed.fraction_high),
        ] {
            let is_sound = value.is_finite() && value > 0.0;
            ensure!(is_sound, "{field}: expected a number above 0, got {value}");
        }
        Ok(timed)
    }
}

/// Every line says which version of the schema it is of.
fn check_version(object: &Map<String, Value>) -> anyhow::Result<()> {
    let version = object.get("schema_version").unwrap_or(&Value::Null);
    ensure!(
        *version == SCHEMA_VERSION,
        "expected version {SCHEMA_VERSION} of the schema, got {version}"
    );
    Ok(())
}

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) machine: Machine,
    pub(crate) timed: Vec<Timed>,
}

impl Saved {
    /// Reads the record of this name, or in this file.
    pub(crate) fn read(name: &Path, directory: &Path) -> anyhow::Result<Self> {
        let path = path_of(name, directory);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the record {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let (machine, lines) = machine_of(text)?;
        let mut timed: Vec<Timed> = Vec::new();
        let mut seen = HashSet::new();
        for (index, line) in lines.enumerate() {
            let of_line = || format!("line {}", index + 2);
            let one = Timed::parse(line).with_context(of_line)?;
            ensure!(
                seen.insert((one.case.clone(), one.pass)),
                "{}: pass {} of {} is there twice",
                of_line(),
                one.pass,
                one.case
            );
            timed.push(one);
        }
        Ok(Self { machine, timed })
    }

    /// Times that every case was timed: 1 where an interrupted run left some of them once.
    pub(crate) fn passes(&self) -> usize {
        let passes = self.cases().into_iter().map(|case| self.of(case).len());
        passes.min().unwrap_or(0)
    }

    /// Tells people on stderr what they should know of the machine before using the figures.
    pub(crate) fn warn(&self, name: &str) {
        let count = |is_one: &dyn Fn(&Timed) -> bool| {
            self.timed.iter().filter(|timed| is_one(timed)).count()
        };
        let moved = count(&|timed| timed.peak_spread.is_some_and(|spread| spread > STEADY));
        let shared = count(&|timed| timed.cores_share.is_some_and(|share| share < ALONE));
        for (count, what) in [
            (moved, "the peak moved (clock or neighbours)"),
            (shared, "the threads had not their cores to themselves"),
        ] {
            if count > 0 {
                let all = self.timed.len();
                eprintln!("warning: {name}: {what} in {count} of {all} timings");
            }
        }
    }

    /// How the machine is named, and what it ran: clouds give CPUs of several generations one name.
    pub(crate) fn made_on(&self) -> String {
        let mut isas: Vec<_> = self.timed.iter().map(|timed| timed.isa.as_str()).collect();
        isas.sort_unstable();
        isas.dedup();
        format!("{}, {}", self.machine.name(), isas.join(" and "))
    }

    /// The cases, in the order in which they were timed.
    pub(crate) fn cases(&self) -> Vec<&str> {
        let first = self.timed.iter().filter(|timed| timed.pass == 1);
        first.map(|timed| timed.case.as_str()).collect()
    }

    /// All timings of one case.
    pub(crate) fn of(&self, case: &str) -> Vec<&Timed> {
        let timed = self.timed.iter();
        timed.filter(|timed| timed.case == case).collect()
    }
}

/// The machine of a record, and every object after it, whatever suite it is of.
pub(crate) fn lines_of(
    name: &Path,
    directory: &Path,
) -> anyhow::Result<(Machine, Vec<Map<String, Value>>)> {
    let path = path_of(name, directory);
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read the record {}", path.display()))?;
    let (machine, rest) = machine_of(&text).with_context(|| path.display().to_string())?;
    let objects = rest.enumerate().map(|(index, line)| {
        object_of(line).with_context(|| format!("{}: line {}", path.display(), index + 2))
    });
    Ok((machine, objects.collect::<anyhow::Result<_>>()?))
}

/// One line of a record, whatever suite it is of.
fn object_of(line: &str) -> anyhow::Result<Map<String, Value>> {
    let object = serde_json::from_str(line)?;
    check_version(&object)?;
    Ok(object)
}

/// The first line of a record, and the lines after it.
fn machine_of(text: &str) -> anyhow::Result<(Machine, impl Iterator<Item = &str>)> {
    let mut lines = text.lines();
    let first = lines
        .next()
        .context("line 1: expected a machine, got nothing")?;
    let machine: Machine = serde_json::from_str(first).context("line 1: expected a machine")?;
    ensure!(
        machine.schema_version == SCHEMA_VERSION,
        "expected version {SCHEMA_VERSION} of the schema, got {}",
        machine.schema_version
    );
    Ok((machine, lines))
}

/// Whether there is a record of this name, or in this file.
pub(crate) fn is_record(name: &Path, directory: &Path) -> bool {
    path_of(name, directory).is_file()
}

/// The names of the records in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == EXTENSION))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort_unstable();
    names
}

fn path_of(name: &Path, directory: &Path) -> PathBuf {
    if name.extension().is_some_and(|end| end == EXTENSION) {
        return name.to_owned();
    }
    let mut file = directory.join(name).into_os_string();
    file.push(format!(".{EXTENSION}"));
    file.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const MACHINE: &str = r#"{"schema_version":1,"suite":"machine","cpu":"Fast","cores":2,"revision":"r","rustc":"c","unix_seconds":9}"#;

    /// A record of one case with these fractions of the peak in its two passes.
    pub(crate) fn record(fractions: [f64; 2]) -> Saved {
        record_of(&[("E 784,10 x128, 1 T", fractions)])
    }

    /// A record of cases with these fractions of the peak in their two passes.
    pub(crate) fn record_of(cases: &[(&str, [f64; 2])]) -> Saved {
        Saved::parse(&text_of(cases)).expect("a record")
    }

    fn text_of(cases: &[(&str, [f64; 2])]) -> String {
        let mut text = MACHINE.to_owned();
        for pass in 0..2 {
            for (case, fractions) in cases {
                let fraction = fractions[pass];
                let (pass, low, high) = (pass + 1, fraction - 0.01, fraction + 0.01);
                text += &format!(
                    "\n{{\"schema_version\":1,\"pass\":{pass},\"suite\":\"train\",\"case\":\"{case}\",\
                     \"isa\":\"avx2\",\"threads\":1,\"median_ns\":2000.0,\"gflop_per_s\":50.0,\
                     \"fraction_of_peak\":{fraction},\"fraction_low\":{low},\
                     \"fraction_high\":{high},\"samples_per_s\":64000000.0}}"
                );
            }
        }
        text
    }

    #[test]
    fn a_record_is_read() {
        let saved = record([0.5, 0.6]);
        assert_eq!(saved.machine.name(), "Fast, 2 cores");
        assert_eq!(saved.made_on(), "Fast, 2 cores, avx2");
        assert_eq!(saved.cases(), ["E 784,10 x128, 1 T"]);
        let fractions = saved.of("E 784,10 x128, 1 T");
        let fractions: Vec<_> = fractions.iter().map(|t| t.fraction_of_peak).collect();
        assert_eq!(fractions, [0.5, 0.6]);
    }

    #[test]
    fn lines_may_end_as_elsewhere() {
        let text = text_of(&[("a", [0.5, 0.6])]).replace('\n', "\r\n");
        assert_eq!(Saved::parse(&text).expect("a record").timed.len(), 2);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let line = text_of(&[("a", [0.5, 0.6])]);
        assert!(Saved::parse(&line).is_ok());
        for (text, words) in [
            (String::new(), "line 1"),
            ("{}".to_owned(), "line 1"),
            (
                MACHINE.replace("\"schema_version\":1", "\"schema_version\":7"),
                "got 7",
            ),
            (format!("{MACHINE}\n{{\"pass\":1}}"), "line 2"),
            (
                line.replace("\"fraction_of_peak\":0.5", "\"fraction_of_peak\":0.0"),
                "above 0",
            ),
            (line.replace("\"median_ns\":", "\"median_ns\":-"), "above 0"),
            (
                line.replace("{\"schema_version\":1,\"pass\"", "{\"pass\""),
                "got null",
            ),
            (
                line.replace(
                    "{\"schema_version\":1,\"pass\"",
                    "{\"schema_version\":2,\"pass\"",
                ),
                "got 2",
            ),
            (
                format!("{line}\n{}", line.lines().nth(1).unwrap_or_default()),
                "there twice",
            ),
        ] {
            let error = Saved::parse(&text).expect_err("no record");
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }

    #[test]
    fn a_name_is_a_file_in_the_directory_and_a_file_is_itself() {
        let directory = Path::new("records");
        assert_eq!(
            path_of(Path::new("zen-4.1"), directory),
            Path::new("records/zen-4.1.jsonl")
        );
        assert_eq!(
            path_of(Path::new("x/y.jsonl"), directory),
            Path::new("x/y.jsonl")
        );
        assert!(!is_record(Path::new("no-such-record"), directory));
    }
}
