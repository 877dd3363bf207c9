//! Matrices with bounds of their errors: what an f32 computation may be off, carried from one
//! operation to the next.
//!
//! Each operation adds the errors of what it reads, multiplied by its slopes, and its own rounding.
//! Nothing here assumes that errors cancel, so bounds grow with the depth of a network and are far
//! above what is seen; yet a forgotten term or a wrong factor exceeds them by orders of magnitude.

use crate::activation::Activation;
use crate::gemm::product;
use crate::matrix::Matrix;
use crate::tolerance::{self, U};

/// A matrix and the bounds of its errors.
#[derive(Clone, Debug)]
pub struct Uncertain {
    /// What it is.
    pub value: Matrix,
    /// What each element may be off.
    pub error: Matrix,
}

impl Uncertain {
    /// A matrix that f32 has exactly.
    pub fn exact(value: Matrix) -> Self {
        let error = Matrix::zeros(value.rows, value.cols);
        Self { value, error }
    }

    /// `A B`, summed in f32.
    pub fn times(&self, b: &Self) -> Self {
        Self {
            value: product(&self.value, &b.value),
            error: product_error(self, b),
        }
    }

    /// `A + B`, rounded once.
    pub fn plus(&self, b: &Self) -> Self {
        let value = sum(&self.value, &b.value);
        let error = sum(&self.error, &b.error);
        let error = Matrix::from_fn(value.rows, value.cols, |i, j| {
            error.at(i, j) + U * (value.at(i, j).abs() + error.at(i, j))
        });
        Self { value, error }
    }

    /// `m x`, with a factor that is off by u and a product that rounds.
    pub fn masked(&self, mask: &Matrix) -> Self {
        let (rows, cols) = (mask.rows, mask.cols);
        let times = |m: &Matrix| Matrix::from_fn(rows, cols, |i, j| m.at(i, j) * mask.at(i, j));
        let (value, error) = (times(&self.value), times(&self.error));
        let error = Matrix::from_fn(rows, cols, |i, j| {
            let error = error.at(i, j);
            error + 3.0 * U * (value.at(i, j).abs() + error)
        });
        Self { value, error }
    }

    /// The sums of the columns, as a row.
    pub fn column_sums(&self) -> Self {
        let ones = Matrix::from_fn(1, self.value.rows, |_, _| 1.0);
        Self::exact(ones).times(self)
    }

    /// The same elements in so many rows.
    pub fn reshaped(&self, rows: usize) -> Self {
        self.both(|m| Matrix {
            rows,
            cols: m.data.len() / rows,
            data: m.data.clone(),
        })
    }

    /// Rows become columns.
    pub fn transposed(&self) -> Self {
        self.both(Matrix::transposed)
    }

    /// So many columns from `start` on.
    pub fn columns(&self, start: usize, cols: usize) -> Self {
        self.both(|m| Matrix::from_fn(m.rows, cols, |i, j| m.at(i, start + j)))
    }

    /// `[A, B]`
    pub fn beside(&self, b: &Self) -> Self {
        let of = |a: &Matrix, b: &Matrix| {
            Matrix::from_fn(a.rows, a.cols + b.cols, |i, j| match j < a.cols {
                true => a.at(i, j),
                false => b.at(i, j - a.cols),
            })
        };
        Self {
            value: of(&self.value, &b.value),
            error: of(&self.error, &b.error),
        }
    }

    /// The same rearrangement of values and errors.
    fn both(&self, rearranged: impl Fn(&Matrix) -> Matrix) -> Self {
        Self {
            value: rearranged(&self.value),
            error: rearranged(&self.error),
        }
    }
}

/// `A B` of two uncertain matrices, summed in f32: the bounds of its errors.
///
/// `|(A + dA)(B + dB) - A B| <= |A| |dB| + |dA| (|B| + |dB|)`, and the sum itself rounds.
pub fn product_error(a: &Uncertain, b: &Uncertain) -> Matrix {
    let (abs_a, abs_b) = (a.value.map(f64::abs), b.value.map(f64::abs));
    let largest_b = sum(&abs_b, &b.error);
    let carried = sum(&product(&abs_a, &b.error), &product(&a.error, &largest_b));
    let magnitude = product(&sum(&abs_a, &a.error), &largest_b);
    let k = a.value.cols;
    sum(&carried, &magnitude.map(|m| tolerance::gemm(k, m)))
}

fn sum(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::from_fn(a.rows, a.cols, |i, j| a.at(i, j) + b.at(i, j))
}

