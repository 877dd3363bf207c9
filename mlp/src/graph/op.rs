//! How the value of a node comes about.

use kernels::Activation;

use super::NodeId;
use crate::params::ParamId;

/// How the value of a node comes about. `dy` stands for the gradient of the loss with respect to `y`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    /// The samples of a batch.
    Input,
    /// `y = x`, in a place of its own
    Copy { x: NodeId },
    /// `y = x W^T + b`
    Linear {
        x: NodeId,
        weight: ParamId,
        bias: Option<ParamId>,
    },
    /// `y = act(x)`
    Activation { x: NodeId, activation: Activation },
    /// `y = a + b`
    Sum { a: NodeId, b: NodeId },
    /// `y = [left, right]`, the columns of both side by side
    Concat { left: NodeId, right: NodeId },
    /// So many columns of `x` as the node is wide, from `start` on: a view
    Columns { x: NodeId, start: usize },
    /// The elements of `x` in rows of another length: a view
    Reshape { x: NodeId },
    /// The gradient of the loss with respect to the outputs; the loss writes it.
    OutputGradient { outputs: NodeId },
    /// `dx = dy W`
    LinearGradient { dy: NodeId, weight: ParamId },
    /// `dx = dy * act'(x)`, from x or `act(x)` as the activation asks
    ActivationGradient {
        dy: NodeId,
        saved: NodeId,
        activation: Activation,
    },
    /// `dW = dy^T x`
    WeightGradient {
        dy: NodeId,
        x: NodeId,
        weight: ParamId,
    },
    /// `db = sum over rows of dy`
    BiasGradient { dy: NodeId, bias: ParamId },
}

impl Op {
    /// The nodes it is computed from.
    pub(crate) fn operands(&self) -> impl Iterator<Item = NodeId> + use<> {
        let [first, second] = match *self {
            Self::Input => [None, None],
            Self::Copy { x }
            | Self::Linear { x, .. }
            | Self::Activation { x, .. }
            | Self::Columns { x, .. }
            | Self::Reshape { x } => [Some(x), None],
            Self::Sum { a, b } => [Some(a), Some(b)],
            Self::Concat { left, right } => [Some(left), Some(right)],
            Self::OutputGradient { outputs } => [Some(outputs), None],
            Self::LinearGradient { dy, .. } | Self::BiasGradient { dy, .. } => [Some(dy), None],
            Self::ActivationGradient { dy, saved, .. } => [Some(dy), Some(saved)],
            Self::WeightGradient { dy, x, .. } => [Some(dy), Some(x)],
        };
        first.into_iter().chain(second)
    }

    /// Whether parameters enter the value of a node of the forward pass.
    pub(super) fn has_parameters(&self) -> bool {
        matches!(self, Self::Linear { .. })
    }

    /// The node of which this one is a view: it has no place of its own.
    pub(crate) fn view_of(&self) -> Option<NodeId> {
        match *self {
            Self::Columns { x, .. } | Self::Reshape { x } => Some(x),
            _ => None,
        }
    }
}
