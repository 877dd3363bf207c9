//! The step of an optimiser on a part of the weights, whose gradient is in a near cache.
//!
//! The formulas are those of [`crate::update`]: the bits are those of an update after the product.

use std::slice;

use pulp::{Simd, WithSimd};

use super::finish::{FinishedTile, Place};
use crate::update::RmspropUpdate;
use crate::update_rule::{Adam, AdamConstants, Momentum, RmspropRule, Sgd, SgdRule};

/// Parameters or their state, of the shape of C and with contiguous columns, to be updated by tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    pub(super) ptr: *mut f32,
    pub(super) row_stride: isize,
}

impl Weights {
    #[inline(always)]
    fn at(self, row: usize, col: usize) -> *mut f32 {
        self.ptr
            .wrapping_offset(row as isize * self.row_stride)
            .wrapping_add(col)
    }
}

/// What is done with the gradient, and where the parameters and their state are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Sgd {
        rule: SgdRule,
        params: Weights,
    },
    Momentum {
        rule: SgdRule,
        velocity: Weights,
        params: Weights,
    },
    Adam {
        constants: AdamConstants,
        first_moment: Weights,
        second_moment: Weights,
        params: Weights,
    },
    Rmsprop {
        rule: RmspropRule,
        second_moment: Weights,
        /// There if it is centered.
        first_moment: Option<Weights>,
        /// There if there is momentum.
        velocity: Option<Weights>,
        params: Weights,
    },
}

// SAFETY: the members of a team update disjoint tiles; all weights are borrowed for the whole phase.
unsafe impl Send for Step {}
// SAFETY: as above.
unsafe impl Sync for Step {}

/// Updates the parameters of a tile, given its gradient.
///
/// # Safety
/// The CPU has the instruction set; the tile can be read; each of the step's weights can be read and
/// written in the rows and columns of the tile, no two of them overlap there, and no one else
/// touches them.
pub(super) type StepFn = unsafe fn(&Step, &FinishedTile<f32>);

/// The body of a [`StepFn`], a promise that its contract is kept.
pub(super) struct StepOnTile<'t> {
    step: &'t Step,
    tile: &'t FinishedTile<f32>,
}

impl<'t> StepOnTile<'t> {
    /// # Safety
    /// As [`StepFn`], for as long as the value lives; but for the CPU.
    #[inline(always)]
    pub(super) unsafe fn new(step: &'t Step, tile: &'t FinishedTile<f32>) -> Self {
        Self { step, tile }
    }

    /// # Safety
    /// `weights` are of the step, `i < rows`; one borrow of each row at a time.
    #[inline(always)]
    unsafe fn row<'a>(&self, weights: Weights, i: usize) -> &'a mut [f32] {
        // SAFETY: the row lies in the tile, which is ours alone, said the caller of `new`.
        unsafe {
            let Place { row, col, cols, .. } = self.tile.place;
            slice::from_raw_parts_mut(weights.at(row + i, col), cols)
        }
    }

    /// Nothing where there are no weights.
    ///
    /// # Safety
    /// As [`Self::row`].
    #[inline(always)]
    unsafe fn row_or_none<'a>(&self, weights: Option<Weights>, i: usize) -> &'a mut [f32] {
        match weights {
            // SAFETY: the caller keeps the contract.
            Some(weights) => unsafe { self.row(weights, i) },
            None => &mut [],
        }
    }

    /// # Safety
    /// `i < rows`
    #[inline(always)]
    unsafe fn grads<'a>(&self, i: usize) -> &'a [f32] {
        let row = self.tile.c.wrapping_offset(i as isize * self.tile.c_row);
        // SAFETY: the row lies in the tile, which can be read, said the caller of `new`.
        unsafe { slice::from_raw_parts(row, self.tile.place.cols) }
    }
}

/// A step that changes a register of each of `N` kinds of weights, given that of the gradient.
trait RegisterStep<S: Simd, const N: usize>: Copy {
    fn on(self, s: S, grads: S::f32s, weights: [S::f32s; N]) -> [S::f32s; N];
}

