//! Which values share a place in memory, and for how long each place is needed.
//!
//! - A view ([`Op::Columns`], [`Op::Reshape`], in prediction [`Op::Dropout`]) lies where its value lies.
//! - The parts of an [`Op::Concat`] are written where they stand in it, and copied only if they
//!   already stand elsewhere.
//! - An [`Op::Sum`] takes the place of a summand that nothing reads afterwards.

use super::arena::{self, Lifetime};
use super::fuse::Fusion;
use super::{Passes, Region};
use crate::graph::{Graph, NodeId, Op};
use crate::params::LINE;

/// Where the value of a node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It has none: the samples, gradients of parameters, what is computed on the way.
    Nowhere,
    /// A place of its own.
    Own,
    /// In the columns of another value, from `col` on.
    In { parent: NodeId, col: usize },
    /// In the place of another value, in rows of another length.
    Reshaped { parent: NodeId },
}

/// The columns of a place that a value takes.
#[derive(Clone, Copy, Debug)]
struct Spot {
    /// The node that owns the place.
    owner: NodeId,
    col: usize,
    cols: usize,
    /// Whether rows are other ones than the owner's.
    reshaped: bool,
}

impl Spot {
    fn overlaps(&self, other: &Self) -> bool {
        let apart = self.col + self.cols <= other.col || other.col + other.cols <= self.col;
        self.owner == other.owner && (self.reshaped || other.reshaped || !apart)
    }
}

/// One node reads another.
#[derive(Clone, Copy)]
struct Read {
    of: NodeId,
    by: NodeId,
    turn: usize,
}

/// The places of all values of a plan.
pub(super) struct Places<'g> {
    graph: &'g Graph,
    batch: usize,
    places: Vec<Place>,
    /// For each node that owns a place, where it begins in the arena.
    offsets: Vec<usize>,
    pub(super) arena_len: usize,
}

impl<'g> Places<'g> {
    pub(super) fn new(
        graph: &'g Graph,
        nodes: &[NodeId],
        fusion: &Fusion,
        passes: Passes,
        batch: usize,
    ) -> Self {
        let mut places = Self {
            graph,
            batch,
            places: vec![Place::Nowhere; nodes.len()],
            offsets: vec![0; nodes.len()],
            arena_len: 0,
        };
        let reads = reads(graph, nodes, fusion);
        places.put_side_by_side(nodes, fusion, passes);
        for &id in nodes {
            if let Op::Sum { a, b } = graph.node(id).op {
                let summands = match fusion.product(graph, id) {
                    Some((_, Some(other))) => [Some(other), None],
                    _ => [Some(a), Some(b)],
                };
                let root = fusion.root(id);
                let into = summands
                    .into_iter()
                    .flatten()
                    .find(|&x| places.can_be_overwritten(x, id, root, fusion, &reads));
                if let Some(parent) = into {
                    places.places[root.index()] = Place::In { parent, col: 0 };
                }
            }
        }
        places.lay_out(nodes, fusion, &reads);
        places
    }

    /// Places of their own, views, and the parts of a concatenation.
    fn put_side_by_side(&mut self, nodes: &[NodeId], fusion: &Fusion, passes: Passes) {
        let graph = self.graph;
        let mut is_reshaped = vec![false; nodes.len()];
        for &id in nodes {
            if let Op::Reshape { x } = graph.node(id).op {
                is_reshaped[x.index()] = true;
            }
        }
        for &id in nodes {
            let node = graph.node(id);
            self.places[id.index()] = match node.op {
                Op::Input => Place::Nowhere,
                _ if node.shape.width == 0 || fusion.is_fused(id) => Place::Nowhere,
                Op::Columns { x, start } => Place::In {
                    parent: x,
                    col: start,
                },
                Op::Dropout { x, .. } if passes == Passes::Forward => {
                    Place::In { parent: x, col: 0 }
                }
                Op::Reshape { x } => match self.places[x.index()] {
                    Place::Own | Place::Reshaped { .. } => Place::Reshaped { parent: x },
                    _ => Place::Own,
                },
                _ => Place::Own,
            };
            if let Op::Concat { left, right } = node.op {
                for (x, col) in [(left, 0), (right, graph.node(left).shape.width)] {
                    let place = &mut self.places[x.index()];
                    if *place == Place::Own && !is_reshaped[x.index()] {
                        *place = Place::In { parent: id, col };
                    }
                }
            }
        }
    }

    /// Whether `root`, the node that computes `sum`, can be written over the summand `x`: nothing
    /// reads it later, nor does the same call in another way.
    fn can_be_overwritten(
        &self,
        x: NodeId,
        sum: NodeId,
        root: NodeId,
        fusion: &Fusion,
        reads: &[Read],
    ) -> bool {
        let turn = fusion.turn(root);
        let reshaped = |id| {
            reads
                .iter()
                .any(|read| read.of == id && self.is_reshape(read.by))
        };
        let (Some(spot), Place::Own) = (self.spot(x), self.places[root.index()]) else {
            return false;
        };
        let mut this = false;
        !reshaped(root)
            && reads.iter().all(|read| {
                // The sum reads it once; a second time would be another read.
                if !this && read.by == sum && read.of == x {
                    this = true;
                    return true;
                }
                let meets = |other: Spot| spot.overlaps(&other);
                read.turn < turn || !self.spot(read.of).is_some_and(meets)
            })
    }

