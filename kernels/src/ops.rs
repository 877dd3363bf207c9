//! The vector operations of [`Kernels`]: shapes are checked here, then the kernel of the
//! instruction set runs.

use crate::activation::Activation;
use crate::counter_rng::{ApplyDropout, Dropout};
use crate::dispatch::Kernels;
use crate::elementwise::{
    ActivationBackward, ActivationForward, Add, Axpy, ErfForward, ExpForward, Scale,
};
use crate::error::KernelError;
use crate::loss::pointwise::{PointwiseLoss, PointwiseLosses, Weighting};
use crate::loss::{self, CrossEntropy, Targets};
use crate::parts::each_piece;
use crate::reduce::{ColumnSums, Max, Sum, SumSquares};
use crate::softmax::{Form, Softmax, SoftmaxBackward};
use crate::team::Team;
use crate::update::{AdamUpdate, MomentumUpdate, RmspropUpdate, SgdUpdate};
use crate::update_rule::{AdamConstants, AdamRule, RmspropRule, SgdRule};
use crate::view::{MatMut, MatRef};

fn same_len(op: &'static str, expected: usize, got: usize) -> Result<(), KernelError> {
    if expected == got {
        return Ok(());
    }
    Err(KernelError::shape(
        op,
        format!("{expected} elements"),
        format!("{got}"),
    ))
}

fn same_shape(
    op: &'static str,
    expected: (usize, usize),
    got: (usize, usize),
) -> Result<(), KernelError> {
    if expected == got {
        return Ok(());
    }
    Err(KernelError::shape(
        op,
        format!("{} x {}", expected.0, expected.1),
        format!("{} x {}", got.0, got.1),
    ))
}

fn check_labels(op: &'static str, labels: &[u32], classes: usize) -> Result<(), KernelError> {
    match labels.iter().position(|&label| label as usize >= classes) {
        None => Ok(()),
        Some(row) => Err(KernelError::Label {
            op,
            row,
            label: labels[row],
            classes,
        }),
    }
}

/// Exponentials that a part of a loss has at least, some five microseconds; and what a row takes beside
/// those of its columns.
const LOSS_GRAIN: usize = 1 << 13;
const LOSS_ROW: usize = 24;

