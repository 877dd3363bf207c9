//! The masks of dropout, one element after the other.
//!
//! Hashing in 64 bits: `z = x + 0x9e3779b97f4a7c15`, twice `z = (z ^ z >> n) c`, and a last fold, the
//! finaliser of SplitMix64. seed, step, layer and row go into it one after the other; what comes out
//! are two keys for the hash of the column in 32 bits.

use crate::matrix::Matrix;

fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        z = (z ^ (z >> shift)).wrapping_mul(factor);
    }
    z ^ (z >> 31)
}

/// The random bits of one element.
pub fn bits(seed: u64, step: u64, layer: u64, row: usize, col: usize) -> u32 {
    let mut key = split_mix(seed);
    for part in [step, layer, row as u64] {
        key = split_mix(key.wrapping_add(part));
    }
    let (low, high) = (key % (1 << 32), key >> 32);
    let modulus = 1u64 << 32;
    let mut h = (col as u64 + low) % modulus;
    h ^= h >> 16;
    h = h * 0x7feb_352d % modulus;
    h ^= h >> 15;
    h = (h + high) % modulus;
    h = h * 0x846c_a68b % modulus;
    h ^= h >> 16;
    h as u32
}

/// The factors of a matrix: 0 with probability `rate`, else `1 / (1 - rate)`.
pub fn mask(rate: f32, seed: u64, step: u64, layer: u64, rows: usize, cols: usize) -> Matrix {
    let rate = f64::from(rate);
    Matrix::from_fn(rows, cols, |i, j| {
        let share = f64::from(bits(seed, step, layer, i, j)) / 2f64.powi(32);
        if share < rate {
            0.0
        } else {
            1.0 / (1.0 - rate)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of SplitMix64 for the seed 0, as its authors list them.
    #[test]
    fn the_hash_is_that_of_its_authors() {
        assert_eq!(split_mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(split_mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn a_mask_keeps_its_mean() {
        let mask = mask(0.25, 1, 2, 3, 200, 500);
        let mean = mask.data.iter().sum::<f64>() / mask.data.len() as f64;
        // Five standard errors of 1e5 draws of variance p / (1 - p).
        assert!(
            (mean - 1.0).abs() < 5.0 * (1.0 / 3.0f64).sqrt() / 1e5f64.sqrt(),
            "{mean}"
        );
        assert!(mask.data.iter().all(|&m| m == 0.0 || m == 1.0 / 0.75));
    }
}
