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

/// `loss_i = sum_j (x_ij - t_ij)^2`; the gradient is `2 (x_ij - t_ij)`.
pub fn squared_error(predictions: &Matrix, targets: &Matrix) -> RowLosses {
    let difference = Matrix::from_fn(predictions.rows, predictions.cols, |i, j| {
        predictions.at(i, j) - targets.at(i, j)
    });
    let losses = (0..difference.rows).map(|i| difference.row(i).iter().map(|d| d * d).sum());
    RowLosses {
        losses: losses.collect(),
        gradient: difference.map(|d| 2.0 * d),
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
    fn squared_error_by_hand() {
        let x = Matrix::from_f32(2, 2, &[1.0, 2.0, 0.0, 5.0]);
        let got = squared_error(&x, &Matrix::from_f32(2, 2, &[0.0, 4.0, 0.0, 5.5]));
        assert_eq!(got.losses, [5.0, 0.25]);
        assert_eq!(got.gradient.data, [2.0, -4.0, 0.0, -1.0]);
    }

    #[test]
    fn gradients_are_those_of_the_losses() {
        let mut values = Values::new(4);
        let (x, t) = (values.matrix(1, 5), values.matrix(1, 5).map(f64::abs));
        for loss in [softmax_cross_entropy, squared_error] {
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
