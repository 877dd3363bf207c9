//! The layer `y = act(x)`, with `dx = dy * act'(y)`.
//!
//! All activations have derivatives that their output tells, so `x` need not be kept. The plan fuses
//! both directions into the products next to them.

use kernels::Activation;

use crate::graph::{Graph, NodeId, Op};

/// `y = act(x)`
pub(crate) fn forward(graph: &mut Graph, x: NodeId, activation: Activation) -> NodeId {
    let x = graph.readable(x);
    let width = graph.node(x).shape.width;
    graph.forward(x, Op::Activation { x, activation }, width, backward)
}

/// `dx = dy * act'(y)`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Activation { x, activation } = graph.node(y).op else {
        return;
    };
    let dx = graph.gradient(Op::ActivationGradient { dy, y, activation }, x);
    graph.flow(x, dx);
}

/// The slope of a leaky ReLU that is none.
pub(crate) fn bad_slope(activation: Activation) -> Option<f32> {
    match activation {
        Activation::LeakyRelu { negative_slope }
            if !(negative_slope.is_finite() && negative_slope >= 0.0) =>
        {
            Some(negative_slope)
        }
        _ => None,
    }
}
