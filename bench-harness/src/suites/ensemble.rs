//! Whether networks that are trained side by side take the time of one: an ensemble with as many members
//! as threads beside one member alone on one thread. Before anything is timed, outputs and loss of the
//! member are held against f64, and members trained together against the one trained alone, bit by bit.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kernels::with_team;
use mlp::{Dataset, Ensemble, Mlp, TrainConfig};
use serde::Serialize;

use crate::args::{NetworkArgs, OptimizerName, ThreadsArgs, networks_named};
use crate::cost;
use crate::network::Batch;
use crate::progress::{each, is_interrupted};
use crate::report::{Beside, Versioned, print_json, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::median;
use crate::suites::epoch::samples;
use crate::suites::network::{Ours, Work};
use crate::timing::Series;

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
    #[serde(flatten)]
    beside: Beside,
}

/// Runs the suite, on so many threads.
pub(super) fn run(args: &ThreadsArgs, threads: usize) -> anyhow::Result<()> {
    let mut networks = networks_named(NETWORKS).context("names of networks")?;
    // Multiply-adds, two operations each.
    networks.retain(|n| cost::forward(&n.layers.0, n.batch) / 2.0 <= args.up_to as f64);
    for network in each("ensemble", networks) {
        let found = run_case(args, network, threads)?;
        if args.common.json {
            print_json(&Versioned::new("ensemble", &found))?;
        } else {
            found.beside.warn(&found.network.title())?;
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

fn run_case(args: &ThreadsArgs, network: NetworkArgs, threads: usize) -> anyhow::Result<Found> {
    let data = samples(&network, BATCHES * network.batch)?;
    let member = network.build(args.common.isa)?;
    let isa = member.isa();
    check(&member, &network, &data, threads)
        .with_context(|| format!("ensemble {}", network.title()))?;
    let epochs = epochs_for(&member, &network, &data)?;
    let started = Instant::now();
    let mut timed: Vec<(f64, f64)> = Vec::new();
    let mut series = Series::default();
    while timed.len() < PAIRS {
        let is_enough = timed.len() >= MIN_PAIRS && started.elapsed() > args.common.budget();
        if is_enough || !timed.is_empty() && is_interrupted() {
            break;
        }
        let mut ns = [0.0; 2];
        let mut order = [(0, 1), (1, threads)];
        if timed.len() % 2 == 1 {
            order.reverse();
        }
        for (which, count) in order {
            ns[which] = time(&member, &network, &data, count, epochs)?;
            with_team(threads, |team| series.probe(isa, team));
        }
        timed.push(ns.into());
    }
    let (alone, all): (Vec<f64>, Vec<f64>) = timed.iter().copied().unzip();
    let ratios: Vec<f64> = timed.iter().map(|(one, all)| one / all).collect();
    let efficiency = Estimate::of_median(&[ratios]);
    let efficiency = efficiency.context("nothing was timed")?;
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
        beside: Beside::of(&series).context("nothing was timed")?,
        network,
    })
}

/// So many copies of a network, trained together on as many threads.
fn trained(
    member: &Mlp,
    network: &NetworkArgs,
    data: &Dataset,
    count: usize,
    epochs: usize,
) -> anyhow::Result<Ensemble> {
    let mut ensemble = Ensemble::new(vec![member.clone(); count])?;
    ensemble.fit(data, count, |_| {
        TrainConfig::default()
            .optimizer(OptimizerName::Sgd)
            .batch_size(network.batch)
            .max_epochs(epochs)
    })?;
    Ok(ensemble)
}

/// Nanoseconds of such a training.
fn time(
    member: &Mlp,
    network: &NetworkArgs,
    data: &Dataset,
    count: usize,
    epochs: usize,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    trained(member, network, data, count, epochs)?;
    Ok(started.elapsed().as_nanos() as f64)
}

/// Holds the first step of a member against f64, members trained together against one trained alone, and
/// what these then say of a batch against f64 again.
fn check(
    member: &Mlp,
    network: &NetworkArgs,
    data: &Dataset,
    threads: usize,
) -> anyhow::Result<()> {
    let batch = Batch::random(network)?;
    let work = Work::Step(OptimizerName::Sgd);
    Ours::checked(&mut member.clone(), network, &batch, work, 1)?;
    let alone = trained(member, network, data, 1, 1)?;
    let alone = &alone.members()[0];
    ensure!(
        alone.parameters() != member.parameters(),
        "expected a training to change the parameters"
    );
    for (number, other) in trained(member, network, data, threads, 1)?
        .into_members()
        .iter()
        .enumerate()
    {
        ensure!(
            other.parameters() == alone.parameters(),
            "member {number} of {threads} has other parameters than the network trained alone"
        );
    }
    Ours::checked(&mut alone.clone(), network, &batch, work, 1)?;
    Ok(())
}

/// Epochs that take long enough on one thread.
fn epochs_for(member: &Mlp, network: &NetworkArgs, data: &Dataset) -> anyhow::Result<usize> {
    let mut epochs = 1;
    while time(member, network, data, 1, epochs)? < TRAINING.as_nanos() as f64 {
        epochs *= 2;
    }
    Ok(epochs)
}
