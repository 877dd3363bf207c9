//! Timings as a shared machine gives them, made up for tests.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Half the usual range of a paired ratio around its true value.
const SPREAD: f64 = 0.03;

/// One ratio in so many meets an interruption ...
const INTERRUPTED: f64 = 0.05;

/// ... and is then up to this many times as large or as small.
const INTERRUPTION: f64 = 3.0;

/// A seeded source of ratios.
pub(crate) struct Noise(ChaCha8Rng);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number between -1 and 1, near 0 more often than near the ends.
    pub(crate) fn symmetric(&mut self) -> f64 {
        self.0.random_range(0.0..1.0) - self.0.random_range(0.0..1.0)
    }

    /// One ratio whose true value is `truth`: usually within 3 % of it, now and then far off.
    pub(crate) fn ratio(&mut self, truth: f64) -> f64 {
        let factor = 1.0 + SPREAD * self.symmetric();
        let interrupted = self.0.random_range(0.0..1.0) < INTERRUPTED;
        let outlier = if interrupted {
            INTERRUPTION.powf(self.symmetric())
        } else {
            1.0
        };
        truth * factor * outlier
    }

    /// Several of them.
    pub(crate) fn ratios(&mut self, truth: f64, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.ratio(truth)).collect()
    }
}
