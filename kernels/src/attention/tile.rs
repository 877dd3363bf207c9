//! What is done with the rows of a block of scores, in registers.
//!
//! Rows of a block see its first keys, and nothing behind them: what causality and padding leave of
//! a row is a beginning. What is not seen has the probability 0.

use pulp::{Simd, WithSimd};

use crate::lanes::{Row, RowMut, Tail, Together, TogetherMut};
use crate::math;
use crate::softmax::row_max;
use crate::view::{MatMut, MatRef};

/// Which keys the rows of a block see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Keys of the sequence that are no padding.
    pub(crate) length: usize,
    /// Whether a row sees no key behind it.
    pub(crate) causal: bool,
    /// Where the block begins: its first query, its first key.
    pub(crate) query: usize,
    pub(crate) key: usize,
}

impl Seen {
    /// How many of the keys of the block row `i` of the block sees.
    #[inline(always)]
    fn by(&self, i: usize, keys: usize) -> usize {
        let end = match self.causal {
            true => self.length.min(self.query + i + 1),
            false => self.length,
        };
        end.saturating_sub(self.key).min(keys)
    }
}

/// Scores become `e^(s - max)`; the largest score, the sum and the output so far are brought up to
/// date.
pub(crate) struct SoftmaxTile<'a> {
    /// Rows lie together, in this and all other matrices of this file.
    pub(crate) scores: MatMut<'a>,
    pub(crate) seen: Seen,
    /// -inf where nothing was seen before.
    pub(crate) max: &'a mut [f32],
    pub(crate) sum: &'a mut [f32],
    /// The output so far; `None` before the first block.
    pub(crate) o: Option<MatMut<'a>>,
}

impl WithSimd for SoftmaxTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let keys = self.scores.cols();
        for i in 0..self.scores.rows() {
            let row = self.scores.row_mut(i).unwrap_or_default();
            let (seen, hidden) = row.split_at_mut(self.seen.by(i, keys));
            hidden.fill(0.0);
            if seen.is_empty() {
                continue;
            }
            let tail = Tail::of_row(s, seen.len());
            let block_max = row_max(s, &Together::new(seen, tail));
            let max = self.max[i].max(block_max);
            let factor = math::exp(pulp::Scalar, self.max[i] - max);
            let sum = exponentials(s, max, &mut TogetherMut::new(seen, tail));
            self.max[i] = max;
            self.sum[i] = factor * self.sum[i] + sum;
            if let Some(o) = &mut self.o
                && factor != 1.0
            {
                scale(s, factor, o.row_mut(i).unwrap_or_default());
            }
        }
    }
}

/// Makes a row `e^(x - max)`; gives its sum.
#[inline(always)]
fn exponentials<S: Simd>(s: S, max: f32, row: &mut impl RowMut<S>) -> f32 {
    let max = s.splat_f32s(max);
    let mut sum = s.splat_f32s(0.0);
    let registers = row.reader().registers();
    for index in 0..registers {
        let x = row.reader().load(s, index, f32::NEG_INFINITY);
        let e = math::exp(s, s.sub_f32s(x, max));
        row.store(s, index, e);
        sum = s.add_f32s(sum, e);
    }
    s.reduce_sum_f32s(sum)
}

#[inline(always)]
fn scale<S: Simd>(s: S, factor: f32, row: &mut [f32]) {
    let tail = Tail::of_row(s, row.len());
    let mut row = TogetherMut::new(row, tail);
    let registers = row.reader().registers();
    for index in 0..registers {
        let x = row.reader().load(s, index, 0.0);
        row.store(s, index, s.mul_f32s(x, s.splat_f32s(factor)));
    }
}

/// `o = o / sum`, `lse = max + ln sum`
pub(crate) struct FinishRows<'a> {
    pub(crate) max: &'a [f32],
    pub(crate) sum: &'a [f32],
    pub(crate) o: MatMut<'a>,
    pub(crate) lse: &'a mut [f32],
}

impl WithSimd for FinishRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        for i in 0..self.o.rows() {
            let (max, sum) = (self.max[i], self.sum[i]);
            scale(s, 1.0 / sum, self.o.row_mut(i).unwrap_or_default());
            // The largest term of the sum is 1.
            self.lse[i] = max + math::ln(pulp::Scalar, sum);
        }
    }
}

/// `dots_i = sum_j a_ij b_ij`
pub(crate) struct RowDots<'a> {
    pub(crate) a: MatRef<'a>,
    pub(crate) b: MatRef<'a>,
    pub(crate) dots: &'a mut [f32],
}

impl WithSimd for RowDots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let tail = Tail::of_row(s, self.a.cols());
        for (i, dot) in self.dots.iter_mut().enumerate() {
            let a = Together::new(self.a.row(i).unwrap_or_default(), tail);
            let b = Together::new(self.b.row(i).unwrap_or_default(), tail);
            let mut sum = s.splat_f32s(0.0);
            for index in 0..a.registers() {
                sum = s.mul_add_e_f32s(a.load(s, index, 0.0), b.load(s, index, 0.0), sum);
            }
            *dot = s.reduce_sum_f32s(sum);
        }
    }
}

/// Scores become probabilities `p = e^(s - lse)`, gradients of probabilities become those of scores,
/// `ds = p (dp - dots)`.
pub(crate) struct GradientTile<'a> {
    pub(crate) scores: MatMut<'a>,
    pub(crate) d_scores: MatMut<'a>,
    pub(crate) seen: Seen,
    pub(crate) lse: &'a [f32],
    pub(crate) dots: &'a [f32],
}

impl WithSimd for GradientTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let keys = self.scores.cols();
        for i in 0..self.scores.rows() {
            let end = self.seen.by(i, keys);
            let row = self.scores.row_mut(i).unwrap_or_default();
            let (p, hidden) = row.split_at_mut(end);
            hidden.fill(0.0);
            let row = self.d_scores.row_mut(i).unwrap_or_default();
            let (ds, hidden) = row.split_at_mut(end);
            hidden.fill(0.0);
            let tail = Tail::of_row(s, end);
            let (mut p, mut ds) = (TogetherMut::new(p, tail), TogetherMut::new(ds, tail));
            let (lse, dot) = (s.splat_f32s(self.lse[i]), s.splat_f32s(self.dots[i]));
            let registers = p.reader().registers();
            for index in 0..registers {
                let score = p.reader().load(s, index, f32::NEG_INFINITY);
                let e = math::exp(s, s.sub_f32s(score, lse));
                p.store(s, index, e);
                let dp = ds.reader().load(s, index, 0.0);
                ds.store(s, index, s.mul_f32s(e, s.sub_f32s(dp, dot)));
            }
        }
    }
}
