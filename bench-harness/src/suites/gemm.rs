//! `C = A B`, ours and the peers', checked and then timed in turn.

use std::time::Duration;

use anyhow::{Context, ensure};
use kernels::{Gemm, Kernels, MatMut, MatRef, Team, Workspace, with_team};
use serde::Serialize;

use crate::args::{GemmArgs, Op, ShapeTable};
use crate::operands::Operands;
use crate::peers::{self, Multiply};
use crate::report::{Figures, OURS, Record, Setting};
use crate::timing::{Contestant, in_turn, time_calls};
use crate::{cost, machine, stats};

/// (m, n, k) of forward passes, the products that training spends its time on.
const TRAINING: [(usize, usize, usize); 8] = [
    (32, 128, 784),
    (64, 256, 784),
    (128, 512, 784),
    (128, 512, 512),
    (128, 256, 512),
    (128, 10, 256),
    (256, 1024, 1024),
    (4096, 64, 64),
];

const SQUARES: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];

/// The arguments of one case, as given.
#[derive(Clone, Copy, Debug, Serialize)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    op: Op,
}

/// How this project compares with the one in the record.
#[derive(Debug, Serialize)]
struct Comparison {
    /// Median over the rounds of (this implementation's time / ours); above 1, ours is faster.
    time_over_ours: Option<f64>,
}

/// Ours.
fn multiply(
    operands: &Operands,
    kernels: &Kernels,
    workspace: &mut Workspace,
    team: &Team,
    c: &mut [f32],
) -> anyhow::Result<()> {
    let view = |data, (rows, cols), transposed| {
        let view = MatRef::from_row_major(data, rows, cols);
        view.map(|view| if transposed { view.t() } else { view })
    };
    let a = view(&operands.a, operands.a_stored(), operands.a_is_transposed())?;
    let b = view(&operands.b, operands.b_stored(), operands.b_is_transposed())?;
    let c = MatMut::from_row_major(c, operands.m, operands.n)?;
    Ok(kernels.gemm(&Gemm::new(a, b), c, workspace, team)?)
}

/// Ours, within a team of its own for each sample: between samples no helper spins on a core that a
/// peer wants.
struct Ours<'a> {
    kernels: &'static Kernels,
    operands: &'a Operands,
    threads: usize,
    workspace: Workspace,
    c: Vec<f32>,
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
                multiply(
                    self.operands,
                    self.kernels,
                    &mut self.workspace,
                    team,
                    &mut self.c,
                )
                .expect("the same call succeeded in the check");
            })
        })
    }
}

struct Peer<'a> {
    library: Box<dyn Multiply>,
    operands: &'a Operands,
    c: Vec<f32>,
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
    let kernels = match args.common.isa {
        Some(isa) => Kernels::for_isa(isa)?,
        None => Kernels::detect()?,
    };
    for case in cases(args)? {
        run_case(args, kernels, case)?;
    }
    Ok(())
}

fn cases(args: &GemmArgs) -> anyhow::Result<Vec<Case>> {
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
        .flat_map(|(m, n, k)| ops.iter().map(move |&op| Case { m, n, k, op }))
        .collect())
}

fn run_case(args: &GemmArgs, kernels: &'static Kernels, case: Case) -> anyhow::Result<()> {
    let Case { m, n, k, op } = case;
    ensure!(
        m > 0 && n > 0 && k > 0,
        "gemm: expected m, n and k of at least 1, got {m} x {n} x {k}: there is nothing to time"
    );
    let operands = Operands::random(m, n, k, op);
    let threads = with_team(args.common.threads, Team::threads);
    let mut contestants = checked_contestants(args, kernels, &operands, threads)?;
    let isa = kernels.isa();
    let series = in_turn(&mut contestants, isa);
    let title = format!("{op} {m}x{n}x{k}");
    for (contestant, timings) in contestants.iter().zip(&series) {
        let name = contestant.name();
        let figures = Figures::of(timings, cost::gemm(m, n, k)).context("nothing was timed")?;
        let is_ours = name == OURS;
        let time_over_ours = stats::paired_ratio(&timings.ns, &series[0].ns).filter(|_| !is_ours);
        let setting = Setting {
            r#impl: name,
            isa: if is_ours { isa.name() } else { "auto" },
            threads: contestant.threads(),
            precision: args.common.precision.in_use(),
            precision_asked: args.common.precision,
        };
        let note = time_over_ours.map_or(String::new(), |ratio| {
            format!(", takes {ratio:.2} times as long as ours")
        });
        let extra = Comparison { time_over_ours };
        Record::new("gemm", case, setting, figures, extra).print(
            args.common.json,
            &title,
            &note,
        )?;
    }
    Ok(())
}

/// Ours and, if asked for, the peers, after the product of each has been held against f64.
fn checked_contestants<'a>(
    args: &GemmArgs,
    kernels: &'static Kernels,
    operands: &'a Operands,
    threads: usize,
) -> anyhow::Result<Vec<Box<dyn Contestant + 'a>>> {
    // NaN, so that an element that is not written is noticed.
    let mut c = vec![f32::NAN; operands.m * operands.n];
    let mut workspace = Workspace::new();
    with_team(threads, |team| {
        multiply(operands, kernels, &mut workspace, team, &mut c)
    })?;
    operands
        .check(&c)
        .map_err(anyhow::Error::msg)
        .context(OURS)?;
    let mut contestants: Vec<Box<dyn Contestant>> = vec![Box::new(Ours {
        kernels,
        operands,
        threads,
        workspace,
        c,
    })];
    let libraries = if args.peers {
        peers::all(threads)
    } else {
        Vec::new()
    };
    for mut library in libraries {
        let mut c = vec![f32::NAN; operands.m * operands.n];
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
