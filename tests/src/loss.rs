//! Softmax and the losses, with their gradients.

use crate::matrix::Matrix;

/// One loss per row, and the derivative of each with respect to its row.
#[derive(Clone, Debug)]
pub struct RowLosses {
    /// Loss of each row.
    pub losses: Vec<f64>,
    /// `d losses_i / d x_ij`
    pub gradient: Matrix,
}

/// `p_j = e^(x_j) / sum_k e^(x_k)`, both divided by `e^max`, which makes overflow impossible.
pub fn softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| (x - max).exp() / sum).collect()
}

/// `log p_j = x_j - max - log sum_k e^(x_k - max)`
pub fn log_softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| x - max - sum.ln()).collect()
}

/// `dx_j = sum_k dy_k dp_k/dx_j` with `dp_k/dx_j = p_k ((k = j) - p_j)`: the Jacobian, element by element.
pub fn softmax_gradient(p: &[f64], dy: &[f64]) -> Vec<f64> {
    let slope = |k: usize, j: usize| p[k] * (f64::from(u8::from(k == j)) - p[j]);
    (0..p.len())
        .map(|j| (0..p.len()).map(|k| dy[k] * slope(k, j)).sum())
        .collect()
}

/// `loss_i = -sum_j t_ij log p_ij` with `p = softmax(x)`; the gradient is `p_ij sum_k t_ik - t_ij`.
///
/// A target of 0 contributes nothing, even where `log p` is minus infinity.
pub fn softmax_cross_entropy(logits: &Matrix, targets: &Matrix) -> RowLosses {
    let mut gradient = Matrix::zeros(logits.rows, logits.cols);
    let losses = (0..logits.rows).map(|i| {
        let (x, t) = (logits.row(i), targets.row(i));
        let total: f64 = t.iter().sum();
        for (j, p) in softmax(x).into_iter().enumerate() {
            gradient.data[i * logits.cols + j] = p * total - t[j];
        }
        let terms = log_softmax(x).into_iter().zip(t);
        -terms
            .filter(|&(_, &t)| t != 0.0)
            .map(|(log_p, t)| t * log_p)
            .sum::<f64>()
    });
    RowLosses {
        losses: losses.collect(),
        gradient,
    }
}

/// Targets for [`softmax_cross_entropy`] with label smoothing e, and weights of classes w and samples
/// s, as PyTorch's `CrossEntropyLoss` defines them: `s_i w_c ((1 - e) t_ic + e / C)`.
pub fn softened(targets: &Matrix, smoothing: f64, classes: &[f64], samples: &[f64]) -> Matrix {
    let count = targets.cols as f64;
    Matrix::from_fn(targets.rows, targets.cols, |i, j| {
        samples[i] * classes[j] * ((1.0 - smoothing) * targets.at(i, j) + smoothing / count)
    })
}

/// Losses of single elements; see [`pointwise`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// `(x - t)^2`
    Squared,
    /// `|x - t|`; its derivative at 0 counts as 0.
    Absolute,
    /// P. Huber, *Robust estimation of a location parameter*, 1964: `(x - t)^2 / 2` within delta of
    /// the target, a straight line that continues it beyond.
    Huber(f64),
    /// `-t ln p - (1 - t) ln(1 - p)` with `p = 1 / (1 + e^-x)`
    Binary,
}

impl Pointwise {
    /// Loss and derivative of one element.
    pub fn of(self, x: f64, t: f64) -> (f64, f64) {
        let d = x - t;
        match self {
            Self::Squared => (d * d, 2.0 * d),
            Self::Absolute if d == 0.0 => (0.0, 0.0),
            Self::Absolute => (d.abs(), d.signum()),
            Self::Huber(delta) if d.abs() <= delta => (d * d / 2.0, d),
            Self::Huber(delta) => (delta * d.abs() - delta * delta / 2.0, delta * d.signum()),
            Self::Binary => {
                // ln p = -ln(1 + e^-x) and ln(1 - p) = -ln(1 + e^x).
                let (minus_ln_p, minus_ln_q) = (softplus(-x), softplus(x));
                let p = if x > 0.0 {
                    1.0 / (1.0 + (-x).exp())
                } else {
                    x.exp() / (1.0 + x.exp())
                };
                (t * minus_ln_p + (1.0 - t) * minus_ln_q, p - t)
            }
        }
    }
}

