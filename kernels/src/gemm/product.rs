//! Loops `jc`, `pc`, `ic`: which way a product is computed, packing, and the work of one thread.

use std::ops::Range;

use super::blocking::Blocking;
use super::chunks::Chunks;
use super::dot::DotArgs;
use super::macrokernel::{Block, Finish, FinishedTile};
use super::panels::{Cut, Operand, pack};
use super::prepack::Prepacked;
use super::tables::Kit;
use super::vector::Element;
use super::workspace::{Slots, Workspace};
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// A product whose shapes fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product<'a, T: 'static> {
    pub(super) kit: &'static Kit<T>,
    pub(super) alpha: T,
    pub(super) a: MatRef<'a, T>,
    pub(super) b: Factor<'a, T>,
    pub(super) beta: T,
}

/// The right operand, in place or packed before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Factor<'a, T> {
    View(MatRef<'a, T>),
    Packed(Prepacked<'a, T>),
}

/// C, shared with the members of a team, each of which writes its own part.
#[derive(Clone, Copy, Debug)]
struct Output<T> {
    ptr: *mut T,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

// SAFETY: the chunks of a phase write disjoint parts of C.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

/// The memory of one member.
#[derive(Clone, Copy, Debug)]
struct Buffers<T> {
    /// For packed blocks.
    a: *mut T,
    b: *mut T,
    /// For a row panel of a C that is not wanted.
    aside: Option<*mut T>,
}

/// Rows up to which dot products can beat packing B: they reach 80 % of the peak at any number of
/// rows, the packed kernel more, but it has to share the cost of packing among its rows.
const DOT_ROWS: usize = 48;
/// Depth per row that they need beside: the lanes of each product are added up once.
const DOT_DEPTH: usize = 10;
/// Columns that one chunk of dot products has at least.
const DOT_COLS: usize = 16;

impl<T: Element> Product<'_, T> {
    /// `C <- finish(alpha A B + beta C)`
    pub(super) fn compute(
        mut self,
        mut c: MatMut<'_, T>,
        finish: impl Finish<T>,
        workspace: &mut Workspace,
        team: &Team,
    ) {
        let (m, n) = (c.rows(), c.cols());
        if m == 0 || n == 0 {
            return;
        }
        // A C stored by columns is the transpose of one stored by rows.
        if let Factor::View(b) = self.b
            && finish.is_store()
            && c.col_stride() != 1
            && c.row_stride() == 1
        {
            (self.a, self.b) = (b.t(), Factor::View(self.a.t()));
            return self.compute(c.t(), finish, workspace, team);
        }
        let k = if self.alpha == T::ZERO {
            0
        } else {
            self.a.cols()
        };
        let out = Output {
            ptr: c.as_mut_ptr(),
            rows: m,
            cols: n,
            row_stride: c.row_stride(),
            // The one column of a row is contiguous whatever its stride.
            col_stride: if n == 1 { 1 } else { c.col_stride() },
        };
        let b = match self.b {
            Factor::View(b) => b,
            Factor::Packed(packed) => {
                let blocking = Blocking::choose(self.kit, (m, n, k), packed.unit);
                let blocking = blocking.with_columns(self.kit, m, packed.cut.split);
                return self.tiles(k, &blocking, out, finish, workspace, team);
            }
        };
        let along_depth = self.a.col_stride() == 1 && b.row_stride() == 1;
        if along_depth && out.col_stride == 1 && k >= self.kit.lanes {
            if n == 1 {
                return self.dots_of_a_column(k, b, out, finish, team);
            }
            if m <= DOT_ROWS.min(k / DOT_DEPTH) && b.col_stride() != 1 {
                return self.dots(k, b, out, finish, team);
            }
        }
        let b_unit = b.col_stride() == 1 || n == 1;
        let blocking = Blocking::choose(self.kit, (m, n, k), b_unit);
        self.tiles(k, &blocking, out, finish, workspace, team);
    }

    /// Few rows: every element of C is a dot product along contiguous operands.
    fn dots(self, k: usize, b: MatRef<'_, T>, out: Output<T>, finish: impl Finish<T>, team: &Team) {
        let panels = out.cols.div_ceil(DOT_COLS);
        let chunks = Chunks::new(team.threads(), (out.rows, out.cols, k), 1, panels);
        let work = |chunk: usize, _: usize| {
            let (_, cols) = chunks.get(chunk);
            let (start, end) = (cols.start * DOT_COLS, (cols.end * DOT_COLS).min(out.cols));
            let args = DotArgs {
                k,
                a: self.a.as_ptr(),
                a_row: self.a.row_stride(),
                b: b.as_ptr().wrapping_offset(start as isize * b.col_stride()),
                b_col: b.col_stride(),
                c: out.ptr.wrapping_add(start),
                c_row: out.row_stride,
                c_col: 1,
                rows: out.rows,
                cols: end - start,
                alpha: self.alpha,
                beta: self.beta,
            };
            // SAFETY: the kit is one of this CPU's; the views were checked when made, the shapes
            // when the product was; chunks do not share columns of C.
            unsafe {
                (self.kit.dot)(&args);
                finish_part(finish, out, 0..out.rows, start..end);
            }
        };
        team.run(chunks.count(), &work);
    }

    /// One column: as one row of the transposed product.
    fn dots_of_a_column(
        self,
        k: usize,
        b: MatRef<'_, T>,
        out: Output<T>,
        finish: impl Finish<T>,
        team: &Team,
    ) {
        let panels = out.rows.div_ceil(DOT_COLS);
        let chunks = Chunks::new(team.threads(), (out.rows, 1, k), panels, 1);
        let work = |chunk: usize, _: usize| {
            let (rows, _) = chunks.get(chunk);
            let (start, end) = (rows.start * DOT_COLS, (rows.end * DOT_COLS).min(out.rows));
            let args = DotArgs {
                k,
                a: b.as_ptr(),
                a_row: 0,
                b: self
                    .a
                    .as_ptr()
                    .wrapping_offset(start as isize * self.a.row_stride()),
                b_col: self.a.row_stride(),
                c: out.ptr.wrapping_offset(start as isize * out.row_stride),
                c_row: 0,
                c_col: out.row_stride,
                rows: 1,
                cols: end - start,
                alpha: self.alpha,
                beta: self.beta,
            };
            // SAFETY: as for `dots`, with rows for columns.
            unsafe {
                (self.kit.dot)(&args);
                finish_part(finish, out, start..end, 0..1);
            }
        };
        team.run(chunks.count(), &work);
    }

    /// The general way: micro-tiles, with packed panels where the blocking says so.
    fn tiles(
        self,
        k: usize,
        blocking: &Blocking,
        out: Output<T>,
        finish: impl Finish<T>,
        workspace: &mut Workspace,
        team: &Team,
    ) {
        let lanes = self.kit.lanes;
        let a_len = blocking
            .packed_a(lanes)
            .next_multiple_of(LINE / size_of::<T>());
        let b_len = blocking
            .packed_b(lanes)
            .next_multiple_of(LINE / size_of::<T>());
        let aside = finish.takes_all() && blocking.depth.parts() == 1;
        let aside_len = if aside { blocking.row_panel(lanes) } else { 0 };
        let bytes = (a_len + b_len + aside_len) * size_of::<T>();
        workspace.grow(team.threads(), bytes);
        let slots = workspace.slots();
        let panels = (blocking.rows.parts(), blocking.cols.parts());
        let chunks = Chunks::new(team.threads(), (out.rows, out.cols, k), panels.0, panels.1);
        let work = |chunk: usize, slot: usize| {
            let (rows, cols) = chunks.get(chunk);
            // SAFETY: `grow` made a slot for each member, and the team gives a slot to one chunk at
            // a time; the workspace is borrowed until the phase is over. Views were checked when
            // made and shapes when the product was; chunks do not share panels of C.
            unsafe {
                let a_buffer: *mut T = Slots::get(slots, slot);
                let b_buffer = a_buffer.wrapping_add(a_len);
                let buffers = Buffers {
                    a: a_buffer,
                    b: b_buffer,
                    aside: aside.then(|| b_buffer.wrapping_add(b_len)),
                };
                self.chunk(blocking, rows, cols, out, buffers, finish);
            }
        };
        team.run(chunks.count(), &work);
    }

    /// Loops `jc`, `pc`, `ic` over the given panels.
    ///
    /// # Safety
    /// The panels lie in C, no one else touches them, and the buffers hold `packed_a`, `packed_b` and
    /// `row_panel` elements.
    unsafe fn chunk(
        &self,
        blocking: &Blocking,
        row_range: Range<usize>,
        col_range: Range<usize>,
        out: Output<T>,
        buffers: Buffers<T>,
        finish: impl Finish<T>,
    ) {
        let a = self.a;
        let a_cut = Cut {
            split: blocking.rows,
            unit: 1,
            len: out.rows,
        };
        let b_cut = Cut {
            split: blocking.cols,
            unit: self.kit.lanes,
            len: out.cols,
        };
        for jc in col_range.clone().step_by(blocking.col_panels) {
            let cols = jc..(jc + blocking.col_panels).min(col_range.end);
            for pc in 0..blocking.depth.parts() {
                let (p, depth) = (blocking.depth.start(pc), blocking.depth.len(pc));
                let b_block = match self.b {
                    Factor::Packed(packed) => packed.operand(jc, p),
                    Factor::View(b) => {
                        let block = Operand {
                            ptr: b.as_ptr().wrapping_offset(p as isize * b.row_stride()),
                            across: b.col_stride(),
                            along: b.row_stride(),
                            packed: None,
                        };
                        if blocking.pack_b {
                            // SAFETY: this function's contract.
                            unsafe { pack(self.kit, block, b_cut, cols.clone(), depth, buffers.b) }
                        } else {
                            block
                        }
                    }
                };
                for ic in row_range.clone().step_by(blocking.row_panels) {
                    let rows = ic..(ic + blocking.row_panels).min(row_range.end);
                    let mut a_block = Operand {
                        ptr: a.as_ptr().wrapping_offset(p as isize * a.col_stride()),
                        across: a.row_stride(),
                        along: a.col_stride(),
                        packed: None,
                    };
                    if blocking.pack_a {
                        // SAFETY: this function's contract.
                        a_block = unsafe {
                            pack(self.kit, a_block, a_cut, rows.clone(), depth, buffers.a)
                        };
                    }
                    let block = Block {
                        kit: self.kit,
                        blocking,
                        c: out.ptr,
                        c_row: out.row_stride,
                        c_col: out.col_stride,
                        n: out.cols,
                        a: a_block,
                        b: b_block,
                        k: depth,
                        alpha: self.alpha,
                        beta: if pc == 0 { self.beta } else { T::ONE },
                        last: pc + 1 == blocking.depth.parts(),
                        aside: buffers.aside,
                    };
                    // SAFETY: this function's contract; packed blocks start at the first panel.
                    unsafe { block.run(rows, cols.clone(), finish) };
                }
            }
        }
    }
}

/// Bytes of a cache line: packed panels start at one.
const LINE: usize = 64;

/// Applies the epilogue to a part of a C with contiguous columns.
///
/// # Safety
/// The part lies in C, and no one else touches it.
unsafe fn finish_part<T: Element>(
    finish: impl Finish<T>,
    out: Output<T>,
    rows: Range<usize>,
    cols: Range<usize>,
) {
    if finish.is_store() {
        return;
    }
    let tile = FinishedTile {
        c: out
            .ptr
            .wrapping_offset(rows.start as isize * out.row_stride)
            .wrapping_add(cols.start),
        c_row: out.row_stride,
        row: rows.start,
        col: cols.start,
        rows: rows.len(),
        cols: cols.len(),
    };
    // SAFETY: this function's contract.
    unsafe { finish.finish(tile) }
}
