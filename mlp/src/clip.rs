//! Clipping of gradients, and their norm, over all parameters together.
//!
//! ```text
//! |g| = sqrt(sum over all parameters of g_i^2)
//! by norm:   g <- g min(1, max_norm / (|g| + 1e-6))
//! by value:  g_i <- min(max(g_i, -max), max)
//! ```
//!
//! As PyTorch's `clip_grad_norm_` and `clip_grad_value_`. R. Pascanu, T. Mikolov and Y. Bengio, 2013,
//! "On the difficulty of training recurrent neural networks", algorithm 1.
//!
//! The norm is summed in parts whose size depends on the number of parameters alone, each with the
//! error of [`Kernels::sum_squares`], the parts in f64: the same bits for any number of threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use kernels::{Kernels, Team};

use crate::error::MlpError;
use crate::optimizer::{MAX_CHUNKS, chunk_len};

/// Added to the norm, so that one of 0 divides nothing by 0.
const EPS: f64 = 1e-6;

/// Sums of squares below this may have lost squares that underflowed.
const SMALL: f32 = 1e-30;

/// A bound for the gradients of a step.
///
/// The gradients of all parameters have to be there before any is used, so the update of a large
/// layer is no longer part of the pass that makes its gradient: a step takes some 5 to 10 % longer.
///
/// ```
/// use mlp::{Clip, TrainConfig};
/// let config = TrainConfig::default().clip(Clip::norm(1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Clip {
    kind: Kind,
    max: f32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Norm,
    Value,
}

impl Clip {
    /// Shrinks the gradient as a whole where its norm is above `max`, which is above 0 and finite:
    /// its direction stays.
    pub fn norm(max: f32) -> Self {
        Self {
            kind: Kind::Norm,
            max,
        }
    }

    /// Cuts each element of the gradient off at `-max` and `max`, which is above 0 and finite.
    pub fn value(max: f32) -> Self {
        Self {
            kind: Kind::Value,
            max,
        }
    }

    pub(crate) fn check(&self) -> Result<(), MlpError> {
        if self.max.is_finite() && self.max > 0.0 {
            return Ok(());
        }
        Err(MlpError::Setting {
            name: "clip",
            expected: "a finite number above 0",
            got: self.max.to_string(),
        })
    }

    /// Clips gradients whose norm is known.
    pub(crate) fn apply(&self, kernels: &Kernels, gradients: &mut [f32], norm: f64, team: &Team) {
        let max = self.max;
        match self.kind {
            Kind::Norm => {
                let factor = f64::from(max) / (norm + EPS);
                if factor < 1.0 {
                    in_parts(gradients, team, &|part| kernels.scale(factor as f32, part));
                }
            }
            Kind::Value => in_parts(gradients, team, &|part| {
                for g in part {
                    *g = g.clamp(-max, max);
                }
            }),
        }
    }
}

/// Lets the team work on the parts of a slice.
fn in_parts(slice: &mut [f32], team: &Team, work: &(dyn Fn(&mut [f32]) + Sync)) {
    let size = chunk_len(slice.len());
    let count = slice.len().div_ceil(size);
    let mut parts = slice.chunks_mut(size);
    let cells: [Mutex<&mut [f32]>; MAX_CHUNKS] =
        std::array::from_fn(|_| Mutex::new(parts.next().unwrap_or_default()));
    team.run(count, &|number, _| {
        work(&mut cells[number].lock().unwrap_or_else(PoisonError::into_inner));
    });
}

/// The root of the sum of all squares; NaN or infinite only where an element is.
pub(crate) fn norm(kernels: &Kernels, gradients: &[f32], team: &Team) -> f64 {
    let size = chunk_len(gradients.len());
    let sums: [AtomicU64; MAX_CHUNKS] = std::array::from_fn(|_| AtomicU64::new(0));
    let count = gradients.len().div_ceil(size);
    team.run(count, &|number, _| {
        let end = gradients.len().min((number + 1) * size);
        let sum = squares(kernels, &gradients[number * size..end]);
        sums[number].store(sum.to_bits(), Ordering::Relaxed);
    });
    let sums = sums
        .iter()
        .map(|sum| f64::from_bits(sum.load(Ordering::Relaxed)));
    sums.sum::<f64>().sqrt()
}

/// The sum of squares; in f64 where those of f32 would overflow, or underflow.
fn squares(kernels: &Kernels, part: &[f32]) -> f64 {
    let sum = kernels.sum_squares(part);
    if sum.is_finite() && sum >= SMALL {
        return f64::from(sum);
    }
    part.iter().map(|&g| f64::from(g) * f64::from(g)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::with_team;

    fn all() -> Vec<&'static Kernels> {
        Kernels::available().expect("the environment names what is here")
    }

    #[test]
    fn the_norm_is_that_of_f64_whatever_the_threads_and_however_large() {
        for scale in [1.0, 1e-30, 1e30, 0.0] {
            let g: Vec<f32> = (0..100_003u32)
                .map(|i| scale * ((i * 7919 % 1000) as f32 - 500.0))
                .collect();
            let exact: f64 = g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            for kernels in all() {
                let alone = norm(kernels, &g, &Team::solo());
                // 23 roundings in a sum of squares, halved by the root.
                let bound = 12.0 * 2f64.powi(-24) * exact;
                assert!((alone - exact).abs() <= bound, "{scale}: {alone}, {exact}");
                for threads in [2, 3] {
                    let together = with_team(threads, |team| norm(kernels, &g, team));
                    assert_eq!(together.to_bits(), alone.to_bits());
                }
            }
        }
        let kernels = all()[0];
        assert!(norm(kernels, &[1.0, f32::NAN], &Team::solo()).is_nan());
        assert_eq!(
            norm(kernels, &[f32::INFINITY], &Team::solo()),
            f64::INFINITY
        );
        assert_eq!(norm(kernels, &[], &Team::solo()), 0.0);
    }

    #[test]
    fn clips_by_norm_and_by_value() {
        let kernels = all()[0];
        let team = Team::solo();
        let mut g = [3.0, -4.0];
        Clip::norm(6.0).apply(kernels, &mut g, 5.0, &team);
        assert_eq!(g, [3.0, -4.0]);
        Clip::norm(2.5).apply(kernels, &mut g, 5.0, &team);
        // The 1e-6 beside the norm takes a five-millionth off.
        assert!(
            (g[0] - 1.5).abs() < 1e-6 && (g[1] + 2.0).abs() < 1e-6,
            "{g:?}"
        );
        let mut g = [3.0, -4.0, 0.5];
        Clip::value(1.0).apply(kernels, &mut g, 5.0, &team);
        assert_eq!(g, [1.0, -1.0, 0.5]);
        let mut large = vec![2.0; 50_000];
        with_team(3, |team| {
            Clip::value(1.0).apply(kernels, &mut large, 1.0, team);
        });
        assert!(large.iter().all(|&g| g == 1.0));
    }
}
