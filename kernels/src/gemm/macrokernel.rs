//! Loops `jr` and `ir`: the tiles of one block of C.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use super::blocking::Blocking;
use super::finish::{FinishedTile, Place};
use super::microkernel::{TileArgs, TileFn};
use super::panels::{Cut, Operand, pack};
use super::tables::Kit;
use super::vector::Element;

/// What is done to a tile when its sums are complete.
pub(super) trait Finish<T>: Copy + Sync {
    /// Whether there is nothing to do.
    fn is_store(&self) -> bool;

    /// Whether it is better applied to whole rows than to tiles: it has several operands of its own that
    /// are to be read in long runs.
    fn by_rows(&self) -> bool {
        false
    }

    /// Whether C itself is not wanted, once this has seen its elements.
    fn takes_all(&self) -> bool {
        false
    }

    /// Hints that its operands for a part of C are wanted soon.
    fn fetch(&self, _: &Place) {}

    /// Applies it to a tile with contiguous columns.
    ///
    /// # Safety
    /// The tile can be read and written, no one else touches it, and it lies in C.
    unsafe fn finish(&self, tile: &FinishedTile<T>);
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
    /// How B is packed first, panel by panel, if it is not yet.
    pub(super) fresh_b: Option<FreshB<T>>,
    pub(super) k: usize,
    pub(super) alpha: T,
    pub(super) beta: T,
    /// Whether the sums are complete after this block.
    pub(super) last: bool,
    /// Room for one row panel, to be finished there instead of in C: the depth is one block, `beta`
    /// is zero, and C is not wanted.
    pub(super) aside: Option<*mut T>,
}

/// A B whose panels are packed when the first tile of each is computed: that has to read them anyway, and the
/// others find them in a near cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreshB<T> {
    /// B in place, as an unpacked [`Block::b`].
    pub(super) from: Operand<T>,
    pub(super) cut: Cut,
}

