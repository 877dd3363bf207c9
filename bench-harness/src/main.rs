//! Measures what the kernels and the training reach: against the machine, against peers.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line |
//! | `stats` | minimum, median, deviation; how far a ratio can be trusted |
//! | `cost` | floating-point operations, bytes |
//! | `machine` | the peaks to compare with |
//! | `network` | a network to be timed, its batch, its check |
//! | `operands` | what a product is made of, and its check |
//! | `timing` | several implementations in turn |
//! | `versus` | two ways to do the same thing |
//! | `report` | JSON lines and tables |
//! | `peers` | other libraries |
//! | `suites` | what can be measured |
//! | `compare` | two builds of this program, run in turn |
//! | `records` | what was measured, kept |
#![forbid(unsafe_code)]

mod args;
mod compare;
mod cost;
mod machine;
mod network;
mod operands;
mod peers;
mod records;
mod report;
mod stats;
mod suites;
mod timing;
mod versus;

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use args::{CommandLine, Suite};
use records::is_record;

/// Counts allocations, for `allocations_per_step`.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> anyhow::Result<ExitCode> {
    match CommandLine::parse().suite {
        Suite::Gemm(args) if args.variants => suites::variants::run(&args)?,
        Suite::Gemm(args) => suites::gemm::run(&args)?,
        Suite::Train(args) => suites::train::run(&args)?,
        Suite::Infer(args) => suites::infer::run(&args)?,
        Suite::Peak(args) => suites::peak::run(&args)?,
        Suite::Fused(args) => suites::fused::run(&args)?,
        Suite::Vector(args) => suites::vector::run(&args)?,
        Suite::Threads(args) => suites::threads::run(&args)?,
        Suite::Complexity(args) => suites::complexity::run(&args)?,
        Suite::Compare(args) if is_record(&args.old, &args.records) => {
            return records::compare::run(&args);
        }
        Suite::Compare(args) => return compare::run(&args),
        Suite::Run(args) => records::run::run(&args)?,
        Suite::Tables(args) => records::tables::run(&args)?,
        Suite::Sample(args) => compare::sampler::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
