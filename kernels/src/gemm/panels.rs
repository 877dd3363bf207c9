//! Panels of an operand: a strip across C for the micro-kernel, in place or packed.

use std::ops::Range;

use super::blocking::Split;
use super::pack::PackArgs;
use super::tables::Kit;

/// An operand by panels: where it starts, and its strides across and along the depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand<T> {
    pub(super) ptr: *const T,
    pub(super) across: isize,
    pub(super) along: isize,
    /// Packed panels lie behind one another instead of beside one another.
    pub(super) packed: Option<Packed>,
}

/// Which part of packed panels is meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// Depth of each panel in memory.
    pub(super) depth: usize,
    /// First step of the depth that is meant.
    pub(super) skip: usize,
}

impl<T> Operand<T> {
    /// Whole packed panels.
    pub(super) fn packed(ptr: *const T, depth: usize) -> Self {
        Self {
            ptr,
            across: 1,
            along: 0,
            packed: Some(Packed { depth, skip: 0 }),
        }
    }

    /// The panel that starts `start` elements across, is `width` wide, and follows `before` packed
    /// elements per step of the depth: its first element, and its strides across and along.
    pub(super) fn panel(
        &self,
        start: usize,
        before: usize,
        width: usize,
    ) -> (*const T, isize, isize) {
        match self.packed {
            Some(Packed { depth, skip }) => {
                let ptr = self.ptr.wrapping_add(before * depth + skip * width);
                (ptr, 1, width as isize)
            }
            None => (
                self.ptr.wrapping_offset(start as isize * self.across),
                self.across,
                self.along,
            ),
        }
    }
}

/// How an operand is cut across: `split` counts in `unit`s, the operand has `len` elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) split: Split,
    pub(super) unit: usize,
    pub(super) len: usize,
}

/// Steps of the depth for which all panels of a row-major operand are packed before the next: as many
/// rows are read side by side, each in one long run that the hardware fetches ahead, instead of a
/// few cache lines of each long row. Prefetching the next rows by hand brought nothing more.
const ROW_STEPS: usize = 16;

/// Packs the panels `panels` of an operand that is not packed, each `depth` deep.
///
/// # Safety
/// The CPU has the kit's instruction set; the operand can be read in these panels; the buffer holds
/// them and one register more.
pub(super) unsafe fn pack<T>(
    kit: &Kit<T>,
    from: Operand<T>,
    cut: Cut,
    panels: Range<usize>,
    depth: usize,
    buffer: *mut T,
) -> Operand<T> {
    let Cut { split, unit, len } = cut;
    let first = split.start(panels.start) * unit;
    if from.across == 1 && unit == 1 {
        for run in split.runs(panels) {
            let (start, width) = (split.start(run.start), split.len(run.start));
            let args = PackArgs {
                src: from.ptr.wrapping_add(start),
                across: 1,
                along: from.along,
                width,
                depth,
                dst: buffer.wrapping_add((start - first) * depth),
                ld: width,
                panels: run.len(),
                to_next: width * depth,
            };
            if !run.is_empty() {
                // SAFETY: the panels lie in the operand, and nothing is written behind them.
                unsafe { (kit.pack)(&args) };
            }
        }
        return Operand::packed(buffer, depth);
    }
    // Panels of whole registers spill nothing, so that they need not be packed one after another.
    let steps = if from.across == 1 && unit == kit.lanes {
        ROW_STEPS
    } else {
        depth.max(1)
    };
    for p in (0..depth).step_by(steps) {
        for panel in panels.clone() {
            let (start, ld) = (split.start(panel) * unit, split.len(panel) * unit);
            let args = PackArgs {
                src: from
                    .ptr
                    .wrapping_offset(start as isize * from.across + p as isize * from.along),
                across: from.across,
                along: from.along,
                width: ld.min(len - start),
                depth: steps.min(depth - p),
                dst: buffer.wrapping_add((start - first) * depth + p * ld),
                ld,
                panels: 1,
                to_next: 0,
            };
            // SAFETY: the panel lies in the operand; other panels are packed whole and in ascending
            // order, so what one spills is written by the next, and the last one has a register to
            // spare.
            unsafe { (kit.pack)(&args) };
        }
    }
    Operand::packed(buffer, depth)
}

/// As [`pack`], but nothing is written behind the last panel, whose neighbour someone else may be
/// packing.
///
/// # Safety
/// As [`pack`], without the spare register; the depth is at least two registers.
pub(super) unsafe fn pack_within<T: Copy>(
    kit: &Kit<T>,
    from: Operand<T>,
    cut: Cut,
    panels: Range<usize>,
    depth: usize,
    buffer: *mut T,
) {
    debug_assert!(depth >= 2 * kit.lanes);
    let Cut { split, unit, .. } = cut;
    if unit == kit.lanes {
        // Whole registers spill nothing.
        // SAFETY: this function's contract.
        unsafe { pack(kit, from, cut, panels, depth, buffer) };
        return;
    }
    let last = panels.end - 1;
    let (start, width) = (split.start(last) * unit, split.len(last) * unit);
    let last_buffer = buffer.wrapping_add((start - split.start(panels.start) * unit) * depth);
    // The steps of the last panel that a register could spill out of are copied one by one, after
    // all that spills into them.
    let rest = depth - kit.lanes.div_ceil(width);
    // SAFETY: this function's contract: what a panel spills falls into the next, and what the last one
    // spills into its own rest, which has at least a register of elements.
    unsafe {
        pack(kit, from, cut, panels.start..last, depth, buffer);
        pack(kit, from, cut, last..panels.end, rest, last_buffer);
        for p in rest..depth {
            for i in 0..width {
                let at = (start + i) as isize * from.across + p as isize * from.along;
                *last_buffer.add(p * width + i) = *from.ptr.wrapping_offset(at);
            }
        }
    }
}
