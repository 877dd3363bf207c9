//! The table that ends `cargo bench`: what the machine does at most, and what products, steps of
//! training and forward passes reach of it, other libraries beside ours. Not criterion's, since its
//! figures are fractions of a peak that is probed beside each sample.
//!
//! An argument other than `--bench` is a filter or a setting for criterion, and the table is left out;
//! `--test` runs one small case instead.
#![forbid(unsafe_code)]

use std::env;
use std::process::{Command, ExitCode};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bench-harness");

/// Some twenty seconds in all on two cores.
const CASES: [&str; 5] = [
    "peak",
    "gemm --suite training --op nt --peers --budget-ms 200",
    "train --suite small --budget-ms 200",
    "train --suite small --threads 0 --budget-ms 200",
    "infer --suite serving --budget-ms 100",
];

const SMOKE: [&str; 1] = ["gemm --m 8 --n 8 --k 8 --peers --budget-ms 1"];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let cases: &[&str] = match arguments.as_slice() {
        [] => &CASES,
        [only] if only == "--test" => &SMOKE,
        _ => &[],
    };
    for case in cases {
        println!("\nbench-harness {case}");
        let status = Command::new(PROGRAM).args(case.split(' ')).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("error: bench-harness {case} failed");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