/// `x W^T + b` with exact weights, `W: out x in`.
pub fn linear(x: &Uncertain, weights: &Matrix, bias: Option<&[f64]>) -> Uncertain {
    let Uncertain { value, error } = x.times(&Uncertain::exact(weights.transposed()));
    let b = |j: usize| bias.map_or(0.0, |bias| bias[j]);
    let (rows, cols) = (value.rows, value.cols);
    let value = Matrix::from_fn(rows, cols, |i, j| value.at(i, j) + b(j));
    let error = Matrix::from_fn(rows, cols, |i, j| {
        error.at(i, j) + 2.0 * U * (value.at(i, j).abs() + b(j).abs())
    });
    Uncertain { value, error }
}

/// `act(s)`
pub fn activated(activation: Activation, sums: &Uncertain) -> Uncertain {
    let value = sums.value.map(|s| activation.apply(s));
    let error = Matrix::from_fn(value.rows, value.cols, |i, j| {
        tolerance::activated(activation, value.at(i, j), sums.error.at(i, j))
    });
    Uncertain { value, error }
}

/// The error of `act'`, taken from an output that is off by `error`.
fn derivative_error(activation: Activation, s: f64, s_error: f64, y: f64, error: f64) -> f64 {
    match activation {
        Activation::Identity => 0.0,
        Activation::Relu | Activation::LeakyRelu(_) => f64::from(u8::from(s.abs() <= s_error)),
        // |d/dy (y - y^2)| <= 1 and |d/dy (1 - y^2)| <= 2 |y|, and two roundings of numbers up to 1.
        Activation::Sigmoid => error + 2.0 * U,
        Activation::Tanh => 2.0 * (y.abs() + error) * error + 2.0 * U,
        // Beside the kink the slope is y + alpha.
        Activation::Elu(alpha) => {
            let alpha = f64::from(alpha);
            let jump = if s.abs() <= s_error {
                (1.0 - alpha).abs()
            } else {
                0.0
            };
            jump + error + U * (1.0 + alpha)
        }
        // |d/dy (1 - e^-y)| <= 1
        Activation::Softplus => error + tolerance::derivative_units(activation) * U,
        // The second derivatives are at most 0.798, 0.797 and 0.5.
        Activation::Gelu | Activation::GeluTanh | Activation::Silu => {
            s_error + tolerance::derivative_units(activation) * U
        }
    }
}

/// `delta = dh * act'(y)`; where an error could carry a sum across the kink of a ReLU, its derivative
/// counts as unknown.
pub fn through_activation(
    activation: Activation,
    dh: &Uncertain,
    sums: &Uncertain,
    outputs: &Uncertain,
) -> Uncertain {
    let (rows, cols) = (dh.value.rows, dh.value.cols);
    let slope = Matrix::from_fn(rows, cols, |i, j| {
        let (s, y) = (sums.value.at(i, j), outputs.value.at(i, j));
        activation.derivative(activation.saved(s, y))
    });
    let value = Matrix::from_fn(rows, cols, |i, j| dh.value.at(i, j) * slope.at(i, j));
    let error = Matrix::from_fn(rows, cols, |i, j| {
        let slope_error = derivative_error(
            activation,
            sums.value.at(i, j),
            sums.error.at(i, j),
            outputs.value.at(i, j),
            outputs.error.at(i, j),
        );
        let (dh, dh_error) = (dh.value.at(i, j).abs(), dh.error.at(i, j));
        slope.at(i, j).abs() * dh_error + (dh + dh_error) * slope_error + U * value.at(i, j).abs()
    });
    Uncertain { value, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64, error: f64) -> Uncertain {
        let single = |x| Matrix::from_fn(1, 1, |_, _| x);
        Uncertain {
            value: single(value),
            error: single(error),
        }
    }

    #[test]
    fn errors_of_a_product_and_a_sum_by_hand() {
        let (a, b) = (one(2.0, 0.5), one(-3.0, 0.25));
        // (2.5)(-3.25) is 2.125 away from (2)(-3).
        let product = a.times(&b);
        assert_eq!(product.value.data, [-6.0]);
        assert!((product.error.data[0] - 2.125).abs() < 1e-5);
        let sum = a.plus(&b);
        assert_eq!(sum.value.data, [-1.0]);
        assert!((sum.error.data[0] - 0.75).abs() < 1e-6);
        let two = a.beside(&b);
        assert_eq!(two.value.data, [2.0, -3.0]);
        assert_eq!(two.columns(1, 1).error.data, [0.25]);
        assert_eq!(two.reshaped(2).column_sums().value.data, [-1.0]);
    }

    #[test]
    fn across_a_kink_the_slope_is_unknown() {
        let dh = one(2.0, 0.0);
        let through = |s: f64, error: f64| {
            let sums = one(s, error);
            let outputs = activated(Activation::Relu, &sums);
            through_activation(Activation::Relu, &dh, &sums, &outputs)
        };
        assert_eq!(through(0.5, 0.25).error.data, [2.0 * U]);
        assert!(through(0.125, 0.25).error.data[0] >= 2.0);
    }
}
