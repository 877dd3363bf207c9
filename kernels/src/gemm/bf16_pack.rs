//! Packing for the matrix unit: f32 numbers become sums of bf16 numbers in the order in which tiles read
//! them.
//!
//! A panel is 32 rows of A or columns of B; 32 steps of its depth are one block of memory:
//!
//! ```text
//! [part of the sum][first or last 16 rows (columns)][tile of 16 x 16 pairs]
//! A: tile(i, r), B: tile(r, j); pair r = steps r and r + 16
//! ```
//!
//! Pairs of steps that are 16 apart, instead of neighbours, are made of two registers by a shift and an
//! OR. Where rows of the tile run across what is contiguous in memory, it is transposed afterwards. What the
//! panel lacks of 32 is zero.
//!
//! The smallest and largest magnitude of a panel are found on the way: they decide whether its products
//! can be sums of bf16 products.

use std::marker::PhantomData;

use super::vector::{Job, Lane, Level, Vector, prefetch};
use crate::amx::tile::TILE_WORDS;
use crate::bf16;

/// Rows or columns of a panel, and steps of the depth of a block.
pub(super) const SIDE: usize = 32;
/// Words of one part of 32 steps of a panel.
pub(super) const PART_WORDS: usize = 2 * TILE_WORDS;
/// Rows of a tile; pairs of its rows.
const TILE: usize = 16;
/// Panels that are packed together where neighbours across are neighbours in memory: 512 bytes of each step
/// are read at once. With 128 bytes the time of packing was that of waiting for lines.
pub(super) const GROUP: usize = 4;

/// Magnitudes below which a number loses parts that are denormal, biased exponent: 2^-100.
const TINY: u32 = 127 - 100;
/// Biased exponent from which a rounded number may be infinite.
const HUGE: u32 = 254;
/// Sum of biased exponents below which parts of a product, 2^-30 of it and smaller, may be flushed to zero.
const TINY_PRODUCT: u32 = 2 * 127 - 96;

/// The range of the magnitudes in a panel, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magnitudes {
    /// The smallest that is not zero, less 1; the largest number if there is none.
    low: u32,
    high: u32,
}

impl Magnitudes {
    pub(super) const NONE: Self = Self {
        low: u32::MAX,
        high: 0,
    };

    /// Whether the panel holds what no sum of bf16 numbers can stand for: it is packed raw then.
    pub(super) fn is_special(self) -> bool {
        self.low >> 23 < TINY || self.high >> 23 >= HUGE
    }

    /// Whether products of numbers of two such panels are those of multiply-adds, to within their errors.
    pub(super) fn multiplies_with(self, other: Self) -> bool {
        let special = self.is_special() || other.is_special();
        !special && (self.low >> 23) + (other.low >> 23) >= TINY_PRODUCT
    }
}

/// Some panels and where they come from: `src(i, p) = src[i * across + p * along]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bf16PackArgs {
    pub(super) src: *const f32,
    /// Distance of neighbours across the panels.
    pub(super) across: isize,
    /// Distance of neighbours along the depth.
    pub(super) along: isize,
    /// Rows or columns, at least 1: all panels but the last have 32.
    pub(super) width: usize,
    pub(super) depth: usize,
    pub(super) dst: *mut u32,
    /// Words from one panel to the next.
    pub(super) panel_words: usize,
    /// One for each panel.
    pub(super) magnitudes: *mut Magnitudes,
    /// From one panel's to the next one's.
    pub(super) magnitudes_step: usize,
}

/// Packs panels.
///
/// # Safety
/// The CPU has the instruction set; `src(i, p)` can be read for `i < width`, `p < depth`; for each panel
/// its parts of `depth / 32`, rounded up, blocks can be written at `dst`, and its magnitudes.
pub(super) type Bf16PackFn = unsafe fn(&Bf16PackArgs);

/// Packs `[B, A]` in `[1, 2, 3]` parts.
pub(super) type Bf16PackFns = [[Bf16PackFn; 3]; 2];

pub(super) const fn bf16_pack_fns<L: Level>() -> Bf16PackFns {
    [
        [
            L::run::<Pack<1, false>>,
            L::run::<Pack<2, false>>,
            L::run::<Pack<3, false>>,
        ],
        [
            L::run::<Pack<1, true>>,
            L::run::<Pack<2, true>>,
            L::run::<Pack<3, true>>,
        ],
    ]
}

struct Pack<const PARTS: usize, const LEFT: bool>(PhantomData<()>);

impl<const PARTS: usize, const LEFT: bool> Job for Pack<PARTS, LEFT> {
    type Args = Bf16PackArgs;

