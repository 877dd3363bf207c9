//! The layers: each adds its nodes to the graph, and knows how gradients flow back through them.

pub(crate) mod activation;
pub(crate) mod linear;

use crate::graph::Graph;
use crate::spec::{LayerSpec, Spec};

/// The graph of a checked description, with its backward pass; and the dense layers in it.
pub(crate) fn build(spec: &Spec) -> (Graph, Vec<linear::Linear>) {
    let mut graph = Graph::new(spec.inputs);
    let mut dense = Vec::new();
    let mut x = graph.input();
    for (position, layer) in spec.layers.iter().enumerate() {
        x = match *layer {
            LayerSpec::Dense { width } => {
                let linear = linear::Linear::new(&mut graph, position, x, width);
                dense.push(linear);
                linear.forward(&mut graph, x)
            }
            LayerSpec::Activation(activation) => activation::forward(&mut graph, x, activation),
        };
    }
    graph.differentiate();
    (graph, dense)
}
