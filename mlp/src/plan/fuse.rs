//! Which nodes are computed on the way by the one node that reads them, and whose turn is when.
//!
//! A product can take along what follows it element by element, in this order: the sum with another
//! value, dropout behind an activation or before the derivative of one, and that. So `relu(x + h W^T + b)` is one call, and so is
//! `(dh + dy W) * relu'(h)`.

use super::Passes;
use crate::graph::{Graph, NodeId, Op};

/// What is fused, and in which order the rest is computed.
pub(super) struct Fusion {
    /// For each node, the one reader that computes it on the way.
    into: Vec<Option<NodeId>>,
    /// For each node, when it is computed.
    turns: Vec<usize>,
}

impl Fusion {
    /// Decides for the first nodes of a graph, those of a plan.
    pub(super) fn new(graph: &Graph, nodes: &[NodeId], passes: Passes) -> Self {
        let mut fusion = Self {
            into: vec![None; nodes.len()],
            turns: Vec::new(),
        };
        let mut readers = vec![0; nodes.len()];
        for read in nodes.iter().flat_map(|&id| graph.node(id).op.operands()) {
            readers[read.index()] += 1;
        }
        // The loss reads them.
        if let Some(scores) = graph.scores() {
            readers[scores.index()] += 1;
        }
        for &id in nodes {
            let fusible = |x: &NodeId| readers[x.index()] == 1;
            let taken = match graph.node(id).op {
                Op::Activation { x, .. } => Some(x)
                    .filter(fusible)
                    .filter(|&x| fusion.product(graph, x).is_some()),
                Op::ActivationGradient { dy: x, .. } => Some(x)
                    .filter(fusible)
                    .filter(|&x| fusion.product(graph, fusion.undropped(graph, x)).is_some()),
                Op::Dropout { x, .. } if passes == Passes::Both => {
                    Some(x).filter(fusible).filter(|&x| {
                        fusion
                            .product(graph, fusion.unactivated(graph, x))
                            .is_some()
                    })
                }
                // The later one, so that the other is there when it is added to.
                Op::Sum { a, b } => [b, a]
                    .into_iter()
                    .find(|x| fusible(x) && is_product(&graph.node(*x).op)),
                _ => None,
            };
            if let Some(x) = taken {
                fusion.into[x.index()] = Some(id);
            }
        }
        fusion.turns = fusion.turns(graph, nodes);
        fusion
    }

    /// Whether a node is computed on the way by its reader.
    pub(super) fn is_fused(&self, id: NodeId) -> bool {
        self.into[id.index()].is_some()
    }

    /// The node whose call computes this one.
    pub(super) fn root(&self, id: NodeId) -> NodeId {
        self.into[id.index()].map_or(id, |reader| self.root(reader))
    }

    /// When a node is computed: turns go up from call to call.
    pub(super) fn turn(&self, id: NodeId) -> usize {
        self.turns[id.index()]
    }

    /// The product that a node is, or is the sum with; and what it is added to.
    pub(super) fn product(&self, graph: &Graph, id: NodeId) -> Option<(NodeId, Option<NodeId>)> {
        match graph.node(id).op {
            Op::Sum { a, b } if self.into[b.index()] == Some(id) => Some((b, Some(a))),
            Op::Sum { a, b } if self.into[a.index()] == Some(id) => Some((a, Some(b))),
            op if is_product(&op) => Some((id, None)),
            _ => None,
        }
    }

    /// What a dropout is applied to on the way; the node itself if it is none.
    pub(super) fn undropped(&self, graph: &Graph, id: NodeId) -> NodeId {
        match graph.node(id).op {
            Op::Dropout { x, .. } if self.is_fused(x) => x,
            _ => id,
        }
    }

    /// What an activation is applied to on the way; the node itself if it is none.
    pub(super) fn unactivated(&self, graph: &Graph, id: NodeId) -> NodeId {
        match graph.node(id).op {
            Op::Activation { x, .. } if self.is_fused(x) => x,
            _ => id,
        }
    }

    /// A fused node is computed where its reader stands; the gradient of a weight after the data
    /// gradient that reads this weight, since the step on the weight may follow it at once.
    fn turns(&self, graph: &Graph, nodes: &[NodeId]) -> Vec<usize> {
        let mut turns: Vec<usize> = nodes.iter().map(|&id| 2 * self.root(id).index()).collect();
        let mut weight_read = vec![0; graph.parameters().iter().count()];
        for &id in nodes {
            if let Op::LinearGradient { weight, .. } = graph.node(id).op {
                let read = &mut weight_read[weight.index()];
                *read = turns[id.index()].max(*read);
            }
        }
        for &id in nodes {
            if let Op::WeightGradient { weight, .. } = graph.node(id).op {
                let turn = &mut turns[id.index()];
                *turn = weight_read[weight.index()].max(*turn) + 1;
            }
        }
        turns
    }
}

fn is_product(op: &Op) -> bool {
    matches!(op, Op::Linear { .. } | Op::LinearGradient { .. })
}
