//! Layer normalisation: each row by its own mean and variance.
//!
//! With `mean_i` and `var_i` over the n columns of row i and `xhat_ij = (x_ij - mean_i) / sqrt(var_i + eps)`:
//!
//! ```text
//! y_ij = gamma_j xhat_ij + beta_j
//! dx_i = (g_i - mean of g_i - xhat_i mean of (g_i xhat_i)) / sqrt(var_i + eps),  g_ij = dy_ij gamma_j
//! dgamma_j = sum_i dy_ij xhat_ij,  dbeta_j = sum_i dy_ij
//! ```
//!
//! J. Ba, J. Kiros and G. Hinton, 2016, "Layer normalization"; PyTorch's `LayerNorm`.

use crate::graph::{Graph, NodeId, NormParameters, Op, Shape};

/// Mean and `1 / sqrt(var + eps)` of each row.
const STATISTICS: usize = 2;

/// `y = gamma xhat + beta`
pub(crate) fn forward(graph: &mut Graph, name: &str, x: NodeId, eps: f32) -> NodeId {
    let x = graph.readable(x);
    let Shape { rows, width } = graph.node(x).shape;
    let norm = NormParameters::new(graph, name, width, eps);
    let shape = Shape {
        rows,
        width: STATISTICS,
    };
    let statistics = graph.forward_shaped(Op::Statistics { x }, shape, |_, _, _| ());
    let op = Op::LayerNorm {
        x,
        statistics,
        norm,
    };
    graph.forward(x, op, width, backward)
}

/// dx, dgamma and dbeta in one.
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::LayerNorm {
        x,
        statistics,
        norm,
    } = graph.node(y).op
    else {
        return;
    };
    let op = Op::LayerNormGradient {
        dy,
        x,
        statistics,
        norm,
    };
    graph.gradient_if_needed(op, x);
}
