//! How the samples of a batch are weighed against each other, and their targets softened.
//!
//! With e the label smoothing, `w_c` the weight of class c of C, `s_i` that of sample i:
//!
//! ```text
//! t'_ic = s_i w_c ((1 - e) t_ic + e / C)
//! L = -1/N sum_i sum_c t'_ic log softmax(z_i)_c
//! N = sum_i s_i w_(label of i) for labels, sum_i s_i for soft targets
//! ```
//!
//! as PyTorch's `CrossEntropyLoss`, which has no weights of samples. The other losses have weights of
//! samples alone: their mean is `1/(n sum_i s_i) sum_i s_i sum_j`.

use kernels::{MatMut, MatRef, Targets};

use super::kind::Loss;
use crate::error::MlpError;

/// What is changed in the loss for a training: label smoothing, and weights of classes.
///
/// Belongs to the training, not to the network: [`evaluate`](crate::Mlp::evaluate) and the validation
/// of a training say the plain loss.
///
/// ```
/// use mlp::{Objective, TrainConfig};
/// // The second class is rare, and counts three times.
/// let objective = Objective::default().label_smoothing(0.1).class_weights(&[1.0, 3.0]);
/// let config = TrainConfig::default().objective(objective);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Objective {
    label_smoothing: f32,
    class_weights: Vec<f32>,
}

impl Objective {
    /// Share e of each target that is spread over all classes, `t <- (1 - e) t + e / C`: at least 0,
    /// below 1. For [`Loss::SoftmaxCrossEntropy`].
    pub fn label_smoothing(mut self, share: f32) -> Self {
        self.label_smoothing = share;
        self
    }

    /// A weight for each class: finite, at least 0, not all 0. The mean over a batch of labels is one
    /// over weights. For [`Loss::SoftmaxCrossEntropy`].
    pub fn class_weights(mut self, weights: &[f32]) -> Self {
        self.class_weights = weights.to_vec();
        self
    }

    /// Checks the settings for a loss over so many outputs.
    pub(crate) fn check(&self, loss: Loss, outputs: usize) -> Result<(), MlpError> {
        let refuse = |name, expected, got: String| {
            Err(MlpError::Setting {
                name,
                expected,
                got,
            })
        };
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let expected = "a number of at least 0 and below 1";
            return refuse(
                "label_smoothing",
                expected,
                self.label_smoothing.to_string(),
            );
        }
        if self.is_plain() {
            return Ok(());
        }
        if loss != Loss::SoftmaxCrossEntropy {
            let expected = "softmax cross-entropy as the loss of the network";
            return refuse("objective", expected, loss.to_string());
        }
        if self.class_weights.is_empty() {
            return Ok(());
        }
        if self.class_weights.len() != outputs {
            let got = format!("{} for {outputs} classes", self.class_weights.len());
            return refuse("class_weights", "a weight for each class", got);
        }
        let expected = "finite numbers of at least 0, not all 0";
        match self
            .class_weights
            .iter()
            .find(|w| !(w.is_finite() && **w >= 0.0))
        {
            Some(weight) => refuse("class_weights", expected, weight.to_string()),
            None if self.class_weights.iter().all(|&w| w == 0.0) => {
                refuse("class_weights", expected, "0 for each".into())
            }
            None => Ok(()),
        }
    }

    /// Checks that it changes nothing, for a loss of the user's own.
    pub(crate) fn check_own(&self) -> Result<(), MlpError> {
        if self.is_plain() {
            return Ok(());
        }
        Err(MlpError::Setting {
            name: "objective",
            expected: "no label smoothing and no weights of classes beside a loss of one's own",
            got: format!("{self:?}"),
        })
    }

    /// Whether it changes nothing.
    pub(crate) fn is_plain(&self) -> bool {
        self.label_smoothing == 0.0 && self.class_weights.is_empty()
    }

    /// Fills `soft` with `t'` and returns N, both of the module text.
    pub(super) fn soften(
        &self,
        targets: Targets<'_>,
        weights: Option<&[f32]>,
        mut soft: MatMut<'_>,
    ) -> f64 {
        let classes = soft.cols();
        let weight_of = |class: usize| self.class_weights.get(class).copied().unwrap_or(1.0);
        let (kept, spread) = (
            1.0 - self.label_smoothing,
            self.label_smoothing / classes as f32,
        );
        let mut total = 0.0;
        for row in 0..soft.rows() {
            let sample = weights.map_or(1.0, |weights| weights[row]);
            let label = match targets {
                Targets::Classes(labels) => Some(labels[row] as usize),
                _ => None,
            };
            for class in 0..classes {
                let target = match targets {
                    Targets::Values(values) => *values.at(row, class),
                    _ => f32::from(u8::from(label == Some(class))),
                };
                *soft.at_mut(row, class) = sample * weight_of(class) * (kept * target + spread);
            }
            total += f64::from(sample) * f64::from(label.map_or(1.0, weight_of));
        }
        total
    }
}

/// What a loss of one's own is computed from, and where its gradient goes; see
/// [`TrainConfig::loss_fn`](crate::TrainConfig::loss_fn).
///
/// ```
/// use mlp::{LossBatch, Targets, TrainConfig};
///
/// /// The mean of the products of outputs and targets: made small by outputs that point elsewhere.
/// fn alignment(batch: LossBatch<'_>) -> f32 {
///     let (outputs, mut gradient) = (batch.outputs, batch.gradient);
///     let Targets::Values(targets) = batch.targets else { return f32::NAN };
///     let count = (outputs.rows() * outputs.cols()) as f32;
///     let mut sum = 0.0;
///     for row in 0..outputs.rows() {
///         for col in 0..outputs.cols() {
///             sum += outputs.at(row, col) * targets.at(row, col);
///             *gradient.at_mut(row, col) = targets.at(row, col) / count;
///         }
///     }
///     sum / count
/// }
/// let config = TrainConfig::default().loss_fn(alignment);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct LossBatch<'a> {
    /// The outputs of the network, batch x outputs.
    pub outputs: MatRef<'a>,
    /// The targets of the batch.
    pub targets: Targets<'a>,
    /// The weights of the samples, if the data have some.
    pub weights: Option<&'a [f32]>,
    /// To be filled with the derivative of the returned loss with respect to each output, batch x
    /// outputs; all 0 before.
    pub gradient: MatMut<'a>,
}

/// A loss of one's own: returns the loss of a batch, and fills in its gradient.
pub type LossFn<'f> = dyn FnMut(LossBatch<'_>) -> f32 + 'f;
