//! How a product is cut: panels, blocks, and which operands are packed.
//!
//! All of it follows from the shape, the strides and the kernels of the instruction set, but for the
//! rows and columns of a block, which follow from the caches found. Where the depth is cut changes the
//! order of the sums and hence the bits; that depends on nothing else, never on the number of threads or
//! the caches.

use std::sync::OnceLock;

use std::ops::Range;

use super::tables::{HIGH, Kit};
use super::vector::Element;
use crate::cpu::{Caches, CpuInfo};

/// A length cut in parts that differ by at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    parts: usize,
    base: usize,
    extra: usize,
}

impl Split {
    /// The fewest parts of at most `max`; one empty part for a length of 0.
    pub(super) fn new(len: usize, max: usize) -> Self {
        if len <= max {
            return Self {
                parts: 1,
                base: len,
                extra: 0,
            };
        }
        let parts = len.div_ceil(max);
        Self {
            parts,
            base: len / parts,
            extra: len % parts,
        }
    }

    pub(super) fn parts(self) -> usize {
        self.parts
    }

    /// The longest part.
    pub(super) fn longest(self) -> usize {
        self.base + usize::from(self.extra > 0)
    }

    /// Where a part starts; the end of the last one for `part == parts`.
    pub(super) fn start(self, part: usize) -> usize {
        part * self.base + part.min(self.extra)
    }

    /// Length of a part.
    pub(super) fn len(self, part: usize) -> usize {
        self.base + usize::from(part < self.extra)
    }

    /// Some parts as two runs of the same length each, the longer parts first.
    pub(super) fn runs(self, parts: Range<usize>) -> [Range<usize>; 2] {
        let cut = self.extra.clamp(parts.start, parts.end);
        [parts.start..cut, cut..parts.end]
    }
}

/// How the operands of a product lie in memory, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The columns of A are contiguous, as in a weight gradient.
    pub(super) a_by_columns: bool,
    /// The rows of B are contiguous, as the micro-kernel reads them.
    pub(super) b_by_rows: bool,
}

impl Order {
    /// Both operands by rows.
    pub(super) const ROWS: Self = Self {
        a_by_columns: false,
        b_by_rows: true,
    };
}

/// How one product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocking {
    /// Row panels, in rows.
    pub(super) rows: Split,
    /// Column panels, in registers.
    pub(super) cols: Split,
    /// Blocks of the depth.
    pub(super) depth: Split,
    /// Row panels in an A block (mc).
    pub(super) row_panels: usize,
    /// Column panels in a B block (nc).
    pub(super) col_panels: usize,
    pub(super) pack_a: bool,
    pub(super) pack_b: bool,
}

/// What of one row (column) a block of A (B) holds at most, in bytes.
const LINE_BYTES: usize = KC * size_of::<f32>();

/// How many rows of A and columns of B a block has: what the caches hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CacheBlocks {
    /// mc
    rows: usize,
    /// nc
    cols: usize,
}

impl CacheBlocks {
    /// Those of the machine, looked up at the first call.
    fn get() -> Self {
        static BLOCKS: OnceLock<CacheBlocks> = OnceLock::new();
        *BLOCKS.get_or_init(|| Self::of(&CpuInfo::get().caches))
    }

    /// Three eighths of the second level for A, which leaves room for what streams by: a panel of B and
    /// the tiles of C. Beyond 144 rows nothing more was gained where the cache is larger. Half a
    /// thread's share of the third level for B, but not so little that A is packed again and again.
    fn of(caches: &Caches) -> Self {
        let share = |bytes: usize| bytes / LINE_BYTES;
        let cols = caches.l3.map_or(FEW_COLS, |l3| {
            share(l3.bytes / l3.shared_by.max(1) / 2).clamp(2 * FEW_COLS, MAX_COLS)
        });
        Self {
            rows: share(caches.l2.bytes / 8 * 3).clamp(48, MAX_ROWS),
            cols,
        }
    }
}

