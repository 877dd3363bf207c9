//! The network as a graph: nodes with shapes, differentiated once when the network is built.
//!
//! A node is a value that depends on the batch, or the gradient of a parameter. Nodes stand in an
//! order in which they can be computed: first the forward pass, then, starting from the gradient of
//! the loss with respect to the outputs, the backward pass. Layers add both: when a layer adds a
//! node it hands over the [`Rule`] that adds the gradients of what the node was computed from.
//!
//! A node may read several nodes and be read by several. The backward pass goes through the nodes of
//! the forward pass from the last to the first, so that whatever reads a node has handed its part of
//! the gradient over ([`Graph::flow`]) before the rule of that node runs; parts are summed in the
//! order in which they come. A graph knows no batch size; the plan does.

mod op;

use crate::params::{BufferId, Initial, Layout, ParamId, ParameterKind};

pub(crate) use op::{NormParameters, Op, Over, RunningStatistics};

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

impl NodeId {
    /// Position in the order of computation.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// How many rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// So many for each sample: 1, or the length of a sequence.
    PerSample(usize),
    /// So many for the whole batch, such as the statistics of its columns.
    Fixed(usize),
}

impl Rows {
    /// Rows in a batch of so many samples.
    pub(crate) fn of(self, batch: usize) -> usize {
        match self {
            Self::PerSample(rows) => batch * rows,
            Self::Fixed(rows) => rows,
        }
    }
}

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: Rows,
    /// Columns; 0 for the gradient of a parameter, which has its place elsewhere.
    pub(crate) width: usize,
}

/// Adds the gradients of what node `y` was computed from, given that of `y` itself: those of its
/// parameters, and by [`Graph::flow`] those of the nodes it reads.
pub(crate) type Rule = fn(graph: &mut Graph, y: NodeId, dy: NodeId);

/// A node: how it is computed, and its shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) shape: Shape,
    /// How gradients flow on; `None` in the backward pass, and for the input.
    rule: Option<Rule>,
    /// Whether it was computed from parameters.
    needs_gradient: bool,
}

/// A network, or a network with its backward pass.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    parameters: Layout,
    outputs: NodeId,
    /// What the loss reads instead of the outputs, if it knows their activation.
    scores: Option<NodeId>,
    forward_len: usize,
    /// The gradient of each node of the forward pass, as far as its readers have handed it over.
    gradients: Vec<Option<NodeId>>,
    /// Masks so far.
    masks: u64,
    /// The samples in the arena, if a node reads them there.
    readable_input: Option<NodeId>,
}

impl Graph {
    /// A graph of the input alone.
    pub(crate) fn new(inputs: usize) -> Self {
        Self {
            nodes: vec![Node {
                op: Op::Input,
                shape: Shape {
                    rows: Rows::PerSample(1),
                    width: inputs,
                },
                rule: None,
                needs_gradient: false,
            }],
            parameters: Layout::default(),
            outputs: NodeId(0),
            scores: None,
            forward_len: 1,
            gradients: Vec::new(),
            masks: 0,
            readable_input: None,
        }
    }

    /// Places a new parameter.
    pub(crate) fn parameter(
        &mut self,
        name: String,
        kind: ParameterKind,
        rows: usize,
        cols: usize,
        initial: Initial,
    ) -> ParamId {
        self.parameters.add(name, kind, rows, cols, initial)
    }

    /// Adds a node of the forward pass with one row for each row of `x`, see
    /// [`Graph::forward_shaped`].
    pub(crate) fn forward(&mut self, x: NodeId, op: Op, width: usize, rule: Rule) -> NodeId {
        let rows = self.node(x).shape.rows;
        self.forward_shaped(op, Shape { rows, width }, rule)
    }

    /// Adds a node of the forward pass; the newest is the output of the network.
    pub(crate) fn forward_shaped(&mut self, op: Op, shape: Shape, rule: Rule) -> NodeId {
        let needs_gradient =
            op.has_parameters() || op.operands().any(|x| self.node(x).needs_gradient);
        self.outputs = self.push(op, shape, Some(rule), needs_gradient);
        self.forward_len = self.nodes.len();
        self.outputs
    }

    /// Adds a node of the backward pass: a gradient of the shape of node `like`.
    pub(crate) fn gradient(&mut self, op: Op, like: NodeId) -> NodeId {
        self.push(op, self.node(like).shape, None, false)
    }

