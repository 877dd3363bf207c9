//! `C = A B`, ours and the peers', checked and then timed in turn.

use std::time::Duration;

use anyhow::{Context, ensure};
use kernels::{
    Gemm, KernelError, Kernels, MatMut, MatRef, PackedB, Precision, Team, Workspace, with_team,
};
use serde::Serialize;

use crate::args::{GemmArgs, Op, ShapeTable};
use crate::floats::{Floats, filled};
use crate::operands::Operands;
use crate::peers::{self, Multiply};
use crate::progress::each;
use crate::report::{Figures, OURS, Record, Setting, print_line};
use crate::stats::bootstrap::Estimate;
use crate::stats::verdict::Verdict;
use crate::timing::{Contestant, in_turn, time_calls};
use crate::{cost, machine, stats};

use super::standings::{Standings, fastest};

/// (m, n, k) of forward passes, the products that training spends its time on.
pub(super) const TRAINING: [(usize, usize, usize); 8] = [
    (32, 128, 784),
    (64, 256, 784),
    (128, 512, 784),
    (128, 512, 512),
    (128, 256, 512),
    (128, 10, 256),
    (256, 1024, 1024),
    (4096, 64, 64),
];

pub(super) const SQUARES: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];

/// The arguments of one case, as given.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Case {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) op: Op,
    /// Whether ours finds B packed.
    pub(super) prepacked: bool,
}

impl Case {
    /// The same for people.
    pub(super) fn title(self) -> String {
        let Self { m, n, k, op, .. } = self;
        let packed = if self.prepacked { ", B packed" } else { "" };
        format!("{op} {m}x{n}x{k}{packed}")
    }

    pub(super) fn operands(self) -> anyhow::Result<Operands> {
        let Self { m, n, k, op, .. } = self;
        ensure!(
            m > 0 && n > 0 && k > 0,
            "gemm: expected m, n and k of at least 1, got {m} x {n} x {k}: there is nothing to time"
        );
        // A, B and C, and twice more of each in packed form or as a second result.
        let product = |a: usize, b: usize| a.checked_mul(b);
        let values = product(m, k)
            .zip(product(k, n))
            .zip(product(m, n))
            .and_then(|((a, b), c)| a.checked_add(b)?.checked_add(c)?.checked_mul(2));
        machine::ensure_memory(&format!("gemm: {}", self.title()), values)?;
        Ok(Operands::random(m, n, k, op))
    }
}

/// How this project compares with the one in the record.
#[derive(Debug, Serialize)]
struct Comparison {
    /// Median over the rounds of (this implementation's time / ours); above 1, ours is faster.
    time_over_ours: Option<f64>,
    /// The ends of its 95 % interval.
    time_over_ours_low: Option<f64>,
    time_over_ours_high: Option<f64>,
    /// How far from 1 the interval of ours against ours reaches, timed in the same rounds.
    noise: Option<f64>,
    /// Which of the two is faster beyond the noise, if any.
    verdict: Option<Verdict>,
    /// The precisions that run the same product, where none was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    asked_alike: Vec<Precision>,
}

impl Comparison {
    /// Nothing to compare with.
    const NONE: Self = Self {
        time_over_ours: None,
        time_over_ours_low: None,
        time_over_ours_high: None,
        noise: None,
        verdict: None,
        asked_alike: Vec::new(),
    };

    fn of(theirs: &[f64], ours: &[f64], ours_again: &[f64]) -> Option<Self> {
        let estimate = |a, b| Estimate::of_median(&[stats::paired_ratios(a, b)]);
        let (ratio, a_to_a) = (estimate(theirs, ours)?, estimate(ours_again, ours)?);
        Some(Self {
            time_over_ours: Some(ratio.value),
            time_over_ours_low: Some(ratio.low),
            time_over_ours_high: Some(ratio.high),
            noise: Some(a_to_a.distance_from_one()),
            verdict: Some(Verdict::of(&ratio, &a_to_a)),
            asked_alike: Vec::new(),
        })
    }

    /// The same in a table.
    fn note(&self) -> String {
        let alike: Vec<_> = self.asked_alike.iter().map(|p| p.name()).collect();
        let alike = match alike[..] {
            [] => String::new(),
            _ => format!(", what {} run", alike.join(", ")),
        };
        format!("{}{alike}", self.over_ours())
    }

    fn over_ours(&self) -> String {
        let (Some(ratio), Some(noise), Some(verdict)) =
            (self.time_over_ours, self.noise, self.verdict)
        else {
            return String::new();
        };
        match verdict {
            Verdict::Same => format!(
                ", as fast as ours within the noise of {:.1} %",
                100.0 * noise
            ),
            Verdict::Faster | Verdict::Slower => {
                format!(", takes {ratio:.2} times as long as ours")
            }
        }
    }
}

