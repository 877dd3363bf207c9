//! Normalisation of each column, over the rows of a batch.
//!
//! # Method
//! Three passes down a strip of columns, which stays in a near cache:
//!
//! 1. `c = sum x / n`, a first mean;
//! 2. `d = sum (x - c) / n` and `q = sum (x - c)^2 / n`: then `mean = c + d`, which takes back what
//!    the first sum lost, and `var = q - d^2` (the corrected two-pass algorithm; T. Chan, G. Golub
//!    and R. LeVeque, *Algorithms for computing the sample variance*, 1983);
//! 3. `y = gamma (x - mean) rstd + beta`, `rstd = 1 / sqrt(var + eps)`.
//!
//! So the error of y is in proportion to the spread of the column, however far from 0 it lies, up
//! to the rounding of the mean itself to one f32.
//!
//! The backward pass takes two: the sums `dbeta = sum dy` and `dgamma = sum dy xhat`, then
//! `dx = gamma rstd (dy - dbeta / n - xhat dgamma / n)`, the derivative through mean and variance too
//! (S. Ioffe and C. Szegedy, *Batch Normalization*, 2015). Statistics that are no function of the
//! batch leave `dx = gamma rstd dy`.

use pulp::{Simd, WithSimd};

use super::columns::{
    Apart, OnColumns, Rows, RowsMut, Terms, Together, add_gradient, each_strip, sums,
};
use super::operands::{Norm, Running, Statistics, StatisticsMut};
use crate::lanes::{Tail, load_row, store_row};
use crate::math;
use crate::parts::Divide;
use crate::softmax::rows_together;
use crate::view::{MatMut, MatRef};

/// Normalises with the statistics of the batch.
pub(crate) struct BatchNorm<'a> {
    pub(crate) x: MatRef<'a>,
    pub(crate) y: MatMut<'a>,
    pub(crate) norm: Norm<'a>,
    pub(crate) saved: StatisticsMut<'a>,
    /// Unbiased.
    pub(crate) var: &'a mut [f32],
}

impl Divide for BatchNorm<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.x.cols()
    }

    #[inline(always)]
    fn split(self, at: usize) -> (Self, Self) {
        let (x, y) = (halves(self.x, at), self.y.split_at_col(at));
        let (norm, saved) = (self.norm.split_at(at), self.saved.split_at(at));
        let var = self.var.split_at_mut(at);
        let first = Self {
            x: x.0,
            y: y.0,
            norm: norm.0,
            saved: saved.0,
            var: var.0,
        };
        let second = Self {
            x: x.1,
            y: y.1,
            norm: norm.1,
            saved: saved.1,
            var: var.1,
        };
        (first, second)
    }
}

/// The columns before `at`, and the others.
#[inline(always)]
pub(super) fn halves(x: MatRef<'_>, at: usize) -> (MatRef<'_>, MatRef<'_>) {
    let (rows, cols) = (0..x.rows(), x.cols());
    (x.part(rows.clone(), 0..at), x.part(rows, at..cols))
}

impl WithSimd for BatchNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        each_strip(s, self);
    }
}

impl OnColumns for BatchNorm<'_> {
    #[inline(always)]
    fn together(&self) -> bool {
        rows_together(self.x) && rows_together(self.y.as_ref())
    }

    #[inline(always)]
    fn strip<S: Simd, const R: usize>(mut self, s: S, tail: Tail<S>) {
        let x = Together {
            matrix: self.x,
            tail,
        };
        let statistics = self.statistics::<S, R>(s, tail, &x);
        let y = Together {
            matrix: self.y,
            tail,
        };
        let affine = Affine::<S, R>::new(s, tail, statistics, self.norm);
        affine.apply(s, self.x.rows(), &x, y);
    }

    #[inline(always)]
    fn column(mut self) {
        let s = pulp::Scalar;
        let (x, tail) = (Apart(self.x), Tail::of_row(s, 1));
        let statistics = self.statistics::<_, 1>(s, tail, &x);
        let affine = Affine::<_, 1>::new(s, tail, statistics, self.norm);
        affine.apply(s, self.x.rows(), &x, Apart(self.y));
    }
}

