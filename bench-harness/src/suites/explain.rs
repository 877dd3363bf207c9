//! Where the time of a step of training goes: what `Mlp::explain` measures, several times over, so that
//! each figure has its spread; the peak and the clock are probed in between. Outputs and loss of the step
//! are held against f64 before.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kernels::with_team;
use mlp::{Bound, Explanation, Pass};
use serde::Serialize;

use crate::args::{ExplainArgs, NetworkArgs, OptimizerName};
use crate::machine;
use crate::network::Batch;
use crate::progress::{each, is_interrupted};
use crate::report::{Beside, Versioned, print_json, print_line};
use crate::stats::{Spread, median};
use crate::suites::network::{Ours, Work};
use crate::timing::Series;

/// Explanations at least; each takes a third of a second or four steps.
const LEAST: usize = 3;

/// Explanations at most.
const MOST: usize = 15;

/// What was found for one call of a step, or for the whole of it.
#[derive(Debug, Serialize)]
struct Found<'a> {
    #[serde(flatten)]
    network: &'a NetworkArgs,
    isa: &'static str,
    threads: usize,
    #[serde(flatten)]
    call: Call<'a>,
    flop: u64,
    bytes: u64,
    /// The least that the measured peaks permit, and what the prediction is due to.
    predicted_ns: f64,
    bound: &'static str,
    /// Median over the explanations of the shortest time in each.
    median_ns: f64,
    #[serde(flatten)]
    spread: Spread,
    #[serde(flatten)]
    beside: Beside,
}

/// What a call is.
#[derive(Debug, Serialize)]
struct Call<'a> {
    /// Its place in the step; `None` for the whole.
    call: Option<usize>,
    pass: &'static str,
    name: &'a str,
    shape: &'a str,
    kernel: &'a str,
    /// How many threads could take part in it.
    members: usize,
}

/// Runs the suite.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    args.common.precision().set_process_wide();
    for network in each("explain", args.choice.networks()) {
        run_case(args, &network)?;
    }
    Ok(())
}

fn run_case(args: &ExplainArgs, network: &NetworkArgs) -> anyhow::Result<()> {
    let batch = Batch::random(network)?;
    let net = network.build(args.common.isa)?;
    let isa = net.isa();
    let work = Work::Step(OptimizerName::Sgd);
    Ours::checked(&mut net.clone(), network, &batch, work, args.common.threads)
        .with_context(|| format!("explain {}", network.title()))?;
    let mut series = Series::default();
    let (explanations, threads) = with_team(args.common.threads, |team| {
        let started = Instant::now();
        let mut explanations = Vec::new();
        while explanations.len() < MOST {
            let is_enough = explanations.len() >= LEAST && started.elapsed() > args.common.budget();
            if is_enough || !explanations.is_empty() && is_interrupted() {
                break;
            }
            machine::gather(team);
            explanations.push(net.explain_on(network.batch, team)?);
            series.probe(isa, team);
        }
        Ok::<_, anyhow::Error>((explanations, team.threads()))
    })?;
    let first = explanations.first().context("nothing was timed")?;
    ensure!(
        explanations
            .iter()
            .all(|other| other.calls.len() == first.calls.len()),
        "expected the same calls in every step"
    );
    let beside = Beside::of(&series).context("nothing was timed")?;
    if !args.common.json {
        beside.warn(&network.title())?;
        print_line(&format!("{}, {threads} T", network.title()))?;
    }
    for call in (0..first.calls.len()).map(Some).chain([None]) {
        let found = match call {
            Some(call) => Found::of_call(network, &explanations, call, beside),
            None => Found::of_step(network, &explanations, beside),
        };
        let found = found.context("nothing was timed")?;
        if args.common.json {
            print_json(&Versioned::new("explain", &found))?;
        } else {
            found.print()?;
        }
    }
    Ok(())
}

fn ns(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

fn pass(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::Loss => "loss",
        Pass::Backward => "backward",
        Pass::Update => "update",
    }
}

fn bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Compute => "compute",
        Bound::Memory => "memory",
        Bound::Call => "call",
    }
}