/// A matrix as it is stored, or its transpose.
pub(super) fn view(
    data: &[f32],
    (rows, cols): (usize, usize),
    transposed: bool,
) -> Result<MatRef<'_>, KernelError> {
    let view = MatRef::from_row_major(data, rows, cols);
    view.map(|view| if transposed { view.t() } else { view })
}

/// Ours, within a team of its own for each sample: between samples no helper spins on a core that a
/// peer wants.
pub(super) struct Ours<'a> {
    kernels: &'static Kernels,
    operands: &'a Operands,
    threads: usize,
    asked: Precision,
    /// B, if it is packed before anything is timed.
    packed: Option<PackedB>,
    workspace: Workspace,
    c: Floats,
}

impl<'a> Ours<'a> {
    pub(super) fn new(
        kernels: &'static Kernels,
        operands: &'a Operands,
        threads: usize,
        (prepacked, asked): (bool, Precision),
    ) -> Result<Self, KernelError> {
        let b = view(&operands.b, operands.b_stored(), operands.b_is_transposed())?;
        Ok(Self {
            kernels,
            operands,
            threads,
            asked,
            packed: prepacked.then(|| kernels.pack_b_for(b, operands.m, asked)),
            workspace: Workspace::new(),
            // NaN, so that an element that is not written is noticed.
            c: filled(operands.m * operands.n, f32::NAN),
        })
    }

    /// So many products; the views of the operands are made once.
    fn multiply(&mut self, calls: usize, team: &Team) -> Result<Duration, KernelError> {
        let operands = self.operands;
        let a = view(&operands.a, operands.a_stored(), operands.a_is_transposed())?;
        let b = view(&operands.b, operands.b_stored(), operands.b_is_transposed())?;
        let gemm = match &self.packed {
            Some(packed) => Gemm::new(a, packed),
            None => Gemm::new(a, b),
        };
        let gemm = Gemm {
            precision: self.asked,
            ..gemm
        };
        let mut result = Ok(());
        let elapsed = time_calls(calls, || {
            let c = MatMut::from_row_major(&mut self.c, operands.m, operands.n);
            let done = c.and_then(|c| self.kernels.gemm(&gemm, c, &mut self.workspace, team));
            if done.is_err() {
                result = done;
            }
        });
        result.map(|()| elapsed)
    }

    /// How exact the product is that runs.
    fn precision(&self) -> Precision {
        let Operands { m, n, k, .. } = *self.operands;
        match &self.packed {
            Some(packed) => packed.precision(),
            None => self.kernels.effective_precision(self.asked, (m, n, k)),
        }
    }

    /// Holds one product against f64.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        with_team(self.threads, |team| self.multiply(1, team))?;
        let checked = self.operands.check_at(&self.c, self.precision());
        checked.map_err(anyhow::Error::msg).context(OURS)
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
            self.multiply(calls, team)
                .expect("the same call succeeded in the check")
        })
    }
}

struct Peer<'a> {
    library: Box<dyn Multiply>,
    operands: &'a Operands,
    c: Floats,
}

impl Contestant for Peer<'_> {
    fn name(&self) -> String {
        peers::with_version(self.library.name())
    }

    fn threads(&self) -> usize {
        self.library.threads()
    }

    fn sample(&mut self, calls: usize) -> Duration {
        time_calls(calls, || self.library.multiply(self.operands, &mut self.c))
    }
}

/// Runs the suite.
pub(crate) fn run(args: &GemmArgs) -> anyhow::Result<()> {
    let kernels = args.common.kernels()?;
    let mut standings = Standings::default();
    for case in each("gemm", cases(args)?) {
        standings.add(run_case(args, kernels, case)?);
    }
    if !args.common.json {
        standings.print()?;
    }
    Ok(())
}

/// The cases that the arguments name.
pub(crate) fn cases(args: &GemmArgs) -> anyhow::Result<Vec<Case>> {
    let shapes: Vec<_> = match args.suite {
        Some(ShapeTable::Training) => TRAINING.to_vec(),
        Some(ShapeTable::Squares) => SQUARES.map(|n| (n, n, n)).to_vec(),
        None => vec![
            args.m
                .zip(args.n)
                .zip(args.k)
                .map(|((m, n), k)| (m, n, k))
                .context("--m, --n and --k are needed, or --suite")?,
        ],
    };
    let ops = match (args.op, args.suite) {
        (Some(op), _) => vec![op],
        (None, Some(_)) => vec![Op::Nn, Op::Nt, Op::Tn],
        (None, None) => vec![Op::Nn],
    };
    Ok(shapes
        .into_iter()
        .flat_map(|(m, n, k)| {
            ops.iter().map(move |&op| Case {
                m,
                n,
                k,
                op,
                prepacked: args.prepacked,
            })
        })
        .collect())
}

