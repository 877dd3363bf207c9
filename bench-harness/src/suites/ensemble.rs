//! Whether networks that are trained side by side take the time of one: an ensemble with as many members
//! as threads beside one member alone on one thread.

use std::time::{Duration, Instant};

use mlp::{Dataset, Ensemble, Mlp, TrainConfig};
use serde::Serialize;

use crate::args::{Common, NetworkArgs, OptimizerName, networks_named};
use crate::progress::{each, is_interrupted};
use crate::report::{Versioned, print_json, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::median;
use crate::suites::epoch::samples;

/// Networks from tiny to middle: a member of a large one has phases enough to share by itself.
const NETWORKS: &str = "ABCD";

/// Batches of an epoch.
const BATCHES: usize = 8;

/// How long a training takes at least, so that what it begins with does not count.
const TRAINING: Duration = Duration::from_millis(30);

/// Pairs that are timed at least.
const MIN_PAIRS: usize = 5;

/// Pairs that are timed at most.
const PAIRS: usize = 60;

/// What was found for one network.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    network: NetworkArgs,
    isa: &'static str,
    threads: usize,
    members: usize,
    pairs: usize,
    /// Median times of a training: one member alone, and all of them.
    alone_ns: f64,
    ensemble_ns: f64,
    /// Time alone over time of all: the median of the pairs, and its 95 % interval. 1 is what
    /// independent machines would give.
    efficiency: f64,
    efficiency_low: f64,
    efficiency_high: f64,
    /// The same of the shortest times.
    efficiency_of_minima: f64,
}

/// Runs the suite, on so many threads.
pub(super) fn run(common: &Common, threads: usize) -> anyhow::Result<()> {
    for network in each("ensemble", networks_named(NETWORKS)) {
        let found = run_case(common, network, threads)?;
        if common.json {
            print_json(&Versioned::new("ensemble", &found))?;
        } else {
            print_line(&format!(
                "{:<40} {} members on {} T: {:.3} of independent trainings ({:.3} to {:.3}, minima {:.3})",
                found.network.title(),
                found.members,
                found.threads,
                found.efficiency,
                found.efficiency_low,
                found.efficiency_high,
                found.efficiency_of_minima,
            ))?;
        }
    }
    Ok(())
}

fn run_case(common: &Common, network: NetworkArgs, threads: usize) -> anyhow::Result<Found> {
    let data = samples(&network, BATCHES * network.batch)?;
    let member = network.build(common.isa)?;
    let isa = member.isa();
    let epochs = epochs_for(&member, &network, &data)?;
    let started = Instant::now();
    let mut timed: Vec<(f64, f64)> = Vec::new();
    while timed.len() < PAIRS {
        let is_enough = timed.len() >= MIN_PAIRS && started.elapsed() > common.budget();
        if is_enough || !timed.is_empty() && is_interrupted() {
            break;
        }
        let one = time(&member, &network, &data, (1, 1), epochs)?;
        let all = time(&member, &network, &data, (threads, threads), epochs)?;
        timed.push((one, all));
    }
    let (alone, all): (Vec<f64>, Vec<f64>) = timed.iter().copied().unzip();
    let ratios: Vec<f64> = timed.iter().map(|(one, all)| one / all).collect();
    let efficiency = Estimate::of_median(&[ratios]);
    let efficiency = efficiency.ok_or_else(|| anyhow::anyhow!("nothing was timed"))?;
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Found {
        isa: isa.name(),
        threads,
        members: threads,
        pairs: timed.len(),
        efficiency_of_minima: least(&alone) / least(&all),
        alone_ns: median(&alone).unwrap_or(f64::NAN),
        ensemble_ns: median(&all).unwrap_or(f64::NAN),
        efficiency: efficiency.value,
        efficiency_low: efficiency.low,
        efficiency_high: efficiency.high,
        network,
    })
}

/// Nanoseconds of a training of `members` copies on so many threads.
fn time(
    member: &Mlp,
    network: &NetworkArgs,
    data: &Dataset,
    (members, threads): (usize, usize),
    epochs: usize,
) -> anyhow::Result<f64> {
    let mut ensemble = Ensemble::new(vec![member.clone(); members])?;
    let started = Instant::now();
    ensemble.fit(data, threads, |_| {
        TrainConfig::default()
            .optimizer(OptimizerName::Sgd)
            .batch_size(network.batch)
            .max_epochs(epochs)
    })?;
    Ok(started.elapsed().as_nanos() as f64)
}

/// Epochs that take long enough on one thread.
fn epochs_for(member: &Mlp, network: &NetworkArgs, data: &Dataset) -> anyhow::Result<usize> {
    let mut epochs = 1;
    while time(member, network, data, (1, 1), epochs)? < TRAINING.as_nanos() as f64 {
        epochs *= 2;
    }
    Ok(epochs)
}