/// Bounds of [`CacheBlocks`].
const MAX_ROWS: usize = 144;
const FEW_COLS: usize = 768;
const MAX_COLS: usize = 4096;
/// Depth of a block when an operand is packed. C is read and written once per block: 512 was 2 to
/// 4 % faster than 384 and 256 at 512 and 1024 cubed.
const KC: usize = 512;
/// The same with registers narrower than a cache line, whose tiles go with first-level caches of 32 KiB:
/// two registers by 256 are half of that. 512 was as fast on a core of its own, but where a neighbour
/// used the same caches it was behind by 1 to 8 % at 512 cubed, 128 x 512 x 512 and 64 x 256 x 784.
const KC_NARROW: usize = 256;
/// No depth up to this one is cut.
pub(super) const UNCUT: usize = KC_NARROW;
/// Depth of a block when nothing is packed: the operands are small, C is cheaper left in registers.
pub(super) const KC_DIRECT: usize = 1024;
/// Up to so many rows of an A stored by rows, and elements of a B stored by rows, nothing is packed: too few
/// panels share a B, and too little of B comes by for A.
pub(super) const UNPACKED_ROWS: usize = (PACK_B_PANELS - 1) * HIGH;
pub(super) const UNPACKED_LEN: usize = EARLY_A_LEN - 1;
/// Multiply-adds from which packing A pays for itself: at 128 x 512 x 512 it costs 4 %, at 512 cubed
/// it brings as much.
const PACK_A_WORK: usize = 1 << 26;
/// Row panels from which B is packed: as often is each of its panels read.
const PACK_B_PANELS: usize = 8;
/// Elements from which B is packed for few rows too: it comes from memory, where long runs of a few
/// rows, as packing reads them, are faster than the short ones of a column panel.
const FAR_LEN: usize = 1 << 23;
/// Rows from which that pays for the copy: 8 to 24 rows by 3000 x 3000 gained 20 to 40 %.
const FAR_ROWS: usize = 8;
/// Bytes of the registers with which operands are packed late: high and wide tiles, as 32 registers of a
/// whole cache line allow, read each element rarely.
const LATE_BYTES: usize = 64;
/// With narrower registers: multiply-adds from which B is packed, with row panels enough. Each of 64, 128
/// and 256 rows gained from there on (1.1 to 1.4 times at 256 x 256 x 128), an A stored by columns from
/// half of that.
const EARLY_B_WORK: usize = 1 << 21;
/// And from which depth A is packed though B is not, if enough of B comes by: a panel of six rows is
/// then longer than the lines that a first-level cache has left in the sets of its stride.
const EARLY_A_DEPTH: usize = 512;
const EARLY_A_LEN: usize = 1 << 16;
/// And from how many columns A is packed beside B: if it is stored by columns, each step of the depth
/// being another line of which a tile uses six elements; or if its rows are far apart; from twice as many
/// and half the rows always; from a quarter as many if each step of the depth is in another page too.
const EARLY_A_COLS: usize = 256;
const EARLY_A_ROWS: usize = 128;
const FAR_DEPTH: usize = 1024;

/// Accumulators needed to keep the FMA units busy: latency 4 on 2 ports, with some slack.
const BUSY: usize = 10;

/// What is free to choose of a blocking, for the same result but for the order of its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Width of the micro-tile, in registers.
    pub(super) width: usize,
    /// Height of the micro-tile, in rows.
    pub(super) height: usize,
    pub(super) pack_a: bool,
    pub(super) pack_b: bool,
}

