//! Products that need no plan: small ones, and one row (or column) times a matrix.
//!
//! A plan weighs blocks, packing and threads. That takes longer than a product of some thousand
//! operations, and one that is small enough has nothing to weigh: one block of the depth, A read in
//! place, B read in place or transposed into a buffer on the stack, and as many calls of a
//! micro-kernel as there are column panels. The sums are those of the plan, in the same order, so the
//! bits do not depend on who computes.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use super::blocking::{Blocking, KC_DIRECT, Order, Split, UNCUT, UNPACKED_LEN, UNPACKED_ROWS};
use super::chunks::Chunks;
use super::macrokernel::Finish;
use super::microkernel::TileArgs;
use super::pack::PackArgs;
use super::plan::finish_part;
use super::prepack::{is_by_columns, is_unit};
use super::product::{Output, prefers_dots};
use super::row::RowArgs;
use super::tables::Kit;
use super::vector::Element;
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// Multiply-adds of a small product at most; one that several threads should share has a plan before.
const MAX_WORK: usize = 1 << 20;
/// Elements of C that are finished together at most: 16 KiB of `f32`, half a first-level cache.
const MAX_FINISH: usize = 4096;
/// Elements of a transposed B at most: 16 KiB of `f32`.
const MAX_TRANSPOSED: usize = 4096;
/// Elements up to which it has a smaller place: each page of a larger one is touched first, which takes as
/// long as a product of 4 x 4 x 4.
const FEW_TRANSPOSED: usize = 512;
/// Bits of each size of a small product, so that no product of sizes overflows.
const SIZE_BITS: u32 = 16;
/// Columns in which a row of C is cut for several threads: whole cache lines.
const ROW_UNIT: usize = 64;

/// A product whose shapes fit, both operands in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct<'a, T: 'static> {
    pub(super) kit: &'static Kit<T>,
    pub(super) alpha: T,
    pub(super) a: MatRef<'a, T>,
    pub(super) b: MatRef<'a, T>,
    pub(super) beta: T,
    pub(super) out: Output<T>,
}

/// What computes a product that needs no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectKernel {
    /// One row times B.
    Row,
    /// A times one column.
    Column,
    /// Micro-tiles on the operands as they lie.
    Tiles,
    /// The same with B transposed first.
    TilesOfTransposed,
}

