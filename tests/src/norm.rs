//! Normalisation of groups of elements, the rows or the columns of a matrix, and its derivative; with
//! the bounds for what an f32 kernel gives.

use crate::matrix::Matrix;
use crate::tolerance::{U, gamma as roundings};

/// What shares a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The elements of each row: layer normalisation.
    Rows,
    /// The elements of each column: batch normalisation.
    Columns,
}

impl Over {
    /// The group of element (i, j).
    pub fn group(self, i: usize, j: usize) -> usize {
        match self {
            Self::Rows => i,
            Self::Columns => j,
        }
    }

    /// The groups of a matrix, element by element.
    pub fn groups(self, x: &Matrix) -> Vec<Vec<f64>> {
        let x = match self {
            Self::Rows => x.clone(),
            Self::Columns => x.transposed(),
        };
        (0..x.rows).map(|i| x.row(i).to_vec()).collect()
    }

    /// Roundings that a term of a sum over a group may meet: for a row, 16 in one of four sums, seven
    /// when those and the lanes of a register are added up, and one more; for a column, those of a
    /// block of 64 rows and one for each block.
    pub fn roundings_of_a_sum(self, rows: usize) -> usize {
        match self {
            Self::Rows => 25,
            Self::Columns => 66 + rows / 64,
        }
    }
}

/// Mean and variance (`sum (x - mean)^2 / n`) of a group.
pub fn moments(group: &[f64]) -> (f64, f64) {
    let n = group.len() as f64;
    let mean = group.iter().sum::<f64>() / n;
    let var = group.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    (mean, var)
}

/// `y_ij = gamma_j (x_ij - mean) rstd + beta_j`
pub fn apply(
    over: Over,
    x: &Matrix,
    gamma: &[f64],
    beta: &[f64],
    mean: &[f64],
    rstd: &[f64],
) -> Matrix {
    Matrix::from_fn(x.rows, x.cols, |i, j| {
        let group = over.group(i, j);
        gamma[j] * (x.at(i, j) - mean[group]) * rstd[group] + beta[j]
    })
}

/// Mean and `1 / sqrt(var + eps)` of each group.
pub fn statistics(over: Over, x: &Matrix, eps: f64) -> (Vec<f64>, Vec<f64>) {
    let of_group = |group: &Vec<f64>| {
        let (mean, var) = moments(group);
        (mean, 1.0 / (var + eps).sqrt())
    };
    over.groups(x).iter().map(of_group).unzip()
}

/// The gradients of [`apply`], the statistics being functions of x.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// With respect to x.
    pub dx: Matrix,
    /// With respect to gamma.
    pub dgamma: Vec<f64>,
    /// With respect to beta.
    pub dbeta: Vec<f64>,
}

/// `dx = rstd (g - mean of g - xhat mean of (g xhat))` with `g = dy gamma`, the means over a group;
/// `dgamma_j = sum_i dy_ij xhat_ij`, `dbeta_j = sum_i dy_ij`.
pub fn gradients(
    over: Over,
    x: &Matrix,
    gamma: &[f64],
    (mean, rstd): (&[f64], &[f64]),
    dy: &Matrix,
) -> Gradients {
    let xhat = Matrix::from_fn(x.rows, x.cols, |i, j| {
        let group = over.group(i, j);
        (x.at(i, j) - mean[group]) * rstd[group]
    });
    let g = Matrix::from_fn(x.rows, x.cols, |i, j| dy.at(i, j) * gamma[j]);
    let product =
        |a: &Matrix, b: &Matrix| Matrix::from_fn(x.rows, x.cols, |i, j| a.at(i, j) * b.at(i, j));
    let means = |of: &Matrix| -> Vec<f64> {
        let groups = over.groups(of);
        groups.iter().map(|group| moments(group).0).collect()
    };
    let (g_mean, g_xhat_mean) = (means(&g), means(&product(&g, &xhat)));
    let column_sums = |of: &Matrix| -> Vec<f64> {
        let columns = of.transposed();
        (0..of.cols).map(|j| columns.row(j).iter().sum()).collect()
    };
    Gradients {
        dx: Matrix::from_fn(x.rows, x.cols, |i, j| {
            let group = over.group(i, j);
            rstd[group] * (g.at(i, j) - g_mean[group] - xhat.at(i, j) * g_xhat_mean[group])
        }),
        dgamma: column_sums(&product(dy, &xhat)),
        dbeta: column_sums(dy),
    }
}

