//! Sums in a fixed order.
//!
//! # Order and error
//! A slice is cut into blocks of [`BLOCK`] registers. Within a block [`ACCUMULATORS`] registers add
//! in turn; they are added pairwise, then their lanes; the sums of the blocks are added in f64. So
//! the order depends on the length and the number of lanes alone, and
//!
//! `|error| <= (BLOCK / ACCUMULATORS + log2(ACCUMULATORS * lanes) + 1) eps sum_i |x_i|`
//!
//! with eps = 2^-24, at most 23 eps, for slices of any length. Column sums of rows that lie together
//! add blocks of [`BLOCK`] rows one row after another, then the blocks, all in f32:
//! `(BLOCK + rows / BLOCK) eps`. Columns that lie together are summed as slices; any other layout
//! in f64, one element after another.

use pulp::{Simd, WithSimd};

use crate::lanes::{Row, Tail, Together, load_row, store_row};
use crate::math;
use crate::view::MatRef;

/// Registers of a slice, or rows of a matrix, that are summed before the blocks are.
const BLOCK: usize = 64;

/// Sums that run side by side, so that one addition need not wait for the one before it: four
/// cycles of latency, one addition per cycle.
const ACCUMULATORS: usize = 4;

/// Registers of columns that go down the rows together: the additions of one row do not wait for
/// each other, and a row gives whole cache lines.
const STRIP: usize = 4;

/// What becomes of an element before it is added.
trait Term: Copy {
    /// `sum + term(x)`
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s) -> S::f32s;
}

#[derive(Clone, Copy)]
struct Plain;

impl Term for Plain {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s) -> S::f32s {
        s.add_f32s(sum, x)
    }
}

#[derive(Clone, Copy)]
struct Squared;

impl Term for Squared {
    #[inline(always)]
    fn add<S: Simd>(self, s: S, sum: S::f32s, x: S::f32s) -> S::f32s {
        s.mul_add_e_f32s(x, x, sum)
    }
}

/// Sum of the terms of one block.
#[inline(always)]
fn block_sum<S: Simd>(s: S, term: impl Term, x: &[f32]) -> f32 {
    let (whole, rest) = S::as_simd_f32s(x);
    let mut sums = [s.splat_f32s(0.0); ACCUMULATORS];
    let mut groups = whole.chunks_exact(ACCUMULATORS);
    for group in &mut groups {
        for (sum, &x) in sums.iter_mut().zip(group) {
            *sum = term.add(s, *sum, x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(groups.remainder()) {
        *sum = term.add(s, *sum, x);
    }
    if !rest.is_empty() {
        // The missing lanes are 0, and so are their terms.
        let last = ACCUMULATORS - 1;
        sums[last] = term.add(s, sums[last], s.partial_load_f32s(rest));
    }
    let [a, b, c, d] = sums;
    s.reduce_sum_f32s(s.add_f32s(s.add_f32s(a, b), s.add_f32s(c, d)))
}

#[inline(always)]
fn blocked_sum<S: Simd>(s: S, term: impl Term, x: &[f32]) -> f64 {
    let mut sum = 0.0;
    for block in x.chunks(BLOCK * S::F32_LANES) {
        sum += f64::from(block_sum(s, term, block));
    }
    sum
}

/// `sum_i x_i`
pub(crate) struct Sum<'a> {
    pub(crate) x: &'a [f32],
}

impl WithSimd for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        blocked_sum(s, Plain, self.x) as f32
    }
}

/// `sum_i x_i^2`
pub(crate) struct SumSquares<'a> {
    pub(crate) x: &'a [f32],
}

impl WithSimd for SumSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        blocked_sum(s, Squared, self.x) as f32
    }
}

/// The largest element; -inf if there is none, NaN if one of them is.
pub(crate) struct Max<'a> {
    pub(crate) x: &'a [f32],
}

impl WithSimd for Max<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        let tail = Tail::of_row(s, self.x.len());
        let row = Together::new(self.x, tail);
        let lowest = f32::NEG_INFINITY;
        let mut max = s.splat_f32s(lowest);
        // Counts the elements that are unlike themselves: comparisons drop a NaN, sums keep it.
        let mut nan = s.splat_f32s(0.0);
        for index in 0..row.registers() {
            let x = row.load(s, index, lowest);
            max = math::at_least(s, max, x);
            nan = s.add_f32s(nan, s.select_f32s(s.equal_f32s(x, x), s.splat_f32s(0.0), x));
        }
        // 0, or NaN.
        s.reduce_max_f32s(max) + s.reduce_sum_f32s(nan)
    }
}

/// `sums_j = scale * sum_i x_ij`
pub(crate) struct ColumnSums<'a> {
    pub(crate) x: MatRef<'a>,
    pub(crate) scale: f32,
    pub(crate) sums: &'a mut [f32],
}

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { x, scale, sums } = self;
        if x.rows() == 0 {
            sums.fill(0.0);
        } else if x.row(0).is_some() {
            let width = STRIP * S::F32_LANES;
            let mut strips = sums.chunks_exact_mut(width);
            let mut column = 0;
            for strip in &mut strips {
                strip_sums::<S, STRIP>(s, x, column, scale, strip);
                column += width;
            }
            for strip in strips.into_remainder().chunks_mut(S::F32_LANES) {
                strip_sums::<S, 1>(s, x, column, scale, strip);
                column += strip.len();
            }
        } else if let Some(first) = x.t().row(0) {
            debug_assert_eq!(first.len(), x.rows());
            for (j, sum) in sums.iter_mut().enumerate() {
                let column = x.t().row(j).unwrap_or_default();
                *sum = scale * blocked_sum(s, Plain, column) as f32;
            }
        } else {
            for (j, sum) in sums.iter_mut().enumerate() {
                let total: f64 = (0..x.rows()).map(|i| f64::from(*x.at(i, j))).sum();
                *sum = scale * total as f32;
            }
        }
    }
}

/// Column sums of the `sums.len()` columns from `column` on, at most `REGISTERS` registers of them.
#[inline(always)]
fn strip_sums<S: Simd, const REGISTERS: usize>(
    s: S,
    x: MatRef<'_>,
    column: usize,
    scale: f32,
    sums: &mut [f32],
) {
    let tail = Tail::of_row(s, sums.len());
    let zero = [s.splat_f32s(0.0); REGISTERS];
    let mut totals = zero;
    for first in (0..x.rows()).step_by(BLOCK) {
        let mut block = zero;
        for i in first..x.rows().min(first + BLOCK) {
            let row = x.row(i).unwrap_or_default();
            let row: [_; REGISTERS] = load_row(s, &row[column..column + sums.len()], tail, 0.0);
            for r in 0..REGISTERS {
                block[r] = s.add_f32s(block[r], row[r]);
            }
        }
        for r in 0..REGISTERS {
            totals[r] = s.add_f32s(totals[r], block[r]);
        }
    }
    for total in &mut totals {
        *total = s.mul_f32s(*total, s.splat_f32s(scale));
    }
    store_row(s, sums, tail, totals);
}