/// Mean and `1 / sqrt(var + eps)` of some registers of columns.
type Registers<S, const R: usize> = [[<S as Simd>::f32s; R]; 2];

impl BatchNorm<'_> {
    /// Computes the statistics of the columns and writes them where they are to be kept.
    #[inline(always)]
    fn statistics<S: Simd, const R: usize>(
        &mut self,
        s: S,
        tail: Tail<S>,
        x: &impl Rows<S, R>,
    ) -> Registers<S, R> {
        let rows = self.x.rows();
        let share = s.splat_f32s(1.0 / rows as f32);
        let zero = s.splat_f32s(0.0);
        let [mut center, _] = sums(
            s,
            rows,
            &Deviations {
                x,
                center: [zero; R],
            },
        );
        for c in &mut center {
            *c = s.mul_f32s(*c, share);
        }
        let [shift, square] = sums(s, rows, &Deviations { x, center });
        let [mut mean, mut var, mut rstd] = [center, square, center];
        for r in 0..R {
            let shift = s.mul_f32s(shift[r], share);
            mean[r] = s.add_f32s(center[r], shift);
            let square = s.mul_f32s(square[r], share);
            let exact = s.negate_mul_add_e_f32s(shift, shift, square);
            // Rounding may lead below 0; NaN stays NaN.
            var[r] = math::at_least(s, zero, exact);
            let spread = s.sqrt_f32s(s.add_f32s(var[r], s.splat_f32s(self.norm.eps)));
            rstd[r] = s.div_f32s(s.splat_f32s(1.0), spread);
        }
        store_row(s, self.saved.mean, tail, mean);
        store_row(s, self.saved.rstd, tail, rstd);
        let unbiased = s.splat_f32s(rows as f32 / (rows as f32 - 1.0));
        for var in &mut var {
            *var = s.mul_f32s(*var, unbiased);
        }
        store_row(s, self.var, tail, var);
        [mean, rstd]
    }
}

/// `x - center`, and its square.
struct Deviations<'a, X, C> {
    x: &'a X,
    center: C,
}

impl<S: Simd, const R: usize, X: Rows<S, R>> Terms<S, R> for Deviations<'_, X, [S::f32s; R]> {
    #[inline(always)]
    fn add(&self, s: S, i: usize, [sum, square]: &mut [[S::f32s; R]; 2]) {
        let x = self.x.load(s, i);
        for r in 0..R {
            let d = s.sub_f32s(x[r], self.center[r]);
            sum[r] = s.add_f32s(sum[r], d);
            square[r] = s.mul_add_e_f32s(d, d, square[r]);
        }
    }
}

/// `y = factor (x - mean) + beta`, column by column.
struct Affine<S: Simd, const R: usize> {
    mean: [S::f32s; R],
    factor: [S::f32s; R],
    beta: [S::f32s; R],
}

impl<S: Simd, const R: usize> Affine<S, R> {
    #[inline(always)]
    fn new(s: S, tail: Tail<S>, [mean, rstd]: Registers<S, R>, norm: Norm<'_>) -> Self {
        let mut factor: [_; R] = load_row(s, norm.gamma, tail, 0.0);
        for r in 0..R {
            factor[r] = s.mul_f32s(factor[r], rstd[r]);
        }
        let beta = load_row(s, norm.beta, tail, 0.0);
        Self { mean, factor, beta }
    }

    #[inline(always)]
    fn apply(&self, s: S, rows: usize, x: &impl Rows<S, R>, mut y: impl RowsMut<S, R>) {
        for i in 0..rows {
            let mut row = x.load(s, i);
            for (r, x) in row.iter_mut().enumerate() {
                let d = s.sub_f32s(*x, self.mean[r]);
                *x = s.mul_add_e_f32s(d, self.factor[r], self.beta[r]);
            }
            y.store(s, i, row);
        }
    }
}

