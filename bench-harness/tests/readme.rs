//! The figures in README are those of the record in the repository.

use std::path::Path;
use std::process::Command;

/// The record that README's tables come from.
const RECORD: &str = "amd-zen4-2-cores";

#[test]
fn tables_in_readme_are_those_of_the_record() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args(["tables", RECORD, "--check", "README.md"])
        .current_dir(root)
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
