//! An activation of the reference as one of the kernels.

use tests::activation::Activation;

/// The activation of the kernels that is meant by one of the reference.
pub(crate) fn to_kernel(activation: Activation) -> kernels::Activation {
    match activation {
        Activation::Identity => kernels::Activation::Identity,
        Activation::Relu => kernels::Activation::Relu,
        Activation::LeakyRelu(negative_slope) => kernels::Activation::LeakyRelu { negative_slope },
        Activation::Sigmoid => kernels::Activation::Sigmoid,
        Activation::Tanh => kernels::Activation::Tanh,
        Activation::Elu(alpha) => kernels::Activation::Elu { alpha },
        Activation::Softplus => kernels::Activation::Softplus,
        Activation::Gelu => kernels::Activation::Gelu,
        Activation::GeluTanh => kernels::Activation::GeluTanh,
        Activation::Silu => kernels::Activation::Silu,
    }
}
