//! The peaks of the machine.

use kernels::{CpuInfo, Isa, Team, probe, with_team};
use serde::Serialize;

use crate::args::PeakArgs;
use crate::report::{Versioned, print_json};
use crate::{machine, stats};

/// Bursts, passes and phases of each probe; their median is reported.
const REPEATS: usize = 101;

/// Passes over memory: each takes milliseconds.
const MEMORY_REPEATS: usize = 11;

/// Longest buffer of the stream probes, 64 MiB of f32: beyond the share of the third-level cache
/// that one core can count on.
const MEMORY_ELEMENTS: usize = 16 << 20;

/// The multiply-add peak of one instruction set.
#[derive(Debug, Serialize)]
struct FmaPeak {
    kind: &'static str,
    isa: &'static str,
    threads: usize,
    peak_gflop_per_s: f64,
    /// Of the clock probe run beside the bursts, where there is one.
    clock_ghz: Option<f64>,
}

/// How fast memory of some size streams, on one thread.
#[derive(Debug, Serialize)]
struct Bandwidth {
    kind: &'static str,
    access: &'static str,
    level: &'static str,
    bytes: usize,
    gb_per_s: f64,
}

/// What a parallel phase of two chunks costs.
#[derive(Debug, Serialize)]
struct HandOver {
    kind: &'static str,
    threads: usize,
    /// A phase of empty chunks, which the caller may do alone.
    empty_phase_ns: Option<f64>,
    /// A phase in which the caller and a helper meet.
    hand_over_ns: Option<f64>,
}

/// What the machine says of itself.
#[derive(Debug, Serialize)]
struct Cpu<'a> {
    kind: &'static str,
    model: &'a str,
    cores: usize,
    l1d_bytes: usize,
    l2_bytes: usize,
    l3_bytes: Option<usize>,
    l3_shared_by: Option<usize>,
}

/// Runs the suite.
pub(crate) fn run(args: &PeakArgs) -> anyhow::Result<()> {
    let info = CpuInfo::get();
    let caches = info.caches;
    let cpu = Cpu {
        kind: "cpu",
        model: &info.model,
        cores: info.cores,
        l1d_bytes: caches.l1d.bytes,
        l2_bytes: caches.l2.bytes,
        l3_bytes: caches.l3.map(|l3| l3.bytes),
        l3_shared_by: caches.l3.map(|l3| l3.shared_by),
    };
    print(args, &cpu, || {
        format!(
            "{}, {} cores, L1d {} KiB, L2 {} KiB, L3 {} KiB",
            cpu.model,
            cpu.cores,
            cpu.l1d_bytes >> 10,
            cpu.l2_bytes >> 10,
            cpu.l3_bytes.unwrap_or(0) >> 10
        )
    })?;
    for isa in Isa::ALL {
        for threads in 1..=info.cores {
            // Doublings only, and the full machine.
            if !threads.is_power_of_two() && threads != info.cores {
                continue;
            }
            if let Some(peak) = with_team(threads, |team| fma_peak(isa, team)) {
                print(args, &peak, || {
                    format!(
                        "multiply-add {isa:<7} {threads:>3} T {:>9.1} GFLOP/s at {:.2} GHz",
                        peak.peak_gflop_per_s,
                        peak.clock_ghz.unwrap_or(f64::NAN)
                    )
                })?;
            }
        }
    }
    for (level, elements) in [
        ("l1d", caches.l1d.bytes / 2),
        ("l2", caches.l2.bytes / 2),
        ("memory", 4 * MEMORY_ELEMENTS),
    ]
    .map(|(level, bytes)| (level, bytes / size_of::<f32>()))
    {
        for bandwidth in bandwidths(level, elements) {
            print(args, &bandwidth, || {
                format!(
                    "{:<5} {level:<6} {:>12} bytes {:>9.1} GB/s",
                    bandwidth.access, bandwidth.bytes, bandwidth.gb_per_s
                )
            })?;
        }
    }
    let hand_over = with_team(2, hand_over);
    print(args, &hand_over, || {
        format!(
            "phase of two chunks on 2 threads: empty {:.0} ns, with a hand-over {:.0} ns",
            hand_over.empty_phase_ns.unwrap_or(f64::NAN),
            hand_over.hand_over_ns.unwrap_or(f64::NAN)
        )
    })
}

fn print<T: Serialize>(
    args: &PeakArgs,
    object: &T,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if args.json {
        print_json(&Versioned::new("peak", object))?;
    } else {
        println!("{}", text());
    }
    Ok(())
}

fn fma_peak(isa: Isa, team: &Team) -> Option<FmaPeak> {
    machine::gather(team);
    let mut clocks = Vec::new();
    let bursts: Vec<_> = (0..REPEATS)
        .map(|_| {
            clocks.extend(machine::clock_ghz());
            machine::peak_burst(isa, team)
        })
        .collect::<Option<_>>()?;
    Some(FmaPeak {
        kind: "multiply_add",
        isa: isa.name(),
        threads: team.threads(),
        peak_gflop_per_s: stats::median(&bursts)?,
        clock_ghz: stats::median(&clocks),
    })
}

/// Read, write and copy of `elements` numbers; a copy moves each of its bytes twice.
fn bandwidths(level: &'static str, elements: usize) -> Vec<Bandwidth> {
    let mut x = vec![1.0_f32; elements];
    let mut y = vec![2.0_f32; elements];
    let bytes = elements * size_of::<f32>();
    // As many passes as fill one pass over the longest buffer, so that the clock can be read.
    let passes = MEMORY_ELEMENTS.div_ceil(elements);
    let median_of = |work: &mut dyn FnMut(), moved: usize| {
        let series: Vec<_> = (0..MEMORY_REPEATS)
            .map(|_| machine::bandwidth(moved * passes, || (0..passes).for_each(|_| work())))
            .collect();
        stats::median(&series).unwrap_or(f64::NAN)
    };
    let read = median_of(
        &mut || {
            std::hint::black_box(probe::read(&x));
        },
        bytes,
    );
    let copy = median_of(&mut || probe::copy(&x, &mut y), 2 * bytes);
    let write = median_of(&mut || probe::write(&mut x, 3.0), bytes);
    [("read", read), ("write", write), ("copy", copy)]
        .map(|(access, gb_per_s)| Bandwidth {
            kind: "bandwidth",
            access,
            level,
            bytes,
            gb_per_s,
        })
        .into()
}

fn hand_over(team: &Team) -> HandOver {
    machine::gather(team);
    let met: Vec<_> = (0..REPEATS)
        .filter_map(|_| machine::hand_over_ns(team))
        .collect();
    let empty: Vec<_> = (0..REPEATS)
        .map(|_| machine::empty_phase_ns(team))
        .collect();
    HandOver {
        kind: "hand_over",
        threads: team.threads(),
        empty_phase_ns: stats::median(&empty),
        hand_over_ns: stats::median(&met),
    }
}
