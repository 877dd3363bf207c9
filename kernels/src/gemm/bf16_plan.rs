//! Products of f32 as sums of bf16 products, on the matrix unit or as dot products: their loops.
//!
//! ```text
//! jc  columns of C, as many as their part of B fits a second-level cache
//! pc    depth, 256 or 512 steps at a time; pack B
//! ic      rows of C, 128 at a time; pack A
//! ir        32 rows: their part of A stays in the first-level cache
//! jr          32 columns: their part of B streams
//!               sums = A panel B panel, from zero              amx_kernel
//!               C tile <- epilogue(alpha sums + beta C tile)   amx_kernel, finish
//! ```
//!
//! # Numbers that are no sums of bf16 numbers
//! Infinity, NaN, magnitudes from 2^127 on and below 2^-100, and products below 2^-96 are seen by the
//! magnitudes of panels, which packing finds. A tile of such panels is computed by multiply-adds, from the
//! packed numbers: all bits of special ones are there, where there are two parts or more. A tile of which
//! a sum is infinite or NaN is computed so too, since parts may overflow where the whole does not. All of
//! it is decided by panels, which are the same for any number of threads, packed before or not.

use std::cell::Cell;
use std::ops::Range;
use std::ptr;

use super::amx_kernel::{DotProducts, MergeArgs, MultiplyArgs, MultiplyFn};
use super::bf16_blocking::{
    Layout, SHALLOW, col_panels, depth_blocks, effective, parts_of, steps_of,
};
use super::bf16_pack::{Bf16PackArgs, GROUP, Magnitudes, PART_WORDS, SIDE, unpack};
use super::bf16_panels::{Bf16Factor, PanelBlock};
use super::blocking::Split;
use super::chunks::Chunks;
use super::direct::grid;
use super::finish::{FinishedTile, Place};
use super::macrokernel::Finish;
use super::microkernel::TileArgs;
use super::product::Output;
use super::tables::GemmKernels;
use super::workspace::{Slots, Workspace};
use crate::amx::model::Model;
use crate::amx::tile::Amx;
use crate::bf16::Bf16Unit;
use crate::isa::Isa;
use crate::precision::Precision;
use crate::team::Team;

/// A product as sums of bf16 products, as parts that no order binds.
#[derive(Clone, Copy)]
pub(super) struct Bf16Plan<'a, F> {
    kernels: &'static GemmKernels,
    unit: Bf16Unit,
    parts: usize,
    alpha: f32,
    a: Bf16Factor<'a>,
    b: Bf16Factor<'a>,
    beta: f32,
    out: Output<f32>,
    finish: F,
    k: usize,
    depth: Split,
    col_panels: Split,
    chunks: Chunks,
}

/// What the plan is made of, but for C, the epilogue and the team.
#[derive(Clone, Copy)]
pub(super) struct Bf16Product<'a> {
    pub(super) kernels: &'static GemmKernels,
    pub(super) unit: Bf16Unit,
    pub(super) precision: Precision,
    pub(super) alpha: f32,
    pub(super) a: Bf16Factor<'a>,
    pub(super) b: Bf16Factor<'a>,
    pub(super) beta: f32,
    pub(super) k: usize,
}

impl<'a, F: Finish<f32>> Bf16Plan<'a, F> {
    /// The plan of a product, by up to `threads` members; `None` if C is empty, or the product is one of
    /// views that is better off with multiply-adds.
    pub(super) fn new(
        mut product: Bf16Product<'a>,
        mut out: Output<f32>,
        finish: F,
        threads: usize,
    ) -> Option<Self> {
        if out.rows == 0 || out.cols == 0 {
            return None;
        }
        let k = if product.alpha == 0.0 { 0 } else { product.k };
        let mut precision = product.precision;
        if let (Bf16Factor::View(a), Bf16Factor::View(b)) = (product.a, product.b) {
            precision = effective(product.unit, precision, (out.rows, out.cols, k));
            // A C stored by columns is the transpose of one stored by rows.
            if finish.is_store() && out.col_stride != 1 && out.row_stride == 1 {
                (product.a, product.b) = (Bf16Factor::View(b.t()), Bf16Factor::View(a.t()));
                out = out.t();
            }
        }
        for factor in [product.a, product.b] {
            if let Bf16Factor::Packed(panels) = factor {
                precision = panels.precision;
            }
        }
        let parts = parts_of(precision)?;
        let depth = depth_blocks(k, parts);
        let (rows, cols) = (out.rows.div_ceil(SIDE), out.cols.div_ceil(SIDE));
        let shape = (out.rows, out.cols);
        let is_view = |factor| matches!(factor, Bf16Factor::View(_));
        let packs = (is_view(product.a), is_view(product.b));
        let members = Chunks::members(threads, (out.rows, out.cols, k));
        Some(Self {
            kernels: product.kernels,
            unit: product.unit,
            parts,
            alpha: product.alpha,
            a: product.a,
            b: product.b,
            beta: product.beta,
            out,
            finish,
            k,
            depth,
            col_panels: col_panels(parts, depth.longest(), out.cols),
            chunks: Chunks::new(members, shape, (rows, cols), packs),
        })
    }

