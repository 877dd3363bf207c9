//! Scaled dot-product attention and its derivative, three loops at a time, for sequences and heads;
//! with the bounds for what f32 kernels give.

use crate::matrix::Matrix;
use crate::tolerance::{U, gamma as roundings};

/// Sequences one after the other, heads side by side: q, k, v are `batch * T x width`.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Queries.
    pub q: Matrix,
    /// Keys.
    pub k: Matrix,
    /// Values.
    pub v: Matrix,
    /// Number of sequences.
    pub batch: usize,
    /// Number of heads.
    pub heads: usize,
    /// Whether a row sees no row behind it.
    pub causal: bool,
    /// Rows of each sequence that can be seen.
    pub lengths: Vec<usize>,
}

/// What attention gives, and how far f32 may be off.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// `batch * T x width`
    pub o: Matrix,
    /// `ln sum e^score` of each row of each sequence and head: sequences, heads, rows.
    pub lse: Vec<f64>,
    /// Bound for each element of o.
    pub o_bound: Matrix,
    /// Bound for each element of lse.
    pub lse_bound: Vec<f64>,
}

/// The gradients with respect to q, k and v, each with its bound.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// dq, dk, dv.
    pub values: [Matrix; 3],
    /// Bound for each element.
    pub bounds: [Matrix; 3],
}

/// A number and how far it may be off.
#[derive(Clone, Copy)]
struct Rounded {
    value: f64,
    error: f64,
}

impl Attention {
    fn steps(&self) -> usize {
        self.q.rows / self.batch
    }

