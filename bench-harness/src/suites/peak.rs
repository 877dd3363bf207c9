//! The machine sheet: what the CPU is, and what it does at most.
//!
//! Every figure is the median of many short bursts, with the least, the most and the median absolute
//! deviation beside it, and with the clock that a probe between the bursts saw.

mod amx;
mod entry;

use std::hint::black_box;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use kernels::{Cache, CpuInfo, Isa, Team, TeamOptions, probe, with_team};

use crate::args::PeakArgs;
use crate::floats::{Floats, filled};
use crate::machine;
use crate::progress::each;
use crate::report::{Versioned, print_json, print_line};
use crate::stats::{self, Spread};
use crate::timing::Series;
use amx::amx;
use entry::{Bandwidth, Clock, Cpu, Entry, HandOver, MultiplyAdd, TileMultiply};

/// Bursts and phases of each probe.
const REPEATS: usize = 101;

/// Passes over memory, each of which takes milliseconds.
const MEMORY_REPEATS: usize = 21;

/// Times that sleeping helpers are woken, and that the clock is read after a rest.
const RESTS: usize = 21;

/// Long enough for a helper to go to sleep and for an idle core to slow down; shorter than a helper
/// takes to leave.
const REST: Duration = Duration::from_millis(1);

/// A sample of the stream probes moves at least this much: milliseconds from the first-level cache.
const MOVED: usize = 64 << 20;

/// Buffers that are to lie in memory are this many times the third-level cache ...
const BEYOND_CACHE: usize = 4;

/// ... but no larger than this, and no smaller than that.
const LARGEST: usize = 256 << 20;
const SMALLEST: usize = 64 << 20;

/// Something to be measured for the sheet.
type Probe = Box<dyn FnOnce() -> Vec<Entry>>;

/// Runs the suite.
pub(crate) fn run(args: &PeakArgs) -> anyhow::Result<()> {
    for probe in each("peak", probes()) {
        for entry in probe() {
            if args.json {
                print_json(&Versioned::new("peak", &entry))?;
            } else {
                print_line(&entry.words())?;
            }
        }
    }
    Ok(())
}

/// What the sheet is made of, in its order.
fn probes() -> Vec<Probe> {
    let info = CpuInfo::get();
    let caches = info.caches;
    let teams: Vec<usize> = (1..=info.cores)
        .filter(|&threads| threads.is_power_of_two() || threads == info.cores)
        .collect();
    let mut probes: Vec<Probe> = vec![
        Box::new(|| vec![Entry::Cpu(cpu())]),
        Box::new(|| clocks().into_iter().map(Entry::Clock).collect()),
    ];
    // The level with the matrix unit has the multiply-adds of the one below.
    for isa in Isa::ALL.into_iter().filter(|&isa| isa != Isa::Amx) {
        for &threads in &teams {
            probes.push(Box::new(move || {
                let peak = with_team(threads, |team| multiply_add(isa, team));
                peak.into_iter().map(Entry::MultiplyAdd).collect()
            }));
        }
    }
    probes.push(Box::new(|| vec![Entry::Amx(amx())]));
    for (operands, loads) in [("in tiles", false), ("loaded", true)] {
        for &threads in &teams {
            probes.push(Box::new(move || {
                let peak = with_team(threads, |team| tile_multiply(operands, loads, team));
                peak.into_iter().map(Entry::TileMultiply).collect()
            }));
        }
    }
    let l3 = caches.l3.map_or(0, |l3| l3.bytes);
    let memory = (BEYOND_CACHE * l3).clamp(SMALLEST, LARGEST);
    let mut levels = vec![("l1d", caches.l1d.bytes / 2), ("l2", caches.l2.bytes / 2)];
    levels.extend(caches.l3.map(|l3| ("l3", within_third(caches.l2, l3))));
    levels.push(("memory", memory));
    for (level, bytes) in levels {
        for threads in if info.cores > 1 {
            vec![1, info.cores]
        } else {
            vec![1]
        } {
            probes.push(Box::new(move || {
                let all = with_team(threads, |team| bandwidths(level, bytes, team));
                all.into_iter().map(Entry::Bandwidth).collect()
            }));
        }
    }
    if info.cores > 1 {
        probes.push(Box::new(|| {
            hand_overs().into_iter().map(Entry::HandOver).collect()
        }));
    }
    probes
}

