//! Normalisation of each row, over its columns.
//!
//! # Method
//! As for columns ([`super::batch`]): a first mean c, then the sums of `x - c` and of its square,
//! which correct the mean and give the variance; then `y = gamma xhat + beta`. Sums over a row are
//! those of [`crate::reduce`]: several registers side by side, blocks of [`BLOCK`] registers, the
//! blocks in f64.
//!
//! With `g = dy gamma`, the backward pass of a row of n elements is
//!
//! `dx = rstd (g - sum g / n - xhat sum(g xhat) / n)`
//!
//! (J. Ba, J. Kiros and G. Hinton, *Layer Normalization*, 2016); dgamma and dbeta are sums down the
//! columns.

use pulp::{Simd, WithSimd};

use super::batch::halves;
use super::columns;
use super::columns::{OnColumns, Rows, Terms, add_gradient, each_strip, sums};
use super::operands::{Norm, Statistics, StatisticsMut};
use crate::lanes::{Apart, Row, RowMut, Tail, Together, TogetherMut, store_row};
use crate::parts::Divide;
use crate::softmax::rows_together;
use crate::view::{MatMut, MatRef};

/// Registers of a row that are summed before the blocks are.
const BLOCK: usize = 64;

/// Sums that run side by side, so that one addition need not wait for the one before it.
const ACCUMULATORS: usize = 4;

/// Two terms of each element of a row.
trait RowTerms<S: Simd> {
    /// Adds those of register `index` to the sums; they are 0 behind the end of the row.
    fn add(&self, s: S, index: usize, sums: &mut [S::f32s; 2]);
}

/// The sums of two terms over the registers of a row.
#[inline(always)]
fn row_sums<S: Simd>(s: S, registers: usize, terms: &impl RowTerms<S>) -> [f64; 2] {
    let mut totals = [0.0; 2];
    for first in (0..registers).step_by(BLOCK) {
        let end = registers.min(first + BLOCK);
        let mut sums = [[s.splat_f32s(0.0); 2]; ACCUMULATORS];
        let grouped = end - (end - first) % ACCUMULATORS;
        for index in (first..grouped).step_by(ACCUMULATORS) {
            for (r, sums) in sums.iter_mut().enumerate() {
                terms.add(s, index + r, sums);
            }
        }
        for index in grouped..end {
            terms.add(s, index, &mut sums[index - grouped]);
        }
        let [a, b, c, d] = sums;
        for term in 0..2 {
            let sum = s.add_f32s(s.add_f32s(a[term], b[term]), s.add_f32s(c[term], d[term]));
            totals[term] += f64::from(s.reduce_sum_f32s(sum));
        }
    }
    totals
}

/// `x - center`, and its square.
struct Deviations<'a, X> {
    x: &'a X,
    center: f32,
}

impl<S: Simd, X: Row<S>> RowTerms<S> for Deviations<'_, X> {
    #[inline(always)]
    fn add(&self, s: S, index: usize, [sum, square]: &mut [S::f32s; 2]) {
        let x = self.x.load(s, index, self.center);
        let d = s.sub_f32s(x, s.splat_f32s(self.center));
        *sum = s.add_f32s(*sum, d);
        *square = s.mul_add_e_f32s(d, d, *square);
    }
}

/// Mean and `1 / sqrt(var + eps)` of a row of n elements.
#[inline(always)]
fn statistics<S: Simd>(s: S, x: &impl Row<S>, n: usize, eps: f32) -> [f32; 2] {
    let n = n as f64;
    let [sum, _] = row_sums(s, x.registers(), &Deviations { x, center: 0.0 });
    let center = (sum / n) as f32;
    let [shift, square] = row_sums(s, x.registers(), &Deviations { x, center });
    let (shift, square) = (shift / n, square / n);
    let exact = square - shift * shift;
    // Rounding may lead below 0; NaN stays NaN.
    let var = if exact < 0.0 { 0.0 } else { exact };
    let mean = f64::from(center) + shift;
    let rstd = 1.0 / (var + f64::from(eps)).sqrt();
    [mean as f32, rstd as f32]
}

/// Normalises each row.
pub(crate) struct LayerNorm<'a> {
    pub(crate) norm: Norm<'a>,
    pub(crate) x: MatRef<'a>,
    pub(crate) y: MatMut<'a>,
    pub(crate) saved: StatisticsMut<'a>,
}

impl Divide for LayerNorm<'_> {
    fn len(&self) -> usize {
        self.x.rows()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (x, y) = (row_halves(self.x, at), self.y.split_at_row(at));
        let saved = self.saved.split_at(at);
        let first = Self {
            x: x.0,
            y: y.0,
            saved: saved.0,
            ..self
        };
        let second = Self {
            x: x.1,
            y: y.1,
            saved: saved.1,
            ..self
        };
        (first, second)
    }
}

/// The rows before `at`, and the others.
fn row_halves(x: MatRef<'_>, at: usize) -> (MatRef<'_>, MatRef<'_>) {
    let (rows, cols) = (x.rows(), 0..x.cols());
    (x.part(0..at, cols.clone()), x.part(at..rows, cols))
}

