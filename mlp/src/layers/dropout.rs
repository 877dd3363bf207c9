//! Inverted dropout: `y = m x / (1 - p)` in training, where m is 0 with probability p and else 1;
//! `y = x` in prediction. Its gradient is the same mask, computed again: `dx = m dy / (1 - p)`.

use crate::graph::{Graph, NodeId, Op};

/// `y = m x / (1 - rate)`
pub(crate) fn forward(graph: &mut Graph, x: NodeId, rate: f32) -> NodeId {
    let x = graph.readable(x);
    let width = graph.node(x).shape.width;
    let layer = graph.new_mask();
    graph.forward(x, Op::Dropout { x, rate, layer }, width, backward)
}

/// `dx = m dy / (1 - rate)`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Dropout { x, rate, layer } = graph.node(y).op else {
        return;
    };
    let dx = graph.gradient(Op::Dropout { x: dy, rate, layer }, x);
    graph.flow(x, dx);
}
