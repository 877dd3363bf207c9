//! Memory for blocks of scores, one slot for each member of a team.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::error::KernelError;
use crate::gemm::Workspace;
use crate::view::MatMut;

/// Rows and columns of a block of scores: 64 KB, so that two of them, with their queries, keys and
/// values, stay in the second cache. Sequences up to this length are one block.
pub(super) const BLOCK: usize = 128;

/// Beginning and end of each block of `len` rows.
pub(super) fn blocks(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len)
        .step_by(BLOCK)
        .map(move |start| start..len.min(start + BLOCK))
}

/// The first elements of a buffer as a matrix.
pub(super) fn scratch(
    buffer: &mut [f32],
    rows: usize,
    cols: usize,
) -> Result<MatMut<'_>, KernelError> {
    MatMut::from_row_major(buffer, rows, cols)
}

/// Memory of one member.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Scores, then probabilities.
    pub(super) scores: Vec<f32>,
    /// Gradients of the probabilities, then of the scores.
    pub(super) d_scores: Vec<f32>,
    /// For each row: the largest score so far; backward: `sum do o`.
    pub(super) first: Vec<f32>,
    /// For each row: the sum so far.
    pub(super) second: Vec<f32>,
    pub(super) gemm: Workspace,
}

/// Memory for [`crate::Kernels::attention`] and its backward pass: grown when needed, kept between
/// calls.
///
/// `O(threads)` blocks of 128 x 128 scores, whatever the length of the sequences.
#[derive(Debug, Default)]
pub struct AttentionWorkspace {
    slots: Vec<Mutex<Slot>>,
}

impl AttentionWorkspace {
    /// An empty workspace; the first call allocates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `slots` members, and blocks of `rows x cols`.
    pub(super) fn grow(&mut self, slots: usize, rows: usize, cols: usize) {
        while self.slots.len() < slots {
            self.slots.push(Mutex::default());
        }
        for slot in &mut self.slots {
            let slot = slot.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (buffer, len) in [
                (&mut slot.scores, rows * cols),
                (&mut slot.d_scores, rows * cols),
                (&mut slot.first, rows),
                (&mut slot.second, rows),
            ] {
                if buffer.len() < len {
                    buffer.resize(len, 0.0);
                }
            }
        }
    }

    /// Works with the memory of member `slot`, which no other uses meanwhile.
    pub(super) fn with<R>(&self, slot: usize, work: impl FnOnce(&mut Slot) -> R) -> R {
        let mut slot = self.slots[slot]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&mut slot)
    }
}
