//! What `KERNELS_ISA` and `KERNELS_ENSURE_ISA` do to a process.
//!
//! The choice is made once per process, so each case is a process of its own: this test binary
//! again, asked to run the one test that only reports.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::process::Command;

use kernels::{Isa, Kernels};
use tests::cases::check_each;

const VARIABLES: [&str; 2] = ["KERNELS_ISA", "KERNELS_ENSURE_ISA"];

/// Precedes the answer in the output of a child.
const MARK: &str = "chosen: ";

#[test]
#[ignore = "run by the other tests, in processes of their own"]
fn report() {
    let answer = Kernels::detect().map_or_else(|e| e.to_string(), |k| k.isa().to_string());
    println!("{MARK}{answer}");
}

/// What a process with these variables chooses, or its error.
fn chosen<Value: AsRef<OsStr> + Debug>(variables: &[(&str, Value)]) -> String {
    let this = std::env::current_exe().expect("a test binary is a file");
    let mut child = Command::new(this);
    child.args(["--exact", "report", "--ignored", "--nocapture"]);
    for name in VARIABLES.into_iter().chain(["KERNELS_TILES"]) {
        child.env_remove(name);
    }
    child.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = child.output().expect("a test binary can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text
        .split_once(MARK)
        .and_then(|(_, rest)| rest.lines().next())
    {
        Some(answer) => answer.to_owned(),
        None => panic!("{variables:?}: the child did not answer: {output:?}"),
    }
}

fn supported() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_supported())
}

/// The best of what is chosen without being named, and of the one that is named.
fn best_with(named: Option<Isa>) -> Isa {
    supported()
        .filter(|isa| isa.is_preferred() || Some(*isa) == named)
        .last()
        .expect("scalar is always supported")
}

fn best() -> Isa {
    best_with(None)
}

#[test]
fn without_variables_the_best_is_chosen() {
    assert_eq!(chosen::<&str>(&[]), best().name());
    assert_eq!(
        chosen(&[("KERNELS_ISA", ""), ("KERNELS_ENSURE_ISA", "")]),
        best().name()
    );
}

#[test]
fn a_cap_lowers_to_the_best_below_it() {
    check_each(Isa::ALL, |&cap| {
        let expected = supported()
            .filter(|&isa| isa <= cap && (isa.is_preferred() || isa == cap))
            .last()
            .expect("scalar is below every cap");
        let got = chosen(&[("KERNELS_ISA", cap.name())]);
        if got == expected.name() {
            Ok(())
        } else {
            Err(format!("chose {got}, expected {expected}"))
        }
    });
}

#[test]
fn an_ensured_level_is_there_or_the_answer_is_an_error() {
    check_each(Isa::ALL, |&wanted| {
        let got = chosen(&[("KERNELS_ENSURE_ISA", wanted.name())]);
        let expected = if wanted.is_supported() {
            best_with(Some(wanted)).name().to_owned()
        } else {
            format!(
                "instruction set {wanted} was asked for, but the best available here is {}",
                best()
            )
        };
        if got == expected {
            Ok(())
        } else {
            Err(format!("answered {got:?}, expected {expected:?}"))
        }
    });
}

#[test]
fn a_cap_below_the_ensured_level_is_an_error() {
    for wanted in supported().filter(|&isa| isa > Isa::Scalar) {
        let got = chosen(&[
            ("KERNELS_ISA", "scalar"),
            ("KERNELS_ENSURE_ISA", wanted.name()),
        ]);
        assert_eq!(
            got,
            format!(
                "instruction set {wanted} was asked for, but the best available here is scalar"
            )
        );
    }
}

#[test]
fn a_matrix_unit_that_is_refused_is_absent() {
    let refused = ("KERNELS_TILES", "refused");
    let without = supported()
        .filter(|&isa| isa < Isa::Amx && isa.is_preferred())
        .last();
    let without = without.expect("scalar is below it");
    assert_eq!(chosen(&[refused]), without.name());
    assert_eq!(
        chosen(&[refused, ("KERNELS_ENSURE_ISA", "amx")]),
        format!("instruction set amx was asked for, but the best available here is {without}")
    );
    assert_eq!(
        chosen(&[("KERNELS_TILES", "some")]),
        "detect: KERNELS_TILES: expected model or refused, got some"
    );
}

#[test]
fn unknown_words_are_errors_that_name_the_variable() {
    for name in VARIABLES {
        let got = chosen(&[(name, "avx9")]);
        assert_eq!(
            got,
            format!("{name}=avx9: expected one of scalar, neon, avx2, avx512, avx512bf16, amx")
        );
    }
}

#[test]
fn levels_are_read_by_their_names_alone() {
    for isa in Isa::ALL {
        assert_eq!(isa.name().parse(), Ok(isa));
    }
    for word in ["", "avx9", "AVX2", " avx2"] {
        let error = word.parse::<Isa>().expect_err("no name");
        let text = error.to_string();
        let all_named = Isa::ALL.iter().all(|isa| text.contains(isa.name()));
        assert!(text.contains(&format!("{word:?}")) && all_named, "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_unicode_is_an_unknown_word() {
    use std::os::unix::ffi::OsStrExt;
    for name in VARIABLES {
        let got = chosen(&[(name, OsStr::from_bytes(b"avx2\xff"))]);
        assert_eq!(
            got,
            format!(
                "{name}=avx2\u{fffd}: expected one of scalar, neon, avx2, avx512, avx512bf16, amx"
            )
        );
    }
}

/// A run that insists on an instruction set must not pass by testing another one.
#[test]
fn this_run_tests_what_the_environment_insists_on() {
    let all = Kernels::available().expect("the environment asks for what this machine has");
    let names: Vec<_> = all.iter().map(|kernels| kernels.isa().name()).collect();
    assert_eq!(names[0], "scalar");
    if let Ok(wanted) = std::env::var("KERNELS_ENSURE_ISA") {
        assert!(
            wanted.is_empty() || names.contains(&wanted.as_str()),
            "{names:?}"
        );
    }
}

#[test]
fn kernels_can_be_had_for_every_supported_level_and_no_other() {
    for isa in Isa::ALL {
        let got = Kernels::for_isa(isa).map(Kernels::isa);
        assert_eq!(got.is_ok(), isa.is_supported(), "{isa}: {got:?}");
        assert!(got.is_err() || got == Ok(isa));
    }
}
