//! The micro-kernel: tiles of C below one another, each kept in registers while all of the depth goes
//! by.
//!
//! ```text
//! for p in 0..k:
//!     b_0 .. b_nv   <- row p of the B panel, nv registers
//!     for i in 0..mr:
//!         x         <- a(i, p), broadcast
//!         acc_i0 .. <- acc_ij + x b_j
//! C tile <- alpha acc + beta C tile
//! ```
//!
//! Each element of the sum is a single chain over p, in ascending order, so its bits do not depend
//! on the size of the tile.
//!
//! Where masks cost something, the partial last register of a row is moved back over its neighbour:
//! the columns that they share are computed twice, to the same bits.

use std::hint::black_box;
use std::marker::PhantomData;

use super::vector::{Element, Job, Lane, Level, Vector, prefetch};

/// Tiles below one another: where their operands are, and what to do with the sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileArgs<T> {
    /// How many; all are as high as the kernel.
    pub(super) tiles: usize,
    /// Depth.
    pub(super) k: usize,
    /// Element (0, 0) of the first A panel, read one element at a time: by rows and depth.
    pub(super) a: *const T,
    pub(super) a_row: isize,
    pub(super) a_depth: isize,
    /// From one A panel to the next.
    pub(super) a_panel: isize,
    /// Element (0, 0) of the B panel; its columns are contiguous.
    pub(super) b: *const T,
    pub(super) b_depth: isize,
    /// Where a copying kernel puts the B panel, step by step without gaps; no other looks at it.
    pub(super) copy: *mut T,
    /// Element (0, 0) of the first tile of C; its columns are contiguous.
    pub(super) c: *mut T,
    pub(super) c_row: isize,
    /// Columns of the tile: more than `(NV - 1) * LANES`, at most `NV * LANES`.
    pub(super) cols: usize,
    pub(super) alpha: T,
    /// When zero, C is not read.
    pub(super) beta: T,
}

/// A micro-kernel of one size.
///
/// # Safety
/// The CPU has the kernel's instruction set; `a(i, p)` can be read for all rows of the tiles and
/// p < k; `cols` elements can be read at each of the k rows of B, or all lanes of the kernel if it
/// is a full one; `cols` elements can be written (and read, unless `beta` is zero) at each row of C,
/// and no one else touches them; nor what a copying kernel writes, k rows of all its lanes.
pub(super) type TileFn<T> = unsafe fn(&TileArgs<T>);

/// The kernels of one height and width: `[last register may be partial][rows of A contiguous]`.
pub(super) type Variants<T> = [[TileFn<T>; 2]; 2];

/// The variants of an `MR x (NV * LANES)` micro-kernel.
pub(super) const fn variants<L: Level, T: Lane, const MR: usize, const NV: usize>() -> Variants<T> {
    let masked: [TileFn<T>; 2] = [
        L::run::<Tile<T, MR, NV, true, false, false>>,
        L::run::<Tile<T, MR, NV, true, true, false>>,
    ];
    if <T::Of<L> as Vector>::FREE_MASKS {
        return [masked, masked];
    }
    let plain: [TileFn<T>; 2] = [
        L::run::<Tile<T, MR, NV, false, false, false>>,
        L::run::<Tile<T, MR, NV, false, true, false>>,
    ];
    // Several registers need no masks.
    [plain, if NV > 1 { plain } else { masked }]
}

/// The copying `MR x (NV * LANES)` micro-kernels, `[rows of A contiguous]`: full ones that pack the B panel
/// as they go by. What a pass of its own would cost, loads and the wait for a farther cache, is part of
/// a tile that has to read the panel anyway.
pub(super) const fn copying<L: Level, T: Lane, const MR: usize, const NV: usize>() -> Copying<T> {
    let kernels: [TileFn<T>; 2] = [
        L::run::<Tile<T, MR, NV, false, false, true>>,
        L::run::<Tile<T, MR, NV, false, true, true>>,
    ];
    (MR, NV, kernels)
}

/// Height, width in registers, and the kernels.
pub(super) type Copying<T> = (usize, usize, [TileFn<T>; 2]);

/// Steps of the depth by which a copying kernel fetches the rows of B ahead: it is the first to read them,
/// and each may be in a page of its own, where the hardware does not fetch ahead.
const COPY_AHEAD: isize = 8;

