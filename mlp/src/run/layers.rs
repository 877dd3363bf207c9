//! Makes the calls of layers that are no products.

use kernels::{
    Attention, AttentionGradients, KernelError, Kernels, MatMut, MatRef, Norm, NormGradients,
    Running, Statistics, StatisticsMut, Team,
};

use super::memory::{AttentionScratch, Memory, Rest, carve, matrix};
use crate::plan::{Heads, LayerCall, NormCall, Region, Source};

/// The arena without the two regions that a call writes.
struct Rests<'m> {
    low: Rest<'m>,
    high: Rest<'m>,
    /// Where the second of them begins: what lies behind is read there.
    split: usize,
}

impl<'m> Rests<'m> {
    fn read(&self, region: &Region) -> Result<MatRef<'m>, KernelError> {
        if region.offset < self.split {
            return self.low.read(region);
        }
        let offset = region.offset - self.split;
        self.high.read(&Region { offset, ..*region })
    }
}

/// Divides the arena into two regions to be written, which have no matrix in common, and all else.
fn carve_two<'m>(
    arena: &'m mut [f32],
    [a, b]: [&Region; 2],
) -> Result<(Rests<'m>, [MatMut<'m>; 2]), KernelError> {
    let swapped = a.offset > b.offset;
    let [first, second] = if swapped { [b, a] } else { [a, b] };
    let split = second.offset;
    let (low, high) = arena.split_at_mut(split);
    let (low, first) = carve(low, first)?;
    let (high, second) = carve(
        high,
        &Region {
            offset: 0,
            ..*second
        },
    )?;
    let rests = Rests { low, high, split };
    let written = if swapped {
        [second, first]
    } else {
        [first, second]
    };
    Ok((rests, written))
}

/// Two matrices of parameters' gradients, to be written.
fn two_of<'m>(gradients: &'m mut [f32], [a, b]: [&Region; 2]) -> [&'m mut [f32]; 2] {
    let swapped = a.offset > b.offset;
    let [first, second] = if swapped { [b, a] } else { [a, b] };
    let (low, high) = gradients.split_at_mut(second.offset);
    let (first, second) = (&mut low[first.whole()], &mut high[..second.len()]);
    if swapped {
        [second, first]
    } else {
        [first, second]
    }
}

/// The elements of a dense region as one slice.
fn slice<'m>(x: MatRef<'m>) -> &'m [f32] {
    x.as_slice().unwrap_or_default()
}

