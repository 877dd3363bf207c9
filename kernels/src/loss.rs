//! Losses of rows, and their gradients, in one pass over the predictions: softmax cross-entropy
//! here, what treats each element alone in [`pointwise`].
//!
//! # Cross-entropy of a softmax
//! With `max`, `e_j` and `sum = sum_j e_j` of [`crate::softmax`], and `T = sum_j t_j` (1 for a
//! class label):
//!
//! `loss = T ln(sum) + sum_(t_j != 0) t_j (max - x_j)`, `grad_j = scale (T e_j / sum - t_j)`
//!
//! Both terms of the loss are at least 0 where all targets are, so nothing cancels. A target of 0
//! takes no part, whatever its logit: `0 * -inf` counts as 0. What ln needs is put aside and done
//! for [`ROWS`] rows at once.
//!
//! A row without a softmax (NaN, +inf, or -inf alone) has a NaN loss and gradient; a target other
//! than 0 on a logit of -inf has the loss +inf.

pub(crate) mod pointwise;

use pulp::{Simd, WithSimd};

use crate::lanes::{Apart, Row, RowMut, Tail, Together, TogetherMut, load_row, store_row};
use crate::math;
use crate::parts::Divide;
use crate::softmax::{ShortRow, exp_sum, row_max, rows_together};
use crate::view::{MatMut, MatRef};

/// Rows whose logarithms are taken together; a multiple of the lanes of every register.
pub(crate) const ROWS: usize = 64;

/// What the rows of a loss are compared with.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// One class per row.
    Classes(&'a [u32]),
    /// One value per element: probabilities for cross-entropy, values for squared error.
    Values(MatRef<'a>),
}

/// What a row leaves for its loss, `total * ln(sum) + gap`, and its largest logit.
struct RowTerms {
    max: f32,
    sum: f32,
    total: f32,
    gap: f32,
}

/// Softmax cross-entropy of each row, and its gradient.
pub(crate) struct CrossEntropy<'a> {
    pub(crate) logits: MatRef<'a>,
    pub(crate) targets: Targets<'a>,
    pub(crate) scale: f32,
    pub(crate) grad: Option<MatMut<'a>>,
    pub(crate) losses: &'a mut [f32],
}

impl<'a> Divide for CrossEntropy<'a> {
    fn len(&self) -> usize {
        self.losses.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let Self {
            logits,
            targets,
            scale,
            grad,
            losses,
        } = self;
        let cut = |x: MatRef<'a>| {
            let (rows, cols) = (x.rows(), x.cols());
            (x.part(0..at, 0..cols), x.part(at..rows, 0..cols))
        };
        let logits = cut(logits);
        let targets = match targets {
            Targets::Classes(labels) => {
                let (first, second) = labels.split_at(at);
                (Targets::Classes(first), Targets::Classes(second))
            }
            Targets::Values(values) => {
                let (first, second) = cut(values);
                (Targets::Values(first), Targets::Values(second))
            }
        };
        let grad = grad.map(|grad| grad.split_at_row(at)).unzip();
        let losses = losses.split_at_mut(at);
        let part = |logits, targets, grad, losses| Self {
            logits,
            targets,
            scale,
            grad,
            losses,
        };
        (
            part(logits.0, targets.0, grad.0, losses.0),
            part(logits.1, targets.1, grad.1, losses.1),
        )
    }
}

impl WithSimd for CrossEntropy<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self {
            logits,
            targets,
            scale,
            mut grad,
            losses,
        } = self;
        if logits.cols() == 0 {
            losses.fill(0.0);
            return;
        }
        let together = rows_together(logits)
            && grad.as_ref().is_none_or(|g| rows_together(g.as_ref()))
            && match targets {
                Targets::Classes(_) => true,
                Targets::Values(values) => rows_together(values),
            };
        let tail = Tail::of_row(s, logits.cols());
        for (block, losses) in losses.chunks_mut(ROWS).enumerate() {
            let mut sums = [1.0; ROWS];
            let mut totals = [1.0; ROWS];
            let mut gaps = [0.0; ROWS];
            for k in 0..losses.len() {
                let i = block * ROWS + k;
                let values = match targets {
                    Targets::Classes(_) => None,
                    Targets::Values(values) => Some(values),
                };
                let grad_row = grad.as_mut().map(MatMut::reborrow);
                let terms = if together {
                    row_together(s, logits, values, i, tail, scale, grad_row)
                } else {
                    row_apart(logits, values, i, scale, grad_row)
                };
                (sums[k], totals[k], gaps[k]) = (terms.sum, terms.total, terms.gap);
                if let Targets::Classes(classes) = targets {
                    let label = classes[i] as usize;
                    gaps[k] = terms.max - logits.at(i, label);
                    if let Some(grad) = &mut grad {
                        *grad.at_mut(i, label) -= scale;
                    }
                }
            }
            finish(s, &sums, &totals, &mut gaps);
            losses.copy_from_slice(&gaps[..losses.len()]);
        }
    }
}

/// `gaps = totals * ln(sums) + gaps`
#[inline(always)]
fn finish<S: Simd>(s: S, sums: &[f32; ROWS], totals: &[f32; ROWS], gaps: &mut [f32; ROWS]) {
    let (sums, _) = S::as_simd_f32s(sums);
    let (totals, _) = S::as_simd_f32s(totals);
    let (gaps, _) = S::as_mut_simd_f32s(gaps);
    for ((gap, &total), &sum) in gaps.iter_mut().zip(totals).zip(sums) {
        *gap = s.mul_add_e_f32s(total, math::ln(s, sum), *gap);
    }
}

