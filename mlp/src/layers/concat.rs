//! Dense connections: `y = [left, right]`, columns side by side; each side gets its columns of the
//! gradient.
//!
//! The plan lets both sides be written where they stand in `y`, and their gradients be read where
//! they stand in that of `y`, so nothing is copied unless a side already lies elsewhere.

use crate::graph::{Graph, NodeId, Op};

/// `y = [left, right]`
pub(crate) fn forward(graph: &mut Graph, left: NodeId, right: NodeId) -> NodeId {
    let (left, right) = (graph.readable(left), graph.readable(right));
    let width = |x| graph.node(x).shape.width;
    let width = width(left).saturating_add(width(right));
    graph.forward(left, Op::Concat { left, right }, width, backward)
}

/// `[d left, d right] = dy`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Concat { left, right } = graph.node(y).op else {
        return;
    };
    for (x, start) in [(left, 0), (right, graph.node(left).shape.width)] {
        if graph.needs_gradient(x) {
            let dx = graph.gradient(Op::Columns { x: dy, start }, x);
            graph.flow(x, dx);
        }
    }
}