    fn is_reshape(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id).op, Op::Reshape { .. })
    }

    /// Gives every place its offset in the arena.
    fn lay_out(&mut self, nodes: &[NodeId], fusion: &Fusion, reads: &[Read]) {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; nodes.len()];
        let mut touch = |id: NodeId, turn: usize| {
            if let Some(spot) = self.spot(id) {
                let life = &mut lives[spot.owner.index()];
                let (born, dies) = life.unwrap_or((turn, turn));
                *life = Some((born.min(turn), dies.max(turn)));
            }
        };
        for &id in nodes {
            // A view with a place of its own is written too, by a copy.
            if self.graph.node(id).op.view_of().is_none() || self.is_own(id) {
                touch(id, fusion.turn(id));
            }
        }
        for read in reads {
            touch(read.of, read.turn);
        }
        // Whoever runs the plan reads the outputs when the forward pass is over, and the loss reads the
        // scores, whose gradient it may write then.
        let end = 2 * self.graph.forward_len();
        touch(self.graph.outputs(), end);
        if let Some(scores) = self.graph.scores() {
            touch(scores, end);
        }
        if let Some(gradient) = self.graph.score_gradient()
            && nodes.len() > self.graph.forward_len()
        {
            touch(gradient, end);
        }

        let mut placed: Vec<(NodeId, Lifetime)> = nodes
            .iter()
            .filter_map(|&id| {
                let (born, dies) = lives[id.index()]?;
                let len = self.rows(id) * self.graph.node(id).shape.width;
                Some((id, Lifetime { len, born, dies }))
            })
            .collect();
        placed.sort_by_key(|(_, life)| life.born);
        let lifetimes: Vec<Lifetime> = placed.iter().map(|&(_, life)| life).collect();
        let (offsets, arena_len) = arena::place(&lifetimes, LINE);
        for ((id, _), offset) in placed.iter().zip(offsets) {
            self.offsets[id.index()] = offset;
        }
        self.arena_len = arena_len;
    }

    fn spot(&self, id: NodeId) -> Option<Spot> {
        let cols = self.graph.node(id).shape.width;
        match self.places[id.index()] {
            Place::Nowhere => None,
            Place::Own => Some(Spot {
                owner: id,
                col: 0,
                cols,
                reshaped: false,
            }),
            Place::In { parent, col } => {
                let spot = self.spot(parent)?;
                Some(Spot {
                    col: spot.col + col,
                    cols,
                    ..spot
                })
            }
            Place::Reshaped { parent } => Some(Spot {
                cols,
                reshaped: true,
                ..self.spot(parent)?
            }),
        }
    }

    fn rows(&self, id: NodeId) -> usize {
        self.graph.node(id).shape.rows.of(self.batch)
    }

    /// Where the value of a node lies in the arena.
    pub(super) fn region(&self, id: NodeId) -> Region {
        let (rows, cols) = (self.rows(id), self.graph.node(id).shape.width);
        let Some(spot) = self.spot(id) else {
            return Region::dense(0, rows, cols);
        };
        Region {
            offset: self.offsets[spot.owner.index()],
            stride: match spot.reshaped {
                true => self.stride_of_reshaped(id),
                false => self.graph.node(spot.owner).shape.width,
            },
            col: spot.col,
            rows,
            cols,
        }
    }

    /// The width of the reshaped value that a node is, or is a part of.
    fn stride_of_reshaped(&self, id: NodeId) -> usize {
        match self.places[id.index()] {
            Place::In { parent, .. } => self.stride_of_reshaped(parent),
            _ => self.graph.node(id).shape.width,
        }
    }

    /// Whether `x` lies in the columns of `whole` from `col` on.
    pub(super) fn lies_in(&self, x: NodeId, whole: NodeId, col: usize) -> bool {
        self.places[x.index()] == Place::In { parent: whole, col }
    }

    /// Whether a view has a place of its own, to which its value has to be copied.
    pub(super) fn is_own(&self, id: NodeId) -> bool {
        self.places[id.index()] == Place::Own
    }
}

/// What each call reads, when.
fn reads(graph: &Graph, nodes: &[NodeId], fusion: &Fusion) -> Vec<Read> {
    let of_node = |&by: &NodeId| {
        let operands = graph.node(by).op.operands();
        let turn = fusion.turn(by);
        operands.map(move |of| Read { of, by, turn })
    };
    nodes.iter().flat_map(of_node).collect()
}
