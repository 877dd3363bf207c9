//! Loops `jr` and `ir`: the tiles of one block of C.

use std::ops::Range;

use super::blocking::Blocking;
use super::microkernel::{TileArgs, TileFn};
use super::panels::Operand;
use super::tables::Kit;
use super::vector::Element;

/// What is done to a tile when its sums are complete.
pub(super) trait Finish<T>: Copy + Sync {
    /// Whether there is nothing to do.
    fn is_store(&self) -> bool;

    /// Whether it is better applied to whole rows than to tiles: it has operands of its own that
    /// are to be read from memory in long runs.
    fn by_rows(&self) -> bool {
        false
    }

    /// Whether C itself is not wanted, once this has seen its elements.
    fn takes_all(&self) -> bool {
        false
    }

    /// Applies it to a tile with contiguous columns.
    ///
    /// # Safety
    /// The tile can be read and written, no one else touches it, and it lies in C.
    unsafe fn finish(&self, tile: FinishedTile<T>);
}

/// A part of C, and its place in C.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinishedTile<T> {
    pub(super) c: *mut T,
    pub(super) c_row: isize,
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// A block of the product: some row panels by some column panels by one block of the depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a, T: 'static> {
    pub(super) kit: &'a Kit<T>,
    pub(super) blocking: &'a Blocking,
    /// Element (0, 0) of all of C and its strides.
    pub(super) c: *mut T,
    pub(super) c_row: isize,
    pub(super) c_col: isize,
    /// Columns of all of C.
    pub(super) n: usize,
    /// If not packed, starts at row (column) 0 of all of A (B), at the first depth of the block.
    pub(super) a: Operand<T>,
    pub(super) b: Operand<T>,
    pub(super) k: usize,
    pub(super) alpha: T,
    pub(super) beta: T,
    /// Whether the sums are complete after this block.
    pub(super) last: bool,
    /// Room for one row panel, to be finished there instead of in C: the depth is one block, `beta`
    /// is zero, and C is not wanted.
    pub(super) aside: Option<*mut T>,
}

/// Row, column, rows and columns of some tiles of C.
type Place = (usize, usize, usize, usize);

/// Rows of C that are finished together at most: few enough to be in the first-level cache still.
const FINISH_ROWS: usize = 48;

/// Room for the largest tile of any kernel: 14 x 2 registers of 16 `f32`, 12 x 1 of 8 `f64` and so
/// on.
const TILE_ELEMENTS: usize = 512;

