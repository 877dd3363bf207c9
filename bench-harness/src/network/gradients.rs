//! What a step makes of a network, held against f64: its gradients after one backward pass, and its
//! parameters after one update.
//!
//! The first rows of the batch are taken, as many as the reference gets through in about [`STEP_FLOP`]
//! operations: all of them in the small networks, one in the largest. The step is one of a copy with
//! these rows, so that the network which is timed afterwards is as it was.

use anyhow::{Context, ensure};
use kernels::{MatRef, Targets, Team};
use mlp::{Loss, Mlp};
use reference::activation::Activation;
use reference::loss::Pointwise;
use reference::matrix::Matrix;
use reference::network::{self, Layer, Network};
use reference::optimizer::{self, Rule};

use super::{Batch, LEARNING_RATE, MOMENTUM, NEGATIVE_SLOPE, TOLERANCE};
use crate::args::{ActivationName, NetworkArgs, OptimizerName};
use crate::cost;
use crate::operands::left_out;

/// So much less than for outputs: a step is checked before each of some hundred cases of a report.
const STEP_FLOP: f64 = 2e7;

/// Gradients that an update is handed may be off by this much of the largest of their layer.
const GRADIENT_TOLERANCE: f64 = 1e-4;

/// Roundings of an update, each of the parameter or of its change.
const ROUNDINGS: f64 = 8.0;

impl Batch {
    /// The first derivative or parameter that is not what f64 makes of it, as an error. `net` is not
    /// trained, a copy of it is, on `team`.
    pub(crate) fn check_step(
        &self,
        net: &Mlp,
        args: &NetworkArgs,
        name: OptimizerName,
        team: &Team,
    ) -> anyhow::Result<()> {
        let affordable = STEP_FLOP / cost::training_step(&args.layers.0, 1);
        let rows = (affordable as usize).clamp(1, self.rows);
        let (x, targets) = (self.first_rows(rows), self.first_targets(rows));
        let mut copy = net.clone();
        let mut trainer = copy.trainer(name)?;
        trainer.gradients_of(x, targets, team)?;
        let got = trainer
            .gradients()
            .context("expected gradients after a backward pass")?;
        let layers = self.reference(net, args, rows);
        let precision = net.effective_precision(rows)?;
        let left_out = left_out(precision) * (args.layers.0.len() - 1) as f64;
        check_gradients(got, &layers, TOLERANCE + left_out)?;
        let gradients = got.to_vec();
        // The pass that is timed: gradients go into the parameters as they are computed.
        let mut copy = net.clone();
        copy.trainer(name)?.step(x, targets, team)?;
        let tolerance = GRADIENT_TOLERANCE + left_out;
        check_update(
            name,
            net.parameters(),
            &gradients,
            &layers,
            tolerance,
            copy.parameters(),
        )
    }

    fn first_rows(&self, rows: usize) -> MatRef<'_> {
        let inputs = self.x.len() / self.rows;
        MatRef::from_row_major(&self.x[..rows * inputs], rows, inputs).expect("a part of all rows")
    }

    fn first_targets(&self, rows: usize) -> Targets<'_> {
        match self.loss {
            Loss::SoftmaxCrossEntropy => Targets::Classes(&self.labels[..rows]),
            _ => {
                let outputs = self.values.len() / self.rows;
                let values = &self.values[..rows * outputs];
                let values = MatRef::from_row_major(values, rows, outputs);
                Targets::Values(values.expect("a part of all rows"))
            }
        }
    }

    /// The gradients of the mean loss of the first rows in f64.
    fn reference(&self, net: &Mlp, args: &NetworkArgs, rows: usize) -> Vec<Layer> {
        let last = net.dense_layers() - 1;
        let layer = |l| {
            let (weights, bias) = (net.weights(l)?, net.bias(l)?);
            let at = |i, j| f64::from(*weights.at(i, j));
            Some(Layer {
                weights: Matrix::from_fn(weights.rows(), weights.cols(), at),
                bias: bias.iter().copied().map(f64::from).collect(),
                activation: if l == last {
                    Activation::Identity
                } else {
                    args.activation.into()
                },
            })
        };
        let layers = (0..=last).filter_map(layer).collect();
        let (inputs, outputs) = (args.inputs(), args.outputs());
        let x = Matrix::from_f32(rows, inputs, &self.x[..rows * inputs]);
        let (loss, targets) = match self.loss {
            Loss::SoftmaxCrossEntropy => (
                network::Loss::CrossEntropy,
                Matrix::one_hot(&self.labels[..rows], outputs),
            ),
            _ => (
                network::Loss::Mean(Pointwise::Squared),
                Matrix::from_f32(rows, outputs, &self.values[..rows * outputs]),
            ),
        };
        Network { layers, loss }.gradients(&x, &targets).1
    }
}