/// Normalises with statistics that were collected before.
pub(crate) struct BatchNormPredict<'a> {
    pub(crate) x: MatRef<'a>,
    pub(crate) y: MatMut<'a>,
    pub(crate) norm: Norm<'a>,
    pub(crate) running: Running<'a>,
}

impl Divide for BatchNormPredict<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.x.cols()
    }

    #[inline(always)]
    fn split(self, at: usize) -> (Self, Self) {
        let (x, y) = (halves(self.x, at), self.y.split_at_col(at));
        let (norm, running) = (self.norm.split_at(at), self.running.split_at(at));
        let first = Self {
            x: x.0,
            y: y.0,
            norm: norm.0,
            running: running.0,
        };
        let second = Self {
            x: x.1,
            y: y.1,
            norm: norm.1,
            running: running.1,
        };
        (first, second)
    }
}

impl WithSimd for BatchNormPredict<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        each_strip(s, self);
    }
}

impl BatchNormPredict<'_> {
    #[inline(always)]
    fn affine<S: Simd, const R: usize>(&self, s: S, tail: Tail<S>) -> Affine<S, R> {
        let mean = load_row(s, self.running.mean, tail, 0.0);
        let mut rstd: [_; R] = load_row(s, self.running.var, tail, 0.0);
        for rstd in &mut rstd {
            let spread = s.sqrt_f32s(s.add_f32s(*rstd, s.splat_f32s(self.norm.eps)));
            *rstd = s.div_f32s(s.splat_f32s(1.0), spread);
        }
        Affine::new(s, tail, [mean, rstd], self.norm)
    }
}

impl OnColumns for BatchNormPredict<'_> {
    #[inline(always)]
    fn together(&self) -> bool {
        rows_together(self.x) && rows_together(self.y.as_ref())
    }

    #[inline(always)]
    fn strip<S: Simd, const R: usize>(self, s: S, tail: Tail<S>) {
        let affine: Affine<S, R> = self.affine(s, tail);
        let matrix = self.x;
        let y = Together {
            matrix: self.y,
            tail,
        };
        affine.apply(s, matrix.rows(), &Together { matrix, tail }, y);
    }

    #[inline(always)]
    fn column(self) {
        let s = pulp::Scalar;
        let affine: Affine<_, 1> = self.affine(s, Tail::of_row(s, 1));
        affine.apply(s, self.x.rows(), &Apart(self.x), Apart(self.y));
    }
}

/// The backward pass of either.
pub(crate) struct BatchNormBackward<'a> {
    pub(crate) x: MatRef<'a>,
    pub(crate) dy: MatRef<'a>,
    pub(crate) dx: Option<MatMut<'a>>,
    pub(crate) gamma: &'a [f32],
    pub(crate) saved: Statistics<'a>,
    /// Whether mean and rstd are functions of x.
    pub(crate) of_batch: bool,
    pub(crate) dgamma: &'a mut [f32],
    pub(crate) dbeta: &'a mut [f32],
}

impl Divide for BatchNormBackward<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.x.cols()
    }

    #[inline(always)]
    fn split(self, at: usize) -> (Self, Self) {
        let (x, dy) = (halves(self.x, at), halves(self.dy, at));
        let dx = self.dx.map(|dx| dx.split_at_col(at)).unzip();
        let gamma = self.gamma.split_at(at);
        let saved = self.saved.split_at(at);
        let (dgamma, dbeta) = (self.dgamma.split_at_mut(at), self.dbeta.split_at_mut(at));
        let first = Self {
            x: x.0,
            dy: dy.0,
            dx: dx.0,
            gamma: gamma.0,
            saved: saved.0,
            dgamma: dgamma.0,
            dbeta: dbeta.0,
            ..self
        };
        let second = Self {
            x: x.1,
            dy: dy.1,
            dx: dx.1,
            gamma: gamma.1,
            saved: saved.1,
            dgamma: dgamma.1,
            dbeta: dbeta.1,
            ..self
        };
        (first, second)
    }
}

