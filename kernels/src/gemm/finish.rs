//! The epilogue, applied to a tile of C while it is in the first-level cache.

use pulp::{Simd, WithSimd};

use crate::activation::{Activation, PerActivation, specialise};
use crate::counter_rng::Dropout;
use crate::elementwise::{activate, derivative};
use crate::epilogue::Epilogue;
use crate::view::MatRef;

/// A tile of C whose sums are complete, with contiguous columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinishArgs<'a> {
    pub(super) epilogue: Epilogue<'a>,
    pub(super) dropout: Option<Dropout>,
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

/// The body of a [`FinishFn`], a promise that its contract is kept.
pub(super) struct Finish<'a>(FinishArgs<'a>);

impl<'a> Finish<'a> {
    /// # Safety
    /// As [`FinishFn`], for as long as the value lives; but for the CPU.
    #[inline(always)]
    pub(super) unsafe fn new(args: FinishArgs<'a>) -> Self {
        Self(args)
    }

    /// # Safety
    /// `i < rows`
    #[inline(always)]
    unsafe fn row(&mut self, i: usize) -> &mut [f32] {
        // SAFETY: the row lies in the tile, which is ours alone, said the caller of `new`.
        unsafe {
            std::slice::from_raw_parts_mut(self.0.c.offset(i as isize * self.0.c_row), self.0.cols)
        }
    }

    /// `c = m c`, if there is a mask
    #[inline(always)]
    fn mask<S: Simd>(&mut self, s: S) {
        let Some(dropout) = self.0.dropout else {
            return;
        };
        for i in 0..self.0.rows {
            let (row, col) = (self.0.row + i, self.0.col);
            // SAFETY: `i < rows`.
            dropout.row(row).apply(s, col, unsafe { self.row(i) });
        }
    }

    /// `c = act(c + bias)`
    #[inline(always)]
    fn activate<S: Simd>(&mut self, s: S, bias: Option<&[f32]>, f: Activate) {
        for i in 0..self.0.rows {
            // SAFETY: `i < rows`.
            let row = unsafe { self.row(i) };
            match bias {
                Some(bias) => zip(s, row, bias, f),
                None => map(s, row, f),
            }
        }
    }

    /// `c = c * act'(x)`, with what was saved for it, of the shape of the tile
    #[inline(always)]
    fn derive<S: Simd>(&mut self, s: S, saved: MatRef<'_>, f: Derive) {
        for i in 0..self.0.rows {
            // SAFETY: `i < rows`.
            let row = unsafe { self.row(i) };
            match saved.row(i) {
                Some(saved) => zip(s, row, saved, f),
                None => strided(s, row, saved, i, f),
            }
        }
    }
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let t = self.0;
        if let Epilogue::Derivative { .. } = t.epilogue {
            self.mask(s);
        }
        match t.epilogue {
            Epilogue::Store => {}
            Epilogue::Activate { bias, activation } => {
                let bias = bias.map(|bias| &bias[t.col..t.col + t.cols]);
                let tile = &mut self;
                specialise(activation, Forward { s, tile, bias });
            }
            Epilogue::Derivative { activation, saved } => {
                let saved = saved.part(t.row..t.row + t.rows, t.col..t.col + t.cols);
                let tile = &mut self;
                specialise(activation, Backward { s, tile, saved });
            }
        }
        if !matches!(t.epilogue, Epilogue::Derivative { .. }) {
            self.mask(s);
        }
    }
}

/// [`Epilogue::Activate`] of an activation that is known.
struct Forward<'t, 'a, S> {
    s: S,
    tile: &'t mut Finish<'a>,
    bias: Option<&'a [f32]>,
}

impl<S: Simd> PerActivation for Forward<'_, '_, S> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        self.tile.activate(self.s, self.bias, Activate(activation));
    }
}

/// [`Epilogue::Derivative`] of an activation that is known.
struct Backward<'t, 'a, S> {
    s: S,
    tile: &'t mut Finish<'a>,
    saved: MatRef<'a>,
}

impl<S: Simd> PerActivation for Backward<'_, '_, S> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        if activation != Activation::Identity {
            self.tile.derive(self.s, self.saved, Derive(activation));
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

/// `c = f(c, 0)`
#[inline(always)]
fn map<S: Simd>(s: S, c: &mut [f32], f: impl Update) {
    let zero = s.splat_f32s(0.0);
    let (body, tail) = S::as_mut_simd_f32s(c);
    for c in body {
        *c = f.on(s, *c, zero);
    }
    if !tail.is_empty() {
        let c = f.on(s, s.partial_load_f32s(tail), zero);
        s.partial_store_f32s(tail, c);
    }
}

/// `c = f(c, x)`
#[inline(always)]
fn zip<S: Simd>(s: S, c: &mut [f32], x: &[f32], f: impl Update) {
    let (body, tail) = S::as_mut_simd_f32s(c);
    let (x_body, x_tail) = S::as_simd_f32s(x);
    for (c, &x) in body.iter_mut().zip(x_body) {
        *c = f.on(s, *c, x);
    }
    if !tail.is_empty() {
        let c = f.on(s, s.partial_load_f32s(tail), s.partial_load_f32s(x_tail));
        s.partial_store_f32s(tail, c);
    }
}

/// `c = f(c, x)` for row `i` of `x`, whose elements are not contiguous.
#[inline(always)]
fn strided<S: Simd>(s: S, c: &mut [f32], x: MatRef<'_>, i: usize, f: impl Update) {
    let mut buffer = [0.0; 64];
    for (start, c) in (0..).step_by(buffer.len()).zip(c.chunks_mut(buffer.len())) {
        let buffer = &mut buffer[..c.len()];
        for (j, y) in buffer.iter_mut().enumerate() {
            *y = *x.at(i, start + j);
        }
        zip(s, c, buffer, f);
    }
}
