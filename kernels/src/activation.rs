//! Activation functions as data: their formulas, and what their derivatives need.

use crate::error::{KernelError, Range};

/// `y = act(x)`, element by element.
///
/// All derivatives are functions of the output `y`, so only `y` has to be kept for the backward
/// pass.
///
/// | | y | dy/dx |
/// |---|---|---|
/// | `Identity` | x | 1 |
/// | `Relu` | max(x, 0) | 1 if y > 0, else 0 |
/// | `LeakyRelu(a)` | x if x > 0, else a x | 1 if y > 0, else a |
/// | `Sigmoid` | 1 / (1 + e^-x) | y (1 - y) |
/// | `Tanh` | tanh x | 1 - y^2 |
///
/// At the kink of the ReLU family the derivative is that of the left side, as in PyTorch.
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
}

impl Activation {
    /// Checks the slope of a leaky ReLU for the operation `op`.
    pub(crate) fn check(self, op: &'static str) -> Result<(), KernelError> {
        match self {
            Self::LeakyRelu { negative_slope } => {
                Range::NotNegative.check(op, "negative_slope", negative_slope)
            }
            Self::Identity | Self::Relu | Self::Sigmoid | Self::Tanh => Ok(()),
        }
    }
}
