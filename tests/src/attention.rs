//! Scaled dot-product attention and its derivative, three loops at a time, for sequences and heads;
//! with the bounds for what f32 kernels give.

use crate::matrix::Matrix;
use crate::tolerance::{U, gamma as roundings};
use crate::uncertain::Uncertain;

/// Sequences one after the other, heads side by side: q, k, v are `batch * T x width`.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Queries.
    pub q: Uncertain,
    /// Keys.
    pub k: Uncertain,
    /// Values.
    pub v: Uncertain,
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
    pub o: Uncertain,
    /// `ln sum e^score` of each row of each sequence and head: sequences, heads, rows.
    pub lse: Vec<f64>,
    /// Bound for each element of lse.
    pub lse_bound: Vec<f64>,
}

/// A number and how far it may be off.
#[derive(Clone, Copy)]
struct Rounded {
    value: f64,
    error: f64,
}

impl Rounded {
    /// How large it may be.
    fn largest(self) -> f64 {
        self.value.abs() + self.error
    }
}

impl Attention {
    fn steps(&self) -> usize {
        self.q.value.rows / self.batch
    }

    fn head_width(&self) -> usize {
        self.q.value.cols / self.heads
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_width() as f64).sqrt()
    }

    /// Whether row i sees row j of sequence `sample`.
    fn sees(&self, sample: usize, i: usize, j: usize) -> bool {
        j < self.lengths[sample] && (!self.causal || j <= i)
    }

    /// `sum_c a_ic b_jc` over the columns of a head, with the errors of both factors and those of the
    /// sum, each term of which meets so many roundings.
    fn dot(
        &self,
        (a, i): (&Uncertain, usize),
        (b, j): (&Uncertain, usize),
        head: usize,
        terms: usize,
    ) -> Rounded {
        let d = self.head_width();
        let mut dot = Rounded {
            value: 0.0,
            error: 0.0,
        };
        for c in head * d..(head + 1) * d {
            let (x, y) = (a.value.at(i, c), b.value.at(j, c));
            let (dx, dy) = (a.error.at(i, c), b.error.at(j, c));
            dot.value += x * y;
            dot.error += x.abs() * dy + dx * (y.abs() + dy);
            dot.error += roundings(terms) * (x.abs() + dx) * (y.abs() + dy);
        }
        dot
    }

    /// The scores of row i of a sequence and head, those it sees: a product of depth d, and a factor.
    fn scores(&self, sample: usize, head: usize, i: usize) -> Vec<(usize, Rounded)> {
        let (steps, d) = (self.steps(), self.head_width());
        let row = |t: usize| sample * steps + t;
        let seen = (0..steps).filter(|&j| self.sees(sample, i, j));
        seen.map(|j| {
            let sum = self.dot((&self.q, row(i)), (&self.k, row(j)), head, d + 4);
            let value = self.scale() * sum.value;
            let error = self.scale() * sum.error;
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
        let mut o = Uncertain::exact(Matrix::zeros(self.q.value.rows, self.q.value.cols));
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
                    let place = (sample * steps + i) * self.q.value.cols + c;
                    for (j, p) in &p {
                        let row = sample * steps + j;
                        let (v, dv) = (self.v.value.at(row, c), self.v.error.at(row, c));
                        o.value.data[place] += p.value * v;
                        let relative = p.error + roundings(steps + 16);
                        o.error.data[place] += p.value * ((v.abs() + dv) * relative + dv);
                    }
                }
            }
        }
        Outputs { o, lse, lse_bound }
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let heads = self.heads;
        (0..self.batch).flat_map(move |sample| (0..heads).map(move |head| (sample, head)))
    }

    /// The backward pass: with `ds_ij = p_ij (dp_ij - sum_c do_ic o_ic)` and `dp = do v^T`,
    /// `dq = ds k / sqrt d`, `dk = ds^T q / sqrt d`, `dv = p^T do`.
    ///
    /// The bounds of dq, dk and dv hold for a kernel that is given o and lse off by those of [`Self::forward`],
    /// and computes p as `e^(s - lse)`.
    pub fn backward(&self, d_o: &Uncertain) -> [Uncertain; 3] {
        let (steps, d) = (self.steps(), self.head_width());
        let Outputs { o, .. } = self.forward();
        let blank = Uncertain::exact(Matrix::zeros(self.q.value.rows, self.q.value.cols));
        let mut gradients = [blank.clone(), blank.clone(), blank];
        for (sample, head) in self.pairs() {
            for i in 0..steps {
                let scores = self.scores(sample, head, i);
                if scores.is_empty() {
                    continue;
                }
                let (p, lse) = self.probabilities(&scores);
                let at = sample * steps + i;
                let dot = self.dot((d_o, at), (&o, at), head, d + 1);
                for ((j, p), (_, s)) in p.iter().zip(&scores) {
                    let to = sample * steps + j;
                    let dp = self.dot((d_o, at), (&self.v, to), head, d + 1);
                    // The exponential of a difference that is rounded once.
                    let relative =
                        (s.error + lse.error + U * ((s.value - lse.value).abs() + 4.0)).exp_m1();
                    let difference = dp.value - dot.value;
                    let difference_error =
                        dp.error + dot.error + 2.0 * U * (dp.largest() + dot.largest());
                    let ds = p.value * difference;
                    let ds_error = p.value
                        * (1.0 + relative)
                        * (difference_error + (relative + 2.0 * U) * difference.abs());
                    // Sums of up to T terms, a factor, and the sums of blocks.
                    let sum = roundings(steps + 16);
                    let scaled = Rounded {
                        value: self.scale() * ds,
                        error: self.scale() * (ds_error + sum * (ds.abs() + ds_error)),
                    };
                    let p = Rounded {
                        value: p.value,
                        error: p.value * (relative + sum * (1.0 + relative)),
                    };
                    for c in head * d..(head + 1) * d {
                        for (which, row, factor, (by, from)) in [
                            (0, at, scaled, (&self.k, to)),
                            (1, to, scaled, (&self.q, at)),
                            (2, to, p, (d_o, at)),
                        ] {
                            let place = row * self.q.value.cols + c;
                            let (by, off) = (by.value.at(from, c), by.error.at(from, c));
                            let gradient = &mut gradients[which];
                            gradient.value.data[place] += factor.value * by;
                            gradient.error.data[place] +=
                                factor.error * (by.abs() + off) + factor.value.abs() * off;
                        }
                    }
                }
            }
        }
        gradients
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
        let mut matrix = || Uncertain::exact(values.matrix(batch * steps, width));
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
        let column = |x: [f64; 2]| Uncertain::exact(Matrix::from_fn(2, 1, |i, _| x[i]));
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
        assert_abs_diff_eq!(got.o.value.data[0], 7.0, epsilon = 1e-12);
        assert_abs_diff_eq!(got.o.value.data[1], 6.0, epsilon = 1e-12);
        assert_abs_diff_eq!(got.lse[0], 4f64.ln(), epsilon = 1e-12);
        let causal = Attention {
            causal: true,
            ..attention.clone()
        };
        assert_abs_diff_eq!(causal.forward().o.value.data[0], 4.0, epsilon = 1e-12);
        let short = Attention {
            lengths: vec![1],
            ..attention
        };
        assert_eq!(short.forward().o.value.data, [4.0, 4.0]);
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
            let d_o = Uncertain::exact(Values::new(52).matrix(8, 6));
            let loss = |a: &Attention| -> f64 {
                let o = a.forward().o.value;
                o.data.iter().zip(&d_o.value.data).map(|(o, d)| o * d).sum()
            };
            let got = attention.backward(&d_o);
            for place in 0..48 {
                for (which, got) in got.iter().enumerate() {
                    let with = |value: f64| {
                        let mut a = attention.clone();
                        [&mut a.q, &mut a.k, &mut a.v][which].value.data[place] = value;
                        loss(&a)
                    };
                    let x = [&attention.q, &attention.k, &attention.v][which].value.data[place];
                    assert_abs_diff_eq!(got.value.data[place], derivative(x, with), epsilon = 1e-7);
                }
            }
        }
    }

    #[test]
    fn the_bounds_are_small() {
        let attention = random(53, false, &[4, 4]);
        let d_o = Uncertain::exact(Values::new(54).matrix(8, 6));
        let outputs = [attention.forward().o];
        for got in attention.backward(&d_o).iter().chain(&outputs) {
            let largest = got.error.data.iter().copied().fold(0.0, f64::max);
            assert!(largest > 0.0 && largest < 5e-5, "{largest}");
        }
    }
}
