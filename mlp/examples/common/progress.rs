//! How far a training is: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mlp::EpochReport;

/// Lines for one training where there is no terminal.
const LINES: usize = 5;

/// Shows the epochs of one training.
pub(crate) struct Progress {
    title: String,
    epochs: usize,
    /// `None` where there is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins a training of `epochs` epochs.
    pub(crate) fn new(title: &str, epochs: usize) -> Self {
        let bar = io::stdout().is_terminal().then(|| {
            let target = ProgressDrawTarget::stdout();
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")
                .expect("the template is well formed");
            ProgressBar::with_draw_target(Some(epochs as u64), target)
                .with_prefix(title.to_owned())
                .with_style(style)
        });
        Self {
            title: title.to_owned(),
            epochs,
            bar,
        }
    }

    /// Shows that an epoch is done.
    pub(crate) fn show(&self, report: &EpochReport) {
        let accuracy = report.validation.and_then(|test| test.accuracy);
        let figures = format!(
            "loss {:.4}, test accuracy {:.2} %",
            report.loss,
            100.0 * accuracy.unwrap_or(f32::NAN)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(figures);
                bar.set_position(report.epoch as u64);
            }
            None if report.epoch.is_multiple_of(self.epochs.div_ceil(LINES))
                || report.epoch == self.epochs =>
            {
                println!(
                    "{} epoch {}/{}: {figures}",
                    self.title, report.epoch, self.epochs
                );
            }
            None => {}
        }
    }

    /// Leaves the bar as it is and goes to the next line.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