/// How far mean and `1 / sqrt(var + eps)` of a group may be off in f32, whose elements are off by
/// `off`: the first absolutely, the second relatively.
///
/// Elements that are off by e move the mean by the mean of e. With d the distances from the mean,
/// whose sum is 0, they move the variance by at most twice the mean of |d e|, and the mean of e^2.
///
/// The kernel takes a first mean c, then corrects it by the mean of `x - c`, and the variance by the
/// square of that. With k roundings in a sum, c is off by `gamma_(k+2)` of the mean of |x|, its
/// correction by `gamma_(k+3)` of the mean of `|x - c|`, and the corrected mean is rounded once.
///
/// Where the elements are so far off, or the mean so far from 0, that nothing is certain of the
/// variance, the second is infinite.
pub fn statistics_bound(group: &[f64], off: &[f64], eps: f64, k: usize) -> (f64, f64) {
    let n = group.len() as f64;
    let (mean, var) = moments(group);
    let mean_of = |f: &dyn Fn(f64, f64) -> f64| {
        let terms = group.iter().zip(off).map(|(&x, &e)| f(x, e));
        terms.sum::<f64>() / n
    };
    let moved = mean_of(&|_, e| e);
    let var_moved = mean_of(&|x, e| (2.0 * (x - mean).abs() + e) * e);
    let first = roundings(k + 2) * mean_of(&|x, e| x.abs() + e);
    let spread = mean_of(&|x, e| (x - mean).abs() + e) + moved + first;
    let shift = roundings(k + 3) * spread;
    let mean_error = moved + shift + U * (mean.abs() + moved + shift);
    // The mean of (x - c)^2 is var + (mean - c)^2; its correction is the square of what the mean was
    // corrected by.
    let square = var + var_moved + first * first;
    let correction = first + shift;
    let var_error = var_moved
        + roundings(k + 5) * square
        + 2.0 * correction * shift
        + shift * shift
        + roundings(3) * (square + correction * correction);
    let relative = var_error / (var + eps);
    // |(1 + r)^(-1/2) - 1| <= 3/4 |r| for |r| <= 1/4.
    let rstd_error = match relative < 0.25 {
        true => 0.75 * relative + roundings(4),
        false => f64::INFINITY,
    };
    (mean_error, rstd_error)
}

/// How far `(x - mean) rstd` may be off, given what the difference is off by, and rstd relatively.
pub fn xhat_bound(distance: f64, rstd: f64, (error, rstd_relative): (f64, f64)) -> f64 {
    rstd * (1.0 + rstd_relative) * error
        + rstd * (distance.abs() + error) * (rstd_relative + roundings(4))
}

/// How far `gamma (x - mean) rstd + beta` may be off, given what `x - mean` and rstd are off by: at
/// most five roundings besides.
pub fn y_bound(distance: f64, gamma: f64, beta: f64, rstd: f64, errors: (f64, f64)) -> f64 {
    gamma.abs() * xhat_bound(distance, rstd, errors) * (1.0 + roundings(4))
        + roundings(2) * (gamma.abs() * rstd * distance.abs() + beta.abs())
}

