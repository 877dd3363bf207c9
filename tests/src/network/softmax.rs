//! Softmax as a layer: values and gradient with the bounds of both.

use crate::loss;
use crate::matrix::Matrix;
use crate::tolerance::{U, gamma};
use crate::uncertain::Uncertain;

/// Relative error of an exponential or a quotient in f32, in units of u, generously.
const FUNCTION_UNITS: f64 = 16.0;

/// A matrix made of rows.
fn rows(cols: usize, rows: impl Iterator<Item = Vec<f64>>) -> Matrix {
    let data: Vec<f64> = rows.flatten().collect();
    Matrix {
        rows: data.len().checked_div(cols).unwrap_or(0),
        cols,
        data,
    }
}

/// `softmax(x)`, row by row.
///
/// Logits that are off by d change a probability by a factor of `e^(2 d)` at most, and the distance of
/// each to the largest is rounded.
pub(super) fn forward(x: &Uncertain) -> Uncertain {
    let (count, cols) = (x.value.rows, x.value.cols);
    let value = rows(cols, (0..count).map(|i| loss::softmax(x.value.row(i))));
    let error = Matrix::from_fn(count, cols, |i, j| {
        let (row, off) = (x.value.row(i), x.error.row(i));
        let off = off.iter().copied().fold(0.0, f64::max);
        let span = row.iter().map(|x| x.abs()).fold(0.0, f64::max);
        let d = off + 2.0 * U * (span + off);
        let own = gamma(cols + 16) + FUNCTION_UNITS * U;
        value.at(i, j) * ((2.0 * d).exp_m1() * (1.0 + own) + own)
    });
    Uncertain { value, error }
}

/// `dx_j = y_j (dy_j - D)` with `D = sum_k dy_k y_k`, row by row.
pub(super) fn backward(y: &Uncertain, dy: &Uncertain) -> Uncertain {
    let (count, cols) = (y.value.rows, y.value.cols);
    let gradient = |i: usize| loss::softmax_gradient(y.value.row(i), dy.value.row(i));
    let value = rows(cols, (0..count).map(gradient));
    let error = rows(
        cols,
        (0..count).map(|i| {
            let at = |m: &Matrix, j: usize| m.at(i, j).abs();
            let terms = |j: usize| {
                (at(&dy.value, j) + at(&dy.error, j)) * (at(&y.value, j) + at(&y.error, j))
            };
            let exact = |j: usize| at(&dy.value, j) * at(&y.value, j);
            let largest: f64 = (0..cols).map(terms).sum();
            let carried: f64 = (0..cols).map(|j| terms(j) - exact(j)).sum();
            let dot: f64 = (0..cols)
                .map(|j| dy.value.at(i, j) * y.value.at(i, j))
                .sum();
            let of_dot = carried + gamma(cols + 4) * largest;
            let one = |j: usize| {
                let centred = (dy.value.at(i, j) - dot).abs();
                let of_centred = at(&dy.error, j) + of_dot;
                let of_centred = of_centred + U * (centred + of_centred);
                let product = (centred + of_centred) * (at(&y.value, j) + at(&y.error, j));
                centred * at(&y.error, j)
                    + of_centred * (at(&y.value, j) + at(&y.error, j))
                    + U * product
            };
            (0..cols).map(one).collect()
        }),
    );
    Uncertain { value, error }
}
