//! The forward pass of some sequences and heads.

use super::operands::{Attention, Share};
use super::tile::{FinishRows, Seen, SoftmaxTile};
use super::workspace::{Slot, blocks, scratch};
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::gemm::Gemm;
use crate::parts::Divide;
use crate::team::Team;
use crate::view::MatMut;

/// A part of the outputs, and what they are computed from.
pub(super) struct Forward<'a> {
    pub(super) attention: Attention<'a>,
    pub(super) share: Share,
    pub(super) o: MatMut<'a>,
    pub(super) lse: &'a mut [f32],
}

impl Divide for Forward<'_> {
    fn len(&self) -> usize {
        self.share.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let attention = self.attention;
        let sizes = (attention.steps(), attention.head_width());
        let o = self.share.split_matrix(at, sizes, self.o);
        let lse = self
            .lse
            .split_at_mut(self.share.pairs_before(at) * attention.steps());
        let share = self.share.split(at);
        let part = |share, o, lse| Self {
            attention,
            share,
            o,
            lse,
        };
        (part(share.0, o.0, lse.0), part(share.1, o.1, lse.1))
    }
}

impl Forward<'_> {
    pub(super) fn run(mut self, kernels: &Kernels, slot: &mut Slot) -> Result<(), KernelError> {
        let sizes = (self.attention.steps(), self.attention.head_width());
        let pairs = self.share.pairs(sizes);
        for ((sample, head, rows, cols), lse) in pairs.zip(self.lse.chunks_exact_mut(sizes.0)) {
            let o = self.o.reborrow().part(rows, cols);
            one_head(kernels, &self.attention, (sample, head), o, lse, slot)?;
        }
        Ok(())
    }
}

/// The forward pass of one sequence and head.
fn one_head(
    kernels: &Kernels,
    attention: &Attention<'_>,
    (sample, head): (usize, usize),
    mut o: MatMut<'_>,
    lse: &mut [f32],
    slot: &mut Slot,
) -> Result<(), KernelError> {
    let (rows, cols) = attention.place(sample, head);
    let q = attention.q.part(rows.clone(), cols.clone());
    let k = attention.k.part(rows.clone(), cols.clone());
    let v = attention.v.part(rows, cols.clone());
    let (length, causal, d) = (attention.length(sample), attention.causal, cols.len());
    if length == 0 {
        for i in 0..o.rows() {
            o.row_mut(i).unwrap_or_default().fill(0.0);
        }
        lse.fill(f32::NEG_INFINITY);
        return Ok(());
    }
    for queries in blocks(q.rows()) {
        let mut o = o.reborrow().part(queries.clone(), 0..d);
        let (max, sum) = (
            &mut slot.first[..queries.len()],
            &mut slot.second[..queries.len()],
        );
        max.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        // The keys that any row of the block sees.
        let end = if causal {
            length.min(queries.end)
        } else {
            length
        };
        for keys in blocks(end) {
            let first = keys.start == 0;
            let mut scores = scratch(&mut slot.scores, queries.len(), keys.len())?;
            let k = k.part(keys.clone(), 0..d);
            let product = Gemm {
                alpha: attention.scale(),
                ..Gemm::new(q.part(queries.clone(), 0..d), k.t())
            };
            kernels.gemm(&product, scores.reborrow(), &mut slot.gemm, &Team::solo())?;
            (kernels.vector.attention_softmax)(SoftmaxTile {
                scores: scores.reborrow(),
                seen: Seen {
                    length,
                    causal,
                    query: queries.start,
                    key: keys.start,
                },
                max: &mut *max,
                sum: &mut *sum,
                o: (!first).then(|| o.reborrow()),
            });
            let product = Gemm {
                beta: if first { 0.0 } else { 1.0 },
                ..Gemm::new(scores.as_ref(), v.part(keys, 0..d))
            };
            kernels.gemm(&product, o.reborrow(), &mut slot.gemm, &Team::solo())?;
        }
        (kernels.vector.attention_finish)(FinishRows {
            max,
            sum,
            o,
            lse: &mut lse[queries],
        });
    }
    Ok(())
}
