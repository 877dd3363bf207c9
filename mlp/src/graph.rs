//! The network as a graph: nodes with shapes, differentiated once when the network is built.
//!
//! A node is a value that depends on the batch, or the gradient of a parameter. Nodes stand in an
//! order in which they can be computed: first the forward pass, then, starting from the gradient of
//! the loss with respect to the outputs, the backward pass. Layers add both: when a layer adds a
//! node it hands over the [`Rule`] that adds the gradients of what the node was computed from.
//! A graph knows no batch size; the plan does.

use crate::params::{Layout, ParamId, ParameterKind};
use kernels::Activation;

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

impl NodeId {
    /// Position in the order of computation.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// How the value of a node comes about. `dy` stands for the gradient of the loss with respect to `y`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    /// The samples of a batch.
    Input,
    /// `y = x W^T + b`
    Linear {
        x: NodeId,
        weight: ParamId,
        bias: ParamId,
    },
    /// `y = act(x)`
    Activation { x: NodeId, activation: Activation },
    /// The gradient of the loss with respect to the outputs; the loss writes it.
    OutputGradient { outputs: NodeId },
    /// `dx = dy W`
    LinearGradient { dy: NodeId, weight: ParamId },
    /// `dx = dy * act'(y)`
    ActivationGradient {
        dy: NodeId,
        y: NodeId,
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
    pub(crate) fn operands(&self) -> impl Iterator<Item = NodeId> {
        let [first, second] = match *self {
            Self::Input => [None, None],
            Self::Linear { x, .. } | Self::Activation { x, .. } => [Some(x), None],
            Self::OutputGradient { outputs } => [Some(outputs), None],
            Self::LinearGradient { dy, .. } | Self::BiasGradient { dy, .. } => [Some(dy), None],
            Self::ActivationGradient { dy, y, .. } => [Some(dy), Some(y)],
            Self::WeightGradient { dy, x, .. } => [Some(dy), Some(x)],
        };
        first.into_iter().chain(second)
    }
}

/// Adds the gradients of what node `y` was computed from, given that of `y` itself: those of its
/// parameters, and that of the one node it reads, which is returned if that node needs one.
pub(crate) type Rule = fn(graph: &mut Graph, y: NodeId, dy: NodeId) -> Option<Flow>;

/// The gradient of a node, on its way to the rule of that node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) x: NodeId,
    pub(crate) dx: NodeId,
}

/// A node: how it is computed, and its shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    /// Columns of a value that has a row for each sample; 0 for the gradient of a parameter.
    pub(crate) width: usize,
    /// How gradients flow on; `None` where none has to.
    rule: Option<Rule>,
}

/// A network, or a network with its backward pass.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    parameters: Layout,
    outputs: NodeId,
    forward_len: usize,
}

impl Graph {
    /// A graph of the input alone.
    pub(crate) fn new(inputs: usize) -> Self {
        Self {
            nodes: vec![Node {
                op: Op::Input,
                width: inputs,
                rule: None,
            }],
            parameters: Layout::default(),
            outputs: NodeId(0),
            forward_len: 1,
        }
    }

    /// Places a new parameter.
    pub(crate) fn parameter(
        &mut self,
        name: String,
        kind: ParameterKind,
        rows: usize,
        cols: usize,
    ) -> ParamId {
        self.parameters.add(name, kind, rows, cols)
    }

    /// Adds a node of the forward pass; the newest is the output of the network.
    pub(crate) fn forward(&mut self, op: Op, width: usize, rule: Rule) -> NodeId {
        self.outputs = self.push(op, width, Some(rule));
        self.forward_len = self.nodes.len();
        self.outputs
    }

    /// Adds a node of the backward pass: a gradient with a row for each sample.
    pub(crate) fn gradient(&mut self, op: Op, width: usize) -> NodeId {
        self.push(op, width, None)
    }

    /// Adds a node of the backward pass: the gradient of a parameter.
    pub(crate) fn parameter_gradient(&mut self, op: Op) {
        self.push(op, 0, None);
    }

    fn push(&mut self, op: Op, width: usize, rule: Option<Rule>) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { op, width, rule });
        id
    }

    /// Adds the backward pass: follows the gradient from the outputs back, rule by rule.
    pub(crate) fn differentiate(&mut self) {
        let outputs = self.outputs;
        let seed = Op::OutputGradient { outputs };
        let dx = self.gradient(seed, self.node(outputs).width);
        let mut flow = Some(Flow { x: outputs, dx });
        while let Some(Flow { x, dx }) = flow {
            flow = self.node(x).rule.and_then(|rule| rule(self, x, dx));
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Whether a gradient has to flow to this node: it was computed from parameters.
    pub(crate) fn needs_gradient(&self, id: NodeId) -> bool {
        self.node(id).rule.is_some()
    }

    /// The input of the network.
    pub(crate) fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// The output of the network.
    pub(crate) fn outputs(&self) -> NodeId {
        self.outputs
    }

    /// Names, shapes and places of the parameters.
    pub(crate) fn parameters(&self) -> &Layout {
        &self.parameters
    }

    /// The nodes of the forward pass, in order.
    pub(crate) fn forward_nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.forward_len).map(NodeId)
    }

    /// All nodes, in order.
    pub(crate) fn all_nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }
}
