//! A network to be timed, the batch it is given, and the check of what it makes of it.

mod gradients;

use anyhow::{Context, ensure};
use kernels::{Activation, Isa, Kernels, MatRef, Targets, Team};
use mlp::{Adam, Loss, Mlp, Optimizer, Sgd};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};

use crate::args::{ActivationName, NetworkArgs, OptimizerName};
use crate::cost;
use crate::floats::{Floats, uniform};
use crate::machine;
use crate::operands::left_out;

/// So slow that thousands of steps on one batch keep all numbers in their usual range.
const LEARNING_RATE: f32 = 1e-4;

const MOMENTUM: f32 = 0.9;

/// PyTorch's default.
const NEGATIVE_SLOPE: f32 = 0.01;

/// The f64 check takes as many rows of the batch as cost about this many operations.
const CHECK_FLOP: f64 = 1e8;

/// Outputs may differ from those in f64 by this much of the largest: networks of ten layers stay a
/// hundred times below it, a wrong index does not.
const TOLERANCE: f64 = 1e-3;

/// Steps over which allocations are counted.
const COUNTED_STEPS: usize = 10;

/// How often they are counted.
const COUNTS: usize = 3;

/// Samples and what they should become.
pub(crate) struct Batch {
    rows: usize,
    x: Floats,
    labels: Vec<u32>,
    values: Floats,
    loss: Loss,
}

impl Batch {
    /// Random samples, and labels in turn. A network with one output gets numbers instead.
    pub(crate) fn random(args: &NetworkArgs) -> anyhow::Result<Self> {
        let rows = args.batch;
        ensure!(rows > 0, "--batch: expected at least 1, got 0");
        machine::ensure_memory("--layers, --batch", args.values())?;
        let (inputs, outputs) = (args.inputs(), args.outputs());
        Ok(Self {
            rows,
            x: uniform(rows * inputs, 1),
            labels: (0..rows)
                .map(|row| u32::try_from(row % outputs))
                .collect::<Result<_, _>>()
                .context("--layers: too many outputs")?,
            values: uniform(rows * outputs, 2),
            loss: loss(outputs),
        })
    }

    pub(crate) fn x(&self) -> MatRef<'_> {
        let inputs = self.x.len() / self.rows;
        MatRef::from_row_major(&self.x, self.rows, inputs).expect("made with this shape")
    }

    pub(crate) fn targets(&self) -> Targets<'_> {
        match self.loss {
            Loss::SoftmaxCrossEntropy => Targets::Classes(&self.labels),
            _ => Targets::Values(
                MatRef::from_row_major(&self.values, self.rows, self.values.len() / self.rows)
                    .expect("made with this shape"),
            ),
        }
    }

    /// The first output that is not what f64 makes of it, as a message.
    pub(crate) fn check_outputs(
        &self,
        net: &Mlp,
        args: &NetworkArgs,
        outputs: MatRef<'_>,
    ) -> Result<(), String> {
        let affordable = CHECK_FLOP / cost::forward(&args.layers.0, 1);
        let rows = (affordable as usize).clamp(1, self.rows);
        let precision = net.effective_precision(self.rows);
        let left_out = precision.map_or(0.0, left_out) * (args.layers.0.len() - 1) as f64;
        for row in 0..rows {
            let exact = forward_f64(net, args.activation, self.x().row(row).unwrap_or_default());
            let scale = exact.iter().fold(0.0_f64, |max, y| max.max(y.abs()));
            for (j, exact) in exact.iter().enumerate() {
                let got = f64::from(*outputs.at(row, j));
                let error = (got - exact).abs();
                if error.is_nan() || error > (TOLERANCE + left_out) * scale {
                    return Err(format!("output [{row}, {j}]: expected {exact}, got {got}"));
                }
            }
        }
        Ok(())
    }

    /// The mean loss that `outputs` have, in f64.
    pub(crate) fn loss_f64(&self, outputs: MatRef<'_>) -> f64 {
        let of_row = |row: usize| {
            let y = |j| f64::from(*outputs.at(row, j));
            let columns = 0..outputs.cols();
            match self.loss {
                Loss::SoftmaxCrossEntropy => {
                    let max = columns.clone().map(y).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = columns.map(|j| (y(j) - max).exp()).sum();
                    sum.ln() + max - y(self.labels[row] as usize)
                }
                _ => {
                    let target = |j| f64::from(self.values[row * outputs.cols() + j]);
                    let squares = columns.map(|j| (y(j) - target(j)).powi(2)).sum::<f64>();
                    squares / outputs.cols() as f64
                }
            }
        };
        (0..self.rows).map(of_row).sum::<f64>() / self.rows as f64
    }
}

impl NetworkArgs {
    fn inputs(&self) -> usize {
        self.layers.0[0]
    }

    fn outputs(&self) -> usize {
        self.layers.0[self.layers.0.len() - 1]
    }

    /// Numbers that a training holds: of each parameter itself, its gradient, and two that an optimiser
    /// keeps; of each layer its values and their gradients. `None` if they cannot be counted.
    fn values(&self) -> Option<usize> {
        let widths = &self.layers.0;
        let weights = widths.windows(2).try_fold(0_usize, |sum, d| {
            sum.checked_add(d[0].checked_add(1)?.checked_mul(d[1])?)
        })?;
        let width = widths
            .iter()
            .try_fold(0_usize, |sum, &d| sum.checked_add(d))?;
        let batch = width.checked_mul(self.batch)?.checked_mul(2)?;
        weights.checked_mul(4)?.checked_add(batch)
    }

