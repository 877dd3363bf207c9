//! Losses that compare each prediction with a target of its own, and their gradients, in one pass.
//!
//! With `d = x - t`, of one element:
//!
//! | | loss | derivative |
//! |---|---|---|
//! | squared | `d^2` | `2 d` |
//! | absolute | `\|d\|` | the sign of d, 0 at 0 |
//! | Huber | `c (\|d\| - c / 2)`, `c = min(\|d\|, delta)` | d, cut off at `-delta` and `delta` |
//! | binary cross-entropy | `\|x\| t' + ln(1 + e^-\|x\|)`, `t' = 1 - t` for x > 0, else t | `sigmoid(x) - t` |
//!
//! Binary cross-entropy is `-t ln p - (1 - t) ln(1 - p)` with `p = sigmoid(x)`, written so that no
//! logit overflows and, for targets of 0 to 1, nothing cancels. P. Huber, 1964, "Robust estimation of
//! a location parameter".

use pulp::{Simd, WithSimd};

use crate::error::{KernelError, Range};
use crate::lanes::{Apart, Row, RowMut, Tail, Together, TogetherMut};
use crate::math;
use crate::softmax::rows_together;
use crate::view::{MatMut, MatRef};

/// How a prediction x is compared with a target t.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PointwiseLoss {
    /// `(x - t)^2`
    Squared,
    /// `|x - t|`; the derivative at 0 is 0.
    Absolute,
    /// `(x - t)^2 / 2` up to a distance of delta, `delta (|x - t| - delta / 2)` beyond.
    Huber {
        /// Where the parabola becomes a line: finite, above 0.
        delta: f32,
    },
    /// `-t ln sigmoid(x) - (1 - t) ln(1 - sigmoid(x))`
    BinaryCrossEntropy,
}

impl PointwiseLoss {
    /// Checks the ranges for the operation `op`.
    pub(crate) fn check(self, op: &'static str) -> Result<(), KernelError> {
        match self {
            Self::Huber { delta } => Range::Positive.check(op, "delta", delta),
            Self::Squared | Self::Absolute | Self::BinaryCrossEntropy => Ok(()),
        }
    }
}

/// What the losses of rows, and their gradients, are multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct Weighting<'a> {
    /// Factor of the gradients alone: 1/B for the gradient of a mean over B rows.
    pub scale: f32,
    /// A weight for each row, of loss and gradient; 1 for all if there are none.
    pub rows: Option<&'a [f32]>,
}

/// The loss of one register of elements.
trait Term: Copy {
    /// A prediction that has a loss of 0 for a target of 0; stands behind the end of a row.
    const PERFECT: f32;

    /// The sum with the losses added, and their derivatives.
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s, t: S::f32s) -> (S::f32s, S::f32s);
}

#[derive(Clone, Copy)]
struct Squared;

impl Term for Squared {
    const PERFECT: f32 = 0.0;

    #[inline(always)]
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s, t: S::f32s) -> (S::f32s, S::f32s) {
        let d = s.sub_f32s(x, t);
        (s.mul_add_e_f32s(d, d, sum), s.add_f32s(d, d))
    }
}

#[derive(Clone, Copy)]
struct Absolute;

impl Term for Absolute {
    const PERFECT: f32 = 0.0;

    #[inline(always)]
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s, t: S::f32s) -> (S::f32s, S::f32s) {
        let d = s.sub_f32s(x, t);
        let size = s.abs_f32s(d);
        let sign = s.or_f32s(s.and_f32s(d, s.splat_f32s(-0.0)), s.splat_f32s(1.0));
        // What is not above 0 is 0, or NaN: both are their own derivative.
        let apart = s.greater_than_f32s(size, s.splat_f32s(0.0));
        (s.add_f32s(sum, size), s.select_f32s(apart, sign, d))
    }
}

#[derive(Clone, Copy)]
struct Huber {
    delta: f32,
}

impl Term for Huber {
    const PERFECT: f32 = 0.0;