/// A size that fits in the third-level cache and not in the second: their geometric mean, which also
/// leaves room for the neighbours.
fn within_third(l2: Cache, l3: Cache) -> usize {
    ((l2.bytes as f64 * l3.bytes as f64).sqrt() as usize).next_multiple_of(l2.bytes)
}

fn cpu() -> Cpu {
    let info = CpuInfo::get();
    let isas = Isa::ALL.into_iter().filter(|isa| isa.is_supported());
    let isas: Vec<_> = isas.map(Isa::name).collect();
    Cpu {
        model: &info.model,
        cores: info.cores,
        isa: isas.last().copied().unwrap_or_default(),
        isas,
        l1d_bytes: info.caches.l1d.bytes,
        l2_bytes: info.caches.l2.bytes,
        l3_bytes: info.caches.l3.map(|l3| l3.bytes),
        l3_shared_by: info.caches.l3.map(|l3| l3.shared_by),
    }
}

fn clocks() -> Vec<Clock> {
    let busy = || {
        let started = std::time::Instant::now();
        while started.elapsed() < REST {
            black_box(machine::clock_ghz());
        }
    };
    let rest = || sleep(REST);
    [("rest", &rest as &dyn Fn()), ("busy", &busy)]
        .into_iter()
        .filter_map(|(after, before)| {
            let series: Vec<_> = (0..RESTS)
                .filter_map(|_| {
                    before();
                    machine::clock_ghz()
                })
                .collect();
            Some(Clock {
                after,
                clock_ghz: stats::median(&series)?,
                spread: Spread::of(&series)?,
            })
        })
        .collect()
}

/// Many bursts, and what the clock probe saw before each; `None` if the machine cannot do it.
fn bursts(team: &Team, burst: impl Fn(&Team) -> Option<f64>) -> Option<[Vec<f64>; 2]> {
    machine::gather(team);
    let mut clocks = Vec::new();
    let bursts: Vec<_> = (0..REPEATS)
        .map(|_| {
            clocks.extend(machine::clock_ghz());
            burst(team)
        })
        .collect::<Option<_>>()?;
    Some([bursts, clocks])
}

fn tile_multiply(operands: &'static str, loads: bool, team: &Team) -> Option<TileMultiply> {
    let [bursts, clocks] = bursts(team, |team| machine::tile_burst(loads, team))?;
    Some(TileMultiply {
        operands,
        threads: team.threads(),
        peak_gflop_per_s: stats::median(&bursts)?,
        spread: Spread::of(&bursts)?,
        clock_ghz: stats::median(&clocks),
    })
}

fn multiply_add(isa: Isa, team: &Team) -> Option<MultiplyAdd> {
    let mut series = Series::default();
    for _ in 0..REPEATS {
        series.probe(isa, team);
    }
    let (peaks, clocks) = (&series.peak, &series.clock_ghz);
    let peak = stats::median(peaks)?;
    let clock = stats::median(clocks);
    Some(MultiplyAdd {
        isa: isa.name(),
        threads: team.threads(),
        peak_gflop_per_s: peak,
        spread: Spread::of(peaks)?,
        clock_ghz: clock,
        clock_mad_ghz: Spread::of(clocks).map(|clocks| clocks.mad),
        flop_per_cycle: clock.map(|clock| peak / clock / team.threads() as f64),
        cores_share: series.cores_share(),
    })
}

/// What one member streams through: both halves are used by a copy, one by a read or a write.
struct Buffers {
    x: Floats,
    y: Floats,
}

