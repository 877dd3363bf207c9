//! A product as parts that the members of a team compute in any order.

use std::ops::Range;

use super::blocking::Split;
use super::chunks::Chunks;
use super::dot::DotArgs;
use super::finish::{FinishedTile, Place};
use super::macrokernel::Finish;
use super::partial::{AddArgs, Partials};
use super::product::{Buffers, DOT_COLS, Factor, Output, Product, Region, Way};
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
    let plan = Plan::new(product, Output::of(&c), finish, team.threads());
    if let Some(plan) = plan {
        // SAFETY: C is borrowed by `c`.
        unsafe { plan.run_all(workspace, team) };
    }
}

/// A product, its C, and how it is computed: by parts that no order binds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a, T: 'static, F> {
    product: Product<'a, T>,
    out: Output<T>,
    finish: F,
    k: usize,
    way: Way<'a, T>,
    /// Blocks of the depth, and row and column panels.
    depth: Split,
    row_panels: usize,
    col_panels: usize,
    chunks: Chunks,
}

/// How members share the depth: some blocks at a time.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    /// Blocks of the depth that are computed at the same time.
    blocks: usize,
    /// Room for all but the first of them, whose place is C.
    partials: Partials,
    members: usize,
}

/// Elements of C up to which its members may share the depth: beyond, each has enough of C.
const BY_DEPTH_AREA: usize = 1 << 16;
/// Depth per row and column from which that is better than to share C: what members would each pack
/// again, and read again, is then much, and the partial sums are few.
const BY_DEPTH_RATIO: usize = 4;
/// Additions from which the partial sums are added by several members.
const ADDITIONS: usize = 1 << 15;

impl<'a, T: Element, F: Finish<T>> Plan<'a, T, F> {
    /// How the product is best computed by up to `threads` members; `None` if C is empty.
    pub(super) fn new(
        product: Product<'a, T>,
        out: Output<T>,
        finish: F,
        threads: usize,
    ) -> Option<Self> {
        Self::by(product, out, finish, threads, |product, out, k| {
            product.way(out, k, &finish)
        })
    }

