//! Steps of training: forward pass, backward pass, update.

use std::time::Duration;

use anyhow::{Context, ensure};
use kernels::{Team, with_team};
use mlp::Trainer;
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

struct Ours<'a> {
    trainer: Trainer<'a>,
    batch: &'a Batch,
    threads: usize,
}

impl Ours<'_> {
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

/// Runs the suite.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let batch = Batch::random(&args.network)?;
    let mut net = args.network.build(args.common.isa)?;
    let isa = net.isa();
    let threads = with_team(args.common.threads, Team::threads);

    let outputs = net.forward(batch.x())?;
    let outputs = kernels::MatRef::from(&outputs);
    batch
        .check_outputs(&net, &args.network, outputs)
        .map_err(anyhow::Error::msg)?;
    let expected = batch.loss_f64(outputs);

    let mut ours = Ours {
        trainer: net.trainer(args.optimizer)?,
        batch: &batch,
        threads,
    };
    let allocations_per_step = with_team(threads, |team| {
        machine::gather(team);
        let loss = f64::from(ours.step(team)?);
        ensure!(
            (loss - expected).abs() <= LOSS_TOLERANCE * expected,
            "train: expected a loss of {expected} in the first step, got {loss}"
        );
        allocations_per_step(team, |team| ours.step(team).map(drop))
    })?;

    let mut contestants: [Box<dyn Contestant + '_>; 1] = [Box::new(ours)];
    let series = in_turn(&mut contestants, isa);
    let flop = cost::training_step(&args.network.layers.0, args.network.batch);
    let figures = Figures::of(&series[0], flop).context("nothing was timed")?;
    let case = Case {
        network: &args.network,
        optimizer: args.optimizer,
    };
    let extra = PerSample::new(&figures, args.network.batch, allocations_per_step);
    let note = extra.note();
    Record::new(
        "train",
        case,
        Setting::ours(isa, threads, &args.common),
        figures,
        extra,
    )
    .print(args.common.json, &args.network.title(), &note)?;
    Ok(())
}