    #[inline(always)]
    unsafe fn run<L: Level>(t: &Bf16PackArgs) {
        let panels = t.width.div_ceil(SIDE);
        for first in (0..panels).step_by(GROUP) {
            let count = GROUP.min(panels - first);
            // SAFETY: the contract of `Bf16PackFn`; the panels of the group are among those.
            unsafe {
                let seen = group::<<f32 as Lane>::Of<L>, PARTS, LEFT, false>(t, first, count);
                for (panel, seen) in (first..).zip(&seen[..count]) {
                    if seen.is_special() {
                        group::<<f32 as Lane>::Of<L>, PARTS, LEFT, true>(t, panel, 1);
                    }
                    *t.magnitudes.add(panel * t.magnitudes_step) = *seen;
                }
            }
        }
    }
}

/// Some panels; their magnitudes.
///
/// # Safety
/// As [`Bf16PackFn`]; `first + count` is at most the number of panels, `count` at most [`GROUP`].
#[inline(always)]
unsafe fn group<V: Vector<Elem = f32>, const PARTS: usize, const LEFT: bool, const RAW: bool>(
    t: &Bf16PackArgs,
    first: usize,
    count: usize,
) -> [Magnitudes; GROUP] {
    let mut seen = [Magnitudes::NONE; GROUP];
    let (blocks, units) = (t.depth.div_ceil(SIDE), 2 * count);
    // Along what is contiguous first. One loop, so that its body is compiled once, and in here.
    for n in 0..blocks * units {
        let (unit, block) = if t.along == 1 {
            (n / blocks, n % blocks)
        } else {
            (n % units, n / units)
        };
        // One half of one block of a panel.
        let (panel, half) = (first + unit / 2, unit % 2);
        let (i, p) = (panel * SIDE + half * TILE, block * SIDE);
        let before = panel * t.panel_words + block * PARTS * PART_WORDS + half * TILE_WORDS;
        let from = t
            .src
            .wrapping_offset(i as isize * t.across + p as isize * t.along);
        let size = (t.width.saturating_sub(i).min(TILE), (t.depth - p).min(SIDE));
        let (strides, to, seen) = (
            (t.across, t.along),
            t.dst.wrapping_add(before),
            &mut seen[unit / 2],
        );
        // SAFETY: this function's contract.
        unsafe { half_block::<V, PARTS, LEFT, RAW>(from, strides, size, to, seen) };
    }
    seen
}

/// 16 rows (columns) by 32 steps, in cache lines.
#[repr(align(64))]
struct Copy([f32; TILE * SIDE]);

/// Tiles that are to be transposed.
#[repr(align(64))]
struct Aside<const PARTS: usize>([[u32; TILE_WORDS]; PARTS]);

/// `rows` by `depth` numbers as a tile for each part, 16 x 32 with zeros.
///
/// # Safety
/// As [`Bf16PackFn`], for these numbers and tiles.
#[inline(always)]
unsafe fn half_block<
    V: Vector<Elem = f32>,
    const PARTS: usize,
    const LEFT: bool,
    const RAW: bool,
>(
    mut src: *const f32,
    (mut across, mut along): (isize, isize),
    (rows, depth): (usize, usize),
    dst: *mut u32,
    seen: &mut Magnitudes,
) {
    let mut copy = Copy([0.0; TILE * SIDE]);
    // Numbers that are not there must be zero, and what is nowhere contiguous is made so.
    if rows < TILE || depth < SIDE || (across != 1 && along != 1) {
        for i in 0..rows {
            for p in 0..depth {
                // SAFETY: this function's contract.
                copy.0[i * SIDE + p] =
                    unsafe { *src.offset(i as isize * across + p as isize * along) };
            }
        }
        (src, across, along) = (copy.0.as_ptr(), SIDE as isize, 1);
    }
    let by_depth = along == 1;
    let (step, apart) = if by_depth {
        (across, 1)
    } else {
        (along, along)
    };
    let mut aside = Aside([[0; TILE_WORDS]; PARTS]);
    let (to, part_words) = if by_depth == LEFT {
        (dst, PART_WORDS)
    } else {
        (aside.0.as_mut_ptr().cast(), TILE_WORDS)
    };
    let (mut low, mut high) = ([u32::MAX; TILE], [0; TILE]);
    for s in 0..TILE {
        let at = src.wrapping_offset(s as isize * step);
        // SAFETY: this function's contract: 16 numbers that are neighbours in memory, and those of the steps
        // 16 further on; each part has the words of a tile.
        unsafe {
            let first: [f32; TILE] = *at.cast();
            let second: [f32; TILE] = *at.wrapping_offset(TILE as isize * apart).cast();
            if !by_depth {
                // Their successors, 32 steps on.
                let soon = at.wrapping_offset(SIDE as isize * along);
                prefetch(soon);
                prefetch(soon.wrapping_offset(TILE as isize * along));
            }
            for numbers in [&first, &second] {
                for ((x, low), high) in numbers.iter().zip(&mut low).zip(&mut high) {
                    let magnitude = x.to_bits() & 0x7fff_ffff;
                    // Zero becomes the largest number.
                    *low = magnitude.wrapping_sub(1).min(*low);
                    *high = magnitude.max(*high);
                }
            }
            let words = pairs::<PARTS, RAW>(&first, &second);
            for (part, words) in words.iter().enumerate() {
                *to.add(part * part_words + s * TILE).cast() = *words;
            }
        }
    }
    for (low, high) in low.into_iter().zip(high) {
        seen.low = seen.low.min(low);
        seen.high = seen.high.max(high);
    }
    if by_depth != LEFT {
        for (part, words) in aside.0.iter().enumerate() {
            // SAFETY: this function's contract: the tile of the part can be written.
            unsafe { transpose::<V>(words, dst.add(part * PART_WORDS)) };
        }
    }
}

