//! A product as parts that the members of a team compute in any order.

use std::ops::Range;

use super::chunks::Chunks;
use super::dot::DotArgs;
use super::macrokernel::{Finish, FinishedTile};
use super::product::{Buffers, DOT_COLS, Factor, Output, Product, Way};
use super::vector::Element;
use super::workspace::{Slots, Workspace};
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// `C <- finish(alpha A B + beta C)`
pub(super) fn compute<T: Element>(
    product: Product<'_, T>,
    c: MatMut<'_, T>,
    finish: impl Finish<T>,
    workspace: &mut Workspace,
    team: &Team,
) {
    let Some(plan) = Plan::new(product, Output::of(&c), finish, team.threads()) else {
        return;
    };
    workspace.grow(team.threads(), plan.bytes());
    let slots = workspace.slots();
    team.run(plan.parts(), &|part, slot| {
        // SAFETY: `grow` made a slot for each member, and the team gives a slot to one part at a
        // time; the workspace and C are borrowed until the phase is over, and each part is run
        // once.
        unsafe { plan.run(part, Slots::get(slots, slot)) };
    });
}

/// A product, its C, and how it is computed: by parts that no order binds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a, T: 'static, F> {
    product: Product<'a, T>,
    out: Output<T>,
    finish: F,
    k: usize,
    way: Way<'a, T>,
    chunks: Chunks,
}

impl<'a, T: Element, F: Finish<T>> Plan<'a, T, F> {
    /// How the product is computed by up to `threads` members; `None` if C is empty.
    pub(super) fn new(
        mut product: Product<'a, T>,
        mut out: Output<T>,
        finish: F,
        threads: usize,
    ) -> Option<Self> {
        if out.rows == 0 || out.cols == 0 {
            return None;
        }
        // A C stored by columns is the transpose of one stored by rows.
        if let Factor::View(b) = product.b
            && finish.is_store()
            && out.col_stride != 1
            && out.row_stride == 1
        {
            (product.a, product.b) = (b.t(), Factor::View(product.a.t()));
            out = out.t();
        }
        // The one column of a row is contiguous whatever its stride.
        if out.cols == 1 {
            out.col_stride = 1;
        }
        let k = if product.alpha == T::ZERO {
            0
        } else {
            product.a.cols()
        };
        let shape = (out.rows, out.cols, k);
        let way = product.way(&out, k, &finish);
        let (row_panels, col_panels) = match way {
            Way::Dots(_) => (1, out.cols.div_ceil(DOT_COLS)),
            Way::DotsOfAColumn(_) => (out.rows.div_ceil(DOT_COLS), 1),
            Way::Tiles { blocking, .. } => (blocking.rows.parts(), blocking.cols.parts()),
        };
        Some(Self {
            product,
            out,
            finish,
            k,
            way,
            chunks: Chunks::new(threads, shape, row_panels, col_panels),
        })
    }

    /// Number of parts.
    pub(super) fn parts(&self) -> usize {
        self.chunks.count()
    }

    /// Bytes of the memory that each part needs.
    pub(super) fn bytes(&self) -> usize {
        match self.way {
            Way::Dots(_) | Way::DotsOfAColumn(_) => 0,
            Way::Tiles {
                a_len,
                b_len,
                aside_len,
                ..
            } => (a_len + b_len + aside_len) * size_of::<T>(),
        }
    }

    /// Computes one of the parts.
    ///
    /// # Safety
    /// `part < parts()`; C is borrowed, and no one else computes this part; `memory` holds `bytes()`
    /// and is ours alone.
    pub(super) unsafe fn run(&self, part: usize, memory: *mut T) {
        let (rows, cols) = self.chunks.get(part);
        // SAFETY: this function's contract. The kit is one of this CPU's; the views were checked when
        // made, the shapes when the product was; parts do not share rows and columns of C.
        unsafe {
            match self.way {
                Way::Dots(b) => self.dots(b, cols),
                Way::DotsOfAColumn(b) => self.dots_of_a_column(b, rows),
                Way::Tiles {
                    blocking,
                    a_len,
                    b_len,
                    aside_len,
                } => {
                    let b = memory.wrapping_add(a_len);
                    let buffers = Buffers {
                        a: memory,
                        b,
                        aside: (aside_len > 0).then(|| b.wrapping_add(b_len)),
                    };
                    let (out, finish) = (self.out, self.finish);
                    self.product
                        .tiles(&blocking, rows, cols, out, buffers, finish);
                }
            }
        }
    }

    /// The given groups of [`DOT_COLS`] columns.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn dots(&self, b: MatRef<'_, T>, cols: Range<usize>) {
        let (product, out) = (&self.product, self.out);
        let (start, end) = (cols.start * DOT_COLS, (cols.end * DOT_COLS).min(out.cols));
        let args = DotArgs {
            k: self.k,
            a: product.a.as_ptr(),
            a_row: product.a.row_stride(),
            b: b.as_ptr().wrapping_offset(start as isize * b.col_stride()),
            b_col: b.col_stride(),
            c: out.ptr.wrapping_add(start),
            c_row: out.row_stride,
            c_col: 1,
            rows: out.rows,
            cols: end - start,
            alpha: product.alpha,
            beta: product.beta,
        };
        // SAFETY: this function's contract.
        unsafe {
            (product.kit.dot)(&args);
            finish_part(self.finish, out, 0..out.rows, start..end);
        }
    }

    /// The given groups of [`DOT_COLS`] rows.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn dots_of_a_column(&self, b: MatRef<'_, T>, rows: Range<usize>) {
        let (product, out) = (&self.product, self.out);
        let a = product.a;
        let (start, end) = (rows.start * DOT_COLS, (rows.end * DOT_COLS).min(out.rows));
        let args = DotArgs {
            k: self.k,
            a: b.as_ptr(),
            a_row: 0,
            b: a.as_ptr().wrapping_offset(start as isize * a.row_stride()),
            b_col: a.row_stride(),
            c: out.ptr.wrapping_offset(start as isize * out.row_stride),
            c_row: 0,
            c_col: out.row_stride,
            rows: 1,
            cols: end - start,
            alpha: product.alpha,
            beta: product.beta,
        };
        // SAFETY: this function's contract.
        unsafe {
            (product.kit.dot)(&args);
            finish_part(self.finish, out, start..end, 0..1);
        }
    }
}

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
