//! The epilogue, applied to a tile of C while it is in the first-level cache.

use std::slice;

use pulp::{Simd, WithSimd};

use super::vector::prefetch_near;
use crate::activation::{Activation, PerActivation, specialise};
use crate::counter_rng::Dropout;
use crate::elementwise::{activate, derivative};
use crate::epilogue::Epilogue;
use crate::view::MatRef;

/// Where a part of C lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// A part of C with contiguous columns, in C or elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinishedTile<T> {
    pub(super) c: *mut T,
    pub(super) c_row: isize,
    pub(super) place: Place,
}

impl Place {
    /// Hints that this part of a matrix with contiguous columns is wanted soon. Where the rows are a
    /// power of two apart, the first-level cache has no room for them until then.
    #[inline(always)]
    pub(super) fn fetch<T>(&self, matrix: *const T, row_stride: isize) {
        let mut row = matrix
            .wrapping_offset(self.row as isize * row_stride)
            .wrapping_add(self.col);
        for _ in 0..self.rows {
            let mut j = 0;
            while j < self.cols {
                prefetch_near(row.wrapping_add(j));
                j += LINE / size_of::<T>();
            }
            // A row seldom starts with a line.
            prefetch_near(row.wrapping_add(self.cols - 1));
            row = row.wrapping_offset(row_stride);
        }
    }
}

/// More lanes than any register has.
const MAX_LANES: usize = 16;
/// Bytes of a cache line, or a part of it.
const LINE: usize = 64;

/// What is done to the elements of C when their sums are complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finishing<'a> {
    pub(super) epilogue: &'a Epilogue<'a>,
    pub(super) dropout: &'a Option<Dropout>,
}

/// Applies an epilogue to a tile.
///
/// # Safety
/// The CPU has the instruction set; the tile can be read and written and no one else touches it; the
/// epilogue's operands have the shape of C, and the tile lies in it.
pub(super) type FinishFn = unsafe fn(&Finishing<'_>, &FinishedTile<f32>);

/// The body of a [`FinishFn`], a promise that its contract is kept.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    finishing: &'a Finishing<'a>,
    tile: &'a FinishedTile<f32>,
}

impl<'a> Finish<'a> {
    /// # Safety
    /// As [`FinishFn`], for as long as the value lives; but for the CPU.
    #[inline(always)]
    pub(super) unsafe fn new(finishing: &'a Finishing<'a>, tile: &'a FinishedTile<f32>) -> Self {
        Self { finishing, tile }
    }

    /// # Safety
    /// `i < rows`
    #[inline(always)]
    unsafe fn row(&mut self, i: usize) -> &mut [f32] {
        // SAFETY: the row lies in the tile, which is ours alone, said the caller of `new`.
        unsafe {
            let row = self.tile.c.offset(i as isize * self.tile.c_row);
            slice::from_raw_parts_mut(row, self.tile.place.cols)
        }
    }

    /// `c = m c`, if there is a mask
    #[inline(always)]
    fn mask<S: Simd>(&mut self, s: S) {
        let Some(dropout) = self.finishing.dropout else {
            return;
        };
        let Place { row, col, rows, .. } = self.tile.place;
        for i in 0..rows {
            // SAFETY: `i < rows`.
            dropout.row(row + i).apply(s, col, unsafe { self.row(i) });
        }
    }

    /// `c = f(c, x)` for x of the shape of the tile, row i of which starts at `x + i * x_row`.
    ///
    /// # Safety
    /// All of x can be read.
    #[inline(always)]
    unsafe fn zip<S: Simd>(&self, s: S, x: *const f32, x_row: isize, f: impl Update) {
        let FinishedTile { c, c_row, place } = *self.tile;
        let full = place.cols / S::F32_LANES * S::F32_LANES;
        let (mut c, mut x) = (c, x);
        for _ in 0..place.rows {
            // SAFETY: the row of the tile is ours alone, said the caller of `new`, and that of x can be
            // read; registers may lie anywhere.
            unsafe {
                let mut j = 0;
                while j < full {
                    let (c, x) = (c.add(j).cast::<S::f32s>(), x.add(j).cast::<S::f32s>());
                    c.write_unaligned(f.on(s, c.read_unaligned(), x.read_unaligned()));
                    j += S::F32_LANES;
                }
                if full < place.cols {
                    let rest = place.cols - full;
                    let c = slice::from_raw_parts_mut(c.add(full), rest);
                    let x = slice::from_raw_parts(x.add(full), rest);
                    let last = f.on(s, s.partial_load_f32s(c), s.partial_load_f32s(x));
                    s.partial_store_f32s(c, last);
                }
            }
            (c, x) = (c.wrapping_offset(c_row), x.wrapping_offset(x_row));
        }
    }

