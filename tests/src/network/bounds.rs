//! How far a network computed in f32 may lie from this one: the errors of every step, carried
//! through the formulas as [`Uncertain`] does it.

use super::{Layer, Loss, Network};
use crate::loss::{Pointwise, softmax};
use crate::matrix::Matrix;
use crate::tolerance::{self, U};
use crate::uncertain::{Uncertain, activated, linear, through_activation};

/// Relative error of an exponential, a quotient or a logarithm in f32, in units of u, generously.
const FUNCTION_UNITS: f64 = 16.0;

/// Bounds for everything a step computes.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Of the outputs of the last layer.
    pub outputs: Matrix,
    /// Of the mean loss.
    pub loss: f64,
    /// Of the gradients, as layers.
    pub gradients: Vec<Layer>,
}

/// The sums and the outputs of a layer.
fn forward(layer: &Layer, input: &Uncertain) -> (Uncertain, Uncertain) {
    let sums = linear(input, &layer.weights, Some(&layer.bias));
    let outputs = activated(layer.activation, &sums);
    (sums, outputs)
}

/// The errors of loss and derivative of one element, for a prediction that is off by `dx`.
fn pointwise_error(loss: Pointwise, x: f64, dx: f64, t: f64) -> (f64, f64) {
    let difference = (x - t).abs();
    // The difference rounds as well.
    let d = dx + U * (difference + dx);
    match loss {
        Pointwise::Squared => (2.0 * difference * d + d * d, 2.0 * d),
        Pointwise::Absolute if difference <= d => (d, 2.0),
        Pointwise::Absolute => (d, 0.0),
        Pointwise::Huber(delta) => (delta.min(difference + d) * d, d),
        // The slope of the loss is one of sigmoid and target, that of sigmoid 1/4.
        Pointwise::Binary => {
            let slope = loss.of(x, t).1.abs() + dx / 4.0;
            (slope * dx, dx / 4.0 + 8.0 * U)
        }
    }
}

impl Network {
    /// The bounds of a step with this batch.
    ///
    /// # Panics
    /// If the network has no layers.
    pub fn bounds(&self, x: &Matrix, targets: &Matrix) -> Bounds {
        let mut inputs = vec![Uncertain::exact(x.clone())];
        let mut sums = Vec::new();
        for layer in &self.layers {
            let (s, y) = forward(layer, &inputs[inputs.len() - 1]);
            sums.push(s);
            inputs.push(y);
        }
        let outputs = inputs[self.layers.len()].clone();
        let (loss, error) = self.loss_bounds(&outputs, targets);
        let (_, value) = self.loss_of(&outputs.value, targets);
        let mut dh = Uncertain { value, error };
        let mut gradients = Vec::new();
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let delta = through_activation(layer.activation, &dh, &sums[l], &inputs[l + 1]);
            gradients.push(Layer {
                weights: delta.transposed().times(&inputs[l]).error,
                bias: delta.column_sums().error.data,
                activation: layer.activation,
            });
            dh = delta.times(&Uncertain::exact(layer.weights.clone()));
        }
        gradients.reverse();
        Bounds {
            outputs: outputs.error,
            loss,
            gradients,
        }
    }

    /// The bounds of the mean loss and of its derivative with respect to the outputs.
    pub(super) fn loss_bounds(&self, outputs: &Uncertain, targets: &Matrix) -> (f64, Matrix) {
        let (rows, cols) = (outputs.value.rows, outputs.value.cols);
        let (_, gradient) = self.loss_of(&outputs.value, targets);
        let mut loss = 0.0;
        let mut error = Matrix::zeros(rows, cols);
        for i in 0..rows {
            let (x, dx, t) = (outputs.value.row(i), outputs.error.row(i), targets.row(i));
            match self.loss {
                Loss::CrossEntropy => {
                    // Logits off by d change a probability by a factor of e^(2d) at most; the
                    // largest difference of two logits rounds as well.
                    let d = dx.iter().copied().fold(0.0, f64::max);
                    let span = x.iter().map(|x| x.abs()).fold(0.0, f64::max);
                    let d = d + FUNCTION_UNITS * U * (1.0 + span);
                    let total: f64 = t.iter().sum();
                    let p = softmax(x);
                    for j in 0..cols {
                        let relative = (2.0 * d).exp_m1() + tolerance::gamma(cols + 16);
                        error.data[i * cols + j] = (p[j] * total * relative
                            + FUNCTION_UNITS * U * (p[j] * total + t[j]))
                            / rows as f64;
                    }
                    let own = tolerance::gamma(2 * cols + 16) * (total + 1.0) * (1.0 + span);
                    loss += 2.0 * d * total + own;
                }
                Loss::Mean(of) => {
                    let count = (rows * cols) as f64;
                    for j in 0..cols {
                        let (own, slope) = pointwise_error(of, x[j], dx[j], t[j]);
                        error.data[i * cols + j] =
                            slope / count + 4.0 * U * gradient.at(i, j).abs();
                        let largest = of.of(x[j], t[j]).0 + own;
                        loss += own + tolerance::gamma(cols + 12) * largest;
                    }
                }
            }
        }
        let count = match self.loss {
            Loss::CrossEntropy => rows,
            Loss::Mean(_) => rows * cols,
        };
        // The mean over the rows is one more sum.
        let mean = self.loss_of(&outputs.value, targets).0;
        let loss = loss / count as f64;
        (
            loss + tolerance::gamma(rows + 4) * (mean.abs() + loss),
            error,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::network::flatten;
    use crate::values::Values;

    fn network(activation: Activation, loss: Loss) -> (Network, Matrix, Matrix) {
        let mut values = Values::new(3);
        let x = values.matrix(20, 7);
        let t = Matrix::one_hot(&values.labels(20, 4), 4);
        let network = Network::random(&[7, 9, 11, 4], activation, loss, 5);
        (network, x, t)
    }

    #[test]
    fn bounds_are_small_against_what_they_bound() {
        for activation in [Activation::Tanh, Activation::Sigmoid, Activation::Identity] {
            for loss in [Loss::CrossEntropy, Loss::Mean(Pointwise::Squared)] {
                let (network, x, t) = network(activation, loss);
                let (value, gradients) = network.gradients(&x, &t);
                let bounds = network.bounds(&x, &t);
                let relative = bounds.loss / value;
                assert!(relative > 0.0 && relative < 1e-3, "{relative}");
                let largest =
                    |layers: &[Layer]| flatten(layers).iter().fold(0.0, |m: f64, x| m.max(x.abs()));
                let (g, bound) = (largest(&gradients), largest(&bounds.gradients));
                assert!(bound > 0.0 && bound < 1e-3 * g, "{bound} for {g}");
            }
        }
    }

    /// Rounding every parameter to 12 bits is an error that no bound for f32 may cover.
    #[test]
    fn coarser_numbers_exceed_the_bounds() {
        let (network, x, t) = network(Activation::Tanh, Loss::CrossEntropy);
        let mut coarse = network.clone();
        let flat = network.flat();
        let rounded: Vec<f64> = flat.iter().map(|w| (w * 4096.0).round() / 4096.0).collect();
        coarse.set_flat(&rounded);
        let (_, exact) = network.gradients(&x, &t);
        let (_, off) = coarse.gradients(&x, &t);
        let bounds = flatten(&network.bounds(&x, &t).gradients);
        let outside = flatten(&exact)
            .iter()
            .zip(flatten(&off))
            .zip(bounds)
            .filter(|((a, b), bound)| (*a - b).abs() > *bound)
            .count();
        assert!(outside > flat.len() / 2, "{outside} of {}", flat.len());
    }
}