    /// The kernel by name, and by how many bf16 numbers each f32 is replaced.
    pub(super) fn name(&self, isa: Isa) -> String {
        let unit = match self.unit {
            Bf16Unit::Dot => " by dot products",
            Bf16Unit::Amx => "",
            Bf16Unit::Model => " by a model",
        };
        let numbers = match self.parts {
            1 => "one part",
            2 => "two parts",
            _ => "three parts",
        };
        format!("bf16gemm_{isa}_{SIDE}x{SIDE}{unit}, {numbers}")
    }

    /// Number of parts.
    pub(super) fn parts(&self) -> usize {
        self.chunks.count()
    }

    /// Bytes of the memory that each part needs.
    pub(super) fn bytes(&self) -> usize {
        self.layout().bytes
    }

    fn layout(&self) -> Layout {
        Layout::new(self.parts, self.depth.longest(), self.col_panels.longest())
    }

    /// Computes all of it.
    ///
    /// # Safety
    /// C is borrowed, and no one else writes to it.
    pub(super) unsafe fn run_all(&self, workspace: &mut Workspace, team: &Team) {
        workspace.grow(team.threads(), self.bytes(), 0);
        let slots = workspace.slots();
        team.run(self.parts(), &|part, slot| {
            // SAFETY: `grow` made a slot for each member, and the team gives a slot to one part at a
            // time; the workspace is borrowed until the phase is over, and so is C, says the caller;
            // each part is run once.
            unsafe { self.run(part, Slots::get(slots, slot)) };
        });
    }

    /// Computes one of the parts.
    ///
    /// # Safety
    /// `part < parts()`; C is borrowed, and no one else computes this part; `memory` holds `bytes()`, is
    /// ours alone and starts at a cache line.
    pub(super) unsafe fn run(&self, part: usize, memory: *mut u8) {
        let region = self.chunks.get(part);
        let kit = &self.kernels.amx;
        // SAFETY: this function's contract; the tiles are this thread's for the length of the call, which
        // does not hand over to other work.
        unsafe {
            match self.unit {
                Bf16Unit::Dot => {
                    let multiply = kit
                        .dot
                        .expect("kernels with the unit have its micro-kernel");
                    self.region(&mut DotProducts, multiply, region, memory);
                }
                Bf16Unit::Amx => {
                    let mut amx =
                        Amx::configure().expect("kernels with the unit exist where it was granted");
                    self.region(&mut amx, kit.amx[self.parts - 1], region, memory);
                }
                Bf16Unit::Model => {
                    self.region(&mut Model::new(), kit.model[self.parts - 1], region, memory);
                }
            }
        }
    }

