//! What is printed: a line of JSON or a line of a table.

use std::io::{self, Write};
use std::{error, fmt};

use kernels::{Isa, Precision};
use serde::Serialize;

use crate::args::Common;
use crate::stats::bootstrap::Estimate;
use crate::stats::{self, Summary};
use crate::timing::Series;

/// Version of the JSON objects: raised when a field changes its meaning or goes.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The name of this project's implementation in reports.
pub(crate) const OURS: &str = "ours";

/// One implementation's figures for one case. `A` are the arguments of the case as given, `E` what
/// only some suites report.
#[derive(Debug, Serialize)]
pub(crate) struct Record<A, E> {
    schema_version: u32,
    suite: &'static str,
    #[serde(flatten)]
    arguments: A,
    #[serde(flatten)]
    setting: Setting,
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    extra: E,
}

/// Who ran, and how.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    /// [`OURS`], or a peer with its version.
    pub(crate) r#impl: String,
    /// The instruction set that ran; `auto` where a peer chose it.
    pub(crate) isa: &'static str,
    pub(crate) threads: usize,
    /// What ran.
    pub(crate) precision: Precision,
    pub(crate) precision_asked: Precision,
}

/// The figures that every suite reports, per call or per step.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) repeats: usize,
    pub(crate) median_ns: f64,
    pub(crate) min_ns: f64,
    pub(crate) mad_ns: f64,
    pub(crate) flop: f64,
    pub(crate) gflop_per_s: f64,
    /// Median over the samples of (rate / peak beside it), and the ends of its 95 % interval.
    pub(crate) fraction_of_peak: f64,
    pub(crate) fraction_low: f64,
    pub(crate) fraction_high: f64,
    #[serde(flatten)]
    pub(crate) beside: Beside,
}

/// What the machine did while samples were taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Beside {
    /// Median of the bursts beside the samples, on as many threads.
    pub(crate) peak_gflop_per_s: f64,
    /// Median of the clock beside the samples, where a probe is known.
    pub(crate) clock_ghz: Option<f64>,
    /// How far the peak moved: from its 5th to its 95th percentile, as a part of its median.
    pub(crate) peak_spread: f64,
    /// The peak of all threads over as many times that of one thread; `None` for one thread.
    pub(crate) cores_share: Option<f64>,
}

/// A peak that moves more than this moves what is measured beside it.
pub(crate) const STEADY: f64 = 0.1;

/// Threads that reach less of their cores' peaks than this do not have them to themselves.
pub(crate) const ALONE: f64 = 0.9;

impl Beside {
    /// What was probed beside these samples; `None` if nothing was.
    pub(crate) fn of(series: &Series) -> Option<Self> {
        let peak = stats::median(&series.peak)?;
        let quantile = |share| stats::quantile(&series.peak, share);
        Some(Self {
            peak_gflop_per_s: peak,
            clock_ghz: stats::median(&series.clock_ghz),
            peak_spread: (quantile(0.95)? - quantile(0.05)?) / peak,
            cores_share: series.cores_share(),
        })
    }

    /// What a reader should know before using the figures, if the machine was not steady.
    fn warnings(&self) -> Vec<String> {
        let moved = (self.peak_spread > STEADY).then(|| {
            format!(
                "the peak moved by {:.0} % during these samples (clock or neighbours); trust ratios, \
                 not times",
                100.0 * self.peak_spread
            )
        });
        let shared = self.cores_share.filter(|&share| share < ALONE).map(|share| {
            format!(
                "the threads together reached {:.0} % of the peak that each reaches alone (a neighbour \
                 has a core); trust nothing about threads",
                100.0 * share
            )
        });
        moved.into_iter().chain(shared).collect()
    }

    /// Tells people of it, on stderr; in JSON it is `peak_spread` and `cores_share`.
    pub(crate) fn warn(&self, title: &str) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        for warning in self.warnings() {
            writeln!(stderr, "warning: {title}: {warning}")?;
        }
        Ok(())
    }
}

/// What training and inference report beyond the figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PerSample {
    samples_per_s: f64,
    allocations_per_step: f64,
}

impl PerSample {
    pub(crate) fn new(figures: &Figures, batch: usize, allocations_per_step: f64) -> Self {
        Self {
            samples_per_s: 1e9 * batch as f64 / figures.median_ns,
            allocations_per_step,
        }
    }

    /// The same in a table.
    pub(crate) fn note(&self) -> String {
        format!(
            ", {:.0} samples/s, {} allocations per step",
            self.samples_per_s, self.allocations_per_step
        )
    }
}

