//! Networks of normalisation, attention and embedding, forward, in f64; the gradient is that of
//! central differences.
//!
//! Values are `batch * rows x width`, the rows of a sample one after the other. Parameters come in the
//! order of the layers: weight before bias, gamma before beta.

use crate::attention::Attention;
use crate::finite_diff::derivative;
use crate::loss::softmax_cross_entropy;
use crate::matrix::Matrix;
use crate::norm::{self, Over};

/// One layer.
#[derive(Clone, Debug)]
pub enum Layer {
    /// `y = x W^T + b`, so many outputs.
    Dense(usize),
    /// `y = f(x)`, element by element.
    Function(fn(f64) -> f64),
    /// Each column by the mean and variance of the batch.
    BatchNorm,
    /// Each row by its own.
    LayerNorm,
    /// `[Q, K, V] = x W^T + b`, attention of so many heads, `y = o W^T + b`; the second says whether
    /// it is causal.
    Attention(usize, bool),
    /// `y = x + block(x)`
    Residual(Vec<Layer>),
    /// `y = [x, block(x)]`
    Concat(Vec<Layer>),
    /// Each value the number of a row of a table of so many rows and columns, plus a row for its
    /// place.
    Embedding(usize, usize),
    /// The values of a sample in so many rows.
    Rows(usize),
}

/// Added to every variance.
pub const EPS: f64 = 1e-5f32 as f64;

/// A network for cross-entropy with class labels.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// From the input on.
    pub layers: Vec<Layer>,
    /// Parameters of all layers.
    pub params: Vec<f64>,
}

/// Takes the next parameters.
struct Cursor<'a>(&'a [f64]);

impl Cursor<'_> {
    fn take(&mut self, n: usize) -> Vec<f64> {
        let (first, rest) = self.0.split_at(n);
        self.0 = rest;
        first.to_vec()
    }

    fn dense(&mut self, x: &Matrix, width: usize) -> Matrix {
        let (weight, bias) = (self.take(width * x.cols), self.take(width));
        Matrix::from_fn(x.rows, width, |i, j| {
            let row = &weight[j * x.cols..(j + 1) * x.cols];
            x.row(i).iter().zip(row).map(|(x, w)| x * w).sum::<f64>() + bias[j]
        })
    }

    fn norm(&mut self, x: &Matrix, over: Over) -> Matrix {
        let (gamma, beta) = (self.take(x.cols), self.take(x.cols));
        let (mean, rstd) = norm::statistics(over, x, EPS);
        norm::apply(over, x, &gamma, &beta, &mean, &rstd)
    }

    fn run(&mut self, layers: &[Layer], batch: usize, x: &Matrix) -> Matrix {
        let mut x = x.clone();
        for layer in layers {
            x = match layer {
                Layer::Dense(width) => self.dense(&x, *width),
                Layer::Function(f) => x.map(f),
                Layer::BatchNorm => self.norm(&x, Over::Columns),
                Layer::LayerNorm => self.norm(&x, Over::Rows),
                Layer::Attention(heads, causal) => {
                    let width = x.cols;
                    let qkv = self.dense(&x, 3 * width);
                    let part = |number: usize| {
                        Matrix::from_fn(x.rows, width, |i, j| qkv.at(i, number * width + j))
                    };
                    let attention = Attention {
                        q: part(0),
                        k: part(1),
                        v: part(2),
                        batch,
                        heads: *heads,
                        causal: *causal,
                        lengths: vec![x.rows / batch; batch],
                    };
                    self.dense(&attention.forward().o, width)
                }
                Layer::Residual(block) => {
                    let y = self.run(block, batch, &x);
                    Matrix::from_fn(x.rows, x.cols, |i, j| x.at(i, j) + y.at(i, j))
                }
                Layer::Concat(block) => {
                    let y = self.run(block, batch, &x);
                    Matrix::from_fn(x.rows, x.cols + y.cols, |i, j| match j < x.cols {
                        true => x.at(i, j),
                        false => y.at(i, j - x.cols),
                    })
                }
                Layer::Embedding(symbols, width) => {
                    let (steps, width) = (x.cols, *width);
                    let (table, places) = (self.take(symbols * width), self.take(steps * width));
                    Matrix::from_fn(x.rows * steps, width, |i, j| {
                        let number = x.at(i / steps, i % steps) as usize;
                        table[number * width + j] + places[i % steps * width + j]
                    })
                }
                Layer::Rows(rows) => Matrix {
                    rows: batch * rows,
                    cols: x.rows * x.cols / (batch * rows),
                    data: x.data,
                },
            };
        }
        x
    }
}

impl Blocks {
    /// The outputs of a batch, in training.
    ///
    /// # Panics
    /// If there are more parameters than the layers take, or fewer.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        let mut cursor = Cursor(&self.params);
        let y = cursor.run(&self.layers, x.rows, x);
        assert!(
            cursor.0.is_empty(),
            "{} parameters are left",
            cursor.0.len()
        );
        y
    }

    /// The mean cross-entropy of a batch.
    pub fn loss(&self, x: &Matrix, labels: &[u32]) -> f64 {
        let logits = self.forward(x);
        let targets = Matrix::one_hot(labels, logits.cols);
        let losses = softmax_cross_entropy(&logits, &targets).losses;
        losses.iter().sum::<f64>() / x.rows as f64
    }

    /// The derivative of the loss with respect to each parameter.
    pub fn gradient(&self, x: &Matrix, labels: &[u32]) -> Vec<f64> {
        let mut changed = self.clone();
        (0..self.params.len())
            .map(|index| {
                let slope = derivative(self.params[index], |value| {
                    changed.params[index] = value;
                    changed.loss(x, labels)
                });
                changed.params[index] = self.params[index];
                slope
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_by_hand() {
        let blocks = |layers: &[Layer], params: &[f64]| Blocks {
            layers: layers.to_vec(),
            params: params.to_vec(),
        };
        let x = Matrix::from_f32(1, 2, &[1.0, 0.0]);
        let net = blocks(
            &[Layer::Embedding(2, 1), Layer::Rows(1)],
            &[5.0, 7.0, 0.25, 0.5],
        );
        assert_eq!(net.forward(&x).data, [7.25, 5.5]);
        let net = blocks(
            &[Layer::Residual(vec![Layer::Dense(2)])],
            &[2.0, 0.0, 3.0, 0.0, 0.5, 0.0],
        );
        assert_eq!(net.forward(&x).data, [3.5, 3.0]);
        let net = blocks(&[Layer::Concat(vec![Layer::Function(f64::exp)])], &[]);
        assert_eq!(net.forward(&x).data, [1.0, 0.0, 1f64.exp(), 1.0]);
        // Two rows of width 1 that see each other: with V = x and scores 0, the mean of both.
        let attention = [Layer::Rows(2), Layer::Attention(1, false), Layer::Rows(1)];
        let net = blocks(&attention, &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(net.forward(&x).data, [0.5, 0.5]);
        // A dense layer on x alone: d loss / d w = (p - t) x, p = 1/2 each.
        let net = blocks(&[Layer::Dense(2)], &[0.0; 6]);
        let got = net.gradient(&x, &[0]);
        for (got, expected) in got.iter().zip([-0.5, 0.0, 0.5, 0.0, -0.5, 0.5]) {
            assert!((got - expected).abs() < 1e-9, "{got}, {expected}");
        }
    }
}
