//! A build of this program that takes samples when asked to (see [`super::sampler`]).

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{self, Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// A program that has been told to end gets so long for it.
const TO_END: Duration = Duration::from_secs(2);

/// Between two looks whether it has.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// No number is longer than this; the rest of a longer line is not read as one.
const LONGEST_LINE: u64 = 64;

/// One start of one build. It ends when this value goes.
pub(super) struct Program {
    path: PathBuf,
    child: Child,
    /// `None` once the program has been told to end.
    asked: Option<ChildStdin>,
    answers: Receiver<String>,
    /// How long an answer may take.
    limit: Duration,
    /// Calls that make a sample long enough, as the program found.
    pub(super) calls: usize,
}

impl Program {
    /// Starts the build at `path` with the arguments of a case, and waits until it is ready.
    pub(super) fn start(
        path: &Path,
        case: &[String],
        slow_down_every: Option<usize>,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let cannot = || format!("cannot start {}", path.display());
        // A name alone would be looked for in PATH, and not in the current directory.
        let mut command = Command::new(path::absolute(path).with_context(cannot)?);
        command.arg("sample");
        if let Some(every) = slow_down_every {
            command.arg("--repeat-every").arg(every.to_string());
        }
        let mut child = command
            .args(case.iter().map(OsStr::new))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(cannot)?;
        let asked = child.stdin.take();
        let stdout = child.stdout.take();
        let mut program = Self {
            path: path.to_owned(),
            child,
            asked,
            answers: lines(stdout.context("stdout was asked for as a pipe")?),
            limit,
            calls: 0,
        };
        let calls = program.answer();
        program.calls = calls
            .with_context(|| format!("{} did not get ready to take samples", path.display()))?
            as usize;
        ensure!(
            program.calls > 0,
            "{}: expected at least 1 call a sample, got 0",
            path.display()
        );
        Ok(program)
    }

    /// Nanoseconds per call of one sample of `calls` calls.
    pub(super) fn sample(&mut self, calls: usize) -> anyhow::Result<f64> {
        if let Ok(line) = self.answers.try_recv() {
            let path = self.path.display();
            bail!("{path}: expected nothing on its stdout before it is asked, got {line:?}");
        }
        let asked = self.asked.as_mut().context("the program has ended")?;
        if writeln!(asked, "{calls}").is_err() {
            bail!(self.ended());
        }
        Ok(self.answer()? as f64 / calls as f64)
    }

    fn answer(&mut self) -> anyhow::Result<u64> {
        match self.answers.recv_timeout(self.limit) {
            Ok(line) => line.trim().parse().with_context(|| {
                let path = self.path.display();
                format!("{path}: expected a number on its stdout, got {line:?}")
            }),
            Err(RecvTimeoutError::Disconnected) => bail!(self.ended()),
            Err(RecvTimeoutError::Timeout) => {
                let (path, limit) = (self.path.display(), self.limit.as_secs_f64());
                bail!("{path} gave no answer in {limit} s (--limit-s)")
            }
        }
    }

    /// What became of a program that answers no more.
    fn ended(&mut self) -> String {
        drop(self.asked.take());
        let path = self.path.display();
        match wait(&mut self.child) {
            Some(status) => format!("{path} ended too early, with {status}"),
            None => format!("{path} closed its stdout and did not end"),
        }
    }
}

/// The lines of a program as they come. Reading stops when nobody takes them.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            let read = (&mut stdout)
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line);
            let is_more = matches!(read, Ok(1..));
            if !is_more || sender.send(String::from_utf8_lossy(&line).into()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// How a program ended, if it does so within [`TO_END`].
fn wait(child: &mut Child) -> Option<std::process::ExitStatus> {
    let started = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if started.elapsed() > TO_END {
            return None;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its stdin tells the program to end. How it ended is not asked: what it said before
        // is all that counts.
        drop(self.asked.take());
        if wait(&mut self.child).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