impl<T: Element> Direct<'_, T> {
    /// Computes the product if it needs no plan, and says whether it did.
    ///
    /// # Safety
    /// The kit is one of this CPU's; C is borrowed, and no one else writes to it.
    #[inline(always)]
    pub(super) unsafe fn compute(&self, finish: impl Finish<T>, team: &Team) -> bool {
        let out = &self.out;
        if self.is_empty() {
            return false;
        }
        // SAFETY: this function's contract.
        unsafe {
            if out.col_stride == 1 {
                self.by_rows(finish, team)
            } else {
                self.by_columns(finish, team)
            }
        }
    }

    /// [`Self::compute`] for a C that is not stored by rows. As a plan does it: one stored by columns is
    /// the transpose of one stored by rows, and one column is contiguous whatever its stride.
    ///
    /// # Safety
    /// As [`Self::compute`].
    #[inline(never)]
    unsafe fn by_columns(&self, finish: impl Finish<T>, team: &Team) -> bool {
        if self.out.row_stride != 1 || !finish.is_store() {
            // SAFETY: this function's contract.
            return self.out.cols == 1 && unsafe { self.by_rows(finish, team) };
        }
        // SAFETY: this function's contract.
        unsafe { self.t().by_rows(finish, team) }
    }

    /// The transposed product.
    fn t(&self) -> Self {
        Self {
            a: self.b.t(),
            b: self.a.t(),
            out: self.out.t(),
            ..*self
        }
    }

    /// By which kernel the product is computed without a plan, if it is; `is_store` says that it has no
    /// epilogue.
    pub(super) fn kernel(&self, is_store: bool, threads: usize) -> Option<DirectKernel> {
        if self.is_empty() {
            None
        } else if self.out.col_stride == 1 {
            self.kernel_by_rows(is_store, threads)
        } else if self.out.row_stride == 1 && is_store {
            self.t().kernel_by_rows(is_store, threads)
        } else {
            let one_column = self.out.cols == 1;
            let kernel = self.kernel_by_rows(is_store, threads);
            kernel.filter(|_| one_column)
        }
    }

    /// Whether there is nothing to multiply.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        let out = &self.out;
        out.rows == 0 || out.cols == 0 || self.a.cols() == 0 || self.alpha == T::ZERO
    }

    /// [`Self::kernel`] for a C with contiguous columns, and a product that is not empty.
    #[inline(always)]
    fn kernel_by_rows(&self, is_store: bool, threads: usize) -> Option<DirectKernel> {
        let (a, b, out) = (self.a, self.b, &self.out);
        let (m, n, k) = (out.rows, out.cols, a.cols());
        if prefers_dots(self.kit, a, b, (m, n)) {
            return None;
        }
        let b_unit = is_unit(b);
        if m == 1 && b_unit {
            return Some(DirectKernel::Row);
        }
        if n == 1 && a.row_stride() == 1 && out.row_stride == 1 {
            return Some(DirectKernel::Column);
        }
        if (m | n | k) >> SIZE_BITS != 0 || m * n * k > MAX_WORK {
            return None;
        }
        let one_block = if b_unit { uncut(&a, (m, n)) } else { UNCUT };
        if k > one_block {
            return None;
        }
        if !is_store && m * n > MAX_FINISH {
            return None;
        }
        if Chunks::members(threads, (m, n, k)) > 1 {
            return None;
        }
        if b_unit {
            return Some(DirectKernel::Tiles);
        }
        let fits = self.transposed_len() <= MAX_TRANSPOSED;
        fits.then_some(DirectKernel::TilesOfTransposed)
    }

    /// [`Self::compute`] for a C with contiguous columns, and a product that is not empty.
    ///
    /// # Safety
    /// As [`Self::compute`].
    #[inline(always)]
    unsafe fn by_rows(&self, finish: impl Finish<T>, team: &Team) -> bool {
        let (b, out) = (self.b, &self.out);
        let Some(kernel) = self.kernel_by_rows(finish.is_store(), team.threads()) else {
            return false;
        };
        // SAFETY: the views were checked when made, the shapes by the caller; the rest is this
        // function's contract.
        unsafe {
            match kernel {
                DirectKernel::Row => {
                    self.row(finish, team);
                    return true;
                }
                DirectKernel::Column => {
                    self.column(finish, team);
                    return true;
                }
                DirectKernel::Tiles => self.tiles(b.as_ptr(), b.row_stride()),
                DirectKernel::TilesOfTransposed if self.transposed_len() <= FEW_TRANSPOSED => {
                    self.tiles_of_transposed::<FEW_TRANSPOSED>();
                }
                DirectKernel::TilesOfTransposed => self.tiles_of_transposed::<MAX_TRANSPOSED>(),
            }
            if !finish.is_store() {
                finish_part(finish, *out, 0..out.rows, 0..out.cols);
            }
        }
        true
    }

    /// Elements that B takes when it is transposed, at most; its sizes are those of a small product.
    #[inline(always)]
    fn transposed_len(&self) -> usize {
        let lanes = self.kit.lanes;
        self.b.rows() * (self.b.cols() + lanes) + lanes
    }

    /// The tiles of all of C, for a small product with this B, whose columns are contiguous.
    ///
    /// # Safety
    /// As [`Self::by_rows`].
    #[inline(always)]
    unsafe fn tiles(&self, b: *const T, b_depth: isize) {
        let (kit, out) = (self.kit, &self.out);
        let all = TileArgs {
            tiles: 1,
            k: self.a.cols(),
            a: self.a.as_ptr(),
            a_row: self.a.row_stride(),
            a_depth: self.a.col_stride(),
            a_panel: 0,
            b,
            b_depth,
            copy: ptr::null_mut(),
            c: out.ptr,
            c_row: out.row_stride,
            cols: out.cols,
            alpha: self.alpha,
            beta: self.beta,
        };
        // SAFETY: this function's contract.
        unsafe { all_tiles(kit, &all, out.rows) };
    }

    /// As [`Self::tiles`], with the B of the product, transposed first.
    ///
    /// # Safety
    /// As [`Self::by_rows`]; [`Self::transposed_len`] is at most `LEN`.
    #[inline(never)]
    unsafe fn tiles_of_transposed<const LEN: usize>(&self) {
        let (b, lanes) = (self.b, self.kit.lanes);
        let mut buffer = [MaybeUninit::<T>::uninit(); LEN];
        let ld = (b.cols() + lanes - 1) & !(lanes - 1);
        debug_assert!(ld * b.rows() + lanes <= buffer.len());
        let args = PackArgs {
            src: b.as_ptr(),
            across: b.col_stride(),
            along: b.row_stride(),
            width: b.cols(),
            depth: b.rows(),
            dst: buffer.as_mut_ptr().cast(),
            ld,
            panels: 1,
            to_next: 0,
        };
        // SAFETY: this function's contract; the buffer holds the matrix and a register more.
        unsafe {
            (self.kit.pack)(&args);
            self.tiles(args.dst, ld as isize);
        }
    }

    /// One row of C, its columns shared by the team.
    ///
    /// # Safety
    /// As [`Self::by_rows`]; m is 1, and the columns of B and C are contiguous.
    #[inline(never)]
    unsafe fn row(&self, finish: impl Finish<T>, team: &Team) {
        let (a, b, out) = (self.a, self.b, self.out);
        share(out.cols, a.cols(), team, &|cols| {
            // SAFETY: this function's contract; the ranges do not overlap.
            unsafe {
                self.line(a.t(), (b, cols.clone()));
                finish_part(finish, out, 0..1, cols);
            }
        });
    }

    /// One column of C, its rows shared by the team: the row of the transposed product.
    ///
    /// # Safety
    /// As [`Self::by_rows`]; n is 1, and the rows of A and C are contiguous.
    #[inline(never)]
    unsafe fn column(&self, finish: impl Finish<T>, team: &Team) {
        let (a, b, out) = (self.a, self.b, self.out);
        share(out.rows, a.cols(), team, &|rows| {
            // SAFETY: this function's contract; the ranges do not overlap.
            unsafe {
                self.line(b, (a.t(), rows.clone()));
                finish_part(finish, out, rows, 0..1);
            }
        });
    }

    /// `c <- alpha x^T M + beta c` for some columns of M and the elements of C that belong to them, block
    /// by block of the depth as a plan cuts it.
    ///
    /// # Safety
    /// As [`Self::by_rows`], for these elements of C, which has one row or one column of contiguous
    /// elements; x is a column with an element for each row of M, whose columns are contiguous.
    unsafe fn line(&self, x: MatRef<'_, T>, (matrix, cols): (MatRef<'_, T>, Range<usize>)) {
        let (k, out) = (x.rows(), &self.out);
        let depth = if k <= UNCUT {
            Split::new(k, UNCUT)
        } else {
            let order = Order {
                a_by_columns: is_by_columns(self.a),
                b_by_rows: is_unit(self.b),
            };
            Blocking::choose(self.kit, (out.rows, out.cols, k), order).depth
        };
        for block in 0..depth.parts() {
            let p = depth.start(block) as isize;
            let start = matrix.as_ptr().wrapping_offset(p * matrix.row_stride());
            let args = RowArgs {
                k: depth.len(block),
                a: x.as_ptr().wrapping_offset(p * x.row_stride()),
                a_depth: x.row_stride(),
                b: start.wrapping_add(cols.start),
                b_depth: matrix.row_stride(),
                c: out.ptr.wrapping_add(cols.start),
                cols: cols.len(),
                alpha: self.alpha,
                beta: if block == 0 { self.beta } else { T::ONE },
            };
            // SAFETY: this function's contract.
            unsafe { (self.kit.row)(&args) };
        }
    }
}

