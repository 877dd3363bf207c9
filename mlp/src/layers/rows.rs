//! Samples as sequences: the values of a sample in rows of another length. Nothing is computed.

use crate::graph::{Graph, NodeId, Op, Rows, Shape};

/// The values of each sample of `x` in `rows` rows; `None` if they cannot be divided like that.
pub(crate) fn forward(graph: &mut Graph, x: NodeId, rows: usize) -> Option<NodeId> {
    let x = graph.readable(x);
    let Shape { rows: old, width } = graph.node(x).shape;
    let values = old.of(1).checked_mul(width)?;
    if rows == 0 || !values.is_multiple_of(rows) {
        return None;
    }
    let shape = Shape {
        rows: Rows::PerSample(rows),
        width: values / rows,
    };
    Some(graph.forward_shaped(Op::Reshape { x }, shape, backward))
}

/// `dx = dy`, in the rows of x
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Reshape { x } = graph.node(y).op else {
        return;
    };
    let dx = graph.gradient(Op::Reshape { x: dy }, x);
    graph.flow(x, dx);
}
