//! From nodes to calls.

use std::ops::Range;

use kernels::Activation;

use super::fuse::Fusion;
use super::place::Places;
use super::{
    Call, Fused, Heads, LayerCall, Mask, NormCall, Passes, Plan, Product, Region, RunningStep,
    Scores, Sink, Source,
};
use crate::error::MlpError;
use crate::graph::{Graph, NodeId, NormParameters, Op, Over, Shape};
use crate::params::{BufferId, LINE, ParamId, Parameter, fits_memory};

/// The most rows for which bytes of values and counts of operations stay within `isize::MAX`.
fn max_batch(graph: &Graph) -> usize {
    // Two passes over the parameters for gradients and one forward, two flop each.
    const FLOP_PER_PARAMETER: usize = 6;
    let elements = |id| {
        let Shape { rows, width } = graph.node(id).shape;
        rows.of(1).saturating_mul(width).saturating_add(LINE)
    };
    let values = graph.all_nodes().map(elements);
    let bytes = values.fold(0, usize::saturating_add);
    let bytes = bytes.saturating_mul(size_of::<f32>());
    let flop = graph.parameters().len().saturating_mul(FLOP_PER_PARAMETER);
    isize::MAX as usize / bytes.saturating_add(flop)
}

/// The plan of a graph for batches of `batch` rows, and memory for it there is.
///
/// # Errors
/// [`MlpError::Setting`] if there are no rows, so many that their values and operations cannot be counted,
/// or more than there is memory for.
pub(crate) fn checked(graph: &Graph, batch: usize, passes: Passes) -> Result<Plan, MlpError> {
    let refuse = |expected| {
        Err(MlpError::Setting {
            name: "batch",
            expected,
            got: batch.to_string(),
        })
    };
    if batch == 0 {
        return refuse("at least 1");
    }
    if batch > max_batch(graph) {
        return refuse("rows whose values and operations can be counted");
    }
    let plan = lower(graph, batch, passes);
    // The values, and what a loss needs beside them.
    let of_loss = (plan.outputs.cols + 1).checked_mul(batch);
    if !fits_memory(of_loss.and_then(|n| n.checked_add(plan.arena_len))) {
        return refuse("no more rows than there is memory for");
    }
    Ok(plan)
}

