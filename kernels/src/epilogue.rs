//! What happens to an element of C between the last product and the store: data, chosen per call.

use crate::activation::Activation;
use crate::view::MatRef;

/// The last step of a GEMM, applied to `s = alpha (A B)_ij + beta c_ij` before it is stored.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum Epilogue<'a> {
    /// `c = s`
    #[default]
    Store,
    /// `c_ij = act(s + bias_j)`: the forward pass of a layer.
    Activate {
        /// One value per column of C, or none.
        bias: Option<&'a [f32]>,
        /// Applied after the bias.
        activation: Activation,
    },
    /// `c_ij = s * act'(y_ij)`: the data gradient of a layer.
    Derivative {
        /// The activation whose derivative is taken.
        activation: Activation,
        /// Its saved output, of the shape of C.
        output: MatRef<'a>,
    },
}
