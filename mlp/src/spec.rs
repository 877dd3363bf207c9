//! What the user asked for: a network as plain data.

use kernels::{Activation, Precision};
use serde::{Deserialize, Serialize};

use crate::error::MlpError;
use crate::init::Init;
use crate::loss::Loss;
use crate::params::fits_memory;

/// How deep blocks may stand inside each other: less than a quarter of what readers of JSON take, so that
/// every network that can be built can be saved and loaded; nothing that follows the nesting runs out of
/// stack.
pub(crate) const MAX_NESTING: usize = 32;

/// One layer, as the user asked for it; a layer may be made of layers.
///
/// Shapes are those of one sample: x has `fan_in` values, y as many as the layer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LayerSpec {
    /// `y = x W^T + b` with `W: width x fan_in`.
    Dense {
        /// Number of outputs.
        width: usize,
    },
    /// `y = act(x)`, element by element.
    Activation(Activation),
    /// `y_j = e^(x_j) / sum_k e^(x_k)`, row by row.
    Softmax,
    /// `y = x + s`, where `s` is what the dense layer read that stands `over` dense layers back in
    /// the same list of layers: the skip connection `h_l = act(W h_(l-1) + b) + h_(l-2)` for 2.
    Skip {
        /// How many dense layers it leads over.
        over: usize,
        /// How `s` gets the width of x.
        shortcut: Shortcut,
    },
    /// `y = block(x) + x`: a residual block (He et al., 2015).
    Residual {
        /// The layers that the connection leads around.
        block: Vec<LayerSpec>,
        /// How x gets the width of `block(x)`.
        shortcut: Shortcut,
    },
    /// `y = [x, block(x)]`, side by side: a dense connection (Huang et al., 2016).
    Concat {
        /// The layers whose output is put beside their input.
        block: Vec<LayerSpec>,
    },
    /// `y = gamma (x - mean) / sqrt(var + eps) + beta` with mean and variance of each column over the
    /// batch in training, over the batches so far in prediction (Ioffe and Szegedy, 2015).
    BatchNorm {
        /// Added to the variance; finite and above 0.
        eps: f32,
        /// Weight of the newest batch in the running statistics; at least 0, at most 1.
        momentum: f32,
    },
    /// `y = gamma (x - mean) / sqrt(var + eps) + beta` with mean and variance of each row (Ba, Kiros and
    /// Hinton, 2016).
    LayerNorm {
        /// Added to the variance; finite and above 0.
        eps: f32,
    },
    /// Multi-head self-attention (Vaswani et al., 2017): every row of a sample looks at every row.
    Attention {
        /// Number of heads; divides the width.
        heads: usize,
        /// Whether a row does not see the rows behind it.
        causal: bool,
    },
    /// What the samples end with is no part of them: rows whose values are all `value`, which no attention
    /// sees. Stands at the beginning, before the rows or the embedding that it means.
    Padding {
        /// The value; finite.
        value: f32,
    },
    /// A block of a Transformer, normalised before: `z = x + drop(attention(norm(x)))`,
    /// `y = z + drop(W_2 drop(gelu(W_1 norm(z) + b_1)) + b_2)`.
    Transformer {
        /// Number of heads; divides the width.
        heads: usize,
        /// Width between `W_1` and `W_2`.
        hidden: usize,
        /// Whether a row does not see the rows behind it.
        causal: bool,
        /// The share that dropout drops, at least 0 and below 1; 0 is no dropout.
        #[serde(default)]
        dropout: f32,
    },
    /// `y_t = table_(n_t) + positions_t`: the values of a sample are the numbers of symbols, each of
    /// which becomes a row.
    Embedding {
        /// Number of symbols: those of a sample are whole numbers from 0 on, below this.
        symbols: usize,
        /// Columns of the rows.
        width: usize,
    },
    /// `y = m x / (1 - rate)` in training, where m is 0 with probability `rate` and else 1, drawn for
    /// each element; `y = x` in prediction. The probability to be kept is `1 - rate`.
    Dropout {
        /// The share that is dropped, at least 0 and below 1.
        rate: f32,
    },
    /// The values of a sample in so many rows, one after the other: a sequence. The layers behind it
    /// act on each row alone. One row makes a sample whole again.
    Rows {
        /// Rows of a sample; divides the number of its values.
        rows: usize,
    },
}

/// What a block of a Transformer is made of, see [`Builder::transformer_block`](crate::Builder::transformer_block).
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct TransformerBlock {
    pub(crate) heads: usize,
    pub(crate) hidden: usize,
    pub(crate) causal: bool,
    pub(crate) dropout: f32,
}

