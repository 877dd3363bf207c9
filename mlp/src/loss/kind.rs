//! Which loss a network is trained on: a name and a formula, no more.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What training makes small; see [`loss`](crate::Loss#variants) for the formulas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Loss {
    /// `L = -1/B sum_i sum_j t_ij log softmax(z_i)_j` over the B rows of a batch.
    ///
    /// The outputs `z` of the network are logits. Targets are class labels, or a non-negative weight
    /// for each class (one-hot rows, or soft targets).
    #[default]
    SoftmaxCrossEntropy,
    /// `L = 1/(B n) sum_i sum_j (y_ij - t_ij)^2`, the mean over rows and outputs, as PyTorch's
    /// `MSELoss`.
    MeanSquaredError,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SoftmaxCrossEntropy => "softmax cross-entropy",
            Self::MeanSquaredError => "mean squared error",
        })
    }
}
