//! Numbers for tests: the same for the same seed, on every machine and in every version.

use crate::matrix::Matrix;

/// A stream of pseudo-random numbers (SplitMix64; Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Values(u64);

impl Values {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from -1 (included) to 1 (excluded), a multiple of 2^-23.
    pub fn uniform(&mut self) -> f32 {
        let high = (self.bits() >> 40) as f32; // 24 bits, exact
        high / 8_388_608.0 - 1.0
    }

    /// An integer below `end`.
    ///
    /// # Panics
    /// If `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// `n` numbers of [`Self::uniform`].
    pub fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.uniform()).collect()
    }

    /// `n` class labels below `classes`.
    pub fn labels(&mut self, n: usize, classes: usize) -> Vec<u32> {
        (0..n).map(|_| self.below(classes) as u32).collect()
    }

    /// A matrix of [`Self::uniform`]; its elements are exact in f32.
    pub fn matrix(&mut self, rows: usize, cols: usize) -> Matrix {
        Matrix::from_f32(rows, cols, &self.vec(rows * cols))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_published_generator() {
        // First outputs for seed 1234567, from the reference implementation by S. Vigna.
        let mut values = Values::new(1_234_567);
        assert_eq!(values.bits(), 6_457_827_717_110_365_317);
        assert_eq!(values.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn uniform_fills_its_range() {
        let x = Values::new(1).vec(10_000);
        assert!(x.iter().all(|x| (-1.0..1.0).contains(x)));
        assert!(x.iter().any(|&x| x < -0.99) && x.iter().any(|&x| x > 0.99));
        let mean = x.iter().sum::<f32>() / 10_000.0;
        // Standard error of the mean: sqrt(1/3) / 100 = 0.006.
        assert!(mean.abs() < 0.03, "{mean}");
    }
}
