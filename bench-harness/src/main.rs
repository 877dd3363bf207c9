//! Measures what the kernels and the training reach: against the machine, against peers.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line |
//! | `stats` | minimum, median, deviation, paired ratio |
//! | `cost` | floating-point operations |
//! | `machine` | the peaks to compare with |
//! | `operands` | what a product is made of, and its check |
//! | `timing` | several implementations in turn |
//! | `report` | JSON lines and tables |
//! | `peers` | other libraries |
//! | `suites` | what can be measured |
#![forbid(unsafe_code)]

mod args;
mod cost;
mod machine;
mod operands;
mod peers;
mod report;
mod stats;
mod suites;
mod timing;

use clap::Parser;

use args::{CommandLine, Suite};

fn main() -> anyhow::Result<()> {
    match CommandLine::parse().suite {
        Suite::Gemm(args) => suites::gemm::run(&args),
        Suite::Peak(args) => suites::peak::run(&args),
    }
}
