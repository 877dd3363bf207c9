//! Tells the program what it was built from and with, for the records it writes.

use std::env;
use std::process::Command;

/// What is said where git or its history is not there.
const UNKNOWN: &str = "unknown";

fn main() {
    let git = |arguments: &[&str]| output("git", arguments);
    let revision = git(&["describe", "--always", "--dirty", "--abbrev=12"]);
    let rustc = output(&env::var("RUSTC").unwrap_or_default(), &["--version"]);
    for (name, value) in [("REVISION", revision), ("RUSTC", rustc)] {
        let value = value.unwrap_or_else(|| UNKNOWN.to_owned());
        println!("cargo::rustc-env=BENCH_HARNESS_{name}={value}");
    }
    // A commit writes to the log of HEAD; a change of the sources makes the revision a dirty one.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    for sources in ["build.rs", "src", "../mlp/src", "../kernels/src"] {
        println!("cargo::rerun-if-changed={sources}");
    }
}

/// The first line that a program prints; `None` if it fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.to_owned();
    output.status.success().then_some(line)
}
