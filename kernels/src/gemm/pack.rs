//! Packing: a strip of an operand, copied into the order in which the micro-kernel reads it.
//!
//! A micro-panel of `width` rows of A (or columns of B) and depth k lies in memory as
//! `dst[p * ld + i]`: depth by depth, `ld >= width` elements apart.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::vector::{Job, Lane, Level, Vector};

/// One micro-panel and where it comes from: `src(i, p) = src[i * across + p * along]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackArgs<T> {
    pub(super) src: *const T,
    /// Distance of neighbours across the panel.
    pub(super) across: isize,
    /// Distance of neighbours along the depth.
    pub(super) along: isize,
    pub(super) width: usize,
    pub(super) depth: usize,
    pub(super) dst: *mut T,
    pub(super) ld: usize,
}

/// Packs one micro-panel.
///
/// Places `dst[p * ld + i]` with `i >= width` are left with numbers that no one should read; up to
/// one register of elements after the end of the panel may be overwritten.
///
/// # Safety
/// The CPU has the instruction set; `width >= 1`; `src(i, p)` can be read for `i < width`,
/// `p < depth`; `depth * ld` elements and one register more can be written at `dst`.
pub(super) type PackFn<T> = unsafe fn(&PackArgs<T>);

/// The packing routine of an instruction set.
pub(super) const fn pack_fn<L: Level, T: Lane>() -> PackFn<T> {
    L::run::<Pack<T>>
}

struct Pack<T>(PhantomData<T>);

impl<T: Lane> Job for Pack<T> {
    type Args = PackArgs<T>;

    #[inline(always)]
    unsafe fn run<L: Level>(args: &PackArgs<T>) {
        // SAFETY: the contract of `PackFn`, kept by the driver.
        unsafe {
            if args.across == 1 {
                copy_rows::<T::Of<L>>(args);
            } else if args.along == 1 && args.depth >= <T::Of<L> as Vector>::LANES {
                transpose::<T::Of<L>>(args);
            } else if args.along == 1 {
                transpose_shallow::<T::Of<L>>(args);
            } else {
                gather(args);
            }
        }
    }
}

/// Neighbours across the panel are neighbours in memory: each depth is a short copy.
#[inline(always)]
unsafe fn copy_rows<V: Vector>(args: &PackArgs<V::Elem>) {
    let full = args.width / V::LANES * V::LANES;
    // SAFETY: `PackFn`: reads stay within `width`, by mask; a whole register is written at
    // `full <= ld` of each depth, in ascending order, so that a later depth mends what the tail of
    // an earlier one spilled, and the last one spills into the spare register.
    unsafe {
        let rest = V::mask(args.width - full);
        for p in 0..args.depth {
            let src = args.src.offset(p as isize * args.along);
            let dst = args.dst.add(p * args.ld);
            for i in (0..full).step_by(V::LANES) {
                V::load(src.add(i)).store(dst.add(i));
            }
            if full < args.width {
                V::load_masked(rest, src.add(full)).store(dst.add(full));
            }
        }
    }
}

/// Neighbours along the depth are neighbours in memory: square blocks are transposed in registers.
///
/// The last block of the depth is moved back so that it is a whole one; it writes again what was
/// there.
#[inline(always)]
unsafe fn transpose<V: Vector>(args: &PackArgs<V::Elem>) {
    let mut p = 0;
    while p < args.depth {
        let at = p.min(args.depth - V::LANES);
        // From the far side of the panel to the near one: a block that is not full writes a whole
        // register at each depth all the same, and spills into the start of the next depth, which
        // the near block (or the next step along the depth) then writes.
        for i in (0..args.width).step_by(V::LANES).rev() {
            let rows = (args.width - i).min(V::LANES);
            // SAFETY: `PackFn`: a block reads `rows` rows of `LANES` depths from `at`, all inside
            // the operand; what the last depth spills falls into the spare register.
            unsafe {
                V::transpose(
                    args.src.offset(i as isize * args.across + at as isize),
                    args.across,
                    rows,
                    args.dst.add(at * args.ld + i),
                    args.ld,
                );
            }
        }
        p = at + V::LANES;
    }
}

/// More lanes than any register has.
const MAX_LANES: usize = 16;

/// As [`transpose`], for a depth of less than a register: the block is put together aside.
#[inline(always)]
unsafe fn transpose_shallow<V: Vector>(args: &PackArgs<V::Elem>) {
    let mut block = [MaybeUninit::<V>::uninit(); MAX_LANES];
    let mut turned = [MaybeUninit::<V>::uninit(); MAX_LANES];
    for i in (0..args.width).step_by(V::LANES).rev() {
        let rows = (args.width - i).min(V::LANES);
        // SAFETY: `PackFn`; the mask keeps the reads to the depth. A register is `LANES` elements in
        // memory too; the transpose reads the `rows` rows just written and writes all it is read from
        // here; spilled elements as in `transpose`.
        unsafe {
            let depth = V::mask(args.depth);
            for (r, row) in block.iter_mut().enumerate().take(rows) {
                let src = args.src.offset((i + r) as isize * args.across);
                row.write(V::load_masked(depth, src));
            }
            let turned = turned.as_mut_ptr().cast::<V::Elem>();
            V::transpose(
                block.as_ptr().cast(),
                V::LANES as isize,
                rows,
                turned,
                V::LANES,
            );
            for p in 0..args.depth {
                V::load(turned.add(p * V::LANES)).store(args.dst.add(p * args.ld + i));
            }
        }
    }
}

/// Any strides, one element at a time.
#[inline(always)]
unsafe fn gather<T: Copy>(args: &PackArgs<T>) {
    for p in 0..args.depth {
        for i in 0..args.width {
            let from = i as isize * args.across + p as isize * args.along;
            // SAFETY: `PackFn`: the element can be read, and its place written.
            unsafe { *args.dst.add(p * args.ld + i) = *args.src.offset(from) };
        }
    }
}
