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
    /// How many such panels there are beside one another: one, unless `across` is 1 and `ld` is `width`.
    pub(super) panels: usize,
    /// Distance of the packed panels.
    pub(super) to_next: usize,
}

/// Packs some micro-panels.
///
/// Places `dst[p * ld + i]` with `i >= width` are left with numbers that no one should read; up to
/// one register of elements after the end of the panel may be overwritten.
///
/// # Safety
/// The CPU has the instruction set; `width >= 1`; `src(i, p)` can be read for `i < panels * width`,
/// `p < depth`; for each panel, `depth * ld` elements can be written, and one register more where `across`
/// is not 1 or `ld` is not `width`.
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
            if args.across == 1 && args.ld == args.width {
                copy_runs::<T::Of<L>>(args);
            } else if args.across == 1 {
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

/// Steps of the depth of which all panels are packed before the next: rows that are a power of two apart
/// share a set of the first-level cache, which has room for eight lines.
const RUNS: usize = 4;

/// Neighbours across the panels are neighbours in memory: each depth is a long run, a short copy for each
/// panel. Panel by panel, a page and a cache line would be read for six elements: at 4096 x 64 x 64 with an A
/// stored by columns, packing as a whole took longer than it saved, and does bring 1.1 to 1.3 times now.
#[inline(always)]
unsafe fn copy_runs<V: Vector>(args: &PackArgs<V::Elem>) {
    let full = args.width / V::LANES * V::LANES;
    // SAFETY: `PackFn`: reads stay within the panels, by mask where a whole register would leave the last. A
    // whole register is written at `full` of each depth where its panel has room for it, in ascending order,
    // so that a later depth mends what the tail of an earlier one spilled; nothing is written behind a panel.
    unsafe {
        let rest = V::mask(args.width - full);
        let len = args.panels * args.width;
        // Steps of the depth whose last register has room in the panel.
        let spilled = if full < args.width {
            full + V::LANES - args.width
        } else {
            0
        };
        let with_room = args.depth.saturating_sub(spilled.div_ceil(args.width));
        let mut start = 0;
        while start < args.depth {
            let end = (start + RUNS).min(args.depth);
            for panel in 0..args.panels {
                // Registers of all panels but the last ones stay in the run.
                let is_inside = panel * args.width + full + V::LANES <= len;
                let mut src = args
                    .src
                    .add(panel * args.width)
                    .offset(start as isize * args.along);
                let mut dst = args.dst.add(panel * args.to_next + start * args.ld);
                for p in start..end {
                    let mut i = 0;
                    while i < full {
                        V::load(src.add(i)).store(dst.add(i));
                        i += V::LANES;
                    }
                    if full < args.width {
                        let tail = if is_inside {
                            V::load(src.add(full))
                        } else {
                            V::load_masked(rest, src.add(full))
                        };
                        if p < with_room {
                            tail.store(dst.add(full));
                        } else {
                            tail.store_masked(rest, dst.add(full));
                        }
                    }
                    src = src.wrapping_offset(args.along);
                    dst = dst.wrapping_add(args.ld);
                }
            }
            start = end;
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
