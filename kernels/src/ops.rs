//! The vector operations of [`Kernels`]: shapes are checked here, then the kernel of the
//! instruction set runs.

use crate::activation::Activation;
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::view::{MatMut, MatRef};

/// What the rows of a loss are compared with.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// One class per row.
    Classes(&'a [u32]),
    /// One value per element: probabilities for cross-entropy, values for squared error.
    Values(MatRef<'a>),
}

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

impl Kernels {
    /// `y = e^x`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn exp(&self, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        same_len("exp", x.len(), y.len())?;
        (self.vector.exp)(x, y);
        Ok(())
    }

    /// `y = act(x)`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn activation_forward(
        &self,
        activation: Activation,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), KernelError> {
        same_len("activation_forward", x.len(), y.len())?;
        (self.vector.activation_forward)(activation, x, y);
        Ok(())
    }

    /// `dx = dy * act'(x)`, the derivative taken from the output `y = act(x)`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn activation_backward(
        &self,
        activation: Activation,
        y: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> Result<(), KernelError> {
        same_len("activation_backward", y.len(), dy.len())?;
        same_len("activation_backward", y.len(), dx.len())?;
        (self.vector.activation_backward)(activation, y, dy, dx);
        Ok(())
    }

    /// `y = softmax(x)` row by row
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes differ.
    pub fn softmax(&self, x: MatRef<'_>, mut y: MatMut<'_>) -> Result<(), KernelError> {
        same_shape("softmax", (x.rows(), x.cols()), (y.rows(), y.cols()))?;
        for i in 0..x.rows() {
            let max = (0..x.cols())
                .map(|j| *x.at(i, j))
                .fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for j in 0..x.cols() {
                let e = (x.at(i, j) - max).exp();
                *y.at_mut(i, j) = e;
                sum += e;
            }
            for j in 0..x.cols() {
                *y.at_mut(i, j) /= sum;
            }
        }
        Ok(())
    }

    /// Softmax cross-entropy of each row, and its gradient.
    ///
    /// With `p = softmax(x)` and targets `t` (one-hot for classes):
    /// `losses_i = -sum_j t_ij log p_ij`, `grad_ij = scale (p_ij sum_k t_ik - t_ij)`.
    /// `grad` may be left out.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes differ, [`KernelError::Label`] for a class out of range.
    pub fn softmax_cross_entropy(
        &self,
        logits: MatRef<'_>,
        targets: Targets<'_>,
        scale: f32,
        mut grad: Option<MatMut<'_>>,
        losses: &mut [f32],
    ) -> Result<(), KernelError> {
        for i in 0..logits.rows() {
            let x = |j| *logits.at(i, j);
            let target = |j| match targets {
                Targets::Classes(classes) => f32::from(classes[i] as usize == j),
                Targets::Values(values) => *values.at(i, j),
            };
            let n = logits.cols();
            let max = (0..n).map(x).fold(f32::NEG_INFINITY, f32::max);
            let log_sum = max + (0..n).map(|j| (x(j) - max).exp()).sum::<f32>().ln();
            let total: f32 = (0..n).map(target).sum();
            losses[i] = (0..n)
                .filter(|&j| target(j) != 0.0)
                .map(|j| target(j) * (log_sum - x(j)))
                .sum();
            if let Some(grad) = &mut grad {
                for j in 0..n {
                    *grad.at_mut(i, j) = scale * ((x(j) - log_sum).exp() * total - target(j));
                }
            }
        }
        Ok(())
    }

    /// Squared error of each row, and its gradient.
    ///
    /// `losses_i = sum_j (x_ij - t_ij)^2`, `grad_ij = 2 scale (x_ij - t_ij)`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes differ.
    pub fn squared_error(
        &self,
        predictions: MatRef<'_>,
        targets: MatRef<'_>,
        scale: f32,
        mut grad: Option<MatMut<'_>>,
        losses: &mut [f32],
    ) -> Result<(), KernelError> {
        for (i, loss) in losses.iter_mut().enumerate().take(predictions.rows()) {
            *loss = 0.0;
            for j in 0..predictions.cols() {
                let d = predictions.at(i, j) - targets.at(i, j);
                *loss += d * d;
                if let Some(grad) = &mut grad {
                    *grad.at_mut(i, j) = 2.0 * scale * d;
                }
            }
        }
        Ok(())
    }

    /// `sums_j = scale * sum_i x_ij`
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
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = scale * (0..x.rows()).map(|i| *x.at(i, j)).sum::<f32>();
        }
        Ok(())
    }

    /// Sum of all elements, in a fixed order.
    pub fn sum(&self, x: &[f32]) -> f32 {
        x.iter().sum()
    }

    /// Sum of the squares of all elements, in a fixed order.
    pub fn sum_squares(&self, x: &[f32]) -> f32 {
        x.iter().map(|x| x * x).sum()
    }

    /// `y += alpha x`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn axpy(&self, alpha: f32, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        same_len("axpy", x.len(), y.len())?;
        (self.vector.axpy)(alpha, x, y);
        Ok(())
    }

    /// One step of stochastic gradient descent, in PyTorch's form.
    ///
    /// `g = grad + weight_decay * w`; without momentum `w -= lr * g`; with it
    /// `v = momentum * v + g`, then `w -= lr * v`, or `w -= lr * (g + momentum * v)` for Nesterov.
    /// `velocity` is left alone when `momentum` is 0, and may then be empty.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn sgd_update(
        &self,
        rule: SgdRule,
        grads: &[f32],
        velocity: &mut [f32],
        params: &mut [f32],
    ) -> Result<(), KernelError> {
        same_len("sgd_update", params.len(), grads.len())?;
        for i in 0..params.len() {
            let g = grads[i] + rule.weight_decay * params[i];
            let step = if rule.momentum == 0.0 {
                g
            } else {
                velocity[i] = rule.momentum * velocity[i] + g;
                if rule.nesterov {
                    g + rule.momentum * velocity[i]
                } else {
                    velocity[i]
                }
            };
            params[i] -= rule.learning_rate * step;
        }
        Ok(())
    }

    /// One step of Adam (Kingma and Ba, 2015), in PyTorch's form.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the lengths differ.
    pub fn adam_update(
        &self,
        rule: AdamRule,
        grads: &[f32],
        first_moment: &mut [f32],
        second_moment: &mut [f32],
        params: &mut [f32],
    ) -> Result<(), KernelError> {
        same_len("adam_update", params.len(), grads.len())?;
        let c1 = 1.0 - rule.beta1.powi(rule.step as i32);
        let c2 = 1.0 - rule.beta2.powi(rule.step as i32);
        for i in 0..params.len() {
            let g = grads[i] + rule.weight_decay * params[i];
            first_moment[i] = rule.beta1 * first_moment[i] + (1.0 - rule.beta1) * g;
            second_moment[i] = rule.beta2 * second_moment[i] + (1.0 - rule.beta2) * g * g;
            let denominator = (second_moment[i] / c2).sqrt() + rule.eps;
            params[i] -= rule.learning_rate * (first_moment[i] / c1) / denominator;
        }
        Ok(())
    }
}

/// Hyperparameters of [`Kernels::sgd_update`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdRule {
    /// Step size.
    pub learning_rate: f32,
    /// Share of the old velocity that is kept; 0 for plain gradient descent.
    pub momentum: f32,
    /// Whether to look ahead along the velocity.
    pub nesterov: bool,
    /// L2 term added to the gradient.
    pub weight_decay: f32,
}

/// Hyperparameters of [`Kernels::adam_update`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamRule {
    /// Step size.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the denominator.
    pub eps: f32,
    /// L2 term added to the gradient.
    pub weight_decay: f32,
    /// Number of this step, counted from 1.
    pub step: u64,
}