impl Kernels {
    /// `y = e^x`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn exp(&self, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        same_len("exp", x.len(), y.len())?;
        (self.vector.exp)(ExpForward { x, y });
        Ok(())
    }

    /// `y = erf(x) = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x`, within 1.5 units in the last
    /// place.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn erf(&self, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        same_len("erf", x.len(), y.len())?;
        (self.vector.erf)(ErfForward { x, y });
        Ok(())
    }

    /// `y = act(x)`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ, [`KernelError::Parameter`] for a slope or an
    /// alpha outside its range.
    pub fn activation_forward(
        &self,
        activation: Activation,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), KernelError> {
        const OP: &str = "activation_forward";
        activation.check(OP)?;
        same_len(OP, x.len(), y.len())?;
        (self.vector.activation_forward)(ActivationForward { activation, x, y });
        Ok(())
    }

    /// `dx = dy * act'(x)`, the derivative taken from what was saved: input or output, as
    /// [`Activation::derivative_from`] says
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ, [`KernelError::Parameter`] for a slope or an
    /// alpha outside its range.
    pub fn activation_backward(
        &self,
        activation: Activation,
        saved: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> Result<(), KernelError> {
        const OP: &str = "activation_backward";
        activation.check(OP)?;
        same_len(OP, saved.len(), dy.len())?;
        same_len(OP, saved.len(), dx.len())?;
        (self.vector.activation_backward)(ActivationBackward {
            activation,
            saved,
            dy,
            dx,
        });
        Ok(())
    }

    /// `y = softmax(x)` row by row: `y_ij = e^(x_ij) / sum_k e^(x_ik)`
    ///
    /// # Shapes
    /// x and y: the same, any strides; rows whose elements lie together are fast.
    ///
    /// # Complexity
    /// One exponential per element; rows of up to two registers are read once and written once.
    ///
    /// # Numerics
    /// Relative error of a probability, in units of 2^-24: `|x_j - max| + 5 + t`,
    /// `t <= 64 + n / (64 lanes) + log2(lanes)`; below 2^-126 it is 0. No finite logits overflow,
    /// however far apart. A logit of -inf has probability 0; a row with NaN or +inf, or of -inf
    /// alone, gives NaN.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes differ.
    pub fn softmax(&self, x: MatRef<'_>, y: MatMut<'_>) -> Result<(), KernelError> {
        same_shape("softmax", (x.rows(), x.cols()), (y.rows(), y.cols()))?;
        (self.vector.softmax)(Softmax {
            form: Form::Probabilities,
            x,
            y,
        });
        Ok(())
    }

    /// `y = ln softmax(x)` row by row: `y_ij = x_ij - ln sum_k e^(x_ik)`
    ///
    /// # Shapes
    /// x and y: the same, any strides; rows whose elements lie together are fast.
    ///
    /// # Complexity
    /// As [`Self::softmax`].
    ///
    /// # Numerics
    /// The exponentials do not overflow. A logit of -inf gives -inf, and so does a finite one whose
    /// distance to the largest is itself above [`f32::MAX`]; a row with NaN or +inf, or of -inf
    /// alone, gives NaN.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes differ.
    pub fn log_softmax(&self, x: MatRef<'_>, y: MatMut<'_>) -> Result<(), KernelError> {
        same_shape("log_softmax", (x.rows(), x.cols()), (y.rows(), y.cols()))?;
        (self.vector.softmax)(Softmax {
            form: Form::Logarithms,
            x,
            y,
        });
        Ok(())
    }

    /// The gradient through [`Self::softmax`], row by row: `dx_ij = y_ij (dy_ij - sum_k dy_ik y_ik)`
    ///
    /// # Shapes
    /// y, dy and dx: the same, any strides; rows whose elements lie together are fast.
    ///
    /// # Complexity
    /// Two passes over y and dy, 4 flop for each element.
    ///
    /// # Numerics
    /// With D the sum and s that of its terms' absolute values, in units of 2^-24:
    /// `|error| <= y_ij ((t + 1) s + 2 |dy_ij - D|)`, `t <= 64 + n / (64 lanes) + log2(lanes)`.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes differ.
    pub fn softmax_backward(
        &self,
        y: MatRef<'_>,
        dy: MatRef<'_>,
        dx: MatMut<'_>,
    ) -> Result<(), KernelError> {
        const OP: &str = "softmax_backward";
        same_shape(OP, (y.rows(), y.cols()), (dy.rows(), dy.cols()))?;
        same_shape(OP, (y.rows(), y.cols()), (dx.rows(), dx.cols()))?;
        (self.vector.softmax_backward)(SoftmaxBackward { y, dy, dx });
        Ok(())
    }

    /// Softmax cross-entropy of each row, and its gradient.
    ///
    /// With `p = softmax(x)` and targets `t` (one-hot for classes):
    /// `losses_i = -sum_j t_ij log p_ij`, `grad_ij = scale (p_ij sum_k t_ik - t_ij)`.
    /// `grad` may be left out. A target of 0 takes no part, so a logit of -inf may stand there; any
    /// other target on -inf has the loss +inf. A row with NaN or +inf, or of -inf alone, has a NaN
    /// loss and gradient. A row of no columns has the loss 0.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes differ, [`KernelError::Label`] for a class out of range;
    /// nothing has been written then.
    pub fn softmax_cross_entropy(
        &self,
        logits: MatRef<'_>,
        targets: Targets<'_>,
        scale: f32,
        grad: Option<MatMut<'_>>,
        losses: &mut [f32],
    ) -> Result<(), KernelError> {
        self.softmax_cross_entropy_on(logits, targets, scale, grad, losses, &Team::solo())
    }

    /// [`Self::softmax_cross_entropy`] by a team, which shares the rows: the bits are those of one thread.
    ///
    /// # Errors
    /// As [`Self::softmax_cross_entropy`].
    pub fn softmax_cross_entropy_on(
        &self,
        logits: MatRef<'_>,
        targets: Targets<'_>,
        scale: f32,
        grad: Option<MatMut<'_>>,
        losses: &mut [f32],
        team: &Team,
    ) -> Result<(), KernelError> {
        const OP: &str = "softmax_cross_entropy";
        let shape = (logits.rows(), logits.cols());
        same_len(OP, shape.0, losses.len())?;
        if let Some(grad) = &grad {
            same_shape(OP, shape, (grad.rows(), grad.cols()))?;
        }
        match targets {
            Targets::Classes(labels) => {
                same_len(OP, shape.0, labels.len())?;
                check_labels(OP, labels, shape.1)?;
            }
            Targets::Values(values) => same_shape(OP, shape, (values.rows(), values.cols()))?,
        }
        let whole = CrossEntropy {
            logits,
            targets,
            scale,
            grad,
            losses,
        };
        let rows = LOSS_GRAIN / (shape.1 + LOSS_ROW) / loss::ROWS;
        each_piece(team, whole, rows.max(1) * loss::ROWS, &|part| {
            (self.vector.cross_entropy)(part);
        });
        Ok(())
    }

    /// A loss of each row that compares each element with a target of its own, and its gradient.
    ///
    /// `losses_i = w_i sum_j loss(x_ij, t_ij)`, `grad_ij = scale w_i loss'(x_ij, t_ij)`; the formulas
    /// are those of [`PointwiseLoss`], scale and weights (w) those of `weighting`. `grad` may be left
    /// out.
    ///
    /// # Shapes
    /// predictions (x), targets (t) and grad: rows x n, any strides; weights and losses: a value for
    /// each row. Rows whose elements lie together are fast.
    ///
    /// # Complexity
    /// One pass; binary cross-entropy takes two exponentials and a logarithm for each element.
    ///
    /// # Numerics
    /// With the absolute values of the terms in a row summing to s, `|error| <= (n + 12) 2^-24 s` of
    /// a loss. For targets of 0 to 1 no logit up to the largest number overflows. NaN in a row makes
    /// its loss NaN.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes differ, [`KernelError::Parameter`] for a delta outside its
    /// range.
    pub fn pointwise_loss(
        &self,
        loss: PointwiseLoss,
        predictions: MatRef<'_>,
        targets: MatRef<'_>,
        weighting: Weighting<'_>,
        grad: Option<MatMut<'_>>,
        losses: &mut [f32],
    ) -> Result<(), KernelError> {
        const OP: &str = "pointwise_loss";
        loss.check(OP)?;
        let shape = (predictions.rows(), predictions.cols());
        same_len(OP, shape.0, losses.len())?;
        same_shape(OP, shape, (targets.rows(), targets.cols()))?;
        if let Some(weights) = weighting.rows {
            same_len(OP, shape.0, weights.len())?;
        }
        if let Some(grad) = &grad {
            same_shape(OP, shape, (grad.rows(), grad.cols()))?;
        }
        (self.vector.pointwise_loss)(PointwiseLosses {
            loss,
            predictions,
            targets,
            weighting,
            grad,
            losses,
        });
        Ok(())
    }

    /// `sums_j = scale * sum_i x_ij`
    ///
    /// # Shapes
    /// x: rows x n, any strides; sums: n. Rows or columns whose elements lie together are fast.
    ///
    /// # Complexity
    /// Each element is read once and added once; no allocation.
    ///
    /// # Numerics
    /// In an order that depends on the shape, the strides and the instruction set alone;
    /// `|error| <= (66 + rows / 64) 2^-24 |scale| sum_i |x_ij|`.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if `sums` is not as long as `x` is wide.
    pub fn column_sums(
        &self,
        x: MatRef<'_>,
        scale: f32,
        sums: &mut [f32],
    ) -> Result<(), KernelError> {
        same_len("column_sums", x.cols(), sums.len())?;
        (self.vector.column_sums)(ColumnSums { x, scale, sums });
        Ok(())
    }

    /// Sum of all elements, in an order that depends on their number and the instruction set alone.
    ///
    /// `|error| <= 23 * 2^-24 * sum_i |x_i|`
    pub fn sum(&self, x: &[f32]) -> f32 {
        (self.vector.sum)(Sum { x })
    }

    /// Sum of the squares of all elements, in an order and with an error as of [`Self::sum`].
    pub fn sum_squares(&self, x: &[f32]) -> f32 {
        (self.vector.sum_squares)(SumSquares { x })
    }

    /// The largest element; -inf if there is none, NaN if one of them is.
    pub fn max(&self, x: &[f32]) -> f32 {
        (self.vector.max)(Max { x })
    }

    /// `x *= alpha`
    pub fn scale(&self, alpha: f32, x: &mut [f32]) {
        (self.vector.scale)(Scale { alpha, x });
    }

    /// `x = m x / (1 - p)` in place, with the mask of [`Dropout`]: inverted dropout, and its gradient.
    ///
    /// # Shapes
    /// x: rows x n, any strides; rows whose elements lie together are fast.
    ///
    /// # Complexity
    /// Two integer products per element; no memory but x is touched. [`crate::Gemm::dropout`] does it
    /// on the way.
    ///
    /// # Numerics
    /// The factor and the product are rounded once each. The mask has the same bits on every
    /// instruction set.
    pub fn dropout(&self, dropout: Dropout, x: MatMut<'_>) {
        (self.vector.dropout)(ApplyDropout { dropout, x });
    }

    /// `y = a + b`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn add(&self, a: &[f32], b: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        const OP: &str = "add";
        same_len(OP, y.len(), a.len())?;
        same_len(OP, y.len(), b.len())?;
        (self.vector.add)(Add { a, b, y });
        Ok(())
    }

    /// `y += alpha x`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn axpy(&self, alpha: f32, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        same_len("axpy", x.len(), y.len())?;
        (self.vector.axpy)(Axpy { alpha, x, y });
        Ok(())
    }

    /// One step of stochastic gradient descent, in PyTorch's form.
    ///
    /// `g = grad + weight_decay * w`; without momentum `w -= lr * g`; with it
    /// `v = momentum * v + g`, then `w -= lr * v`, or `w -= lr * (g + momentum * v)` for Nesterov.
    /// `velocity` is left alone when `momentum` is 0, and may then be empty.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ, [`KernelError::Parameter`] for a
    /// hyperparameter outside its range.
    pub fn sgd_update(
        &self,
        rule: SgdRule,
        grads: &[f32],
        velocity: &mut [f32],
        params: &mut [f32],
    ) -> Result<(), KernelError> {
        const OP: &str = "sgd_update";
        rule.check(OP)?;
        same_len(OP, params.len(), grads.len())?;
        if rule.momentum == 0.0 {
            (self.vector.sgd)(SgdUpdate {
                rule,
                grads,
                params,
            });
        } else {
            same_len(OP, params.len(), velocity.len())?;
            (self.vector.momentum)(MomentumUpdate {
                rule,
                grads,
                velocity,
                params,
            });
        }
        Ok(())
    }

    /// One step of Adam (Kingma and Ba, 2015), in PyTorch's form; with decoupled decay of AdamW
    /// (Loshchilov and Hutter, 2019).
    ///
    /// `w *= 1 - lr * decoupled_weight_decay`, then with `g = grad + weight_decay * w` of the old w
    /// `m = beta1 * m + (1 - beta1) * g`, `v = beta2 * v + (1 - beta2) * g^2`,
    /// `w -= lr * m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)`.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ, [`KernelError::Parameter`] for a
    /// hyperparameter outside its range.
    pub fn adam_update(
        &self,
        rule: AdamRule,
        grads: &[f32],
        first_moment: &mut [f32],
        second_moment: &mut [f32],
        params: &mut [f32],
    ) -> Result<(), KernelError> {
        const OP: &str = "adam_update";
        rule.check(OP)?;
        same_len(OP, params.len(), grads.len())?;
        same_len(OP, params.len(), first_moment.len())?;
        same_len(OP, params.len(), second_moment.len())?;
        (self.vector.adam)(AdamUpdate {
            constants: AdamConstants::new(rule),
            grads,
            first_moment,
            second_moment,
            params,
        });
        Ok(())
    }

    /// One step of RMSprop (Tieleman and Hinton, 2012), in PyTorch's form.
    ///
    /// With `g = grad + weight_decay * w`: `v = alpha * v + (1 - alpha) * g^2`; if centered,
    /// `m = alpha * m + (1 - alpha) * g`; `d = g / (sqrt(v - m^2) + eps)`, with `m = 0` if not
    /// centered; without momentum `w -= lr * d`, with it `b = momentum * b + d`, then `w -= lr * b`.
    /// `first_moment` (m) is left alone unless `centered`, `velocity` (b) when `momentum` is 0; each
    /// may then be empty.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ, [`KernelError::Parameter`] for a
    /// hyperparameter outside its range.
    pub fn rmsprop_update(
        &self,
        rule: RmspropRule,
        grads: &[f32],
        second_moment: &mut [f32],
        first_moment: &mut [f32],
        velocity: &mut [f32],
        params: &mut [f32],
    ) -> Result<(), KernelError> {
        const OP: &str = "rmsprop_update";
        rule.check(OP)?;
        same_len(OP, params.len(), grads.len())?;
        same_len(OP, params.len(), second_moment.len())?;
        if rule.centered {
            same_len(OP, params.len(), first_moment.len())?;
        }
        if rule.momentum != 0.0 {
            same_len(OP, params.len(), velocity.len())?;
        }
        (self.vector.rmsprop)(RmspropUpdate {
            rule,
            grads,
            second_moment,
            first_moment,
            velocity,
            params,
        });
        Ok(())
    }
}
