//! Which loss a network is trained on: a name and a formula, no more.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What training makes small: a mean over a batch of B rows with n outputs each.
///
/// `z_ij` are the outputs of the network, `t_ij` the targets. The output layer may have any
/// activation: its derivative follows from the graph, `dL/dx = dL/dz * act'(x)`, for softmax by the whole
/// Jacobian ([`Builder::softmax`](crate::Builder::softmax)).
///
/// ```
/// use mlp::{Data, Loss, MatRef, Mlp};
/// let (x, t) = ([1.0], [0.0, 4.0]);
/// let data = Data::values(MatRef::from_row_major(&x, 1, 1)?, MatRef::from_row_major(&t, 1, 2)?)?;
/// // Outputs 1 and 1: off by 1 and 3.
/// for (loss, expected) in [
///     (Loss::MeanSquaredError, (1.0 + 9.0) / 2.0),
///     (Loss::MeanAbsoluteError, (1.0 + 3.0) / 2.0),
///     (Loss::Huber { delta: 2.0 }, (0.5 + 2.0 * (3.0 - 1.0)) / 2.0),
///     // -4 times the logarithm of 1/2.
///     (Loss::SoftmaxCrossEntropy, 4.0 * 2f32.ln()),
/// ] {
///     let mut net = Mlp::builder(1).dense(2).loss(loss).build()?;
///     net.set_parameters(&[1.0, 1.0, 0.0, 0.0])?;
///     assert!((net.evaluate(data)?.loss - expected).abs() < 1e-6);
/// }
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Loss {
    /// `L = -1/B sum_i sum_j t_ij log softmax(z_i)_j`
    ///
    /// The outputs `z` of the network are logits; or it ends with softmax, and they are the
    /// probabilities `softmax(z)`. Targets are class labels, or a non-negative weight
    /// for each class (one-hot rows, or soft targets). See [`Objective`](crate::Objective) for label
    /// smoothing and weights of classes.
    #[default]
    SoftmaxCrossEntropy,
    /// `L = 1/(B n) sum_i sum_j -t_ij log p_ij - (1 - t_ij) log(1 - p_ij)`, `p_ij = sigmoid(z_ij)`,
    /// as PyTorch's `BCEWithLogitsLoss`.
    ///
    /// The outputs are logits; or the network ends with a sigmoid, and they are the probabilities p. Softmax,
    /// whose probabilities would be taken for logits, is refused before it.
    /// Targets are probabilities, 0 to 1; with one output also class labels,
    /// 0 and 1.
    BinaryCrossEntropy,
    /// `L = 1/(B n) sum_i sum_j (z_ij - t_ij)^2`, as PyTorch's `MSELoss`.
    MeanSquaredError,
    /// `L = 1/(B n) sum_i sum_j |z_ij - t_ij|`, as PyTorch's `L1Loss`; the derivative at 0 is 0.
    MeanAbsoluteError,
    /// With `d = |z_ij - t_ij|` the mean of `d^2 / 2` where `d < delta`, of `delta (d - delta / 2)`
    /// elsewhere, as PyTorch's `HuberLoss`.
    Huber {
        /// Where the parabola becomes a line: finite, above 0.
        delta: f32,
    },
}

impl Loss {
    /// Whether the outputs of the network are logits of classes.
    pub(crate) fn tells_classes(self) -> bool {
        matches!(self, Self::SoftmaxCrossEntropy | Self::BinaryCrossEntropy)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SoftmaxCrossEntropy => "softmax cross-entropy",
            Self::BinaryCrossEntropy => "binary cross-entropy",
            Self::MeanSquaredError => "mean squared error",
            Self::MeanAbsoluteError => "mean absolute error",
            Self::Huber { .. } => "Huber loss",
        })
    }
}
