//! Which part of C each member of a team computes.
//!
//! Each element of C is summed by one member, in an order that does not depend on the cut; so the
//! cut may follow the number of threads without changing a bit.

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
    /// As many chunks as there are threads, while each has enough to do: the longer side is cut
    /// first.
    pub(super) fn new(
        threads: usize,
        (m, n, k): (usize, usize, usize),
        row_panels: usize,
        col_panels: usize,
    ) -> Self {
        let (mut down, mut across) = (1, 1);
        let work = m.saturating_mul(n).saturating_mul(k);
        let wanted = if threads == 1 {
            1
        } else {
            threads.min(work / CHUNK_WORK)
        };
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
