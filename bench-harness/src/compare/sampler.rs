//! The other end of `compare`: takes samples of one case when asked to.
//!
//! | line | from | what |
//! |---|---|---|
//! | first | here | the number of calls that make a sample long enough |
//! | a number of calls | stdin | take a sample |
//! | nanoseconds | here | what it took |
//!
//! It ends when stdin does.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use anyhow::Context;

use crate::args::{SampleArgs, SampledCase};
use crate::machine;
use crate::report::{print_json, unread};
use crate::suites::gemm;
use crate::suites::network::Plan;
use crate::timing::{Contestant, calls_per_sample};

/// Makes some calls twice: a slowdown whose size is known, for a test of what finds slowdowns.
struct Repeating<'a> {
    inner: &'a mut dyn Contestant,
    every: usize,
}

impl Contestant for Repeating<'_> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    /// `calls` calls and one more for each `every` of them, timed as if they were `calls`.
    fn sample(&mut self, calls: usize) -> Duration {
        self.inner.sample(calls + calls / self.every)
    }
}

/// Prints the arguments of each case, as the suites repeat them.
pub(crate) fn list(case: &SampledCase) -> anyhow::Result<()> {
    match case {
        SampledCase::Gemm(args) => gemm::cases(args)?.iter().try_for_each(print_json)?,
        SampledCase::Train(args) => args.choice.networks().iter().try_for_each(print_json)?,
        SampledCase::Infer(args) => args.choice.networks().iter().try_for_each(print_json)?,
    }
    Ok(())
}

/// Answers until stdin ends.
pub(crate) fn run(args: &SampleArgs) -> anyhow::Result<()> {
    // As many as there are cores need none chosen.
    if let threads @ 1.. = args.case.threads() {
        machine::keep_to_cores(threads);
    }
    let then = |ours: &mut dyn Contestant| {
        let (asked, answers) = (io::stdin().lock(), io::stdout().lock());
        match args.repeat_every {
            Some(every) => {
                anyhow::ensure!(every > 0, "--repeat-every: expected at least 1, got 0");
                serve(&mut Repeating { inner: ours, every }, asked, answers)
            }
            None => serve(ours, asked, answers),
        }
    };
    match &args.case {
        SampledCase::Gemm(args) => gemm::with_ours(args, then),
        SampledCase::Train(args) => Plan::from(args).with_ours(then),
        SampledCase::Infer(args) => Plan::from(args).with_ours(then),
    }
}

fn serve(
    contestant: &mut dyn Contestant,
    asked: impl BufRead,
    mut answers: impl Write,
) -> anyhow::Result<()> {
    writeln!(answers, "{}", calls_per_sample(contestant)).map_err(unread)?;
    answers.flush().map_err(unread)?;
    for line in asked.lines() {
        let line = line?;
        let calls: usize = line
            .trim()
            .parse()
            .with_context(|| format!("expected a number of calls on stdin, got {line:?}"))?;
        if calls > 1 {
            // While the others ran, this one's memory left the caches.
            contestant.sample(1);
        }
        writeln!(answers, "{}", contestant.sample(calls).as_nanos()).map_err(unread)?;
        answers.flush().map_err(unread)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A microsecond per call.
    struct Exact;

    impl Contestant for Exact {
        fn name(&self) -> String {
            "exact".to_owned()
        }

        fn threads(&self) -> usize {
            1
        }

        fn sample(&mut self, calls: usize) -> Duration {
            Duration::from_micros(calls as u64)
        }
    }

    #[test]
    fn every_line_is_answered_with_nanoseconds() {
        let mut answers = Vec::new();
        serve(&mut Exact, "1\n250\n".as_bytes(), &mut answers).expect("two samples");
        let answers = String::from_utf8(answers).expect("text");
        let mut lines = answers.lines();
        let calls: usize = lines.next().expect("a line").parse().expect("a number");
        assert!(calls >= 1_000);
        assert_eq!(lines.collect::<Vec<_>>(), ["1000", "250000"]);
        let error = serve(&mut Exact, "many\n".as_bytes(), io::sink()).expect_err("no number");
        assert!(error.to_string().contains("many"), "{error}");
    }

    #[test]
    fn every_twentieth_call_twice_takes_five_percent_more() {
        let mut repeating = Repeating {
            inner: &mut Exact,
            every: 20,
        };
        assert_eq!(repeating.sample(200), Duration::from_micros(210));
        assert_eq!(repeating.sample(19), Duration::from_micros(19));
    }
}
