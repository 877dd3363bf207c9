//! How far a median can be trusted: the bootstrap (Efron, 1979).
//!
//! 1. Draw from the values, with replacement, as many as there are, and take their median.
//! 2. Do so many times; 95 % of these medians lie in the interval reported.
//!
//! Values that share a cause, such as all timings of one process with one layout of its memory, come
//! in groups: whole groups are drawn first, values within them second, so that what differs between
//! groups widens the interval (Davison and Hinkley, 1997, section 3.8).
//!
//! The generator is seeded: the same values give the same interval. The interval is that of the
//! percentile method. It assumes no distribution; of fewer than some 10 values, or of fewer than 4
//! groups, it is too narrow.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::{median, quantile};

/// Medians drawn. The ends of the interval then vary by some 5 % of its width.
const DRAWS: usize = 1_000;

const SEED: u64 = 20_260;

/// Shares of the medians drawn that lie below the ends of the interval.
const ENDS: (f64, f64) = (0.025, 0.975);

/// A value, and the interval that holds the true one with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// The median of all values of all groups, with its interval; `None` if there is no value.
    pub(crate) fn of_median(groups: &[Vec<f64>]) -> Option<Self> {
        let groups: Vec<_> = groups.iter().filter(|group| !group.is_empty()).collect();
        let all: Vec<f64> = groups.iter().copied().flatten().copied().collect();
        let value = median(&all)?;
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let mut drawn = Vec::with_capacity(all.len());
        let medians: Vec<f64> = (0..DRAWS)
            .filter_map(|_| {
                drawn.clear();
                for _ in &groups {
                    let group = groups[rng.random_range(0..groups.len())];
                    drawn.extend(
                        group
                            .iter()
                            .map(|_| group[rng.random_range(0..group.len())]),
                    );
                }
                median(&drawn)
            })
            .collect();
        Some(Self {
            value,
            low: quantile(&medians, ENDS.0)?,
            high: quantile(&medians, ENDS.1)?,
        })
    }

    /// The farther end of the interval's distance from 1.
    pub(crate) fn distance_from_one(&self) -> f64 {
        (self.low - 1.0).abs().max((self.high - 1.0).abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::noise::Noise;

    #[test]
    fn of_one_value_or_equal_values_nothing_is_uncertain() {
        let exact = Estimate {
            value: 2.0,
            low: 2.0,
            high: 2.0,
        };
        assert_eq!(Estimate::of_median(&[vec![2.0]]), Some(exact));
        let groups = [vec![2.0; 9], vec![], vec![2.0; 3]];
        assert_eq!(Estimate::of_median(&groups), Some(exact));
        assert_eq!(Estimate::of_median(&[]), None);
        assert_eq!(Estimate::of_median(&[vec![]]), None);
    }

    #[test]
    fn the_same_values_give_the_same_interval() {
        let values = vec![Noise::new(1).ratios(1.0, 50)];
        assert_eq!(Estimate::of_median(&values), Estimate::of_median(&values));
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        let mut noise = Noise::new(2);
        let trials = 200;
        let held = (0..trials)
            .filter_map(|_| Estimate::of_median(&[noise.ratios(1.5, 60)]))
            .filter(|estimate| (estimate.low..=estimate.high).contains(&1.5))
            .count();
        // 95 % of 200 is 190, and three standard deviations of such a count are 9.
        assert!((181..=199).contains(&held), "{held} of {trials}");
    }

    #[test]
    fn what_differs_between_groups_widens_the_interval() {
        let mut noise = Noise::new(3);
        let groups: Vec<_> = [0.9, 0.95, 1.0, 1.05, 1.1]
            .map(|shift| noise.ratios(shift, 40))
            .into();
        let grouped = Estimate::of_median(&groups).expect("values");
        let pooled = Estimate::of_median(&[groups.concat()]).expect("values");
        assert_eq!(grouped.value, pooled.value);
        assert!(
            grouped.high - grouped.low > 1.5 * (pooled.high - pooled.low),
            "{grouped:?} {pooled:?}"
        );
    }
}
