//! What a report measures: the arguments of suites, each run in a process of its own.

use kernels::CpuInfo;

use crate::args::ReportArgs;

/// Widths of the network 10-W-W-10: powers of two, and sizes between them, where a cliff would hide.
const WIDTHS: [usize; 19] = [
    8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
];

/// Widths of W-W-W-W and batches of 784-512-256-10.
const SQUARE_WIDTHS: [usize; 7] = [16, 32, 64, 128, 256, 512, 1024];
const BATCHES: [usize; 6] = [1, 4, 16, 64, 256, 1024];

/// How much time a report takes.
struct Effort {
    /// Milliseconds for each case of a suite.
    budget_ms: u64,
    complexity_rounds: u32,
    latency_steps: u64,
}

/// Under 90 seconds on two cores.
const QUICK: Effort = Effort {
    budget_ms: 40,
    complexity_rounds: 3,
    latency_steps: 50_000,
};

/// Under ten minutes on two cores.
const FULL: Effort = Effort {
    budget_ms: 600,
    complexity_rounds: 11,
    latency_steps: 1_000_000,
};

/// The cases of a report, those that plots rest on first.
pub(crate) fn cases(args: &ReportArgs) -> Vec<Vec<String>> {
    let effort = if args.quick { QUICK } else { FULL };
    let cores = CpuInfo::get().cores;
    let teams: Vec<usize> = (1..=cores)
        .filter(|&threads| threads.is_power_of_two() || threads == cores)
        .collect();
    let few = if cores > 1 { vec![1, cores] } else { vec![1] };
    let mut timed = vec![
        "gemm --suite training --op nt --peers".to_owned(),
        "gemm --suite squares --op nn --peers".to_owned(),
        "gemm --suite training --op nn".to_owned(),
        "gemm --suite training --op tn".to_owned(),
        "vector".to_owned(),
    ];
    for threads in &teams {
        timed.push(format!("train --suite small --threads {threads}"));
    }
    for threads in &few {
        timed.extend(WIDTHS.map(|w| {
            format!("train --layers 10,{w},{w},10 --batch 128 --optimizer sgd --threads {threads}")
        }));
        timed
            .extend(SQUARE_WIDTHS.map(|w| {
                format!("train --layers {w},{w},{w},{w} --batch 128 --threads {threads}")
            }));
        timed.extend(BATCHES.map(|batch| {
            format!("train --layers 784,512,256,10 --batch {batch} --threads {threads}")
        }));
    }
    timed.push("infer --suite small".to_owned());
    timed.push("infer --suite serving".to_owned());
    timed.push("fused".to_owned());
    // A step of the largest network takes seconds.
    timed.push(
        if args.quick {
            "epoch --networks CDEFG"
        } else {
            "epoch"
        }
        .to_owned(),
    );
    if !args.quick {
        timed.push(format!("train --suite large --threads {cores}"));
        if cores > 1 {
            timed.push(format!("threads --threads {cores}"));
        }
        for threads in &few {
            timed.push(format!("explain --suite small --threads {threads}"));
        }
    }
    let with_budget = |case: String| format!("{case} --budget-ms {}", effort.budget_ms);
    let mut cases = vec!["peak".to_owned()];
    cases.extend(timed.into_iter().map(with_budget));
    cases.push(format!("complexity --rounds {}", effort.complexity_rounds));
    cases.push(format!("latency --steps {}", effort.latency_steps));
    let words = |case: String| case.split(' ').map(str::to_owned).collect();
    cases.into_iter().map(words).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{CommandLine, Suite};

    #[test]
    fn every_case_is_a_command() {
        for line in ["report --out x", "report --out x --quick"] {
            let words = format!("bench-harness {line}");
            let Ok(Suite::Report(args)) =
                CommandLine::try_parse_from(words.split(' ')).map(|line| line.suite)
            else {
                panic!("{line} is no report");
            };
            for case in cases(&args) {
                let words = ["bench-harness".to_owned()].into_iter().chain(case.clone());
                let words = words.chain(["--json".to_owned()]);
                assert!(CommandLine::try_parse_from(words).is_ok(), "{case:?}");
            }
        }
    }
}
