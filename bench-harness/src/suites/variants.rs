//! Whether the way in which a product is computed is the best there is: the choice of the driver held
//! against each way that the operands allow (nothing packed, A, B or both; each family of micro-tiles;
//! dot products).
//!
//! All ways are timed in turn. The one with the least median is then timed against the choice anew, since
//! the least of many noisy numbers is less than it should be.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context;
use kernels::{Gemm, KernelError, Kernels, MatMut, Team, Variant, Workspace, with_team};
use serde::Serialize;

use super::gemm::{Case, cases, view};
use crate::args::GemmArgs;
use crate::floats::{Floats, filled};
use crate::machine;
use crate::operands::Operands;
use crate::progress::each;
use crate::report::print_line;
use crate::stats::{median, verdict::Verdict};
use crate::timing::{Contestant, in_turn, time_calls};
use crate::versus::Versus;

/// How far behind the best the choice may be.
const ALLOWED: f64 = 1.05;

/// A product in one of the ways.
struct Forced<'a> {
    kernels: &'static Kernels,
    operands: &'a Operands,
    threads: usize,
    /// None is what the driver chooses.
    variant: Option<Variant>,
    workspace: Workspace,
    c: Floats,
}

impl<'a> Forced<'a> {
    /// Ready to be timed: the result has been held against f64.
    fn checked(
        kernels: &'static Kernels,
        operands: &'a Operands,
        threads: usize,
        variant: Option<Variant>,
    ) -> anyhow::Result<Self> {
        let mut forced = Self {
            kernels,
            operands,
            threads,
            variant,
            workspace: Workspace::new(),
            // NaN, so that an element that is not written is noticed.
            c: filled(operands.m * operands.n, f32::NAN),
        };
        with_team(threads, |team| forced.multiply(team))?;
        let checked = operands.check(&forced.c).map_err(anyhow::Error::msg);
        checked.with_context(|| forced.name())?;
        Ok(forced)
    }

    fn multiply(&mut self, team: &Team) -> Result<(), KernelError> {
        let operands = self.operands;
        let gemm = product(operands)?;
        let c = MatMut::from_row_major(&mut self.c, operands.m, operands.n)?;
        match self.variant {
            Some(variant) => self
                .kernels
                .gemm_by(variant, &gemm, c, &mut self.workspace, team),
            None => self.kernels.gemm(&gemm, c, &mut self.workspace, team),
        }
    }
}

fn product(operands: &Operands) -> Result<Gemm<'_>, KernelError> {
    let a = view(&operands.a, operands.a_stored(), operands.a_is_transposed())?;
    let b = view(&operands.b, operands.b_stored(), operands.b_is_transposed())?;
    Ok(Gemm::new(a, b))
}

impl Contestant for Forced<'_> {
    fn name(&self) -> String {
        self.variant
            .map_or("the choice".to_owned(), |variant| Name(variant).to_string())
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn sample(&mut self, calls: usize) -> Duration {
        with_team(self.threads, |team| {
            machine::gather(team);
            time_calls(calls, || {
                self.multiply(team)
                    .expect("the same call succeeded in the check");
            })
        })
    }
}

/// A variant for people.
struct Name(Variant);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Variant::Dots => f.write_str("dot products"),
            Variant::Tiles {
                width,
                pack_a,
                pack_b,
            } => {
                let packed = match (pack_a, pack_b) {
                    (false, false) => "nothing",
                    (true, false) => "A",
                    (false, true) => "B",
                    (true, true) => "A and B",
                };
                write!(f, "{packed} packed, tiles of {width} registers")
            }
        }
    }
}

/// A shape, and the way that came out best.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    case: Case,
    isa: &'static str,
    threads: usize,
    best: String,
    /// Median nanoseconds of every way, from the first round.
    ways: BTreeMap<String, f64>,
}

/// Runs the suite.
pub(crate) fn run(args: &GemmArgs) -> anyhow::Result<()> {
    let kernels = args.common.kernels()?;
    let mut behind = Vec::new();
    for case in each("gemm", cases(args)?) {
        behind.push(run_case(args, kernels, case)?);
    }
    if !args.common.json {
        let late = behind.iter().filter(|&&ratio| ratio > ALLOWED).count();
        let worst = behind.iter().copied().fold(f64::NAN, f64::max);
        print_line(&format!(
            "the choice takes at most {worst:.3} times as long as the best way; more than {ALLOWED} \
             times in {late} of {} cases",
            behind.len()
        ))?;
    }
    Ok(())
}

/// How much longer the choice takes than the best way; 1 where that is not sure.
fn run_case(args: &GemmArgs, kernels: &'static Kernels, case: Case) -> anyhow::Result<f64> {
    let operands = &case.operands()?;
    let threads = with_team(args.common.threads, Team::threads);
    let isa = kernels.isa();
    let mut room = filled(operands.m * operands.n, 0.0);
    let c = MatMut::from_row_major(&mut room, operands.m, operands.n)?;
    let variants = kernels.gemm_variants(&product(operands)?, &c);
    let ready = |variant| Forced::checked(kernels, operands, threads, variant);
    let mut all: Vec<Box<dyn Contestant>> = Vec::new();
    for &variant in &variants {
        all.push(Box::new(ready(Some(variant))?));
    }
    let medians = in_turn(&mut all, isa, args.common.budget() / 2)
        .into_iter()
        .filter_map(|series| median(&series.ns));
    let timed: Vec<_> = variants.into_iter().zip(medians).collect();
    let (best, _) = timed
        .iter()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .context("there is always a way")?;
    let versus = Versus::time(
        [
            Box::new(ready(Some(*best))?),
            Box::new(ready(None)?),
            Box::new(ready(Some(*best))?),
        ],
        isa,
        args.common.budget() / 2,
    )?;
    let line = Line {
        case,
        isa: isa.name(),
        threads,
        best: Name(*best).to_string(),
        ways: timed
            .iter()
            .map(|(variant, ns)| (Name(*variant).to_string(), *ns))
            .collect(),
    };
    let title = format!("{}: {}, and the choice", case.title(), line.best);
    versus.print("gemm_variants", &line, &title, args.common.json)?;
    Ok(match versus.verdict {
        Verdict::Slower => versus.ratio,
        Verdict::Same | Verdict::Faster => 1.0,
    })
}