/// The plan of a graph for batches of `batch` rows.
pub(crate) fn lower(graph: &Graph, batch: usize, passes: Passes) -> Plan {
    let nodes: Vec<NodeId> = match passes {
        Passes::Forward => graph.forward_nodes().collect(),
        Passes::Both => graph.all_nodes().collect(),
    };
    let fusion = Fusion::new(graph, &nodes, passes);
    let lowering = Lowering {
        graph,
        batch,
        passes,
        places: Places::new(graph, &nodes, &fusion, passes, batch),
        fusion,
    };
    let running = lowering.running();
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let mut output_gradient = None;
    let mut order = nodes;
    order.sort_by_key(|&id| lowering.fusion.turn(id));
    for &id in &order {
        if let Op::OutputGradient { .. } = graph.node(id).op {
            output_gradient = Some(lowering.value(id));
        }
        let calls = match output_gradient {
            None => &mut forward,
            Some(_) => &mut backward,
        };
        lowering.add_calls(id, calls);
    }
    Plan {
        batch,
        forward,
        backward,
        outputs: lowering.value(graph.outputs()),
        output_gradient,
        scores: graph.scores().map(|scores| Scores {
            values: lowering.value(scores),
            gradient: match passes {
                Passes::Forward => None,
                Passes::Both => graph.score_gradient().map(|id| lowering.value(id)),
            },
        }),
        arena_len: lowering.places.arena_len,
        parameters: graph.parameters().len(),
        running,
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
    passes: Passes,
    fusion: Fusion,
    places: Places<'g>,
}

impl Lowering<'_> {
    /// Adds the calls that compute a node; none for the input, for what the loss writes, for views,
    /// and for what is computed on the way by its reader.
    fn add_calls(&self, id: NodeId, calls: &mut Vec<Call>) {
        if self.fusion.is_fused(id) {
            return;
        }
        let y = self.value(id);
        match self.graph.node(id).op {
            Op::Input | Op::OutputGradient { .. } | Op::Columns { .. } | Op::Statistics { .. } => {}
            Op::Copy { x } => calls.push(Call::Copy {
                x: self.source(x),
                y,
            }),
            Op::Reshape { x } => {
                if self.places.is_own(id) {
                    let from = self.value(x);
                    let y = Region::dense(y.offset, from.rows, from.cols);
                    let x = Source::Arena(from);
                    calls.push(Call::Copy { x, y });
                }
            }
            Op::Concat { left, right } => {
                for (x, col) in [(left, 0), (right, self.value(left).cols)] {
                    if !self.places.lies_in(x, id, col) {
                        let from = self.value(x);
                        let y = Region {
                            col: y.col + col,
                            cols: from.cols,
                            ..y
                        };
                        let x = Source::Arena(from);
                        calls.push(Call::Copy { x, y });
                    }
                }
            }
            Op::Linear { .. } | Op::LinearGradient { .. } => {
                self.add_product(id, y, Follow::default(), calls);
            }
            Op::Sum { a, b } => {
                if !self.add_product(id, y, Follow::default(), calls) {
                    let (a, b) = (self.value(a), self.value(b));
                    // Where the sum is one of its summands, that one comes first.
                    let (a, b) = if y == b { (b, a) } else { (a, b) };
                    calls.push(Call::Sum { a, b, y });
                }
            }
            Op::Activation { x, activation } => {
                let follow = Follow {
                    activation: Some(activation),
                    ..Follow::default()
                };
                if !self.fusion.is_fused(x) || !self.add_product(x, y, follow, calls) {
                    let x = self.value(x);
                    calls.push(Call::Activation { activation, x, y });
                }
            }
            Op::Dropout { .. } if self.passes == Passes::Forward => {}
            Op::Dropout { x, rate, layer } => {
                let mask = Mask { rate, layer };
                let follow = Follow {
                    activation: match self.graph.node(x).op {
                        Op::Activation { activation, .. } => Some(activation),
                        _ => None,
                    },
                    mask: Some(mask),
                    ..Follow::default()
                };
                let product = self.fusion.unactivated(self.graph, x);
                if !self.fusion.is_fused(x) || !self.add_product(product, y, follow, calls) {
                    let x = self.value(x);
                    calls.push(Call::Dropout { x, y, mask });
                }
            }
            Op::ActivationGradient {
                dy,
                saved,
                activation,
            } => {
                let saved = self.value(saved);
                let follow = Follow {
                    derivative: Some((activation, saved)),
                    mask: match self.graph.node(dy).op {
                        Op::Dropout { rate, layer, .. } => Some(Mask { rate, layer }),
                        _ => None,
                    },
                    ..Follow::default()
                };
                let product = self.fusion.undropped(self.graph, dy);
                if !self.fusion.is_fused(dy) || !self.add_product(product, y, follow, calls) {
                    calls.push(Call::ActivationGradient {
                        activation,
                        saved,
                        dy: self.value(dy),
                        dx: y,
                    });
                }
            }
            Op::WeightGradient { dy, x, weight } => calls.push(Call::Gemm {
                product: Product::WeightGradient,
                a: self.source(dy),
                b: self.source(x),
                c: Sink::Gradients(self.parameter(weight)),
                accumulate: false,
                mask: None,
                fused: match step_is_fused(self.graph.parameters().get(weight)) {
                    true => Fused::Step,
                    false => Fused::Store,
                },
                k: self.value(dy).rows,
            }),
            Op::LayerNorm { .. }
            | Op::LayerNormGradient { .. }
            | Op::BatchNorm { .. }
            | Op::BatchNormGradient { .. }
            | Op::Softmax { .. }
            | Op::SoftmaxGradient { .. }
            | Op::Attention { .. }
            | Op::AttentionGradient { .. }
            | Op::Embedding { .. }
            | Op::EmbeddingGradient { .. } => calls.extend(self.layer(id, y).map(Call::Layer)),
            Op::BiasGradient { dy, bias } => calls.push(Call::ColumnSums {
                x: self.value(dy),
                sums: self.parameter(bias),
            }),
        }
    }

    /// Adds the call of the product that node `id` is, or is the sum with, and of what follows it
    /// element by element; false if there is no product in it.
    fn add_product(&self, id: NodeId, c: Region, follow: Follow, calls: &mut Vec<Call>) -> bool {
        let Some((product, summand)) = self.fusion.product(self.graph, id) else {
            return false;
        };
        if let Some(x) = summand
            && self.value(x) != c
        {
            let x = Source::Arena(self.value(x));
            calls.push(Call::Copy { x, y: c });
        }
        let (product, x, weight, bias) = match self.graph.node(product).op {
            Op::Linear { x, weight, bias } => (Product::Forward, x, weight, bias),
            Op::LinearGradient { dy, weight } => (Product::DataGradient, dy, weight, None),
            _ => return false,
        };
        let bias = bias.map(|bias| self.parameter(bias));
        let activate = |activation| Fused::Activate { bias, activation };
        calls.push(Call::Gemm {
            product,
            a: self.source(x),
            b: Source::Parameters(self.parameter(weight)),
            c: Sink::Arena(c),
            accumulate: summand.is_some(),
            fused: match (follow.activation, follow.derivative) {
                (Some(activation), _) => activate(activation),
                (None, Some((activation, saved))) => Fused::Derivative { activation, saved },
                (None, None) if product == Product::Forward => activate(Activation::Identity),
                (None, None) => Fused::Store,
            },
            mask: follow.mask,
            k: self.graph.node(x).shape.width,
        });
        true
    }

    /// The call of a layer that is no product.
    fn layer(&self, id: NodeId, y: Region) -> Option<LayerCall> {
        // A gradient that is not wanted has no width.
        let wanted = (self.graph.node(id).shape.width > 0).then_some(y);
        let value = |id| self.value(id);
        Some(match self.graph.node(id).op {
            Op::LayerNorm {
                x,
                statistics,
                norm,
            } => LayerCall::LayerNorm {
                x: value(x),
                norm: self.norm(norm),
                statistics: value(statistics),
                y,
            },
            Op::LayerNormGradient {
                dy,
                x,
                statistics,
                norm,
            } => LayerCall::LayerNormGradient {
                x: value(x),
                norm: self.norm(norm),
                statistics: value(statistics),
                dy: value(dy),
                dx: wanted,
            },
            Op::BatchNorm {
                x, norm, running, ..
            } if self.passes == Passes::Forward => LayerCall::BatchNormPredict {
                x: value(x),
                norm: self.norm(norm),
                mean: self.buffer(running.mean),
                var: self.buffer(running.var),
                y,
            },
            Op::BatchNorm {
                x,
                statistics,
                norm,
                ..
            } => LayerCall::BatchNorm {
                x: value(x),
                norm: self.norm(norm),
                statistics: value(statistics),
                y,
            },
            Op::BatchNormGradient {
                dy,
                x,
                statistics,
                norm,
            } => LayerCall::BatchNormGradient {
                x: value(x),
                norm: self.norm(norm),
                statistics: value(statistics),
                dy: value(dy),
                dx: wanted,
            },
            Op::Softmax { x } => LayerCall::Softmax { x: value(x), y },
            Op::SoftmaxGradient { dy, y: output } => LayerCall::SoftmaxGradient {
                y: value(output),
                dy: value(dy),
                dx: y,
            },
            Op::Attention { qkv, lse, over } => LayerCall::Attention {
                qkv: value(qkv),
                over: self.heads(over),
                lse: value(lse),
                y,
            },
            Op::AttentionGradient {
                dy,
                y: output,
                qkv,
                lse,
                over,
            } => LayerCall::AttentionGradient {
                qkv: value(qkv),
                over: self.heads(over),
                lse: value(lse),
                y: value(output),
                dy: value(dy),
                dx: y,
            },
            Op::Embedding {
                x,
                table,
                positions,
            } => LayerCall::Embedding {
                numbers: self.source(x),
                table: self.parameter(table),
                positions: self.parameter(positions),
                y,
            },
            Op::EmbeddingGradient {
                dy,
                x,
                table,
                positions,
            } => LayerCall::EmbeddingGradient {
                numbers: self.source(x),
                table: self.parameter(table),
                positions: self.parameter(positions),
                dy: value(dy),
            },
            _ => return None,
        })
    }

    fn heads(&self, over: Over) -> Heads {
        let batch = self.batch;
        Heads { batch, over }
    }

    fn norm(&self, norm: NormParameters) -> NormCall {
        NormCall {
            gamma: self.parameter(norm.gamma),
            beta: self.parameter(norm.beta),
            eps: norm.eps,
        }
    }

    fn buffer(&self, id: BufferId) -> Region {
        let buffer = self.graph.parameters().buffer(id);
        Region::dense(buffer.offset, buffer.rows, buffer.cols)
    }

    /// The steps of running statistics, if the backward pass is planned.
    fn running(&self) -> Vec<RunningStep> {
        let training = self.passes == Passes::Both;
        let nodes = self.graph.forward_nodes().filter(|_| training);
        let step = |id| match self.graph.node(id).op {
            Op::BatchNorm {
                statistics,
                running,
                ..
            } => {
                let Region { offset, cols, .. } = self.value(statistics);
                let row = |number: usize| Region::dense(offset + number * cols, 1, cols);
                Some(RunningStep {
                    mean: self.buffer(running.mean),
                    var: self.buffer(running.var),
                    batch_mean: row(0),
                    batch_var: row(2),
                    momentum: running.momentum,
                })
            }
            _ => None,
        };
        nodes.filter_map(step).collect()
    }

    /// Where a node lies in the arena.
    fn value(&self, id: NodeId) -> Region {
        self.places.region(id)
    }

    fn source(&self, id: NodeId) -> Source {
        match self.graph.node(id).op {
            Op::Input => Source::Input,
            _ => Source::Arena(self.value(id)),
        }
    }

    fn parameter(&self, id: ParamId) -> Region {
        let parameter = self.graph.parameters().get(id);
        Region::dense(parameter.offset, parameter.rows, parameter.cols)
    }
}

/// What follows a product element by element.
#[derive(Clone, Copy, Default)]
struct Follow {
    activation: Option<Activation>,
    /// Of which activation, and what was saved for it.
    derivative: Option<(Activation, Region)>,
    mask: Option<Mask>,
}
