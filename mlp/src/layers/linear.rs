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

use kernels::Activation;

use crate::graph::{Graph, NodeId, Op};
use crate::params::{Initial, ParamId, ParameterKind};

/// A dense layer of a graph: where its parameters are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    /// `width x fan_in`
    pub(crate) weight: ParamId,
    /// `1 x width`
    pub(crate) bias: Option<ParamId>,
    width: usize,
}

impl Linear {
    /// Places the parameters of a layer of `width` outputs that reads `x` and is followed by
    /// `activation`.
    pub(crate) fn new(
        graph: &mut Graph,
        name: &str,
        x: NodeId,
        width: usize,
        activation: Activation,
    ) -> Self {
        let names = ["weight", "bias"].map(|what| format!("{name}.{what}"));
        Self::named(graph, names, x, width, activation)
    }

    /// The same, with names for weight and bias.
    pub(crate) fn named(
        graph: &mut Graph,
        [weight, bias]: [String; 2],
        x: NodeId,
        width: usize,
        activation: Activation,
    ) -> Self {
        let mut linear = Self::of_weight(graph, weight, x, width, activation);
        let zeros = Initial::Constant(0.0);
        linear.bias = Some(graph.parameter(bias, ParameterKind::Bias, 1, width, zeros));
        linear
    }

    /// A layer of weights alone, `y = x W^T`.
    pub(crate) fn without_bias(
        graph: &mut Graph,
        name: &str,
        x: NodeId,
        width: usize,
        activation: Activation,
    ) -> Self {
        Self::of_weight(graph, format!("{name}.weight"), x, width, activation)
    }

    fn of_weight(
        graph: &mut Graph,
        weight: String,
        x: NodeId,
        width: usize,
        activation: Activation,
    ) -> Self {
        let fan_in = graph.node(x).shape.width;
        let drawn = Initial::Drawn { activation };
        Self {
            weight: graph.parameter(weight, ParameterKind::Weight, width, fan_in, drawn),
            bias: None,
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
        graph.forward(x, op, self.width, backward)
    }
}

/// `dx = dy W`, `dW = dy^T x`, `db = sum over rows of dy`
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Linear { x, weight, bias } = graph.node(y).op else {
        return;
    };
    if graph.needs_gradient(x) {
        let dx = graph.gradient(Op::LinearGradient { dy, weight }, x);
        graph.flow(x, dx);
    }
    graph.parameter_gradient(Op::WeightGradient { dy, x, weight });
    if let Some(bias) = bias {
        graph.parameter_gradient(Op::BiasGradient { dy, bias });
    }
}
