//! Robust statistics of timings: minimum, median, median absolute deviation, quantiles.
//!
//! On a machine with other users the clock and the caches change from one moment to the next. The
//! median ignores outliers; the ratio of two things timed in turn ignores the changes that are
//! slower than one turn. How far such a ratio can be trusted is for [`bootstrap`] to say, and whether
//! it is a difference at all for [`verdict`]. How cost grows with size is for [`regression`].

use std::fmt;

use serde::Serialize;

pub(crate) mod bootstrap;
#[cfg(test)]
pub(crate) mod noise;
pub(crate) mod regression;
pub(crate) mod verdict;

/// What is reported of one series of timings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) min: f64,
    pub(crate) median: f64,
    /// Median of `|x - median|`.
    pub(crate) mad: f64,
}

impl Summary {
    /// The statistics of `series`, or `None` if it is empty.
    pub(crate) fn of(series: &[f64]) -> Option<Self> {
        let median = median(series)?;
        let deviations: Vec<_> = series.iter().map(|x| (x - median).abs()).collect();
        Some(Self {
            min: series.iter().copied().fold(f64::INFINITY, f64::min),
            median,
            mad: self::median(&deviations)?,
        })
    }
}

/// How far a series reaches, beside a median that has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Median of `|x - median|`.
    pub(crate) mad: f64,
    pub(crate) repeats: usize,
}

impl Spread {
    /// That of `series`, or `None` if it is empty.
    pub(crate) fn of(series: &[f64]) -> Option<Self> {
        let Summary { min, mad, .. } = Summary::of(series)?;
        Some(Self {
            min,
            max: series.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mad,
            repeats: series.len(),
        })
    }
}

impl Spread {
    /// The same in a unit that is so many times as large.
    pub(crate) fn in_units_of(self, unit: f64) -> Self {
        Self {
            min: self.min / unit,
            max: self.max / unit,
            mad: self.mad / unit,
            ..self
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max, mad, .. } = self;
        // As many digits as show three of the smallest.
        let digits = if *min < 10.0 { 2 } else { 1 };
        write!(f, "({min:.digits$} to {max:.digits$}, +-{mad:.digits$})")
    }
}

/// The middle value, or the mean of the two middle ones; `None` for an empty series.
pub(crate) fn median(series: &[f64]) -> Option<f64> {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) {
        (sorted[sorted.len() / 2 - 1] + upper) / 2.0
    } else {
        upper
    })
}

/// The value below which a share `q` of the series lies, interpolated between its neighbours; `None`
/// for an empty series.
pub(crate) fn quantile(series: &[f64], q: f64) -> Option<f64> {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let lower = sorted[position.floor() as usize];
    let upper = sorted[position.ceil() as usize];
    Some(lower + (upper - lower) * position.fract())
}

/// `a_i / b_i`, the two having been timed in the same round.
pub(crate) fn paired_ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_empty_series() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn one_outlier_moves_neither_median_nor_deviation() {
        let summary = Summary::of(&[10.0, 12.0, 11.0, 13.0, 1000.0]);
        let expected = Summary {
            min: 10.0,
            median: 12.0,
            mad: 1.0,
        };
        assert_eq!(summary, Some(expected));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn a_spread_by_hand() {
        let spread = Spread::of(&[10.0, 12.0, 11.0, 13.0, 1000.0]).expect("values");
        let expected = Spread {
            min: 10.0,
            max: 1000.0,
            mad: 1.0,
            repeats: 5,
        };
        assert_eq!(spread, expected);
        assert_eq!(spread.to_string(), "(10.0 to 1000.0, +-1.0)");
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let series = [40.0, 10.0, 30.0, 20.0, 50.0];
        assert_eq!(quantile(&series, 0.0), Some(10.0));
        assert_eq!(quantile(&series, 0.25), Some(20.0));
        assert_eq!(quantile(&series, 0.375), Some(25.0));
        assert_eq!(quantile(&series, 1.0), Some(50.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn paired_ratios_see_through_a_change_of_speed() {
        // Half way the machine slows down by 3; b takes twice as long as a throughout.
        let a = [1.0, 1.0, 3.0, 3.0];
        let b = [2.0, 2.0, 6.0, 6.0];
        assert_eq!(paired_ratios(&b, &a), [2.0; 4]);
        assert!(paired_ratios(&[], &a).is_empty());
    }
}