/// Mean and rstd out of the statistics of a forward pass: the first two parts of `len` values.
fn statistics_of(x: MatRef<'_>, len: usize) -> Statistics<'_> {
    let (mean, rest) = slice(x).split_at(len);
    Statistics {
        mean,
        rstd: &rest[..len],
    }
}

impl Memory<'_> {
    /// Makes one call of a layer.
    pub(super) fn run_layer(
        &mut self,
        call: &LayerCall,
        kernels: &Kernels,
        scratch: &mut AttentionScratch,
        team: &Team,
    ) -> Result<(), KernelError> {
        let workspace = &mut scratch.workspace;
        match call {
            LayerCall::LayerNorm {
                x,
                norm,
                statistics,
                y,
            } => {
                let norm = norm_of(self.parameters, norm);
                let (arena, [y, mut saved]) = carve_two(self.arena, [y, statistics])?;
                let values = saved.as_mut_slice().unwrap_or_default();
                let (mean, rstd) = values.split_at_mut(x.rows);
                let saved = StatisticsMut { mean, rstd };
                kernels.layer_norm(norm, arena.read(x)?, y, saved, team)
            }
            LayerCall::BatchNorm {
                x,
                norm,
                statistics,
                y,
            } => {
                let norm = norm_of(self.parameters, norm);
                let (arena, [y, mut saved]) = carve_two(self.arena, [y, statistics])?;
                let values = saved.as_mut_slice().unwrap_or_default();
                let (mean, rest) = values.split_at_mut(x.cols);
                let (rstd, var) = rest.split_at_mut(x.cols);
                let saved = StatisticsMut { mean, rstd };
                kernels.batch_norm(norm, arena.read(x)?, y, saved, var, team)
            }
            LayerCall::BatchNormPredict {
                x,
                norm,
                mean,
                var,
                y,
            } => {
                let norm = norm_of(self.parameters, norm);
                let running = Running {
                    mean: &self.parameters[mean.whole()],
                    var: &self.parameters[var.whole()],
                };
                let (arena, y) = carve(self.arena, y)?;
                kernels.batch_norm_predict(norm, running, arena.read(x)?, y, team)
            }
            LayerCall::LayerNormGradient {
                x,
                norm,
                statistics,
                dy,
                dx,
            }
            | LayerCall::BatchNormGradient {
                x,
                norm,
                statistics,
                dy,
                dx,
            } => {
                let gamma = &self.parameters[norm.gamma.whole()];
                let [dgamma, dbeta] = two_of(self.gradients, [&norm.gamma, &norm.beta]);
                let nowhere = Region::dense(0, 0, 0);
                let (arena, to) = carve(self.arena, dx.as_ref().unwrap_or(&nowhere))?;
                let gradients = NormGradients {
                    dx: dx.is_some().then_some(to),
                    dgamma,
                    dbeta,
                };
                let (x, dy, saved) = (arena.read(x)?, arena.read(dy)?, arena.read(statistics)?);
                if let LayerCall::LayerNormGradient { .. } = call {
                    let saved = statistics_of(saved, x.rows());
                    kernels.layer_norm_backward(gamma, x, saved, dy, gradients, team)
                } else {
                    let saved = statistics_of(saved, x.cols());
                    kernels.batch_norm_backward(gamma, x, saved, dy, gradients, team)
                }
            }
            LayerCall::Softmax { x, y } => {
                let (arena, y) = carve(self.arena, y)?;
                kernels.softmax(arena.read(x)?, y)
            }
            LayerCall::SoftmaxGradient { y, dy, dx } => {
                let (arena, dx) = carve(self.arena, dx)?;
                kernels.softmax_backward(arena.read(y)?, arena.read(dy)?, dx)
            }
            LayerCall::Attention { qkv, over, lse, y } => {
                let (arena, [y, mut lse]) = carve_two(self.arena, [y, lse])?;
                let seen = lengths(
                    self.input,
                    y.rows() / over.batch,
                    over,
                    &mut scratch.lengths,
                );
                let attention = attention(arena.read(qkv)?, over, seen);
                let lse = lse.as_mut_slice().unwrap_or_default();
                kernels.attention(&attention, y, lse, workspace, team)
            }
            LayerCall::AttentionGradient {
                qkv,
                over,
                lse,
                y,
                dy,
                dx,
            } => {
                let (arena, dx) = carve(self.arena, dx)?;
                let seen = lengths(self.input, y.rows / over.batch, over, &mut scratch.lengths);
                let attention = attention(arena.read(qkv)?, over, seen);
                let forward = (arena.read(y)?, slice(arena.read(lse)?));
                let width = y.cols;
                let (dq, rest) = dx.split_at_col(width);
                let (dk, dv) = rest.split_at_col(width);
                let gradients = AttentionGradients { dq, dk, dv };
                let dy = arena.read(dy)?;
                kernels.attention_backward(&attention, forward, dy, gradients, workspace, team)
            }
            LayerCall::Embedding {
                numbers,
                table,
                positions,
                y,
            } => {
                let (table, positions) = (
                    matrix(self.parameters, table)?,
                    matrix(self.parameters, positions)?,
                );
                let input = self.input;
                let (arena, y) = carve(self.arena, y)?;
                let numbers = match numbers {
                    Source::Input => input,
                    Source::Parameters(region) => matrix(self.parameters, region)?,
                    Source::Arena(region) => arena.read(region)?,
                };
                kernels.embed(table, Some(positions), numbers, y, team)
            }
            LayerCall::EmbeddingGradient {
                numbers,
                table,
                positions,
                dy,
            } => {
                let numbers = match numbers {
                    Source::Input => self.input,
                    Source::Parameters(region) => matrix(self.parameters, region)?,
                    Source::Arena(region) => matrix(self.arena, region)?,
                };
                let dy = matrix(self.arena, dy)?;
                let [d_table, d_positions] = two_of(self.gradients, [table, positions]);
                let d_table = MatMut::from_row_major(d_table, table.rows, table.cols)?;
                let d_positions =
                    MatMut::from_row_major(d_positions, positions.rows, positions.cols)?;
                kernels.embed_backward(numbers, dy, d_table, Some(d_positions), team)
            }
        }
    }
}

fn norm_of<'m>(parameters: &'m [f32], norm: &NormCall) -> Norm<'m> {
    Norm {
        gamma: &parameters[norm.gamma.whole()],
        beta: &parameters[norm.beta.whole()],
        eps: norm.eps,
    }
}

/// How many of the `steps` rows of each sample stand before its padding; `None` if there is none.
fn lengths<'l>(
    input: MatRef<'_>,
    steps: usize,
    over: &Heads,
    lengths: &'l mut Vec<u32>,
) -> Option<&'l [u32]> {
    let padding = over.over.padding?;
    let width = input.cols() / steps;
    lengths.clear();
    lengths.extend((0..input.rows()).map(|sample| {
        let last = (0..input.cols()).rfind(|&col| *input.at(sample, col) != padding);
        last.map_or(0, |col| col as u32 / width as u32 + 1)
    }));
    Some(lengths)
}

/// Q, K and V of a matrix that holds them side by side.
fn attention<'m>(qkv: MatRef<'m>, over: &Heads, lengths: Option<&'m [u32]>) -> Attention<'m> {
    let Heads { batch, over } = *over;
    let width = qkv.cols() / 3;
    let part = |number: usize| qkv.part(0..qkv.rows(), number * width..(number + 1) * width);
    Attention {
        causal: over.causal,
        lengths,
        ..Attention::new(part(0), part(1), part(2), batch, over.heads)
    }
}