impl Blocking {
    /// The blocking of an `m x k` by `k x n` product.
    pub(super) fn choose<T: Element>(
        kit: &Kit<T>,
        (m, n, k): (usize, usize, usize),
        order: Order,
    ) -> Self {
        let (width, height) = tile_size(kit, m, n.div_ceil(kit.lanes));
        let panels = Split::new(m, height).parts();
        let (pack_a, pack_b) = if packs_late(kit) {
            packed_late((m, n, k), panels, order)
        } else {
            packed_early((m, n, k), panels, order)
        };
        let tiling = Tiling {
            width,
            height,
            pack_a,
            pack_b,
        };
        Self::of(kit, (m, n, k), tiling, order)
    }

    /// The blocking of an `m x k` by `k x n` product with the given tiles.
    pub(super) fn of<T: Element>(
        kit: &Kit<T>,
        (m, n, k): (usize, usize, usize),
        tiling: Tiling,
        order: Order,
    ) -> Self {
        let Tiling {
            width,
            height,
            pack_a,
            pack_b,
        } = tiling;
        let (rows, cols) = (
            Split::new(m, height),
            Split::new(n.div_ceil(kit.lanes), width),
        );
        // Of an A stored by columns a tile reads a line in each step, which the next tile reads again.
        let kc = match packs_late(kit) {
            true if pack_a || pack_b => KC,
            false if pack_a || pack_b || order.a_by_columns => KC_NARROW,
            _ => KC_DIRECT,
        };
        Self {
            rows,
            cols,
            depth: Split::new(k, kc),
            row_panels: 1,
            col_panels: 1,
            pack_a,
            pack_b,
        }
        .fit(kit.lanes)
    }

    /// As many panels in a block as the caches hold.
    fn fit(mut self, lanes: usize) -> Self {
        // Divisions are slow enough to show in the smallest products, which have one panel.
        if self.rows.parts() > 1 {
            self.row_panels = CacheBlocks::get().rows.div_ceil(self.rows.longest());
        }
        if self.cols.parts() > 1 {
            let registers = CacheBlocks::get().cols / lanes;
            self.col_panels = registers.div_ceil(self.cols.longest());
        }
        self
    }

    /// The same depth, and the tiles that fit column panels made before and packed.
    pub(super) fn with_columns<T: Element>(self, kit: &Kit<T>, m: usize, cols: Split) -> Self {
        let rows = Split::new(m, kit.families[cols.longest() - 1].len());
        Self {
            rows,
            cols,
            pack_b: false,
            ..self
        }
        .fit(kit.lanes)
    }

    /// The same depth, and the tiles that fit row panels made before and packed for tiles of `width`
    /// registers; columns that were made before stay as they are.
    pub(super) fn with_rows<T: Element>(
        self,
        kit: &Kit<T>,
        n: usize,
        rows: Split,
        width: usize,
        keep_cols: bool,
    ) -> Self {
        let cols = if keep_cols {
            self.cols
        } else {
            Split::new(n.div_ceil(kit.lanes), width)
        };
        Self {
            rows,
            cols,
            pack_a: false,
            ..self
        }
        .fit(kit.lanes)
    }

    /// Elements of the largest packed block of A, with one register to spare.
    pub(super) fn packed_a(&self, lanes: usize) -> usize {
        if !self.pack_a {
            return 0;
        }
        self.row_panels.min(self.rows.parts()) * self.rows.longest() * self.depth.longest() + lanes
    }

    /// Elements of the largest packed block of B, with one register to spare.
    pub(super) fn packed_b(&self, lanes: usize) -> usize {
        if !self.pack_b {
            return 0;
        }
        let panels = self.col_panels.min(self.cols.parts());
        panels * self.cols.longest() * lanes * self.depth.longest() + lanes
    }

    /// Elements of a row panel of a block of C.
    pub(super) fn row_panel(&self, lanes: usize) -> usize {
        let panels = self.col_panels.min(self.cols.parts());
        self.rows.longest() * panels * self.cols.longest() * lanes
    }
}

