//! The micro-kernel of the matrix unit: 32 x 32 elements of C in four tiles, from zero, over one block of
//! the depth; and the addition of what comes out to C.
//!
//! ```text
//! for each 32 steps of the depth:
//!     for each product of parts:
//!         tmm0 += A0 B0,  tmm1 += A0 B1,  tmm2 += A1 B0,  tmm3 += A1 B1     A in tmm4, 5, B in tmm6, 7
//! ```
//!
//! With x = h + m + l (`bf16`), the products are
//!
//! | Parts | Products, in this order | Left out, relatively | Tile loads per multiplication |
//! |---|---|---|---|
//! | 1 | h h | 2^-7 | 1 |
//! | 2 | h m, h h, m h | 2^-15 | 2/3 |
//! | 3 | h l, h m, m m, m h, l h, h h | 2^-23 | 7/12 |
//!
//! One operand changes from product to product, so half of the tiles stay. The sum of a block starts from
//! zero and is added to C afterwards, rounded as an f32 each time: a chain over the whole depth would have
//! errors that grow with it.

use std::cell::Cell;
use std::marker::PhantomData;

use super::bf16_pack::{PART_WORDS, SIDE};
use super::vector::{Element, Job, Lane, Level, Vector, prefetch};
use crate::amx::model::Model;
use crate::amx::tile::{Amx, TILE_WORDS, TileUnit};
use crate::bf16::INFINITY;

/// Elements of the result.
pub(super) const SUMS: usize = SIDE * SIDE;
/// Rows of a tile.
const TILE: usize = 16;

/// Two packed panels and where their product goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct MultiplyArgs<U> {
    pub(super) unit: *mut U,
    /// Panels, each of the parts that the kernel has.
    pub(super) a: *const u32,
    pub(super) b: *const u32,
    /// Depth, in units of 32 steps.
    pub(super) blocks: usize,
    /// 32 rows of 32 elements.
    pub(super) sums: *mut f32,
    /// The part of C to which the sums will be added, fetched meanwhile.
    pub(super) c: *const f32,
    pub(super) c_row: isize,
    pub(super) rows: usize,
}

/// Multiplies two panels.
///
/// # Safety
/// The CPU has the instruction set; the unit is ours alone; the panels can be read, the sums be written.
pub(super) type MultiplyFn<U> = unsafe fn(&MultiplyArgs<U>);

/// Dot products of pairs in vector registers, whose kernel needs nothing but registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct DotProducts;

/// The kernels of an instruction set for products of bf16 numbers, by number of parts.
#[derive(Debug)]
pub(super) struct AmxKit {
    pub(super) amx: [MultiplyFn<Amx>; 3],
    pub(super) model: [MultiplyFn<Model>; 3],
    /// One part, by dot products; where the instruction set may have them.
    pub(super) dot: Option<MultiplyFn<DotProducts>>,
    pub(super) merge: MergeFn,
    pub(super) pack: super::bf16_pack::Bf16PackFns,
}

impl AmxKit {
    pub(super) const fn of<L: Level>() -> Self {
        Self {
            amx: [
                L::run::<Multiply<Amx, 1>>,
                L::run::<Multiply<Amx, 2>>,
                L::run::<Multiply<Amx, 3>>,
            ],
            model: [
                L::run::<Multiply<Model, 1>>,
                L::run::<Multiply<Model, 2>>,
                L::run::<Multiply<Model, 3>>,
            ],
            dot: None,
            merge: L::run::<Merge>,
            pack: super::bf16_pack::bf16_pack_fns::<L>(),
        }
    }
}

struct Multiply<U, const PARTS: usize>(PhantomData<U>);

impl<U: TileUnit, const PARTS: usize> Job for Multiply<U, PARTS> {
    type Args = MultiplyArgs<U>;

    #[inline(always)]
    unsafe fn run<L: Level>(t: &MultiplyArgs<U>) {
        // SAFETY: the contract of `MultiplyFn`.
        unsafe {
            for i in 0..t.rows {
                let row = t.c.wrapping_offset(i as isize * t.c_row);
                prefetch(row);
                prefetch(row.wrapping_add(TILE));
            }
            let u = &mut *t.unit;
            u.zero::<0>();
            u.zero::<1>();
            u.zero::<2>();
            u.zero::<3>();
            let (mut a, mut b) = (t.a, t.b);
            for _ in 0..t.blocks {
                match PARTS {
                    1 => {
                        left(u, a, 0);
                        right(u, b, 0);
                        products(u);
                    }
                    2 => {
                        left(u, a, 0);
                        right(u, b, 1);
                        products(u);
                        right(u, b, 0);
                        products(u);
                        left(u, a, 1);
                        products(u);
                    }
                    _ => {
                        left(u, a, 0);
                        right(u, b, 2);
                        products(u);
                        right(u, b, 1);
                        products(u);
                        left(u, a, 1);
                        products(u);
                        right(u, b, 0);
                        products(u);
                        left(u, a, 2);
                        products(u);
                        left(u, a, 0);
                        products(u);
                    }
                }
                a = a.wrapping_add(PARTS * PART_WORDS);
                b = b.wrapping_add(PARTS * PART_WORDS);
            }
            u.store::<0>(t.sums, SIDE);
            u.store::<1>(t.sums.add(TILE), SIDE);
            u.store::<2>(t.sums.add(TILE * SIDE), SIDE);
            u.store::<3>(t.sums.add(TILE * SIDE + TILE), SIDE);
        }
    }
}

