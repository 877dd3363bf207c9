//! The layer `y = act(x)`, with `dx = dy * act'(y)`.
//!
//! All activations have derivatives that their output tells, so `x` need not be kept. The plan fuses
//! both directions into the products next to them.

use kernels::Activation;

use crate::graph::{Flow, Graph, NodeId, Op};

/// `y = act(x)`
pub(crate) fn forward(graph: &mut Graph, x: NodeId, activation: Activation) -> NodeId {
    let width = graph.node(x).width;
    graph.forward(Op::Activation { x, activation }, width, backward)
}

/// `dx = dy * act'(y)`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) -> Option<Flow> {
    let Op::Activation { x, activation } = graph.node(y).op else {
        return None;
    };
    if !graph.needs_gradient(x) {
        return None;
    }
    let width = graph.node(x).width;
    let dx = graph.gradient(Op::ActivationGradient { dy, y, activation }, width);
    Some(Flow { x, dx })
}
