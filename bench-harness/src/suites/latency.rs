//! How long a step takes at worst: each of many steps timed by itself, through `Trainer::step`, and the
//! memory that the training took at most.

use std::fs;
use std::time::Instant;

use anyhow::Context;
use kernels::{Team, with_team};
use serde::Serialize;

use crate::args::{LatencyArgs, NetworkArgs, OptimizerName};
use crate::machine;
use crate::network::Batch;
use crate::progress::{Progress, is_interrupted};
use crate::report::{Beside, Versioned, print_json, print_line};
use crate::suites::network::{Ours, Work};
use crate::timing::Series;

/// Steps before the first that counts: they bring memory and clock to where they stay.
const WARM_UP: u64 = 1_000;

/// Steps between two looks at the terminal and at Ctrl-C.
const BLOCK: u64 = 10_000;

/// One step in so many takes longer than what is reported.
const ONE_IN: [u64; 7] = [2, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// Columns of the histogram in a terminal.
const BAR: f64 = 40.0;

/// Bins of the histogram for each doubling of the time.
const BINS_PER_DOUBLING: f64 = 4.0;

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    network: NetworkArgs,
    optimizer: OptimizerName,
    isa: &'static str,
    threads: usize,
    steps: usize,
    min_ns: u32,
    p50_ns: u32,
    p90_ns: u32,
    p99_ns: u32,
    p99_9_ns: u32,
    p99_99_ns: u32,
    max_ns: u32,
    quantiles: Vec<Quantile>,
    histogram: Vec<Bin>,
    /// The most memory that this process had, with its samples; `None` where the system does not say.
    peak_rss_bytes: Option<u64>,
    /// The same before the network was built.
    rss_before_bytes: Option<u64>,
    /// Probed between blocks of steps.
    #[serde(flatten)]
    beside: Beside,
}

/// One step in so many takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Quantile {
    one_in: u64,
    ns: u32,
}

/// Steps that took at least `from_ns`, and less than the next bin's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Bin {
    from_ns: f64,
    steps: usize,
}

/// Runs the suite.
pub(crate) fn run(args: &LatencyArgs) -> anyhow::Result<()> {
    let network = NetworkArgs {
        name: None,
        layers: args.layers.clone(),
        batch: args.batch,
        activation: args.activation,
    };
    let capacity = usize::try_from(args.steps).context("--steps: more than memory can hold")?;
    let mut ns: Vec<u32> = Vec::new();
    ns.try_reserve_exact(capacity)
        .context("--steps: more than memory can hold")?;
    let rss_before_bytes = peak_rss_bytes();
    let batch = Batch::random(&network)?;
    let mut net = network.build(args.isa)?;
    let isa = net.isa();
    let work = Work::Step(args.optimizer);
    let mut ours = Ours::checked(&mut net, &network, &batch, work, args.threads)?;
    let mut series = Series::default();
    with_team(args.threads, |team| {
        machine::gather(team);
        let probe = || series.probe(isa, team);
        time(args.steps, &mut ns, || ours.call(team), probe)
    })?;
    ns.sort_unstable();
    let at = |one_in| quantile(&ns, one_in);
    let found = Found {
        network,
        optimizer: args.optimizer,
        isa: isa.name(),
        threads: with_team(args.threads, Team::threads),
        steps: ns.len(),
        min_ns: ns.first().copied().context("nothing was timed")?,
        p50_ns: at(2),
        p90_ns: at(10),
        p99_ns: at(100),
        p99_9_ns: at(1_000),
        p99_99_ns: at(10_000),
        max_ns: ns.last().copied().unwrap_or(0),
        quantiles: ONE_IN
            .into_iter()
            .filter(|&one_in| one_in <= ns.len() as u64)
            .map(|one_in| Quantile {
                one_in,
                ns: at(one_in),
            })
            .collect(),
        histogram: histogram(&ns),
        peak_rss_bytes: peak_rss_bytes(),
        rss_before_bytes,
        beside: Beside::of(&series).context("nothing was timed")?,
    };
    if args.json {
        print_json(&Versioned::new("latency", &found))?;
    } else {
        found.beside.warn(&found.network.title())?;
        found.print()?;
    }
    Ok(())
}

