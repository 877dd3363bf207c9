//! What the data take of an epoch: shuffling all samples once, and gathering the rows of each batch, as
//! a training loop does before each step.
//!
//! The samples lie in memory, not in a cache, as those of a real set do. A few batches of an epoch are
//! timed; the shuffle is shared among as many as the epoch has.

use std::time::Instant;

use anyhow::{Context, ensure};
use kernels::{Targets, Team, with_team};
use mlp::{BatchBuffer, Batches, Data, Dataset, Trainer};
use serde::Serialize;

use crate::args::{EpochArgs, NetworkArgs, OptimizerName, networks_named};
use crate::floats::uniform;
use crate::machine;
use crate::network::Batch;
use crate::progress::{each, is_interrupted};
use crate::report::{Beside, Versioned, print_json, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::median;
use crate::suites::network::{Ours, Work};
use crate::timing::Series;

/// Bytes of all samples: beyond what a core can count on of any cache.
const BYTES: usize = 96 << 20;

/// Batches of the shortest epoch, and batches timed of one epoch at most.
const BATCHES: usize = 8;

/// Epochs at least, however little time there is.
const MIN_EPOCHS: u64 = 3;

/// Epochs at most.
const EPOCHS: u64 = 40;

const SEED: u64 = 1;

/// What was found for one network.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    network: NetworkArgs,
    samples: usize,
    isa: &'static str,
    threads: usize,
    epochs: usize,
    /// Median times for each batch, in nanoseconds.
    shuffle_ns: f64,
    gather_ns: f64,
    step_ns: f64,
    /// (shuffle + gather) / (shuffle + gather + step): the median over epochs, and its 95 % interval.
    data_share: f64,
    data_share_low: f64,
    data_share_high: f64,
    #[serde(flatten)]
    beside: Beside,
}

/// What one epoch took for each batch, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    shuffle: f64,
    gather: f64,
    step: f64,
}

impl Epoch {
    fn data_share(self) -> f64 {
        let data = self.shuffle + self.gather;
        data / (data + self.step)
    }
}

/// Runs the suite.
pub(crate) fn run(args: &EpochArgs) -> anyhow::Result<()> {
    args.common.precision().set_process_wide();
    let networks = networks_named(&args.networks).filter(|networks| !networks.is_empty());
    let networks = networks.with_context(|| {
        format!(
            "--networks: expected letters from A to H, got {:?}",
            args.networks
        )
    })?;
    for network in each("epoch", networks) {
        let found = run_case(args, network)?;
        if args.common.json {
            print_json(&Versioned::new("epoch", &found))?;
        } else {
            found.beside.warn(&found.network.title())?;
            print_line(&format!(
                "{:<40} {:>8} samples {:>2} T: shuffle {:>7.2} us, gather {:>8.2} us, step {:>10.2} \
                 us a batch: data are {:.2} % of the epoch ({:.2} to {:.2})",
                found.network.title(),
                found.samples,
                found.threads,
                found.shuffle_ns / 1e3,
                found.gather_ns / 1e3,
                found.step_ns / 1e3,
                100.0 * found.data_share,
                100.0 * found.data_share_low,
                100.0 * found.data_share_high
            ))?;
        }
    }
    Ok(())
}

fn run_case(args: &EpochArgs, network: NetworkArgs) -> anyhow::Result<Found> {
    let row_bytes = size_of::<f32>() * network.layers.0[0];
    let count = (BYTES / row_bytes).max(BATCHES * network.batch);
    let dataset = samples(&network, count)?;
    let batch = Batch::random(&network)?;
    let mut net = network.build(args.common.isa)?;
    let isa = net.isa();
    let work = Work::Step(OptimizerName::Adam);
    let mut ours = Ours::checked(&mut net, &network, &batch, work, args.common.threads)?;
    check_gather(dataset.data(), network.batch)?;
    let mut series = Series::default();
    let epochs = with_team(args.common.threads, |team| {
        machine::gather(team);
        let started = Instant::now();
        let mut epochs = Vec::new();
        for number in 0..EPOCHS {
            let is_enough = number >= MIN_EPOCHS && started.elapsed() > args.common.budget();
            if is_enough || number > 0 && is_interrupted() {
                break;
            }
            epochs.push(epoch(
                ours.trainer(),
                dataset.data(),
                network.batch,
                number,
                team,
            )?);
            series.probe(isa, team);
        }
        Ok::<_, anyhow::Error>(epochs)
    })?;
    let of = |part: fn(&Epoch) -> f64| epochs.iter().map(part).collect::<Vec<_>>();
    let share = Estimate::of_median(&[of(|epoch| epoch.data_share())]);
    let share = share.context("nothing was timed")?;
    let middle = |part| median(&of(part)).unwrap_or(f64::NAN);
    Ok(Found {
        samples: dataset.n_samples(),
        isa: isa.name(),
        threads: with_team(args.common.threads, Team::threads),
        epochs: epochs.len(),
        shuffle_ns: middle(|epoch| epoch.shuffle),
        gather_ns: middle(|epoch| epoch.gather),
        step_ns: middle(|epoch| epoch.step),
        data_share: share.value,
        data_share_low: share.low,
        data_share_high: share.high,
        beside: Beside::of(&series).context("nothing was timed")?,
        network,
    })
}

