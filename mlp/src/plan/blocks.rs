//! Whether a batch goes through a step in row blocks: each through all layers, forward and backward.
//!
//! Layer by layer, every call of a small network is too little work to be shared among threads. Rows are
//! independent but for the gradients of the parameters, which are sums over them: so blocks of rows may take
//! the whole way each on one thread, values stay in its cache, and a step has one parallel phase instead of
//! one per call. Each group of blocks has gradients of its own, which are added at the end, in order.
//!
//! What is decided here changes the order of sums, so it follows from the graph and the batch alone.

use std::ops::Range;

use super::{Passes, lower};
use crate::graph::{Graph, Op};

/// Parameters up to which gradients of their own for each group are cheap: they stay in its cache.
const MAX_PARAMETERS: usize = 1 << 14;
/// Rows of a group at least: it packs the weights, writes a gradient of each parameter, and has it added, as
/// one batch would. On AVX2, two groups of 32 rows of 17-64-64-6 took one thread 12 % longer than 64 rows.
const MIN_ROWS: usize = 64;
/// Groups at most; a power of two, as their number is.
const MAX_GROUPS: usize = 16;
/// Work of a group at least, in multiply-adds and what takes as long: some ten microseconds.
const GROUP_WORK: usize = 1 << 18;
/// What a value costs beside the sum that it is, in multiply-adds: it is written, read, and activated.
const ELEMENT: usize = 16;
/// Values of a block at most, half a megabyte of them: what a core has in its own caches.
const BLOCK_VALUES: usize = 1 << 16;

/// How a batch is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Rows of the batch.
    pub(crate) batch: usize,
    /// Rows of each block but the last, which may have less.
    pub(crate) rows: usize,
    /// Groups of neighbouring blocks, each with gradients of its own.
    pub(crate) groups: usize,
}

impl Blocks {
    /// The blocks of a batch in training; `None` if it is better off layer by layer, or if samples of this
    /// network depend on each other.
    pub(crate) fn of(graph: &Graph, batch: usize) -> Option<Self> {
        let parameters = graph.parameters().len();
        // What depends on other samples, and what has scratch memory that grows with use.
        let coupled = |id| {
            let op = graph.node(id).op;
            matches!(op, Op::BatchNorm { .. } | Op::Attention { .. })
        };
        if parameters > MAX_PARAMETERS || batch < 2 * MIN_ROWS || graph.forward_nodes().any(coupled)
        {
            return None;
        }
        let sample = lower(graph, 1, Passes::Both);
        let work = (sample.cost().flop / 2) as usize + ELEMENT * sample.arena_len;
        let groups = (batch / MIN_ROWS)
            .min(work.saturating_mul(batch) / GROUP_WORK)
            .min(MAX_GROUPS);
        if groups < 2 {
            return None;
        }
        let groups = 1 << groups.ilog2();
        let of_group = batch.div_ceil(groups);
        let count = groups
            * of_group
                .saturating_mul(sample.arena_len)
                .div_ceil(BLOCK_VALUES);
        let rows = batch.div_ceil(count);
        Some(Self {
            batch,
            rows,
            groups: groups.min(batch.div_ceil(rows)),
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.batch.div_ceil(self.rows)
    }

    /// Rows of the last one.
    pub(crate) fn last_rows(&self) -> usize {
        self.batch - (self.count() - 1) * self.rows
    }

    /// The blocks of a group.
    pub(crate) fn of_group(&self, group: usize) -> Range<usize> {
        let start = |group| self.count() * group / self.groups;
        start(group)..start(group + 1)
    }

    /// The rows of a block.
    pub(crate) fn rows_of(&self, block: usize) -> Range<usize> {
        let start = block * self.rows;
        start..self.batch.min(start + self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::MlpBuilder;
    use crate::layers;

    fn blocks(builder: MlpBuilder, batch: usize) -> Option<Blocks> {
        let (spec, _) = builder.into_spec().unwrap();
        Blocks::of(&layers::build(&spec).unwrap().0, batch)
    }

    fn small() -> MlpBuilder {
        MlpBuilder::new(4)
            .dense(32)
            .tanh()
            .dense(16)
            .tanh()
            .dense(4)
    }

    #[test]
    fn every_row_is_in_one_block_and_every_block_in_one_group() {
        for batch in (600..700).chain([5_000, 9_999, 10_000, 1_000_003]) {
            let blocks = blocks(small(), batch).unwrap();
            assert!((2..=MAX_GROUPS).contains(&blocks.groups), "{blocks:?}");
            let in_groups = (0..blocks.groups).flat_map(|group| blocks.of_group(group));
            assert!(in_groups.eq(0..blocks.count()), "{blocks:?}");
            let rows = (0..blocks.count()).flat_map(|block| blocks.rows_of(block));
            assert!(rows.eq(0..batch), "{blocks:?}");
            assert_eq!(blocks.rows_of(blocks.count() - 1).len(), blocks.last_rows());
            let empty = (0..blocks.groups).find(|&group| blocks.of_group(group).is_empty());
            assert_eq!(empty, None, "{blocks:?}");
        }
    }

    #[test]
    fn what_is_little_work_or_has_large_gradients_runs_layer_by_layer() {
        assert_eq!(blocks(small(), 32), None);
        assert_eq!(blocks(small(), 2 * MIN_ROWS - 1), None);
        let wide = MlpBuilder::new(200).dense(100).relu().dense(10);
        assert_eq!(blocks(wide, 4096), None);
    }

    #[test]
    fn samples_that_are_normalised_by_each_other_stay_together() {
        let net = || MlpBuilder::new(16).dense(64);
        assert!(blocks(net().relu().dense(10), 4096).is_some());
        assert_eq!(blocks(net().batch_norm().relu().dense(10), 4096), None);
    }
}
