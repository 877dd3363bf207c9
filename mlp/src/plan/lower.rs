//! From nodes to calls: what is fused, when a value lives, where it lies.

use std::ops::Range;

use super::arena::{self, Lifetime};
use super::{Call, Fused, Plan, Product, Region, Sink, Source};
use crate::graph::{Graph, NodeId, Op};
use crate::params::{LINE, ParamId, Parameter};

/// Which passes a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    /// The forward pass alone: no value is kept for longer than the next layer needs it.
    Forward,
    /// Both: the forward pass keeps what the backward pass reads.
    Both,
}

/// The most rows for which bytes of values and counts of operations stay within `isize::MAX`.
pub(crate) fn max_batch(graph: &Graph) -> usize {
    // Two passes over the parameters for gradients and one forward, two flop each.
    const FLOP_PER_PARAMETER: usize = 6;
    let values = graph.all_nodes().map(|id| graph.node(id).width + LINE);
    let bytes = values.sum::<usize>().saturating_mul(size_of::<f32>());
    let flop = graph.parameters().len().saturating_mul(FLOP_PER_PARAMETER);
    isize::MAX as usize / bytes.saturating_add(flop)
}

/// The plan of a graph for batches of `batch` rows.
pub(crate) fn lower(graph: &Graph, batch: usize, passes: Passes) -> Plan {
    let nodes: Vec<NodeId> = match passes {
        Passes::Forward => graph.forward_nodes().collect(),
        Passes::Both => graph.all_nodes().collect(),
    };
    let lowering = Lowering::new(graph, &nodes, batch);
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let mut output_gradient = None;
    let mut order = nodes;
    order.sort_by_key(|&id| lowering.turn(id));
    for &id in &order {
        if let Op::OutputGradient { .. } = graph.node(id).op {
            output_gradient = Some(lowering.value(id));
        }
        let calls = match output_gradient {
            None => &mut forward,
            Some(_) => &mut backward,
        };
        calls.extend(lowering.call(id));
    }
    Plan {
        batch,
        forward,
        backward,
        outputs: lowering.value(graph.outputs()),
        output_gradient,
        arena_len: lowering.arena_len,
        unfused: unfused(graph),
    }
}

/// Weights from which on the step is fused into their gradient: smaller gradients are in the cache
/// until the end of the backward pass, and one step on all of them costs fewer calls.
const STEP_WEIGHTS: usize = 1 << 14;

/// Whether the step on a parameter is fused into its gradient.
fn step_is_fused(parameter: &Parameter) -> bool {
    parameter.rows > 1 && parameter.range().len() >= STEP_WEIGHTS
}

