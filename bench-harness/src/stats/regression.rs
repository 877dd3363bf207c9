//! The exponent of a power law: `y = c x^e`, that is `ln y = ln c + e ln x`, by least squares.
//!
//! With `n` points, `x' = ln x - mean ln x` and the residuals `r` of the line,
//!
//! `e = sum x' ln y / sum x'^2`, and its standard error is `sqrt(sum r^2 / (n - 2) / sum x'^2)`.
//!
//! The interval is that of Student's distribution with `n - 2` degrees of freedom. It covers what
//! makes points leave the line for whatever reason, timing or a cache that is full.

use serde::Serialize;

/// 97.5 % quantiles of Student's distribution with 1, 2, 3 ... degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The same of the normal distribution, for more degrees of freedom than the table has.
const NORMAL: f64 = 1.960;

/// An exponent and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct PowerLaw {
    pub(crate) exponent: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl PowerLaw {
    /// The law nearest to the points `(x, y)`, all positive. `None` for fewer than three, or if all
    /// have the same `x`.
    pub(crate) fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let freedom = points.len().checked_sub(2).filter(|&n| n > 0)?;
        let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let n = logs.len() as f64;
        let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / n;
        let spread: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        // Equal numbers have logarithms that are equal but for the rounding of their mean.
        if spread < 1e-9 {
            return None;
        }
        let exponent = logs.iter().map(|(x, y)| (x - mean_x) * y).sum::<f64>() / spread;
        let residual = |(x, y): &(f64, f64)| y - mean_y - exponent * (x - mean_x);
        let squares: f64 = logs.iter().map(|point| residual(point).powi(2)).sum();
        let error = (squares / freedom as f64 / spread).sqrt();
        let reach = error * STUDENT.get(freedom - 1).copied().unwrap_or(NORMAL);
        Some(Self {
            exponent,
            low: exponent - reach,
            high: exponent + reach,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::noise::Noise;

    #[test]
    fn a_law_without_noise_is_found_exactly() {
        let points = [1.0, 2.0, 5.0, 9.0].map(|x: f64| (x, 3.0 * x.powf(1.5)));
        let law = PowerLaw::fit(&points).expect("four points");
        for (got, expected) in [(law.exponent, 1.5), (law.low, 1.5), (law.high, 1.5)] {
            assert!((got - expected).abs() < 1e-9, "{law:?}");
        }
    }

    #[test]
    fn an_interval_by_hand() {
        // ln x = -1, 0, 1 and ln y = 0, 3, 0: slope 0, residuals -1, 2, -1, error sqrt(6 / 1 / 2).
        let e = std::f64::consts::E;
        let law = PowerLaw::fit(&[(1.0 / e, 1.0), (1.0, e.powi(3)), (e, 1.0)]).expect("points");
        assert!(law.exponent.abs() < 1e-9);
        assert!((law.high - 12.706 * 3.0_f64.sqrt()).abs() < 1e-9);
        assert!((law.low + law.high).abs() < 1e-9);
    }

    #[test]
    fn points_that_say_nothing_give_no_law() {
        assert_eq!(PowerLaw::fit(&[]), None);
        assert_eq!(PowerLaw::fit(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(PowerLaw::fit(&[(3.0, 1.0), (3.0, 2.0), (3.0, 4.0)]), None);
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        let mut noise = Noise::new(4);
        let trials = 200;
        let held = (0..trials)
            .filter_map(|_| {
                let points: Vec<_> = (1..8)
                    .map(|i| f64::from(1 << i))
                    .map(|x| (x, x * (1.0 + 0.1 * noise.symmetric())))
                    .collect();
                PowerLaw::fit(&points)
            })
            .filter(|law| (law.low..=law.high).contains(&1.0))
            .count();
        assert!((181..=199).contains(&held), "{held} of {trials}");
    }
}