/// Row `i` of matrices whose rows lie together.
#[inline(always)]
fn row_together<S: Simd>(
    s: S,
    logits: MatRef<'_>,
    values: Option<MatRef<'_>>,
    i: usize,
    tail: Tail<S>,
    scale: f32,
    mut grad: Option<MatMut<'_>>,
) -> RowTerms {
    let x = logits.row(i).unwrap_or_default();
    let values = values.and_then(|values| values.row(i));
    let grad = grad.as_mut().and_then(|grad| grad.row_mut(i));
    match x.len().div_ceil(S::F32_LANES) {
        1 => short_row::<S, 1>(s, x, values, tail, scale, grad),
        2 => short_row::<S, 2>(s, x, values, tail, scale, grad),
        _ => {
            let values = values.map(|values| Together::new(values, tail));
            let grad = grad.map(|grad| TogetherMut::new(grad, tail));
            long_row(s, &Together::new(x, tail), values, scale, grad)
        }
    }
}

/// Row `i` of matrices with any strides.
#[inline(always)]
fn row_apart(
    logits: MatRef<'_>,
    values: Option<MatRef<'_>>,
    row: usize,
    scale: f32,
    grad: Option<MatMut<'_>>,
) -> RowTerms {
    let values = values.map(|matrix| Apart { matrix, row });
    let grad = grad.map(|matrix| Apart { matrix, row });
    let logits = Apart {
        matrix: logits,
        row,
    };
    long_row(pulp::Scalar, &logits, values, scale, grad)
}

/// `sum + t (max - x)`, where a target of 0 adds nothing; `shifted` is `x - max`.
#[inline(always)]
fn add_gap<S: Simd>(s: S, sum: S::f32s, t: S::f32s, shifted: S::f32s) -> S::f32s {
    let absent = s.equal_f32s(t, s.splat_f32s(0.0));
    let more = s.negate_mul_add_e_f32s(t, shifted, sum);
    s.select_f32s(absent, sum, more)
}

#[inline(always)]
fn short_row<S: Simd, const REGISTERS: usize>(
    s: S,
    x: &[f32],
    values: Option<&[f32]>,
    tail: Tail<S>,
    scale: f32,
    grad: Option<&mut [f32]>,
) -> RowTerms {
    let row = ShortRow::<S, REGISTERS>::new(s, x, tail);
    let mut result = row.e;
    let (mut total, mut gap) = (1.0, 0.0);
    if let Some(values) = values {
        let t: [S::f32s; REGISTERS] = load_row(s, values, tail, 0.0);
        let (mut totals, mut gaps) = (s.splat_f32s(0.0), s.splat_f32s(0.0));
        for (&t, &shifted) in t.iter().zip(&row.shifted) {
            totals = s.add_f32s(totals, t);
            gaps = add_gap(s, gaps, t, shifted);
        }
        (total, gap) = (s.reduce_sum_f32s(totals), s.reduce_sum_f32s(gaps));
        let factor = s.splat_f32s(total / row.sum);
        for (result, &t) in result.iter_mut().zip(&t) {
            let difference = s.sub_f32s(s.mul_f32s(*result, factor), t);
            *result = s.mul_f32s(difference, s.splat_f32s(scale));
        }
    } else {
        let factor = s.splat_f32s(scale / row.sum);
        for e in &mut result {
            *e = s.mul_f32s(*e, factor);
        }
    }
    if let Some(grad) = grad {
        store_row(s, grad, tail, result);
    }
    RowTerms {
        max: row.max,
        sum: row.sum,
        total,
        gap,
    }
}

#[inline(always)]
fn long_row<S: Simd>(
    s: S,
    x: &impl Row<S>,
    values: Option<impl Row<S>>,
    scale: f32,
    mut grad: Option<impl RowMut<S>>,
) -> RowTerms {
    let max = row_max(s, x);
    let sum = exp_sum(s, x, max, grad.as_mut());
    let (mut total, mut gap) = (1.0, 0.0);
    if let Some(t) = &values {
        let (mut totals, mut gaps) = (s.splat_f32s(0.0), s.splat_f32s(0.0));
        for index in 0..t.registers() {
            let t = t.load(s, index, 0.0);
            let shifted = s.sub_f32s(x.load(s, index, 0.0), s.splat_f32s(max));
            totals = s.add_f32s(totals, t);
            gaps = add_gap(s, gaps, t, shifted);
        }
        (total, gap) = (s.reduce_sum_f32s(totals), s.reduce_sum_f32s(gaps));
    }
    if let Some(grad) = &mut grad {
        for index in 0..x.registers() {
            let e = grad.reader().load(s, index, 0.0);
            let result = match &values {
                Some(t) => {
                    let p = s.mul_f32s(e, s.splat_f32s(total / sum));
                    let difference = s.sub_f32s(p, t.load(s, index, 0.0));
                    s.mul_f32s(difference, s.splat_f32s(scale))
                }
                None => s.mul_f32s(e, s.splat_f32s(scale / sum)),
            };
            grad.store(s, index, result);
        }
    }
    RowTerms {
        max,
        sum,
        total,
        gap,
    }
}
