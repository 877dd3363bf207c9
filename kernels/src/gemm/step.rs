//! The step of an optimiser on a part of the weights, whose gradient is in a near cache.
//!
//! The formulas and loops are those of [`crate::update`], one row of the tile at a time: the bits are
//! those of an update after the product.

use pulp::{Simd, WithSimd};

use crate::update::{AdamUpdate, MomentumUpdate, RmspropUpdate, SgdUpdate};
use crate::update_rule::{AdamConstants, RmspropRule, SgdRule};

/// A matrix of the shape of C with contiguous columns, to be updated by tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) ptr: *mut f32,
    pub(super) row_stride: isize,
}

impl Place {
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
        params: Place,
    },
    Momentum {
        rule: SgdRule,
        velocity: Place,
        params: Place,
    },
    Adam {
        constants: AdamConstants,
        first_moment: Place,
        second_moment: Place,
        params: Place,
    },
    Rmsprop {
        rule: RmspropRule,
        second_moment: Place,
        /// There if it is centered.
        first_moment: Option<Place>,
        /// There if there is momentum.
        velocity: Option<Place>,
        params: Place,
    },
}

// SAFETY: the members of a team update disjoint tiles; each place is borrowed for the whole phase.
unsafe impl Send for Step {}
// SAFETY: as above.
unsafe impl Sync for Step {}

/// A part of the gradient with contiguous columns, and its place in C.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepArgs {
    pub(super) step: Step,
    pub(super) grads: *const f32,
    pub(super) grads_row: isize,
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// Updates the parameters of a tile.
///
/// # Safety
/// The CPU has the instruction set; the tile can be read; each place of the step can be read and
/// written in the rows and columns of the tile, no two of them overlap there, and no one else
/// touches them.
pub(super) type StepFn = unsafe fn(StepArgs);

/// The body of a [`StepFn`], a promise that its contract is kept.
pub(super) struct StepOnTile(StepArgs);

impl StepOnTile {
    /// # Safety
    /// As [`StepFn`], for as long as the value lives; but for the CPU.
    #[inline(always)]
    pub(super) unsafe fn new(args: StepArgs) -> Self {
        Self(args)
    }

    /// # Safety
    /// `place` is one of the step's, `i < rows`; one borrow of each row at a time.
    #[inline(always)]
    unsafe fn row<'a>(&self, place: Place, i: usize) -> &'a mut [f32] {
        // SAFETY: the row lies in the tile, which is ours alone, said the caller of `new`.
        unsafe { std::slice::from_raw_parts_mut(place.at(self.0.row + i, self.0.col), self.0.cols) }
    }

    /// Nothing where there is no place.
    ///
    /// # Safety
    /// As [`Self::row`].
    #[inline(always)]
    unsafe fn row_or_none<'a>(&self, place: Option<Place>, i: usize) -> &'a mut [f32] {
        match place {
            // SAFETY: the caller keeps the contract.
            Some(place) => unsafe { self.row(place, i) },
            None => &mut [],
        }
    }

    /// # Safety
    /// `i < rows`
    #[inline(always)]
    unsafe fn grads<'a>(&self, i: usize) -> &'a [f32] {
        let row = self.0.grads.wrapping_offset(i as isize * self.0.grads_row);
        // SAFETY: the row lies in the tile, which can be read, said the caller of `new`.
        unsafe { std::slice::from_raw_parts(row, self.0.cols) }
    }
}

impl WithSimd for StepOnTile {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let rows = 0..self.0.rows;
        // SAFETY: `i < rows`, and each row of each place is borrowed once.
        unsafe {
            match self.0.step {
                Step::Sgd { rule, params } => {
                    for i in rows {
                        let (grads, params) = (self.grads(i), self.row(params, i));
                        SgdUpdate {
                            rule,
                            grads,
                            params,
                        }
                        .with_simd(s);
                    }
                }
                Step::Momentum {
                    rule,
                    velocity,
                    params,
                } => {
                    for i in rows {
                        MomentumUpdate {
                            rule,
                            grads: self.grads(i),
                            velocity: self.row(velocity, i),
                            params: self.row(params, i),
                        }
                        .with_simd(s);
                    }
                }
                Step::Adam {
                    constants,
                    first_moment,
                    second_moment,
                    params,
                } => {
                    for i in rows {
                        AdamUpdate {
                            constants,
                            grads: self.grads(i),
                            first_moment: self.row(first_moment, i),
                            second_moment: self.row(second_moment, i),
                            params: self.row(params, i),
                        }
                        .with_simd(s);
                    }
                }
                Step::Rmsprop {
                    rule,
                    second_moment,
                    first_moment,
                    velocity,
                    params,
                } => {
                    for i in rows {
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