/// Elements of packed blocks and a row panel of C that no product of this shape or its transpose
/// exceeds, on any instruction set.
pub(super) fn packed_bound((m, n, k): (usize, usize, usize)) -> usize {
    /// `f32` in the widest register and in a cache line; more rows than any micro-tile has.
    const LANES: usize = 16;
    /// Registers that the widest micro-tile has.
    const REGISTERS: usize = 4;
    // Even panels are together longer than what they cover, by less than one of the highest or
    // widest: the last register is rounded up, and so is the last panel.
    let blocks = CacheBlocks::get();
    let rows = |m: usize| m.min(blocks.rows) + LANES;
    let cols = |n: usize| n.min(blocks.cols) + REGISTERS * LANES;
    let packed = (rows(m) + cols(n)).max(rows(n) + cols(m)) * k.min(KC);
    // One register to spare behind each block, and each starts at a cache line.
    packed + m.min(LANES) * cols(n) + 4 * LANES
}

/// Whether operands are packed late.
pub(super) fn packs_late<T>(kit: &Kit<T>) -> bool {
    kit.lanes * size_of::<T>() >= LATE_BYTES
}

/// Whether A and B are packed, with registers of a cache line; A has so many row panels.
fn packed_late((m, n, k): (usize, usize, usize), panels: usize, order: Order) -> (bool, bool) {
    let b_len = n.saturating_mul(k);
    let pack_b = !order.b_by_rows
        || (panels >= PACK_B_PANELS && b_len >= 64 * 1024)
        || (m >= FAR_ROWS && b_len >= FAR_LEN);
    let work = m.saturating_mul(b_len);
    (pack_b && n > 128 && work > PACK_A_WORK, pack_b)
}

/// Whether A and B are packed, with narrower registers.
fn packed_early((m, n, k): (usize, usize, usize), panels: usize, order: Order) -> (bool, bool) {
    let b_len = n.saturating_mul(k);
    let work = m.saturating_mul(b_len);
    let enough = if order.a_by_columns {
        EARLY_B_WORK / 2
    } else {
        EARLY_B_WORK
    };
    // Up to two registers of columns are a panel as they are.
    let pack_b = !order.b_by_rows
        || (panels >= PACK_B_PANELS && n >= 32 && work >= enough)
        || (m >= FAR_ROWS && b_len >= FAR_LEN);
    let pack_a = if pack_b {
        let far = order.a_by_columns && m >= EARLY_A_ROWS || k >= FAR_DEPTH;
        let apart = order.a_by_columns && m >= FAR_DEPTH && n >= EARLY_A_COLS / 4;
        let often =
            apart || n >= EARLY_A_COLS && far || n >= 2 * EARLY_A_COLS && m >= EARLY_A_ROWS / 2;
        often || n > 128 && work > PACK_A_WORK
    } else {
        m >= FAR_ROWS && k >= EARLY_A_DEPTH && b_len >= EARLY_A_LEN
    };
    (pack_a, pack_b)
}

/// Width (in registers) and height of the micro-tile for C of `m` rows and `registers` across.
///
/// The count of multiply-adds is the same for all; what differs is how often a register of A or B
/// is loaded, and the tiles too small to keep the units busy. Both are counted per step of the
/// depth, in tenths of a multiply-add; a register of B comes from the second-level cache and counts
/// three times an element of A.
fn tile_size<T>(kit: &Kit<T>, m: usize, registers: usize) -> (usize, usize) {
    if let Some(family) = kit.families.get(registers - 1)
        && m <= family.len()
    {
        return (registers, m);
    }
    let cost = |nv: usize, mr: usize| {
        let (rows, cols) = (m.div_ceil(mr), registers.div_ceil(nv));
        let loads = m * cols + 3 * registers * rows;
        let idle = (rows * cols * BUSY).saturating_sub(m * registers);
        loads + 10 * idle
    };
    (1..=kit.families.len())
        .map(|nv| (nv, kit.families[nv - 1].len()))
        .filter(|&(_, mr)| mr >= HIGH)
        .min_by_key(|&(nv, mr)| cost(nv, mr))
        .unwrap_or((1, 1))
}