/// Rows of C that are finished together at most: few enough to be in a near cache still, and as many as a
/// call of the micro-kernel and one of the epilogue are worth.
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
    /// range's columns fits aside. If B is to be packed first, it can be read in place, `b` is where its
    /// packed panels fit, and no one else touches that.
    pub(super) unsafe fn run(
        &self,
        row_panels: Range<usize>,
        col_panels: Range<usize>,
        finish: impl Finish<T>,
    ) {
        let first = (row_panels.start, col_panels.start);
        let finishes = self.last && !finish.is_store();
        if finishes && finish.by_rows() && (self.c_col == 1 || self.aside.is_some()) {
            for ir in row_panels {
                // SAFETY: this function's contract.
                unsafe { self.row_panel(ir, first.0, col_panels.clone(), finish) };
            }
            return;
        }
        for jr in col_panels {
            let mut rows = row_panels.clone();
            if self.fresh_b.is_some() && !rows.is_empty() {
                // SAFETY: this function's contract; the tile lies in C.
                unsafe {
                    let tiles = self.packing_tile((rows.start, jr), first);
                    self.compute(tiles, finishes, finish);
                }
                rows.start += 1;
            }
            for run in self.blocking.rows.runs(rows) {
                if run.is_empty() {
                    continue;
                }
                let tiles = self.tiles((run.start, jr), run.len(), first);
                // SAFETY: this function's contract; the tiles lie in C.
                unsafe { self.compute(tiles, finishes, finish) };
            }
        }
    }

    /// Some tiles, finished or not.
    ///
    /// # Safety
    /// As [`Self::run`], for these tiles.
    #[inline(always)]
    unsafe fn compute(&self, tiles: Tiles<T>, finishes: bool, finish: impl Finish<T>) {
        // SAFETY: this function's contract.
        unsafe {
            if self.c_col != 1 {
                self.strided(tiles, finish);
            } else if finishes {
                self.finished(tiles, finish);
            } else {
                (tiles.kernel)(&TileArgs {
                    tiles: tiles.count,
                    ..tiles.args
                });
            }
        }
    }

    /// The first tile of a column panel whose B is not yet packed: a kernel that packs it as it goes by, or,
    /// if there is none, any other after that.
    ///
    /// # Safety
    /// As [`Self::run`]; B is to be packed first.
    #[inline(always)]
    unsafe fn packing_tile(&self, (ir, jr): (usize, usize), first: (usize, usize)) -> Tiles<T> {
        let mut tiles = self.tiles((ir, jr), 1, first);
        let Some(FreshB { from, cut }) = self.fresh_b else {
            return tiles;
        };
        let vectors = cut.split.len(jr);
        let copying = self.kit.copying(tiles.place.rows, vectors);
        let is_full = tiles.place.cols == vectors * self.kit.lanes;
        let packed = tiles.args.b.cast_mut();
        match copying {
            Some(kernels) if is_full && from.across == 1 => {
                tiles.kernel = kernels[usize::from(tiles.args.a_row == 1)];
                (tiles.args.b, _, tiles.args.b_depth) = from.panel(tiles.place.col, 0, 0);
                tiles.args.copy = packed;
            }
            // SAFETY: this function's contract; panels of whole registers spill nothing.
            _ => unsafe {
                pack(self.kit, from, cut, jr..jr + 1, self.k, packed);
            },
        }
        tiles
    }

    /// Some tiles of the same height below one another.
    #[inline(always)]
    fn tiles(
        &self,
        (ir, jr): (usize, usize),
        count: usize,
        (first_row, first_col): (usize, usize),
    ) -> Tiles<T> {
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
            tiles: 1,
            k: self.k,
            a,
            a_row,
            a_depth,
            a_panel,
            b,
            b_depth,
            copy: ptr::null_mut(),
            c: self
                .c
                .wrapping_offset(i as isize * self.c_row)
                .wrapping_offset(j as isize * self.c_col),
            c_row: self.c_row,
            cols: width,
            alpha: self.alpha,
            beta: self.beta,
        };
        let kernel = variants[usize::from(!full)][usize::from(a_row == 1)];
        let place = Place {
            row: i,
            col: j,
            rows: height,
            cols: width,
        };
        Tiles {
            kernel,
            count,
            args,
            place,
        }
    }

    /// Tiles of a C with contiguous columns, finished a few at a time, while they are in a near cache; the
    /// operands of that were fetched while they were computed.
    ///
    /// # Safety
    /// As [`Self::run`], for these tiles.
    #[inline(always)]
    unsafe fn finished(&self, mut tiles: Tiles<T>, finish: impl Finish<T>) {
        let at_once = (FINISH_ROWS / tiles.place.rows).max(1);
        while tiles.count > 0 {
            let count = at_once.min(tiles.count);
            let place = Place {
                rows: count * tiles.place.rows,
                ..tiles.place
            };
            let (c, c_row) = (tiles.args.c, self.c_row);
            finish.fetch(&place);
            // SAFETY: this function's contract.
            unsafe {
                (tiles.kernel)(&TileArgs {
                    tiles: count,
                    ..tiles.args
                });
                finish.finish(&FinishedTile { c, c_row, place });
            }
            tiles.advance(count);
        }
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
            let tiles = if self.fresh_b.is_some() && ir == first_row {
                // SAFETY: this function's contract.
                unsafe { self.packing_tile((ir, jr), first) }
            } else {
                self.tiles((ir, jr), 1, first)
            };
            let Tiles {
                kernel,
                args,
                place,
                ..
            } = tiles;
            let c = c.wrapping_add(place.col - col);
            // SAFETY: the kernel is one of the kit's; the rest is this function's contract.
            unsafe { kernel(&TileArgs { c, c_row, ..args }) };
        }
        let place = Place {
            row,
            col,
            rows: rows.len(ir),
            cols: end - col,
        };
        // SAFETY: the panel is complete, and ours alone.
        unsafe { finish.finish(&FinishedTile { c, c_row, place }) };
    }

    /// Tiles of a C of any strides, by way of a contiguous copy.
    ///
    /// # Safety
    /// As [`Self::run`], for these tiles.
    #[cold]
    #[inline(never)]
    unsafe fn strided(&self, mut tiles: Tiles<T>, finish: impl Finish<T>) {
        let mut buffer = [MaybeUninit::<T>::uninit(); TILE_ELEMENTS];
        let c = buffer.as_mut_ptr().cast::<T>();
        let Place { rows, cols, .. } = tiles.place;
        assert!(rows * cols <= TILE_ELEMENTS);
        let finishes = self.last && !finish.is_store();
        while tiles.count > 0 {
            let (args, place, c_row) = (tiles.args, tiles.place, cols as isize);
            let at = |i: usize, j: usize| {
                let (i, j) = (i as isize, j as isize);
                args.c.wrapping_offset(i * self.c_row + j * self.c_col)
            };
            let elements = (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j)));
            // SAFETY: this function's contract for C; the buffer holds the tile, as asserted, and is
            // written before it is read.
            unsafe {
                if self.beta != T::ZERO {
                    for (i, j) in elements.clone() {
                        *c.add(i * cols + j) = *at(i, j);
                    }
                }
                (tiles.kernel)(&TileArgs { c, c_row, ..args });
                if finishes {
                    finish.finish(&FinishedTile { c, c_row, place });
                }
                for (i, j) in elements {
                    *at(i, j) = *c.add(i * cols + j);
                }
            }
            tiles.advance(1);
        }
    }
}

/// Tiles of the same height below one another, to be computed one after the other.
#[derive(Clone, Copy, Debug)]
struct Tiles<T> {
    kernel: TileFn<T>,
    count: usize,
    /// Of the next one.
    args: TileArgs<T>,
    place: Place,
}

impl<T> Tiles<T> {
    /// On behind so many of them.
    #[inline(always)]
    fn advance(&mut self, count: usize) {
        let (args, place) = (&mut self.args, &mut self.place);
        let rows = count * place.rows;
        args.a = args.a.wrapping_offset(count as isize * args.a_panel);
        args.c = args.c.wrapping_offset(rows as isize * args.c_row);
        place.row += rows;
        self.count -= count;
    }
}
