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
//! Rows of up to [`NARROW`] logits, the usual ones, are taken one in each lane of a register: what is added
//! up and compared along a row then needs no step across lanes.
//!
//! A row without a softmax (NaN, +inf, or -inf alone) has a NaN loss and gradient; a target other
//! than 0 on a logit of -inf has the loss +inf.

pub(crate) mod pointwise;

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::lanes::{Apart, Row, RowMut, Tail, Together, TogetherMut};
use crate::math;
use crate::parts::Divide;
use crate::softmax::{exp_sum, row_max, rows_together};
use crate::view::{MatMut, MatRef};

/// Rows whose logarithms are taken together; a multiple of the lanes of every register.
pub(crate) const ROWS: usize = 64;

/// Logits up to which rows are taken one in each lane. On AVX2 (Zen 3) the loss of 64 rows of 6 classes takes
/// 1.57 us so, and 1.86 us row by row; that of 32 rows of 3 classes 0.73 and 1.1 us.
const NARROW: usize = 16;

/// Lanes of the widest register.
const MAX_LANES: usize = 16;

/// What the rows of a loss are compared with.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// One class per row.
    Classes(&'a [u32]),
    /// One value per element: probabilities for cross-entropy, values for squared error.
    Values(MatRef<'a>),
}

/// What [`ROWS`] rows leave for their losses, `total * ln(sum) + gap`, and their largest logits.
struct Terms {
    max: [f32; ROWS],
    sum: [f32; ROWS],
    total: [f32; ROWS],
    gap: [f32; ROWS],
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
        let values = match targets {
            Targets::Classes(_) => None,
            Targets::Values(values) => Some(values),
        };
        let tail = Tail::of_row(s, logits.cols());
        for (block, losses) in losses.chunks_mut(ROWS).enumerate() {
            let rows = block * ROWS..block * ROWS + losses.len();
            let mut terms = Terms {
                max: [0.0; ROWS],
                sum: [1.0; ROWS],
                total: [1.0; ROWS],
                gap: [0.0; ROWS],
            };
            if together && logits.cols() <= NARROW {
                let grad = grad.as_mut().map(MatMut::reborrow);
                narrow_rows(s, logits, values, rows.clone(), scale, grad, &mut terms);
            } else {
                for (k, i) in rows.clone().enumerate() {
                    let grad = grad.as_mut().map(MatMut::reborrow);
                    let row = if together {
                        row_together(s, logits, values, i, tail, scale, grad)
                    } else {
                        row_apart(logits, values, i, scale, grad)
                    };
                    [terms.max[k], terms.sum[k], terms.total[k], terms.gap[k]] = row;
                }
            }
            if let Targets::Classes(classes) = targets {
                for (k, i) in rows.enumerate() {
                    let label = classes[i] as usize;
                    terms.gap[k] = terms.max[k] - logits.at(i, label);
                    if let Some(grad) = &mut grad {
                        *grad.at_mut(i, label) -= scale;
                    }
                }
            }
            finish(s, &mut terms);
            losses.copy_from_slice(&terms.gap[..losses.len()]);
        }
    }
}

/// `gap = total * ln(sum) + gap`
#[inline(always)]
fn finish<S: Simd>(s: S, terms: &mut Terms) {
    let (sums, _) = S::as_simd_f32s(&terms.sum);
    let (totals, _) = S::as_simd_f32s(&terms.total);
    let (gaps, _) = S::as_mut_simd_f32s(&mut terms.gap);
    for ((gap, &total), &sum) in gaps.iter_mut().zip(totals).zip(sums) {
        *gap = s.mul_add_e_f32s(total, math::ln(s, sum), *gap);
    }
}

