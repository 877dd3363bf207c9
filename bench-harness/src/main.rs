//! Measures what the kernels and the training reach: against the machine, against peers.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line |
//! | `stats` | minimum, median, deviation; how far a ratio can be trusted |
//! | `cost` | floating-point operations, bytes |
//! | `machine` | the peaks to compare with |
//! | `network` | a network to be timed, its batch, its check |
//! | `floats` | aligned memory for them |
//! | `operands` | what a product is made of, and its check |
//! | `timing` | several implementations in turn |
//! | `versus` | two ways to do the same thing |
//! | `report` | JSON lines and tables |
//! | `peers` | other libraries |
//! | `suites` | what can be measured |
//! | `compare` | two builds of this program, run in turn |
//! | `page` | all of it at a glance |
//! | `records` | what was measured, kept |
//! | `tables` | what was kept, for people |
//! | `progress` | how far a long measurement is, and Ctrl-C |
#![forbid(unsafe_code)]

mod args;
mod compare;
mod cost;
mod floats;
mod machine;
mod network;
mod operands;
mod page;
mod peers;
mod progress;
mod records;
mod report;
mod stats;
mod suites;
mod tables;
mod timing;
mod versus;

use std::alloc::System;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use args::{CommandLine, Suite};

/// Counts allocations, for `allocations_per_step`.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    match run() {
        Ok(_) if progress::is_interrupted() => progress::INTERRUPTED.into(),
        Ok(code) => code,
        // Whoever read the lines has seen enough.
        Err(error) if report::nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading this either.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    progress::listen()?;
    match CommandLine::parse().suite {
        Suite::Gemm(args) if args.variants => suites::variants::run(&args)?,
        Suite::Gemm(args) => suites::gemm::run(&args)?,
        Suite::Train(args) => suites::network::Plan::from(&args).run()?,
        Suite::Infer(args) => suites::network::Plan::from(&args).run()?,
        Suite::Peak(args) => suites::peak::run(&args)?,
        Suite::Fused(args) => suites::fused::run(&args)?,
        Suite::Vector(args) => suites::vector::run(&args)?,
        Suite::Epoch(args) => suites::epoch::run(&args)?,
        Suite::Latency(args) => suites::latency::run(&args)?,
        Suite::Threads(args) => suites::threads::run(&args)?,
        Suite::Complexity(args) => suites::complexity::run(&args)?,
        Suite::Compare(args) if records::compare::are_records(&args)? => {
            return records::compare::run(&args);
        }
        Suite::Compare(args) => return compare::run(&args),
        Suite::Explain(args) => suites::explain::run(&args)?,
        Suite::Report(args) => page::run(&args)?,
        Suite::Run(args) => records::run::run(&args)?,
        Suite::Tables(args) => tables::run(&args)?,
        Suite::Machine => report::print_json(&records::Machine::here())?,
        Suite::Cases(args) => compare::sampler::list(&args.case)?,
        Suite::Sample(args) => compare::sampler::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
