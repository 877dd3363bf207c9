//! The command line.

mod compare;
mod network;
mod record;

use std::fmt;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kernels::{Isa, KernelError, Kernels, Precision};
use serde::Serialize;

pub(crate) use compare::{CasesArgs, CompareArgs, SampleArgs, SampledCase};
pub(crate) use network::{
    ActivationName, Layers, NetworkArgs, NetworkChoice, OptimizerName, networks_named,
};
pub(crate) use record::{ReportArgs, RunArgs, TablesArgs};

/// Where records are kept unless something else is said.
const RECORDS: &str = "bench-harness/records";

/// Measures what the kernels and the training reach, beside the measured peak of the machine.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) suite: Suite,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Suite {
    /// Products of matrices, beside other libraries.
    Gemm(GemmArgs),
    /// Steps of training.
    Train(TrainArgs),
    /// Forward passes.
    Infer(InferArgs),
    /// The peaks of the machine: multiply-adds, clock, bandwidths, hand-over between threads.
    Peak(PeakArgs),
    /// Products with bias and activation fused in, against separate passes.
    Fused(CommonArgs),
    /// Softmax, losses, activations: elements per ns; updates of parameters: GB/s.
    Vector(CommonArgs),
    /// What the data take of an epoch: shuffling the samples, gathering the rows of each batch.
    Epoch(EpochArgs),
    /// How long a step takes at worst, and how much memory a training takes.
    Latency(LatencyArgs),
    /// Where the time of a step of training goes, call by call, each with its spread.
    Explain(ExplainArgs),
    /// Whether more threads are ever slower, over widths and batches.
    Threads(ThreadsArgs),
    /// Whether cost grows as documented: exponents of time and memory over width, depth and batch.
    Complexity(ComplexityArgs),
    /// Whether one build of this program is slower than another, both run in turn; or what two saved
    /// records say.
    Compare(CompareArgs),
    /// All of it at a glance: one page with tables and plots.
    Report(ReportArgs),
    /// A record of what this machine reaches, to be kept.
    Run(RunArgs),
    /// Tables for people, made from a record.
    Tables(TablesArgs),
    /// Says what this program was built from and with, and on what it runs: the first line of a record.
    #[command(hide = true)]
    Machine,
    /// Says which cases the arguments of `gemm`, `train` or `infer` stand for, and times nothing.
    #[command(hide = true)]
    Cases(CasesArgs),
    /// Takes samples when asked to on stdin: the other end of `compare`.
    #[command(hide = true)]
    Sample(SampleArgs),
}

/// What all suites share.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Threads to use; 0 means as many as there are cores.
    #[arg(long, default_value_t = 1, value_parser = parse_threads)]
    pub(crate) threads: usize,
    /// Instruction set to use instead of the best: scalar, neon, avx2, avx512, avx512bf16, amx.
    #[arg(long, value_parser = parse_isa)]
    pub(crate) isa: Option<Isa>,
    /// How exact products have to be: ieee, highest, high, medium; highest unless given, in `gemm` all
    /// of those that make a difference.
    #[arg(long, value_parser = parse_precision)]
    precision: Option<Precision>,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Milliseconds after which a case is timed no further, once there are a few rounds.
    #[arg(long, default_value_t = 2_500)]
    pub(crate) budget_ms: u64,
}

impl Common {
    pub(crate) fn budget(&self) -> Duration {
        Duration::from_millis(self.budget_ms)
    }

    /// An error where more than one thread is asked of a suite that has one.
    pub(crate) fn ensure_one_thread(&self, suite: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.threads == 1,
            "--threads: {suite} measures one thread, expected 1, got {}",
            self.threads
        );
        Ok(())
    }

    /// An error where a precision is asked of a suite that does not choose one.
    pub(crate) fn ensure_no_precision(&self, suite: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.precision.is_none(),
            "--precision: {suite} does not choose one, expected none, got {}",
            self.precision().name()
        );
        Ok(())
    }

    /// How exact products have to be.
    pub(crate) fn precision(&self) -> Precision {
        self.precision.unwrap_or(Precision::Highest)
    }

    /// The same, or all there are, the usual one first, where none is asked for.
    pub(crate) fn precisions(&self) -> Vec<Precision> {
        let others = [Precision::High, Precision::Medium, Precision::Ieee];
        match self.precision {
            Some(precision) => vec![precision],
            None => [&[Precision::Highest], &others[..]].concat(),
        }
    }

    /// The kernels asked for, or the best there are.
    pub(crate) fn kernels(&self) -> Result<&'static Kernels, KernelError> {
        match self.isa {
            Some(isa) => Kernels::for_isa(isa),
            None => Kernels::detect(),
        }
    }
}