    /// `c = f(c, 0)`
    #[inline(always)]
    fn map<S: Simd>(mut self, s: S, f: impl Update) {
        let zero = s.splat_f32s(0.0);
        for i in 0..self.tile.place.rows {
            // SAFETY: `i < rows`.
            let (body, tail) = S::as_mut_simd_f32s(unsafe { self.row(i) });
            for c in body {
                *c = f.on(s, *c, zero);
            }
            if !tail.is_empty() {
                let c = f.on(s, s.partial_load_f32s(tail), zero);
                s.partial_store_f32s(tail, c);
            }
        }
    }

    /// `c = f(c, x)` for an x of the shape of the tile whose rows are not contiguous.
    #[inline(always)]
    fn derive_strided<S: Simd>(mut self, s: S, x: MatRef<'_>, f: impl Update) {
        for i in 0..self.tile.place.rows {
            // SAFETY: `i < rows`.
            let c = unsafe { self.row(i) };
            for (start, c) in (0..).step_by(S::F32_LANES).zip(c.chunks_mut(S::F32_LANES)) {
                let mut buffer = [0.0; MAX_LANES];
                for (j, y) in buffer.iter_mut().enumerate().take(c.len()) {
                    *y = *x.at(i, start + j);
                }
                let x = s.partial_load_f32s(&buffer[..c.len()]);
                let new = f.on(s, s.partial_load_f32s(c), x);
                s.partial_store_f32s(c, new);
            }
        }
    }
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let (epilogue, place) = (*self.finishing.epilogue, self.tile.place);
        if let Epilogue::Derivative { .. } = epilogue {
            self.mask(s);
        }
        match epilogue {
            Epilogue::Store => {}
            Epilogue::Activate { bias, activation } => {
                let bias = bias.map(|bias| &bias[place.col..place.col + place.cols]);
                let tile = self;
                specialise(activation, Forward { s, tile, bias });
            }
            Epilogue::Derivative { activation, saved } => {
                let Place {
                    row,
                    col,
                    rows,
                    cols,
                } = place;
                let saved = saved.part(row..row + rows, col..col + cols);
                let tile = self;
                specialise(activation, Backward { s, tile, saved });
            }
        }
        if !matches!(epilogue, Epilogue::Derivative { .. }) {
            self.mask(s);
        }
    }
}

/// [`Epilogue::Activate`] of an activation that is known.
struct Forward<'a, S> {
    s: S,
    tile: Finish<'a>,
    bias: Option<&'a [f32]>,
}

impl<S: Simd> PerActivation for Forward<'_, S> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        let Self { s, tile, bias } = self;
        match bias {
            // SAFETY: there is an element for each column, the same for each row.
            Some(bias) => unsafe { tile.zip(s, bias.as_ptr(), 0, Activate(activation)) },
            None => tile.map(s, Activate(activation)),
        }
    }
}

/// [`Epilogue::Derivative`] of an activation that is known.
struct Backward<'a, S> {
    s: S,
    tile: Finish<'a>,
    /// Of the shape of the tile.
    saved: MatRef<'a>,
}

impl<S: Simd> PerActivation for Backward<'_, S> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        let Self { s, tile, saved } = self;
        if activation == Activation::Identity {
            return;
        }
        let f = Derive(activation);
        if saved.col_stride() == 1 || saved.cols() == 1 {
            // SAFETY: it has the shape of the tile and contiguous rows.
            unsafe { tile.zip(s, saved.as_ptr(), saved.row_stride(), f) };
        } else {
            tile.derive_strided(s, saved, f);
        }
    }
}

/// A function of an element of C and one more, given for registers of them.
///
/// A closure would be compiled outside the function that has the instruction set, and called.
trait Update: Copy {
    fn on<S: Simd>(self, s: S, c: S::f32s, x: S::f32s) -> S::f32s;
}

/// `(c, bias) -> act(c + bias)`
#[derive(Clone, Copy)]
struct Activate(Activation);

impl Update for Activate {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, c: S::f32s, bias: S::f32s) -> S::f32s {
        activate(s, self.0, s.add_f32s(c, bias))
    }
}

/// `(c, saved) -> c * act'(x)`
#[derive(Clone, Copy)]
struct Derive(Activation);

impl Update for Derive {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, c: S::f32s, saved: S::f32s) -> S::f32s {
        s.mul_f32s(c, derivative(s, self.0, saved))
    }
}
