//! The shape of the source: imports go down, files stay small, `unsafe` stays where it is known.
//!
//! Files are read as tokens, so comments and strings do not count. Code under `#[cfg(test)]` may
//! import what it likes.

mod source;

use std::collections::BTreeMap;

use source::{SourceFile, rust_files};

/// Most lines of a file.
const MAX_LINES: usize = 600;

/// The floors of `kernels`: a file imports from its own floor or from below.
const KERNELS: &[(&str, u8)] = &[
    ("activation", 0),
    ("error", 0),
    ("view", 0),
    ("isa", 1),
    ("team", 1),
    ("epilogue", 2),
    ("dispatch", 4),
    ("gemm", 5),
    ("ops", 5),
    ("lib", 6),
];

/// The floors of `mlp`.
const MLP: &[(&str, u8)] = &[("lib", 6)];

/// The files that may hold the word `unsafe`, tests and benchmarks included.
const UNSAFE: &[&str] = &["kernels/src/view.rs", "tests/tests/gemm/laws.rs"];

fn crate_files(member: &str) -> Vec<SourceFile> {
    rust_files(&[&format!("{member}/src")])
        .into_iter()
        .filter(|file| !file.is_test())
        .collect()
}

/// Holds a crate against its table.
fn check_floors(member: &str, table: &[(&str, u8)]) {
    let files = crate_files(member);
    let floors: BTreeMap<&str, u8> = table.iter().copied().collect();
    assert_eq!(
        floors.len(),
        table.len(),
        "{member}: a module is listed twice"
    );
    let modules: Vec<String> = files.iter().map(SourceFile::module).collect();
    let mut wrong = Vec::new();
    for module in &modules {
        if !floors.contains_key(module.as_str()) {
            wrong.push(format!("{module} stands on no floor: add it to the table"));
        }
    }
    for (module, _) in table {
        if !modules.iter().any(|m| m == module) {
            wrong.push(format!(
                "{module} is in the table but there is no such file"
            ));
        }
    }
    let mut imports = BTreeMap::new();
    for file in &files {
        let from = file.module();
        let targets = file.imports(&modules);
        for to in &targets {
            let (low, high) = (floors.get(from.as_str()), floors.get(to.as_str()));
            if low.zip(high).is_some_and(|(from, to)| to > from) {
                wrong.push(format!("{from} imports {to}, which stands above it"));
            }
        }
        imports.insert(from, targets);
    }
    if let Some(circle) = circle(&imports) {
        wrong.push(format!("imports go round: {}", circle.join(" -> ")));
    }
    assert!(wrong.is_empty(), "{member}:\n{}", wrong.join("\n"));
}

/// A circle of imports, if there is one.
fn circle(imports: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        imports: &BTreeMap<String, Vec<String>>,
        path: &mut Vec<String>,
        done: &mut Vec<String>,
    ) -> bool {
        if path.iter().any(|m| m == at) {
            path.push(at.to_owned());
            return true;
        }
        if done.iter().any(|m| m == at) {
            return false;
        }
        path.push(at.to_owned());
        for to in imports.get(at).into_iter().flatten() {
            if walk(to, imports, path, done) {
                return true;
            }
        }
        done.extend(path.pop());
        false
    }
    let (mut path, mut done) = (Vec::new(), Vec::new());
    let found = imports
        .keys()
        .any(|m| walk(m, imports, &mut path, &mut done));
    found.then_some(path)
}

#[test]
fn kernels_import_downwards() {
    check_floors("kernels", KERNELS);
}

#[test]
fn mlp_imports_downwards() {
    check_floors("mlp", MLP);
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = rust_files(&["kernels", "mlp", "bench-harness", "tests"])
        .iter()
        .filter(|file| file.lines > MAX_LINES)
        .map(|file| format!("{}: {} lines", file.path, file.lines))
        .collect();
    assert!(
        long.is_empty(),
        "over {MAX_LINES} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn unsafe_stays_in_the_listed_files() {
    let found: Vec<String> = rust_files(&["kernels", "mlp", "bench-harness", "tests"])
        .iter()
        .filter(|file| file.says_unsafe())
        .map(|file| file.path.clone())
        .collect();
    assert_eq!(
        found, UNSAFE,
        "files that say unsafe, and the list of those that may"
    );
}

#[test]
fn a_circle_is_found() {
    let edges = |list: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
        let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        list.iter()
            .map(|&(from, to)| (from.to_owned(), owned(to)))
            .collect()
    };
    let tree = edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
    assert_eq!(circle(&tree), None);
    let round = edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
    assert_eq!(
        circle(&round),
        Some(["a", "b", "c", "b"].map(str::to_owned).to_vec())
    );
}