    /// As [`Self::new`], in the way that `choose` says of the product, its C and the depth.
    pub(super) fn by(
        mut product: Product<'a, T>,
        mut out: Output<T>,
        finish: F,
        threads: usize,
        choose: impl FnOnce(&Product<'a, T>, &Output<T>, usize) -> Way<'a, T>,
    ) -> Option<Self> {
        if out.rows == 0 || out.cols == 0 {
            return None;
        }
        // A C stored by columns is the transpose of one stored by rows.
        if let (Factor::View(a), Factor::View(b)) = (product.a, product.b)
            && finish.is_store()
            && out.col_stride != 1
            && out.row_stride == 1
        {
            (product.a, product.b) = (Factor::View(b.t()), Factor::View(a.t()));
            out = out.t();
        }
        // The one column of a row is contiguous whatever its stride.
        if out.cols == 1 {
            out.col_stride = 1;
        }
        let k = if product.alpha == T::ZERO {
            0
        } else {
            product.a.depth()
        };
        let shape = (out.rows, out.cols, k);
        let way = choose(&product, &out, k);
        let (row_panels, col_panels, depth, packed) = match way {
            Way::Dots(_, _, depth) => (1, out.cols.div_ceil(DOT_COLS), depth, (false, false)),
            Way::DotsOfAColumn(_, _, depth) => {
                (out.rows.div_ceil(DOT_COLS), 1, depth, (false, false))
            }
            Way::Tiles { blocking, .. } => {
                let (rows, cols) = (blocking.rows.parts(), blocking.cols.parts());
                let in_place = |factor: &Factor<'_, T>| matches!(factor, Factor::View(_));
                let packs_a = blocking.pack_a && in_place(&product.a);
                let packs_b = blocking.pack_b && in_place(&product.b);
                (rows, cols, blocking.depth, (packs_a, packs_b))
            }
        };
        let members = Chunks::members(threads, shape);
        Some(Self {
            product,
            out,
            finish,
            k,
            way,
            depth,
            row_panels,
            col_panels,
            chunks: Chunks::new(
                members,
                (out.rows, out.cols),
                (row_panels, col_panels),
                packed,
            ),
        })
    }

    /// Computes all of it.
    ///
    /// # Safety
    /// C is borrowed, and no one else writes to it.
    pub(super) unsafe fn run_all(&self, workspace: &mut Workspace, team: &Team) {
        if let Some(rounds) = self.rounds(team.threads()) {
            // SAFETY: this function's contract.
            unsafe { self.run_by_depth(rounds, workspace, team) };
            return;
        }
        workspace.grow(team.threads(), self.bytes(), 0);
        let slots = workspace.slots();
        team.run(self.parts(), &|part, slot| {
            // SAFETY: `grow` made a slot for each member, and the team gives a slot to one part at a
            // time; the workspace is borrowed until the phase is over, and so is C, says the caller;
            // each part is run once.
            unsafe { self.run(part, Slots::get(slots, slot)) };
        });
    }

    /// How the members of a team share the depth, if that is better than to share C alone.
    fn rounds(&self, threads: usize) -> Option<Rounds> {
        if threads == 1 || self.depth.parts() == 1 || self.out.col_stride != 1 {
            return None;
        }
        let (m, n) = (self.out.rows, self.out.cols);
        let members = Chunks::members(threads, (m, n, self.k));
        let is_long = self.k / BY_DEPTH_RATIO >= m.max(n) && m * n <= BY_DEPTH_AREA;
        if members == 1 || !is_long {
            return None;
        }
        let partials = Partials::new(m, n, self.depth.parts() - 1);
        // Whole turns, while there are several.
        let blocks = match partials.count + 1 {
            room if room > members => room / members * members,
            room => room,
        };
        let count = blocks - 1;
        Some(Rounds {
            blocks,
            partials: Partials { count, ..partials },
            members,
        })
    }

    /// Computes the product by blocks of the depth at the same time, and adds them in their order.
    ///
    /// # Safety
    /// As [`Self::run_all`].
    unsafe fn run_by_depth(&self, rounds: Rounds, workspace: &mut Workspace, team: &Team) {
        let Rounds {
            blocks,
            partials,
            members,
        } = rounds;
        workspace.grow(
            team.threads(),
            self.bytes(),
            partials.len() * size_of::<T>(),
        );
        let slots = workspace.slots();
        let parts = self.depth.parts();
        for start in (0..parts).step_by(blocks) {
            let end = (start + blocks).min(parts);
            // Where there are fewer blocks than members, each is shared too.
            let cut_of_c = members.div_ceil(end - start);
            let shape = (self.out.rows, self.out.cols);
            let panels = (self.row_panels, self.col_panels);
            let chunks = Chunks::new(cut_of_c, shape, panels, (false, false));
            team.run((end - start) * chunks.count(), &|part, slot| {
                let (block, chunk) = (part / chunks.count(), part % chunks.count());
                let (rows, cols) = chunks.get(chunk);
                let depth = start + block..start + block + 1;
                let (mut plan, mut out) = (*self, self.out);
                if start > 0 {
                    plan.product.beta = T::ONE;
                }
                if block > 0 {
                    plan.product.beta = T::ZERO;
                    out.ptr = slots
                        .shared::<T>()
                        .wrapping_add((block - 1) * partials.stride);
                    (out.row_stride, out.col_stride) = (partials.row as isize, 1);
                }
                let region = Region {
                    rows,
                    cols,
                    depth,
                    completes: false,
                };
                // SAFETY: `grow` made a slot for each member, and the team gives a slot to one part at
                // a time; the workspace is borrowed until the phase is over, and so is C, says the
                // caller; each block of the depth has a place of its own, and each chunk of it is
                // computed once.
                unsafe { plan.compute(region, out, Slots::get(slots, slot)) };
            });
            let count = end - start - 1;
            let many = count * self.out.rows * self.out.cols >= ADDITIONS;
            let pieces = if many { members.min(self.out.rows) } else { 1 };
            team.run(pieces, &|piece, _| {
                let rows = self.out.rows * piece / pieces..self.out.rows * (piece + 1) / pieces;
                let args = AddArgs {
                    c: self.out.row(rows.start),
                    c_row: self.out.row_stride,
                    partials: slots.shared::<T>().wrapping_add(rows.start * partials.row),
                    row: partials.row,
                    stride: partials.stride,
                    count,
                    rows: rows.len(),
                    cols: self.out.cols,
                };
                // SAFETY: the partial sums of these rows were written in the phase before; the rows of
                // C are borrowed, and no other piece has them; the kit is one of this CPU's.
                unsafe {
                    (self.product.kit.add)(&args);
                    if end == parts {
                        finish_part(self.finish, self.out, rows, 0..self.out.cols);
                    }
                }
            });
        }
    }

    /// How it is computed.
    pub(super) fn way(&self) -> Way<'a, T> {
        self.way
    }

    /// Number of parts.
    pub(super) fn parts(&self) -> usize {
        self.chunks.count()
    }

