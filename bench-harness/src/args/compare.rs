//! The command line of `compare` and of its other end.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use super::{CommandLine, GemmArgs, InferArgs, TrainArgs};

/// Two builds of this program, or two records. Ends with code 0 if the new one is not slower, 3 if it
/// is.
///
/// Builds run in turn on the machine at hand, and that decides. Records were made at different times;
/// what they say is a hint.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The build, or the record, to compare with.
    pub(crate) old: PathBuf,
    /// The build, or the record, in question.
    pub(crate) new: PathBuf,
    /// Where records are kept.
    #[arg(long, default_value = super::RECORDS)]
    pub(crate) records: PathBuf,
    /// Compares records of different machines.
    #[arg(long)]
    pub(crate) across_machines: bool,
    /// How often each program is started: each start lays out its memory anew.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) launches: u32,
    /// Pairs of samples that are taken from each start.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) pairs: u32,
    /// Seconds after which a start takes no further pairs.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds_per_launch: u64,
    /// Seconds in which a program has to be ready, and to answer.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit_s: u64,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Lets the new build repeat every so many calls, to see whether that is noticed.
    #[arg(long, hide = true)]
    pub(crate) slow_down_every: Option<usize>,
    /// What is timed: the arguments of `gemm`, `train` or `infer`; a few common cases if left out.
    #[arg(last = true)]
    pub(crate) case: Vec<String>,
}

/// The other end of `compare`.
#[derive(Args, Debug)]
pub(crate) struct SampleArgs {
    /// Repeats every call of this number.
    #[arg(long)]
    pub(crate) repeat_every: Option<usize>,
    #[command(subcommand)]
    pub(crate) case: SampledCase,
}

/// The cases that arguments stand for.
#[derive(Args, Debug)]
pub(crate) struct CasesArgs {
    #[command(subcommand)]
    pub(crate) case: SampledCase,
}

/// What can be sampled.
#[derive(Debug, Subcommand)]
pub(crate) enum SampledCase {
    Gemm(GemmArgs),
    Train(TrainArgs),
    Infer(InferArgs),
}

impl SampledCase {
    /// Threads that it is to use; 0 means as many as there are cores.
    pub(crate) fn threads(&self) -> usize {
        match self {
            Self::Gemm(args) => args.common.threads,
            Self::Train(args) => args.common.threads,
            Self::Infer(args) => args.common.threads,
        }
    }

    /// Whether it is a table of cases.
    fn is_a_table(&self) -> bool {
        match self {
            Self::Gemm(args) => args.suite.is_some(),
            Self::Train(args) => args.choice.is_a_table(),
            Self::Infer(args) => args.choice.is_a_table(),
        }
    }
}

/// A case by itself, to find a mistake in it before any program is started.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct CaseLine {
    #[command(subcommand)]
    case: SampledCase,
}

/// What is known of a case before it is run: whether it is a table of cases.
pub(super) fn is_a_table(case: &[String]) -> Result<bool, clap::Error> {
    CaseLine::try_parse_from(case).map(|line| line.case.is_a_table())
}

impl CompareArgs {
    /// What is timed when no case is given: a product, a step of training and a forward pass.
    const USUAL: [&'static str; 3] = [
        "gemm --m 128 --n 512 --k 784 --op nt",
        "train --layers 784,512,256,10 --batch 128",
        "infer --layers 784,512,256,10 --batch 64",
    ];

    /// The cases, each as the arguments that a suite takes.
    pub(crate) fn cases(&self) -> Result<Vec<Vec<String>>, clap::Error> {
        if self.case.is_empty() {
            let words = |line: &str| line.split(' ').map(str::to_owned).collect();
            return Ok(Self::USUAL.map(words).into());
        }
        if is_a_table(&self.case)? {
            let message = "expected one case, got a table of them (--suite)";
            return Err(CommandLine::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(vec![self.case.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Suite;

    fn compare(line: &str) -> CompareArgs {
        match CommandLine::try_parse_from(line.split(' ')).map(|line| line.suite) {
            Ok(Suite::Compare(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_usual_cases_are_cases() {
        let cases = compare("bench-harness compare old new").cases();
        for case in cases.expect("the usual cases") {
            assert!(CaseLine::try_parse_from(&case).is_ok(), "{case:?}");
        }
    }

    #[test]
    fn a_case_of_ones_own_is_checked() {
        let args = compare("bench-harness compare old new -- infer --layers 7,5 --batch 2");
        assert_eq!(args.cases().expect("a case").len(), 1);
        let args = compare("bench-harness compare old new -- infer --layers 7");
        assert!(args.cases().is_err());
        for no_case in ["peak", "train --suite small", "gemm --suite squares"] {
            let args = compare(&format!("bench-harness compare old new -- {no_case}"));
            assert!(args.cases().is_err(), "{no_case}");
        }
    }
}
