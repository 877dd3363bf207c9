//! Cells of tables, and the columns that several tables have.

use super::line::Line;
use crate::report::duration;

/// What is written, and what it is sorted by: the number, or else the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) value: Option<f64>,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            value: None,
        }
    }

    /// A number, written as `text`; empty if there is none.
    pub(super) fn number(value: f64, text: impl Into<String>) -> Self {
        let value = value.is_finite().then_some(value);
        Self {
            text: value.map_or(String::new(), |_| text.into()),
            value,
        }
    }

    pub(super) fn fixed(value: f64, digits: usize) -> Self {
        Self::number(value, format!("{value:.digits$}"))
    }

    pub(super) fn time(ns: f64) -> Self {
        Self::number(ns, duration(ns))
    }

    pub(super) fn percent(part: f64) -> Self {
        Self::number(part, format!("{:.1} %", 100.0 * part))
    }

    /// A number between its bounds.
    pub(super) fn interval(line: &Line, value: &str, low: &str, high: &str) -> Self {
        let [value, low, high] = [value, low, high].map(|name| line.number(name));
        Self::number(value, format!("{value:.3} ({low:.3} to {high:.3})"))
    }
}

/// A column: its head, and its cell of a line.
pub(super) type Column = (&'static str, fn(&Line) -> Cell);

pub(super) const OP: Column = ("op", |line| Cell::text(line.text("op")));
pub(super) const M: Column = ("m", |line| Cell::fixed(line.number("m"), 0));
pub(super) const N: Column = ("n", |line| Cell::fixed(line.number("n"), 0));
pub(super) const K: Column = ("k", |line| Cell::fixed(line.number("k"), 0));
pub(super) const IMPL: Column = ("by", |line| Cell::text(line.text("impl")));
pub(super) const ISA: Column = ("ISA", |line| Cell::text(line.text("isa")));
pub(super) const THREADS: Column = ("threads", |line| Cell::fixed(line.number("threads"), 0));
pub(super) const TIME: Column = ("median", |line| Cell::time(line.number("median_ns")));
pub(super) const LEAST: Column = ("least", |line| Cell::time(line.number("min_ns")));
pub(super) const DEVIATION: Column = ("MAD", |line| {
    Cell::percent(line.number("mad_ns") / line.number("median_ns"))
});
pub(super) const RATE: Column = ("GFLOP/s", |line| Cell::fixed(line.number("gflop_per_s"), 1));
pub(super) const FRACTION: Column = ("of the peak", |line| {
    Cell::percent(line.number("fraction_of_peak"))
});
pub(super) const CLOCK: Column = ("GHz", |line| Cell::fixed(line.number("clock_ghz"), 2));
pub(super) const SAMPLES: Column = ("samples/s", |line| {
    Cell::fixed(line.number("samples_per_s"), 0)
});
pub(super) const ALLOCATIONS: Column = ("allocations", |line| {
    Cell::fixed(line.number("allocations_per_step"), 0)
});
pub(super) const NETWORK: Column = ("network", |line| {
    let name = format!("{} {}", line.text("network"), line.text("layers"));
    Cell::text(name.trim().replace(',', "-"))
});
pub(super) const BATCH: Column = ("batch", |line| Cell::fixed(line.number("batch"), 0));
pub(super) const RATIO: Column = ("second / first", |line| {
    Cell::interval(line, "ratio", "ratio_low", "ratio_high")
});
pub(super) const VERDICT: Column = ("second is", |line| Cell::text(line.text("verdict")));
pub(super) const FIRST: Column = ("first", |line| Cell::time(line.number("first_median_ns")));
pub(super) const SECOND: Column = ("second", |line| Cell::time(line.number("second_median_ns")));
pub(super) const BYTES: Column = ("bytes", |line| Cell::fixed(line.number("bytes"), 0));
pub(super) const BANDWIDTH: Column = ("GB/s", |line| Cell::fixed(line.number("gb_per_s"), 1));
/// The peak of all threads over as many times that of one.
pub(super) const SHARE: Column = ("cores", |line| Cell::percent(line.number("cores_share")));
pub(super) const SPREAD_LOW: Column = ("least", |line| Cell::fixed(line.number("min"), 2));
pub(super) const SPREAD_HIGH: Column = ("most", |line| Cell::fixed(line.number("max"), 2));
pub(super) const SPREAD_MAD: Column = ("MAD", |line| Cell::fixed(line.number("mad"), 2));
