//! What happens to an element of C between the last product and the store: data, chosen per call.
//!
//! The column sums of a finished C, the gradient of a bias, are no epilogue: [`crate::Kernels::column_sums`]
//! afterwards reads a C that still is in a near cache. At m, n, k = (128, 512, 512) that takes 0.6 % of
//! the product on AVX-512 and 1.1 % on AVX2; at (64, 64, 64) 0.2 of 5 us. Partial sums for each row
//! panel, which would keep the order of the sums independent of threads, save the loads of that pass but
//! add a store and a load of their own for each tile, and would tie the bits of the sums to the tiles.

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
    /// `c_ij = s * act'(x_ij)`: the data gradient of a layer.
    Derivative {
        /// The activation whose derivative is taken.
        activation: Activation,
        /// What was saved for it, input or output as [`Activation::derivative_from`] says; of the shape
        /// of C.
        saved: MatRef<'a>,
    },
}
