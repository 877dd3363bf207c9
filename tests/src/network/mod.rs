//! A multi-layer perceptron: forward, backward, and backward again by central differences.
//!
//! With `h_0 = x`, layer l is `h_l = act_l(h_(l-1) W_l^T + b_l)`. The loss is the mean over the rows
//! of a batch. Backwards, with `delta_l = dL/dz_l` of the layer's sum `z_l`:
//! `dW_l = delta_l^T h_(l-1)`, `db_l = column sums of delta_l`,
//! `delta_(l-1) = (delta_l W_l) * act'(h_(l-1))`.

mod bounds;
pub mod graph;
mod softmax;

pub use bounds::Bounds;

use crate::activation::Activation;
use crate::finite_diff;
use crate::gemm::product;
use crate::loss::{Pointwise, RowLosses, pointwise, softmax_cross_entropy};
use crate::matrix::Matrix;
use crate::values::Values;

/// What the outputs are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Softmax of the outputs, then cross-entropy; mean over the rows.
    CrossEntropy,
    /// Mean over all elements.
    Mean(Pointwise),
}

/// One layer; also the gradient of one.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `out x in`
    pub weights: Matrix,
    /// One per output.
    pub bias: Vec<f64>,
    /// Applied to the sums.
    pub activation: Activation,
}

/// A network.
#[derive(Clone, Debug)]
pub struct Network {
    /// First to last.
    pub layers: Vec<Layer>,
    /// What it is trained on.
    pub loss: Loss,
}

impl Network {
    /// A network of the given widths, `widths[0]` being the features, with random parameters that
    /// are exact in f32. The last layer has no activation.
    pub fn random(widths: &[usize], activation: Activation, loss: Loss, seed: u64) -> Self {
        let mut values = Values::new(seed);
        let last = widths.len() - 2;
        let layers = widths.windows(2).enumerate().map(|(l, pair)| Layer {
            // Of a size that keeps sums near 1; a power of two, so that it stays exact.
            weights: {
                let scale = (1.0 / (pair[0] as f64).sqrt()).log2().ceil().exp2();
                values.matrix(pair[1], pair[0]).map(|w| w * scale)
            },
            bias: values.matrix(1, pair[1]).map(|b| b * 0.25).data,
            activation: if l == last {
                Activation::Identity
            } else {
                activation
            },
        });
        Self {
            layers: layers.collect(),
            loss,
        }
    }

    /// The outputs of all layers, preceded by the input.
    pub fn forward(&self, x: &Matrix) -> Vec<Matrix> {
        self.values(x).1
    }

    /// The sums of all layers; the outputs of all layers, preceded by the input.
    fn values(&self, x: &Matrix) -> (Vec<Matrix>, Vec<Matrix>) {
        let (mut sums, mut outputs) = (Vec::new(), vec![x.clone()]);
        for layer in &self.layers {
            let s = product(&outputs[outputs.len() - 1], &layer.weights.transposed());
            let s = Matrix::from_fn(s.rows, s.cols, |i, j| s.at(i, j) + layer.bias[j]);
            outputs.push(s.map(|s| layer.activation.apply(s)));
            sums.push(s);
        }
        (sums, outputs)
    }

    /// The mean loss, and its derivative with respect to the outputs.
    fn loss_of(&self, outputs: &Matrix, targets: &Matrix) -> (f64, Matrix) {
        let (RowLosses { losses, gradient }, count) = match self.loss {
            Loss::CrossEntropy => (softmax_cross_entropy(outputs, targets), outputs.rows),
            Loss::Mean(loss) => (pointwise(loss, outputs, targets), outputs.data.len()),
        };
        let mean = 1.0 / count as f64;
        (
            losses.iter().sum::<f64>() * mean,
            gradient.map(|g| g * mean),
        )
    }

    /// The mean loss of a batch.
    ///
    /// # Panics
    /// If the network has no layers.
    pub fn loss(&self, x: &Matrix, targets: &Matrix) -> f64 {
        let outputs = self.forward(x);
        self.loss_of(&outputs[self.layers.len()], targets).0
    }

