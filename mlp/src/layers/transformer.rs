//! The block of a Transformer encoder, out of other layers.
//!
//! ```text
//! z = x + drop(attention(norm(x)))
//! y = z + drop(W_2 drop(gelu(W_1 norm(z) + b_1)) + b_2)
//! ```
//!
//! The norms come before what they feed, so that a gradient has a way from the last block to the
//! first that no norm scales (R. Xiong et al., 2020, "On layer normalization in the Transformer
//! architecture"). Dropout stands where PyTorch's `TransformerEncoderLayer` has it with `norm_first`, but
//! for that on the weights of the attention, whose matrix never exists whole.

use kernels::Activation;

use crate::spec::{LayerSpec, Shortcut};

/// Added to the variances, as PyTorch does.
const EPS: f32 = 1e-5;

/// The layers of a block over rows of `width` columns.
pub(super) fn block(
    width: usize,
    heads: usize,
    hidden: usize,
    causal: bool,
    dropout: f32,
) -> Vec<LayerSpec> {
    let rate = dropout;
    // Without dropout there is no layer of it, nor a number in the names of those behind it.
    let drop = || (rate != 0.0).then_some(LayerSpec::Dropout { rate });
    let around = |block: Vec<Option<LayerSpec>>| LayerSpec::Residual {
        block: block.into_iter().flatten().collect(),
        shortcut: Shortcut::Identity,
    };
    let norm = Some(LayerSpec::LayerNorm { eps: EPS });
    vec![
        around(vec![
            norm.clone(),
            Some(LayerSpec::Attention { heads, causal }),
            drop(),
        ]),
        around(vec![
            norm,
            Some(LayerSpec::Dense { width: hidden }),
            Some(LayerSpec::Activation(Activation::Gelu)),
            drop(),
            Some(LayerSpec::Dense { width }),
            drop(),
        ]),
    ]
}
