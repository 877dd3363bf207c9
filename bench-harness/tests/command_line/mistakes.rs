//! What is answered to wrong arguments, and to Ctrl-C.

use std::process::Command;

use serde_json::{Map, Value};

use crate::common::{PROGRAM, run};

#[test]
fn errors_are_one_line_however_much_is_asked_for() {
    let output = Command::new(PROGRAM)
        .args(["threads", "--threads", "1"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the program starts");
    let errors = String::from_utf8(output.stderr).expect("text");
    assert!(
        errors.starts_with("error: ") && errors.lines().count() == 1,
        "{errors}"
    );
}

#[test]
fn mistakes_are_named() {
    for (line, words) in [
        ("compare no-such-file PROGRAM", "no-such-file"),
        ("compare /bin/cat PROGRAM", "/bin/cat"),
        (
            "compare PROGRAM PROGRAM -- train --layers 7",
            "at least two widths",
        ),
        ("threads --threads 1", "at least 2"),
        ("epoch --networks xyz", "from A to H"),
        ("report --out /tmp --from no-such-record", "no-such-record"),
        ("epoch --networks CX", "from A to H"),
        ("gemm --m 0 --n 1 --k 1", "at least 1"),
        ("gemm --m 10000000 --n 10000000 --k 1", "GB of memory"),
        (
            "gemm --m 9999999999999 --n 9999999999999 --k 1",
            "any memory",
        ),
        ("train --layers 9000000,9000000 --batch 1", "GB of memory"),
        (
            "infer --layers 4,3 --batch 9223372036854775807",
            "any memory",
        ),
        ("latency --layers 9000000,9000000 --steps 1", "GB of memory"),
        ("vector --threads 2", "one thread"),
        ("fused --threads 0", "one thread"),
        ("vector --precision high", "expected none, got high"),
        ("fused --precision medium", "expected none, got medium"),
        (
            "run --save x -- infer --layers 3,2 --budget-ms 1",
            "before `--`",
        ),
        ("vector --threads 99999999", "from 0 to 512"),
        ("latency --threads 513", "from 0 to 512"),
        (
            "compare no-such-record PROGRAM",
            "neither a program nor a record",
        ),
        (
            "compare PROGRAM no-such-record",
            "neither a program nor a record",
        ),
        ("compare PROGRAM PROGRAM -- train --suite small", "a table"),
        ("run --save x -- peak", "peak"),
        ("run --save x --lines /dev/null", "expected a machine"),
    ] {
        let output = run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{line}");
        assert!(errors.contains(words), "{line}: {errors}");
    }
}

/// A program under test that does this with the words of `sample`.
#[cfg(unix)]
fn program(name: &str, does: &str) -> String {
    use std::os::unix::fs::PermissionsExt;

    let directory = format!("{}/programs", env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = format!("{directory}/{name}");
    std::fs::write(&path, format!("#!/bin/sh\n{does}\n")).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

#[test]
#[cfg(unix)]
fn a_program_that_fails_is_named_and_no_verdict_given() {
    for (name, does, words) in [
        ("ends", "echo 1; read x; exit 7", "exit status: 7"),
        ("ends-at-once", "echo 1; exit 7", "exit status: 7"),
        ("ends-unready", "exit 7", "exit status: 7"),
        ("crashes", "echo 1; read x; kill -11 $$", "signal: 11"),
        ("is-silent", "exec sleep 60", "no answer in 1 s"),
        ("stops", "echo 1; exec sleep 60", "no answer in 1 s"),
        ("floods", "exec yes", "expected a number"),
        ("floods-numbers", "exec yes 1", "before it is asked"),
        ("floods-a-line", "exec cat /dev/zero", "expected a number"),
        (
            "never-ends",
            "echo 1; read x; echo y; exec sleep 60",
            "expected a number",
        ),
    ] {
        let path = program(name, does);
        let output = run(&format!(
            "compare PROGRAM {path} --limit-s 1 --launches 2 --pairs 2 -- infer --layers 5,4,3"
        ));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {errors}");
        assert!(output.stdout.is_empty(), "{name}");
        assert!(errors.contains(words) && errors.contains(&path), "{errors}");
    }
}

#[test]
#[cfg(unix)]
fn a_program_of_the_current_directory_needs_no_path() {
    let path = program("here", "exit 7");
    let directory = std::path::Path::new(&path).parent().expect("a directory");
    let output = Command::new(PROGRAM)
        .current_dir(directory)
        .args(["compare", "here", "here"])
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("exit status: 7"), "{errors}");
}

#[test]
#[cfg(unix)]
fn a_check_that_was_cut_short_leaves_no_lines() {
    let check = format!("{}/check-compare", env!("CARGO_MANIFEST_DIR"));
    let lines = format!("{}/checked.jsonl", env!("CARGO_TARGET_TMPDIR"));
    for (name, does, code, are_there) in [
        ("fails", "[ $1 = machine ] || exit 1", 2, false),
        ("says-nothing", "exit 0", 2, false),
        ("is-interrupted", "[ $1 = machine ] || exit 130", 130, false),
        ("is-noisy", "echo '\"verdict\":\"same\"'", 1, true),
    ] {
        std::fs::write(&lines, "what was there").expect("a file");
        let output = Command::new(&check)
            .args(["--program", &program(name, does), "--lines", &lines])
            .output()
            .expect("bash");
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        let found = std::fs::read_to_string(&lines);
        assert_eq!(found.is_ok(), are_there, "{name}");
        assert!(
            !found.is_ok_and(|text| text.lines().any(str::is_empty)),
            "{name}"
        );
    }
}

#[test]
fn a_machine_alone_is_no_record() {
    let directory = format!("{}/alone", env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&directory).expect("a directory");
    let machine = run("machine").stdout;
    std::fs::write(format!("{directory}/machine.jsonl"), machine).expect("a file");
    let output = run(&format!(
        "run --save x --records {directory} --lines {directory}/machine.jsonl"
    ));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("got nothing"),
        "{errors}"
    );
    assert!(!std::path::Path::new(&format!("{directory}/x.jsonl")).exists());
}

/// Whether the process catches the signal that Ctrl-C sends.
#[cfg(target_os = "linux")]
fn listens(pid: u32) -> bool {
    const SIGINT_BIT: u64 = 1 << (2 - 1);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & SIGINT_BIT != 0)
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_measurement_says_what_was_measured() {
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let steps: u64 = 200_000_000;
    let line = format!("latency --steps {steps} --layers 5,4,3 --batch 2 --json");
    let child = Command::new(PROGRAM)
        .args(line.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let started = Instant::now();
    while !listens(child.id()) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never listens"
        );
        sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let object: Map<String, Value> = serde_json::from_slice(&output.stdout).expect("an object");
    let done = object["steps"].as_u64().expect("a number");
    assert!(0 < done && done < steps, "{done}");
}