/// Loads the tiles of one part of A.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn left<U: TileUnit>(u: &mut U, a: *const u32, part: usize) {
    // SAFETY: this function's contract.
    unsafe {
        u.load::<4>(a.add(part * PART_WORDS));
        u.load::<5>(a.add(part * PART_WORDS + TILE_WORDS));
    }
}

/// Loads the tiles of one part of B.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn right<U: TileUnit>(u: &mut U, b: *const u32, part: usize) {
    // SAFETY: this function's contract.
    unsafe {
        u.load::<6>(b.add(part * PART_WORDS));
        u.load::<7>(b.add(part * PART_WORDS + TILE_WORDS));
    }
}

#[inline(always)]
fn products<U: TileUnit>(u: &mut U) {
    u.multiply::<0, 4, 6>();
    u.multiply::<1, 4, 7>();
    u.multiply::<2, 5, 6>();
    u.multiply::<3, 5, 7>();
}

/// Sums and the part of C that they belong to, whose columns are contiguous.
#[derive(Clone, Debug)]
pub(super) struct MergeArgs {
    /// 32 rows of 32 elements.
    pub(super) sums: *const f32,
    /// May be the sums themselves.
    pub(super) c: *mut f32,
    pub(super) c_row: isize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) alpha: f32,
    /// When zero, C is not read.
    pub(super) beta: f32,
    /// Whether to stop at a row with a sum that is infinite or NaN.
    pub(super) stop: bool,
    /// Rows that are done: the first that is not is the next one.
    pub(super) done: Cell<usize>,
}

/// `C <- alpha sums + beta C`, from the first row that is not done; stops before the first row that it is to
/// stop at, if there is one.
///
/// # Safety
/// The CPU has the instruction set; the sums can be read; the part of C can be written (and read, unless
/// `beta` is zero), and no one else touches it.
pub(super) type MergeFn = unsafe fn(&MergeArgs);

struct Merge;

impl Job for Merge {
    type Args = MergeArgs;

    #[inline(always)]
    unsafe fn run<L: Level>(t: &MergeArgs) {
        // SAFETY: the contract of `MergeFn`.
        unsafe { merge::<<f32 as Lane>::Of<L>>(t) }
    }
}

#[inline(always)]
unsafe fn merge<V: Vector<Elem = f32>>(t: &MergeArgs) {
    let full = t.cols / V::LANES * V::LANES;
    // SAFETY: `MergeFn`: elements of the rows below `cols` are read and written, the last ones by mask; a
    // row of sums has 32.
    unsafe {
        let rest = V::mask(t.cols - full);
        let (alpha, beta) = (V::splat(t.alpha), V::splat(t.beta));
        for i in t.done.get()..t.rows {
            let sums = t.sums.add(i * SIDE);
            if t.stop {
                let row: [u32; SIDE] = *sums.cast();
                let mut largest = 0;
                for bits in row {
                    largest = (bits & 0x7fff_ffff).max(largest);
                }
                if largest >= INFINITY {
                    t.done.set(i);
                    return;
                }
            }
            let c = t.c.offset(i as isize * t.c_row);
            for j in (0..full).step_by(V::LANES) {
                let mut sum = V::load(sums.add(j));
                if t.alpha != f32::ONE {
                    sum = sum.mul(alpha);
                }
                if t.beta != f32::ZERO {
                    sum = beta.mul_add(V::load(c.add(j)), sum);
                }
                sum.store(c.add(j));
            }
            if full < t.cols {
                let mut sum = V::load_masked(rest, sums.add(full));
                if t.alpha != f32::ONE {
                    sum = sum.mul(alpha);
                }
                if t.beta != f32::ZERO {
                    sum = beta.mul_add(V::load_masked(rest, c.add(full)), sum);
                }
                sum.store_masked(rest, c.add(full));
            }
        }
        t.done.set(t.rows);
    }
}