/// Weights and bias of each layer, as parts of a list of all parameters: what they are, where they begin,
/// and their values in f64.
fn parts(layers: &[Layer]) -> impl Iterator<Item = (String, usize, &[f64])> {
    let mut begin = 0;
    let parts = layers.iter().enumerate().flat_map(|(l, layer)| {
        let weights = (format!("weights {l}"), &layer.weights.data[..]);
        [weights, (format!("bias {l}"), &layer.bias[..])]
    });
    parts.map(move |(name, values)| {
        begin += values.len();
        (name, begin - values.len(), values)
    })
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

/// Each may be off by a part of the largest of its weights, or of its bias: a derivative at a kink that f32
/// and f64 see from two sides stays below that, a wrong index does not.
fn check_gradients(got: &[f32], layers: &[Layer], tolerance: f64) -> anyhow::Result<()> {
    for (name, begin, expected) in parts(layers) {
        let bound = tolerance * largest(expected);
        for (i, &expected) in expected.iter().enumerate() {
            let got = f64::from(got[begin + i]);
            ensure!(
                (got - expected).abs() <= bound,
                "gradient of {name} [{i}]: expected {expected}, got {got}"
            );
        }
    }
    Ok(())
}

/// The first step of every rule takes off the more the larger the gradient is: so a parameter has to lie
/// between what the two ends of its gradient make of it.
fn check_update(
    name: OptimizerName,
    before: &[f32],
    gradients: &[f32],
    layers: &[Layer],
    tolerance: f64,
    after: &[f32],
) -> anyhow::Result<()> {
    let updated = |begin: usize, len: usize, off: f64| {
        let part = begin..begin + len;
        let mut parameters: Vec<_> = before[part.clone()]
            .iter()
            .copied()
            .map(f64::from)
            .collect();
        let gradients: Vec<_> = gradients[part]
            .iter()
            .map(|&g| f64::from(g) + off)
            .collect();
        optimizer::Optimizer::new(rule(name), len).step(&mut parameters, &gradients);
        parameters
    };
    for (part, begin, values) in parts(layers) {
        let off = tolerance * largest(values);
        let low = updated(begin, values.len(), off);
        let high = updated(begin, values.len(), -off);
        for (i, (low, high)) in low.into_iter().zip(high).enumerate() {
            let (before, got) = (f64::from(before[begin + i]), f64::from(after[begin + i]));
            let change = (low - before).abs().max((high - before).abs());
            let rounding = ROUNDINGS * f64::from(f32::EPSILON) * (before.abs() + change);
            ensure!(
                low - rounding <= got && got <= high + rounding,
                "{part} [{i}] after an update: expected {low} to {high}, got {got}"
            );
        }
    }
    Ok(())
}

/// What the optimiser of this name is in f64.
fn rule(name: OptimizerName) -> Rule {
    let learning_rate = f64::from(LEARNING_RATE);
    let sgd = |momentum, nesterov| Rule::Sgd {
        learning_rate,
        momentum,
        nesterov,
        weight_decay: 0.0,
    };
    match name {
        OptimizerName::Sgd => sgd(0.0, false),
        OptimizerName::Momentum => sgd(f64::from(MOMENTUM), false),
        OptimizerName::Nesterov => sgd(f64::from(MOMENTUM), true),
        OptimizerName::Adam => Rule::Adam {
            learning_rate,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled_weight_decay: 0.0,
        },
    }
}

impl From<ActivationName> for Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Identity => Self::Identity,
            ActivationName::Relu => Self::Relu,
            ActivationName::LeakyRelu => Self::LeakyRelu(NEGATIVE_SLOPE),
            ActivationName::Sigmoid => Self::Sigmoid,
            ActivationName::Tanh => Self::Tanh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Layers;

    fn network(activation: ActivationName, layers: &[usize]) -> NetworkArgs {
        NetworkArgs {
            name: None,
            layers: Layers(layers.to_vec()),
            batch: 9,
            activation,
        }
    }

    #[test]
    fn a_step_agrees_with_f64_with_every_optimiser_and_activation() {
        for activation in [
            ActivationName::Identity,
            ActivationName::Relu,
            ActivationName::LeakyRelu,
            ActivationName::Sigmoid,
            ActivationName::Tanh,
        ] {
            for name in [
                OptimizerName::Sgd,
                OptimizerName::Momentum,
                OptimizerName::Nesterov,
                OptimizerName::Adam,
            ] {
                for layers in [&[5, 7, 3][..], &[4, 6, 1]] {
                    let args = network(activation, layers);
                    let batch = Batch::random(&args).expect("a batch");
                    let net = args.build(None).expect("a network");
                    let checked = batch.check_step(&net, &args, name, &Team::solo());
                    checked.unwrap_or_else(|error| panic!("{activation:?} {name:?}: {error}"));
                }
            }
        }
    }

    #[test]
    fn a_wrong_gradient_and_a_wrong_update_are_found() {
        let args = network(ActivationName::Relu, &[5, 7, 3]);
        let batch = Batch::random(&args).expect("a batch");
        let net = args.build(None).expect("a network");
        let layers = batch.reference(&net, &args, 9);
        let exact: Vec<_> = network::flatten(&layers)
            .iter()
            .map(|&g| g as f32)
            .collect();
        check_gradients(&exact, &layers, TOLERANCE).expect("themselves");
        let name = OptimizerName::Sgd;
        let update = |gradients: &[f32]| -> Vec<f32> {
            let parameters = net.parameters().iter().zip(gradients);
            parameters.map(|(p, g)| p - LEARNING_RATE * g).collect()
        };
        let check = |after: &[f32]| {
            check_update(
                name,
                net.parameters(),
                &exact,
                &layers,
                GRADIENT_TOLERANCE,
                after,
            )
        };
        check(&update(&exact)).expect("an update");
        // None, and one in the other direction.
        assert!(check(net.parameters()).is_err());
        assert!(check(&update(&exact.iter().map(|g| -g).collect::<Vec<_>>())).is_err());
        for i in 0..2 {
            let mut wrong = exact.clone();
            let end = if i == 0 { 0 } else { wrong.len() - 1 };
            wrong[end] += 0.01;
            let error = check_gradients(&wrong, &layers, TOLERANCE).expect_err("a wrong one");
            let part = ["weights 0 [0]", "bias 1 [2]"][i];
            assert!(error.to_string().contains(part), "{error}");
        }
        let mut nan = exact.clone();
        nan[3] = f32::NAN;
        assert!(check_gradients(&nan, &layers, TOLERANCE).is_err());
    }
}
