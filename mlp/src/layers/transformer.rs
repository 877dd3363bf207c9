//! The block of a Transformer encoder, out of other layers.
//!
//! ```text
//! z = x + attention(norm(x))
//! y = z + W_2 gelu(W_1 norm(z) + b_1) + b_2
//! ```
//!
//! The norms come before what they feed, so that a gradient has a way from the last block to the
//! first that no norm scales (R. Xiong et al., 2020, "On layer normalization in the Transformer
//! architecture").

use kernels::Activation;

use crate::spec::{LayerSpec, Shortcut};

/// Added to the variances, as PyTorch does.
const EPS: f32 = 1e-5;

/// The layers of a block over rows of `width` columns.
pub(super) fn block(width: usize, heads: usize, hidden: usize, causal: bool) -> Vec<LayerSpec> {
    let around = |mut block: Vec<LayerSpec>| {
        block.insert(0, LayerSpec::LayerNorm { eps: EPS });
        LayerSpec::Residual {
            block,
            shortcut: Shortcut::Identity,
        }
    };
    vec![
        around(vec![LayerSpec::Attention { heads, causal }]),
        around(vec![
            LayerSpec::Dense { width: hidden },
            LayerSpec::Activation(Activation::Gelu),
            LayerSpec::Dense { width },
        ]),
    ]
}
