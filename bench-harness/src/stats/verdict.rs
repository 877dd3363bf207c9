//! Whether a ratio of times is a difference or noise.
//!
//! The same thing is timed twice beside the two things that are compared (A/A beside A/B). How far
//! the interval of the A/A ratio reaches from 1 is what this machine makes of no difference at all.
//! A difference is claimed if
//!
//! 1. the interval of the ratio does not hold 1, and
//! 2. the ratio is farther from 1 than the A/A interval reaches.

use serde::Serialize;

use super::bootstrap::Estimate;

/// What may be claimed of new against old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It takes less time.
    Faster,
    /// No difference beyond the noise.
    Same,
    /// It takes more time.
    Slower,
}

/// The exit code that says: slower.
pub(crate) const SLOWER: u8 = 3;

impl Verdict {
    /// The same for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Faster => "FASTER",
            Self::Same => "no difference beyond the noise",
            Self::Slower => "SLOWER",
        }
    }

    /// Judges a ratio new / old of times by a ratio of the same thing to itself.
    pub(crate) fn of(ratio: &Estimate, a_to_a: &Estimate) -> Self {
        Self::beyond(ratio, a_to_a.distance_from_one())
    }

    /// Judges a ratio new / old of times where no difference looks like up to `1 +- noise`.
    pub(crate) fn beyond(ratio: &Estimate, noise: f64) -> Self {
        if ratio.low > 1.0 && ratio.value > 1.0 + noise {
            Self::Slower
        } else if ratio.high < 1.0 && ratio.value < 1.0 - noise {
            Self::Faster
        } else {
            Self::Same
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(low: f64, value: f64, high: f64) -> Estimate {
        Estimate { value, low, high }
    }

    #[test]
    fn a_claim_needs_its_own_interval_and_more_than_the_noise() {
        let quiet = estimate(0.99, 1.0, 1.01);
        let noisy = estimate(0.94, 0.99, 1.02);
        for (ratio, a_to_a, expected) in [
            (estimate(1.03, 1.05, 1.07), quiet, Verdict::Slower),
            (estimate(0.93, 0.95, 0.97), quiet, Verdict::Faster),
            // The interval holds 1.
            (estimate(0.99, 1.05, 1.07), quiet, Verdict::Same),
            (estimate(0.93, 0.95, 1.01), quiet, Verdict::Same),
            // Less than the noise, which counts on either side.
            (estimate(1.03, 1.05, 1.07), noisy, Verdict::Same),
            (estimate(1.001, 1.005, 1.02), quiet, Verdict::Same),
            (estimate(1.0, 1.0, 1.0), quiet, Verdict::Same),
        ] {
            assert_eq!(
                Verdict::of(&ratio, &a_to_a),
                expected,
                "{ratio:?} {a_to_a:?}"
            );
        }
    }
}
