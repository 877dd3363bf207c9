//! Skip connections: `y = a + b`, and both summands get the gradient of the sum.

use crate::graph::{Graph, NodeId, Op};

/// `y = a + b`, of the same shape.
pub(crate) fn forward(graph: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let (a, b) = (graph.readable(a), graph.readable(b));
    let width = graph.node(a).shape.width;
    graph.forward(a, Op::Sum { a, b }, width, backward)
}

/// `da = db = dy`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Sum { a, b } = graph.node(y).op else {
        return;
    };
    for x in [a, b] {
        if graph.needs_gradient(x) {
            graph.flow(x, dy);
        }
    }
}
