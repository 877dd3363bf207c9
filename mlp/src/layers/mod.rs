//! The layers: each adds its nodes to the graph, and knows how gradients flow back through them.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod concat;
pub(crate) mod dropout;
pub(crate) mod embedding;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod rows;
pub(crate) mod softmax;
pub(crate) mod sum;
pub(crate) mod transformer;

use kernels::Activation;

use crate::error::MlpError;
use crate::graph::{Graph, NodeId, Shape};
use crate::spec::{LayerSpec, Shortcut, Spec, check_size};
use linear::Linear;

/// The graph of a description, with its backward pass; and the dense layers in it.
///
/// # Errors
/// [`MlpError::Layer`] or [`MlpError::Setting`] where the description is no network.
pub(crate) fn build(spec: &Spec) -> Result<(Graph, Vec<Linear>), MlpError> {
    spec.check()?;
    let mut net = Building {
        graph: Graph::new(spec.inputs),
        padding: None,
        dense: Vec::new(),
    };
    let input = net.graph.input();
    let outputs = net.list("", &spec.layers, input)?;
    check_size(net.graph.parameters().arena_len())?;
    let Shape { rows, width } = net.graph.node(outputs).shape;
    spec.check_outputs(rows.of(1), width)?;
    softmax::check_end(&net.graph, spec.loss)?;
    let scores = softmax::scores(&net.graph, spec.loss);
    net.graph.differentiate(scores);
    Ok((net.graph, net.dense))
}

/// Rows of this value at the end of the `steps` rows of a sample are no part of it.
#[derive(Clone, Copy)]
struct Padding {
    value: f32,
    steps: usize,
}

/// A network to which layers are being added.
struct Building {
    graph: Graph,
    /// What the samples are filled up with.
    padding: Option<Padding>,
    /// The dense layers, in the order of their parameters.
    dense: Vec<Linear>,
}

