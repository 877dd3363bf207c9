//! Every record names a revision that is in the history of the repository, or says why it is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The first line that git prints; `None` if it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(root())
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The first lines of all records.
fn machines() -> Vec<(PathBuf, Map<String, Value>)> {
    let files = fs::read_dir(root().join("bench-harness/records")).expect("records");
    let paths = files.map(|file| file.expect("a file").path());
    paths
        .map(|path| {
            let text = fs::read_to_string(&path).expect("text");
            let first = text.lines().next().unwrap_or_default();
            let machine = serde_json::from_str(first).expect("an object");
            (path, machine)
        })
        .collect()
}

#[test]
fn revisions_are_in_the_history_or_marked() {
    // An exported tree has no history, a shallow clone only some: nothing can be said there.
    let is_whole = git(&["rev-parse", "--is-shallow-repository"]).as_deref() == Some("false")
        && git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.is_empty());
    let machines = machines();
    assert!(!machines.is_empty());
    for (path, machine) in machines {
        let path = path.display();
        let revision = machine["revision"].as_str().expect("a revision");
        if let Some(why) = machine.get("not_in_history") {
            let why = why.as_str().expect("words");
            assert!(!why.is_empty(), "{path}: expected a reason");
        } else if is_whole {
            assert!(
                git(&["merge-base", "--is-ancestor", revision, "HEAD"]).is_some(),
                "{path}: {revision} is not in the history: make the record from a build of a commit that \
                 stays, or say in `not_in_history` why it is none"
            );
        } else {
            println!("skipped: {path}: {revision}, since the history is not all here");
        }
    }
}

#[test]
fn a_dirty_build_is_no_revision() {
    if git(&["rev-parse", "HEAD"]).is_some() {
        let ancestor = |revision: &str| git(&["merge-base", "--is-ancestor", revision, "HEAD"]);
        assert!(ancestor("HEAD-dirty").is_none());
        assert!(ancestor("HEAD").is_some());
    }
}