/// The parameters whose step is not fused; neighbours are one range.
fn unfused(graph: &Graph) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for parameter in graph.parameters().iter().filter(|p| !step_is_fused(p)) {
        let range = parameter.range();
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

struct Lowering<'g> {
    graph: &'g Graph,
    batch: usize,
    /// For each node, whether its one reader computes it on the way.
    fused: Vec<bool>,
    /// For each node, the position among the nodes at which it is computed.
    positions: Vec<usize>,
    /// For each node that has a place in the arena, where it is.
    offsets: Vec<Option<usize>>,
    arena_len: usize,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, nodes: &[NodeId], batch: usize) -> Self {
        let fused = fused_nodes(graph, nodes);
        let mut lowering = Self {
            graph,
            batch,
            positions: positions(graph, nodes, &fused),
            fused,
            offsets: vec![None; nodes.len()],
            arena_len: 0,
        };
        lowering.place_values(nodes);
        lowering
    }

    /// Gives every value that a call writes its place in the arena.
    fn place_values(&mut self, nodes: &[NodeId]) {
        let mut dies: Vec<usize> = (0..nodes.len()).collect();
        for &id in nodes {
            for read in self.graph.node(id).op.operands() {
                // What a node reads is read where it is computed, which may be later.
                dies[read.index()] = dies[read.index()].max(self.positions[id.index()]);
            }
        }
        // Whoever runs the plan reads the outputs when the forward pass is over.
        let outputs = self.graph.outputs().index();
        dies[outputs] = dies[outputs].max(self.graph.forward_nodes().count());

        let placed: Vec<NodeId> = nodes
            .iter()
            .copied()
            .filter(|&id| {
                let node = self.graph.node(id);
                !self.fused[id.index()] && node.width > 0 && node.op != Op::Input
            })
            .collect();
        let lifetimes: Vec<Lifetime> = placed
            .iter()
            .map(|id| Lifetime {
                len: self.batch * self.graph.node(*id).width,
                born: id.index(),
                dies: dies[id.index()],
            })
            .collect();
        let (offsets, arena_len) = arena::place(&lifetimes, LINE);
        for (id, offset) in placed.iter().zip(offsets) {
            self.offsets[id.index()] = Some(offset);
        }
        self.arena_len = arena_len;
    }

    /// When a node is computed; weight gradients after what else happens at their position.
    fn turn(&self, id: NodeId) -> (usize, bool) {
        let is_step = matches!(self.graph.node(id).op, Op::WeightGradient { .. });
        (self.positions[id.index()], is_step)
    }

    /// The call that computes a node; none for the input, for what the loss writes, and for what is
    /// fused into its reader.
    fn call(&self, id: NodeId) -> Option<Call> {
        if self.fused[id.index()] {
            return None;
        }
        let value = self.value(id);
        match self.graph.node(id).op {
            Op::Input | Op::OutputGradient { .. } => None,
            Op::Linear { .. } => self.forward(id, Sink::Arena(value), None),
            Op::Activation { x, activation } if self.fused[x.index()] => {
                self.forward(x, Sink::Arena(value), Some(activation))
            }
            Op::Activation { x, activation } => Some(Call::Activation {
                activation,
                x: self.value(x),
                y: value,
            }),
            Op::LinearGradient { .. } => self.data_gradient(id, Sink::Arena(value), Fused::Store),
            Op::ActivationGradient { dy, y, activation } if self.fused[dy.index()] => {
                let output = self.value(y);
                self.data_gradient(
                    dy,
                    Sink::Arena(value),
                    Fused::Derivative { activation, output },
                )
            }
            Op::ActivationGradient { dy, y, activation } => Some(Call::ActivationGradient {
                activation,
                y: self.value(y),
                dy: self.value(dy),
                dx: value,
            }),
            Op::WeightGradient { dy, x, weight } => Some(Call::Gemm {
                product: Product::WeightGradient,
                a: self.source(dy),
                b: self.source(x),
                c: Sink::Gradients(self.parameter(weight)),
                fused: match step_is_fused(self.graph.parameters().get(weight)) {
                    true => Fused::Step,
                    false => Fused::Store,
                },
                k: self.batch,
            }),
            Op::BiasGradient { dy, bias } => Some(Call::ColumnSums {
                x: self.value(dy),
                sums: self.parameter(bias),
            }),
        }
    }

    /// `y = act(x W^T + b)`
    fn forward(
        &self,
        linear: NodeId,
        y: Sink,
        activation: Option<kernels::Activation>,
    ) -> Option<Call> {
        let Op::Linear { x, weight, bias } = self.graph.node(linear).op else {
            return None;
        };
        Some(Call::Gemm {
            product: Product::Forward,
            a: self.source(x),
            b: Source::Parameters(self.parameter(weight)),
            c: y,
            fused: Fused::Activate {
                bias: self.parameter(bias),
                activation: activation.unwrap_or(kernels::Activation::Identity),
            },
            k: self.graph.node(x).width,
        })
    }

    /// `dx = dy W`, and what is fused with it
    fn data_gradient(&self, gradient: NodeId, dx: Sink, fused: Fused) -> Option<Call> {
        let Op::LinearGradient { dy, weight } = self.graph.node(gradient).op else {
            return None;
        };
        Some(Call::Gemm {
            product: Product::DataGradient,
            a: self.source(dy),
            b: Source::Parameters(self.parameter(weight)),
            c: dx,
            fused,
            k: self.graph.node(dy).width,
        })
    }

    /// Where a node lies in the arena.
    fn value(&self, id: NodeId) -> Region {
        Region {
            offset: self.offsets[id.index()].unwrap_or(0),
            rows: self.batch,
            cols: self.graph.node(id).width,
        }
    }

    fn source(&self, id: NodeId) -> Source {
        match self.graph.node(id).op {
            Op::Input => Source::Input,
            _ => Source::Arena(self.value(id)),
        }
    }

    fn parameter(&self, id: ParamId) -> Region {
        let parameter = self.graph.parameters().get(id);
        Region {
            offset: parameter.offset,
            rows: parameter.rows,
            cols: parameter.cols,
        }
    }
}

/// Where each node is computed: a fused one where its reader stands; the gradient of a weight after
/// the data gradient that reads this weight, since the step on the weight may follow it at once.
fn positions(graph: &Graph, nodes: &[NodeId], fused: &[bool]) -> Vec<usize> {
    let reads = |node: &NodeId, id: NodeId| graph.node(*node).op.operands().any(|x| x == id);
    let mut positions: Vec<usize> = nodes
        .iter()
        .map(|&id| match nodes.iter().find(|node| reads(node, id)) {
            Some(reader) if fused[id.index()] => reader.index(),
            _ => id.index(),
        })
        .collect();
    for &id in nodes {
        let Op::LinearGradient { weight: read, .. } = graph.node(id).op else {
            continue;
        };
        for &gradient in nodes {
            if let Op::WeightGradient { weight, .. } = graph.node(gradient).op
                && weight == read
            {
                let (at, after) = (gradient.index(), positions[id.index()]);
                positions[at] = positions[at].max(after);
            }
        }
    }
    positions
}

/// Whether the one reader of a node can compute it on the way: an activation its linear node, the
/// derivative of an activation its data gradient.
fn fused_nodes(graph: &Graph, nodes: &[NodeId]) -> Vec<bool> {
    let mut readers = vec![0; nodes.len()];
    for &id in nodes {
        for read in graph.node(id).op.operands() {
            readers[read.index()] += 1;
        }
    }
    let mut fused = vec![false; nodes.len()];
    for &id in nodes {
        let product = match graph.node(id).op {
            Op::Activation { x, .. } => x,
            Op::ActivationGradient { dy, .. } => dy,
            _ => continue,
        };
        let is_product = matches!(
            graph.node(product).op,
            Op::Linear { .. } | Op::LinearGradient { .. }
        );
        fused[product.index()] = is_product && readers[product.index()] == 1;
    }
    fused
}
