//! Which way a product is computed; packing, and the loops `jc`, `pc` and `ic` of one thread.

use std::ops::Range;

use super::blocking::{Blocking, Order, Split, packs_late};
use super::chunks::Chunks;
use super::macrokernel::{Block, Finish, FreshB};
use super::panels::{Cut, Operand, pack};
use super::prepack::{Prepacked, is_by_columns, is_unit};
use super::tables::Kit;
use super::vector::Element;
use crate::view::{MatMut, MatRef};

/// A product whose shapes fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product<'a, T: 'static> {
    pub(super) kit: &'static Kit<T>,
    pub(super) alpha: T,
    pub(super) a: Factor<'a, T>,
    pub(super) b: Factor<'a, T>,
    pub(super) beta: T,
}

/// An operand, in place or packed before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Factor<'a, T> {
    View(MatRef<'a, T>),
    Packed(Prepacked<'a, T>),
}

impl<T> Factor<'_, T> {
    /// Depth of a left operand.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::View(a) => a.cols(),
            Self::Packed(packed) => packed.k,
        }
    }
}

/// C, shared with the members of a team, each of which writes its own part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output<T> {
    pub(super) ptr: *mut T,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: isize,
    pub(super) col_stride: isize,
}

impl<T> Output<T> {
    /// The matrix of a view, to be written only while the view is borrowed mutably.
    pub(super) fn of(c: &MatMut<'_, T>) -> Self {
        Self {
            ptr: c.as_ref().as_ptr().cast_mut(),
            rows: c.rows(),
            cols: c.cols(),
            row_stride: c.row_stride(),
            col_stride: c.col_stride(),
        }
    }

    /// Where a row starts.
    pub(super) fn row(&self, i: usize) -> *mut T {
        self.ptr.wrapping_offset(i as isize * self.row_stride)
    }

    /// C with rows and columns exchanged.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

// SAFETY: the chunks of a phase write disjoint parts of C.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

/// A part of the product: row panels, column panels, and blocks of the depth.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) rows: Range<usize>,
    pub(super) cols: Range<usize>,
    pub(super) depth: Range<usize>,
    /// Whether the sums are complete after the last of these blocks, and to be finished.
    pub(super) completes: bool,
}

/// The memory of one member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffers<T> {
    /// For packed blocks.
    pub(super) a: *mut T,
    pub(super) b: *mut T,
    /// For a row panel of a C that is not wanted.
    pub(super) aside: Option<*mut T>,
}

/// Rows up to which dot products can beat packing B: they reach 80 % of the peak at any number of
/// rows, the packed kernel more, but it has to share the cost of packing among its rows.
const DOT_ROWS: usize = 48;
/// The same with registers narrower than a cache line, as long as the rows stay in a second-level cache while
/// all columns of B go by: 1.1 to 1.25 times at 56 and 64 rows beside a busy neighbour, as fast without one;
/// at 64 rows of 1500 elements they were behind by a tenth.
const DOT_ROWS_NARROW: usize = 64;
const DOT_LEN_NARROW: usize = 1 << 16;
/// Depth per row that they need beside: the lanes of each product are added up once.
const DOT_DEPTH: usize = 10;
/// Columns up to which dot products leave fewer lanes empty than tiles do, and the depth per column from
/// which that pays for adding up the lanes: 1.1 to 1.6 times at 8 to 12 columns on AVX2, 3 times at 4.
const DOT_COLUMNS: usize = 12;
const DOT_DEPTH_PER_COLUMN: usize = 16;
/// Columns that one chunk of dot products has at least.
pub(super) const DOT_COLS: usize = 16;
/// Elements of the rows of a block of dot products: they are read again for every few columns, from
/// the second-level cache.
const DOT_BLOCK: usize = 1 << 15;
/// Depth of a block that is not cut for that: with the lanes added up once for so many steps, nothing
/// is lost.
const DOT_KC: usize = 1 << 12;

/// Which way a product is computed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a, T> {
    /// Few rows: every element of C is a dot product along contiguous operands, by blocks of the
    /// depth.
    Dots(MatRef<'a, T>, MatRef<'a, T>, Split),
    /// One column: as one row of the transposed product.
    DotsOfAColumn(MatRef<'a, T>, MatRef<'a, T>, Split),
    /// The general way: micro-tiles, with packed panels where the blocking says so.
    Tiles {
        blocking: Blocking,
        /// Elements of each buffer.
        a_len: usize,
        b_len: usize,
        aside_len: usize,
    },
}

