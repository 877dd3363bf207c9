//! Whether cost grows as documented: time as `sum d_l d_(l-1)` times the batch, memory as `sum d_l`
//! times the batch.
//!
//! 1. Networks whose width, depth or batch varies are trained in turn, round after round, so that a
//!    change of the clock meets all sizes alike; each pass of a step is timed by itself.
//! 2. The medians over the rounds are held against the operations counted: `t = c flop^e`. The
//!    documented growth is `e = 1`; the interval says how well that is known ([`PowerLaw`]).
//! 3. Where a line `t = a + b flop` is nearer to the times than the power, what each call costs beside its
//!    operations is told apart (reading and packing weights, which no batch changes): the exponent of
//!    `t - a` is then the one that is held against the documented one.
//! 4. The memory of a network is asked of its plan and held against `batch sum d_l` in the same way.
//!
//! Nanoseconds per operation beside each point show where a cache is full: there the line bends. A pass
//! that does little with each number it reads, as an update does, takes as long as its memory: over sizes
//! on both sides of such a bend its exponent is above 1 although it does nothing more than once. So each
//! pass has a law for the sizes within each level besides, and says by how much an operation gets dearer
//! from one level to the next. A last level that others use too has no edge: it fills up gradually. So an update
//! is also held against the time of reading its weights and gradients as they lie, which is measured
//! beside it (`stream`): that law has the exponent 1 whatever the caches do.
//!
//! A verdict is given for each: the law agrees if the whole interval of its exponent is within 0.05 of the
//! documented one, it does not if no part of it is, and else it is too noisy to say.

mod laws;
mod passes;
mod sweep;

use std::io;

use kernels::{Isa, Team, with_team};
use serde::Serialize;

use crate::args::{ComplexityArgs, NetworkArgs};
use crate::cost;
use crate::floats::filled;
use crate::machine;
use crate::network::Batch;
use crate::progress::{Progress, is_interrupted};
use crate::report::{Beside, Versioned, print_json, print_line};
use crate::stats::median;
use crate::stats::regression::{FixedCost, PowerLaw};
use crate::timing::Series;
use laws::{ALL, Agreement, Bend, Law, Point, bends, is_within_a_level, laws};
pub(crate) use passes::Pass;
use passes::Subject;
pub(crate) use sweep::Sweep;

/// How one pass grows over one sweep.
#[derive(Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) pass: &'static str,
    pub(crate) against: &'static str,
    /// What varied; `all` for the three sweeps together; `in l3` for those of their networks whose
    /// operands fit there and in no smaller cache.
    pub(crate) sweep: &'static str,
    #[serde(flatten)]
    pub(crate) law: PowerLaw,
    /// The exponent that the documentation gives.
    documented: f64,
    verdict: Agreement,
    /// What a call costs whatever its size, where that explains the times better than a power.
    #[serde(flatten)]
    fixed: Option<FixedCost>,
    /// Where a cache is full, smallest first.
    bends: Vec<Bend>,
    threads: usize,
    isa: &'static str,
    rounds: usize,
    pub(crate) points: Vec<Point>,
}

/// A network to be timed: where it comes from and what it took, round by round.
struct Timed {
    sweep: Sweep,
    network: NetworkArgs,
    /// Nanoseconds per pass, in the order of [`Pass::ALL`].
    ns: [Vec<f64>; 3],
    arena_bytes: usize,
    /// Nanoseconds of reading as many numbers as an update touches.
    stream: Vec<f64>,
    /// What was probed beside the samples.
    beside: Series,
}

/// Runs the suite.
pub(crate) fn run(args: &ComplexityArgs) -> anyhow::Result<()> {
    args.common.precision().set_process_wide();
    for growth in measure(args)? {
        if args.common.json {
            print_json(&Versioned::new("complexity", &growth))?;
        } else {
            growth.print()?;
        }
    }
    Ok(())
}

