//! How products on the matrix unit are cut, and which they are.
//!
//! As in `blocking`, the blocks of the depth follow from the shape alone: they decide the order of the sums.

use super::amx_kernel::SUMS;
use super::bf16_pack::{GROUP, Magnitudes, PART_WORDS, SIDE};
use super::blocking::Split;
use crate::bf16::Bf16Unit;
use crate::precision::Precision;

/// Units of 32 steps of the depth in a block, at most: two panels of one part are 32 KiB then, which a
/// first-level cache holds. No chain of sums in the tiles is longer.
pub(super) const SHALLOW: usize = 8;
/// With three parts, whose panels come from the second level either way: the sums of two chains are added
/// to each other, and then to C. Added to C one by one, the largest errors of long sums were up to 1.4 times
/// those of multiply-adds; so they were with chains of this length, on numbers over twenty powers of ten.
const DEEP: usize = 16;
/// Bytes of a packed block of B at most, half of a second-level cache of 2 MiB.
const B_BYTES: usize = 1 << 20;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Rows and columns below which no product of views is computed by a unit for bf16 numbers.
pub(super) const LEAST_SIDE: usize = 32;

/// How exact a product of views is that was asked to be at least as exact as `asked`.
///
/// The unit is taken where it is faster than multiply-adds, packing included. On the matrix unit with three
/// parts that is from some 96 cubed on and with more than 32 rows and columns, with fewer parts earlier; dot
/// products gain what three parts on the matrix unit do, a factor below two. What panels of 32 are wider and
/// deeper than the product counts as work.
pub(super) fn effective(
    unit: Bf16Unit,
    asked: Precision,
    (m, n, k): (usize, usize, usize),
) -> Precision {
    if !unit.serves(asked) {
        return Precision::Ieee;
    }
    // Least rows and columns, least multiply-adds, and of padded work to work at most, in quarters.
    let (least, work, quarters) = match asked {
        Precision::Medium if unit != Bf16Unit::Dot => (LEAST_SIDE, 1 << 17, 12),
        Precision::High => (LEAST_SIDE, 1 << 18, 8),
        _ => (LEAST_SIDE + 1, 1 << 19, 5),
    };
    let volume = |m: usize, n: usize, k: usize| m as u128 * n as u128 * k as u128;
    let padded = volume(
        m.next_multiple_of(SIDE),
        n.next_multiple_of(SIDE),
        k.next_multiple_of(SIDE),
    );
    let real = volume(m, n, k);
    if m.min(n) >= least && k >= SIDE && real >= work && 4 * padded <= quarters * real {
        asked
    } else {
        Precision::Ieee
    }
}

/// How many bf16 numbers stand for an f32; `None` for a precision that is for multiply-adds.
pub(super) fn parts_of(precision: Precision) -> Option<usize> {
    match precision {
        Precision::Medium => Some(1),
        Precision::High => Some(2),
        Precision::Highest => Some(3),
        Precision::Ieee => None,
    }
}

/// The blocks of a depth of k, in units of 32 steps.
pub(super) fn depth_blocks(k: usize, parts: usize) -> Split {
    let most = if parts == 3 { DEEP } else { SHALLOW };
    Split::new(k.div_ceil(SIDE), most)
}

/// Steps of a block of the depth: its first one, and how many.
pub(super) fn steps_of(depth: Split, block: usize, k: usize) -> (usize, usize) {
    let start = depth.start(block) * SIDE;
    (start, (k - start).min(depth.len(block) * SIDE))
}

/// Places in the memory of a member, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Sums, those of a further chain, and room for a tile of a C of other strides.
    pub(super) sums: usize,
    pub(super) chain: usize,
    pub(super) tile: usize,
    /// Panels as f32, for multiply-adds.
    pub(super) a_plain: usize,
    pub(super) b_plain: usize,
    pub(super) a: usize,
    pub(super) a_magnitudes: usize,
    pub(super) b: usize,
    pub(super) b_magnitudes: usize,
    pub(super) bytes: usize,
}

impl Layout {
    /// For blocks of so many units of 32 steps and column panels.
    pub(super) fn new(parts: usize, units: usize, col_panels: usize) -> Self {
        let mut bytes = 0;
        let mut next = |len: usize| {
            let at = bytes;
            bytes = (at + len).next_multiple_of(LINE);
            at
        };
        let (plain, panel) = (units * SIDE * SIDE * 4, units * parts * PART_WORDS * 4);
        let magnitudes = size_of::<Magnitudes>();
        Self {
            sums: next(SUMS * 4),
            chain: next(SUMS * 4),
            tile: next(SUMS * 4),
            a_plain: next(plain),
            b_plain: next(plain),
            a: next(GROUP * panel),
            a_magnitudes: next(GROUP * magnitudes),
            b: next(col_panels * panel),
            b_magnitudes: next(col_panels * magnitudes),
            bytes,
        }
    }
}

/// Bytes of the memory of a member that no product of this shape or its transpose exceeds.
pub(super) fn bf16_bound((m, n, k): (usize, usize, usize)) -> usize {
    if m == 0
        || n == 0
        || k == 0
        || effective(Bf16Unit::Amx, Precision::Medium, (m, n, k)) == Precision::Ieee
    {
        return 0;
    }
    let of = |parts: usize, n: usize| {
        let units = depth_blocks(k, parts).longest();
        Layout::new(parts, units, col_panels(parts, units, n).longest()).bytes
    };
    (1..=3)
        .map(|parts| of(parts, m).max(of(parts, n)))
        .max()
        .unwrap_or(0)
}

/// The blocks of columns, in panels.
pub(super) fn col_panels(parts: usize, units: usize, n: usize) -> Split {
    let panel_bytes = (units * parts * PART_WORDS * 4).max(1);
    Split::new(n.div_ceil(SIDE), B_BYTES / panel_bytes)
}