/// Depth below which a tile takes less time than its part of C takes to come from a far cache: that of
/// the next tile is fetched meanwhile.
const SHALLOW: usize = 96;

/// `MASKED`: the last register of a row is read by mask. `UNIT`: `a_row` is 1. `COPY`: the rows of B are
/// copied.
struct Tile<
    T,
    const MR: usize,
    const NV: usize,
    const MASKED: bool,
    const UNIT: bool,
    const COPY: bool,
>(PhantomData<T>);

impl<
    T: Lane,
    const MR: usize,
    const NV: usize,
    const MASKED: bool,
    const UNIT: bool,
    const COPY: bool,
> Job for Tile<T, MR, NV, MASKED, UNIT, COPY>
{
    type Args = TileArgs<T>;

    #[inline(always)]
    unsafe fn run<L: Level>(t: &TileArgs<T>) {
        // SAFETY: the contract of `TileFn`, kept by the macro-kernel.
        unsafe { tile::<T::Of<L>, MR, NV, MASKED, UNIT, COPY>(t) }
    }
}

/// Whether four steps of a long depth go by without a jump: with fewer multiply-adds in a step than this
/// the adders wait for their own results, with more the jump does not count, and tiles of one register
/// across would spill. The loop of one step of 6 x 16 took 3 to 5 % more or less time by where the linker
/// put it.
const fn is_unrolled(mr: usize, nv: usize) -> bool {
    nv > 1 && 10 <= mr * nv && mr * nv <= 16
}

/// From where on a depth is a long one: the loop of four takes longer to begin.
const LONG: usize = 32;

/// Bytes from the first row of A to each row of a tile.
///
/// An address has a base, and an index times 1, 2, 4 or 8: with the multiples between in registers of their
/// own, the column of A at a step is read at one base. A compiler that knows them to be multiples adds them up
/// at every step anew: seven instructions instead of three that are neither loads nor multiply-adds, of 27 of
/// a 6 x 16 tile. Higher tiles would need more registers than there are.
#[inline(always)]
fn row_offsets<T, const MR: usize, const UNIT: bool>(a_row: isize) -> [isize; MR] {
    let row = a_row.wrapping_mul(size_of::<T>() as isize);
    let mut offsets = [0; MR];
    for (i, offset) in offsets.iter_mut().enumerate() {
        *offset = (i as isize).wrapping_mul(row);
        if (i == 3 || i == 5) && !UNIT && MR <= 6 {
            *offset = black_box(*offset);
        }
    }
    offsets
}

/// A step of the depth: where its row of B and its column of A are.
struct Step<V: Vector, const MR: usize> {
    a: *const V::Elem,
    /// Bytes to each row.
    a_rows: [isize; MR],
    a_depth: isize,
    b: *const V::Elem,
    b_depth: isize,
    /// Where the row of B is copied to, if it is.
    copy: *mut V::Elem,
    /// Where the last register of a row starts, and its mask.
    last_at: usize,
    last: V::Mask,
}

impl<V: Vector, const MR: usize> Step<V, MR> {
    /// Adds the products of this step, and goes on to the next.
    ///
    /// # Safety
    /// As [`TileFn`], for one step of the depth.
    #[expect(
        clippy::needless_range_loop,
        reason = "iterators send the accumulators to memory"
    )]
    #[inline(always)]
    unsafe fn next<const NV: usize, const MASKED: bool, const COPY: bool>(
        &mut self,
        acc: &mut [[V; NV]; MR],
    ) {
        // SAFETY: this function's contract.
        unsafe {
            let mut row = [V::zero(); NV];
            for j in 0..NV {
                row[j] = if j < NV - 1 {
                    V::load(self.b.add(j * V::LANES))
                } else if MASKED {
                    V::load_masked(self.last, self.b.add(self.last_at))
                } else {
                    V::load(self.b.add(self.last_at))
                };
            }
            if COPY {
                prefetch(self.b.wrapping_offset(COPY_AHEAD * self.b_depth));
                for j in 0..NV {
                    row[j].store(self.copy.add(j * V::LANES));
                }
                self.copy = self.copy.add(NV * V::LANES);
            }
            for i in 0..MR {
                let x = V::splat(*self.a.byte_offset(self.a_rows[i]));
                for j in 0..NV {
                    acc[i][j] = x.mul_add(row[j], acc[i][j]);
                }
            }
        }
        // After the last step they point anywhere: strides may be longer than the operand.
        self.a = self.a.wrapping_offset(self.a_depth);
        self.b = self.b.wrapping_offset(self.b_depth);
    }
}

