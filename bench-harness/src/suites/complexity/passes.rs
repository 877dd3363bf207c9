//! The passes of a step of training, each timed by itself.

use std::time::{Duration, Instant};

use kernels::{MatRef, Team};
use mlp::{Mlp, Trainer};
use serde::Serialize;

use crate::args::{NetworkArgs, OptimizerName};
use crate::cost::{self, Cost};
use crate::floats::{Floats, uniform};
use crate::network::Batch;

/// The gradient of the loss with respect to the outputs is this small, so that the weights keep their
/// range however often they are updated.
const GRADIENT: f32 = 1e-3;

/// Steps are repeated until they last this long in all.
const SAMPLE: Duration = Duration::from_millis(1);

/// A pass whose time is documented to grow with its operations, and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pass {
    Forward,
    Backward,
    Update,
}

impl Pass {
    pub(crate) const ALL: [Self; 3] = [Self::Forward, Self::Backward, Self::Update];

    /// What it has to do for a network.
    pub(crate) fn cost(self, network: &NetworkArgs) -> Cost {
        let (layers, batch) = (&network.layers.0, network.batch);
        match self {
            Self::Forward => cost::forward_pass(layers, batch),
            Self::Backward => cost::backward_pass(layers, batch),
            Self::Update => cost::sgd_update(layers),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Update => "update",
        }
    }
}

/// A network in training, whose passes can be timed.
pub(super) struct Subject<'n> {
    trainer: Trainer<'n>,
    batch: &'n Batch,
    output_gradient: Floats,
    rows: usize,
}

impl<'n> Subject<'n> {
    /// Holds the outputs of the network, its gradients and an update against f64 and makes it ready.
    pub(super) fn new(
        net: &'n mut Mlp,
        batch: &'n Batch,
        args: &NetworkArgs,
    ) -> anyhow::Result<Self> {
        let outputs = net.forward(batch.x())?;
        batch
            .check_outputs(net, args, MatRef::from(&outputs))
            .map_err(anyhow::Error::msg)?;
        batch.check_step(net, args, OptimizerName::Sgd, &Team::solo())?;
        let mut output_gradient = uniform(args.batch * net.outputs(), 3);
        output_gradient.iter_mut().for_each(|g| *g *= GRADIENT);
        Ok(Self {
            trainer: net.trainer(OptimizerName::Sgd)?,
            batch,
            output_gradient,
            rows: args.batch,
        })
    }

    /// One step, and how long its passes took, in the order of [`Pass::ALL`].
    fn step(&mut self, team: &Team) -> anyhow::Result<[Duration; 3]> {
        let x = self.batch.x();
        let columns = self.output_gradient.len() / self.rows;
        let gradient = MatRef::from_row_major(&self.output_gradient, self.rows, columns)?;
        let started = Instant::now();
        self.trainer.forward(x, team)?;
        let forward = started.elapsed();
        self.trainer.backward(x, gradient, team)?;
        let backward = started.elapsed();
        self.trainer.update(team)?;
        Ok([forward, backward - forward, started.elapsed() - backward])
    }

    /// Nanoseconds of each pass, after a step that brings the network into the caches.
    pub(super) fn sample(&mut self, team: &Team) -> anyhow::Result<[f64; 3]> {
        self.step(team)?;
        let mut total = [Duration::ZERO; 3];
        let mut steps = 0.0;
        while total.iter().sum::<Duration>() < SAMPLE {
            for (total, pass) in total.iter_mut().zip(self.step(team)?) {
                *total += pass;
            }
            steps += 1.0;
        }
        Ok(total.map(|total| total.as_nanos() as f64 / steps))
    }
}
