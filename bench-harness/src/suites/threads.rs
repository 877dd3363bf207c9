//! Whether more threads are ever slower: steps of training on one thread and on more, over widths and
//! batches from far too small to divide to large, and the products that they are made of; and whether
//! networks trained side by side take the time of one.

use anyhow::ensure;
use kernels::{Team, with_team};
use serde::Serialize;

use crate::args::{ActivationName, Layers, NetworkArgs, OptimizerName, ThreadsArgs};
use crate::network::Batch;
use crate::progress::each;
use crate::report::print_line;
use crate::stats::verdict::Verdict;
use crate::suites::network::{Ours, Work};
use crate::suites::{ensemble, shared};
use crate::versus::Versus;

const WIDTHS: [usize; 6] = [16, 32, 64, 128, 256, 512];
const BATCHES: [usize; 5] = [1, 8, 32, 128, 512];

/// Weight matrices of each network.
const DEPTH: usize = 3;

/// One case.
#[derive(Debug, Serialize)]
struct Case {
    #[serde(flatten)]
    network: NetworkArgs,
    isa: &'static str,
    /// Of the second contestant; the first has one.
    threads: usize,
}

/// Runs the suite.
pub(crate) fn run(args: &ThreadsArgs) -> anyhow::Result<()> {
    args.common.precision().set_process_wide();
    let threads = with_team(args.common.threads, Team::threads);
    ensure!(
        threads > 1,
        "--threads: expected at least 2, got {threads}: one thread is what they are compared with"
    );
    let (mut slower, mut faster, mut all) = (0, 0, 0);
    let sizes = WIDTHS.map(|width| BATCHES.map(|batch| (width, batch)));
    let mut sizes = sizes.concat();
    sizes.retain(|(width, batch)| DEPTH * width * width * batch <= args.up_to);
    for (width, batch) in each("threads", sizes) {
        let network = NetworkArgs {
            name: None,
            layers: Layers(vec![width; DEPTH + 1]),
            batch,
            activation: ActivationName::Relu,
        };
        let verdict = run_case(args, network, threads)?;
        all += 1;
        slower += usize::from(verdict == Verdict::Slower);
        faster += usize::from(verdict == Verdict::Faster);
    }
    if !args.common.json {
        print_line(&format!(
            "{threads} threads: faster in {faster}, slower in {slower} of {all} networks"
        ))?;
    }
    let products = shared::run(args, args.common.kernels()?, threads)?;
    if !args.common.json {
        print_line(&format!(
            "{threads} threads: faster in {}, slower in {} of {} products",
            products.faster, products.slower, products.cases
        ))?;
        print_line(&products.gain().to_string())?;
    }
    ensemble::run(args, threads)
}

fn run_case(args: &ThreadsArgs, network: NetworkArgs, threads: usize) -> anyhow::Result<Verdict> {
    let batch = Batch::random(&network)?;
    let build = || network.build(args.common.isa);
    let (mut alone, mut together, mut alone_again) = (build()?, build()?, build()?);
    let isa = alone.isa();
    let work = Work::Step(OptimizerName::Sgd);
    let ours = |net, threads| Ours::checked(net, &network, &batch, work, threads);
    let versus = Versus::time(
        [
            Box::new(ours(&mut alone, 1)?),
            Box::new(ours(&mut together, threads)?),
            Box::new(ours(&mut alone_again, 1)?),
        ],
        isa,
        args.common.budget(),
    )?;
    let title = format!("{}, 1 against {threads} T", network.title());
    let case = Case {
        network,
        isa: isa.name(),
        threads,
    };
    versus.print("threads", &case, &title, args.common.json)?;
    Ok(versus.verdict)
}