impl Building {
    /// Adds a list of layers that reads `x`; their names begin with `prefix`.
    fn list(
        &mut self,
        prefix: &str,
        layers: &[LayerSpec],
        mut x: NodeId,
    ) -> Result<NodeId, MlpError> {
        // What each dense layer of the list reads: where skip connections begin.
        let mut read_by_dense = Vec::new();
        for (position, layer) in layers.iter().enumerate() {
            let name = format!("{prefix}{position}");
            let refuse = |expected, got| {
                let layer = name.clone();
                Err(MlpError::Layer {
                    layer,
                    expected,
                    got,
                })
            };
            x = match layer {
                LayerSpec::Dense { width: 0 } => {
                    return refuse("a width of at least 1", "0".into());
                }
                LayerSpec::Dense { width } => {
                    read_by_dense.push(x);
                    let next = match layers.get(position + 1) {
                        Some(&LayerSpec::Activation(activation)) => activation,
                        _ => Activation::Identity,
                    };
                    let linear = Linear::new(&mut self.graph, &name, x, *width, next);
                    self.dense.push(linear);
                    linear.forward(&mut self.graph, x)
                }
                LayerSpec::Activation(Activation::Identity) => x,
                LayerSpec::Activation(activation) => {
                    if let Some((expected, got)) = activation::misfit(*activation) {
                        return refuse(expected, got.to_string());
                    }
                    activation::forward(&mut self.graph, x, *activation)
                }
                LayerSpec::Softmax => softmax::forward(&mut self.graph, x),
                LayerSpec::Skip { over, shortcut } => {
                    let from = read_by_dense.len().checked_sub(*over);
                    match from.and_then(|at| read_by_dense.get(at)) {
                        Some(&from) => self.around(&name, x, from, *shortcut)?,
                        None => {
                            let expected = "a skip over dense layers that stand before it";
                            let got = format!("over {over} of {}", read_by_dense.len());
                            return refuse(expected, got);
                        }
                    }
                }
                LayerSpec::Residual { block, .. } | LayerSpec::Concat { block }
                    if block.is_empty() =>
                {
                    return refuse("a block of at least one layer", "none".into());
                }
                LayerSpec::Residual { block, shortcut } => {
                    let y = self.list(&format!("{name}."), block, x)?;
                    self.around(&name, y, x, *shortcut)?
                }
                LayerSpec::Concat { block } => {
                    let y = self.list(&format!("{name}."), block, x)?;
                    self.same_rows(&name, x, y)?;
                    concat::forward(&mut self.graph, x, y)
                }
                LayerSpec::BatchNorm { momentum, .. } if !(0.0..=1.0).contains(momentum) => {
                    return refuse("a momentum from 0 to 1", momentum.to_string());
                }
                LayerSpec::BatchNorm { eps, .. } | LayerSpec::LayerNorm { eps }
                    if !(eps.is_finite() && *eps > 0.0) =>
                {
                    return refuse("a finite eps above 0", eps.to_string());
                }
                LayerSpec::BatchNorm { eps, momentum } => {
                    batch_norm::forward(&mut self.graph, &name, x, *eps, *momentum)
                }
                LayerSpec::LayerNorm { eps } => {
                    layer_norm::forward(&mut self.graph, &name, x, *eps)
                }
                LayerSpec::Padding { value } => {
                    if !value.is_finite() {
                        return refuse("a finite value of the padding", value.to_string());
                    }
                    let steps = match layers.get(position + 1) {
                        Some(&LayerSpec::Rows { rows }) => Some(rows),
                        Some(LayerSpec::Embedding { .. }) => Some(self.graph.node(x).shape.width),
                        _ => None,
                    };
                    let Some(steps) = steps.filter(|_| x == self.graph.input()) else {
                        let expected = "padding at the beginning, directly before the rows or the \
                                        embedding that it fills up";
                        let got = match layers.get(position + 1) {
                            _ if x != self.graph.input() => "padding behind other layers".into(),
                            Some(next) => format!("padding before {next:?}"),
                            None => "padding at the end".into(),
                        };
                        return refuse(expected, got);
                    };
                    let value = *value;
                    self.padding = Some(Padding { value, steps });
                    x
                }
                LayerSpec::Attention { heads, causal } => {
                    let steps = self.graph.node(x).shape.rows.of(1);
                    if let Some(padding) = self.padding.filter(|padding| padding.steps != steps) {
                        let expected = "attention over the rows that may be padding";
                        let got = format!("{steps} rows instead of {}", padding.steps);
                        return refuse(expected, got);
                    }
                    let over = attention::Over {
                        heads: *heads,
                        causal: *causal,
                        padding: self.padding.map(|padding| padding.value),
                    };
                    match attention::forward(&mut self.graph, &name, x, over) {
                        Some((projections, y)) => {
                            self.dense.extend(projections);
                            y
                        }
                        None => {
                            let width = self.graph.node(x).shape.width;
                            let got = format!("{heads} heads for a width of {width}");
                            return refuse("heads that divide the width", got);
                        }
                    }
                }
                LayerSpec::Transformer {
                    heads,
                    hidden,
                    causal,
                    dropout,
                } => {
                    if !(0.0..1.0).contains(dropout) {
                        let expected = "a dropout of at least 0 and below 1";
                        return refuse(expected, dropout.to_string());
                    }
                    if *hidden == 0 {
                        return refuse("at least 1 hidden column", "0".into());
                    }
                    let width = self.graph.node(x).shape.width;
                    let block = transformer::block(width, *heads, *hidden, *causal, *dropout);
                    let inner = self.list(&format!("{name}."), &block, x);
                    inner.map_err(|error| error.of_layer(&name))?
                }
                LayerSpec::Embedding { symbols, width } => {
                    let symbols = *symbols;
                    if symbols == 0 || *width == 0 || symbols > embedding::MAX_SYMBOLS {
                        let expected = "1 to 2^24 symbols, and a width of at least 1";
                        return refuse(expected, format!("{symbols} symbols, width {width}"));
                    }
                    match embedding::forward(&mut self.graph, &name, x, symbols, *width) {
                        Some(y) => y,
                        None => {
                            let expected = "an embedding at the beginning, of the samples";
                            return refuse(expected, "one behind other layers".into());
                        }
                    }
                }
                LayerSpec::Dropout { rate } if !(0.0..1.0).contains(rate) => {
                    return refuse("a rate of at least 0 and below 1", rate.to_string());
                }
                LayerSpec::Dropout { rate } => dropout::forward(&mut self.graph, x, *rate),
                LayerSpec::Rows { rows } => match rows::forward(&mut self.graph, x, *rows) {
                    Some(y) => y,
                    None => {
                        let expected = "a number of rows that divides the values of a sample";
                        let Shape { rows: old, width } = self.graph.node(x).shape;
                        let values = old.of(1).saturating_mul(width);
                        return refuse(expected, format!("{rows} rows for {values} values"));
                    }
                },
            };
        }
        Ok(x)
    }

    /// Checks that a connection leads from rows to as many rows.
    fn same_rows(&self, name: &str, from: NodeId, to: NodeId) -> Result<(), MlpError> {
        let rows = |id| self.graph.node(id).shape.rows.of(1);
        if rows(from) == rows(to) {
            return Ok(());
        }
        Err(MlpError::Layer {
            layer: name.to_owned(),
            expected: "a connection between samples of equally many rows",
            got: format!("from {} to {}", rows(from), rows(to)),
        })
    }

    /// `y + from`, or `y + from P^T`
    fn around(
        &mut self,
        name: &str,
        y: NodeId,
        from: NodeId,
        shortcut: Shortcut,
    ) -> Result<NodeId, MlpError> {
        self.same_rows(name, from, y)?;
        let width = |id| self.graph.node(id).shape.width;
        let (to, of) = (width(y), width(from));
        let from = match shortcut {
            Shortcut::Identity if to != of => {
                return Err(MlpError::Layer {
                    layer: name.to_owned(),
                    expected: "a skip connection between equal widths, or one with a projection",
                    got: format!("from width {of} to width {to}"),
                });
            }
            Shortcut::Identity => from,
            Shortcut::Projection => {
                let name = format!("{name}.projection");
                let identity = Activation::Identity;
                let projection = Linear::without_bias(&mut self.graph, &name, from, to, identity);
                self.dense.push(projection);
                projection.forward(&mut self.graph, from)
            }
        };
        Ok(sum::forward(&mut self.graph, y, from))
    }
}