/// Times all sweeps and fits all laws.
pub(crate) fn measure(args: &ComplexityArgs) -> anyhow::Result<Vec<Growth>> {
    let networks: Vec<_> = Sweep::ALL
        .into_iter()
        .flat_map(|sweep| sweep.networks().into_iter().map(move |n| (sweep, n)))
        .collect();
    let isa = args.common.kernels()?.isa();
    let (timed, threads) = with_team(args.common.threads, |team| {
        Ok::<_, anyhow::Error>((time(args, networks, isa, team)?, team.threads()))
    })?;
    let rounds = timed.first().map_or(0, |timed| timed.ns[0].len());
    let label = |pass, against: &'static str, (sweep, law, points): Law| {
        let documented = if against == "batch" { 0.0 } else { 1.0 };
        let pairs: Vec<_> = points.iter().map(|p| (p.size, p.measured)).collect();
        let fixed = FixedCost::fit(&pairs, &law).filter(|_| against == "flop");
        let is_bent = against == "flop" && !is_within_a_level(sweep);
        Growth {
            pass,
            against,
            sweep,
            law,
            documented,
            verdict: Agreement::judge(&law, fixed.as_ref(), documented),
            fixed,
            bends: if is_bent { bends(&points) } else { Vec::new() },
            threads,
            isa: isa.name(),
            rounds,
            points,
        }
    };
    let mut growths = Vec::new();
    for pass in Pass::ALL {
        let points: Vec<_> = timed.iter().map(|timed| timed.point(pass)).collect();
        growths.extend(
            laws(&points)
                .into_iter()
                .map(|law| label(pass.name(), "flop", law)),
        );
        if pass == Pass::Update {
            // It takes the same for every batch.
            let over_batch = |(sweep, _): &(Sweep, Point)| *sweep == Sweep::Batch;
            let of_batch = points.iter().filter(|point| over_batch(point));
            let of_batch =
                of_batch.map(|(s, point)| (*s, point.against(point.network.batch as f64)));
            let batch = laws(&of_batch.collect::<Vec<_>>()).into_iter();
            let batch = batch.filter(|(sweep, ..)| *sweep == "batch");
            growths.extend(batch.map(|law| label(pass.name(), "batch", law)));
            let of_size = points
                .iter()
                .zip(&timed)
                .filter(|(point, _)| !over_batch(point));
            let of_size = of_size.filter_map(|((sweep, point), timed)| {
                Some((*sweep, point.against(median(&timed.stream)?)))
            });
            let stream = laws(&of_size.collect::<Vec<_>>()).into_iter();
            let stream = stream.filter(|(sweep, ..)| !is_within_a_level(sweep));
            growths.extend(stream.map(|law| label(pass.name(), "stream", law)));
        }
    }
    let points: Vec<_> = timed.iter().map(Timed::memory).collect();
    let laws = laws(&points).into_iter();
    growths.extend(
        laws.filter(|(sweep, ..)| !is_within_a_level(sweep))
            .map(|law| label("memory", "sum_d", law)),
    );
    Ok(growths)
}

impl Timed {
    /// One pass over its operations.
    fn point(&self, pass: Pass) -> (Sweep, Point) {
        let cost = pass.cost(&self.network);
        let ns = median(&self.ns[pass as usize]).unwrap_or(f64::NAN);
        let point = Point::new(&self.network, cost.flop, cost.bytes, ns);
        let beside = Beside::of(&self.beside);
        (self.sweep, Point { beside, ..point })
    }

    /// The arena over the values of the layers.
    fn memory(&self) -> (Sweep, Point) {
        let NetworkArgs { layers, batch, .. } = &self.network;
        let values = (batch * layers.0.iter().sum::<usize>()) as f64;
        let bytes = self.arena_bytes as f64;
        (self.sweep, Point::new(&self.network, values, bytes, bytes))
    }
}