impl WithSimd for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let n = self.x.cols();
        if n == 0 {
            return;
        }
        let together = rows_together(self.x) && rows_together(self.y.as_ref());
        let tail = Tail::of_row(s, n);
        let (gamma, beta) = (self.norm.gamma, self.norm.beta);
        let eps = self.norm.eps;
        for i in 0..self.x.rows() {
            let statistics = match (self.x.row(i), self.y.row_mut(i)) {
                (Some(x), Some(y)) if together => {
                    let (gamma, beta) = (Together::new(gamma, tail), Together::new(beta, tail));
                    let mut y = TogetherMut::new(y, tail);
                    normalise(s, eps, n, &Together::new(x, tail), &gamma, &beta, &mut y)
                }
                _ => {
                    let s = pulp::Scalar;
                    let tail = Tail::of_row(s, n);
                    let (gamma, beta) = (Together::new(gamma, tail), Together::new(beta, tail));
                    let (matrix, row) = (self.x, i);
                    let x = Apart { matrix, row };
                    let matrix = self.y.reborrow();
                    normalise(s, eps, n, &x, &gamma, &beta, &mut Apart { matrix, row })
                }
            };
            [self.saved.mean[i], self.saved.rstd[i]] = statistics;
        }
    }
}

/// Normalises one row; gives its mean and `1 / sqrt(var + eps)`.
#[inline(always)]
fn normalise<S: Simd>(
    s: S,
    eps: f32,
    n: usize,
    x: &impl Row<S>,
    gamma: &impl Row<S>,
    beta: &impl Row<S>,
    y: &mut impl RowMut<S>,
) -> [f32; 2] {
    let [mean, rstd] = statistics(s, x, n, eps);
    for index in 0..x.registers() {
        let xhat = standardised(s, x.load(s, index, 0.0), mean, rstd);
        let (gamma, beta) = (gamma.load(s, index, 0.0), beta.load(s, index, 0.0));
        y.store(s, index, s.mul_add_e_f32s(xhat, gamma, beta));
    }
    [mean, rstd]
}

/// `xhat = (x - mean) rstd`
#[inline(always)]
fn standardised<S: Simd>(s: S, x: S::f32s, mean: f32, rstd: f32) -> S::f32s {
    s.mul_f32s(s.sub_f32s(x, s.splat_f32s(mean)), s.splat_f32s(rstd))
}

/// The gradient with respect to x.
pub(crate) struct LayerNormBackward<'a> {
    pub(crate) gamma: &'a [f32],
    pub(crate) x: MatRef<'a>,
    pub(crate) saved: Statistics<'a>,
    pub(crate) dy: MatRef<'a>,
    pub(crate) dx: MatMut<'a>,
}

impl Divide for LayerNormBackward<'_> {
    fn len(&self) -> usize {
        self.x.rows()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (x, dy) = (row_halves(self.x, at), row_halves(self.dy, at));
        let dx = self.dx.split_at_row(at);
        let saved = self.saved.split_at(at);
        let first = Self {
            x: x.0,
            saved: saved.0,
            dy: dy.0,
            dx: dx.0,
            ..self
        };
        let second = Self {
            x: x.1,
            saved: saved.1,
            dy: dy.1,
            dx: dx.1,
            ..self
        };
        (first, second)
    }
}

impl WithSimd for LayerNormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let n = self.x.cols();
        let together =
            rows_together(self.x) && rows_together(self.dy) && rows_together(self.dx.as_ref());
        let tail = Tail::of_row(s, n);
        for i in 0..self.x.rows() {
            let (mean, rstd) = (self.saved.mean[i], self.saved.rstd[i]);
            match (self.x.row(i), self.dy.row(i), self.dx.row_mut(i)) {
                (Some(x), Some(dy), Some(dx)) if together => RowGradient {
                    x: Together::new(x, tail),
                    dy: Together::new(dy, tail),
                    gamma: Together::new(self.gamma, tail),
                    mean,
                    rstd,
                }
                .write(s, n, &mut TogetherMut::new(dx, tail)),
                _ => {
                    let (s, row) = (pulp::Scalar, i);
                    let matrix = self.dx.reborrow();
                    RowGradient {
                        x: Apart {
                            matrix: self.x,
                            row,
                        },
                        dy: Apart {
                            matrix: self.dy,
                            row,
                        },
                        gamma: Together::new(self.gamma, Tail::of_row(s, n)),
                        mean,
                        rstd,
                    }
                    .write(s, n, &mut Apart { matrix, row });
                }
            }
        }
    }
}

/// What the gradient of a row is made of.
struct RowGradient<X, D, G> {
    x: X,
    dy: D,
    gamma: G,
    mean: f32,
    rstd: f32,
}

