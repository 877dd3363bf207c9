//! Whether cost grows as documented: time as `sum d_l d_(l-1)` times the batch, memory as `sum d_l`
//! times the batch.
//!
//! 1. Networks whose width, depth or batch varies are trained in turn, round after round, so that a
//!    change of the clock meets all sizes alike; each pass of a step is timed by itself.
//! 2. The medians over the rounds are held against the operations counted: `t = c flop^e`. The
//!    documented growth is `e = 1`; the interval says how well that is known ([`PowerLaw`]).
//! 3. The memory of a network is asked of its plan and held against `batch sum d_l` in the same way.
//!
//! Nanoseconds per operation beside each point show where a cache is full: there the line bends.

mod passes;
mod sweep;

use std::io;

use kernels::{CpuInfo, Team, with_team};
use serde::Serialize;

use crate::args::{ComplexityArgs, NetworkArgs};
use crate::machine;
use crate::network::Batch;
use crate::progress::{Progress, is_interrupted};
use crate::report::{Versioned, print_json, print_line};
use crate::stats::median;
use crate::stats::regression::PowerLaw;
pub(crate) use passes::Pass;
use passes::Subject;
pub(crate) use sweep::Sweep;

/// One network of a sweep, and what one pass of it took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) network: NetworkArgs,
    /// What the fit is against: operations, or `batch sum d_l`.
    pub(crate) size: f64,
    /// Least bytes moved to and from memory, each operand once.
    pub(crate) bytes: f64,
    /// Nanoseconds; bytes of the arena for `memory`.
    pub(crate) measured: f64,
    pub(crate) measured_per_size: f64,
    /// The smallest cache that the bytes fit in, or `memory`.
    pub(crate) fits_in: &'static str,
}

/// How one pass grows over one sweep.
#[derive(Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) pass: &'static str,
    pub(crate) against: &'static str,
    /// What varied; `all` for the three sweeps together.
    pub(crate) sweep: &'static str,
    #[serde(flatten)]
    pub(crate) law: PowerLaw,
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
}

/// Runs the suite.
pub(crate) fn run(args: &ComplexityArgs) -> anyhow::Result<()> {
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
        Ok::<_, anyhow::Error>((time(args, networks, team)?, team.threads()))
    })?;
    let label = |pass, against, sweep, law, points| Growth {
        pass,
        against,
        sweep,
        law,
        threads,
        isa: isa.name(),
        rounds: timed.first().map_or(0, |timed| timed.ns[0].len()),
        points,
    };
    let mut growths = Vec::new();
    for (index, pass) in Pass::ALL.into_iter().enumerate() {
        growths.extend(
            laws(&timed, |timed| {
                let cost = pass.cost(&timed.network);
                let ns = median(&timed.ns[index]).unwrap_or(f64::NAN);
                point(&timed.network, cost.flop, cost.bytes, ns)
            })
            .into_iter()
            .map(|(sweep, law, points)| label(pass.name(), "flop", sweep, law, points)),
        );
    }
    growths.extend(
        laws(&timed, |timed| {
            let NetworkArgs { layers, batch, .. } = &timed.network;
            let values = (batch * layers.0.iter().sum::<usize>()) as f64;
            let bytes = timed.arena_bytes as f64;
            point(&timed.network, values, bytes, bytes)
        })
        .into_iter()
        .map(|(sweep, law, points)| label("memory", "sum_d", sweep, law, points)),
    );
    Ok(growths)
}

fn time(
    args: &ComplexityArgs,
    networks: Vec<(Sweep, NetworkArgs)>,
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
        });
    }
    let mut subjects = nets
        .iter_mut()
        .zip(&batches)
        .zip(&timed)
        .map(|((net, batch), timed)| Subject::new(net, batch, &timed.network))
        .collect::<anyhow::Result<Vec<_>>>()?;
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
        }
        progress.advance(1);
    }
    Ok(timed)
}

fn point(network: &NetworkArgs, size: f64, bytes: f64, measured: f64) -> Point {
    Point {
        network: network.clone(),
        size,
        bytes,
        measured,
        measured_per_size: measured / size,
        fits_in: level(bytes),
    }
}

/// The smallest cache that so many bytes fit in.
fn level(bytes: f64) -> &'static str {
    let caches = CpuInfo::get().caches;
    let l3 = caches.l3.map_or(0, |l3| l3.bytes);
    [
        ("l1d", caches.l1d.bytes),
        ("l2", caches.l2.bytes),
        ("l3", l3),
    ]
    .into_iter()
    .find(|(_, size)| bytes <= *size as f64)
    .map_or("memory", |(name, _)| name)
}

type Law = (&'static str, PowerLaw, Vec<Point>);

/// The law of all sweeps together, and of each in which the size varies.
fn laws(timed: &[Timed], point: impl Fn(&Timed) -> Point) -> Vec<Law> {
    let of = |name, wanted: Option<Sweep>| {
        let points: Vec<_> = timed
            .iter()
            .filter(|timed| wanted.is_none_or(|wanted| timed.sweep == wanted))
            .map(&point)
            .collect();
        let pairs: Vec<_> = points.iter().map(|p| (p.size, p.measured)).collect();
        PowerLaw::fit(&pairs).map(|law| (name, law, points))
    };
    [
        of("all", None),
        of("width", Some(Sweep::Width)),
        of("depth", Some(Sweep::Depth)),
        of("batch", Some(Sweep::Batch)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Growth {
    fn print(&self) -> io::Result<()> {
        let (unit, per, scale) = match self.against {
            "flop" => ("us", "ps/flop", 1e3),
            _ => ("KB", "bytes/value", 1.0),
        };
        print_line(&format!(
            "{:<8} over {:<5}  grows as {}^{:.3}  ({:.3} to {:.3})",
            self.pass, self.sweep, self.against, self.law.exponent, self.law.low, self.law.high
        ))?;
        // The points of all sweeps together are those of the three, which follow.
        if self.sweep == "all" {
            return Ok(());
        }
        let mut fits_in = "";
        for point in &self.points {
            if !fits_in.is_empty() && fits_in != point.fits_in {
                print_line(&format!("    -- operands no longer fit in {fits_in} --"))?;
            }
            fits_in = point.fits_in;
            print_line(&format!(
                "    {:<40} {:>9.3e} {} {:>9.3e} bytes {:>12.1} {unit} {:>8.1} {per}  {}",
                point.network.title(),
                point.size,
                self.against,
                point.bytes,
                point.measured / 1e3,
                point.measured_per_size * scale,
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
                });
            }
        }
        timed
    }

    #[test]
    fn times_in_proportion_to_the_operations_have_the_exponent_one() {
        let timed = made_up();
        for (index, pass) in Pass::ALL.into_iter().enumerate() {
            let laws = laws(&timed, |timed| {
                let cost = pass.cost(&timed.network);
                point(&timed.network, cost.flop, cost.bytes, timed.ns[index][0])
            });
            let names: Vec<_> = laws.iter().map(|(sweep, _, _)| *sweep).collect();
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
        for (sweep, law, points) in laws(&made_up(), |timed| {
            let sum: usize = timed.network.layers.0.iter().sum();
            let bytes = timed.arena_bytes as f64;
            point(
                &timed.network,
                (timed.network.batch * sum) as f64,
                bytes,
                bytes,
            )
        }) {
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