/// The parts of 16 pairs of numbers.
#[inline(always)]
fn pairs<const PARTS: usize, const RAW: bool>(
    first: &[f32; TILE],
    second: &[f32; TILE],
) -> [[u32; TILE]; PARTS] {
    let mut words = [[0; TILE]; PARTS];
    for (j, (&first, &second)) in first.iter().zip(second).enumerate() {
        let (x, y): ([u32; PARTS], [u32; PARTS]) = if RAW {
            (bf16::split_raw(first), bf16::split_raw(second))
        } else {
            (bf16::split(first), bf16::split(second))
        };
        for (words, (x, y)) in words.iter_mut().zip(x.into_iter().zip(y)) {
            words[j] = x >> 16 | y;
        }
    }
    words
}

/// `dst(c, r) = words(r, c)`
///
/// # Safety
/// A tile can be written at `dst`; the CPU has the instruction set.
#[inline(always)]
unsafe fn transpose<V: Vector<Elem = f32>>(words: &[u32; TILE_WORDS], dst: *mut u32) {
    if V::LANES < 8 {
        for r in 0..TILE {
            for c in 0..TILE {
                // SAFETY: this function's contract.
                unsafe { *dst.add(c * TILE + r) = words[r * TILE + c] };
            }
        }
        return;
    }
    for r in (0..TILE).step_by(V::LANES) {
        for c in (0..TILE).step_by(V::LANES) {
            // SAFETY: this function's contract; the registers move bits as they are.
            unsafe {
                V::transpose(
                    words.as_ptr().add(r * TILE + c).cast(),
                    TILE as isize,
                    V::LANES,
                    dst.add(c * TILE + r).cast(),
                    TILE,
                );
            }
        }
    }
}

/// The numbers that a panel was packed from, as near as its parts say: `out[i * across + p * along]` for
/// `p < depth`.
///
/// # Safety
/// The panel can be read, `depth` steps of it; 32 by `depth` elements can be written.
pub(super) unsafe fn unpack(
    (panel, magnitudes): (*const u32, Magnitudes),
    (parts, is_left): (usize, bool),
    depth: usize,
    out: *mut f32,
    (across, along): (usize, usize),
) {
    // SAFETY: this function's contract.
    unsafe {
        match parts {
            1 => unpack_parts::<1>(panel, magnitudes, is_left, depth, out, (across, along)),
            2 => unpack_parts::<2>(panel, magnitudes, is_left, depth, out, (across, along)),
            _ => unpack_parts::<3>(panel, magnitudes, is_left, depth, out, (across, along)),
        }
    }
}

/// # Safety
/// As [`unpack`].
unsafe fn unpack_parts<const PARTS: usize>(
    panel: *const u32,
    magnitudes: Magnitudes,
    is_left: bool,
    depth: usize,
    out: *mut f32,
    (across, along): (usize, usize),
) {
    let is_raw = magnitudes.is_special();
    for i in 0..SIDE {
        for p in 0..depth {
            let (block, step) = (p / SIDE, p % SIDE);
            let (pair, is_second) = (step % TILE, step >= TILE);
            let (half, i_tile) = (i / TILE, i % TILE);
            let word = if is_left {
                i_tile * TILE + pair
            } else {
                pair * TILE + i_tile
            };
            let at = block * PARTS * PART_WORDS + half * TILE_WORDS + word;
            let mut bits = [0; PARTS];
            for (part, bits) in bits.iter_mut().enumerate() {
                // SAFETY: this function's contract.
                let pair = unsafe { *panel.add(at + part * PART_WORDS) };
                *bits = if is_second {
                    pair & 0xffff_0000
                } else {
                    pair << 16
                };
            }
            let x = if is_raw {
                bf16::join_raw(bits)
            } else {
                bf16::join(bits)
            };
            // SAFETY: this function's contract.
            unsafe { *out.add(i * across + p * along) = x };
        }
    }
}
