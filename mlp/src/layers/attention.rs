//! Multi-head self-attention: every row of a sequence looks at every row.
//!
//! With x: T x width, and per head of `d = width / heads` columns of `[Q, K, V] = x W_in^T + b_in`:
//!
//! ```text
//! head = softmax(Q K^T / sqrt(d)) V
//! y = [head_1, head_2, ...] W_out^T + b_out
//! ```
//!
//! A causal one hides from each row the rows behind it; what a sample is filled up with at its end is
//! hidden from all. A. Vaswani et al., 2017, "Attention is all you
//! need"; PyTorch's `MultiheadAttention`, whose names the parameters have: `in_proj_weight`, `in_proj_bias`,
//! `out_proj.weight`, `out_proj.bias`.

use kernels::Activation;

use super::linear::Linear;
pub(crate) use crate::graph::Over;
use crate::graph::{Graph, NodeId, Op, Shape};

/// What one number each is computed for: Q, K and V.
const PROJECTIONS: usize = 3;

/// The two layers of weights around the heads, and the output; `None` if the heads do not divide the
/// width.
pub(crate) fn forward(
    graph: &mut Graph,
    name: &str,
    x: NodeId,
    over: Over,
) -> Option<([Linear; 2], NodeId)> {
    let Shape { rows, width } = graph.node(x).shape;
    let heads = over.heads;
    if heads == 0 || !width.is_multiple_of(heads) {
        return None;
    }
    let identity = Activation::Identity;
    let inner = width.saturating_mul(PROJECTIONS);
    let names = ["weight", "bias"].map(|what| format!("{name}.in_proj_{what}"));
    let into = Linear::named(graph, names, x, inner, identity);
    let qkv = into.forward(graph, x);
    let shape = Shape { rows, width: heads };
    let lse = graph.forward_shaped(Op::Statistics { x: qkv }, shape, |_, _, _| ());
    let op = Op::Attention { qkv, lse, over };
    let y = graph.forward(qkv, op, width, backward);
    let out = Linear::new(graph, &format!("{name}.out_proj"), y, width, identity);
    let y = out.forward(graph, y);
    Some(([into, out], y))
}

/// The gradient with respect to Q, K and V, side by side.
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Attention { qkv, lse, over } = graph.node(y).op else {
        return;
    };
    let op = Op::AttentionGradient {
        dy,
        y,
        qkv,
        lse,
        over,
    };
    let dx = graph.gradient(op, qkv);
    graph.flow(qkv, dx);
}