    /// The network, on `isa` or the best there is.
    pub(crate) fn build(&self, isa: Option<Isa>) -> anyhow::Result<Mlp> {
        let mut builder = Mlp::builder(self.inputs()).loss(loss(self.outputs()));
        let last = self.layers.0.len() - 1;
        for (layer, &width) in self.layers.0.iter().enumerate().skip(1) {
            builder = builder.dense(width);
            if layer < last {
                builder = builder.activation(self.activation.into());
            }
        }
        if let Some(isa) = isa {
            builder = builder.isa(Kernels::for_isa(isa)?.isa());
        }
        Ok(builder.build()?)
    }

    /// How the network is named in tables.
    pub(crate) fn title(&self) -> String {
        let name = self.name.map(|name| format!("{name} ")).unwrap_or_default();
        format!("{name}{} x{}", self.layers, self.batch)
    }
}

/// Cross-entropy, which takes two classes at least, or the squared error.
fn loss(outputs: usize) -> Loss {
    if outputs > 1 {
        Loss::SoftmaxCrossEntropy
    } else {
        Loss::MeanSquaredError
    }
}

/// The outputs for one sample, three loops and f64.
fn forward_f64(net: &Mlp, activation: ActivationName, x: &[f32]) -> Vec<f64> {
    let mut y: Vec<f64> = x.iter().copied().map(f64::from).collect();
    for layer in 0..net.dense_layers() {
        let (Some(weights), Some(bias)) = (net.weights(layer), net.bias(layer)) else {
            continue;
        };
        let is_last = layer + 1 == net.dense_layers();
        y = (0..weights.rows())
            .map(|row| {
                let products = y.iter().enumerate();
                let sum: f64 = products
                    .map(|(k, y)| y * f64::from(*weights.at(row, k)))
                    .sum();
                let z = sum + f64::from(bias[row]);
                if is_last { z } else { activation.of(z) }
            })
            .collect();
    }
    y
}

impl ActivationName {
    /// `act(z)` in f64.
    pub(crate) fn of(self, z: f64) -> f64 {
        match self {
            Self::Identity => z,
            Self::Relu => z.max(0.0),
            Self::LeakyRelu if z > 0.0 => z,
            Self::LeakyRelu => f64::from(NEGATIVE_SLOPE) * z,
            Self::Sigmoid => 1.0 / (1.0 + (-z).exp()),
            Self::Tanh => z.tanh(),
        }
    }
}

impl From<ActivationName> for Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Identity => Self::Identity,
            ActivationName::Relu => Self::Relu,
            ActivationName::LeakyRelu => Self::LeakyRelu {
                negative_slope: NEGATIVE_SLOPE,
            },
            ActivationName::Sigmoid => Self::Sigmoid,
            ActivationName::Tanh => Self::Tanh,
        }
    }
}

impl From<OptimizerName> for Optimizer {
    fn from(name: OptimizerName) -> Self {
        let sgd = Sgd::new(LEARNING_RATE);
        match name {
            OptimizerName::Sgd => sgd.into(),
            OptimizerName::Momentum => sgd.momentum(MOMENTUM).into(),
            OptimizerName::Nesterov => sgd.momentum(MOMENTUM).nesterov().into(),
            OptimizerName::Adam => Adam::new(LEARNING_RATE).into(),
        }
    }
}

/// Allocations and reallocations per call of `step`, on all threads, after a first call: the least of
/// a few counts. What a step allocates is in each of them; what a thread of this program allocates
/// while it starts, such as that which waits for Ctrl-C, is in one.
pub(crate) fn allocations_per_step(
    team: &Team,
    mut step: impl FnMut(&Team) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    step(team)?;
    let mut least = usize::MAX;
    for _ in 0..COUNTS {
        let region = Region::new(&INSTRUMENTED_SYSTEM);
        for _ in 0..COUNTED_STEPS {
            step(team)?;
        }
        let change = region.change();
        least = least.min(change.allocations + change.reallocations);
    }
    Ok(least as f64 / COUNTED_STEPS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Layers;

    fn args(layers: &[usize], activation: ActivationName) -> NetworkArgs {
        NetworkArgs {
            name: None,
            layers: Layers(layers.to_vec()),
            batch: 5,
            activation,
        }
    }

    #[test]
    fn outputs_agree_with_f64_and_wrong_ones_do_not() {
        for activation in [
            ActivationName::Identity,
            ActivationName::Relu,
            ActivationName::LeakyRelu,
            ActivationName::Sigmoid,
            ActivationName::Tanh,
        ] {
            let args = args(&[7, 6, 5, 3], activation);
            let net = args.build(None).expect("a network");
            let batch = Batch::random(&args).expect("a batch");
            let mut y = net.forward(batch.x()).expect("outputs").as_slice().to_vec();
            let check = |y: &[f32]| {
                let y = MatRef::from_row_major(y, 5, 3).expect("5 x 3");
                batch.check_outputs(&net, &args, y)
            };
            assert_eq!(check(&y), Ok(()), "{activation:?}");
            y[7] = f32::NAN;
            let message = check(&y).expect_err("a wrong output");
            assert!(message.starts_with("output [2, 1]"), "{message}");
        }
    }

    #[test]
    fn loss_is_that_of_a_training_step() {
        for layers in [[7, 6, 3], [7, 6, 1]] {
            let args = args(&layers, ActivationName::Tanh);
            let mut net = args.build(None).expect("a network");
            let batch = Batch::random(&args).expect("a batch");
            let y = net.forward(batch.x()).expect("outputs");
            let expected = batch.loss_f64(MatRef::from(&y));
            let mut trainer = net.trainer(OptimizerName::Sgd).expect("a trainer");
            let got = trainer
                .step(batch.x(), batch.targets(), &Team::solo())
                .expect("a step");
            assert!(
                (f64::from(got) - expected).abs() < 1e-5 * expected,
                "{layers:?}"
            );
        }
    }
}