impl WithSimd for BatchNormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        each_strip(s, self);
    }
}

impl OnColumns for BatchNormBackward<'_> {
    #[inline(always)]
    fn together(&self) -> bool {
        let dx = self.dx.as_ref();
        rows_together(self.x)
            && rows_together(self.dy)
            && dx.is_none_or(|dx| rows_together(dx.as_ref()))
    }

    #[inline(always)]
    fn strip<S: Simd, const R: usize>(mut self, s: S, tail: Tail<S>) {
        let dx = self.dx.take().map(|matrix| Together { matrix, tail });
        let x = Together {
            matrix: self.x,
            tail,
        };
        let dy = Together {
            matrix: self.dy,
            tail,
        };
        self.run::<S, R>(s, tail, &x, &dy, dx);
    }

    #[inline(always)]
    fn column(mut self) {
        let (s, dx) = (pulp::Scalar, self.dx.take().map(Apart));
        let (x, dy) = (Apart(self.x), Apart(self.dy));
        self.run::<_, 1>(s, Tail::of_row(s, 1), &x, &dy, dx);
    }
}

impl BatchNormBackward<'_> {
    #[inline(always)]
    fn run<S: Simd, const R: usize>(
        self,
        s: S,
        tail: Tail<S>,
        x: &impl Rows<S, R>,
        dy: &impl Rows<S, R>,
        dx: Option<impl RowsMut<S, R>>,
    ) {
        let rows = self.x.rows();
        let mean = load_row(s, self.saved.mean, tail, 0.0);
        let rstd: [_; R] = load_row(s, self.saved.rstd, tail, 0.0);
        let terms = GradientTerms { x, dy, mean, rstd };
        let [dbeta, dgamma] = sums(s, rows, &terms);
        store_row(s, self.dbeta, tail, dbeta);
        store_row(s, self.dgamma, tail, dgamma);
        let Some(mut dx) = dx else {
            return;
        };
        let share = s.splat_f32s(1.0 / rows as f32);
        let mut factor: [_; R] = load_row(s, self.gamma, tail, 0.0);
        let [mut mean_dy, mut mean_dy_xhat] = [[s.splat_f32s(0.0); R]; 2];
        for r in 0..R {
            factor[r] = s.mul_f32s(factor[r], rstd[r]);
            if self.of_batch {
                mean_dy[r] = s.mul_f32s(dbeta[r], share);
                mean_dy_xhat[r] = s.mul_f32s(dgamma[r], share);
            }
        }
        for i in 0..rows {
            let (x, mut row) = (x.load(s, i), dy.load(s, i));
            for r in 0..R {
                let xhat = s.mul_f32s(s.sub_f32s(x[r], mean[r]), rstd[r]);
                let rest = s.sub_f32s(row[r], mean_dy[r]);
                let rest = s.negate_mul_add_e_f32s(xhat, mean_dy_xhat[r], rest);
                row[r] = s.mul_f32s(factor[r], rest);
            }
            dx.store(s, i, row);
        }
    }
}

/// `dy` and `dy xhat`, with the statistics of each column.
struct GradientTerms<'a, X, D, C> {
    x: &'a X,
    dy: &'a D,
    mean: C,
    rstd: C,
}

impl<S: Simd, const R: usize, X: Rows<S, R>, D: Rows<S, R>> Terms<S, R>
    for GradientTerms<'_, X, D, [S::f32s; R]>
{
    #[inline(always)]
    fn add(&self, s: S, i: usize, [dbeta, dgamma]: &mut [[S::f32s; R]; 2]) {
        let (x, dy) = (self.x.load(s, i), self.dy.load(s, i));
        for r in 0..R {
            let xhat = s.mul_f32s(s.sub_f32s(x[r], self.mean[r]), self.rstd[r]);
            add_gradient(s, dy[r], xhat, &mut dbeta[r], &mut dgamma[r]);
        }
    }
}