    #[inline(always)]
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s, t: S::f32s) -> (S::f32s, S::f32s) {
        let delta = s.splat_f32s(self.delta);
        let d = s.sub_f32s(x, t);
        let size = s.abs_f32s(d);
        let c = math::at_most(s, delta, size);
        let line = s.negate_mul_add_e_f32s(s.splat_f32s(0.5), c, size);
        let slope = math::at_least(s, s.neg_f32s(delta), math::at_most(s, delta, d));
        (s.mul_add_e_f32s(c, line, sum), slope)
    }
}

#[derive(Clone, Copy)]
struct Binary;

impl Term for Binary {
    // So far below 0 that e^x is 0 in f32; times the target 0 it is no number too large.
    const PERFECT: f32 = -1e4;

    #[inline(always)]
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s, t: S::f32s) -> (S::f32s, S::f32s) {
        let zero = s.splat_f32s(0.0);
        let size = s.abs_f32s(x);
        let wrong = s.select_f32s(
            s.greater_than_f32s(x, zero),
            s.sub_f32s(s.splat_f32s(1.0), t),
            t,
        );
        let rest = math::ln_1p(s, math::exp(s, s.neg_f32s(size)));
        let loss = s.mul_add_e_f32s(size, wrong, rest);
        let slope = s.sub_f32s(math::sigmoid(s, x), t);
        (s.add_f32s(sum, loss), slope)
    }
}

/// `losses_i = w_i sum_j loss(x_ij, t_ij)`, `grad_ij = scale w_i loss'(x_ij, t_ij)`; without weights
/// `w_i = 1`.
pub(crate) struct PointwiseLosses<'a> {
    pub(crate) loss: PointwiseLoss,
    pub(crate) predictions: MatRef<'a>,
    pub(crate) targets: MatRef<'a>,
    pub(crate) weighting: Weighting<'a>,
    pub(crate) grad: Option<MatMut<'a>>,
    pub(crate) losses: &'a mut [f32],
}

impl WithSimd for PointwiseLosses<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match self.loss {
            PointwiseLoss::Squared => rows(s, Squared, self),
            PointwiseLoss::Absolute => rows(s, Absolute, self),
            PointwiseLoss::Huber { delta } => rows(s, Huber { delta }, self),
            PointwiseLoss::BinaryCrossEntropy => rows(s, Binary, self),
        }
    }
}

#[inline(always)]
fn rows<S: Simd>(s: S, term: impl Term, call: PointwiseLosses<'_>) {
    let PointwiseLosses {
        predictions,
        targets,
        weighting,
        mut grad,
        losses,
        ..
    } = call;
    let together = rows_together(predictions)
        && rows_together(targets)
        && grad.as_ref().is_none_or(|g| rows_together(g.as_ref()));
    let tail = Tail::of_row(s, predictions.cols());
    for (row, loss) in losses.iter_mut().enumerate() {
        let weight = weighting.rows.map_or(1.0, |weights| weights[row]);
        let scale = weighting.scale * weight;
        let sum = if together {
            let x = Together::new(predictions.row(row).unwrap_or_default(), tail);
            let t = Together::new(targets.row(row).unwrap_or_default(), tail);
            let grad = grad.as_mut().and_then(|grad| grad.row_mut(row));
            let grad = grad.map(|grad| TogetherMut::new(grad, tail));
            one_row(s, term, &x, &t, scale, grad)
        } else {
            let x = Apart {
                matrix: predictions,
                row,
            };
            let t = Apart {
                matrix: targets,
                row,
            };
            let grad = grad.as_mut().map(|grad| Apart {
                matrix: grad.reborrow(),
                row,
            });
            one_row(pulp::Scalar, term, &x, &t, scale, grad)
        };
        *loss = weight * sum;
    }
}

#[inline(always)]
fn one_row<S: Simd, T: Term>(
    s: S,
    term: T,
    x: &impl Row<S>,
    t: &impl Row<S>,
    scale: f32,
    mut grad: Option<impl RowMut<S>>,
) -> f32 {
    let factor = s.splat_f32s(scale);
    let mut sum = s.splat_f32s(0.0);
    for index in 0..x.registers() {
        let (x, t) = (x.load(s, index, T::PERFECT), t.load(s, index, 0.0));
        let slope;
        (sum, slope) = term.add(s, sum, x, t);
        if let Some(grad) = &mut grad {
            grad.store(s, index, s.mul_f32s(slope, factor));
        }
    }
    s.reduce_sum_f32s(sum)
}
