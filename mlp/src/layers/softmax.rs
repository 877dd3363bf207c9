//! Softmax, row by row: `y_j = e^(x_j) / sum_k e^(x_k)`.
//!
//! Backwards the whole Jacobian takes part, `dx_j = y_j (dy_j - sum_k dy_k y_k)`. At the end of a network
//! that is trained on cross-entropy the loss goes around it, see [`scores`].

use kernels::Activation;

use crate::error::MlpError;
use crate::graph::{Graph, NodeId, Op};
use crate::loss::Loss;

/// `y = softmax(x)`
pub(crate) fn forward(graph: &mut Graph, x: NodeId) -> NodeId {
    let x = graph.readable(x);
    let width = graph.node(x).shape.width;
    graph.forward(x, Op::Softmax { x }, width, backward)
}

/// `dx = y (dy - sum_k dy_k y_k)`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Softmax { x } = graph.node(y).op else {
        return;
    };
    let dx = graph.gradient(Op::SoftmaxGradient { dy, y }, x);
    graph.flow(x, dx);
}

/// What the activation at the end of a network reads, if the loss knows the two together: softmax
/// before cross-entropy, the sigmoid before binary cross-entropy.
///
/// From there `dL/dx = (p - t) / B` and `L = -1/B sum t log p` need no quotient `t / p` and no logarithm
/// of a probability that has become 0.
pub(crate) fn scores(graph: &Graph, loss: Loss) -> Option<NodeId> {
    match (graph.node(graph.outputs()).op, loss) {
        (Op::Softmax { x }, Loss::SoftmaxCrossEntropy) => Some(x),
        (
            Op::Activation {
                x,
                activation: Activation::Sigmoid,
            },
            Loss::BinaryCrossEntropy,
        ) => Some(x),
        _ => None,
    }
}

/// Refuses probabilities where the loss would take them for scores: softmax or a sigmoid in front of layers
/// without parameters that hand its values on one by one, dropout and activations, where the loss goes around
/// it only at the very end. Normalisation, like a dense layer, has a learned scale with which what it makes of
/// probabilities may become scores of any size. Refuses also softmax before binary cross-entropy, by which every answer would be a yes: the sigmoid of what is above 0 is above 1/2.
pub(crate) fn check_end(graph: &Graph, loss: Loss) -> Result<(), MlpError> {
    let mut end = graph.outputs();
    loop {
        let (op, of_logits) = (&graph.node(end).op, loss == Loss::BinaryCrossEntropy);
        end = match *op {
            Op::Activation {
                activation: Activation::Sigmoid,
                ..
            } if of_logits => break,
            Op::Reshape { x }
            | Op::Copy { x }
            | Op::Dropout { x, .. }
            | Op::Activation { x, .. } => x,
            _ => break,
        };
    }
    let last = end == graph.outputs();
    let got = match (graph.node(end).op, loss) {
        (Op::Softmax { .. }, Loss::BinaryCrossEntropy) => "softmax before binary cross-entropy",
        _ if last => return Ok(()),
        (Op::Softmax { .. }, Loss::SoftmaxCrossEntropy) => "softmax before other layers",
        (
            Op::Activation {
                activation: Activation::Sigmoid,
                ..
            },
            Loss::BinaryCrossEntropy,
        ) => "a sigmoid before other layers",
        _ => return Ok(()),
    };
    Err(MlpError::Setting {
        name: "loss",
        expected: "scores, or as the very last layer softmax for softmax cross-entropy or a sigmoid \
                   for binary cross-entropy",
        got: got.into(),
    })
}