/// `ln(1 + e^x)`
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `loss_i = sum_j loss(x_ij, t_ij)`, and the derivatives.
pub fn pointwise(loss: Pointwise, predictions: &Matrix, targets: &Matrix) -> RowLosses {
    let (rows, cols) = (predictions.rows, predictions.cols);
    let of = |i, j| loss.of(predictions.at(i, j), targets.at(i, j));
    RowLosses {
        losses: (0..rows)
            .map(|i| (0..cols).map(|j| of(i, j).0).sum())
            .collect(),
        gradient: Matrix::from_fn(rows, cols, |i, j| of(i, j).1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite_diff::derivative;
    use crate::values::Values;
    use approx::assert_abs_diff_eq;

    #[test]
    fn softmax_by_hand() {
        let p = softmax(&[0.0, 2f64.ln(), 5f64.ln()]);
        for (got, expected) in p.iter().zip([0.125, 0.25, 0.625]) {
            assert_abs_diff_eq!(*got, expected, epsilon = 1e-15);
        }
        // Shifts change nothing, even where e^x would overflow; -inf is a probability of 0.
        assert_eq!(softmax(&[1e4, 1e4]), [0.5, 0.5]);
        assert_eq!(softmax(&[f64::NEG_INFINITY, 3.0]), [0.0, 1.0]);
        assert_eq!(log_softmax(&[-1e4, 1e4]), [-2e4, 0.0]);
    }

    #[test]
    fn the_gradient_of_softmax_by_hand_and_by_differences() {
        // Jacobian of (1/4, 3/4): 3/16 on the diagonal, -3/16 beside it.
        assert_eq!(
            softmax_gradient(&[0.25, 0.75], &[1.0, 3.0]),
            [-0.375, 0.375]
        );
        let mut values = Values::new(9);
        let (x, dy) = (values.matrix(1, 6).data, values.matrix(1, 6).data);
        let analytic = softmax_gradient(&softmax(&x), &dy);
        for j in 0..6 {
            let numeric = derivative(x[j], |value| {
                let mut x = x.clone();
                x[j] = value;
                softmax(&x).iter().zip(&dy).map(|(p, dy)| p * dy).sum()
            });
            assert_abs_diff_eq!(analytic[j], numeric, epsilon = 1e-8);
        }
    }

    #[test]
    fn cross_entropy_by_hand() {
        let logits = Matrix::from_fn(2, 2, |i, j| if (i, j) == (0, 1) { 3f64.ln() } else { 0.0 });
        let got = softmax_cross_entropy(&logits, &Matrix::one_hot(&[0, 1], 2));
        assert_abs_diff_eq!(got.losses[0], 4f64.ln(), epsilon = 1e-15);
        assert_abs_diff_eq!(got.losses[1], 2f64.ln(), epsilon = 1e-15);
        for (got, expected) in got.gradient.data.iter().zip([-0.75, 0.75, 0.5, -0.5]) {
            assert_abs_diff_eq!(*got, expected, epsilon = 1e-15);
        }
        let impossible = Matrix::from_fn(1, 2, |_, j| [0.0, f64::NEG_INFINITY][j]);
        let got = softmax_cross_entropy(&impossible, &Matrix::one_hot(&[0], 2));
        assert_eq!(got.losses, [0.0]);
    }

    #[test]
    fn softened_by_hand() {
        let labels = Matrix::one_hot(&[1], 2);
        let soft = softened(&labels, 0.5, &[3.0, 2.0], &[4.0]);
        assert_eq!(soft.data, [3.0, 6.0]);
    }

    #[test]
    fn pointwise_by_hand() {
        let x = Matrix::from_f32(2, 2, &[1.0, 2.0, 0.0, 5.0]);
        let t = Matrix::from_f32(2, 2, &[0.0, 4.0, 0.0, 5.5]);
        for (loss, losses, gradient) in [
            (Pointwise::Squared, [5.0, 0.25], [2.0, -4.0, 0.0, -1.0]),
            (Pointwise::Absolute, [3.0, 0.5], [1.0, -1.0, 0.0, -1.0]),
            // 1/2 and 2 - 1/2; 0.25 / 2.
            (Pointwise::Huber(1.0), [2.0, 0.125], [1.0, -1.0, 0.0, -0.5]),
            // Within 3 of the target all is parabola.
            (Pointwise::Huber(3.0), [2.5, 0.125], [1.0, -2.0, 0.0, -0.5]),
        ] {
            let got = pointwise(loss, &x, &t);
            assert_eq!(got.losses, losses, "{loss:?}");
            assert_eq!(got.gradient.data, gradient, "{loss:?}");
        }
        // p = 3/4 of a logit of ln 3.
        let (loss, slope) = Pointwise::Binary.of(3f64.ln(), 1.0);
        assert_abs_diff_eq!(loss, (4.0f64 / 3.0).ln(), epsilon = 1e-15);
        assert_abs_diff_eq!(slope, -0.25, epsilon = 1e-15);
        let (loss, slope) = Pointwise::Binary.of(3f64.ln(), 0.5);
        let both = 0.5 * (4.0f64 / 3.0).ln() + 0.5 * 4f64.ln();
        assert_abs_diff_eq!(loss, both, epsilon = 1e-15);
        assert_abs_diff_eq!(slope, 0.25, epsilon = 1e-15);
        // Far from 0 it is the logit itself, or what is left of e^x.
        assert_eq!(Pointwise::Binary.of(1e3, 0.0), (1e3, 1.0));
        assert_eq!(Pointwise::Binary.of(-1e3, 0.0), (0.0, 0.0));
    }

    #[test]
    fn gradients_are_those_of_the_losses() {
        let mut values = Values::new(4);
        let (x, t) = (values.matrix(1, 5), values.matrix(1, 5).map(f64::abs));
        let all: [fn(&Matrix, &Matrix) -> RowLosses; 5] = [
            softmax_cross_entropy,
            |x, t| pointwise(Pointwise::Squared, x, t),
            |x, t| pointwise(Pointwise::Absolute, x, t),
            |x, t| pointwise(Pointwise::Huber(0.5), x, t),
            |x, t| pointwise(Pointwise::Binary, x, t),
        ];
        for loss in all {
            let analytic = loss(&x, &t).gradient;
            for j in 0..5 {
                let numeric = derivative(x.data[j], |value| {
                    let mut x = x.clone();
                    x.data[j] = value;
                    loss(&x, &t).losses[0]
                });
                assert_abs_diff_eq!(analytic.data[j], numeric, epsilon = 1e-8);
            }
        }
    }
}