    /// The mean loss of a batch, and its derivative with respect to every parameter.
    pub fn gradients(&self, x: &Matrix, targets: &Matrix) -> (f64, Vec<Layer>) {
        let (sums, outputs) = self.values(x);
        let (loss, d_outputs) = self.loss_of(&outputs[self.layers.len()], targets);
        let mut gradients = Vec::new();
        let mut dh = d_outputs;
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let (input, sums, output) = (&outputs[l], &sums[l], &outputs[l + 1]);
            let act = layer.activation;
            let delta = Matrix::from_fn(dh.rows, dh.cols, |i, j| {
                dh.at(i, j) * act.derivative(act.saved(sums.at(i, j), output.at(i, j)))
            });
            gradients.push(Layer {
                weights: product(&delta.transposed(), input),
                bias: (0..delta.cols)
                    .map(|j| (0..delta.rows).map(|i| delta.at(i, j)).sum())
                    .collect(),
                activation: layer.activation,
            });
            dh = product(&delta, &layer.weights);
        }
        gradients.reverse();
        (loss, gradients)
    }

    /// All parameters: the weights of the first layer row by row, its bias, the next layer.
    pub fn flat(&self) -> Vec<f64> {
        flatten(&self.layers)
    }

    /// Sets all parameters, in the order of [`Self::flat`].
    ///
    /// # Panics
    /// If there are more or fewer than the network has.
    pub fn set_flat(&mut self, params: &[f64]) {
        let mut rest = params;
        for layer in &mut self.layers {
            let (weights, tail) = rest.split_at(layer.weights.data.len());
            let (bias, tail) = tail.split_at(layer.bias.len());
            layer.weights.data.copy_from_slice(weights);
            layer.bias.copy_from_slice(bias);
            rest = tail;
        }
        assert!(rest.is_empty(), "{} parameters too many", rest.len());
    }

    /// The derivative of the mean loss with respect to every parameter by central differences, in
    /// the order of [`Self::flat`].
    pub fn numeric_gradients(&self, x: &Matrix, targets: &Matrix) -> Vec<f64> {
        let params = self.flat();
        let mut probe = self.clone();
        (0..params.len())
            .map(|at| {
                finite_diff::derivative(params[at], |value| {
                    let mut moved = params.clone();
                    moved[at] = value;
                    probe.set_flat(&moved);
                    probe.loss(x, targets)
                })
            })
            .collect()
    }
}

/// The numbers of all layers: weights row by row, then bias, layer by layer.
pub fn flatten(layers: &[Layer]) -> Vec<f64> {
    layers
        .iter()
        .flat_map(|layer| layer.weights.data.iter().chain(&layer.bias).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    /// 2 features, 2 ReLU units, 1 output, squared error: small enough for paper.
    fn by_hand() -> (Network, Matrix, Matrix) {
        let layer = |rows, weights: &[f32], bias: &[f64], activation| Layer {
            weights: Matrix::from_f32(rows, 2, weights),
            bias: bias.to_vec(),
            activation,
        };
        let network = Network {
            layers: vec![
                layer(2, &[1.0, -1.0, 2.0, 0.0], &[0.5, -3.0], Activation::Relu),
                layer(1, &[3.0, 4.0], &[1.0], Activation::Identity),
            ],
            loss: Loss::Mean(Pointwise::Squared),
        };
        let x = Matrix::from_f32(2, 2, &[1.0, 1.0, 2.0, 0.0]);
        (network, x, Matrix::from_f32(2, 1, &[2.0, 10.5]))
    }

    #[test]
    fn a_network_by_hand() {
        let (network, x, t) = by_hand();
        // Sums of layer 1: (0.5, -1) and (2.5, 1); outputs 3 * 0.5 + 1 = 2.5 and 3 * 2.5 + 4 + 1.
        let outputs = network.forward(&x);
        assert_eq!(outputs[1].data, [0.5, 0.0, 2.5, 1.0]);
        assert_eq!(outputs[2].data, [2.5, 12.5]);
        let (loss, gradients) = network.gradients(&x, &t);
        assert_eq!(loss, (0.25 + 4.0) / 2.0);
        // d output = (0.5, 2); through W2 and ReLU: (1.5, 0) and (6, 8).
        assert_eq!(gradients[1].weights.data, [5.25, 2.0]);
        assert_eq!(gradients[1].bias, [2.5]);
        assert_eq!(gradients[0].weights.data, [13.5, 1.5, 16.0, 0.0]);
        assert_eq!(gradients[0].bias, [7.5, 8.0]);
    }

    #[test]
    fn parameters_go_out_and_in_in_one_order() {
        let (mut network, ..) = by_hand();
        let flat = network.flat();
        assert_eq!(flat, [1.0, -1.0, 2.0, 0.0, 0.5, -3.0, 3.0, 4.0, 1.0]);
        let doubled: Vec<f64> = flat.iter().map(|x| 2.0 * x).collect();
        network.set_flat(&doubled);
        assert_eq!(network.flat(), doubled);
    }

    #[test]
    fn backward_agrees_with_central_differences() {
        for activation in Activation::ALL {
            for loss in [Loss::CrossEntropy, Loss::Mean(Pointwise::Squared)] {
                let network = Network::random(&[4, 6, 5, 3], activation, loss, 17);
                let mut values = Values::new(18);
                let x = values.matrix(7, 4);
                let t = Matrix::one_hot(&values.labels(7, 3), 3);
                let (_, analytic) = network.gradients(&x, &t);
                let numeric = network.numeric_gradients(&x, &t);
                for (a, n) in flatten(&analytic).iter().zip(&numeric) {
                    assert_abs_diff_eq!(*a, *n, epsilon = 1e-6);
                }
            }
        }
    }

    #[test]
    fn random_parameters_are_exact_in_f32() {
        let network = Network::random(&[3, 5, 2], Activation::Tanh, Loss::CrossEntropy, 1);
        assert!(network.flat().iter().all(|&x| f64::from(x as f32) == x));
        assert!(network.flat().iter().any(|&x| x < -0.1));
    }
}
