//! Embedding of sequences of symbols: a row of a table for each symbol, and one for its place.
//!
//! With the numbers `n_t` of the symbols of a sample, T of them:
//!
//! ```text
//! y_t = table_(n_t) + positions_t
//! dtable_n = sum of dy_t over all t with n_t = n,  dpositions_t = sum over the batch of dy_t
//! ```

use kernels::Activation;

use crate::graph::{Graph, NodeId, Op, Rows, Shape};
use crate::params::{Initial, ParameterKind};

/// Numbers up to here are exact in f32.
pub(crate) const MAX_SYMBOLS: usize = 1 << 24;

/// The sequence of rows; `None` if x is no row of numbers of a sample.
pub(crate) fn forward(
    graph: &mut Graph,
    name: &str,
    x: NodeId,
    symbols: usize,
    width: usize,
) -> Option<NodeId> {
    let Shape { rows, width: steps } = graph.node(x).shape;
    if rows != Rows::PerSample(1) || x != graph.input() {
        return None;
    }
    let mut table = |what: &str, rows| {
        let name = format!("{name}.{what}");
        let drawn = Initial::Drawn {
            activation: Activation::Identity,
        };
        graph.parameter(name, ParameterKind::Weight, rows, width, drawn)
    };
    let (table, positions) = (table("weight", symbols), table("positions", steps));
    let shape = Shape {
        rows: Rows::PerSample(steps),
        width,
    };
    let op = Op::Embedding {
        x,
        table,
        positions,
    };
    Some(graph.forward_shaped(op, shape, backward))
}

/// dtable and dpositions in one.
fn backward(graph: &mut Graph, y: NodeId, dy: NodeId) {
    let Op::Embedding {
        x,
        table,
        positions,
    } = graph.node(y).op
    else {
        return;
    };
    graph.parameter_gradient(Op::EmbeddingGradient {
        dy,
        x,
        table,
        positions,
    });
}