impl<S: Simd> RegisterStep<S, 1> for Sgd<S> {
    #[inline(always)]
    fn on(self, s: S, grads: S::f32s, [params]: [S::f32s; 1]) -> [S::f32s; 1] {
        [self.step(s, grads, params)]
    }
}

impl<S: Simd> RegisterStep<S, 2> for Momentum<S> {
    #[inline(always)]
    fn on(self, s: S, grads: S::f32s, [velocity, params]: [S::f32s; 2]) -> [S::f32s; 2] {
        self.step(s, grads, velocity, params).into()
    }
}

impl<S: Simd> RegisterStep<S, 3> for Adam<S> {
    #[inline(always)]
    fn on(self, s: S, grads: S::f32s, [first, second, params]: [S::f32s; 3]) -> [S::f32s; 3] {
        self.step(s, grads, first, second, params).into()
    }
}

impl StepOnTile<'_> {
    /// The step on all of the tile.
    ///
    /// # Safety
    /// As [`StepFn`]; the weights are those of the step.
    #[inline(always)]
    unsafe fn each<S: Simd, const N: usize>(
        &self,
        s: S,
        weights: [Weights; N],
        step: impl RegisterStep<S, N>,
    ) {
        let FinishedTile { c, c_row, place } = *self.tile;
        let full = place.cols / S::F32_LANES * S::F32_LANES;
        let mut grads = c.cast_const();
        let mut rows = weights.map(|weights| weights.at(place.row, place.col));
        for _ in 0..place.rows {
            // SAFETY: this function's contract; registers may lie anywhere, and no two borrows of a
            // row overlap.
            unsafe {
                let mut j = 0;
                while j < full {
                    let g = grads.add(j).cast::<S::f32s>().read_unaligned();
                    let old = rows.map(|row| row.add(j).cast::<S::f32s>().read_unaligned());
                    let new = step.on(s, g, old);
                    for n in 0..N {
                        rows[n].add(j).cast::<S::f32s>().write_unaligned(new[n]);
                    }
                    j += S::F32_LANES;
                }
                if full < place.cols {
                    let rest = place.cols - full;
                    let g = slice::from_raw_parts(grads.add(full), rest);
                    let old = rows
                        .map(|row| s.partial_load_f32s(slice::from_raw_parts(row.add(full), rest)));
                    let new = step.on(s, s.partial_load_f32s(g), old);
                    for n in 0..N {
                        let row = slice::from_raw_parts_mut(rows[n].add(full), rest);
                        s.partial_store_f32s(row, new[n]);
                    }
                }
            }
            grads = grads.wrapping_offset(c_row);
            for n in 0..N {
                rows[n] = rows[n].wrapping_offset(weights[n].row_stride);
            }
        }
    }
}

impl WithSimd for StepOnTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        // SAFETY: said the caller of `new`; `i < rows`, and each row of the weights is borrowed once.
        unsafe {
            match *self.step {
                Step::Sgd { rule, params } => self.each(s, [params], Sgd::new(s, rule)),
                Step::Momentum {
                    rule,
                    velocity,
                    params,
                } => self.each(s, [velocity, params], Momentum::new(s, rule)),
                Step::Adam {
                    constants,
                    first_moment,
                    second_moment,
                    params,
                } => {
                    let weights = [first_moment, second_moment, params];
                    self.each(s, weights, Adam::new(s, constants));
                }
                Step::Rmsprop {
                    rule,
                    second_moment,
                    first_moment,
                    velocity,
                    params,
                } => {
                    for i in 0..self.tile.place.rows {
                        RmspropUpdate {
                            rule,
                            grads: self.grads(i),
                            second_moment: self.row(second_moment, i),
                            first_moment: self.row_or_none(first_moment, i),
                            velocity: self.row_or_none(velocity, i),
                            params: self.row(params, i),
                        }
                        .with_simd(s);
                    }
                }
            }
        }
    }
}
