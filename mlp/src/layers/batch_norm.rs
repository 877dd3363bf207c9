//! Batch normalisation: each column by the mean and variance of the batch.
//!
//! In training, with `mean_j` and `var_j` over the n rows of the batch (all rows of all sequences) and
//! `xhat_ij = (x_ij - mean_j) / sqrt(var_j + eps)`:
//!
//! ```text
//! y_ij = gamma_j xhat_ij + beta_j
//! dx_j = gamma_j (dy_j - mean of dy_j - xhat_j mean of (dy_j xhat_j)) / sqrt(var_j + eps)
//! dgamma_j = sum_i dy_ij xhat_ij,  dbeta_j = sum_i dy_ij
//! running <- (1 - momentum) running + momentum of_the_batch
//! ```
//!
//! where the batch is divided by the biased variance and the running one takes the unbiased, as in
//! PyTorch's `BatchNorm1d`. In prediction the running mean and variance stand in their place. They
//! take their step when the batch counts: with the backward pass, after the loss was found finite.
//!
//! S. Ioffe and C. Szegedy, 2015, "Batch normalization".

use crate::graph::{Graph, NodeId, NormParameters, Op, Rows, RunningStatistics, Shape};

/// Mean, `1 / sqrt(var + eps)`, and unbiased variance of each column.
const STATISTICS: usize = 3;

/// `y = gamma xhat + beta`
pub(crate) fn forward(graph: &mut Graph, name: &str, x: NodeId, eps: f32, momentum: f32) -> NodeId {
    let x = graph.readable(x);
    let width = graph.node(x).shape.width;
    let norm = NormParameters::new(graph, name, width, eps);
    let running = RunningStatistics {
        mean: graph.buffer(format!("{name}.running_mean"), width, 0.0),
        var: graph.buffer(format!("{name}.running_var"), width, 1.0),
        momentum,
    };
    let shape = Shape {
        rows: Rows::Fixed(STATISTICS),
        width,
    };
    let statistics = graph.forward_shaped(Op::Statistics { x }, shape, |_, _, _| ());
    let op = Op::BatchNorm {
        x,
        statistics,
        norm,
        running,
    };
    graph.forward(x, op, width, backward)
}

/// dx, dgamma and dbeta in one.
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::BatchNorm {
        x,
        statistics,
        norm,
        ..
    } = graph.node(y).op
    else {
        return;
    };
    let op = Op::BatchNormGradient {
        dy,
        x,
        statistics,
        norm,
    };
    graph.gradient_if_needed(op, x);
}