/// How far each dx of a group may be off, from `g = dy gamma` and xhat of the group.
///
/// The two means are off by the roundings of their sums (k each, and six in making and dividing the
/// terms); what they are subtracted from, by eight roundings of all that is there.
pub fn dx_bound(g: &[f64], xhat: &[f64], rstd: f64, k: usize) -> Vec<f64> {
    let n = g.len() as f64;
    let g_mean = g.iter().map(|g| g.abs()).sum::<f64>() / n;
    let products = g.iter().zip(xhat).map(|(g, xhat)| (g * xhat).abs());
    let g_xhat_mean = products.sum::<f64>() / n;
    let of_element = |(g, xhat): (&f64, &f64)| {
        let means = g_mean + xhat.abs() * g_xhat_mean;
        rstd * (roundings(k + 6) * means + roundings(8) * (g.abs() + means))
    };
    g.iter().zip(xhat).map(of_element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite_diff::derivative;
    use crate::values::Values;
    use approx::assert_abs_diff_eq;

    #[test]
    fn columns_by_hand() {
        // Columns 1, 3 and 2, 10: means 2 and 6, variances 1 and 16.
        let x = Matrix::from_f32(2, 2, &[1.0, 2.0, 3.0, 10.0]);
        let (mean, rstd) = statistics(Over::Columns, &x, 0.0);
        assert_eq!(
            (mean.as_slice(), rstd.as_slice()),
            (&[2.0, 6.0][..], &[1.0, 0.25][..])
        );
        let y = apply(Over::Columns, &x, &[1.0, 2.0], &[0.0, 10.0], &mean, &rstd);
        assert_eq!(y.data, [-1.0, 8.0, 1.0, 12.0]);
        let dy = Matrix::from_f32(2, 2, &[1.0, 0.0, 1.0, 4.0]);
        let got = gradients(Over::Columns, &x, &[1.0, 2.0], (&mean, &rstd), &dy);
        assert_eq!(got.dbeta, [2.0, 4.0]);
        assert_eq!(got.dgamma, [0.0, 4.0]);
        // Two elements can only be apart or not: nothing else comes through to x.
        assert_eq!(got.dx.data, [0.0; 4]);
    }

    #[test]
    fn rows_by_hand() {
        let x = Matrix::from_f32(1, 3, &[0.0, 0.0, 3.0]);
        let (mean, rstd) = statistics(Over::Rows, &x, 2.0);
        assert_eq!((mean.as_slice(), rstd.as_slice()), (&[1.0][..], &[0.5][..]));
        let y = apply(Over::Rows, &x, &[2.0; 3], &[1.0; 3], &mean, &rstd);
        assert_eq!(y.data, [0.0, 0.0, 3.0]);
    }

    #[test]
    fn gradients_are_those_of_a_weighted_sum() {
        let mut values = Values::new(31);
        let (x, dy) = (values.matrix(5, 4), values.matrix(5, 4));
        let (gamma, beta) = (values.matrix(1, 4).data, values.matrix(1, 4).data);
        let eps = 0.01;
        for over in [Over::Rows, Over::Columns] {
            let loss = |x: &Matrix, gamma: &[f64], beta: &[f64]| -> f64 {
                let (mean, rstd) = statistics(over, x, eps);
                let y = apply(over, x, gamma, beta, &mean, &rstd);
                y.data.iter().zip(&dy.data).map(|(y, dy)| y * dy).sum()
            };
            let (mean, rstd) = statistics(over, &x, eps);
            let got = gradients(over, &x, &gamma, (&mean, &rstd), &dy);
            for k in 0..x.data.len() {
                let numeric = derivative(x.data[k], |value| {
                    let mut x = x.clone();
                    x.data[k] = value;
                    loss(&x, &gamma, &beta)
                });
                assert_abs_diff_eq!(got.dx.data[k], numeric, epsilon = 1e-7);
            }
            for j in 0..4 {
                let with = |of: &[f64], value| {
                    let mut changed = of.to_vec();
                    changed[j] = value;
                    changed
                };
                let numeric = derivative(gamma[j], |g| loss(&x, &with(&gamma, g), &beta));
                assert_abs_diff_eq!(got.dgamma[j], numeric, epsilon = 1e-7);
                let numeric = derivative(beta[j], |b| loss(&x, &gamma, &with(&beta, b)));
                assert_abs_diff_eq!(got.dbeta[j], numeric, epsilon = 1e-7);
            }
        }
    }

    #[test]
    fn the_bounds_are_small_and_grow_with_the_distance_from_zero() {
        let near: Vec<f64> = Values::new(32).matrix(1, 100).data;
        let far: Vec<f64> = near.iter().map(|x| x + 1000.0).collect();
        let (near, far) = (
            statistics_bound(&near, &[0.0; 100], 1e-5, 25),
            statistics_bound(&far, &[0.0; 100], 1e-5, 25),
        );
        assert!(near.0 < 2e-6 && near.1 < 5e-6, "{near:?}");
        // The rounding of the mean itself, 6e-5, and little else.
        assert!(far.0 > 5e-5 && far.0 < 7e-5 && far.1 < 1e-4, "{far:?}");
    }
}
