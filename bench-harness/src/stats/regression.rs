//! The exponent of a power law: `y = c x^e`, that is `ln y = ln c + e ln x`, by least squares.
//!
//! With `n` points, `x' = ln x - mean ln x` and the residuals `r` of the line,
//!
//! `e = sum x' ln y / sum x'^2`, and its standard error is `sqrt(sum r^2 / (n - 2) / sum x'^2)`.
//!
//! The interval is that of Student's distribution with `n - 2` degrees of freedom. It covers what
//! makes points leave the line for whatever reason, timing or a cache that is full.
//!
//! Where each call costs something beside what grows, `y = a + b x` is the law and its exponent is below 1
//! at all sizes, the more so the smaller they are. [`FixedCost`] fits that, with relative residuals, so
//! that small sizes count as much as large ones:
//!
//! `a, b = argmin sum ((a + b x - y) / y)^2`.

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

impl PowerLaw {
    /// Root of the mean square of what the points, at least one, leave of the law relative to themselves.
    fn misfit(&self, points: &[(f64, f64)]) -> f64 {
        let n = points.len() as f64;
        let over = |&(x, y): &(f64, f64)| y.ln() - self.exponent * x.ln();
        let mean = points.iter().map(over).sum::<f64>() / n;
        let square = |point| ((mean - over(point)).exp() - 1.0).powi(2);
        (points.iter().map(square).sum::<f64>() / n).sqrt()
    }
}

/// `y = fixed + slope x`, and the exponent of what is left without the fixed cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct FixedCost {
    pub(crate) fixed: f64,
    pub(crate) slope: f64,
    /// Of `y - fixed`.
    #[serde(flatten, with = "beyond")]
    pub(crate) beyond: PowerLaw,
}

/// The fields of the law beyond the fixed cost, under names of their own.
mod beyond {
    use serde::{Serialize, Serializer};

    use super::PowerLaw;

    pub(super) fn serialize<S: Serializer>(law: &PowerLaw, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Beyond {
            exponent_beyond: f64,
            low_beyond: f64,
            high_beyond: f64,
        }
        let PowerLaw {
            exponent,
            low,
            high,
        } = *law;
        let beyond = Beyond {
            exponent_beyond: exponent,
            low_beyond: low,
            high_beyond: high,
        };
        beyond.serialize(to)
    }
}

impl FixedCost {
    /// The line nearest to the points, all positive, if it is nearer to them than `law`, their power law,
    /// and the fixed cost is one: above 0, and below each point.
    pub(crate) fn fit(points: &[(f64, f64)], law: &PowerLaw) -> Option<Self> {
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|&(x, y)| of(x, y) / (y * y)).sum()
        };
        let (w, wx, wxx) = (sum(&|_, _| 1.0), sum(&|x, _| x), sum(&|x, _| x * x));
        let (wy, wxy) = (sum(&|_, y| y), sum(&|x, y| x * y));
        let determinant = w * wxx - wx * wx;
        let fixed = (wy * wxx - wx * wxy) / determinant;
        let slope = (w * wxy - wx * wy) / determinant;
        let is_cost = fixed > 0.0 && slope > 0.0 && points.iter().all(|&(_, y)| y > fixed);
        let square = |&(x, y): &(f64, f64)| ((fixed + slope * x) / y - 1.0).powi(2);
        let squares = points.iter().map(square).sum::<f64>();
        let misfit = (squares / points.len() as f64).sqrt();
        if !is_cost || misfit >= law.misfit(points) {
            return None;
        }
        let rest: Vec<_> = points.iter().map(|&(x, y)| (x, y - fixed)).collect();
        Some(Self {
            fixed,
            slope,
            beyond: PowerLaw::fit(&rest)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::noise::Noise;

    #[test]
    fn a_fixed_cost_is_found_and_what_has_none_has_none() {
        let points = |of: fn(f64) -> f64| [1.0, 2.0, 4.0, 8.0, 16.0, 32.0].map(|x| (x, of(x)));
        let fit = |of| {
            let points = points(of);
            FixedCost::fit(&points, &PowerLaw::fit(&points).expect("six points"))
        };
        let line = fit(|x| 3.0 + 2.0 * x).expect("a line");
        assert!((line.fixed - 3.0).abs() < 1e-9 && (line.slope - 2.0).abs() < 1e-9);
        assert!((line.beyond.exponent - 1.0).abs() < 1e-9, "{line:?}");
        // A power is a power: a line is farther from it.
        assert_eq!(fit(|x| x.powf(0.9)), None);
        assert_eq!(fit(|x| x.powf(1.1)), None);
    }

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
