//! The layer `y = act(x)`, with `dx = dy * act'(x)`.
//!
//! The derivative is taken from y where that tells it, so that x need not be kept, and the plan fuses
//! both directions into the products next to them. The activations whose derivative needs x keep x
//! for the backward pass, and are calls of their own in the forward pass of a training.

use kernels::{Activation, DerivativeFrom};

use crate::graph::{Graph, NodeId, Op};

/// `y = act(x)`
pub(crate) fn forward(graph: &mut Graph, x: NodeId, activation: Activation) -> NodeId {
    let x = graph.readable(x);
    let width = graph.node(x).shape.width;
    graph.forward(x, Op::Activation { x, activation }, width, backward)
}

/// `dx = dy * act'(x)`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Activation { x, activation } = graph.node(y).op else {
        return;
    };
    let saved = match activation.derivative_from() {
        DerivativeFrom::Input => x,
        // What dropout keeps has the sign of y, and what it drops has no gradient: one value serves
        // both, and the product can make it at once.
        DerivativeFrom::Output => match graph.only_reader(y) {
            Some(dropped) if is_sign(activation) && is_dropout(graph, dropped) => dropped,
            _ => y,
        },
    };
    let op = Op::ActivationGradient {
        dy,
        saved,
        activation,
    };
    let dx = graph.gradient(op, x);
    graph.flow(x, dx);
}

/// Whether the derivative depends on the sign of the output alone.
fn is_sign(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Identity | Activation::Relu | Activation::LeakyRelu { .. }
    )
}

fn is_dropout(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Dropout { .. })
}

/// What an activation should be, and its parameter, where that is out of range.
pub(crate) fn misfit(activation: Activation) -> Option<(&'static str, f32)> {
    let (expected, got) = match activation {
        Activation::LeakyRelu { negative_slope } => {
            ("a finite negative_slope of at least 0", negative_slope)
        }
        Activation::Elu { alpha } => ("a finite alpha of at least 0", alpha),
        _ => return None,
    };
    (!(got.is_finite() && got >= 0.0)).then_some((expected, got))
}
