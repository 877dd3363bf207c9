//! Products on one thread and on more: squares, the shapes of training, thin ones, and few outputs of a
//! long depth.

use kernels::Kernels;
use serde::Serialize;

use super::gemm::{Case, Ours, SQUARES, TRAINING};
use crate::args::{Op, ThreadsArgs};
use crate::progress::each;
use crate::stats::verdict::Verdict;
use crate::versus::Versus;

/// (m, n, k) that no table of shapes has.
const OTHERS: [(usize, usize, usize); 12] = [
    (1, 512, 512),
    (1, 4096, 4096),
    (8, 1024, 1024),
    (1000, 1, 1000),
    (8192, 32, 16),
    (100, 3000, 4),
    (64, 64, 256),
    (48, 96, 192),
    (64, 64, 8192),
    (10, 256, 8192),
    (32, 32, 32_768),
    (1, 10, 100_000),
];

/// Two threads are expected to be so many times as fast as one ...
const GAIN: f64 = 1.9;
/// ... from so many multiply-adds on.
const GAIN_FROM: usize = 256 * 256 * 256;

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    case: Case,
    isa: &'static str,
    /// Of the second contestant; the first has one.
    threads: usize,
}

/// How the cases went.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) cases: usize,
    pub(super) slower: usize,
    pub(super) faster: usize,
    /// Of those that are large enough for the full gain: how many there are, and how many have it.
    large: usize,
    gained: usize,
}

impl Count {
    /// What is to be said at the end, beside the counts.
    pub(super) fn gain(&self) -> String {
        format!(
            "products of {GAIN_FROM} multiply-adds and more: at least {GAIN} times as fast as one thread in \
             {} of {}",
            self.gained, self.large
        )
    }
}

/// Times every product on one thread and on `threads`.
pub(super) fn run(
    args: &ThreadsArgs,
    kernels: &'static Kernels,
    threads: usize,
) -> anyhow::Result<Count> {
    let squares = SQUARES.map(|n| (n, n, n));
    let shapes = squares.into_iter().chain(TRAINING).chain(OTHERS);
    let shapes = shapes.filter(|(m, n, k)| m * n * k <= args.up_to);
    let mut count = Count::default();
    let all = shapes.flat_map(|shape| [Op::Nn, Op::Nt, Op::Tn].map(|op| (shape, op)));
    for ((m, n, k), op) in each("threads", all.collect()) {
        let case = Case {
            m,
            n,
            k,
            op,
            prepacked: false,
        };
        let versus = run_case(args, kernels, threads, case)?;
        count.cases += 1;
        count.slower += usize::from(versus.verdict == Verdict::Slower);
        count.faster += usize::from(versus.verdict == Verdict::Faster);
        if threads == 2 && m * n * k >= GAIN_FROM {
            count.large += 1;
            count.gained += usize::from(versus.ratio * GAIN <= 1.0);
        }
    }
    Ok(count)
}

fn run_case(
    args: &ThreadsArgs,
    kernels: &'static Kernels,
    threads: usize,
    case: Case,
) -> anyhow::Result<Versus> {
    let operands = case.operands()?;
    let ours = |threads| -> anyhow::Result<_> {
        let mut ours = Ours::new(
            kernels,
            &operands,
            threads,
            (false, args.common.precision()),
        )?;
        ours.check()?;
        Ok(Box::new(ours))
    };
    let versus = Versus::time(
        [ours(1)?, ours(threads)?, ours(1)?],
        kernels.isa(),
        args.common.budget(),
    )?;
    let line = Line {
        case,
        isa: kernels.isa().name(),
        threads,
    };
    let title = format!("{}, 1 against {threads} T", case.title());
    versus.print("threads", &line, &title, args.common.json)?;
    Ok(versus)
}
