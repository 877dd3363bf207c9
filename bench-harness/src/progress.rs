//! How far a long measurement is, on a terminal, and its early end by Ctrl-C.
//!
//! A bar goes to stderr, and only to a terminal. The first Ctrl-C lets what is being timed come to its
//! end and skips the rest, so what was measured is printed or written as always; the second ends the
//! program at once.

use std::io::{self, IsTerminal};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The exit code of a program that was interrupted, as shells give it: 128 and the signal's number.
pub(crate) const INTERRUPTED: u8 = 130;

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes note of Ctrl-C from now on.
pub(crate) fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if IS_INTERRUPTED.swap(true, Ordering::Relaxed) {
            exit(INTERRUPTED.into());
        }
        eprintln!("\ninterrupted: what was measured follows; once more to end at once");
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether Ctrl-C was pressed.
pub(crate) fn is_interrupted() -> bool {
    IS_INTERRUPTED.load(Ordering::Relaxed)
}

/// A bar for a number of steps, where there is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of something that prints nothing until it is done.
    pub(crate) fn of(what: &'static str, steps: u64) -> Self {
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta}")
            .expect("the template is well formed");
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        Self(bar.with_prefix(what).with_style(style))
    }

    /// Says what comes next.
    pub(crate) fn show(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// So many steps are done.
    pub(crate) fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The items one after the other, until Ctrl-C. For loops whose every turn prints a line: there is a
/// bar only if these lines go elsewhere than to the terminal.
pub(crate) fn each<T>(what: &'static str, items: Vec<T>) -> impl Iterator<Item = T> {
    let bar = (!io::stdout().is_terminal()).then(|| Progress::of(what, items.len() as u64));
    items
        .into_iter()
        .enumerate()
        .map_while(move |(index, item)| {
            if let Some(bar) = &bar
                && index > 0
            {
                bar.advance(1);
            }
            (!is_interrupted()).then_some(item)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_in_its_order() {
        assert_eq!(each("test", vec![3, 1, 2]).collect::<Vec<_>>(), [3, 1, 2]);
    }
}