impl<T: Element> Block<'_, T> {
    /// Computes the tiles of the given panels.
    ///
    /// # Safety
    /// The CPU has the kit's instruction set; A and B can be read as the strides say, packed ones
    /// with the panels of `blocking` from the first of the ranges on; C can be written (and read,
    /// unless `beta` is zero) and no one else touches the panels' part of it; a row panel of the
    /// range's columns fits aside.
    pub(super) unsafe fn run(
        &self,
        row_panels: Range<usize>,
        col_panels: Range<usize>,
        finish: impl Finish<T>,
    ) {
        let first = (row_panels.start, col_panels.start);
        let in_place = self.c_col == 1 || self.aside.is_some();
        if self.last && finish.by_rows() && in_place {
            for ir in row_panels {
                // SAFETY: this function's contract.
                unsafe { self.row_panel(ir, first.0, col_panels.clone(), finish) };
            }
            return;
        }
        let at_once = if self.c_col != 1 {
            1
        } else if self.last && !finish.is_store() {
            (FINISH_ROWS / self.blocking.rows.longest()).max(1)
        } else {
            usize::MAX
        };
        for jr in col_panels {
            for run in self.blocking.rows.runs(row_panels.clone()) {
                let mut ir = run.start;
                while ir < run.end {
                    let tiles = at_once.min(run.end - ir);
                    let (kernel, args, place) = self.tiles((ir, jr), tiles, first);
                    ir += tiles;
                    // SAFETY: the kernel is one of the kit's; the rest is this function's contract.
                    unsafe {
                        if self.c_col == 1 {
                            self.contiguous(kernel, args, place, finish);
                        } else {
                            self.strided(kernel, args, place, finish);
                        }
                    }
                }
            }
        }
    }

    /// Some tiles of the same height below one another: their kernel and its operands, without C; row,
    /// column, rows and columns of them all.
    #[inline(always)]
    fn tiles(
        &self,
        (ir, jr): (usize, usize),
        tiles: usize,
        (first_row, first_col): (usize, usize),
    ) -> (TileFn<T>, TileArgs<T>, Place) {
        let (rows, cols, lanes) = (self.blocking.rows, self.blocking.cols, self.kit.lanes);
        let (j, vectors) = (cols.start(jr) * lanes, cols.len(jr));
        let width = (vectors * lanes).min(self.n - j);
        let before = j - cols.start(first_col) * lanes;
        let (b, _, b_depth) = self.b.panel(j, before, vectors * lanes);
        let full = width == vectors * lanes || self.b.packed.is_some();
        let (i, height) = (rows.start(ir), rows.len(ir));
        let (a, a_row, a_depth) = self.a.panel(i, i - rows.start(first_row), height);
        let variants = &self.kit.families[vectors - 1][height - 1];
        let a_panel = match self.a.packed {
            Some(packed) => (height * packed.depth) as isize,
            None => height as isize * a_row,
        };
        let args = TileArgs {
            tiles,
            k: self.k,
            a,
            a_row,
            a_depth,
            a_panel,
            b,
            b_depth,
            c: self.c,
            c_row: self.c_row,
            cols: width,
            alpha: self.alpha,
            beta: self.beta,
        };
        let kernel = variants[usize::from(!full)][usize::from(a_row == 1)];
        (kernel, args, (i, j, tiles * height, width))
    }

    /// The tiles of a row panel, finished together: in C, or aside.
    ///
    /// # Safety
    /// As [`Self::run`], for one row panel; C has contiguous columns unless there is room aside.
    unsafe fn row_panel(
        &self,
        ir: usize,
        first_row: usize,
        col_panels: Range<usize>,
        finish: impl Finish<T>,
    ) {
        let (rows, cols, lanes) = (self.blocking.rows, self.blocking.cols, self.kit.lanes);
        let (row, col) = (rows.start(ir), cols.start(col_panels.start) * lanes);
        let end = (cols.start(col_panels.end) * lanes).min(self.n);
        let (c, c_row) = match self.aside {
            Some(room) => (room, (end - col) as isize),
            None => {
                let start = self.c.wrapping_offset(row as isize * self.c_row);
                (start.wrapping_add(col), self.c_row)
            }
        };
        for jr in col_panels.clone() {
            let first = (first_row, col_panels.start);
            let (kernel, args, (_, j, _, _)) = self.tiles((ir, jr), 1, first);
            let c = c.wrapping_add(j - col);
            // SAFETY: the kernel is one of the kit's; the rest is this function's contract.
            unsafe { kernel(&TileArgs { c, c_row, ..args }) };
        }
        let panel = FinishedTile {
            c,
            c_row,
            row,
            col,
            rows: rows.len(ir),
            cols: end - col,
        };
        // SAFETY: the panel is complete, and ours alone.
        unsafe { finish.finish(panel) };
    }

    /// Some tiles of a C with contiguous columns.
    ///
    /// # Safety
    /// As [`Self::run`], for these tiles.
    #[inline(always)]
    unsafe fn contiguous(
        &self,
        kernel: TileFn<T>,
        args: TileArgs<T>,
        (row, col, rows, cols): Place,
        finish: impl Finish<T>,
    ) {
        let c = self
            .c
            .wrapping_offset(row as isize * self.c_row)
            .wrapping_add(col);
        // SAFETY: this function's contract.
        unsafe {
            kernel(&TileArgs { c, ..args });
            if self.last && !finish.is_store() {
                finish.finish(FinishedTile {
                    c,
                    c_row: self.c_row,
                    row,
                    col,
                    rows,
                    cols,
                });
            }
        }
    }

    /// A tile of a C of any strides, by way of a contiguous copy.
    ///
    /// # Safety
    /// As [`Self::run`], for one tile.
    #[cold]
    #[inline(never)]
    unsafe fn strided(
        &self,
        kernel: TileFn<T>,
        args: TileArgs<T>,
        (row, col, rows, cols): Place,
        finish: impl Finish<T>,
    ) {
        assert!(rows * cols <= TILE_ELEMENTS);
        let mut buffer = [T::ZERO; TILE_ELEMENTS];
        let c = buffer.as_mut_ptr();
        let place = |i: usize, j: usize| {
            let (i, j) = ((row + i) as isize, (col + j) as isize);
            self.c.wrapping_offset(i * self.c_row + j * self.c_col)
        };
        // SAFETY: this function's contract for C; the buffer holds the tile, as asserted.
        unsafe {
            if self.beta != T::ZERO {
                for i in 0..rows {
                    for j in 0..cols {
                        *c.add(i * cols + j) = *place(i, j);
                    }
                }
            }
            let c_row = cols as isize;
            kernel(&TileArgs { c, c_row, ..args });
            if self.last && !finish.is_store() {
                finish.finish(FinishedTile {
                    c,
                    c_row,
                    row,
                    col,
                    rows,
                    cols,
                });
            }
            for i in 0..rows {
                for j in 0..cols {
                    *place(i, j) = *c.add(i * cols + j);
                }
            }
        }
    }
}