#[expect(
    clippy::needless_range_loop,
    reason = "iterators send the accumulators to memory"
)]
#[inline(always)]
unsafe fn tile<
    V: Vector,
    const MR: usize,
    const NV: usize,
    const MASKED: bool,
    const UNIT: bool,
    const COPY: bool,
>(
    t: &TileArgs<V::Elem>,
) {
    debug_assert!(t.cols > (NV - 1) * V::LANES && t.cols <= NV * V::LANES);
    debug_assert!(MASKED || NV > 1 || t.cols == V::LANES || t.b_depth >= V::LANES as isize);
    debug_assert!(!COPY || t.cols == NV * V::LANES && t.tiles == 1);
    debug_assert!(!UNIT || t.a_row == 1);
    let a_rows = row_offsets::<V::Elem, MR, UNIT>(if UNIT { 1 } else { t.a_row });
    // With the rows of A at any distance, four steps have more addresses than there are registers.
    let at_once = if UNIT { 4 } else { 2 };
    let in_last = t.cols - (NV - 1) * V::LANES;
    let by_mask = NV == 1 || V::FREE_MASKS;
    let last_at = if by_mask {
        (NV - 1) * V::LANES
    } else {
        t.cols - V::LANES
    };
    let at = |j: usize| if j == NV - 1 { last_at } else { j * V::LANES };
    let (mut a_panel, mut c_tile) = (t.a, t.c);
    let c_next = (MR as isize).wrapping_mul(t.c_row);
    let ahead = if t.k < SHALLOW { c_next } else { 0 };
    // SAFETY: the contract of `TileFn`: every element named below may be read or written; the last
    // register of each row is kept to the columns of the tile by the mask, or starts so that it ends
    // with them.
    unsafe {
        let last = V::mask(in_last);
        for _ in 0..t.tiles {
            let soon = c_tile.wrapping_offset(ahead);
            for i in 0..MR {
                prefetch(soon.wrapping_offset(i as isize * t.c_row));
            }
            // Plain index loops with constant bounds: what keeps the accumulators in registers.
            let mut acc = [[V::zero(); NV]; MR];
            let mut step = Step {
                a: a_panel,
                a_rows,
                a_depth: t.a_depth,
                b: t.b,
                b_depth: t.b_depth,
                copy: t.copy,
                last_at,
                last,
            };
            let turns = if is_unrolled(MR, NV) && !COPY && t.k >= LONG {
                t.k / at_once
            } else {
                0
            };
            for _ in 0..turns {
                for _ in 0..at_once {
                    step.next::<NV, MASKED, COPY>(&mut acc);
                }
            }
            for _ in 0..t.k - at_once * turns {
                step.next::<NV, MASKED, COPY>(&mut acc);
            }
            if t.alpha != V::Elem::ONE {
                let alpha = V::splat(t.alpha);
                for i in 0..MR {
                    for j in 0..NV {
                        acc[i][j] = acc[i][j].mul(alpha);
                    }
                }
            }
            let partial = by_mask && in_last < V::LANES;
            // All of a row is read before it is written: registers may share columns.
            if t.beta != V::Elem::ZERO {
                let beta = V::splat(t.beta);
                for i in 0..MR {
                    let c = c_tile.offset(i as isize * t.c_row);
                    for j in 0..NV {
                        let old = if partial && j == NV - 1 {
                            V::load_masked(last, c.add(at(j)))
                        } else {
                            V::load(c.add(at(j)))
                        };
                        acc[i][j] = beta.mul_add(old, acc[i][j]);
                    }
                }
            }
            for i in 0..MR {
                let c = c_tile.offset(i as isize * t.c_row);
                for j in 0..NV - 1 {
                    acc[i][j].store(c.add(at(j)));
                }
            }
            if partial {
                V::store_last_masked(&acc, last, c_tile.add(last_at), t.c_row);
            } else {
                for i in 0..MR {
                    let c = c_tile.offset(i as isize * t.c_row);
                    acc[i][NV - 1].store(c.add(last_at));
                }
            }
            a_panel = a_panel.wrapping_offset(t.a_panel);
            c_tile = c_tile.wrapping_offset(c_next);
        }
    }
}
