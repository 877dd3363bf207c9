//! How the value of a node comes about.

use kernels::Activation;

use super::Graph;
use super::NodeId;
use crate::params::{BufferId, Initial, ParamId, ParameterKind};

/// The most nodes that one is computed from.
const MAX_OPERANDS: usize = 4;

/// The parameters of a normalisation over `width` columns, and what is added to its variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NormParameters {
    pub(crate) gamma: ParamId,
    pub(crate) beta: ParamId,
    pub(crate) eps: f32,
}

impl NormParameters {
    /// Places gamma, all 1, and beta, all 0, under PyTorch's names.
    pub(crate) fn new(graph: &mut Graph, name: &str, width: usize, eps: f32) -> Self {
        let mut row = |what: &str, kind, initial| {
            let initial = Initial::Constant(initial);
            graph.parameter(format!("{name}.{what}"), kind, 1, width, initial)
        };
        Self {
            gamma: row("weight", ParameterKind::Norm, 1.0),
            beta: row("bias", ParameterKind::Bias, 0.0),
            eps,
        }
    }
}

/// What attention is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Over {
    pub(crate) heads: usize,
    /// Whether a row does not see the rows behind it.
    pub(crate) causal: bool,
    /// The value that samples are filled up with: rows of it at their end are seen by none.
    pub(crate) padding: Option<f32>,
}

/// Statistics over the batches of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RunningStatistics {
    pub(crate) mean: BufferId,
    pub(crate) var: BufferId,
    /// Weight of the newest batch.
    pub(crate) momentum: f32,
}

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
    /// `y_j = e^(x_j) / sum_k e^(x_k)`, row by row
    Softmax { x: NodeId },
    /// `dx = y (dy - sum_k dy_k y_k)`, row by row
    SoftmaxGradient { dy: NodeId, y: NodeId },
    /// `y = m x / (1 - rate)` in training, with the mask number `layer`; a view of x in prediction
    Dropout { x: NodeId, rate: f32, layer: u64 },
    /// `y = a + b`
    Sum { a: NodeId, b: NodeId },
    /// `y = [left, right]`, the columns of both side by side
    Concat { left: NodeId, right: NodeId },
    /// So many columns of `x` as the node is wide, from `start` on: a view
    Columns { x: NodeId, start: usize },
    /// The elements of `x` in rows of another length: a view
    Reshape { x: NodeId },
    /// Statistics of `x`, which the node that reads them computes beside its own value
    Statistics { x: NodeId },
    /// `y = gamma (x - mean) rstd + beta`, mean and rstd of each row
    LayerNorm {
        x: NodeId,
        statistics: NodeId,
        norm: NormParameters,
    },
    /// `y = gamma (x - mean) rstd + beta`, mean and rstd of each column, of the batch or running
    BatchNorm {
        x: NodeId,
        statistics: NodeId,
        norm: NormParameters,
        running: RunningStatistics,
    },
    /// `y = softmax(q k^T / sqrt(d)) v` for each head, with q, k and v side by side
    Attention {
        qkv: NodeId,
        lse: NodeId,
        over: Over,
    },
    /// `y_t = table_n + positions_t` for the number n at place t
    Embedding {
        x: NodeId,
        table: ParamId,
        positions: ParamId,
    },
    /// dx, dgamma and dbeta of a layer norm
    LayerNormGradient {
        dy: NodeId,
        x: NodeId,
        statistics: NodeId,
        norm: NormParameters,
    },
    /// dx, dgamma and dbeta of a batch norm
    BatchNormGradient {
        dy: NodeId,
        x: NodeId,
        statistics: NodeId,
        norm: NormParameters,
    },
    /// dq, dk and dv side by side
    AttentionGradient {
        dy: NodeId,
        y: NodeId,
        qkv: NodeId,
        lse: NodeId,
        over: Over,
    },
    /// dtable and dpositions
    EmbeddingGradient {
        dy: NodeId,
        x: NodeId,
        table: ParamId,
        positions: ParamId,
    },
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
        let nodes = match *self {
            Self::Input => some([]),
            Self::Copy { x }
            | Self::Linear { x, .. }
            | Self::Activation { x, .. }
            | Self::Dropout { x, .. }
            | Self::Softmax { x }
            | Self::Columns { x, .. }
            | Self::Reshape { x } => some([x]),
            Self::Sum { a, b } => some([a, b]),
            Self::SoftmaxGradient { dy, y } => some([dy, y]),
            Self::Concat { left, right } => some([left, right]),
            Self::OutputGradient { outputs } => some([outputs]),
            Self::LinearGradient { dy, .. } | Self::BiasGradient { dy, .. } => some([dy]),
            Self::ActivationGradient { dy, saved, .. } => some([dy, saved]),
            Self::WeightGradient { dy, x, .. } => some([dy, x]),
            Self::Statistics { x } | Self::Embedding { x, .. } => some([x]),
            Self::LayerNorm { x, statistics, .. } | Self::BatchNorm { x, statistics, .. } => {
                some([x, statistics])
            }
            Self::LayerNormGradient {
                dy, x, statistics, ..
            }
            | Self::BatchNormGradient {
                dy, x, statistics, ..
            } => some([dy, x, statistics]),
            Self::Attention { qkv, lse, .. } => some([qkv, lse]),
            Self::AttentionGradient {
                dy, y, qkv, lse, ..
            } => some([dy, y, qkv, lse]),
            Self::EmbeddingGradient { dy, x, .. } => some([dy, x]),
        };
        nodes.into_iter().flatten()
    }

    /// Whether parameters enter the value of a node of the forward pass.
    pub(super) fn has_parameters(&self) -> bool {
        matches!(
            self,
            Self::Linear { .. }
                | Self::LayerNorm { .. }
                | Self::BatchNorm { .. }
                | Self::Embedding { .. }
        )
    }

    /// The node of which this one is a view: it has no place of its own.
    pub(crate) fn view_of(&self) -> Option<NodeId> {
        match *self {
            Self::Columns { x, .. } | Self::Reshape { x } => Some(x),
            _ => None,
        }
    }
}

/// A list of operands, filled up with nothing.
fn some<const N: usize>(nodes: [NodeId; N]) -> [Option<NodeId>; MAX_OPERANDS] {
    std::array::from_fn(|index| nodes.get(index).copied())
}
