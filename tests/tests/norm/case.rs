//! A case of normalisation: run, and held against the reference in f64.

use kernels::{
    KernelError, Kernels, MatMut, MatRef, Norm, NormGradients, Statistics, StatisticsMut, Team,
};
use tests::layout::{Guarded, Storage};
use tests::matrix::Matrix;
use tests::norm::{self, Over};
use tests::tolerance::gamma as roundings;
use tests::values::Values;

use crate::common::{view, view_mut};

pub(crate) const EPS: f32 = 1e-5;

pub(crate) fn lay(storage: Storage, x: &Matrix) -> Guarded {
    Guarded::new(storage, x.rows, x.cols, |i, j| x.at(i, j) as f32)
}

pub(crate) fn filled(storage: Storage, rows: usize, cols: usize) -> Guarded {
    Guarded::new(storage, rows, cols, |_, _| 9.0)
}

/// Shapes around one and several registers, and around the blocks of a sum.
pub(crate) fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let narrow = (1..=67).map(|cols| (5, cols));
    narrow.chain([
        (2, 1),
        (2, 130),
        (63, 9),
        (64, 9),
        (65, 17),
        (200, 3),
        (3, 1000),
        (2, 2500),
    ])
}

pub(crate) fn layouts() -> impl Iterator<Item = (Storage, Storage)> {
    let same = Storage::DISTINCT.map(|storage| (storage, storage));
    let rows = Storage::Rows { pad: 0 };
    let mixed = [(rows, Storage::Spread), (Storage::Cols { pad: 3 }, rows)];
    same.into_iter().chain(mixed)
}

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

#[track_caller]
pub(crate) fn assert_close(got: f32, exact: f64, bound: f64, what: &str) {
    let error = (f64::from(got) - exact).abs();
    assert!(
        error <= bound,
        "{what}: {got:e}, expected {exact:e}, {bound:e} allowed"
    );
}

pub(crate) const BOTH: [Over; 2] = [Over::Rows, Over::Columns];

/// Operands of one case.
pub(crate) struct Case {
    pub(crate) over: Over,
    pub(crate) x: Matrix,
    pub(crate) dy: Matrix,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

impl Case {
    pub(crate) fn new(
        over: Over,
        rows: usize,
        cols: usize,
        offset: f64,
        values: &mut Values,
    ) -> Self {
        let x = values
            .matrix(rows, cols)
            .map(|x| f64::from((x + offset) as f32));
        Self {
            over,
            x,
            dy: values.matrix(rows, cols),
            gamma: values.vec(cols),
            beta: values.vec(cols),
        }
    }

    pub(crate) fn groups(&self) -> usize {
        match self.over {
            Over::Rows => self.x.rows,
            Over::Columns => self.x.cols,
        }
    }

    pub(crate) fn norm(&self) -> Norm<'_> {
        Norm {
            gamma: &self.gamma,
            beta: &self.beta,
            eps: EPS,
        }
    }

    pub(crate) fn forward(
        &self,
        k: &Kernels,
        x: MatRef<'_>,
        y: MatMut<'_>,
        team: &Team,
    ) -> Result<[Vec<f32>; 2], KernelError> {
        let [mut mean, mut rstd] = [0, 1].map(|_| vec![9.0; self.groups()]);
        let saved = StatisticsMut {
            mean: &mut mean,
            rstd: &mut rstd,
        };
        match self.over {
            Over::Rows => k.layer_norm(self.norm(), x, y, saved, team),
            Over::Columns => {
                k.batch_norm(self.norm(), x, y, saved, &mut vec![9.0; self.x.cols], team)
            }
        }?;
        Ok([mean, rstd])
    }

    pub(crate) fn backward(
        &self,
        k: &Kernels,
        (x, dy): (MatRef<'_>, MatRef<'_>),
        [mean, rstd]: &[Vec<f32>; 2],
        dx: Option<MatMut<'_>>,
        team: &Team,
    ) -> Result<[Vec<f32>; 2], KernelError> {
        let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![9.0; self.x.cols]);
        let gradients = NormGradients {
            dx,
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        let saved = Statistics { mean, rstd };
        match self.over {
            Over::Rows => k.layer_norm_backward(&self.gamma, x, saved, dy, gradients, team),
            Over::Columns => k.batch_norm_backward(&self.gamma, x, saved, dy, gradients, team),
        }?;
        Ok([dgamma, dbeta])
    }

