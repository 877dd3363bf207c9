//! Numbers to calculate with, in memory that begins with a cache line: where an operand begins otherwise
//! differs from one allocation to the next, and with it how often a register crosses a line.

use std::iter::repeat_n;

use aligned_vec::{AVec, ConstAlign};

/// Bytes.
const CACHE_LINE: usize = 64;

/// Numbers that begin with a cache line.
pub(crate) type Floats = AVec<f32, ConstAlign<CACHE_LINE>>;

/// `len` times the same number: memory for results.
pub(crate) fn filled(len: usize, value: f32) -> Floats {
    Floats::from_iter(CACHE_LINE, repeat_n(value, len))
}

/// `len` numbers in [-1, 1) from a linear congruential generator (Knuth's MMIX constants).
pub(crate) fn uniform(len: usize, seed: u64) -> Floats {
    let mut state = seed;
    let numbers = (0..len).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The upper bits are the random ones; f32 holds 24 of them exactly.
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    });
    Floats::from_iter(CACHE_LINE, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_with_a_cache_line() {
        for len in [1, 17, 1000] {
            for numbers in [uniform(len, 1), filled(len, 2.0)] {
                assert_eq!(
                    (numbers.len(), numbers.as_ptr() as usize % CACHE_LINE),
                    (len, 0)
                );
            }
        }
    }

    #[test]
    fn numbers_fill_the_range_evenly() {
        let x = uniform(10_000, 1);
        assert!(x.iter().all(|x| (-1.0..1.0).contains(x)));
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e4;
        // Standard deviation of the mean: 1 / sqrt(3 * 10^4).
        assert!(mean.abs() < 4.0 * 0.005_8, "{mean}");
    }
}
