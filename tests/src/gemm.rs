//! `C = alpha A B + beta C`, three loops.

use crate::matrix::Matrix;

/// The product, and what its rounding errors are measured against.
#[derive(Clone, Debug)]
pub struct Product {
    /// `alpha A B + beta C`
    pub value: Matrix,
    /// `|alpha| |A| |B| + |beta| |C|`
    pub magnitude: Matrix,
}

/// `C = alpha A B + beta C`; when beta is 0, C is not read.
///
/// # Panics
/// If the shapes do not fit.
#[track_caller]
pub fn gemm(alpha: f64, a: &Matrix, b: &Matrix, beta: f64, c: &Matrix) -> Product {
    assert_eq!((a.rows, a.cols, b.cols), (c.rows, b.rows, c.cols), "shapes");
    let mut value = Matrix::zeros(c.rows, c.cols);
    let mut magnitude = value.clone();
    for i in 0..c.rows {
        for j in 0..c.cols {
            let (mut sum, mut sum_abs) = (0.0, 0.0);
            for p in 0..a.cols {
                let product = a.data[i * a.cols + p] * b.data[p * b.cols + j];
                sum += product;
                sum_abs += product.abs();
            }
            let at = i * c.cols + j;
            value.data[at] = alpha * sum;
            magnitude.data[at] = alpha.abs() * sum_abs;
            if beta != 0.0 {
                value.data[at] += beta * c.data[at];
                magnitude.data[at] += (beta * c.data[at]).abs();
            }
        }
    }
    Product { value, magnitude }
}

/// `A B`
///
/// # Panics
/// If the shapes do not fit.
#[track_caller]
pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    gemm(1.0, a, b, 0.0, &Matrix::zeros(a.rows, b.cols)).value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, cols: usize, data: &[f32]) -> Matrix {
        Matrix::from_f32(rows, cols, data)
    }

    #[test]
    fn a_product_by_hand() {
        let a = matrix(2, 3, &[1.0, -2.0, 3.0, 4.0, 5.0, -6.0]);
        let b = matrix(3, 2, &[1.0, 0.0, 2.0, -1.0, 3.0, 1.0]);
        // Row 0: 1 - 4 + 9, 0 + 2 + 3. Row 1: 4 + 10 - 18, 0 - 5 - 6.
        assert_eq!(product(&a, &b).data, [6.0, 5.0, -4.0, -11.0]);
        let c = matrix(2, 2, &[1.0, 2.0, 3.0, 4.0]);
        let got = gemm(2.0, &a, &b, -0.5, &c);
        assert_eq!(got.value.data, [11.5, 9.0, -9.5, -24.0]);
        // Row 0: 2 (1 + 4 + 9) + 0.5, 2 (2 + 3) + 1. Row 1: 2 (4 + 10 + 18) + 1.5, 2 (5 + 6) + 2.
        assert_eq!(got.magnitude.data, [28.5, 11.0, 65.5, 24.0]);
    }

    #[test]
    fn beta_zero_ignores_nan_and_empty_k_leaves_beta_c() {
        let (a, b) = (matrix(1, 1, &[2.0]), matrix(1, 1, &[3.0]));
        let nan = matrix(1, 1, &[f32::NAN]);
        assert_eq!(gemm(1.0, &a, &b, 0.0, &nan).value.data, [6.0]);
        let (a, b) = (matrix(1, 0, &[]), matrix(0, 1, &[]));
        let c = matrix(1, 1, &[4.0]);
        assert_eq!(gemm(1.0, &a, &b, 0.5, &c).value.data, [2.0]);
    }
}
