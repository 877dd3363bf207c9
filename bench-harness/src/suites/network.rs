//! Steps of training and forward passes.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, ensure};
use kernels::{Isa, Precision, Team, with_team};
use mlp::{Mlp, Trainer};
use serde::Serialize;

use crate::args::{Common, InferArgs, NetworkArgs, NetworkChoice, OptimizerName, TrainArgs};
use crate::network::{Batch, allocations_per_step};
use crate::progress::each;
use crate::report::{Figures, OURS, PerSample, Record, Setting};
use crate::timing::{Contestant, in_turn, time_calls};
use crate::{cost, machine};

/// The loss of a step and that of the same outputs in f64 may differ by this much of it.
const LOSS_TOLERANCE: f64 = 1e-4;

/// What is done with a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// The forward pass.
    Forward,
    /// Forward pass, backward pass, update.
    Step(OptimizerName),
}

impl Work {
    fn suite(self) -> &'static str {
        match self {
            Self::Forward => "infer",
            Self::Step(_) => "train",
        }
    }

    fn optimizer(self) -> Option<OptimizerName> {
        match self {
            Self::Forward => None,
            Self::Step(optimizer) => Some(optimizer),
        }
    }

    fn flop(self, network: &NetworkArgs) -> f64 {
        let (layers, batch) = (&network.layers.0, network.batch);
        match self {
            Self::Forward => cost::forward(layers, batch),
            Self::Step(_) => cost::training_step(layers, batch),
        }
    }
}

/// The arguments as given.
#[derive(Debug, Serialize)]
struct Case<'a> {
    #[serde(flatten)]
    network: &'a NetworkArgs,
    #[serde(skip_serializing_if = "Option::is_none")]
    optimizer: Option<OptimizerName>,
}

/// What is timed, of which networks, how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    work: Work,
    choice: &'a NetworkChoice,
    common: &'a Common,
}

impl<'a> From<&'a TrainArgs> for Plan<'a> {
    fn from(args: &'a TrainArgs) -> Self {
        Self {
            work: Work::Step(args.optimizer),
            choice: &args.choice,
            common: &args.common,
        }
    }
}

impl<'a> From<&'a InferArgs> for Plan<'a> {
    fn from(args: &'a InferArgs) -> Self {
        Self {
            work: Work::Forward,
            choice: &args.choice,
            common: &args.common,
        }
    }
}

/// A trainer at work, on a team of its own for each sample: its forward pass is the one that takes a
/// team.
pub(crate) struct Ours<'a> {
    trainer: Trainer<'a>,
    batch: &'a Batch,
    threads: usize,
    work: Work,
    /// What runs.
    precision: Precision,
}

impl<'a> Ours<'a> {
    /// Holds the outputs of the network against f64, and the loss of a first step against that of
    /// these outputs; before that step, gradients and parameters of one with some of the rows.
    pub(crate) fn checked(
        net: &'a mut Mlp,
        network: &NetworkArgs,
        batch: &'a Batch,
        work: Work,
        threads: usize,
    ) -> anyhow::Result<Self> {
        // A trainer borrows the network whole, and the check reads its weights.
        let untrained = net.clone();
        let optimizer = work.optimizer().unwrap_or(OptimizerName::Sgd);
        let mut ours = Self {
            trainer: net.trainer(optimizer)?,
            batch,
            threads,
            work,
            precision: untrained.effective_precision(network.batch)?,
        };
        ours.on_team(|ours, team| {
            let outputs = ours.trainer.forward(batch.x(), team)?;
            batch
                .check_outputs(&untrained, network, outputs)
                .map_err(anyhow::Error::msg)?;
            let expected = batch.loss_f64(outputs);
            if let Work::Step(optimizer) = work {
                batch.check_step(&untrained, network, optimizer, team)?;
                let loss = f64::from(ours.trainer.step(batch.x(), batch.targets(), team)?);
                ensure!(
                    (loss - expected).abs() <= LOSS_TOLERANCE * expected,
                    "expected a loss of {expected} in the first step, got {loss}"
                );
            }
            Ok(())
        })?;
        Ok(ours)
    }

    fn on_team<R>(&mut self, work: impl FnOnce(&mut Self, &Team) -> R) -> R {
        with_team(self.threads, |team| {
            machine::gather(team);
            work(self, team)
        })
    }

    /// The trainer, to be given other batches.
    pub(crate) fn trainer(&mut self) -> &mut Trainer<'a> {
        &mut self.trainer
    }

    /// What is timed, once.
    pub(crate) fn call(&mut self, team: &Team) -> anyhow::Result<()> {
        match self.work {
            Work::Forward => {
                black_box(self.trainer.forward(self.batch.x(), team)?);
            }
            Work::Step(_) => {
                let targets = self.batch.targets();
                self.trainer.step(self.batch.x(), targets, team)?;
            }
        }
        Ok(())
    }
}

impl Contestant for Ours<'_> {
    fn name(&self) -> String {
        OURS.to_owned()
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn sample(&mut self, calls: usize) -> Duration {
        self.on_team(|ours, team| {
            time_calls(calls, || {
                ours.call(team)
                    .expect("the same call succeeded in the check");
            })
        })
    }
}

impl Plan<'_> {
    /// Builds the network, checks it and hands it over, with the instruction set that it runs on.
    fn with_checked<R>(
        self,
        network: &NetworkArgs,
        then: impl FnOnce(Ours<'_>, Isa) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        self.common.precision().set_process_wide();
        let batch = Batch::random(network)?;
        let mut net = network.build(self.common.isa)?;
        let isa = net.isa();
        let threads = with_team(self.common.threads, Team::threads);
        let ours = Ours::checked(&mut net, network, &batch, self.work, threads)
            .with_context(|| format!("{} {}", self.work.suite(), network.title()))?;
        then(ours, isa)
    }

    /// Checks the first network and hands it over.
    pub(crate) fn with_ours<R>(
        self,
        then: impl FnOnce(&mut dyn Contestant) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        self.with_checked(&self.choice.first(), |mut ours, _| then(&mut ours))
    }

    /// Runs the suite.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        for network in each(self.work.suite(), self.choice.networks()) {
            self.with_checked(&network, |ours, isa| self.time(&network, ours, isa))?;
        }
        Ok(())
    }

    fn time(self, network: &NetworkArgs, mut ours: Ours<'_>, isa: Isa) -> anyhow::Result<()> {
        let threads = ours.threads;
        let precision = ours.precision;
        let allocations =
            ours.on_team(|ours, team| allocations_per_step(team, |team| ours.call(team)))?;
        let mut contestants: [Box<dyn Contestant + '_>; 1] = [Box::new(ours)];
        let series = in_turn(&mut contestants, isa, self.common.budget());
        let flop = self.work.flop(network);
        let figures = Figures::of(&series[0], flop).context("nothing was timed")?;
        let case = Case {
            network,
            optimizer: self.work.optimizer(),
        };
        let extra = PerSample::new(&figures, network.batch, allocations);
        let note = extra.note();
        let setting = Setting::ours(isa, threads, precision, self.common);
        let record = Record::new(self.work.suite(), case, setting, figures, extra);
        record.print(self.common.json, &network.title(), &note)?;
        Ok(())
    }
}
