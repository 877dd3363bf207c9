//! Which part of C each member of a team computes.
//!
//! Each element of C is summed by one member, or by several whose parts are added in the order of the
//! depth (`partial`): neither depends on the cut, so the cut may follow the number of threads without
//! changing a bit.

use std::ops::Range;

/// Multiply-adds that each member has at least: some ten microseconds. With 2^17 the training steps
/// of a 17-64-64-6 network took 1.2 times as long on two threads as on one: what a member computes,
/// another reads next, and the lines have to move between their caches.
const CHUNK_WORK: usize = 1 << 19;

/// The parts of C that are computed by themselves: a grid over its panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    row_panels: usize,
    col_panels: usize,
    down: usize,
    across: usize,
}

impl Chunks {
    /// A chunk for each member: the longer side of an `m x n` matrix is cut first.
    pub(super) fn new(
        members: usize,
        (m, n): (usize, usize),
        row_panels: usize,
        col_panels: usize,
    ) -> Self {
        let (wanted, mut down, mut across) = (members, 1, 1);
        if wanted > 1 {
            if m >= n {
                down = wanted.min(row_panels);
                across = (wanted / down).min(col_panels);
            } else {
                across = wanted.min(col_panels);
                down = (wanted / across).min(row_panels);
            }
        }
        Self {
            row_panels,
            col_panels,
            down,
            across,
        }
    }

    /// How many of `threads` members take part in a product: each has enough to do.
    pub(super) fn members(threads: usize, (m, n, k): (usize, usize, usize)) -> usize {
        if threads == 1 {
            return 1;
        }
        let work = m.saturating_mul(n).saturating_mul(k);
        threads.min(work / CHUNK_WORK).max(1)
    }

    /// Whether so many multiply-adds are worth more than one thread.
    pub(super) fn worth_sharing(work: usize) -> bool {
        work / CHUNK_WORK > 1
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
