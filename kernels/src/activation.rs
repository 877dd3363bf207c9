//! Activation functions as data: their formulas, and what their derivatives need.

use crate::error::{KernelError, Range};

/// `y = act(x)`, element by element.
///
/// | | y | dy/dx | from |
/// |---|---|---|---|
/// | `Identity` | x | 1 | y |
/// | `Relu` | max(x, 0) | 1 if y > 0, else 0 | y |
/// | `LeakyRelu(a)` | x if x > 0, else a x | 1 if y > 0, else a | y |
/// | `Sigmoid` | s(x) = 1 / (1 + e^-x) | y (1 - y) | y |
/// | `Tanh` | tanh x | 1 - y^2 | y |
/// | `Elu(a)` | x if x > 0, else a (e^x - 1) | 1 if y > 0, else y + a | y |
/// | `Softplus` | ln(1 + e^x) | 1 - e^-y | y |
/// | `Gelu` | x P(x), P(x) = (1 + erf(x / sqrt 2)) / 2 | P(x) + x e^(-x^2 / 2) / sqrt(2 pi) | x |
/// | `GeluTanh` | x s(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3) | s + 2 x s (1 - s) u' | x |
/// | `Silu` | x s(x) | s (1 + x (1 - s)) | x |
///
/// The last column says what has to be kept for the backward pass, see
/// [`Activation::derivative_from`]. At the kink of the ReLU family the derivative is that of the left
/// side, as in PyTorch. `GeluTanh` is `x (1 + tanh u) / 2`, written without a cancellation.
///
/// ELU: D. Clevert, T. Unterthiner and S. Hochreiter, 2015. GELU: D. Hendrycks and K. Gimpel, 2016.
/// SiLU, also called swish: S. Elfwing, E. Uchibe and K. Doya, 2017.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Activation {
    /// `y = x`
    Identity,
    /// `y = max(x, 0)`
    Relu,
    /// `y = x` where x > 0, `negative_slope * x` elsewhere; the slope must be finite and at least 0,
    /// or the sign of `y` would not tell that of `x`.
    LeakyRelu {
        /// Slope of the left side.
        negative_slope: f32,
    },
    /// `y = 1 / (1 + e^-x)`
    Sigmoid,
    /// `y = tanh x`
    Tanh,
    /// `y = x` where x > 0, `alpha (e^x - 1)` elsewhere; alpha must be finite and at least 0.
    Elu {
        /// What the left side goes to, with its sign changed.
        alpha: f32,
    },
    /// `y = ln(1 + e^x)`
    Softplus,
    /// `y = x (1 + erf(x / sqrt 2)) / 2`
    Gelu,
    /// `y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`
    GeluTanh,
    /// `y = x / (1 + e^-x)`
    Silu,
}

/// What the derivative of an activation is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DerivativeFrom {
    /// From x: it has to be kept beside y.
    Input,
    /// From `y = act(x)`, which the next layer needs anyway.
    Output,
}

impl Activation {
    /// Leaky ReLU with the slope that the field starts from, 0.01 (A. Maas, A. Hannun and A. Ng, 2013;
    /// PyTorch's default).
    ///
    /// ```
    /// use kernels::Activation;
    /// assert_eq!(Activation::leaky_relu(), Activation::LeakyRelu { negative_slope: 0.01 });
    /// ```
    pub fn leaky_relu() -> Self {
        Self::LeakyRelu {
            negative_slope: 0.01,
        }
    }

    /// What has to be kept for the derivative.
    pub fn derivative_from(self) -> DerivativeFrom {
        match self {
            Self::Gelu | Self::GeluTanh | Self::Silu => DerivativeFrom::Input,
            _ => DerivativeFrom::Output,
        }
    }

    /// Checks the parameter of an activation for the operation `op`.
    pub(crate) fn check(self, op: &'static str) -> Result<(), KernelError> {
        match self {
            Self::LeakyRelu { negative_slope } => {
                Range::NotNegative.check(op, "negative_slope", negative_slope)
            }
            Self::Elu { alpha } => Range::NotNegative.check(op, "alpha", alpha),
            _ => Ok(()),
        }
    }
}

/// Something done with one activation, whose code is to hold the formula of that one alone.
pub(crate) trait PerActivation {
    /// Does it.
    fn run(self, activation: Activation);
}

/// Calls `run` with an activation that the compiler knows: one loop for each, if `run` is inlined.
#[inline(always)]
pub(crate) fn specialise(activation: Activation, work: impl PerActivation) {
    match activation {
        Activation::Identity => work.run(Activation::Identity),
        Activation::Relu => work.run(Activation::Relu),
        Activation::LeakyRelu { negative_slope } => {
            work.run(Activation::LeakyRelu { negative_slope });
        }
        Activation::Sigmoid => work.run(Activation::Sigmoid),
        Activation::Tanh => work.run(Activation::Tanh),
        Activation::Elu { alpha } => work.run(Activation::Elu { alpha }),
        Activation::Softplus => work.run(Activation::Softplus),
        Activation::Gelu => work.run(Activation::Gelu),
        Activation::GeluTanh => work.run(Activation::GeluTanh),
        Activation::Silu => work.run(Activation::Silu),
    }
}
