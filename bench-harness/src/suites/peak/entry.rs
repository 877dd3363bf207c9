//! The lines of the machine sheet.

use serde::Serialize;

use super::amx::Amx;
use crate::report::ALONE;
use crate::stats::Spread;

/// One line of the sheet.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Entry {
    Cpu(Cpu),
    Clock(Clock),
    MultiplyAdd(MultiplyAdd),
    Bandwidth(Bandwidth),
    HandOver(HandOver),
    Amx(Amx),
    TileMultiply(TileMultiply),
}

/// What the machine says of itself.
#[derive(Debug, Serialize)]
pub(super) struct Cpu {
    pub(super) model: &'static str,
    pub(super) cores: usize,
    /// The best instruction set with kernels, and all of them.
    pub(super) isa: &'static str,
    pub(super) isas: Vec<&'static str>,
    pub(super) l1d_bytes: usize,
    pub(super) l2_bytes: usize,
    pub(super) l3_bytes: Option<usize>,
    pub(super) l3_shared_by: Option<usize>,
}

/// The clock of the caller's core without multiply-adds: those lines have their own.
#[derive(Debug, Serialize)]
pub(super) struct Clock {
    /// `rest`: right after a sleep; `busy`: after a millisecond of integer work.
    pub(super) after: &'static str,
    pub(super) clock_ghz: f64,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

/// The peak of one instruction set: multiply-adds in registers.
#[derive(Debug, Serialize)]
pub(super) struct MultiplyAdd {
    pub(super) isa: &'static str,
    pub(super) threads: usize,
    pub(super) peak_gflop_per_s: f64,
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// Of the probe run between the bursts, where there is one.
    pub(super) clock_ghz: Option<f64>,
    pub(super) clock_mad_ghz: Option<f64>,
    pub(super) flop_per_cycle: Option<f64>,
    /// Over as many times the peak of one thread; `None` for one.
    pub(super) cores_share: Option<f64>,
}

/// The peak of the matrix unit: products of bf16 numbers.
#[derive(Debug, Serialize)]
pub(super) struct TileMultiply {
    /// `in tiles`, or `loaded`: from the first-level cache, one tile for each product.
    pub(super) operands: &'static str,
    pub(super) threads: usize,
    pub(super) peak_gflop_per_s: f64,
    #[serde(flatten)]
    pub(super) spread: Spread,
    pub(super) clock_ghz: Option<f64>,
}

/// How fast memory of some size streams; each member of the team has its own.
#[derive(Debug, Serialize)]
pub(super) struct Bandwidth {
    pub(super) access: &'static str,
    pub(super) level: &'static str,
    pub(super) threads: usize,
    /// Of each member.
    pub(super) bytes: usize,
    pub(super) gb_per_s: f64,
    #[serde(flatten)]
    pub(super) spread: Spread,
    pub(super) clock_ghz: Option<f64>,
}

/// What it takes two threads to meet.
#[derive(Debug, Serialize)]
pub(super) struct HandOver {
    /// `empty`: a phase of two chunks that do nothing, which the caller may do alone; the others are
    /// phases in which a helper has to come: `spinning` or `parked` when it is called, or not yet
    /// there, since the `scope` begins with the phase.
    pub(super) helper: &'static str,
    pub(super) threads: usize,
    pub(super) hand_over_ns: f64,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

impl Entry {
    /// The same for people.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Cpu(cpu) => format!(
                "{}, {} cores, {}; L1d {} KiB, L2 {} KiB, L3 {} KiB",
                cpu.model,
                cpu.cores,
                cpu.isas.join(" "),
                cpu.l1d_bytes >> 10,
                cpu.l2_bytes >> 10,
                cpu.l3_bytes.unwrap_or(0) >> 10
            ),
            Self::Clock(clock) => format!(
                "clock          {:<17} {:>9.2} GHz     {}",
                format!("after {}", clock.after),
                clock.clock_ghz,
                clock.spread
            ),
            Self::MultiplyAdd(peak) => format!(
                "multiply-add   {:<12} {:>2} T {:>9.1} GFLOP/s {} at {:.2} GHz, {:.1} flop/cycle{}",
                peak.isa,
                peak.threads,
                peak.peak_gflop_per_s,
                peak.spread,
                peak.clock_ghz.unwrap_or(f64::NAN),
                peak.flop_per_cycle.unwrap_or(f64::NAN),
                peak.cores_share.map_or(String::new(), |share| {
                    let told = if share < ALONE {
                        ": a neighbour has a core"
                    } else {
                        ""
                    };
                    format!(
                        ", {:.0} % of what the threads reach alone{told}",
                        100.0 * share
                    )
                })
            ),
            Self::Bandwidth(bandwidth) => format!(
                "bandwidth      {:<5} {:<6} {:>2} T {:>9.1} GB/s    {} of {} KiB each",
                bandwidth.access,
                bandwidth.level,
                bandwidth.threads,
                bandwidth.gb_per_s,
                bandwidth.spread,
                bandwidth.bytes >> 10
            ),
            Self::Amx(Amx { state, reason }) => format!("AMX            {state}: {reason}"),
            Self::TileMultiply(peak) => format!(
                "tile products  {:<12} {:>2} T {:>9.1} GFLOP/s {} at {:.2} GHz",
                peak.operands,
                peak.threads,
                peak.peak_gflop_per_s,
                peak.spread,
                peak.clock_ghz.unwrap_or(f64::NAN)
            ),
            Self::HandOver(hand_over) => format!(
                "hand-over      {:<12} {:>2} T {:>9.0} ns      {}",
                hand_over.helper, hand_over.threads, hand_over.hand_over_ns, hand_over.spread
            ),
        }
    }
}