impl TransformerBlock {
    /// So many heads, which divide the width, and hidden columns; every row sees every row, and nothing
    /// is dropped.
    pub fn new(heads: usize, hidden: usize) -> Self {
        Self {
            heads,
            hidden,
            causal: false,
            dropout: 0.0,
        }
    }

    /// Hides from each row the rows behind it.
    pub fn causal(mut self) -> Self {
        self.causal = true;
        self
    }

    /// The share that is dropped, at least 0 and below 1.
    pub fn dropout(mut self, rate: f32) -> Self {
        self.dropout = rate;
        self
    }
}

/// The way around a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Shortcut {
    /// The value itself; its width has to be that of the sum.
    Identity,
    /// `P x` with a matrix P that is learned, `width x fan_in`, without a bias.
    Projection,
}

/// A network as plain data: everything that decides its shape and its first weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Spec {
    /// Number of features of a sample.
    pub inputs: usize,
    /// The layers, from the input on.
    pub layers: Vec<LayerSpec>,
    /// What training makes small.
    pub loss: Loss,
    /// How weights are drawn; `None` chooses for each layer by the activation that follows it
    /// ([`Init::for_activation`]).
    pub init: Option<Init>,
    /// Seed of the weights, and of the order of the samples in training.
    pub seed: u64,
    /// How exact products have to be; `None` is [`Precision::process_wide`] at the time.
    #[serde(default)]
    pub precision: Option<Precision>,
}

impl LayerSpec {
    /// How many blocks stand inside each other here, those of this layer included.
    fn nesting(&self) -> usize {
        match self {
            Self::Residual { block, .. } | Self::Concat { block } => 1 + nesting(block),
            _ => 0,
        }
    }
}

/// How many blocks stand inside each other at the deepest place of a list.
fn nesting(layers: &[LayerSpec]) -> usize {
    layers.iter().map(LayerSpec::nesting).max().unwrap_or(0)
}

/// Checks how deep blocks stand inside each other.
pub(crate) fn check_nesting(nesting: usize) -> Result<(), MlpError> {
    if nesting <= MAX_NESTING {
        return Ok(());
    }
    Err(MlpError::Setting {
        name: "layers",
        expected: "blocks inside blocks at most 32 deep",
        got: nesting.to_string(),
    })
}

impl Spec {
    /// Checks what does not depend on the shapes of the layers; the layers check those when they add
    /// themselves to the graph.
    pub(crate) fn check(&self) -> Result<(), MlpError> {
        if self.inputs == 0 {
            return Err(MlpError::Setting {
                name: "inputs",
                expected: "at least 1 feature",
                got: "0".into(),
            });
        }
        check_nesting(nesting(&self.layers))?;
        let first = self.layers.first();
        if matches!(
            first,
            None | Some(
                LayerSpec::Activation(_)
                    | LayerSpec::Softmax
                    | LayerSpec::Dropout { .. }
                    | LayerSpec::Skip { .. }
            )
        ) {
            return Err(MlpError::Layer {
                layer: "0".into(),
                expected: "a dense layer at the beginning",
                got: match first {
                    None => "no layers".into(),
                    Some(layer) => format!("{layer:?}"),
                },
            });
        }
        if let Some(Init::Constant(value)) = self.init
            && !value.is_finite()
        {
            return Err(MlpError::Setting {
                name: "init",
                expected: "a finite constant",
                got: value.to_string(),
            });
        }
        Ok(())
    }

    /// Checks that the network that the layers made has outputs that its loss can use.
    pub(crate) fn check_outputs(&self, rows: usize, outputs: usize) -> Result<(), MlpError> {
        if rows != 1 {
            return Err(MlpError::Layer {
                layer: (self.layers.len() - 1).to_string(),
                expected: "one row for each sample at the end",
                got: format!("{rows}"),
            });
        }
        if let Loss::Huber { delta } = self.loss
            && !(delta.is_finite() && delta > 0.0)
        {
            return Err(MlpError::Setting {
                name: "delta",
                expected: "a finite number above 0",
                got: delta.to_string(),
            });
        }
        if self.loss == Loss::SoftmaxCrossEntropy && outputs < 2 {
            return Err(MlpError::Layer {
                layer: (self.layers.len() - 1).to_string(),
                expected: "at least 2 outputs for softmax cross-entropy",
                got: outputs.to_string(),
            });
        }
        Ok(())
    }
}

/// Checks that there is memory for so many parameters; `None` are more than can be counted.
pub(crate) fn check_size(parameters: Option<usize>) -> Result<(), MlpError> {
    if fits_memory(parameters) {
        return Ok(());
    }
    Err(MlpError::Setting {
        name: "layers",
        expected: "no more parameters than there is memory for",
        got: parameters.map_or_else(|| "more than can be counted".into(), |n| n.to_string()),
    })
}
