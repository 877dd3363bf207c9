//! Records on the command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use super::CommandLine;
use super::compare::is_a_table;

/// A record of what this machine reaches.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Name of the record.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) save: String,
    /// Where records are kept.
    #[arg(long, default_value = super::RECORDS)]
    pub(crate) records: PathBuf,
    /// Milliseconds that each case is timed for, twice.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) budget_ms: u64,
    /// Measures nothing and keeps the lines of this file, made by another program: `peers/beside.py
    /// --out FILE`, `check-compare --lines FILE`. The first says what was measured, as `machine` prints it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["budget_ms", "case"])]
    pub(crate) lines: Option<PathBuf>,
    /// What is timed: the arguments of `gemm`, `train` or `infer`; a list of common cases if left out.
    #[arg(last = true)]
    pub(crate) case: Vec<String>,
}

/// What a run says to each case itself.
const OF_THE_RUN: [&str; 2] = ["--budget-ms", "--json"];

impl RunArgs {
    /// What is timed when no case is given.
    const USUAL: [&'static str; 5] = [
        "gemm --suite training",
        "gemm --suite squares --op nn",
        "train --suite small",
        "train --suite small --threads 0",
        "infer --suite small",
    ];

    /// The cases, each as the arguments that a suite takes.
    pub(crate) fn cases(&self) -> Result<Vec<Vec<String>>, clap::Error> {
        if self.case.is_empty() {
            let words = |line: &str| line.split(' ').map(str::to_owned).collect();
            return Ok(Self::USUAL.map(words).into());
        }
        is_a_table(&self.case)?;
        if let Some(word) = self
            .case
            .iter()
            .find(|word| OF_THE_RUN.contains(&word.as_str()))
        {
            let message =
                format!("{word}: expected before `--`, if at all: it is set for all cases alike");
            return Err(CommandLine::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(vec![self.case.clone()])
    }
}

/// All of it at a glance.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The directory that the page goes to (`index.html`), with its plots as files of their own and the
    /// lines that it was made from.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Less exact, in under 90 seconds instead of under ten minutes on two cores.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measures nothing and shows what a record says: a name in the directory of records, or a file
    /// such as the `measured.jsonl` of an earlier report.
    #[arg(long, value_name = "RECORD", conflicts_with = "quick")]
    pub(crate) from: Option<PathBuf>,
    /// Where records are kept.
    #[arg(long, default_value = super::RECORDS)]
    pub(crate) records: PathBuf,
}

/// Tables for people.
#[derive(Args, Debug)]
pub(crate) struct TablesArgs {
    /// A record: a name in the directory of records, or a file.
    pub(crate) record: String,
    /// Where records are kept.
    #[arg(long, default_value = super::RECORDS)]
    pub(crate) records: PathBuf,
    /// Puts the tables between the marks `<!-- record NAME: begin -->` and `<!-- record NAME: end -->` in
    /// this file instead of printing them.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Fails if the tables between the marks in this file are others.
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    pub(crate) check: Option<PathBuf>,
}