/// Depth up to which a plan makes one block of a product with this A, and with rows of B contiguous.
fn uncut<T>(a: &MatRef<'_, T>, (m, n): (usize, usize)) -> usize {
    if a.col_stride() == 1 && m <= UNPACKED_ROWS && n * a.cols() <= UNPACKED_LEN {
        KC_DIRECT
    } else {
        UNCUT
    }
}

/// Computes a product of views without an epilogue, whose shapes fit, if it is small and all rows of B and C
/// are contiguous, and says whether it did: as a [`Direct`] would, after a few of its questions, which take
/// longer than the smallest of these products.
///
/// # Safety
/// The kit is one of this CPU's.
#[inline(always)]
pub(super) unsafe fn small<T: Element>(
    kit: &Kit<T>,
    alpha: T,
    (a, b): (&MatRef<'_, T>, &MatRef<'_, T>),
    beta: T,
    c: &mut MatMut<'_, T>,
    threads: usize,
) -> bool {
    let (m, n, k) = (c.rows(), c.cols(), a.cols());
    // One row or one column has kernels of its own.
    let is_matrix = m > 1 && n > 1 && b.col_stride() == 1 && c.col_stride() == 1;
    let is_small = (m | n | k) >> SIZE_BITS == 0 && m * n * k <= MAX_WORK;
    if !(is_matrix && is_small) || k > UNCUT && k > uncut(a, (m, n)) || k == 0 || alpha == T::ZERO {
        return false;
    }
    if Chunks::members(threads, (m, n, k)) > 1 {
        return false;
    }
    let all = TileArgs {
        tiles: 1,
        k,
        a: a.as_ptr(),
        a_row: a.row_stride(),
        a_depth: a.col_stride(),
        a_panel: 0,
        b: b.as_ptr(),
        b_depth: b.row_stride(),
        copy: ptr::null_mut(),
        c: c.as_mut_ptr(),
        c_row: c.row_stride(),
        cols: n,
        alpha,
        beta,
    };
    // SAFETY: this function's contract; the views were checked when made, and C is borrowed.
    unsafe { all_tiles(kit, &all, m) };
    true
}