/// `C = A B` with C of m x n.
#[derive(Args, Debug)]
pub(crate) struct GemmArgs {
    /// Rows of C.
    #[arg(long, required_unless_present = "suite")]
    pub(crate) m: Option<usize>,
    /// Columns of C.
    #[arg(long, required_unless_present = "suite")]
    pub(crate) n: Option<usize>,
    /// Columns of A, rows of B.
    #[arg(long, required_unless_present = "suite")]
    pub(crate) k: Option<usize>,
    /// How A and B are stored; nn unless given, with --suite all three.
    #[arg(long, value_enum)]
    pub(crate) op: Option<Op>,
    /// A table of shapes instead of one.
    #[arg(long, value_enum, conflicts_with_all = ["m", "n", "k"])]
    pub(crate) suite: Option<ShapeTable>,
    /// Pack B before the timing, as for weights that stay; peers get it as it is.
    #[arg(long)]
    pub(crate) prepacked: bool,
    /// Also time the other libraries that were built in (cargo feature `peers` for all of them).
    #[arg(long)]
    pub(crate) peers: bool,
    /// Time the choice of the driver against every other way to compute the product.
    #[arg(long, conflicts_with_all = ["peers", "prepacked"])]
    pub(crate) variants: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Steps of training: forward pass, backward pass, update.
#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) choice: NetworkChoice,
    /// What the gradients are used by.
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    pub(crate) optimizer: OptimizerName,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Forward passes.
#[derive(Args, Debug)]
pub(crate) struct InferArgs {
    #[command(flatten)]
    pub(crate) choice: NetworkChoice,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Suites that choose their cases themselves.
#[derive(Args, Debug)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Whether more threads are ever slower.
#[derive(Args, Debug)]
pub(crate) struct ThreadsArgs {
    /// Leaves out what takes more multiply-adds than this: a product, or a forward pass.
    #[arg(long, value_name = "MULTIPLY_ADDS", default_value_t = usize::MAX, hide_default_value = true)]
    pub(crate) up_to: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What the data take of an epoch.
#[derive(Args, Debug)]
pub(crate) struct EpochArgs {
    /// Names of networks, as in `train --suite networks`.
    #[arg(long, default_value = "CDEFGH")]
    pub(crate) networks: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Where the time of a step goes.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) choice: NetworkChoice,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How long a step takes at worst.
#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    /// How many steps are timed, each by itself.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,
    /// Widths from the inputs to the outputs.
    #[arg(long, default_value = "17,64,64,6")]
    pub(crate) layers: Layers,
    /// Samples of a step.
    #[arg(long, default_value_t = 64)]
    pub(crate) batch: usize,
    /// What follows each layer but the last.
    #[arg(long, value_enum, default_value_t = ActivationName::Tanh)]
    pub(crate) activation: ActivationName,
    /// What the gradients are used by.
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    pub(crate) optimizer: OptimizerName,
    /// Threads to use; 0 means as many as there are cores.
    #[arg(long, default_value_t = 1, value_parser = parse_threads)]
    pub(crate) threads: usize,
    /// Instruction set to use instead of the best: scalar, neon, avx2, avx512, avx512bf16, amx.
    #[arg(long, value_parser = parse_isa)]
    pub(crate) isa: Option<Isa>,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Exponents of time and memory.
#[derive(Args, Debug)]
pub(crate) struct ComplexityArgs {
    /// How often each network is timed.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// The peaks of the machine.
#[derive(Args, Debug)]
pub(crate) struct PeakArgs {
    /// One JSON object per line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Storage of the operands; all row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Op {
    /// A is m x k, B is k x n.
    Nn,
    /// A is m x k, B is stored n x k.
    Nt,
    /// A is stored k x m, B is k x n.
    Tn,
}

/// Names for lists of shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShapeTable {
    /// The products of common training steps.
    Training,
    /// m = n = k.
    Squares,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nn => "nn",
            Self::Nt => "nt",
            Self::Tn => "tn",
        })
    }
}

/// As many as a team has at most; so many cores no machine of today has.
const MOST_THREADS: usize = 512;

fn parse_threads(word: &str) -> Result<usize, String> {
    let threads = word.parse().ok().filter(|&threads| threads <= MOST_THREADS);
    threads.ok_or_else(|| format!("expected a number from 0 to {MOST_THREADS}"))
}

fn parse_precision(word: &str) -> Result<Precision, String> {
    word.parse().map_err(|_| {
        let names = Precision::ALL.map(Precision::name);
        format!("expected one of {}", names.join(", "))
    })
}

fn parse_isa(word: &str) -> Result<Isa, String> {
    word.parse().map_err(|_| {
        let names: Vec<_> = Isa::ALL.iter().map(|isa| isa.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn threads_are_refused_rather_than_taken_as_fewer() {
        let parse = |threads: &str| {
            let line = format!("bench-harness vector --threads {threads}");
            CommandLine::try_parse_from(line.split(' ')).is_ok()
        };
        assert!(parse("0") && parse("512"));
        assert!(!parse("513") && !parse("99999999") && !parse("two"));
    }

    #[test]
    fn one_shape_needs_all_three_sizes_and_a_table_none() {
        let parse = |line: &str| CommandLine::try_parse_from(line.split(' '));
        assert!(parse("bench-harness gemm --m 1 --n 2 --k 3 --op nt --isa avx2").is_ok());
        assert!(parse("bench-harness gemm --suite squares --json").is_ok());
        assert!(parse("bench-harness gemm --m 1 --n 2").is_err());
        assert!(parse("bench-harness gemm --suite squares --m 1").is_err());
        assert!(parse("bench-harness gemm --suite squares --isa sse9").is_err());
    }
}