#[cfg(test)]
mod tests {
    use super::super::tables::GemmKernels;
    use super::*;
    use crate::cpu::Cache;
    use crate::isa::Isa;

    #[test]
    fn no_product_packs_more_than_the_bound() {
        const LINE: usize = 16;
        let sizes = [
            1, 2, 5, 15, 16, 29, 33, 49, 97, 130, 145, 160, 290, 1537, 4096,
        ];
        for isa in Isa::ALL {
            let kit = &GemmKernels::of(isa).f32;
            for (m, n) in sizes.into_iter().flat_map(|m| sizes.map(|n| (m, n))) {
                for k in [1, 50, 385, 700] {
                    for (a_by_columns, b_by_rows) in
                        [(false, false), (false, true), (true, false), (true, true)]
                    {
                        let order = Order {
                            a_by_columns,
                            b_by_rows,
                        };
                        let blocking = Blocking::choose(kit, (m, n, k), order);
                        let packed = blocking.packed_a(kit.lanes).next_multiple_of(LINE)
                            + blocking.packed_b(kit.lanes);
                        for shape in [(m, n, k), (n, m, k)] {
                            assert!(
                                packed <= packed_bound(shape),
                                "{isa}: {shape:?}, {blocking:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn few_rows_with_a_short_b_are_not_packed() {
        for isa in Isa::ALL {
            let kit = &GemmKernels::of(isa).f32;
            for (m, n) in [(UNPACKED_ROWS, 31), (UNPACKED_ROWS, 63), (7, 255), (2, 63)] {
                for k in [257, 512, 1024] {
                    let blocking = Blocking::choose(kit, (m, n, k), Order::ROWS);
                    if n * k <= UNPACKED_LEN {
                        assert!(!blocking.pack_a && !blocking.pack_b, "{isa}: {m}, {n}, {k}");
                        assert_eq!(blocking.depth.parts(), 1);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_follow_the_caches() {
        let caches = |l2_kib: usize, l3: Option<(usize, usize)>| {
            let cache = |bytes, shared_by| Cache { bytes, shared_by };
            Caches {
                l1d: cache(32 << 10, 1),
                l2: cache(l2_kib << 10, 1),
                l3: l3.map(|(mib, shared_by)| cache(mib << 20, shared_by)),
            }
        };
        for (caches, rows, cols) in [
            (Caches::default(), 48, 768),
            (caches(512, Some((32, 2))), 96, 4096),
            (caches(1024, Some((32, 16))), 144, 1536),
            (caches(2048, Some((105, 16))), 144, 1680),
            // A faulty hypervisor.
            (caches(0, Some((0, 0))), 48, 1536),
        ] {
            assert_eq!(CacheBlocks::of(&caches), CacheBlocks { rows, cols });
        }
    }

    #[test]
    fn parts_cover_the_length_evenly() {
        for len in 0..200 {
            for max in 1..20 {
                let split = Split::new(len, max);
                let mut end = 0;
                for part in 0..split.parts() {
                    assert_eq!(split.start(part), end, "{len} by {max}");
                    assert!(split.len(part) <= max && split.len(part) + 1 >= split.longest());
                    end += split.len(part);
                }
                assert_eq!(end, len);
                assert_eq!(split.start(split.parts()), len);
                assert_eq!(split.parts(), len.div_ceil(max).max(1));
                for start in 0..=split.parts() {
                    let [long, short] = split.runs(start..split.parts());
                    assert_eq!((long.start, short.end), (start, split.parts()));
                    assert_eq!(long.end, short.start);
                    assert!(
                        long.into_iter()
                            .all(|part| split.len(part) == split.longest())
                    );
                    assert!(
                        short
                            .into_iter()
                            .all(|part| split.len(part) == len / split.parts())
                    );
                }
            }
        }
    }
}