    /// Bytes of the memory that each part needs.
    pub(super) fn bytes(&self) -> usize {
        match self.way {
            Way::Dots(..) | Way::DotsOfAColumn(..) => 0,
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
        let region = Region {
            rows,
            cols,
            depth: 0..self.depth.parts(),
            completes: true,
        };
        // SAFETY: this function's contract; parts do not share rows and columns of C.
        unsafe { self.compute(region, self.out, memory) }
    }

    /// Computes a region, in C or in the place of its partial sums.
    ///
    /// # Safety
    /// The region lies in the product, whose shape `out` has; its part of `out` can be written, and no
    /// one else touches it; `memory` holds `bytes()` and is ours alone.
    unsafe fn compute(&self, region: Region, out: Output<T>, memory: *mut T) {
        // SAFETY: this function's contract. The kit is one of this CPU's; the views were checked when
        // made, the shapes when the product was.
        unsafe {
            match self.way {
                Way::Dots(a, b, _) => self.dots(a, b, region, out),
                Way::DotsOfAColumn(a, b, _) => self.dots_of_a_column(a, b, region, out),
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
                    let product = &self.product;
                    product.tiles(&blocking, region, out, buffers, self.finish);
                }
            }
        }
    }

    /// The given groups of [`DOT_COLS`] columns.
    ///
    /// # Safety
    /// As [`Self::compute`].
    unsafe fn dots(&self, a: MatRef<'_, T>, b: MatRef<'_, T>, region: Region, out: Output<T>) {
        let (product, cols) = (&self.product, region.cols);
        let (start, end) = (cols.start * DOT_COLS, (cols.end * DOT_COLS).min(out.cols));
        for (p, k, beta) in self.blocks(region.depth) {
            let b_start = b.as_ptr().wrapping_offset(start as isize * b.col_stride());
            let args = DotArgs {
                k,
                a: a.as_ptr().wrapping_add(p),
                a_row: a.row_stride(),
                b: b_start.wrapping_add(p),
                b_col: b.col_stride(),
                c: out.ptr.wrapping_add(start),
                c_row: out.row_stride,
                c_col: 1,
                rows: out.rows,
                cols: end - start,
                alpha: product.alpha,
                beta,
            };
            // SAFETY: this function's contract.
            unsafe { (product.kit.dot)(&args) };
        }
        if region.completes {
            // SAFETY: this function's contract.
            unsafe { finish_part(self.finish, out, 0..out.rows, start..end) };
        }
    }

    /// The given groups of [`DOT_COLS`] rows.
    ///
    /// # Safety
    /// As [`Self::compute`].
    unsafe fn dots_of_a_column(
        &self,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        region: Region,
        out: Output<T>,
    ) {
        let (product, rows) = (&self.product, region.rows);
        let (start, end) = (rows.start * DOT_COLS, (rows.end * DOT_COLS).min(out.rows));
        for (p, k, beta) in self.blocks(region.depth) {
            let a_start = a.as_ptr().wrapping_offset(start as isize * a.row_stride());
            let args = DotArgs {
                k,
                a: b.as_ptr().wrapping_add(p),
                a_row: 0,
                b: a_start.wrapping_add(p),
                b_col: a.row_stride(),
                c: out.row(start),
                c_row: 0,
                c_col: out.row_stride,
                rows: 1,
                cols: end - start,
                alpha: product.alpha,
                beta,
            };
            // SAFETY: this function's contract.
            unsafe { (product.kit.dot)(&args) };
        }
        if region.completes {
            // SAFETY: this function's contract.
            unsafe { finish_part(self.finish, out, start..end, 0..1) };
        }
    }

    /// The given blocks of the depth: start, length, and the factor of what C holds before.
    fn blocks(&self, range: Range<usize>) -> impl Iterator<Item = (usize, usize, T)> {
        let (depth, beta, first) = (self.depth, self.product.beta, range.start);
        range.map(move |d| {
            let beta = if d == first { beta } else { T::ONE };
            (depth.start(d), depth.len(d), beta)
        })
    }
}

/// Applies the epilogue to a part of a C with contiguous columns.
///
/// # Safety
/// The part lies in C, and no one else touches it.
pub(super) unsafe fn finish_part<T: Element>(
    finish: impl Finish<T>,
    out: Output<T>,
    rows: Range<usize>,
    cols: Range<usize>,
) {
    if finish.is_store() {
        return;
    }
    let tile = FinishedTile {
        c: out.row(rows.start).wrapping_add(cols.start),
        c_row: out.row_stride,
        place: Place {
            row: rows.start,
            col: cols.start,
            rows: rows.len(),
            cols: cols.len(),
        },
    };
    // SAFETY: this function's contract.
    unsafe { finish.finish(&tile) }
}
