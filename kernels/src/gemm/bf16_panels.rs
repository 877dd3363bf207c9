//! An operand as panels of sums of bf16 numbers: packed once, for many products.

use aligned_vec::{AVec, ConstAlign};

use super::bf16_blocking::{depth_blocks, steps_of};
use super::bf16_pack::{Bf16PackArgs, GROUP, Magnitudes, PART_WORDS, SIDE};
use super::blocking::Split;
use super::tables::GemmKernels;
use crate::amx::tile::TILE_ALIGN;
use crate::bf16::Bf16Unit;
use crate::isa::Isa;
use crate::precision::Precision;
use crate::team::Team;
use crate::view::MatRef;

/// Elements that each member packs at least: some ten microseconds.
const CHUNK_LEN: usize = 1 << 15;

/// An operand, in place or packed before.
#[derive(Clone, Copy)]
pub(super) enum Bf16Factor<'a> {
    View(MatRef<'a>),
    Packed(&'a Bf16Panels),
}

/// All panels of one operand.
pub(super) struct Bf16Panels {
    pub(super) isa: Isa,
    pub(super) unit: Bf16Unit,
    kernels: &'static GemmKernels,
    pub(super) precision: Precision,
    pub(super) parts: usize,
    is_left: bool,
    /// Rows of A or columns of B.
    pub(super) len: usize,
    pub(super) k: usize,
    data: AVec<u32, ConstAlign<TILE_ALIGN>>,
    /// Those of all blocks of the depth of the first panel, then of the next.
    magnitudes: Vec<Magnitudes>,
}

/// Where panels are packed to, shared with the members of a team.
#[derive(Clone, Copy)]
struct Destination(*mut u32, *mut Magnitudes);

// SAFETY: each member writes panels of its own.
unsafe impl Send for Destination {}
// SAFETY: as above.
unsafe impl Sync for Destination {}

impl Destination {
    /// The addresses; a method, so that a closure borrows all of `self`.
    fn at(&self, words: usize, magnitudes: usize) -> (*mut u32, *mut Magnitudes) {
        (self.0.wrapping_add(words), self.1.wrapping_add(magnitudes))
    }
}

impl Bf16Panels {
    /// Packs an operand of which `from` has a column for each row of A or column of B.
    pub(super) fn new(
        (isa, kernels, unit): (Isa, &'static GemmKernels, Bf16Unit),
        (precision, parts): (Precision, usize),
        is_left: bool,
        from: MatRef<'_>,
    ) -> Self {
        let (k, len) = (from.rows(), from.cols());
        let panels = len.div_ceil(SIDE);
        let words = panels * k.div_ceil(SIDE) * parts * PART_WORDS;
        let mut all = Self {
            isa,
            unit,
            kernels,
            precision,
            parts,
            is_left,
            len,
            k,
            data: AVec::from_iter(TILE_ALIGN, std::iter::repeat_n(0, words)),
            magnitudes: vec![Magnitudes::NONE; panels * depth_blocks(k, parts).parts()],
        };
        all.fill(from, &Team::solo());
        all
    }

    /// Packs an operand of the shape that [`Self::new`] was given.
    pub(super) fn fill(&mut self, from: MatRef<'_>, team: &Team) {
        let (len, k) = (self.len, self.k);
        if len == 0 || k == 0 {
            return;
        }
        let depth = depth_blocks(k, self.parts);
        let (panel_words, unit_words) = (self.panel_words(), self.parts * PART_WORDS);
        let groups = len.div_ceil(SIDE * GROUP);
        let chunks = team.threads().min(len * k / CHUNK_LEN).clamp(1, groups);
        let pack = self.kernels.amx.pack[usize::from(self.is_left)][self.parts - 1];
        let to = Destination(self.data.as_mut_ptr(), self.magnitudes.as_mut_ptr());
        team.run(chunks, &|chunk, _| {
            let start = groups * chunk / chunks * GROUP * SIDE;
            let end = (groups * (chunk + 1) / chunks * GROUP * SIDE).min(len);
            for block in 0..depth.parts() {
                let (p, steps) = steps_of(depth, block, k);
                let panel = start / SIDE;
                let (dst, magnitudes) = to.at(
                    panel * panel_words + depth.start(block) * unit_words,
                    panel * depth.parts() + block,
                );
                let (across, along) = (from.col_stride(), from.row_stride());
                let args = Bf16PackArgs {
                    src: from
                        .as_ptr()
                        .wrapping_offset(start as isize * across + p as isize * along),
                    across,
                    along,
                    width: end - start,
                    depth: steps,
                    dst,
                    panel_words,
                    magnitudes,
                    magnitudes_step: depth.parts(),
                };
                // SAFETY: `Kernels` exist only for what this CPU has; the view has k rows and `len` columns;
                // `new` made room for all panels, of which each chunk has its own.
                unsafe { pack(&args) };
            }
        });
    }

    /// Words of a panel.
    fn panel_words(&self) -> usize {
        self.k.div_ceil(SIDE) * self.parts * PART_WORDS
    }

    /// Bytes of the copy.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.data) + size_of_val(&*self.magnitudes)
    }

    /// The panels from `panel` on, in one block of the depth.
    pub(super) fn block(&self, depth: Split, block: usize, panel: usize) -> PanelBlock {
        let panel_words = self.panel_words();
        let before = panel * panel_words + depth.start(block) * self.parts * PART_WORDS;
        PanelBlock {
            words: self.data.as_ptr().wrapping_add(before),
            panel_words,
            magnitudes: self
                .magnitudes
                .as_ptr()
                .wrapping_add(panel * depth.parts() + block),
            magnitudes_step: depth.parts(),
        }
    }
}

/// Panels, packed for one block of the depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct PanelBlock {
    pub(super) words: *const u32,
    pub(super) panel_words: usize,
    pub(super) magnitudes: *const Magnitudes,
    pub(super) magnitudes_step: usize,
}

impl PanelBlock {
    /// One of the panels, and its magnitudes.
    ///
    /// # Safety
    /// The panel is among those that were packed.
    #[inline]
    pub(super) unsafe fn panel(&self, panel: usize) -> (*const u32, Magnitudes) {
        // SAFETY: this function's contract.
        unsafe {
            (
                self.words.add(panel * self.panel_words),
                *self.magnitudes.add(panel * self.magnitudes_step),
            )
        }
    }
}
