//! The calls of layers that are no products: normalisation, attention, embedding.

use super::region::{Region, Source};
use crate::graph::Over;

/// Scale, shift and eps of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NormCall {
    /// Parameters, one row each.
    pub(crate) gamma: Region,
    pub(crate) beta: Region,
    pub(crate) eps: f32,
}

/// What attention is over, in a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Heads {
    /// Sequences.
    pub(crate) batch: usize,
    pub(crate) over: Over,
}

/// One call of the kernel of a layer. Regions are in the arena unless it says otherwise; gradients of
/// parameters go to their places among all gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LayerCall {
    /// `y = gamma (x - mean) rstd + beta`, row by row
    LayerNorm {
        x: Region,
        norm: NormCall,
        /// The means of all rows, then their rstd.
        statistics: Region,
        y: Region,
    },
    LayerNormGradient {
        x: Region,
        norm: NormCall,
        statistics: Region,
        dy: Region,
        dx: Option<Region>,
    },
    /// The same, column by column.
    BatchNorm {
        x: Region,
        norm: NormCall,
        /// Rows: mean, rstd, unbiased variance.
        statistics: Region,
        y: Region,
    },
    /// The same, with running statistics.
    BatchNormPredict {
        x: Region,
        norm: NormCall,
        /// Buffers behind the parameters.
        mean: Region,
        var: Region,
        y: Region,
    },
    BatchNormGradient {
        x: Region,
        norm: NormCall,
        statistics: Region,
        dy: Region,
        dx: Option<Region>,
    },
    /// `y = softmax(x)`, row by row
    Softmax {
        x: Region,
        y: Region,
    },
    SoftmaxGradient {
        y: Region,
        dy: Region,
        dx: Region,
    },
    /// `y = softmax(q k^T / sqrt(d)) v`
    Attention {
        /// q, k and v side by side.
        qkv: Region,
        over: Heads,
        lse: Region,
        y: Region,
    },
    AttentionGradient {
        qkv: Region,
        over: Heads,
        lse: Region,
        y: Region,
        dy: Region,
        dx: Region,
    },
    /// `y = table_n + positions_t`
    Embedding {
        numbers: Source,
        /// Parameters.
        table: Region,
        positions: Region,
        y: Region,
    },
    EmbeddingGradient {
        numbers: Source,
        table: Region,
        positions: Region,
        dy: Region,
    },
}

impl LayerCall {
    /// Name, for the table of a plan.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::LayerNorm { .. } => "layer norm",
            Self::LayerNormGradient { .. } => "layer norm gradient",
            Self::BatchNorm { .. } => "batch norm",
            Self::BatchNormPredict { .. } => "batch norm predict",
            Self::BatchNormGradient { .. } => "batch norm gradient",
            Self::Softmax { .. } => "softmax",
            Self::SoftmaxGradient { .. } => "softmax gradient",
            Self::Attention { .. } => "attention",
            Self::AttentionGradient { .. } => "attention gradient",
            Self::Embedding { .. } => "embedding",
            Self::EmbeddingGradient { .. } => "embedding gradient",
        }
    }

    /// The value that the call is about, for the table of a plan.
    pub(super) fn main(&self) -> Region {
        match *self {
            Self::LayerNorm { y, .. }
            | Self::BatchNorm { y, .. }
            | Self::BatchNormPredict { y, .. }
            | Self::Softmax { y, .. }
            | Self::Attention { y, .. }
            | Self::Embedding { y, .. } => y,
            Self::LayerNormGradient { dy, .. }
            | Self::BatchNormGradient { dy, .. }
            | Self::SoftmaxGradient { dy, .. }
            | Self::AttentionGradient { dy, .. }
            | Self::EmbeddingGradient { dy, .. } => dy,
        }
    }

    /// Floating-point operations. Of a normalisation for each element: 1 for the mean, 3 for the
    /// variance, 3 for the result; backward 2 for xhat, 3 for dgamma and dbeta, 5 for dx. Of softmax: the
    /// largest, an exponential, the sum and a factor; backward the sum of two and two. Of attention: two
    /// products of `T x T x width` forward and five backward; causal, of the `T (T + 1) / 2` pairs of rows of
    /// which one sees the other, though a kernel may take whole blocks of them.
    /// Padding, which only the samples tell, is counted as if it were seen.
    pub(super) fn flop(&self) -> u64 {
        let elements = self.main().len() as u64;
        match self {
            Self::LayerNorm { .. } | Self::BatchNorm { .. } => 7 * elements,
            Self::BatchNormPredict { .. } => 3 * elements,
            Self::Softmax { .. } | Self::SoftmaxGradient { .. } => 4 * elements,
            Self::LayerNormGradient { dx, .. } | Self::BatchNormGradient { dx, .. } => {
                if dx.is_some() {
                    10 * elements
                } else {
                    5 * elements
                }
            }
            Self::Attention { over, y, .. } => 4 * y.cols as u64 * over.pairs(y),
            Self::AttentionGradient { over, y, .. } => 10 * y.cols as u64 * over.pairs(y),
            Self::Embedding { .. } => elements,
            Self::EmbeddingGradient { .. } => 2 * elements,
        }
    }

    /// What the call reads in the arena, and what it writes there.
    pub(super) fn touched(&self) -> (Vec<Region>, Vec<Region>) {
        match *self {
            Self::LayerNorm {
                x, statistics, y, ..
            }
            | Self::BatchNorm {
                x, statistics, y, ..
            } => (vec![x], vec![statistics, y]),
            Self::BatchNormPredict { x, y, .. } | Self::Softmax { x, y } => (vec![x], vec![y]),
            Self::SoftmaxGradient { y, dy, dx } => (vec![y, dy], vec![dx]),
            Self::LayerNormGradient {
                x,
                statistics,
                dy,
                dx,
                ..
            }
            | Self::BatchNormGradient {
                x,
                statistics,
                dy,
                dx,
                ..
            } => (vec![x, statistics, dy], dx.into_iter().collect()),
            Self::Attention { qkv, lse, y, .. } => (vec![qkv], vec![lse, y]),
            Self::AttentionGradient {
                qkv,
                lse,
                y,
                dy,
                dx,
                ..
            } => (vec![qkv, lse, y, dy], vec![dx]),
            Self::Embedding { y, .. } => (Vec::new(), vec![y]),
            Self::EmbeddingGradient { dy, .. } => (vec![dy], Vec::new()),
        }
    }
}

impl Heads {
    /// Pairs of rows of all sequences of which the first sees the second.
    fn pairs(&self, y: &Region) -> u64 {
        let steps = (y.rows / self.batch.max(1)) as u64;
        let seen = match self.over.causal {
            true => steps * (steps + 1) / 2,
            false => steps * steps,
        };
        self.batch as u64 * seen
    }
}
