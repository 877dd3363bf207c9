//! Tables of cases: all are run, and all that fail are listed.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many failures are printed in full.
const SHOWN: usize = 25;

/// Runs `check` on each case; a panic counts as a failure.
///
/// # Panics
/// At the end, if any case failed or there were none, with a list of those that did.
#[track_caller]
pub fn check_each<C: Debug>(
    cases: impl IntoIterator<Item = C>,
    mut check: impl FnMut(&C) -> Result<(), String>,
) {
    let (mut count, mut failures) = (0, Vec::new());
    for case in cases {
        count += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&case)))
            .unwrap_or_else(|_| Err("panicked, see above".to_owned()));
        if let Err(why) = outcome {
            failures.push(format!("{case:?}\n    {why}"));
        }
    }
    assert!(count > 0, "a table without cases checks nothing");
    let total = failures.len();
    failures.truncate(SHOWN);
    assert!(
        total == 0,
        "{total} of {count} cases failed, the first {}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "2 of 3 cases failed, the first 2:\n1\n    odd\n3\n    odd")]
    fn all_failures_are_listed() {
        let odd = |&n: &i32| {
            if n % 2 == 0 {
                Ok(())
            } else {
                Err("odd".to_owned())
            }
        };
        check_each([1, 2, 3], odd);
    }

    #[test]
    #[should_panic(expected = "checks nothing")]
    fn an_empty_table_fails() {
        check_each(Vec::<i32>::new(), |_| Ok(()));
    }
}
