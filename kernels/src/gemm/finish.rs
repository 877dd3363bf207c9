//! The epilogue, applied to a tile of C while it is in the first-level cache.

use pulp::{Simd, WithSimd};

use crate::elementwise::{activate, derivative};
use crate::epilogue::Epilogue;
use crate::view::MatRef;

/// A tile of C whose sums are complete, with contiguous columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinishArgs<'a> {
    pub(super) epilogue: Epilogue<'a>,
    pub(super) c: *mut f32,
    pub(super) c_row: isize,
    /// Place of the tile in C.
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// Applies an epilogue to a tile.
///
/// # Safety
/// The CPU has the instruction set; the tile can be read and written and no one else touches it; the
/// epilogue's operands have the shape of C, and the tile lies in it.
pub(super) type FinishFn = unsafe fn(FinishArgs<'_>);

/// The body of a [`FinishFn`].
pub(super) struct Finish<'a>(pub(super) FinishArgs<'a>);

impl Finish<'_> {
    /// # Safety
    /// As [`FinishFn`], for `i < rows`.
    #[inline(always)]
    unsafe fn row(&mut self, i: usize) -> &mut [f32] {
        // SAFETY: the row lies in the tile, which is ours alone.
        unsafe {
            std::slice::from_raw_parts_mut(self.0.c.offset(i as isize * self.0.c_row), self.0.cols)
        }
    }
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let t = self.0;
        match t.epilogue {
            Epilogue::Store => {}
            Epilogue::Activate { bias, activation } => {
                let bias = bias.map(|bias| &bias[t.col..t.col + t.cols]);
                for i in 0..t.rows {
                    // SAFETY: `i < rows`; the rest is the contract of `FinishFn`.
                    let row = unsafe { self.row(i) };
                    match bias {
                        Some(bias) => zip(s, row, bias, |sum, bias| {
                            activate(s, activation, s.add_f32s(sum, bias))
                        }),
                        None => map(s, row, |sum| activate(s, activation, sum)),
                    }
                }
            }
            Epilogue::Derivative { activation, output } => {
                for i in 0..t.rows {
                    // SAFETY: `i < rows`; the rest is the contract of `FinishFn`.
                    let row = unsafe { self.row(i) };
                    let output = output.part(t.row + i..t.row + i + 1, t.col..t.col + t.cols);
                    match output.row(0) {
                        Some(y) => zip(s, row, y, |sum, y| {
                            s.mul_f32s(sum, derivative(s, activation, y))
                        }),
                        None => strided(s, row, output, |sum, y| {
                            s.mul_f32s(sum, derivative(s, activation, y))
                        }),
                    }
                }
            }
        }
    }
}

/// `c = f(c)`
#[inline(always)]
fn map<S: Simd>(s: S, c: &mut [f32], f: impl Fn(S::f32s) -> S::f32s) {
    let (body, tail) = S::as_mut_simd_f32s(c);
    for c in body {
        *c = f(*c);
    }
    if !tail.is_empty() {
        let c = f(s.partial_load_f32s(tail));
        s.partial_store_f32s(tail, c);
    }
}

/// `c = f(c, x)`
#[inline(always)]
fn zip<S: Simd>(s: S, c: &mut [f32], x: &[f32], f: impl Fn(S::f32s, S::f32s) -> S::f32s) {
    let (body, tail) = S::as_mut_simd_f32s(c);
    let (x_body, x_tail) = S::as_simd_f32s(x);
    for (c, &x) in body.iter_mut().zip(x_body) {
        *c = f(*c, x);
    }
    if !tail.is_empty() {
        let c = f(s.partial_load_f32s(tail), s.partial_load_f32s(x_tail));
        s.partial_store_f32s(tail, c);
    }
}

/// `c = f(c, x)` for a row `x` whose elements are not contiguous.
#[inline(always)]
fn strided<S: Simd>(s: S, c: &mut [f32], x: MatRef<'_>, f: impl Fn(S::f32s, S::f32s) -> S::f32s) {
    let mut buffer = [0.0; 64];
    for (start, c) in (0..).step_by(buffer.len()).zip(c.chunks_mut(buffer.len())) {
        let buffer = &mut buffer[..c.len()];
        for (j, y) in buffer.iter_mut().enumerate() {
            *y = *x.at(0, start + j);
        }
        zip(s, c, buffer, &f);
    }
}
