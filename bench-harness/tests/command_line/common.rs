//! Starts the program and reads what it prints.

use std::process::{Command, Output};

use serde_json::{Map, Value};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_bench-harness");

pub(crate) fn run(line: &str) -> Output {
    let words = line.split(' ').map(|word| match word {
        "PROGRAM" => PROGRAM,
        word => word,
    });
    let output = Command::new(PROGRAM).args(words).output();
    output.expect("the program starts")
}

/// The objects on stdout, one a line.
pub(crate) fn objects(line: &str) -> Vec<Map<String, Value>> {
    let output = run(line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

/// Holds the objects of a run against what each has to have.
pub(crate) fn check(line: &str, count: usize, fields: &[&str]) -> Vec<Map<String, Value>> {
    let objects = objects(line);
    assert_eq!(objects.len(), count, "{line}");
    for object in &objects {
        assert_eq!(object["schema_version"], 1, "{line}");
        for field in fields {
            assert!(
                object.contains_key(*field),
                "{line}: no {field} in {object:?}"
            );
        }
    }
    objects
}

/// What every timed case reports.
pub(crate) const TIMED: [&str; 16] = [
    "suite",
    "impl",
    "isa",
    "threads",
    "precision",
    "precision_asked",
    "repeats",
    "median_ns",
    "min_ns",
    "mad_ns",
    "flop",
    "gflop_per_s",
    "peak_gflop_per_s",
    "fraction_of_peak",
    "clock_ghz",
    "peak_spread",
];
