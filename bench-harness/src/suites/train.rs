//! Steps of training: forward pass, backward pass, update.

use std::time::Duration;

use anyhow::{Context, ensure};
use kernels::{Isa, Team, with_team};
use mlp::{Mlp, Trainer};
use serde::Serialize;

use crate::args::{NetworkArgs, OptimizerName, TrainArgs};
use crate::network::{Batch, allocations_per_step};
use crate::report::{Figures, OURS, PerSample, Record, Setting};
use crate::timing::{Contestant, in_turn, time_calls};
use crate::{cost, machine};

/// The loss of a step and that of the same outputs in f64 may differ by this much of it.
const LOSS_TOLERANCE: f64 = 1e-4;

/// The arguments as given.
#[derive(Debug, Serialize)]
struct Case<'a> {
    #[serde(flatten)]
    network: &'a NetworkArgs,
    optimizer: OptimizerName,
}

/// Steps of ours, on a team of its own for each sample.
pub(crate) struct Ours<'a> {
    trainer: Trainer<'a>,
    batch: &'a Batch,
    threads: usize,
}

impl<'a> Ours<'a> {
    pub(crate) fn new(
        net: &'a mut Mlp,
        optimizer: OptimizerName,
        batch: &'a Batch,
        threads: usize,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            trainer: net.trainer(optimizer)?,
            batch,
            threads,
        })
    }

    fn step(&mut self, team: &Team) -> anyhow::Result<f32> {
        let (x, targets) = (self.batch.x(), self.batch.targets());
        Ok(self.trainer.step(x, targets, team)?)
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
        with_team(self.threads, |team| {
            machine::gather(team);
            time_calls(calls, || {
                self.step(team)
                    .expect("the same step succeeded in the check");
            })
        })
    }
}

/// What a checked step is known to be, beyond its time.
struct Checked {
    isa: Isa,
    threads: usize,
    allocations_per_step: f64,
}

/// Builds the network, holds its first step against f64 and hands it over.
fn with_checked<R>(
    args: &TrainArgs,
    network: &NetworkArgs,
    then: impl FnOnce(Ours<'_>, Checked) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let batch = Batch::random(network)?;
    let mut net = network.build(args.common.isa)?;
    let isa = net.isa();
    let threads = with_team(args.common.threads, Team::threads);

    let outputs = net.forward(batch.x())?;
    let outputs = kernels::MatRef::from(&outputs);
    batch
        .check_outputs(&net, network, outputs)
        .map_err(anyhow::Error::msg)?;
    let expected = batch.loss_f64(outputs);

    let mut ours = Ours::new(&mut net, args.optimizer, &batch, threads)?;
    let allocations_per_step = with_team(threads, |team| {
        machine::gather(team);
        let loss = f64::from(ours.step(team)?);
        ensure!(
            (loss - expected).abs() <= LOSS_TOLERANCE * expected,
            "train: expected a loss of {expected} in the first step, got {loss}"
        );
        allocations_per_step(team, |team| ours.step(team).map(drop))
    })?;
    let checked = Checked {
        isa,
        threads,
        allocations_per_step,
    };
    then(ours, checked)
}

/// Checks ours and hands it over.
pub(crate) fn with_ours<R>(
    args: &TrainArgs,
    then: impl FnOnce(&mut dyn Contestant) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    with_checked(args, &args.choice.first(), |mut ours, _| then(&mut ours))
}

/// Runs the suite.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    for network in args.choice.networks() {
        run_case(args, &network)?;
    }
    Ok(())
}

fn run_case(args: &TrainArgs, network: &NetworkArgs) -> anyhow::Result<()> {
    let (series, checked) = with_checked(args, network, |ours, checked| {
        let mut contestants: [Box<dyn Contestant + '_>; 1] = [Box::new(ours)];
        Ok((
            in_turn(&mut contestants, checked.isa, args.common.budget()),
            checked,
        ))
    })?;
    let flop = cost::training_step(&network.layers.0, network.batch);
    let figures = Figures::of(&series[0], flop).context("nothing was timed")?;
    let case = Case {
        network,
        optimizer: args.optimizer,
    };
    let extra = PerSample::new(&figures, network.batch, checked.allocations_per_step);
    let note = extra.note();
    Record::new(
        "train",
        case,
        Setting::ours(checked.isa, checked.threads, &args.common),
        figures,
        extra,
    )
    .print(args.common.json, &network.title(), &note)?;
    Ok(())
}
