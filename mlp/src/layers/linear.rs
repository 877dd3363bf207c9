//! The dense layer `y = x W^T + b`.
//!
//! With x: batch x fan_in, W: width x fan_in and b: width, as in PyTorch's `Linear`:
//!
//! ```text
//! y  = x W^T + b      2 batch fan_in width flop
//! dx = dy W           the same again, and left out where nothing below has parameters
//! dW = dy^T x         the same again
//! db_j = sum_i dy_ij  batch width flop
//! ```

use crate::graph::{Flow, Graph, NodeId, Op};
use crate::params::{ParamId, ParameterKind};

/// A dense layer of a graph: where its parameters are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    /// Place in the list of layers of the description.
    pub(crate) position: usize,
    /// `width x fan_in`
    pub(crate) weight: ParamId,
    /// `1 x width`
    pub(crate) bias: ParamId,
    width: usize,
}

impl Linear {
    /// Places the parameters of a layer of `width` outputs that reads `x`.
    pub(crate) fn new(graph: &mut Graph, position: usize, x: NodeId, width: usize) -> Self {
        let fan_in = graph.node(x).width;
        Self {
            position,
            weight: graph.parameter(
                format!("{position}.weight"),
                ParameterKind::Weight,
                width,
                fan_in,
            ),
            bias: graph.parameter(format!("{position}.bias"), ParameterKind::Bias, 1, width),
            width,
        }
    }

    /// `y = x W^T + b`
    pub(crate) fn forward(self, graph: &mut Graph, x: NodeId) -> NodeId {
        let op = Op::Linear {
            x,
            weight: self.weight,
            bias: self.bias,
        };
        graph.forward(op, self.width, backward)
    }
}

/// `dx = dy W`, `dW = dy^T x`, `db = sum over rows of dy`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) -> Option<Flow> {
    let Op::Linear { x, weight, bias } = graph.node(y).op else {
        return None;
    };
    let fan_in = graph.node(x).width;
    let flow = graph.needs_gradient(x).then(|| Flow {
        x,
        dx: graph.gradient(Op::LinearGradient { dy, weight }, fan_in),
    });
    graph.parameter_gradient(Op::WeightGradient { dy, x, weight });
    graph.parameter_gradient(Op::BiasGradient { dy, bias });
    flow
}