    pub(crate) fn check_forward(&self, k: &Kernels, from: Storage, to: Storage) {
        let (rows, cols) = (self.x.rows, self.x.cols);
        let what = format!("{:?} {rows} x {cols}, {to:?}, {}", self.over, k.isa());
        let (input, mut y) = (lay(from, &self.x), filled(to, rows, cols));
        let saved = self.forward(k, view(&input), view_mut(&mut y), &Team::solo());
        let [mean, rstd] = saved.expect("fits");
        assert_eq!(y.broken_guard(), None, "{what}");
        let eps = f64::from(EPS);
        let (exact_mean, exact_rstd) = norm::statistics(self.over, &self.x, eps);
        let (gamma, beta) = (wide(&self.gamma), wide(&self.beta));
        let exact = norm::apply(self.over, &self.x, &gamma, &beta, &exact_mean, &exact_rstd);
        let sums = self.over.roundings_of_a_sum(rows);
        let bounds: Vec<(f64, f64)> = (self.over.groups(&self.x).iter())
            .map(|group| norm::statistics_bound(group, &vec![0.0; group.len()], eps, sums))
            .collect();
        for (group, &(mean_bound, relative)) in bounds.iter().enumerate() {
            assert!(relative.is_finite(), "{what}: the variance is lost");
            assert_close(mean[group], exact_mean[group], mean_bound, &what);
            let bound = relative * exact_rstd[group];
            assert_close(rstd[group], exact_rstd[group], bound, &what);
        }
        for i in 0..rows {
            for j in 0..cols {
                let group = self.over.group(i, j);
                let bound = norm::y_bound(
                    self.x.at(i, j) - exact_mean[group],
                    gamma[j],
                    beta[j],
                    exact_rstd[group],
                    bounds[group],
                );
                assert_close(y.at(i, j), exact.at(i, j), bound, &what);
            }
        }
    }

    /// The backward pass as a function of what it is given: x, the statistics, gamma and dy.
    pub(crate) fn check_backward(&self, k: &Kernels, from: Storage, to: Storage) {
        let (rows, cols) = (self.x.rows, self.x.cols);
        let what = format!("{:?} {rows} x {cols}, {to:?}, {}", self.over, k.isa());
        let (mean, rstd) = norm::statistics(self.over, &self.x, f64::from(EPS));
        let saved = [mean, rstd].map(|of| of.iter().map(|&x| x as f32).collect::<Vec<_>>());
        let (x, dy, mut dx) = (
            lay(from, &self.x),
            lay(from, &self.dy),
            filled(to, rows, cols),
        );
        let operands = (view(&x), view(&dy));
        let out = Some(view_mut(&mut dx));
        let with_dx = self
            .backward(k, operands, &saved, out, &Team::solo())
            .expect("fits");
        let alone = self
            .backward(k, operands, &saved, None, &Team::solo())
            .expect("fits");
        assert_eq!(dx.broken_guard(), None, "{what}");

        let gamma = wide(&self.gamma);
        let (mean, rstd) = (wide(&saved[0]), wide(&saved[1]));
        let exact = norm::gradients(self.over, &self.x, &gamma, (&mean, &rstd), &self.dy);
        let xhat = Matrix::from_fn(rows, cols, |i, j| {
            let group = self.over.group(i, j);
            (self.x.at(i, j) - mean[group]) * rstd[group]
        });
        let down = Over::Columns.roundings_of_a_sum(rows);
        for j in 0..cols {
            let terms = |f: &dyn Fn(usize) -> f64| (0..rows).map(|i| f(i).abs()).sum::<f64>();
            let gamma_bound = roundings(down + 3) * terms(&|i| self.dy.at(i, j) * xhat.at(i, j));
            let beta_bound = roundings(down) * terms(&|i| self.dy.at(i, j));
            for [dgamma, dbeta] in [&with_dx, &alone] {
                assert_close(dgamma[j], exact.dgamma[j], gamma_bound, &what);
                assert_close(dbeta[j], exact.dbeta[j], beta_bound, &what);
            }
        }
        let g = Matrix::from_fn(rows, cols, |i, j| self.dy.at(i, j) * gamma[j]);
        let (g, xhat) = (self.over.groups(&g), self.over.groups(&xhat));
        let sums = self.over.roundings_of_a_sum(rows);
        for group in 0..self.groups() {
            let bounds = norm::dx_bound(&g[group], &xhat[group], rstd[group], sums);
            for (place, bound) in bounds.into_iter().enumerate() {
                let (i, j) = match self.over {
                    Over::Rows => (group, place),
                    Over::Columns => (place, group),
                };
                assert_close(dx.at(i, j), exact.dx.at(i, j), bound, &what);
            }
        }
    }
}