/// The tiles of a C of `m` rows: `all` describes them as if they were one.
///
/// # Safety
/// As [`grid`].
#[inline(always)]
unsafe fn all_tiles<T: Element>(kit: &Kit<T>, all: &TileArgs<T>, m: usize) {
    // A shift: a division shows.
    let registers = (all.cols + kit.lanes - 1) >> kit.lanes.trailing_zeros();
    let variants = kit.families.get(registers - 1);
    // SAFETY: this function's contract.
    unsafe {
        match variants.and_then(|family| family.get(m - 1)) {
            Some(variants) => {
                let partial = usize::from(all.cols & (kit.lanes - 1) != 0);
                variants[partial][usize::from(all.a_row == 1)](all);
            }
            None => grid(kit, all, m, registers),
        }
    }
}

/// The tiles of a C that is higher or wider than one: `all` describes them as if they were one, `m` rows
/// by `registers`.
///
/// # Safety
/// The kit is one of this CPU's, and the contract of [`super::microkernel::TileFn`] holds for all of C.
#[inline(never)]
pub(super) unsafe fn grid<T: Element>(kit: &Kit<T>, all: &TileArgs<T>, m: usize, registers: usize) {
    let unit = usize::from(all.a_row == 1);
    let widest = kit.families.len();
    let few = m <= kit.families[widest - 1].len();
    let cols = Split::new(registers, if few { widest } else { kit.wide });
    for panel in 0..cols.parts() {
        let (j, vectors) = (cols.start(panel) * kit.lanes, cols.len(panel));
        let width = (vectors * kit.lanes).min(all.cols - j);
        let partial = usize::from(width != vectors * kit.lanes);
        let family = kit.families[vectors - 1];
        // A is read in place, so each column panel may have tiles of its own height.
        let rows = Split::new(m, family.len());
        for run in rows.runs(0..rows.parts()) {
            if run.is_empty() {
                continue;
            }
            let (i, height) = (rows.start(run.start) as isize, rows.len(run.start));
            let args = TileArgs {
                tiles: run.len(),
                a: all.a.wrapping_offset(i * all.a_row),
                a_panel: height as isize * all.a_row,
                b: all.b.wrapping_add(j),
                c: all.c.wrapping_offset(i * all.c_row).wrapping_add(j),
                cols: width,
                ..*all
            };
            // SAFETY: this function's contract; the tiles lie in C.
            unsafe { family[height - 1][partial][unit](&args) };
        }
    }
}

/// Calls `work` for ranges that together are `0..len`, by as many members as have enough to do.
fn share(len: usize, k: usize, team: &Team, work: &(dyn Fn(Range<usize>) + Sync)) {
    let units = len.div_ceil(ROW_UNIT);
    let parts = Chunks::members(team.threads(), (1, len, k)).min(units);
    if parts == 1 {
        work(0..len);
        return;
    }
    team.run(parts, &|part, _| {
        let at = |part: usize| (units * part / parts * ROW_UNIT).min(len);
        work(at(part)..at(part + 1));
    });
}