    /// Adds a node of the backward pass that computes gradients of parameters, and beside them that of
    /// `x` if it needs one, which is handed over.
    pub(crate) fn gradient_if_needed(&mut self, op: Op, x: NodeId) {
        if self.needs_gradient(x) {
            let dx = self.gradient(op, x);
            self.flow(x, dx);
        } else {
            self.parameter_gradient(op);
        }
    }

    /// Places a new buffer: one row that training changes without a gradient.
    pub(crate) fn buffer(&mut self, name: String, cols: usize, initial: f32) -> BufferId {
        self.parameters.add_buffer(name, 1, cols, initial)
    }

    /// Adds a node of the backward pass: the gradient of a parameter.
    pub(crate) fn parameter_gradient(&mut self, op: Op) {
        let rows = Rows::Fixed(0);
        self.push(op, Shape { rows, width: 0 }, None, false);
    }

    fn push(&mut self, op: Op, shape: Shape, rule: Option<Rule>, needs_gradient: bool) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            op,
            shape,
            rule,
            needs_gradient,
        });
        id
    }

    /// A node with the value of `x` that lies in the arena with contiguous rows: `x` itself, or a
    /// copy of the samples, which may have any strides. What reads no strides reads this.
    pub(crate) fn readable(&mut self, x: NodeId) -> NodeId {
        if x != self.input() {
            return x;
        }
        *self.readable_input.get_or_insert_with(|| {
            let id = NodeId(self.nodes.len());
            self.nodes.push(Node {
                op: Op::Copy { x },
                ..self.nodes[x.0]
            });
            self.forward_len = self.nodes.len();
            id
        })
    }

    /// The number of a new mask.
    pub(crate) fn new_mask(&mut self) -> u64 {
        self.masks += 1;
        self.masks - 1
    }

    /// The one node of the forward pass that reads `x`, if there is just one.
    pub(crate) fn only_reader(&self, x: NodeId) -> Option<NodeId> {
        let mut readers = self.forward_nodes().flat_map(|id| {
            let operands = self.node(id).op.operands();
            operands.filter(move |&y| y == x).map(move |_| id)
        });
        readers.next().filter(|_| readers.next().is_none())
    }

    /// Adds the backward pass: hands the gradient of the outputs back, rule by rule.
    ///
    /// `scores` is what the activation at the end reads, where the loss takes it instead of the outputs;
    /// its gradient is then the first that the backward pass computes, unless the loss has written it.
    pub(crate) fn differentiate(&mut self, scores: Option<NodeId>) {
        let outputs = self.outputs;
        self.scores = scores.filter(|&x| self.needs_gradient(x));
        self.gradients = vec![None; self.forward_len];
        let seed = self.gradient(Op::OutputGradient { outputs }, outputs);
        self.gradients[outputs.0] = Some(seed);
        for y in (0..self.forward_len).rev() {
            let node = self.nodes[y];
            if let (true, Some(rule), Some(dy)) =
                (node.needs_gradient, node.rule, self.gradients[y])
            {
                rule(self, NodeId(y), dy);
            }
        }
    }

    /// Hands over `dx`, a part of the gradient of `x`: what one reader of `x` adds to it.
    pub(crate) fn flow(&mut self, x: NodeId, dx: NodeId) {
        let sum = match self.gradients[x.0] {
            None => dx,
            Some(a) => self.gradient(Op::Sum { a, b: dx }, x),
        };
        self.gradients[x.0] = Some(sum);
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Whether a gradient has to flow to this node: it was computed from parameters.
    pub(crate) fn needs_gradient(&self, id: NodeId) -> bool {
        self.node(id).needs_gradient
    }

    /// The input of the network.
    pub(crate) fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// The output of the network.
    pub(crate) fn outputs(&self) -> NodeId {
        self.outputs
    }

    /// What the loss of the network reads, where that is not the outputs.
    pub(crate) fn scores(&self) -> Option<NodeId> {
        self.scores
    }

    /// The gradient of the scores.
    pub(crate) fn score_gradient(&self) -> Option<NodeId> {
        self.gradients[self.scores?.0]
    }

    /// Names, shapes and places of the parameters.
    pub(crate) fn parameters(&self) -> &Layout {
        &self.parameters
    }

    /// Number of the nodes of the forward pass, which come first.
    pub(crate) fn forward_len(&self) -> usize {
        self.forward_len
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