impl<X, D, G> RowGradient<X, D, G> {
    /// `g = dy gamma`, and xhat; both are 0 behind the end of the row.
    #[inline(always)]
    fn terms<S: Simd>(&self, s: S, index: usize) -> [S::f32s; 2]
    where
        X: Row<S>,
        D: Row<S>,
        G: Row<S>,
    {
        let gamma = self.gamma.load(s, index, 0.0);
        let g = s.mul_f32s(self.dy.load(s, index, 0.0), gamma);
        let x = self.x.load(s, index, self.mean);
        [g, standardised(s, x, self.mean, self.rstd)]
    }

    #[inline(always)]
    fn write<S: Simd>(&self, s: S, n: usize, dx: &mut impl RowMut<S>)
    where
        X: Row<S>,
        D: Row<S>,
        G: Row<S>,
    {
        let registers = self.x.registers();
        let [g_sum, g_xhat_sum] = row_sums(s, registers, self);
        let g_mean = s.splat_f32s((g_sum / n as f64) as f32);
        let g_xhat_mean = s.splat_f32s((g_xhat_sum / n as f64) as f32);
        let rstd = s.splat_f32s(self.rstd);
        for index in 0..registers {
            let [g, xhat] = self.terms(s, index);
            let rest = s.negate_mul_add_e_f32s(xhat, g_xhat_mean, s.sub_f32s(g, g_mean));
            dx.store(s, index, s.mul_f32s(rstd, rest));
        }
    }
}

impl<S: Simd, X: Row<S>, D: Row<S>, G: Row<S>> RowTerms<S> for RowGradient<X, D, G> {
    #[inline(always)]
    fn add(&self, s: S, index: usize, [g_sum, g_xhat_sum]: &mut [S::f32s; 2]) {
        let [g, xhat] = self.terms(s, index);
        *g_sum = s.add_f32s(*g_sum, g);
        *g_xhat_sum = s.mul_add_e_f32s(g, xhat, *g_xhat_sum);
    }
}

/// The gradients with respect to gamma and beta.
pub(crate) struct LayerNormParameters<'a> {
    pub(crate) x: MatRef<'a>,
    pub(crate) saved: Statistics<'a>,
    pub(crate) dy: MatRef<'a>,
    pub(crate) dgamma: &'a mut [f32],
    pub(crate) dbeta: &'a mut [f32],
}

impl Divide for LayerNormParameters<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.x.cols()
    }

    #[inline(always)]
    fn split(self, at: usize) -> (Self, Self) {
        let (x, dy) = (halves(self.x, at), halves(self.dy, at));
        let (dgamma, dbeta) = (self.dgamma.split_at_mut(at), self.dbeta.split_at_mut(at));
        let first = Self {
            x: x.0,
            dy: dy.0,
            dgamma: dgamma.0,
            dbeta: dbeta.0,
            ..self
        };
        let second = Self {
            x: x.1,
            dy: dy.1,
            dgamma: dgamma.1,
            dbeta: dbeta.1,
            ..self
        };
        (first, second)
    }
}

impl WithSimd for LayerNormParameters<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        each_strip(s, self);
    }
}

impl OnColumns for LayerNormParameters<'_> {
    #[inline(always)]
    fn together(&self) -> bool {
        rows_together(self.x) && rows_together(self.dy)
    }

    #[inline(always)]
    fn strip<S: Simd, const R: usize>(self, s: S, tail: Tail<S>) {
        let x = columns::Together {
            matrix: self.x,
            tail,
        };
        let dy = columns::Together {
            matrix: self.dy,
            tail,
        };
        self.run::<S, R>(s, tail, &x, &dy);
    }

    #[inline(always)]
    fn column(self) {
        let (x, dy) = (columns::Apart(self.x), columns::Apart(self.dy));
        let s = pulp::Scalar;
        self.run::<_, 1>(s, Tail::of_row(s, 1), &x, &dy);
    }
}

impl LayerNormParameters<'_> {
    #[inline(always)]
    fn run<S: Simd, const R: usize>(
        self,
        s: S,
        tail: Tail<S>,
        x: &impl Rows<S, R>,
        dy: &impl Rows<S, R>,
    ) {
        let saved = self.saved;
        let terms = GradientTerms { x, dy, saved };
        let [dbeta, dgamma] = sums(s, self.x.rows(), &terms);
        store_row(s, self.dbeta, tail, dbeta);
        store_row(s, self.dgamma, tail, dgamma);
    }
}

/// `dy` and `dy xhat`, with the statistics of each row.
struct GradientTerms<'a, X, D> {
    x: &'a X,
    dy: &'a D,
    saved: Statistics<'a>,
}

impl<S: Simd, const R: usize, X: Rows<S, R>, D: Rows<S, R>> Terms<S, R>
    for GradientTerms<'_, X, D>
{
    #[inline(always)]
    fn add(&self, s: S, i: usize, [dbeta, dgamma]: &mut [[S::f32s; R]; 2]) {
        let (x, dy) = (self.x.load(s, i), self.dy.load(s, i));
        for r in 0..R {
            let xhat = standardised(s, x[r], self.saved.mean[i], self.saved.rstd[i]);
            add_gradient(s, dy[r], xhat, &mut dbeta[r], &mut dgamma[r]);
        }
    }
}