fn time(
    args: &ComplexityArgs,
    networks: Vec<(Sweep, NetworkArgs)>,
    isa: Isa,
    team: &Team,
) -> anyhow::Result<Vec<Timed>> {
    machine::gather(team);
    let batches = networks
        .iter()
        .map(|(_, network)| Batch::random(network))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut nets = networks
        .iter()
        .map(|(_, network)| network.build(args.common.isa))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut timed = Vec::new();
    for ((sweep, network), net) in networks.into_iter().zip(&nets) {
        timed.push(Timed {
            sweep,
            arena_bytes: net.plan(network.batch)?.arena_bytes(),
            network,
            ns: Default::default(),
            stream: Vec::new(),
            beside: Series::default(),
        });
    }
    let mut subjects = nets
        .iter_mut()
        .zip(&batches)
        .zip(&timed)
        .map(|((net, batch), timed)| Subject::new(net, batch, &timed.network))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let touched = |timed: &Timed| 2 * cost::parameters(&timed.network.layers.0);
    let most = timed.iter().map(touched).max().unwrap_or(0);
    let buffer = filled(most, 1.0);
    let progress = Progress::of("complexity", u64::from(args.rounds));
    for round in 0..args.rounds {
        if round > 0 && is_interrupted() {
            break;
        }
        let mut order: Vec<_> = (0..timed.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for i in order {
            let sample = subjects[i].sample(team)?;
            for (series, ns) in timed[i].ns.iter_mut().zip(sample) {
                series.push(ns);
            }
            let numbers = &buffer[..touched(&timed[i])];
            timed[i].stream.push(machine::read_ns(numbers));
            timed[i].beside.probe(isa, team);
        }
        progress.advance(1);
    }
    Ok(timed)
}

impl Growth {
    fn print(&self) -> io::Result<()> {
        let (unit, per, scale) = match self.against {
            "flop" => ("us", "ps/flop", 1e3),
            "batch" => ("us", "ns/sample", 1.0),
            "stream" => ("us", "of reading it", 1.0),
            _ => ("KB", "bytes/value", 1.0),
        };
        print_line(&format!(
            "{:<8} {:<11}  grows as {}^{:.3}  ({:.3} to {:.3}), documented {}: {}",
            self.pass,
            match self.sweep {
                sweep if is_within_a_level(sweep) => sweep.to_owned(),
                sweep => format!("over {sweep}"),
            },
            self.against,
            self.law.exponent,
            self.law.low,
            self.law.high,
            self.documented,
            self.verdict.words()
        ))?;
        if let Some(FixedCost {
            fixed,
            slope,
            beyond,
        }) = self.fixed
        {
            print_line(&format!(
                "    -- {:.1} us and {:.1} ps/flop; without the fixed cost {}^{:.3} ({:.3} to {:.3}) --",
                fixed / 1e3,
                slope * 1e3,
                self.against,
                beyond.exponent,
                beyond.low,
                beyond.high
            ))?;
        }
        for Bend {
            from,
            to,
            cost_ratio,
        } in &self.bends
        {
            print_line(&format!(
                "    -- from {from} to {to} each takes {cost_ratio:.2} times as much --"
            ))?;
        }
        // The points of all sweeps together are those of the three, which follow.
        if self.sweep == ALL || is_within_a_level(self.sweep) {
            return Ok(());
        }
        let mut fits_in = "";
        for point in &self.points {
            if !fits_in.is_empty() && fits_in != point.fits_in {
                print_line(&format!("    -- operands no longer fit in {fits_in} --"))?;
            }
            fits_in = point.fits_in;
            if let Some(beside) = &point.beside {
                beside.warn(&format!("{} of {}", self.pass, point.network.title()))?;
            }
            print_line(&format!(
                "    {:<40} {:>9.3e} {} {:>9.3e} bytes {:>12.1} {unit} {:>8.1} {per} \
                 {:>6.1} GB/s  {}",
                point.network.title(),
                point.size,
                self.against,
                point.bytes,
                point.measured / 1e3,
                point.measured_per_size * scale,
                point.bytes / point.measured,
                point.fits_in
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times made up from the operations: `ns = flop / 10`.
    fn made_up() -> Vec<Timed> {
        let mut timed = Vec::new();
        for sweep in Sweep::ALL {
            for network in sweep.networks() {
                let ns = Pass::ALL.map(|pass| vec![pass.cost(&network).flop / 10.0]);
                let net = network.build(None).expect("a network");
                let plan = net.plan(network.batch).expect("a plan");
                timed.push(Timed {
                    sweep,
                    arena_bytes: plan.arena_bytes(),
                    network,
                    ns,
                    stream: Vec::new(),
                    beside: Series::default(),
                });
            }
        }
        timed
    }

    #[test]
    fn times_in_proportion_to_the_operations_have_the_exponent_one() {
        let timed = made_up();
        for pass in Pass::ALL {
            let points: Vec<_> = timed.iter().map(|timed| timed.point(pass)).collect();
            let laws = laws(&points);
            let names = laws.iter().map(|(sweep, ..)| *sweep);
            let names: Vec<_> = names.filter(|name| !is_within_a_level(name)).collect();
            // An update does not depend on the batch.
            let expected: &[_] = match pass {
                Pass::Update => &["all", "width", "depth"],
                _ => &["all", "width", "depth", "batch"],
            };
            assert_eq!(names, expected);
            for (sweep, law, _) in laws {
                assert!(
                    (law.exponent - 1.0).abs() < 1e-9,
                    "{pass:?} {sweep} {law:?}"
                );
            }
        }
    }

    #[test]
    fn memory_grows_as_the_values_of_the_layers_do() {
        let points: Vec<_> = made_up().iter().map(Timed::memory).collect();
        for (sweep, law, points) in laws(&points) {
            if is_within_a_level(sweep) {
                continue;
            }
            // Two gradients at a time live beside the values of all layers, whatever the depth.
            assert!((0.85..1.02).contains(&law.exponent), "{sweep} {law:?}");
            for point in points {
                let floats = point.measured / 4.0;
                assert!(floats <= 2.0 * point.size, "{:?}", point.network);
            }
        }
    }

    #[test]
    fn operations_are_those_that_the_plan_counts() {
        for timed in made_up() {
            let net = timed.network.build(None).expect("a network");
            let plan = net.plan(timed.network.batch).expect("a plan");
            for (pass, counted) in [
                (Pass::Forward, plan.forward_flop()),
                (Pass::Backward, plan.backward_flop()),
            ] {
                let flop = pass.cost(&timed.network).flop;
                // The plan adds the sums of the biases' gradients and the like.
                let excess = counted as f64 / flop - 1.0;
                assert!(
                    (0.0..0.01).contains(&excess),
                    "{pass:?} {:?}",
                    timed.network
                );
            }
        }
    }
}