impl Setting {
    /// That of this project's implementation.
    pub(crate) fn ours(isa: Isa, threads: usize, precision: Precision, asked: &Common) -> Self {
        Self {
            r#impl: OURS.to_owned(),
            isa: isa.name(),
            threads,
            precision,
            precision_asked: asked.precision(),
        }
    }
}

impl Figures {
    /// The figures of calls that take `flop` operations each; `None` if nothing was timed.
    pub(crate) fn of(series: &Series, flop: f64) -> Option<Self> {
        let time = Summary::of(&series.ns)?;
        let rate = flop / time.median;
        let fractions: Vec<_> = series
            .ns
            .iter()
            .zip(&series.peak)
            .map(|(ns, peak)| flop / ns / peak)
            .collect();
        let fraction = Estimate::of_median(&[fractions])?;
        Some(Self {
            repeats: series.ns.len(),
            median_ns: time.median,
            min_ns: time.min,
            mad_ns: time.mad,
            flop,
            gflop_per_s: rate,
            fraction_of_peak: fraction.value,
            fraction_low: fraction.low,
            fraction_high: fraction.high,
            beside: Beside::of(series)?,
        })
    }
}

impl<A: Serialize, E: Serialize> Record<A, E> {
    pub(crate) fn new(
        suite: &'static str,
        arguments: A,
        setting: Setting,
        figures: Figures,
        extra: E,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            suite,
            arguments,
            setting,
            figures,
            extra,
        }
    }

    /// Prints the record: as JSON, or as `title` and the figures.
    pub(crate) fn print(&self, json: bool, title: &str, note: &str) -> io::Result<()> {
        if json {
            return print_json(self);
        }
        self.figures.beside.warn(title)?;
        let f = &self.figures;
        print_line(&format!(
            "{title:<24} {:<22} {:<7} {:>2} T {:>12.2} us +-{:>5.1} % {:>9.1} GFLOP/s {:>5.1} % of \
             peak{note}",
            self.setting.r#impl,
            self.setting.isa,
            self.setting.threads,
            f.median_ns / 1e3,
            100.0 * f.mad_ns / f.median_ns,
            f.gflop_per_s,
            100.0 * f.fraction_of_peak,
        ))
    }
}

/// Prints one object on a line of its own.
pub(crate) fn print_json(object: &impl Serialize) -> io::Result<()> {
    print_line(&serde_json::to_string(object)?)
}

/// Prints a line; unlike `println`, it does not panic when nobody reads it.
pub(crate) fn print_line(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}").map_err(unread)
}

/// An error of our own stdout: a broken pipe there is told apart from one to another program.
pub(crate) fn unread(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), NobodyReads),
        _ => error,
    }
}

/// Why a line could not be printed.
#[derive(Debug)]
struct NobodyReads;

impl fmt::Display for NobodyReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads stdout any more")
    }
}

impl error::Error for NobodyReads {}

/// Whether it is no error but the end of who read our lines.
pub(crate) fn nobody_reads(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .filter_map(io::Error::get_ref)
        .any(|inner| inner.is::<NobodyReads>())
}

/// Adds the version of the schema to an object that is no [`Record`].
#[derive(Debug, Serialize)]
pub(crate) struct Versioned<T> {
    schema_version: u32,
    suite: &'static str,
    #[serde(flatten)]
    object: T,
}

impl<T> Versioned<T> {
    pub(crate) fn new(suite: &'static str, object: T) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            suite,
            object,
        }
    }
}

/// Nanoseconds with a unit that leaves few digits.
pub(crate) fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e4 => format!("{:.2} us", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsteady_machine_and_a_missing_core_are_told() {
        let mut beside = Beside {
            peak_gflop_per_s: 100.0,
            clock_ghz: None,
            peak_spread: 0.05,
            cores_share: Some(0.95),
        };
        assert!(beside.warnings().is_empty());
        (beside.peak_spread, beside.cores_share) = (0.3, Some(0.5));
        let warnings = beside.warnings();
        assert!(warnings[0].contains("moved by 30 %"), "{warnings:?}");
        assert!(warnings[1].contains("reached 50 %"), "{warnings:?}");
    }

    #[test]
    fn only_a_broken_pipe_of_our_own_stdout_ends_in_silence() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(nobody_reads(
            &anyhow::Error::new(unread(broken())).context("a line")
        ));
        assert!(!nobody_reads(
            &anyhow::Error::new(broken()).context("a program")
        ));
        let other = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!nobody_reads(&anyhow::Error::new(unread(other))));
    }

    #[test]
    fn durations_have_fitting_units() {
        assert_eq!(duration(1234.0), "1.23 us");
        assert_eq!(duration(123_456.0), "123 us");
        assert_eq!(duration(12_345_678.0), "12.35 ms");
    }
}