/// Checks ours and hands it over: the first shape of the arguments.
pub(crate) fn with_ours<R>(
    args: &GemmArgs,
    then: impl FnOnce(&mut dyn Contestant) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let kernels = args.common.kernels()?;
    let case = *cases(args)?.first().context("no shape was given")?;
    let operands = case.operands()?;
    let threads = with_team(args.common.threads, Team::threads);
    let asked = args.common.precision();
    let mut ours = Ours::new(kernels, &operands, threads, (case.prepacked, asked))?;
    ours.check()?;
    then(&mut ours)
}

/// Times one case; gives how long each peer took, as a multiple of ours.
fn run_case(
    args: &GemmArgs,
    kernels: &'static Kernels,
    case: Case,
) -> anyhow::Result<Vec<(String, f64)>> {
    let Case {
        m, n, k, prepacked, ..
    } = case;
    let operands = case.operands()?;
    let threads = with_team(args.common.threads, Team::threads);
    let asked = args.common.precisions();
    let what_runs = |&asked: &Precision| kernels.effective_precision(asked, (m, n, k));
    // One for each that runs, the usual one first.
    let mut distinct: Vec<Precision> = Vec::new();
    for precision in &asked {
        if !distinct
            .iter()
            .any(|known| what_runs(known) == what_runs(precision))
        {
            distinct.push(*precision);
        }
    }
    let alike = |runs: Precision| -> Vec<Precision> {
        let alike = asked.iter().filter(|&asked| what_runs(asked) == runs);
        if asked.len() > 1 {
            alike.copied().collect()
        } else {
            Vec::new()
        }
    };
    let mut contestants = checked_contestants(args, kernels, &operands, threads, &distinct)?;
    let isa = kernels.isa();
    let is_compared = contestants.len() > 1;
    if is_compared {
        let again = Ours::new(kernels, &operands, threads, (prepacked, distinct[0]))?;
        contestants.push(Box::new(again));
    }
    let mut series = in_turn(&mut contestants, isa, args.common.budget());
    let ours_again = if is_compared { series.pop() } else { None };
    let title = case.title();
    let mut ratios = Vec::new();
    for (index, (contestant, timings)) in contestants.iter().zip(&series).enumerate() {
        let name = contestant.name();
        let figures = Figures::of(timings, cost::gemm(m, n, k)).context("nothing was timed")?;
        // Ours come first.
        let precision_asked = distinct.get(index).copied();
        let comparison = ours_again
            .as_ref()
            .filter(|_| index > 0)
            .and_then(|again| Comparison::of(&timings.ns, &series[0].ns, &again.ns))
            .unwrap_or(Comparison::NONE);
        let comparison = Comparison {
            asked_alike: precision_asked.map_or_else(Vec::new, |asked| alike(what_runs(&asked))),
            ..comparison
        };
        let note = comparison.note();
        if precision_asked.is_none() {
            ratios.extend(comparison.time_over_ours.map(|ratio| (name.clone(), ratio)));
        }
        let setting = Setting {
            r#impl: name,
            isa: precision_asked.map_or("auto", |_| isa.name()),
            threads: contestant.threads(),
            precision: precision_asked.map_or(Precision::Ieee, |asked| what_runs(&asked)),
            precision_asked: precision_asked.unwrap_or(Precision::Ieee),
        };
        Record::new("gemm", case, setting, figures, comparison).print(
            args.common.json,
            &title,
            &note,
        )?;
    }
    if !args.common.json
        && let Some((name, ratio)) = fastest(&ratios)
    {
        print_line(&format!("{title:<24} {}", Standings::words(name, ratio)))?;
    }
    Ok(ratios)
}

/// Ours in each of these precisions and, if asked for, the peers, after the product of each has been held
/// against f64.
fn checked_contestants<'a>(
    args: &GemmArgs,
    kernels: &'static Kernels,
    operands: &'a Operands,
    threads: usize,
    precisions: &[Precision],
) -> anyhow::Result<Vec<Box<dyn Contestant + 'a>>> {
    let mut contestants: Vec<Box<dyn Contestant>> = Vec::new();
    for &precision in precisions {
        let mut ours = Ours::new(kernels, operands, threads, (args.prepacked, precision))?;
        ours.check()?;
        contestants.push(Box::new(ours));
    }
    let libraries = if args.peers {
        peers::all(threads)
    } else {
        Vec::new()
    };
    for mut library in libraries {
        let mut c = filled(operands.m * operands.n, f32::NAN);
        library.multiply(operands, &mut c);
        operands
            .check(&c)
            .map_err(anyhow::Error::msg)
            .context(library.name())?;
        contestants.push(Box::new(Peer {
            library,
            operands,
            c,
        }));
    }
    Ok(contestants)
}
