//! Random bits that are a function of where they are used: a mask that is computed, never stored.
//!
//! # Method
//! Each row has a key of 64 bits, a hash (the finaliser of SplitMix64) of seed, step, layer and row;
//! each column of the row hashes its number with both halves of that key: two rounds of multiplying
//! by an odd constant and folding the high half down, as in C. Wellons' `lowbias32`, with the second
//! half of the key added between them. Integers only, so the bits are the same on any instruction set,
//! and in any order and division of the work.
//!
//! Not for cryptography. The tests in `tests/tests/dropout.rs` look at shares, and at the correlation of
//! neighbours in rows, columns, layers and steps.

use pulp::{Simd, WithSimd};

use crate::error::KernelError;
use crate::view::MatMut;

/// `y = x m / (1 - p)`, where `m` is 0 with probability p, else 1: inverted dropout.
///
/// The keep probability is `1 - p`. N. Srivastava et al., 2014, "Dropout: a simple way to prevent
/// neural networks from overfitting"; scaled in training, so that predictions need no factor.
///
/// `m_ij = f(seed, step, layer, i, j)`: the same bits on any instruction set, for any number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Kept where the random bits are at least this.
    threshold: u32,
    /// `1 / (1 - p)`
    factor: f32,
    key: u64,
}

impl Dropout {
    /// The mask of one layer in one step.
    ///
    /// `rate` is p, the share that is dropped; it is rounded to a multiple of 2^-32.
    ///
    /// # Errors
    /// [`KernelError::Parameter`] if `rate` is not in [0, 1).
    pub fn new(rate: f32, seed: u64, step: u64, layer: u64) -> Result<Self, KernelError> {
        if !(0.0..1.0).contains(&rate) {
            return Err(KernelError::Parameter {
                op: "dropout",
                name: "rate",
                expected: "a number of at least 0 and below 1",
                got: rate.to_string(),
            });
        }
        let rate = f64::from(rate);
        Ok(Self {
            threshold: (rate * 2f64.powi(32)) as u32,
            factor: (1.0 / (1.0 - rate)) as f32,
            key: mix(mix(mix(seed).wrapping_add(step)).wrapping_add(layer)),
        })
    }

    /// The same mask from `row` on: for some of the rows of a matrix, the mask that they have in it.
    pub fn from_row(self, row: usize) -> Self {
        let key = self.key.wrapping_add(row as u64);
        Self { key, ..self }
    }

    /// The mask of one row.
    #[inline(always)]
    pub(crate) fn row(self, row: usize) -> RowMask {
        let key = mix(self.key.wrapping_add(row as u64));
        RowMask {
            threshold: self.threshold,
            factor: self.factor,
            keys: [key as u32, (key >> 32) as u32],
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), after one step of its counter.
#[inline(always)]
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Numbers of the lanes of the widest register.
const LANES: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The mask of one row.
#[derive(Clone, Copy)]
pub(crate) struct RowMask {
    threshold: u32,
    factor: f32,
    keys: [u32; 2],
}

impl RowMask {
    /// The factors of the register of columns that begins with `col`: 0 or `1 / (1 - p)`.
    #[inline(always)]
    pub(crate) fn factors<S: Simd>(self, s: S, col: usize) -> S::f32s {
        let lanes = s.partial_load_u32s(&LANES[..S::U32_LANES]);
        let x = s.add_u32s(lanes, s.splat_u32s((col as u32).wrapping_add(self.keys[0])));
        let x = fold(s, x, 16);
        let x = multiply(s, x, 0x7feb_352d);
        let x = s.add_u32s(fold(s, x, 15), s.splat_u32s(self.keys[1]));
        let x = fold(s, multiply(s, x, 0x846c_a68b), 16);
        let keep = s.greater_than_or_equal_u32s(x, s.splat_u32s(self.threshold));
        s.select_f32s(keep, s.splat_f32s(self.factor), s.splat_f32s(0.0))
    }

    /// Multiplies a row, or the part of it that begins with column `col`.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, col: usize, row: &mut [f32]) {
        let (body, tail) = S::as_mut_simd_f32s(row);
        let mut col = col;
        for x in body {
            *x = s.mul_f32s(*x, self.factors(s, col));
            col += S::F32_LANES;
        }
        if !tail.is_empty() {
            let last = s.mul_f32s(s.partial_load_f32s(tail), self.factors(s, col));
            s.partial_store_f32s(tail, last);
        }
    }
}

/// `x ^ (x >> n)`
#[inline(always)]
fn fold<S: Simd>(s: S, x: S::u32s, n: u32) -> S::u32s {
    s.xor_u32s(x, s.wrapping_dyn_shr_u32s(x, s.splat_u32s(n)))
}

/// `x * factor` modulo 2^32
#[inline(always)]
fn multiply<S: Simd>(s: S, x: S::u32s, factor: u32) -> S::u32s {
    s.widening_mul_u32s(x, s.splat_u32s(factor)).0
}

/// `x = m x` in place.
pub(crate) struct ApplyDropout<'a> {
    pub(crate) dropout: Dropout,
    pub(crate) x: MatMut<'a>,
}

impl WithSimd for ApplyDropout<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { dropout, mut x } = self;
        for i in 0..x.rows() {
            let mask = dropout.row(i);
            if let Some(row) = x.row_mut(i) {
                mask.apply(s, 0, row);
                continue;
            }
            for j in 0..x.cols() {
                let x = x.at_mut(i, j);
                let mut one = [*x];
                mask.apply(s, j, &mut one);
                *x = one[0];
            }
        }
    }
}