    /// The loops over a region: row panels and column panels.
    ///
    /// # Safety
    /// As [`Self::run`], for the panels of the region.
    unsafe fn region<U>(
        &self,
        unit: &mut U,
        multiply: MultiplyFn<U>,
        (rows, cols): (Range<usize>, Range<usize>),
        memory: *mut u8,
    ) {
        let layout = self.layout();
        let (b_at_once, a_at_once) = (self.col_panels.longest(), GROUP);
        for jc in cols.clone().step_by(b_at_once.max(1)) {
            let cols = jc..(jc + b_at_once).min(cols.end);
            for block in 0..self.depth.parts() {
                // SAFETY: this function's contract; the layout has room for so many panels.
                let b = unsafe {
                    let to = (
                        memory.wrapping_add(layout.b),
                        memory.wrapping_add(layout.b_magnitudes),
                    );
                    self.packed(self.b, false, cols.clone(), block, to)
                };
                for ic in rows.clone().step_by(a_at_once) {
                    let rows = ic..(ic + a_at_once).min(rows.end);
                    // SAFETY: as above.
                    let a = unsafe {
                        let to = (
                            memory.wrapping_add(layout.a),
                            memory.wrapping_add(layout.a_magnitudes),
                        );
                        self.packed(self.a, true, rows.clone(), block, to)
                    };
                    for ir in rows.clone() {
                        for jr in cols.clone() {
                            let tile = TileOf {
                                row: ir * SIDE,
                                col: jr * SIDE,
                                block,
                                memory,
                                layout,
                            };
                            // SAFETY: this function's contract; the panels are among those packed.
                            unsafe {
                                let (a, b) = (a.panel(ir - ic), b.panel(jr - jc));
                                self.tile(unit, multiply, tile, a, b);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Some panels of an operand in a block of the depth, packed to the two places if they are not yet.
    ///
    /// # Safety
    /// The panels lie in the operand; there is room for them and their magnitudes.
    unsafe fn packed(
        &self,
        factor: Bf16Factor<'_>,
        is_left: bool,
        panels: Range<usize>,
        block: usize,
        (words, magnitudes): (*mut u8, *mut u8),
    ) -> PanelBlock {
        let view = match factor {
            Bf16Factor::Packed(packed) => return packed.block(self.depth, block, panels.start),
            Bf16Factor::View(view) if is_left => view.t(),
            Bf16Factor::View(view) => view,
        };
        let (p, steps) = steps_of(self.depth, block, self.k);
        let (across, along) = (view.col_stride(), view.row_stride());
        let (start, end) = (panels.start * SIDE, (panels.end * SIDE).min(view.cols()));
        let args = Bf16PackArgs {
            src: view
                .as_ptr()
                .wrapping_offset(start as isize * across + p as isize * along),
            across,
            along,
            width: end - start,
            depth: steps,
            dst: words.cast(),
            panel_words: self.depth.len(block) * self.parts * PART_WORDS,
            magnitudes: magnitudes.cast(),
            magnitudes_step: 1,
        };
        // SAFETY: this function's contract; the kernels are those of this CPU.
        unsafe { (self.kernels.amx.pack[usize::from(is_left)][self.parts - 1])(&args) };
        PanelBlock {
            words: args.dst,
            panel_words: args.panel_words,
            magnitudes: args.magnitudes,
            magnitudes_step: 1,
        }
    }

    /// One tile of C in one block of the depth.
    ///
    /// # Safety
    /// As [`Self::region`], for the tile and its panels.
    unsafe fn tile<U>(
        &self,
        unit: &mut U,
        multiply: MultiplyFn<U>,
        tile: TileOf,
        (a, a_magnitudes): (*const u32, Magnitudes),
        (b, b_magnitudes): (*const u32, Magnitudes),
    ) {
        let (
            out,
            TileOf {
                row, col, block, ..
            },
        ) = (&self.out, tile);
        let (rows, cols) = ((out.rows - row).min(SIDE), (out.cols - col).min(SIDE));
        let (is_first, is_last) = (block == 0, block + 1 == self.depth.parts());
        let in_c = out.row(row).wrapping_offset(col as isize * out.col_stride);
        let discards = self.finish.takes_all() && self.depth.parts() == 1;
        let sums: *mut f32 = tile.memory.wrapping_add(tile.layout.sums).cast();
        // Aside: where C is not wanted, or its columns are not contiguous.
        let is_aside = discards || out.col_stride != 1;
        let (c, c_row) = if is_aside {
            let aside: *mut f32 = tile.memory.wrapping_add(tile.layout.tile).cast();
            (aside, SIDE as isize)
        } else {
            (in_c, out.row_stride)
        };
        let beta = if is_first { self.beta } else { 1.0 };
        let sound = a_magnitudes.multiplies_with(b_magnitudes);
        let mut merge = MergeArgs {
            sums,
            c,
            c_row,
            rows,
            cols,
            alpha: self.alpha,
            beta,
            stop: true,
            done: Cell::new(0),
        };
        let at = |i: usize, j: usize| {
            in_c.wrapping_offset(i as isize * out.row_stride + j as isize * out.col_stride)
        };
        // SAFETY: this function's contract: the tile lies in C and is ours alone; the panels can be read, and
        // the places in memory written.
        unsafe {
            if is_aside && beta != 0.0 {
                for i in 0..rows {
                    for j in 0..cols {
                        *c.add(i * SIDE + j) = *at(i, j);
                    }
                }
            }
            if sound {
                let args = MultiplyArgs {
                    unit,
                    a,
                    b,
                    blocks: 0,
                    sums,
                    c,
                    c_row,
                    rows,
                };
                self.chains(multiply, args, (tile, self.depth.len(block)));
                (self.kernels.amx.merge)(&merge);
            }
            if merge.done.get() < rows {
                self.multiply_adds(
                    tile,
                    (a, a_magnitudes),
                    (b, b_magnitudes),
                    (rows, cols),
                    sums,
                );
                merge.stop = false;
                (self.kernels.amx.merge)(&merge);
            }
            if is_last && !self.finish.is_store() {
                let place = Place {
                    row,
                    col,
                    rows,
                    cols,
                };
                self.finish.finish(&FinishedTile { c, c_row, place });
            }
            if is_aside && !discards {
                for i in 0..rows {
                    for j in 0..cols {
                        *at(i, j) = *c.add(i * SIDE + j);
                    }
                }
            }
        }
    }

    /// The sums of a tile over so many units of 32 steps, in chains that are added to each other.
    ///
    /// # Safety
    /// As [`Self::tile`]; `args` are those of the tile, but for the number of units.
    unsafe fn chains<U>(
        &self,
        multiply: MultiplyFn<U>,
        args: MultiplyArgs<U>,
        (tile, units): (TileOf, usize),
    ) {
        let chains = Split::new(units, SHALLOW);
        for chain in 0..chains.parts() {
            let before = chains.start(chain) * self.parts * PART_WORDS;
            let is_first = chain == 0;
            let sums = if is_first {
                args.sums
            } else {
                tile.memory.wrapping_add(tile.layout.chain).cast()
            };
            // SAFETY: this function's contract: the units lie in the panels, and the layout has room for the
            // sums of a chain beside those of all.
            unsafe {
                multiply(&MultiplyArgs {
                    unit: args.unit,
                    a: args.a.wrapping_add(before),
                    b: args.b.wrapping_add(before),
                    blocks: chains.len(chain),
                    sums,
                    rows: if is_first { args.rows } else { 0 },
                    ..args
                });
                if !is_first {
                    (self.kernels.amx.merge)(&MergeArgs {
                        sums,
                        c: args.sums,
                        c_row: SIDE as isize,
                        rows: SIDE,
                        cols: SIDE,
                        alpha: 1.0,
                        beta: 1.0,
                        stop: false,
                        done: Cell::new(0),
                    });
                }
            }
        }
    }

    /// The sums of a tile by multiply-adds of the numbers that its panels hold.
    ///
    /// # Safety
    /// As [`Self::tile`].
    #[cold]
    #[inline(never)]
    unsafe fn multiply_adds(
        &self,
        tile: TileOf,
        a: (*const u32, Magnitudes),
        b: (*const u32, Magnitudes),
        (rows, cols): (usize, usize),
        sums: *mut f32,
    ) {
        let (_, depth) = steps_of(self.depth, tile.block, self.k);
        let a_plain: *mut f32 = tile.memory.wrapping_add(tile.layout.a_plain).cast();
        let b_plain: *mut f32 = tile.memory.wrapping_add(tile.layout.b_plain).cast();
        let kit = &self.kernels.f32;
        let all = TileArgs {
            tiles: 1,
            k: depth,
            a: a_plain,
            a_row: 1,
            a_depth: SIDE as isize,
            a_panel: 0,
            b: b_plain,
            b_depth: SIDE as isize,
            copy: ptr::null_mut(),
            c: sums,
            c_row: SIDE as isize,
            cols,
            alpha: 1.0,
            beta: 0.0,
        };
        // SAFETY: this function's contract; the layout has room for 32 by `depth` elements of each.
        unsafe {
            unpack(a, (self.parts, true), depth, a_plain, (1, SIDE));
            unpack(b, (self.parts, false), depth, b_plain, (1, SIDE));
            grid(kit, &all, rows, cols.div_ceil(kit.lanes));
        }
    }
}

/// A tile of C in one block of the depth, and the memory of who computes it.
#[derive(Clone, Copy, Debug)]
struct TileOf {
    row: usize,
    col: usize,
    block: usize,
    memory: *mut u8,
    layout: Layout,
}