fn time(
    steps: u64,
    ns: &mut Vec<u32>,
    mut step: impl FnMut() -> anyhow::Result<()>,
    mut between: impl FnMut(),
) -> anyhow::Result<()> {
    for _ in 0..WARM_UP {
        step()?;
    }
    let progress = Progress::of("latency", steps);
    let mut left = steps;
    while left > 0 && !(is_interrupted() && left < steps) {
        let block = left.min(BLOCK);
        for _ in 0..block {
            let started = Instant::now();
            step()?;
            let elapsed = started.elapsed().as_nanos();
            ns.push(u32::try_from(elapsed).unwrap_or(u32::MAX));
        }
        left -= block;
        between();
        progress.advance(block);
    }
    Ok(())
}

/// What one step in `one_in` takes longer than, of sorted times: the nearest rank.
fn quantile(sorted: &[u32], one_in: u64) -> u32 {
    let longer = sorted.len() as u64 / one_in;
    let index = (sorted.len() as u64).saturating_sub(longer.max(1));
    sorted.get(index as usize).copied().unwrap_or(0)
}

/// Counts sorted times in bins that grow by a factor.
fn histogram(sorted: &[u32]) -> Vec<Bin> {
    let number = |ns: u32| (f64::from(ns.max(1)).log2() * BINS_PER_DOUBLING).floor();
    sorted
        .chunk_by(|&a, &b| number(a) == number(b))
        .map(|same| Bin {
            from_ns: (number(same[0]) / BINS_PER_DOUBLING).exp2(),
            steps: same.len(),
        })
        .collect()
}

/// The most memory that this process has had so far, as Linux counts it.
fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kib_of(&status, "VmHWM:").map(|kib| kib << 10)
}

/// The number of KiB in the line that begins with `name`.
fn kib_of(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

impl Found {
    fn print(&self) -> anyhow::Result<()> {
        print_line(&format!(
            "{} {:?} {:?}, {}, {} T, {} steps",
            self.network.title(),
            self.network.activation,
            self.optimizer,
            self.isa,
            self.threads,
            self.steps
        ))?;
        for (name, ns) in [
            ("least", self.min_ns),
            ("p50", self.p50_ns),
            ("p90", self.p90_ns),
            ("p99", self.p99_ns),
            ("p99.9", self.p99_9_ns),
            ("p99.99", self.p99_99_ns),
            ("most", self.max_ns),
        ] {
            print_line(&format!("{name:>8} {:>12.2} us", f64::from(ns) / 1e3))?;
        }
        let most = self
            .histogram
            .iter()
            .map(|bin| bin.steps)
            .max()
            .unwrap_or(1);
        for bin in &self.histogram {
            // Logarithmic, or the rare ones would have no bar.
            let share = (1.0 + bin.steps as f64).ln() / (1.0 + most as f64).ln();
            let bar = "#".repeat((BAR * share).round() as usize);
            print_line(&format!(
                "{:>10.2} us {bar:<40} {}",
                bin.from_ns / 1e3,
                bin.steps
            ))?;
        }
        if let (Some(peak), Some(before)) = (self.peak_rss_bytes, self.rss_before_bytes) {
            print_line(&format!(
                "memory: {} KiB at most, {} KiB of it before the network was built",
                peak >> 10,
                before >> 10
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_by_hand() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!(quantile(&sorted, 2), 501);
        assert_eq!(quantile(&sorted, 10), 901);
        assert_eq!(quantile(&sorted, 1_000), 1000);
        assert_eq!(quantile(&sorted, 1_000_000), 1000);
        assert_eq!(quantile(&[], 2), 0);
    }

    #[test]
    fn every_step_is_in_one_bin() {
        let sorted = [0, 1, 100, 101, 102, 4096, 1_000_000];
        let bins = histogram(&sorted);
        assert_eq!(
            bins.iter().map(|bin| bin.steps).sum::<usize>(),
            sorted.len()
        );
        assert!(
            bins.windows(2)
                .all(|pair| pair[0].from_ns < pair[1].from_ns)
        );
        let exact = Bin {
            from_ns: 4096.0,
            steps: 1,
        };
        assert!(bins.contains(&exact));
    }

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        let status = "Name:\tx\nVmHWM:\t    1234 kB\nVmRSS:\t 12 kB\n";
        assert_eq!(kib_of(status, "VmHWM:"), Some(1234));
        assert_eq!(kib_of(status, "VmPeak:"), None);
        assert_eq!(kib_of("VmHWM:\tmany kB\n", "VmHWM:"), None);
    }
}
