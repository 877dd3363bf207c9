//! Normalisation of values that are off already, and its way back.
//!
//! `xhat = (x - mean) rstd`, with statistics that are off by what x is off and by the roundings of the
//! kernel (`norm::statistics_bound`).

use crate::matrix::Matrix;
use crate::norm::{self, Over, dx_bound, statistics_bound, xhat_bound, y_bound};
use crate::tolerance::gamma as roundings;
use crate::uncertain::Uncertain;

/// Added to every variance.
const EPS: f64 = 1e-5f32 as f64;

/// A value, the statistics of its groups, and `xhat`.
pub(super) struct Normalised {
    over: Over,
    x: Uncertain,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    /// What mean may be off, and rstd relatively.
    errors: Vec<(f64, f64)>,
    xhat: Uncertain,
}

impl Normalised {
    pub(super) fn new(over: Over, x: Uncertain) -> Self {
        let (mean, rstd) = norm::statistics(over, &x.value, EPS);
        // A term meets no more roundings than there are terms.
        let k = over.roundings_of_a_sum(x.value.rows);
        let groups = over.groups(&x.value);
        let off = over.groups(&x.error);
        let errors: Vec<(f64, f64)> = (groups.iter().zip(&off))
            .map(|(group, off)| statistics_bound(group, off, EPS, k.min(group.len())))
            .collect();
        let mut normalised = Self {
            xhat: x.clone(),
            over,
            x,
            mean,
            rstd,
            errors,
        };
        normalised.xhat = Uncertain {
            value: normalised
                .each(|i, j, group| normalised.distance(i, j) * normalised.rstd[group]),
            error: normalised.each(|i, j, group| {
                let errors = normalised.errors_at(i, j);
                xhat_bound(normalised.distance(i, j), normalised.rstd[group], errors)
            }),
        };
        normalised
    }

    /// A matrix from row, column and group.
    fn each(&self, f: impl Fn(usize, usize, usize) -> f64) -> Matrix {
        let Matrix { rows, cols, .. } = self.x.value;
        Matrix::from_fn(rows, cols, |i, j| f(i, j, self.over.group(i, j)))
    }

    /// `x - mean`
    fn distance(&self, i: usize, j: usize) -> f64 {
        self.x.value.at(i, j) - self.mean[self.over.group(i, j)]
    }

    /// What `x - mean` may be off, and rstd relatively.
    fn errors_at(&self, i: usize, j: usize) -> (f64, f64) {
        let (mean, rstd) = self.errors[self.over.group(i, j)];
        (self.x.error.at(i, j) + mean, rstd)
    }

    /// `gamma xhat + beta`
    pub(super) fn scaled(&self, gamma: &[f64], beta: &[f64]) -> Uncertain {
        Uncertain {
            value: norm::apply(
                self.over,
                &self.x.value,
                gamma,
                beta,
                &self.mean,
                &self.rstd,
            ),
            error: self.each(|i, j, group| {
                let (distance, errors) = (self.distance(i, j), self.errors_at(i, j));
                y_bound(distance, gamma[j], beta[j], self.rstd[group], errors)
            }),
        }
    }

    /// The least standard deviation of a group.
    pub(super) fn least_deviation(&self) -> f64 {
        let groups = self.over.groups(&self.x.value);
        let deviations = groups.iter().map(|group| norm::moments(group).1.sqrt());
        deviations.fold(f64::INFINITY, f64::min)
    }

    /// dx, dgamma and dbeta, from dy.
    ///
    /// With `g = dy gamma`, `dx = rstd (g - mean of g - xhat mean of (g xhat))`: each factor is off by
    /// its own error times the others, and the kernel adds its roundings.
    pub(super) fn backward(&self, gamma: &[f64], dy: &Uncertain) -> [Uncertain; 3] {
        let statistics = (self.mean.as_slice(), self.rstd.as_slice());
        let exact = norm::gradients(self.over, &self.x.value, gamma, statistics, &dy.value);
        let rows = dy.value.rows;
        let row = |data: Vec<f64>| Matrix {
            rows: 1,
            cols: data.len(),
            data,
        };
        let xhat_error = |i, j| self.xhat.error.at(i, j);
        let (largest_xhat, largest_dy) = (
            self.each(|i, j, _| self.xhat.value.at(i, j).abs() + xhat_error(i, j)),
            self.each(|i, j, _| dy.value.at(i, j).abs() + dy.error.at(i, j)),
        );
        // A term of dgamma is made in three operations and meets a rounding for each row at most.
        let products = self.each(|i, j, _| {
            let carried = dy.error.at(i, j) * largest_xhat.at(i, j)
                + dy.value.at(i, j).abs() * xhat_error(i, j);
            carried + roundings(rows + 3) * largest_dy.at(i, j) * largest_xhat.at(i, j)
        });
        let sums = |terms: &Matrix| Uncertain::exact(terms.clone()).column_sums().value;
        let dgamma = Uncertain {
            value: row(exact.dgamma),
            error: sums(&products),
        };
        let dbeta = Uncertain {
            value: row(exact.dbeta),
            error: dy.column_sums().error,
        };
        let dx = Uncertain {
            value: exact.dx,
            error: self.dx_error(gamma, dy, (&largest_dy, &largest_xhat)),
        };
        [dx, dgamma, dbeta]
    }

    fn dx_error(
        &self,
        gamma: &[f64],
        dy: &Uncertain,
        (largest_dy, largest_xhat): (&Matrix, &Matrix),
    ) -> Matrix {
        let by_group = |f: &dyn Fn(usize, usize) -> f64| {
            let matrix = self.each(|i, j, _| f(i, j));
            self.over.groups(&matrix)
        };
        let g = by_group(&|i, j| dy.value.at(i, j) * gamma[j]);
        let g_error = by_group(&|i, j| dy.error.at(i, j) * gamma[j].abs());
        let largest_g = by_group(&|i, j| largest_dy.at(i, j) * gamma[j].abs());
        let xhat = self.over.groups(&self.xhat.value);
        let xhat_error = self.over.groups(&self.xhat.error);
        let largest_xhat = self.over.groups(largest_xhat);
        let k = self.over.roundings_of_a_sum(self.x.value.rows);
        let mut errors = Vec::new();
        for group in 0..g.len() {
            let (rstd, (_, rstd_error)) = (self.rstd[group], self.errors[group]);
            let n = g[group].len();
            let mean = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
            let g_mean = mean(&|e| g[group][e]);
            let g_mean_error = mean(&|e| g_error[group][e]);
            let g_xhat = mean(&|e| g[group][e] * xhat[group][e]);
            let g_xhat_error = mean(&|e| {
                g_error[group][e] * largest_xhat[group][e]
                    + g[group][e].abs() * xhat_error[group][e]
            });
            let largest_rstd = rstd * (1.0 + rstd_error);
            let own = dx_bound(
                &largest_g[group],
                &largest_xhat[group],
                largest_rstd,
                k.min(n),
            );
            let of_element = |(e, own): (usize, f64)| {
                let inner = g[group][e] - g_mean - xhat[group][e] * g_xhat;
                let inner_error = g_error[group][e]
                    + g_mean_error
                    + xhat_error[group][e] * (g_xhat.abs() + g_xhat_error)
                    + xhat[group][e].abs() * g_xhat_error;
                largest_rstd * inner_error + rstd * rstd_error * inner.abs() + own
            };
            let own = own.into_iter().enumerate();
            errors.push(own.map(of_element).collect::<Vec<f64>>());
        }
        self.each(|i, j, group| match self.over {
            Over::Rows => errors[group][j],
            Over::Columns => errors[group][i],
        })
    }
}