/// Whether so few rows or columns are better off with dot products, where the operands permit it. Few
/// columns are one chunk, so no more of them than are worth one thread.
fn are_few<T>(kit: &Kit<T>, (m, n, k): (usize, usize, usize)) -> bool {
    let is_narrow = !packs_late(kit) && m.saturating_mul(k) <= DOT_LEN_NARROW;
    let most_rows = if is_narrow { DOT_ROWS_NARROW } else { DOT_ROWS };
    let are_few_columns = n <= DOT_COLUMNS
        && n <= k / DOT_DEPTH_PER_COLUMN
        && !Chunks::worth_sharing(std::iter::once((m, n, k)));
    n == 1 || m <= most_rows.min(k / DOT_DEPTH) || are_few_columns
}

/// Whether dot products are the best way to an `m x n` matrix with contiguous columns.
pub(super) fn prefers_dots<T: Element>(
    kit: &Kit<T>,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    (m, n): (usize, usize),
) -> bool {
    let k = a.cols();
    let along_depth = a.col_stride() == 1 && b.row_stride() == 1 && k >= kit.lanes;
    along_depth && are_few(kit, (m, n, k)) && (n == 1 || b.col_stride() != 1)
}

impl<'a, T: Element> Product<'a, T> {
    /// The best way for this C.
    pub(super) fn way(&self, out: &Output<T>, k: usize, finish: &impl Finish<T>) -> Way<'a, T> {
        let (m, n) = (out.rows, out.cols);
        if are_few(self.kit, (m, n, k))
            && let Some(way) = self.dots(out, k)
        {
            return way;
        }
        let mut blocking = Blocking::choose(self.kit, (m, n, k), self.order());
        if let Factor::Packed(packed) = self.b {
            blocking = blocking.with_columns(self.kit, m, packed.cut.split);
        }
        if let Factor::Packed(packed) = self.a {
            let keep_cols = matches!(self.b, Factor::Packed(_));
            let (rows, width) = (packed.cut.split, packed.width);
            blocking = blocking.with_rows(self.kit, n, rows, width, keep_cols);
        }
        self.tiles_of(blocking, finish)
    }

    /// How the operands lie in memory, or lay before they were packed.
    pub(super) fn order(&self) -> Order {
        Order {
            a_by_columns: match self.a {
                Factor::View(a) => is_by_columns(a),
                Factor::Packed(packed) => packed.unit,
            },
            b_by_rows: match self.b {
                Factor::View(b) => is_unit(b),
                Factor::Packed(packed) => packed.unit,
            },
        }
    }

    /// By dot products, if the operands and C lie in memory as these need it.
    pub(super) fn dots(&self, out: &Output<T>, k: usize) -> Option<Way<'a, T>> {
        let (Factor::View(a), Factor::View(b)) = (self.a, self.b) else {
            return None;
        };
        let along_depth = a.col_stride() == 1 && b.row_stride() == 1;
        if !along_depth || out.col_stride != 1 || k < self.kit.lanes {
            return None;
        }
        if out.cols == 1 {
            return Some(Way::DotsOfAColumn(a, b, dot_depth(1, k)));
        }
        (b.col_stride() != 1).then(|| Way::Dots(a, b, dot_depth(out.rows, k)))
    }

    /// By micro-tiles.
    pub(super) fn tiles_of(&self, blocking: Blocking, finish: &impl Finish<T>) -> Way<'a, T> {
        let (lanes, line) = (self.kit.lanes, LINE / size_of::<T>());
        let aside = finish.takes_all() && blocking.depth.parts() == 1;
        Way::Tiles {
            blocking,
            a_len: blocking.packed_a(lanes).next_multiple_of(line),
            b_len: blocking.packed_b(lanes).next_multiple_of(line),
            aside_len: if aside { blocking.row_panel(lanes) } else { 0 },
        }
    }

    /// Loops `jc`, `pc`, `ic` over a region.
    ///
    /// # Safety
    /// The region lies in C, no one else touches it, and the buffers hold `packed_a`, `packed_b` and
    /// `row_panel` elements.
    pub(super) unsafe fn tiles(
        &self,
        blocking: &Blocking,
        region: Region,
        out: Output<T>,
        buffers: Buffers<T>,
        finish: impl Finish<T>,
    ) {
        let Region {
            rows: row_range,
            cols: col_range,
            depth: depth_range,
            completes,
        } = region;
        let kit = self.kit;
        let a_cut = Cut {
            split: blocking.rows,
            unit: 1,
            len: out.rows,
        };
        let b_cut = Cut {
            split: blocking.cols,
            unit: kit.lanes,
            len: out.cols,
        };
        // Not `step_by`, which divides: that shows in the smallest products.
        let mut next_cols = col_range.start;
        while next_cols < col_range.end {
            let jc = next_cols;
            next_cols = (jc + blocking.col_panels).min(col_range.end);
            let cols = jc..next_cols;
            for pc in depth_range.clone() {
                let (p, depth) = (blocking.depth.start(pc), blocking.depth.len(pc));
                let mut fresh_b = None;
                let b_block = match self.b {
                    Factor::Packed(packed) => packed.operand(jc, p),
                    Factor::View(b) => {
                        let block = Operand {
                            ptr: b.as_ptr().wrapping_offset(p as isize * b.row_stride()),
                            across: b.col_stride(),
                            along: b.row_stride(),
                            packed: None,
                        };
                        if !blocking.pack_b {
                            block
                        } else if packs_in_tiles(kit, blocking, &block) {
                            fresh_b = Some(FreshB {
                                from: block,
                                cut: b_cut,
                            });
                            Operand::packed(buffers.b, depth)
                        } else {
                            // SAFETY: this function's contract.
                            unsafe { pack(kit, block, b_cut, cols.clone(), depth, buffers.b) }
                        }
                    }
                };
                let mut next_rows = row_range.start;
                while next_rows < row_range.end {
                    let ic = next_rows;
                    next_rows = (ic + blocking.row_panels).min(row_range.end);
                    let rows = ic..next_rows;
                    let a_block = match self.a {
                        Factor::Packed(packed) => packed.operand(ic, p),
                        Factor::View(a) => {
                            let block = Operand {
                                ptr: a.as_ptr().wrapping_offset(p as isize * a.col_stride()),
                                across: a.row_stride(),
                                along: a.col_stride(),
                                packed: None,
                            };
                            if blocking.pack_a {
                                // SAFETY: this function's contract.
                                unsafe { pack(kit, block, a_cut, rows.clone(), depth, buffers.a) }
                            } else {
                                block
                            }
                        }
                    };
                    let block = Block {
                        kit,
                        blocking,
                        c: out.ptr,
                        c_row: out.row_stride,
                        c_col: out.col_stride,
                        n: out.cols,
                        a: a_block,
                        b: b_block,
                        fresh_b: if ic == row_range.start { fresh_b } else { None },
                        k: depth,
                        alpha: self.alpha,
                        beta: if pc == depth_range.start {
                            self.beta
                        } else {
                            T::ONE
                        },
                        last: completes && pc + 1 == depth_range.end,
                        aside: buffers.aside,
                    };
                    // SAFETY: this function's contract; packed blocks start at the first panel.
                    unsafe { block.run(rows, cols.clone(), finish) };
                }
            }
        }
    }
}

/// Whether the first tile of each column panel packs B as it reads it: 3 to 5 % of a product of 128 and 256
/// rows. Where rows of B are so far apart that each is in another page, longer runs of a few rows are better,
/// as packing alone reads them (2 % at 256 x 1024 x 1024).
fn packs_in_tiles<T: Element>(kit: &Kit<T>, blocking: &Blocking, b: &Operand<T>) -> bool {
    let (height, width) = (blocking.rows.longest(), blocking.cols.longest());
    let far = PAGE / size_of::<T>();
    b.across == 1 && b.along.unsigned_abs() < far && kit.copying(height, width).is_some()
}

/// The blocks of a depth k for dot products with `rows` rows that are read again and again.
fn dot_depth(rows: usize, k: usize) -> Split {
    if k <= DOT_KC {
        return Split::new(k, k);
    }
    Split::new(k, (DOT_BLOCK / rows).clamp(DOT_KC / 4, DOT_KC))
}

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of a cache line: packed panels start at one.
const LINE: usize = 64;
