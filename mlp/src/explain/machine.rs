//! What a machine can do at most, measured, and how near to that a call comes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use kernels::{Gemm, KernelError, Kernels, MatMut, MatRef, Team, Workspace, probe};

use super::steps::Seen;
use super::{Bound, ExplainedCall};
use crate::error::MlpError;

/// Rounds of the multiply-add loop: some 50 us.
const PEAK_ROUNDS: u64 = 10_000;
/// Bursts of each probe; the fastest counts.
const BURSTS: usize = 20;
/// Products of one element in a burst.
const CALLS: u32 = 100;
/// Bytes that a burst of reading reads at least: some 20 us.
const READ_BYTES: usize = 1 << 20;
/// Bytes of the largest buffer to read from: beyond every cache that a core can count on.
const MAX_READ_BUFFER: usize = 256 << 20;

/// What was measured of the machine: of one thread, and of all.
pub(super) struct Machine {
    threads: usize,
    pub(super) peak: [f64; 2],
    pub(super) read: [f64; 2],
    pub(super) call: [f64; 2],
}

impl Machine {
    /// `bytes` are those that a step touches.
    pub(super) fn measure(kernels: &Kernels, bytes: usize, team: &Team) -> Result<Self, MlpError> {
        let solo = Team::solo();
        let (threads, isa) = (team.threads(), kernels.isa());
        let peak = |team: &Team| {
            let flop = probe::multiply_add(isa, PEAK_ROUNDS).unwrap_or_default();
            let seconds = shortest(|| {
                team.run(team.threads(), &|_, _| {
                    black_box(probe::multiply_add(isa, PEAK_ROUNDS));
                });
            });
            (team.threads() as u64 * flop) as f64 / seconds
        };
        let len = bytes.min(MAX_READ_BUFFER) / size_of::<f32>() + 1;
        let buffer = vec![1.0_f32; len];
        let rounds = READ_BYTES.div_ceil(len * size_of::<f32>());
        let read = |team: &Team| {
            let parts = team.threads();
            let seconds = shortest(|| {
                team.run(parts, &|part, _| {
                    for _ in 0..rounds {
                        let range = len * part / parts..len * (part + 1) / parts;
                        black_box(probe::read(black_box(&buffer[range])));
                    }
                });
            });
            (rounds * len * size_of::<f32>()) as f64 / seconds
        };
        let (x, mut y) = ([1.0], [0.0]);
        let mut workspace = Workspace::new();
        let mut failure = None;
        let smallest = shortest(|| {
            for _ in 0..CALLS {
                let result = smallest_product(kernels, &x, &mut y, &mut workspace, &solo);
                failure = failure.take().or(result.err());
            }
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        let empty = shortest(|| team.run(threads, &|_, _| ()));
        Ok(Self {
            threads,
            peak: [peak(&solo), peak(team)],
            read: [read(&solo), read(team)],
            call: [
                smallest / f64::from(CALLS),
                if threads > 1 { empty } else { 0.0 },
            ],
        })
    }

    /// What of the rate of all threads belongs to so many.
    fn share([one, all]: [f64; 2], members: usize, threads: usize) -> f64 {
        if members == 1 {
            one
        } else {
            all * members as f64 / threads as f64
        }
    }

    /// What bounds a call, and how near it came.
    pub(super) fn judge(&self, seen: Seen) -> ExplainedCall {
        let Seen {
            threads, measured, ..
        } = seen;
        let peak = Self::share(self.peak, threads, self.threads);
        let read = Self::share(self.read, threads, self.threads);
        let compute = seen.cost.flop as f64 / peak;
        let memory = seen.cost.bytes() as f64 / read;
        let call = match threads {
            1 => self.call[0],
            _ => self.call[0] + self.call[1],
        } * seen.times as f64;
        let work = compute.max(memory);
        let seconds = measured.as_secs_f64();
        ExplainedCall {
            pass: seen.pass,
            name: seen.name,
            shape: seen.shape,
            kernel: seen.kernel,
            threads,
            cost: seen.cost,
            predicted: Duration::from_secs_f64(work + call),
            measured,
            fraction_of_peak: if seconds > 0.0 {
                seen.cost.flop as f64 / seconds / peak
            } else {
                0.0
            },
            bound: if call > work {
                Bound::Call
            } else if compute >= memory {
                Bound::Compute
            } else {
                Bound::Memory
            },
        }
    }
}

/// The shortest of some runs, in seconds.
fn shortest(mut work: impl FnMut()) -> f64 {
    let runs = (0..BURSTS).map(|_| {
        let clock = Instant::now();
        work();
        clock.elapsed().as_secs_f64()
    });
    // A clock that stands still would make rates infinite.
    runs.fold(f64::INFINITY, f64::min).max(1e-9)
}

/// `y = x x` of one element each.
fn smallest_product(
    kernels: &Kernels,
    x: &[f32],
    y: &mut [f32],
    workspace: &mut Workspace,
    team: &Team,
) -> Result<(), KernelError> {
    let x = MatRef::from_row_major(black_box(x), 1, 1)?;
    let y = MatMut::from_row_major(y, 1, 1)?;
    kernels.gemm(&Gemm::new(x, x), y, workspace, team)
}
