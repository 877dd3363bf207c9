//! Rows as registers: whole ones, then one that is filled only in its first lanes.

use pulp::{MemMask, Simd};

use crate::view::{MatMut, MatRef};

/// The first lanes of a register, for the end of a row.
#[derive(Clone, Copy)]
pub(crate) struct Tail<S: Simd> {
    mask: S::m32s,
    len: usize,
}

impl<S: Simd> Tail<S> {
    /// The lanes of the last register of a row of `n` elements: all of them if the row ends with a
    /// whole register.
    #[inline(always)]
    pub(crate) fn of_row(s: S, n: usize) -> Self {
        let len = match n % S::F32_LANES {
            0 => n.min(S::F32_LANES),
            rest => rest,
        };
        let mask = s.mask_between_m32s(0, len as u32).mask();
        Self { mask, len }
    }

    /// The first lanes from memory, `fill` in the others.
    #[inline(always)]
    pub(crate) fn load(self, s: S, from: &[f32], fill: f32) -> S::f32s {
        let from = &from[..self.len];
        // SAFETY: the mask has the first `len` lanes, and as many elements are in the slice.
        let loaded = unsafe { s.mask_load_ptr_f32s(MemMask::new(self.mask), from.as_ptr()) };
        s.select_f32s(self.mask, loaded, s.splat_f32s(fill))
    }

    /// The first lanes to memory; nothing else is written.
    #[inline(always)]
    pub(crate) fn store(self, s: S, to: &mut [f32], value: S::f32s) {
        let to = &mut to[..self.len];
        // SAFETY: the mask has the first `len` lanes, and as many elements are in the slice.
        unsafe { s.mask_store_ptr_f32s(MemMask::new(self.mask), to.as_mut_ptr(), value) };
    }
}

/// A row of `REGISTERS` registers, the last of them maybe in part, `fill` in the lanes behind it.
#[inline(always)]
pub(crate) fn load_row<S: Simd, const REGISTERS: usize>(
    s: S,
    row: &[f32],
    tail: Tail<S>,
    fill: f32,
) -> [S::f32s; REGISTERS] {
    let (whole, rest) = row.split_at((REGISTERS - 1) * S::F32_LANES);
    let (whole, _) = S::as_simd_f32s(whole);
    let mut registers = [tail.load(s, rest, fill); REGISTERS];
    registers[..REGISTERS - 1].copy_from_slice(&whole[..REGISTERS - 1]);
    registers
}

/// The opposite of [`load_row`].
#[inline(always)]
pub(crate) fn store_row<S: Simd, const REGISTERS: usize>(
    s: S,
    row: &mut [f32],
    tail: Tail<S>,
    registers: [S::f32s; REGISTERS],
) {
    let (whole, rest) = row.split_at_mut((REGISTERS - 1) * S::F32_LANES);
    let (whole, _) = S::as_mut_simd_f32s(whole);
    whole[..REGISTERS - 1].copy_from_slice(&registers[..REGISTERS - 1]);
    tail.store(s, rest, registers[REGISTERS - 1]);
}

/// A row of any length that gives registers.
pub(crate) trait Row<S: Simd> {
    /// Number of registers, the last of them maybe filled in part.
    fn registers(&self) -> usize;

    /// One of them, with `fill` in the lanes behind the end of the row.
    fn load(&self, s: S, index: usize, fill: f32) -> S::f32s;
}

/// A row of any length that takes registers.
pub(crate) trait RowMut<S: Simd> {
    /// The same row, to read.
    fn reader(&self) -> impl Row<S>;

    /// Writes one register; lanes behind the end of the row are dropped.
    fn store(&mut self, s: S, index: usize, value: S::f32s);
}

/// A row whose elements lie together.
pub(crate) struct Together<'a, S: Simd> {
    whole: &'a [S::f32s],
    rest: &'a [f32],
    tail: Tail<S>,
}

impl<'a, S: Simd> Together<'a, S> {
    /// `tail` is [`Tail::of_row`] of the length of the row.
    #[inline(always)]
    pub(crate) fn new(row: &'a [f32], tail: Tail<S>) -> Self {
        let (whole, rest) = S::as_simd_f32s(row);
        Self { whole, rest, tail }
    }
}

impl<S: Simd> Row<S> for Together<'_, S> {
    #[inline(always)]
    fn registers(&self) -> usize {
        self.whole.len() + usize::from(!self.rest.is_empty())
    }

    #[inline(always)]
    fn load(&self, s: S, index: usize, fill: f32) -> S::f32s {
        match self.whole.get(index) {
            Some(&x) => x,
            None => self.tail.load(s, self.rest, fill),
        }
    }
}

/// A row to write whose elements lie together.
pub(crate) struct TogetherMut<'a, S: Simd> {
    whole: &'a mut [S::f32s],
    rest: &'a mut [f32],
    tail: Tail<S>,
}

impl<'a, S: Simd> TogetherMut<'a, S> {
    /// `tail` is [`Tail::of_row`] of the length of the row.
    #[inline(always)]
    pub(crate) fn new(row: &'a mut [f32], tail: Tail<S>) -> Self {
        let (whole, rest) = S::as_mut_simd_f32s(row);
        Self { whole, rest, tail }
    }
}

impl<S: Simd> RowMut<S> for TogetherMut<'_, S> {
    #[inline(always)]
    fn reader(&self) -> impl Row<S> {
        let Self { whole, rest, tail } = self;
        Together {
            whole,
            rest,
            tail: *tail,
        }
    }

    #[inline(always)]
    fn store(&mut self, s: S, index: usize, value: S::f32s) {
        match self.whole.get_mut(index) {
            Some(x) => *x = value,
            None => self.tail.store(s, self.rest, value),
        }
    }
}

/// A row of a view with any strides, one element at a time.
pub(crate) struct Apart<M> {
    pub(crate) matrix: M,
    pub(crate) row: usize,
}

impl Row<pulp::Scalar> for Apart<MatRef<'_>> {
    #[inline(always)]
    fn registers(&self) -> usize {
        self.matrix.cols()
    }

    #[inline(always)]
    fn load(&self, _: pulp::Scalar, index: usize, _: f32) -> f32 {
        *self.matrix.at(self.row, index)
    }
}

impl RowMut<pulp::Scalar> for Apart<MatMut<'_>> {
    #[inline(always)]
    fn reader(&self) -> impl Row<pulp::Scalar> {
        Apart {
            matrix: self.matrix.as_ref(),
            row: self.row,
        }
    }

    #[inline(always)]
    fn store(&mut self, _: pulp::Scalar, index: usize, value: f32) {
        *self.matrix.at_mut(self.row, index) = value;
    }
}