/// Read, write and copy of `bytes` by each member; a copy moves each of its bytes twice.
fn bandwidths(level: &'static str, bytes: usize, team: &Team) -> Vec<Bandwidth> {
    machine::gather(team);
    let elements = bytes / size_of::<f32>();
    let buffers: Vec<_> = (0..team.threads())
        .map(|_| {
            // For a copy both together are to fit where one fits for a read.
            Mutex::new(Buffers {
                x: filled(elements, 1.0),
                y: filled(elements / 2, 2.0),
            })
        })
        .collect();
    let passes = MOVED.div_ceil(bytes);
    let repeats = if bytes < SMALLEST {
        REPEATS
    } else {
        MEMORY_REPEATS
    };
    let of = |access, work: &(dyn Fn(&mut Buffers) + Sync)| {
        let (mut series, mut clocks) = (Vec::new(), Vec::new());
        for _ in 0..repeats {
            clocks.extend(machine::clock_ghz());
            let moved = team.threads() * bytes * passes;
            series.push(machine::bandwidth(moved, || {
                team.run(team.threads(), &|member, _| {
                    let mut mine = buffers[member]
                        .lock()
                        .expect("no probe panics with its buffers");
                    (0..passes).for_each(|_| work(&mut mine));
                });
            }));
        }
        Some(Bandwidth {
            access,
            level,
            threads: team.threads(),
            bytes,
            gb_per_s: stats::median(&series)?,
            spread: Spread::of(&series)?,
            clock_ghz: stats::median(&clocks),
        })
    };
    [
        of("read", &|mine| {
            black_box(probe::read(&mine.x));
        }),
        of("write", &|mine| probe::write(&mut mine.x, 3.0)),
        of("copy", &|mine| {
            let half = mine.y.len();
            probe::copy(&mine.x[..half], &mut mine.y);
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn hand_overs() -> Vec<HandOver> {
    const MEMBERS: usize = 2;
    let of = |helper, series: Vec<f64>| {
        Some(HandOver {
            helper,
            threads: MEMBERS,
            hand_over_ns: stats::median(&series)?,
            spread: Spread::of(&series)?,
        })
    };
    let (empty, spinning) = with_team(MEMBERS, |team| {
        machine::gather(team);
        let met = (0..REPEATS).filter_map(|_| machine::hand_over_ns(team));
        let met = met.collect();
        let empty = (0..REPEATS).map(|_| machine::empty_phase_ns(team));
        (empty.collect(), met)
    });
    let parked = TeamOptions::new(MEMBERS)
        .spin(Duration::ZERO)
        .with_team(|team| {
            machine::gather(team);
            let met = (0..RESTS).filter_map(|_| {
                sleep(REST);
                machine::hand_over_ns(team)
            });
            met.collect()
        });
    let scope = (0..RESTS)
        .filter_map(|_| {
            sleep(REST);
            machine::first_hand_over_ns(MEMBERS)
        })
        .collect();
    [
        of("empty", empty),
        of("spinning", spinning),
        of("parked", parked),
        of("scope", scope),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_level_probe_fits_there_and_not_below() {
        let cache = |bytes| Cache {
            bytes,
            shared_by: 1,
        };
        for (l2, l3) in [
            (512 << 10, 32 << 20),
            (2 << 20, 105 << 20),
            (1 << 20, 8 << 20),
        ] {
            let bytes = within_third(cache(l2), cache(l3));
            assert!(2 * l2 <= bytes && 2 * bytes <= l3, "{bytes} in {l2}, {l3}");
        }
    }

    #[test]
    fn a_bandwidth_has_its_spread() {
        let all = with_team(2, |team| bandwidths("l1d", 1 << 12, team));
        let accesses: Vec<_> = all.iter().map(|bandwidth| bandwidth.access).collect();
        assert_eq!(accesses, ["read", "write", "copy"]);
        for bandwidth in &all {
            let Spread { min, max, mad, .. } = bandwidth.spread;
            assert!(0.0 < min && min <= bandwidth.gb_per_s && bandwidth.gb_per_s <= max);
            assert!(mad <= max - min);
        }
    }
}
