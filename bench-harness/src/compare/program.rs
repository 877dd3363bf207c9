//! A build of this program that takes samples when asked to (see [`super::sampler`]).

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;

/// One start of one build. It ends when this value goes.
pub(super) struct Program {
    path: PathBuf,
    child: Child,
    /// `None` once the program has been told to end.
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Calls that make a sample long enough, as the program found.
    pub(super) calls: usize,
}

impl Program {
    /// Starts the build at `path` with the arguments of a case, and waits until it is ready.
    pub(super) fn start(
        path: &Path,
        case: &[String],
        slow_down_every: Option<usize>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(path);
        command.arg("sample");
        if let Some(every) = slow_down_every {
            command.arg("--repeat-every").arg(every.to_string());
        }
        let mut child = command
            .args(case.iter().map(OsStr::new))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        let asked = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new);
        let mut program = Self {
            path: path.to_owned(),
            child,
            asked,
            answers: answers.context("stdout was asked for as a pipe")?,
            calls: 0,
        };
        program.calls = program
            .answer()
            .with_context(|| format!("{} did not get ready to take samples", path.display()))?
            as usize;
        Ok(program)
    }

    /// Nanoseconds per call of one sample of `calls` calls.
    pub(super) fn sample(&mut self, calls: usize) -> anyhow::Result<f64> {
        let asked = self.asked.as_mut().context("the program has ended")?;
        writeln!(asked, "{calls}")
            .with_context(|| format!("{} ended too early", self.path.display()))?;
        Ok(self.answer()? as f64 / calls as f64)
    }

    fn answer(&mut self) -> anyhow::Result<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().with_context(|| {
            let path = self.path.display();
            format!("{path}: expected a number on its stdout, got {line:?}")
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its stdin tells the program to end, so there is nothing to wait for long. How it
        // ended is not asked: what it said before is all that counts.
        drop(self.asked.take());
        let _ = self.child.wait();
    }
}
