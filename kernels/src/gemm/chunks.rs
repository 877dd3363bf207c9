//! Which part of C each member of a team computes.
//!
//! Each element of C is summed by one member, or by several whose parts are added in the order of the
//! depth (`partial`): neither depends on the cut, so the cut may follow the number of threads without
//! changing a bit.

use std::ops::Range;

/// Work that each member has at least, in the units of [`work`]: some five microseconds. With 2^17 the
/// training steps of a 17-64-64-6 network took 1.2 times as long on two threads as on one: what a member
/// computes, another reads next, and the lines have to move between their caches.
const CHUNK_WORK: usize = 1 << 18;
/// What an element of C costs beside its sum, in multiply-adds: it is read or written, and what follows
/// the sum is done to it. With 32, updates of 128 x 128 weights by batches of 1 and 8 were shared, and steps of
/// such networks took up to 1.06 times as long on two threads.
const ELEMENT: usize = 16;
/// Columns that a row of C costs at least: those of a register.
const MIN_COLS: usize = 8;
/// What an element of an operand costs each member that packs it, in multiply-adds: about a cycle.
const PACK: usize = 12;
/// What it costs each member that reads it in place, from a cache that others read too.
const READ: usize = 2;

/// The work of an `m x n x k` product, in multiply-adds and what takes as long.
fn work((m, n, k): (usize, usize, usize)) -> usize {
    let elements = m.saturating_mul(n.max(MIN_COLS));
    elements.saturating_mul(k.saturating_add(ELEMENT))
}

/// The parts of C that are computed by themselves: a grid over its panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    row_panels: usize,
    col_panels: usize,
    down: usize,
    across: usize,
}

impl Chunks {
    /// A chunk for each member, from an `m x n` matrix of so many row and column panels, the product of
    /// operands that are packed or not: as the largest chunk is computed and its part of the operands read
    /// soonest.
    pub(super) fn new(
        members: usize,
        (m, n): (usize, usize),
        (row_panels, col_panels): (usize, usize),
        (pack_a, pack_b): (bool, bool),
    ) -> Self {
        let of_operand = |packed| if packed { PACK } else { READ };
        let cut = |down: usize| {
            let down = down.min(row_panels);
            let across = (members / down).min(col_panels);
            Self {
                row_panels,
                col_panels,
                down,
                across,
            }
        };
        let cost = |chunks: &Self| {
            let largest = |len: usize, panels: usize, parts: usize| {
                (panels.div_ceil(parts) * len.div_ceil(panels)).min(len)
            };
            let rows = largest(m, row_panels, chunks.down);
            let cols = largest(n, col_panels, chunks.across);
            let operands = rows * of_operand(pack_a) + cols * of_operand(pack_b);
            rows.saturating_mul(cols).saturating_add(operands)
        };
        if members == 1 {
            return cut(1);
        }
        let cuts = (1..=members).map(cut);
        cuts.min_by_key(cost).unwrap_or_else(|| cut(1))
    }

    /// How many of `threads` members take part in a product: each has enough to do.
    #[inline(always)]
    pub(super) fn members(threads: usize, shape: (usize, usize, usize)) -> usize {
        if threads == 1 {
            return 1;
        }
        threads.min(work(shape) / CHUNK_WORK).max(1)
    }

    /// Whether products of these shapes together are worth more than one thread.
    pub(super) fn worth_sharing(shapes: impl Iterator<Item = (usize, usize, usize)>) -> bool {
        shapes.map(work).fold(0, usize::saturating_add) / CHUNK_WORK > 1
    }

    pub(super) fn count(&self) -> usize {
        self.down * self.across
    }

    /// The row and column panels of a chunk.
    pub(super) fn get(&self, chunk: usize) -> (Range<usize>, Range<usize>) {
        let part =
            |panels: usize, parts: usize, i: usize| panels * i / parts..panels * (i + 1) / parts;
        (
            part(self.row_panels, self.down, chunk / self.across),
            part(self.col_panels, self.across, chunk % self.across),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(members: usize, shape: (usize, usize), packed: (bool, bool)) -> (usize, usize) {
        let (m, n) = shape;
        let chunks = Chunks::new(members, shape, (m.div_ceil(6), n.div_ceil(16)), packed);
        (chunks.down, chunks.across)
    }

    #[test]
    fn an_operand_that_is_packed_is_packed_once_where_that_is_possible() {
        assert_eq!(cut(2, (256, 256), (false, true)), (1, 2));
        assert_eq!(cut(2, (256, 256), (true, false)), (2, 1));
        assert_eq!(cut(1, (256, 256), (true, true)), (1, 1));
        // A longer side is cut all the same, and two sides by four.
        assert_eq!(cut(2, (4096, 64), (false, true)), (2, 1));
        assert_eq!(cut(4, (512, 512), (true, true)), (2, 2));
    }

    #[test]
    fn every_panel_is_in_one_chunk() {
        for members in 1..9 {
            for (m, n) in [(1_usize, 1_usize), (7, 100), (100, 7), (64, 64), (500, 3)] {
                let panels = (m.div_ceil(6), n.div_ceil(16));
                let chunks = Chunks::new(members, (m, n), panels, (false, true));
                assert!((1..=members).contains(&chunks.count()));
                let mut seen = vec![0; panels.0 * panels.1];
                for (rows, cols) in (0..chunks.count()).map(|chunk| chunks.get(chunk)) {
                    for row in rows {
                        for col in cols.clone() {
                            seen[row * panels.1 + col] += 1;
                        }
                    }
                }
                assert!(seen.iter().all(|&times| times == 1), "{members}: {m} x {n}");
            }
        }
    }

    #[test]
    fn work_counts_what_is_done_to_each_element() {
        // Narrow products of many elements are shared, those of small networks are not.
        assert_eq!(Chunks::members(2, (256, 256, 6)), 2);
        assert_eq!(Chunks::members(2, (256, 6, 256)), 2);
        assert_eq!(Chunks::members(2, (64, 64, 64)), 1);
        assert_eq!(Chunks::members(8, (64, 64, 64)), 1);
        assert_eq!(Chunks::members(1, (4096, 4096, 4096)), 1);
    }
}