    fn head_width(&self) -> usize {
        self.q.cols / self.heads
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_width() as f64).sqrt()
    }

    /// Whether row i sees row j of sequence `sample`.
    fn sees(&self, sample: usize, i: usize, j: usize) -> bool {
        j < self.lengths[sample] && (!self.causal || j <= i)
    }

    /// `sum_c a_ic b_jc` over the columns of a head, and the same of absolute values.
    fn dot(&self, a: &Matrix, i: usize, b: &Matrix, j: usize, head: usize) -> (f64, f64) {
        let d = self.head_width();
        let terms = (head * d..(head + 1) * d).map(|c| a.at(i, c) * b.at(j, c));
        (terms.clone().sum(), terms.map(f64::abs).sum())
    }

    /// The scores of row i of a sequence and head, those it sees: a product of depth d, and a factor.
    fn scores(&self, sample: usize, head: usize, i: usize) -> Vec<(usize, Rounded)> {
        let (steps, d) = (self.steps(), self.head_width());
        let row = |t: usize| sample * steps + t;
        let seen = (0..steps).filter(|&j| self.sees(sample, i, j));
        seen.map(|j| {
            let (sum, magnitude) = self.dot(&self.q, row(i), &self.k, row(j), head);
            let value = self.scale() * sum;
            let error = self.scale() * magnitude * roundings(d + 4);
            (j, Rounded { value, error })
        })
        .collect()
    }

    /// The probabilities of row i, with relative errors, and lse.
    ///
    /// Each e^(s - m) is off by the error of s and of m, the rounding of their difference, and 2 u of
    /// the exponential; it is multiplied by another such factor for each block of keys that raises m.
    /// The sum adds T roundings.
    fn probabilities(&self, scores: &[(usize, Rounded)]) -> (Vec<(usize, Rounded)>, Rounded) {
        let values = || scores.iter().map(|(_, s)| s.value);
        let max = values().fold(f64::NEG_INFINITY, f64::max);
        let min = values().fold(f64::INFINITY, f64::min);
        let score_error = scores.iter().map(|(_, s)| s.error).fold(0.0, f64::max);
        let blocks = scores.len() / 128 + 1;
        let relative = score_error
            + U * (2.0 * (max - min) + 4.0 * blocks as f64 + 4.0)
            + roundings(scores.len() + 16);
        let sum: f64 = values().map(|s| (s - max).exp()).sum();
        let of = |&(j, s): &(usize, Rounded)| {
            let value = (s.value - max).exp() / sum;
            (
                j,
                Rounded {
                    value,
                    error: (2.0 * relative).exp_m1(),
                },
            )
        };
        let value = max + sum.ln();
        let error = 2.0 * relative + 4.0 * U * (1.0 + value.abs() + max.abs());
        (scores.iter().map(of).collect(), Rounded { value, error })
    }

    /// The forward pass: `o_i = sum_j softmax(q_i k^T / sqrt d)_j v_j`.
    pub fn forward(&self) -> Outputs {
        let (steps, d) = (self.steps(), self.head_width());
        let mut o = Matrix::zeros(self.q.rows, self.q.cols);
        let mut o_bound = o.clone();
        let (mut lse, mut lse_bound) = (Vec::new(), Vec::new());
        for (sample, head) in self.pairs() {
            for i in 0..steps {
                let scores = self.scores(sample, head, i);
                if scores.is_empty() {
                    lse.push(f64::NEG_INFINITY);
                    lse_bound.push(0.0);
                    continue;
                }
                let (p, row_lse) = self.probabilities(&scores);
                lse.push(row_lse.value);
                lse_bound.push(row_lse.error);
                for c in head * d..(head + 1) * d {
                    let place = (sample * steps + i) * self.q.cols + c;
                    for (j, p) in &p {
                        let term = p.value * self.v.at(sample * steps + j, c);
                        o.data[place] += term;
                        o_bound.data[place] += term.abs() * (p.error + roundings(steps + 16));
                    }
                }
            }
        }
        Outputs {
            o,
            lse,
            o_bound,
            lse_bound,
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let heads = self.heads;
        (0..self.batch).flat_map(move |sample| (0..heads).map(move |head| (sample, head)))
    }

    /// The backward pass: with `ds_ij = p_ij (dp_ij - sum_c do_ic o_ic)` and `dp = do v^T`,
    /// `dq = ds k / sqrt d`, `dk = ds^T q / sqrt d`, `dv = p^T do`.
    ///
    /// The bounds hold for a kernel that is given o and lse off by the bounds of [`Self::forward`],
    /// and computes p as `e^(s - lse)`.
    pub fn backward(&self, d_o: &Matrix) -> Gradients {
        let (steps, d) = (self.steps(), self.head_width());
        let Outputs { o, o_bound, .. } = self.forward();
        let blank = Matrix::zeros(self.q.rows, self.q.cols);
        let mut values = [blank.clone(), blank.clone(), blank];
        let mut bounds = values.clone();
        for (sample, head) in self.pairs() {
            for i in 0..steps {
                let scores = self.scores(sample, head, i);
                if scores.is_empty() {
                    continue;
                }
                let (p, lse) = self.probabilities(&scores);
                let at = sample * steps + i;
                let (dot, dot_magnitude) = self.dot(d_o, at, &o, at, head);
                let (_, dot_from_o) = self.dot(d_o, at, &o_bound, at, head);
                let dot_error = roundings(d + 1) * (dot_magnitude + dot_from_o) + dot_from_o;
                for ((j, p), (_, s)) in p.iter().zip(&scores) {
                    let to = sample * steps + j;
                    let (dp, dp_magnitude) = self.dot(d_o, at, &self.v, to, head);
                    // The exponential of a difference that is rounded once.
                    let relative =
                        (s.error + lse.error + U * ((s.value - lse.value).abs() + 4.0)).exp_m1();
                    let difference = dp - dot;
                    let difference_error = roundings(d + 1) * dp_magnitude
                        + dot_error
                        + 2.0 * U * (dp.abs() + dot.abs());
                    let ds = p.value * difference;
                    let ds_error = p.value
                        * (1.0 + relative)
                        * (difference_error + (relative + 2.0 * U) * difference.abs());
                    // Sums of up to T terms, a factor, and the sums of blocks.
                    let sum = roundings(steps + 16);
                    let scaled = self.scale() * ds;
                    let scaled_error = self.scale() * (ds_error + sum * (ds.abs() + ds_error));
                    let p_error = p.value * (relative + sum * (1.0 + relative));
                    for c in head * d..(head + 1) * d {
                        for (which, row, value, error, by) in [
                            (0, at, scaled, scaled_error, self.k.at(to, c)),
                            (1, to, scaled, scaled_error, self.q.at(at, c)),
                            (2, to, p.value, p_error, d_o.at(at, c)),
                        ] {
                            let place = row * self.q.cols + c;
                            values[which].data[place] += value * by;
                            bounds[which].data[place] += error * by.abs();
                        }
                    }
                }
            }
        }
        Gradients { values, bounds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite_diff::derivative;
    use crate::values::Values;
    use approx::assert_abs_diff_eq;

    fn random(seed: u64, causal: bool, lengths: &[usize]) -> Attention {
        let (mut values, batch, steps, width) = (Values::new(seed), lengths.len(), 4, 6);
        let mut matrix = || values.matrix(batch * steps, width);
        Attention {
            q: matrix(),
            k: matrix(),
            v: matrix(),
            batch,
            heads: 2,
            causal,
            lengths: lengths.to_vec(),
        }
    }

    #[test]
    fn by_hand() {
        // Scores 0 and ln 3 for the first row, of width 1: probabilities 1/4 and 3/4.
        let column = |x: [f64; 2]| Matrix::from_fn(2, 1, |i, _| x[i]);
        let attention = Attention {
            q: column([1.0, 0.0]),
            k: column([0.0, 3f64.ln()]),
            v: column([4.0, 8.0]),
            batch: 1,
            heads: 1,
            causal: false,
            lengths: vec![2],
        };
        let got = attention.forward();
        assert_abs_diff_eq!(got.o.data[0], 7.0, epsilon = 1e-12);
        assert_abs_diff_eq!(got.o.data[1], 6.0, epsilon = 1e-12);
        assert_abs_diff_eq!(got.lse[0], 4f64.ln(), epsilon = 1e-12);
        let causal = Attention {
            causal: true,
            ..attention.clone()
        };
        assert_abs_diff_eq!(causal.forward().o.data[0], 4.0, epsilon = 1e-12);
        let short = Attention {
            lengths: vec![1],
            ..attention
        };
        assert_eq!(short.forward().o.data, [4.0, 4.0]);
    }

    #[test]
    fn gradients_are_those_of_a_weighted_sum() {
        for (causal, lengths) in [
            (false, [4, 4]),
            (true, [4, 4]),
            (false, [2, 0]),
            (true, [3, 4]),
        ] {
            let attention = random(51, causal, &lengths);
            let d_o = Values::new(52).matrix(8, 6);
            let loss = |a: &Attention| -> f64 {
                let o = a.forward().o;
                o.data.iter().zip(&d_o.data).map(|(o, d)| o * d).sum()
            };
            let got = attention.backward(&d_o).values;
            for place in 0..48 {
                for (which, got) in got.iter().enumerate() {
                    let with = |value: f64| {
                        let mut a = attention.clone();
                        [&mut a.q, &mut a.k, &mut a.v][which].data[place] = value;
                        loss(&a)
                    };
                    let x = [&attention.q, &attention.k, &attention.v][which].data[place];
                    assert_abs_diff_eq!(got.data[place], derivative(x, with), epsilon = 1e-7);
                }
            }
        }
    }

    #[test]
    fn the_bounds_are_small() {
        let attention = random(53, false, &[4, 4]);
        let got = attention.backward(&Values::new(54).matrix(8, 6));
        let largest = |x: &Matrix| x.data.iter().copied().fold(0.0, f64::max);
        for bound in got.bounds {
            assert!(largest(&bound) < 5e-5, "{}", largest(&bound));
        }
        assert!(largest(&attention.forward().o_bound) < 5e-5);
    }
}
