//! The backward pass of some sequences and heads.

use super::operands::{Attention, AttentionGradients, Share};
use super::tile::{GradientTile, RowDots, Seen};
use super::workspace::{BLOCK, Slot, blocks, scratch};
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::gemm::{Gemm, Workspace};
use crate::parts::Divide;
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// A part of the gradients, and what they are computed from.
pub(super) struct Backward<'a> {
    pub(super) attention: Attention<'a>,
    pub(super) share: Share,
    pub(super) o: MatRef<'a>,
    pub(super) lse: &'a [f32],
    pub(super) d_o: MatRef<'a>,
    pub(super) gradients: AttentionGradients<'a>,
}

impl Divide for Backward<'_> {
    fn len(&self) -> usize {
        self.share.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (attention, o, lse, d_o) = (self.attention, self.o, self.lse, self.d_o);
        let sizes = (attention.steps(), attention.head_width());
        let AttentionGradients { dq, dk, dv } = self.gradients;
        let [dq, dk, dv] = [dq, dk, dv].map(|m| self.share.split_matrix(at, sizes, m));
        let share = self.share.split(at);
        let part = |share, dq, dk, dv| Self {
            attention,
            share,
            o,
            lse,
            d_o,
            gradients: AttentionGradients { dq, dk, dv },
        };
        (
            part(share.0, dq.0, dk.0, dv.0),
            part(share.1, dq.1, dk.1, dv.1),
        )
    }
}

impl Backward<'_> {
    pub(super) fn run(mut self, kernels: &Kernels, slot: &mut Slot) -> Result<(), KernelError> {
        let sizes = (self.attention.steps(), self.attention.head_width());
        for (sample, head, rows, cols) in self.share.pairs(sizes) {
            let AttentionGradients { dq, dk, dv } = &mut self.gradients;
            let gradients = [dq, dk, dv].map(|m| m.reborrow().part(rows.clone(), cols.clone()));
            let (rows, cols) = self.attention.place(sample, head);
            let head = Head {
                length: self.attention.length(sample),
                causal: self.attention.causal,
                scale: self.attention.scale(),
                q: self.attention.q.part(rows.clone(), cols.clone()),
                k: self.attention.k.part(rows.clone(), cols.clone()),
                v: self.attention.v.part(rows.clone(), cols.clone()),
                o: self.o.part(rows.clone(), cols.clone()),
                d_o: self.d_o.part(rows, cols),
                lse: &self.lse[(sample * self.attention.heads + head) * sizes.0..][..sizes.0],
            };
            head.run(kernels, gradients, slot)?;
        }
        Ok(())
    }
}

/// One sequence and head.
struct Head<'a> {
    length: usize,
    causal: bool,
    scale: f32,
    q: MatRef<'a>,
    k: MatRef<'a>,
    v: MatRef<'a>,
    o: MatRef<'a>,
    d_o: MatRef<'a>,
    lse: &'a [f32],
}

impl Head<'_> {
    fn run(
        &self,
        kernels: &Kernels,
        [mut dq, mut dk, mut dv]: [MatMut<'_>; 3],
        slot: &mut Slot,
    ) -> Result<(), KernelError> {
        let (steps, d) = (self.q.rows(), self.q.cols());
        for blank in [&mut dk, &mut dv] {
            fill_zero(&mut blank.reborrow().part(self.length..steps, 0..d));
        }
        if self.length == 0 {
            fill_zero(&mut dq);
            return Ok(());
        }
        for keys in blocks(self.length) {
            // The first block of queries of which a row sees a key of this one: blocks of queries
            // and of keys have the same bounds.
            let first = if self.causal { keys.start / BLOCK } else { 0 };
            for (number, queries) in blocks(steps).enumerate().skip(first) {
                let mut scores = scratch(&mut slot.scores, queries.len(), keys.len())?;
                let mut d_scores = scratch(&mut slot.d_scores, queries.len(), keys.len())?;
                let rows = [self.q, self.d_o, self.o].map(|x| x.part(queries.clone(), 0..d));
                let [q, d_o, o] = rows;
                let [k, v] = [self.k, self.v].map(|x| x.part(keys.clone(), 0..d));
                let scaled = |beta, product| Gemm {
                    alpha: self.scale,
                    beta,
                    ..product
                };
                let product = scaled(0.0, Gemm::new(q, k.t()));
                multiply(kernels, &product, scores.reborrow(), &mut slot.gemm)?;
                let product = Gemm::new(d_o, v.t());
                multiply(kernels, &product, d_scores.reborrow(), &mut slot.gemm)?;
                let dots = &mut slot.first[..queries.len()];
                (kernels.vector.row_dots)(RowDots { a: d_o, b: o, dots });
                (kernels.vector.attention_gradient)(GradientTile {
                    scores: scores.reborrow(),
                    d_scores: d_scores.reborrow(),
                    seen: Seen {
                        length: self.length,
                        causal: self.causal,
                        query: queries.start,
                        key: keys.start,
                    },
                    lse: &self.lse[queries.clone()],
                    dots,
                });
                let (p, ds) = (scores.as_ref(), d_scores.as_ref());
                let sum = |begins: bool| if begins { 0.0 } else { 1.0 };
                let dv = dv.reborrow().part(keys.clone(), 0..d);
                let dk = dk.reborrow().part(keys.clone(), 0..d);
                let dq = dq.reborrow().part(queries, 0..d);
                let begins = sum(number == first);
                let values = Gemm {
                    beta: begins,
                    ..Gemm::new(p.t(), d_o)
                };
                multiply(kernels, &values, dv, &mut slot.gemm)?;
                let product = scaled(begins, Gemm::new(ds.t(), q));
                multiply(kernels, &product, dk, &mut slot.gemm)?;
                let product = scaled(sum(keys.start == 0), Gemm::new(ds, k));
                multiply(kernels, &product, dq, &mut slot.gemm)?;
            }
        }
        Ok(())
    }
}

/// One product, by this thread alone.
fn multiply(
    kernels: &Kernels,
    gemm: &Gemm<'_>,
    c: MatMut<'_>,
    workspace: &mut Workspace,
) -> Result<(), KernelError> {
    kernels.gemm(gemm, c, workspace, &Team::solo())
}

fn fill_zero(x: &mut MatMut<'_>) {
    for i in 0..x.rows() {
        for j in 0..x.cols() {
            *x.at_mut(i, j) = 0.0;
        }
    }
}