/// So many random samples with labels in turn.
pub(super) fn samples(network: &NetworkArgs, count: usize) -> anyhow::Result<Dataset> {
    let widths = &network.layers.0;
    let (inputs, outputs) = (widths[0], widths[widths.len() - 1]);
    let labels = (0..count).map(|row| u32::try_from(row % outputs));
    let labels = labels.collect::<Result<_, _>>()?;
    Ok(Dataset::classes(
        uniform(count * inputs, 1).to_vec(),
        inputs,
        labels,
    )?)
}

/// Holds a gathered batch against its rows, one by one.
fn check_gather(data: Data<'_>, batch: usize) -> anyhow::Result<()> {
    let mut batches = Batches::new(data.n_samples(), batch, SEED)?;
    batches.shuffle(0);
    let rows = batches.iter().next().unwrap_or_default().to_vec();
    let mut buffer = BatchBuffer::new(data, batch)?;
    let gathered = buffer.gather(data, &rows)?;
    for (place, &row) in rows.iter().enumerate() {
        let is_right = gathered.inputs().row(place) == data.inputs().row(row)
            && label(gathered, place) == label(data, row);
        ensure!(
            is_right,
            "epoch: row {place} of a batch is not sample {row}"
        );
    }
    let mut sorted: Vec<_> = batches.iter().flatten().copied().collect();
    sorted.sort_unstable();
    let is_whole = sorted.into_iter().eq(0..data.n_samples());
    ensure!(
        is_whole,
        "epoch: a shuffled epoch does not visit every sample once"
    );
    Ok(())
}

fn label(data: Data<'_>, row: usize) -> Option<u32> {
    match data.targets() {
        Targets::Classes(labels) => labels.get(row).copied(),
        _ => None,
    }
}

/// One epoch, of which the first batches are trained on.
fn epoch(
    trainer: &mut Trainer<'_>,
    data: Data<'_>,
    batch: usize,
    number: u64,
    team: &Team,
) -> anyhow::Result<Epoch> {
    let mut batches = Batches::new(data.n_samples(), batch, SEED)?;
    let mut buffer = BatchBuffer::new(data, batch)?;
    let started = Instant::now();
    batches.shuffle(number);
    let shuffle = started.elapsed().as_nanos() as f64;
    let full = batches.iter().filter(|rows| rows.len() == batch);
    let (mut gather, mut step, mut timed) = (0.0, 0.0, 0.0);
    for rows in full.take(BATCHES) {
        let started = Instant::now();
        let gathered = buffer.gather_with(data, rows, team)?;
        gather += started.elapsed().as_nanos() as f64;
        let started = Instant::now();
        trainer.step(gathered.inputs(), gathered.targets(), team)?;
        step += started.elapsed().as_nanos() as f64;
        timed += 1.0;
    }
    Ok(Epoch {
        shuffle: shuffle / (data.n_samples() as f64 / batch as f64),
        gather: gather / timed,
        step: step / timed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_by_hand() {
        let epoch = Epoch {
            shuffle: 1.0,
            gather: 2.0,
            step: 97.0,
        };
        assert_eq!(epoch.data_share(), 0.03);
    }

    #[test]
    fn gathered_rows_are_those_of_the_samples() {
        let data =
            Dataset::classes(uniform(35, 1).to_vec(), 5, vec![0, 1, 2, 0, 1, 2, 0]).expect("data");
        check_gather(data.data(), 3).expect("the same rows");
    }
}