/// Some rows of matrices of at most [`NARROW`] columns whose rows lie together.
#[inline(always)]
fn narrow_rows<S: Simd>(
    s: S,
    logits: MatRef<'_>,
    values: Option<MatRef<'_>>,
    rows: Range<usize>,
    scale: f32,
    mut grad: Option<MatMut<'_>>,
    terms: &mut Terms,
) {
    let (n, lanes) = (logits.cols(), S::F32_LANES);
    // Columns, a register of each; what lanes without a row hold goes nowhere.
    let mut columns = [0.0; NARROW * MAX_LANES];
    let mut targets = [0.0; NARROW * MAX_LANES];
    let (columns, targets) = (&mut columns[..n * lanes], &mut targets[..n * lanes]);
    for (turn, first) in rows.clone().step_by(lanes).enumerate() {
        let rows = first..rows.end.min(first + lanes);
        load_columns(logits, rows.clone(), lanes, columns);
        let (e, _) = S::as_mut_simd_f32s(columns);
        let mut max = e[0];
        for &x in &e[1..] {
            max = s.max_f32s(max, x);
        }
        let mut sum = s.splat_f32s(0.0);
        let (mut total, mut gap) = (s.splat_f32s(1.0), s.splat_f32s(0.0));
        if let Some(values) = values {
            load_columns(values, rows.clone(), lanes, targets);
            let (targets, _) = S::as_simd_f32s(targets);
            total = s.splat_f32s(0.0);
            for (e, &t) in e.iter().zip(targets) {
                total = s.add_f32s(total, t);
                gap = add_gap(s, gap, t, s.sub_f32s(*e, max));
            }
        }
        for e in e.iter_mut() {
            *e = math::exp(s, s.sub_f32s(*e, max));
            sum = s.add_f32s(sum, *e);
        }
        if let Some(grad) = &mut grad {
            let scale = s.splat_f32s(scale);
            if values.is_some() {
                let (targets, _) = S::as_simd_f32s(targets);
                let factor = s.div_f32s(total, sum);
                for (e, &t) in e.iter_mut().zip(targets) {
                    *e = s.mul_f32s(s.sub_f32s(s.mul_f32s(*e, factor), t), scale);
                }
            } else {
                let factor = s.div_f32s(scale, sum);
                for e in e.iter_mut() {
                    *e = s.mul_f32s(*e, factor);
                }
            }
            for (k, i) in rows.enumerate() {
                let row = grad.row_mut(i).unwrap_or_default();
                for (g, column) in row.iter_mut().zip(columns.chunks_exact(lanes)) {
                    *g = column[k];
                }
            }
        }
        for (all, of_rows) in [
            (&mut terms.max, max),
            (&mut terms.sum, sum),
            (&mut terms.total, total),
            (&mut terms.gap, gap),
        ] {
            S::as_mut_simd_f32s(all).0[turn] = of_rows;
        }
    }
}

/// `columns[j][k] = x_kj` of the given rows, as many lanes to a column.
#[inline(always)]
fn load_columns(x: MatRef<'_>, rows: Range<usize>, lanes: usize, columns: &mut [f32]) {
    for (k, i) in rows.enumerate() {
        let row = x.row(i).unwrap_or_default();
        for (column, &x) in columns.chunks_exact_mut(lanes).zip(row) {
            column[k] = x;
        }
    }
}

/// Row `i` of matrices whose rows lie together: largest logit, sum, total and gap, as in [`Terms`].
#[inline(always)]
fn row_together<S: Simd>(
    s: S,
    logits: MatRef<'_>,
    values: Option<MatRef<'_>>,
    i: usize,
    tail: Tail<S>,
    scale: f32,
    mut grad: Option<MatMut<'_>>,
) -> [f32; 4] {
    let x = logits.row(i).unwrap_or_default();
    let values = values.and_then(|values| values.row(i));
    let values = values.map(|values| Together::new(values, tail));
    let grad = grad.as_mut().and_then(|grad| grad.row_mut(i));
    let grad = grad.map(|grad| TogetherMut::new(grad, tail));
    long_row(s, &Together::new(x, tail), values, scale, grad)
}

/// Row `i` of matrices with any strides.
#[inline(always)]
fn row_apart(
    logits: MatRef<'_>,
    values: Option<MatRef<'_>>,
    row: usize,
    scale: f32,
    grad: Option<MatMut<'_>>,
) -> [f32; 4] {
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
fn long_row<S: Simd>(
    s: S,
    x: &impl Row<S>,
    values: Option<impl Row<S>>,
    scale: f32,
    mut grad: Option<impl RowMut<S>>,
) -> [f32; 4] {
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
    [max, sum, total, gap]
}
