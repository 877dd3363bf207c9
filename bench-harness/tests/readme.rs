//! The figures in README and in the documentation are those of the records in the repository.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The files whose figures come from records.
const FILES: [&str; 2] = ["README.md", "docs/performance.md"];

/// The records that a text names in its marks.
fn records(text: &str) -> Vec<&str> {
    let marks = text.lines().filter_map(|line| {
        let name = line.strip_prefix("<!-- record ")?;
        name.strip_suffix(": begin -->")
    });
    marks.collect()
}

#[test]
fn tables_are_those_of_the_records() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut checked = 0;
    for file in FILES {
        let text = fs::read_to_string(root.join(file)).expect("a file of the repository");
        for record in records(&text) {
            let output = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
                .args(["tables", record, "--check", file])
                .current_dir(&root)
                .output()
                .expect("the program starts");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{file}: {errors}");
            checked += 1;
        }
    }
    assert!(checked > 0, "no file has marks of a record");
}
