//! Columns, some registers of them at a time, from the first row to the last.
//!
//! A strip of [`WIDE`] registers goes down the rows together: its additions do not wait for each
//! other, and a row gives whole cache lines. Each column is summed by itself, blocks of [`BLOCK`]
//! rows one row after another, then the blocks: so a column has the same bits in whatever strip it
//! lies.

use pulp::Simd;

use crate::lanes::{Tail, load_row, store_row};
use crate::parts::{Divide, Pieces};
use crate::view::{MatMut, MatRef};

/// Rows that are summed before the blocks are: it bounds the error of long columns.
const BLOCK: usize = 64;

/// Registers of a wide strip.
pub(crate) const WIDE: usize = 4;

/// The rows of a strip, to read.
pub(super) trait Rows<S: Simd, const R: usize> {
    /// Row `i`, 0 in the lanes behind its end.
    fn load(&self, s: S, i: usize) -> [S::f32s; R];
}

/// The rows of a strip, to write.
pub(super) trait RowsMut<S: Simd, const R: usize> {
    /// Writes row `i`; lanes behind its end are dropped.
    fn store(&mut self, s: S, i: usize, value: [S::f32s; R]);
}

/// A strip of rows whose elements lie together.
pub(super) struct Together<M, S: Simd> {
    pub(super) matrix: M,
    pub(super) tail: Tail<S>,
}

impl<S: Simd, const R: usize> Rows<S, R> for Together<MatRef<'_>, S> {
    #[inline(always)]
    fn load(&self, s: S, i: usize) -> [S::f32s; R] {
        load_row(s, self.matrix.row(i).unwrap_or_default(), self.tail, 0.0)
    }
}

impl<S: Simd, const R: usize> RowsMut<S, R> for Together<MatMut<'_>, S> {
    #[inline(always)]
    fn store(&mut self, s: S, i: usize, value: [S::f32s; R]) {
        let row = self.matrix.row_mut(i).unwrap_or_default();
        store_row(s, row, self.tail, value);
    }
}

/// One column of a view with any strides.
pub(super) struct Apart<M>(pub(super) M);

impl Rows<pulp::Scalar, 1> for Apart<MatRef<'_>> {
    #[inline(always)]
    fn load(&self, _: pulp::Scalar, i: usize) -> [f32; 1] {
        [*self.0.at(i, 0)]
    }
}

impl RowsMut<pulp::Scalar, 1> for Apart<MatMut<'_>> {
    #[inline(always)]
    fn store(&mut self, _: pulp::Scalar, i: usize, [value]: [f32; 1]) {
        *self.0.at_mut(i, 0) = value;
    }
}

/// Two terms of each element of a row.
pub(super) trait Terms<S: Simd, const R: usize> {
    /// Adds those of row `i` to the sums.
    fn add(&self, s: S, i: usize, sums: &mut [[S::f32s; R]; 2]);
}

/// The sums of two terms over all rows.
#[inline(always)]
pub(super) fn sums<S: Simd, const R: usize>(
    s: S,
    rows: usize,
    terms: &impl Terms<S, R>,
) -> [[S::f32s; R]; 2] {
    let zero = [[s.splat_f32s(0.0); R]; 2];
    let mut totals = zero;
    for first in (0..rows).step_by(BLOCK) {
        let mut block = zero;
        for i in first..rows.min(first + BLOCK) {
            terms.add(s, i, &mut block);
        }
        for (totals, block) in totals.iter_mut().zip(block) {
            for r in 0..R {
                totals[r] = s.add_f32s(totals[r], block[r]);
            }
        }
    }
    totals
}

/// Adds `dy` and `dy xhat` of one register to their sums: a term of dbeta, and one of dgamma.
#[inline(always)]
pub(super) fn add_gradient<S: Simd>(
    s: S,
    dy: S::f32s,
    xhat: S::f32s,
    dbeta: &mut S::f32s,
    dgamma: &mut S::f32s,
) {
    *dbeta = s.add_f32s(*dbeta, dy);
    *dgamma = s.mul_add_e_f32s(dy, xhat, *dgamma);
}

/// An operation on columns.
pub(super) trait OnColumns: Divide {
    /// Whether the elements of each row lie together in all operands.
    fn together(&self) -> bool;

    /// Does a strip of at most `R` registers whose rows lie together.
    fn strip<S: Simd, const R: usize>(self, s: S, tail: Tail<S>);

    /// Does one column, whatever the strides.
    fn column(self);
}

/// Does all columns: wide strips, then what is left.
#[inline(always)]
pub(super) fn each_strip<S: Simd>(s: S, whole: impl OnColumns) {
    if !whole.together() {
        for column in Pieces::new(whole, 1) {
            column.column();
        }
        return;
    }
    let wide = WIDE * S::F32_LANES;
    let mut strips = Pieces::new(whole, wide);
    while strips.rest().is_some_and(|rest| rest.len() >= wide) {
        if let Some(strip) = strips.next() {
            strip.strip::<S, WIDE>(s, Tail::of_row(s, wide));
        }
    }
    strips.set_piece(S::F32_LANES);
    for strip in strips {
        let tail = Tail::of_row(s, strip.len());
        strip.strip::<S, 1>(s, tail);
    }
}