impl<'a> Found<'a> {
    fn of_call(
        network: &'a NetworkArgs,
        explanations: &'a [Explanation],
        call: usize,
        beside: Beside,
    ) -> Option<Self> {
        let first = explanations.first()?;
        let calls: Vec<_> = explanations.iter().map(|e| &e.calls[call]).collect();
        let measured: Vec<_> = calls.iter().map(|call| ns(call.measured)).collect();
        let predicted: Vec<_> = calls.iter().map(|call| ns(call.predicted)).collect();
        Some(Self {
            network,
            isa: first.isa.name(),
            threads: first.threads,
            call: Call {
                call: Some(call),
                pass: pass(calls[0].pass),
                name: calls[0].name,
                shape: &calls[0].shape,
                kernel: &calls[0].kernel,
                members: calls[0].threads,
            },
            flop: calls[0].cost.flop,
            bytes: calls[0].cost.bytes(),
            predicted_ns: median(&predicted)?,
            bound: bound(calls[0].bound),
            median_ns: median(&measured)?,
            spread: Spread::of(&measured)?,
            beside,
        })
    }

    /// All calls together; the time is that of a step without a clock between them.
    fn of_step(
        network: &'a NetworkArgs,
        explanations: &'a [Explanation],
        beside: Beside,
    ) -> Option<Self> {
        let first = explanations.first()?;
        let calls = || first.calls.iter();
        let measured: Vec<_> = explanations.iter().map(|e| ns(e.step)).collect();
        let sum = |e: &Explanation| e.calls.iter().map(|call| ns(call.predicted)).sum();
        let predicted: Vec<f64> = explanations.iter().map(sum).collect();
        Some(Self {
            network,
            isa: first.isa.name(),
            threads: first.threads,
            call: Call {
                call: None,
                pass: "all",
                name: "step",
                shape: "",
                kernel: "",
                members: first.threads,
            },
            flop: calls().map(|call| call.cost.flop).sum(),
            bytes: calls().map(|call| call.cost.bytes()).sum(),
            predicted_ns: median(&predicted)?,
            bound: "",
            median_ns: median(&measured)?,
            spread: Spread::of(&measured)?,
            beside,
        })
    }

    fn print(&self) -> anyhow::Result<()> {
        let Call {
            pass,
            name,
            shape,
            kernel,
            members,
            ..
        } = self.call;
        let rate = self.flop as f64 / self.median_ns;
        print_line(&format!(
            "    {pass:<8} {name:<20} {shape:>16} {kernel:<32} {members:>2} T {:>10.2} us, predicted \
             {:>10.2} {:<7} {rate:>7.1} GFLOP/s {:>6.1} GB/s  {}",
            self.median_ns / 1e3,
            self.predicted_ns / 1e3,
            self.bound,
            self.bytes as f64 / self.median_ns,
            self.spread.in_units_of(1e3),
        ))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{ActivationName, Layers};

    #[test]
    fn calls_have_the_spread_of_their_explanations() {
        let network = NetworkArgs {
            name: None,
            layers: Layers(vec![5, 4, 3]),
            batch: 2,
            activation: ActivationName::Relu,
        };
        let net = network.build(None).expect("a network");
        let mut first = net.explain(2).expect("an explanation");
        let mut second = first.clone();
        for (explanation, us) in [(&mut first, 10), (&mut second, 30)] {
            explanation.step = Duration::from_micros(us);
            for call in &mut explanation.calls {
                call.measured = Duration::from_micros(us);
                call.predicted = Duration::from_micros(7);
            }
        }
        let beside = Beside {
            peak_gflop_per_s: 100.0,
            clock_ghz: None,
            peak_spread: 0.0,
            cores_share: None,
        };
        let both = [first, second];
        let call = Found::of_call(&network, &both, 0, beside).expect("a call");
        assert_eq!((call.median_ns, call.predicted_ns), (20e3, 7e3));
        assert_eq!((call.spread.min, call.spread.max), (10e3, 30e3));
        let step = Found::of_step(&network, &both, beside).expect("a step");
        assert_eq!(step.median_ns, 20e3);
        assert_eq!(step.predicted_ns, 7e3 * both[0].calls.len() as f64);
        assert_eq!(step.call.call, None);
    }
}
