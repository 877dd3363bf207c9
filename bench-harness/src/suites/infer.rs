//! Forward passes.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context;
use kernels::{Isa, Team, with_team};
use mlp::Trainer;

use crate::args::{InferArgs, NetworkArgs, OptimizerName};
use crate::network::{Batch, allocations_per_step};
use crate::report::{Figures, OURS, PerSample, Record, Setting};
use crate::timing::{Contestant, in_turn, time_calls};
use crate::{cost, machine};

/// The forward pass of a trainer: the one that takes a team.
struct Ours<'a> {
    trainer: Trainer<'a>,
    batch: &'a Batch,
    threads: usize,
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
                let outputs = self.trainer.forward(self.batch.x(), team);
                black_box(outputs.expect("the same pass succeeded in the check"));
            })
        })
    }
}

/// What a checked pass is known to be, beyond its time.
struct Checked {
    isa: Isa,
    threads: usize,
    allocations_per_step: f64,
}

/// Builds the network, holds a pass against f64 and hands it over.
fn with_checked<R>(
    args: &InferArgs,
    network: &NetworkArgs,
    then: impl FnOnce(Ours<'_>, Checked) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let batch = Batch::random(network)?;
    let net = network.build(args.common.isa)?;
    let isa = net.isa();
    let threads = with_team(args.common.threads, Team::threads);

    // One to run, which a trainer borrows whole, and one to read the weights from.
    let mut timed = net.clone();
    let mut trainer = timed.trainer(OptimizerName::Sgd)?;
    let allocations_per_step = with_team(threads, |team| {
        machine::gather(team);
        let outputs = trainer.forward(batch.x(), team)?;
        batch
            .check_outputs(&net, network, outputs)
            .map_err(anyhow::Error::msg)?;
        allocations_per_step(team, |team| {
            trainer.forward(batch.x(), team)?;
            Ok(())
        })
    })?;
    let ours = Ours {
        trainer,
        batch: &batch,
        threads,
    };
    let checked = Checked {
        isa,
        threads,
        allocations_per_step,
    };
    then(ours, checked)
}

/// Checks ours and hands it over.
pub(crate) fn with_ours<R>(
    args: &InferArgs,
    then: impl FnOnce(&mut dyn Contestant) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    with_checked(args, &args.choice.first(), |mut ours, _| then(&mut ours))
}

/// Runs the suite.
pub(crate) fn run(args: &InferArgs) -> anyhow::Result<()> {
    for network in args.choice.networks() {
        run_case(args, &network)?;
    }
    Ok(())
}

fn run_case(args: &InferArgs, network: &NetworkArgs) -> anyhow::Result<()> {
    let (series, checked) = with_checked(args, network, |ours, checked| {
        let mut contestants: [Box<dyn Contestant + '_>; 1] = [Box::new(ours)];
        Ok((
            in_turn(&mut contestants, checked.isa, args.common.budget()),
            checked,
        ))
    })?;
    let flop = cost::forward(&network.layers.0, network.batch);
    let figures = Figures::of(&series[0], flop).context("nothing was timed")?;
    let extra = PerSample::new(&figures, network.batch, checked.allocations_per_step);
    let note = extra.note();
    let setting = Setting::ours(checked.isa, checked.threads, &args.common);
    Record::new("infer", network, setting, figures, extra).print(
        args.common.json,
        &network.title(),
        &note,
    )?;
    Ok(())
}
