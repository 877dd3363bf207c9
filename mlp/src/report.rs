//! What a training says about itself.

use std::fmt;

/// How well a network does on data: the answer of [`Mlp::evaluate`](crate::Mlp::evaluate).
///
/// ```
/// use mlp::{Dataset, Mlp};
/// let data = Dataset::classes(vec![-1.0, 1.0], 1, vec![0, 1])?;
/// let mut net = Mlp::builder(1).dense(2).build()?;
/// // Logits 0 and x: class 1 where x is above 0.
/// net.set_parameters(&[0.0, 1.0, 0.0, 0.0])?;
/// let evaluation = net.evaluate(&data)?;
/// assert_eq!(evaluation.accuracy, Some(1.0));
/// assert!((evaluation.loss - (1.0 + (-1f32).exp()).ln()).abs() < 1e-6);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Mean loss over the samples.
    pub loss: f32,
    /// Share of the samples whose largest output is that of their class, 0 to 1; `None` for a
    /// network that does not tell classes apart, and beside a loss of one's own whose targets name none.
    pub accuracy: Option<f32>,
}

/// One epoch of a training.
///
/// ```
/// use mlp::{Dataset, Mlp, Sgd, TrainConfig};
/// let data = Dataset::classes(vec![-1.0, 1.0], 1, vec![0, 1])?;
/// let mut net = Mlp::builder(1).dense(2).build()?;
/// let config = TrainConfig::default().optimizer(Sgd::new(0.5).weight_decay(1e-3)).max_epochs(3);
/// let report = net.fit(&data, &config)?;
/// for epoch in &report.history {
///     println!("{:3} {:.4} + {:.4}", epoch.epoch, epoch.loss, epoch.penalty);
///     assert_eq!(epoch.loss_with_penalty(), epoch.loss + epoch.penalty);
/// }
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// Number of the epoch in this training, counted from 1.
    pub epoch: usize,
    /// Mean loss over the samples, each as it was before the step that it took part in; without the
    /// L2 term.
    pub loss: f32,
    /// The L2 term of the loss, `weight_decay / 2 |w|^2`, of the parameters that the epoch ended
    /// with; 0 without L2. Decoupled decay is no term of the loss.
    pub penalty: f32,
    /// Mean over the steps of the norm of the gradient, over all parameters and before clipping;
    /// `None` if nothing needed it.
    pub gradient_norm: Option<f32>,
    /// The learning rate of the last step, without the factors of groups.
    pub learning_rate: f32,
    /// Loss and accuracy on the validation data after the epoch, if there are any.
    pub validation: Option<Evaluation>,
    /// Seconds since the training began.
    pub seconds: f64,
}

impl EpochReport {
    /// Loss and L2 term together: what training makes small.
    pub fn loss_with_penalty(&self) -> f32 {
        self.loss + self.penalty
    }
}

/// Why a training ended.
///
/// ```
/// use mlp::{Dataset, Mlp, StopReason, TrainConfig};
/// let data = Dataset::classes(vec![-1.0, 1.0], 1, vec![0, 1])?;
/// let mut net = Mlp::builder(1).dense(2).build()?;
/// let config = TrainConfig::default().stop_below_loss(100.0);
/// assert_eq!(net.fit(&data, &config)?.stop_reason, StopReason::LossThreshold);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The last epoch asked for is done.
    MaxEpochs,
    /// The validation loss, or the accuracy if that is watched, has not become better for as many
    /// epochs as early stopping is patient.
    ValidationPlateau,
    /// The mean loss of an epoch was below the threshold.
    LossThreshold,
    /// The mean norm of the gradients of an epoch was below the threshold.
    GradientNorm,
    /// The time was up, maybe in the middle of an epoch.
    TimeBudget,
    /// The callback said so.
    Callback,
    /// A loss, a gradient, the learning rate or a parameter was NaN or infinite. The network has the last
    /// parameters known to be good: those that the last epoch of the report ended with, or those from before
    /// the training. An epoch whose parameters have no finite loss is not in the report.
    NonFinite,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxEpochs => "finished",
            Self::ValidationPlateau => "stopped early",
            Self::LossThreshold => "stopped by a loss below the threshold",
            Self::GradientNorm => "stopped by a gradient below the threshold",
            Self::TimeBudget => "stopped by the time budget",
            Self::Callback => "stopped by the callback",
            Self::NonFinite => "stopped by a number that is not finite",
        })
    }
}

/// What came of a training: the answer of [`Mlp::fit`](crate::Mlp::fit). Printed, it is one line.
///
/// ```
/// use mlp::{Dataset, Mlp, TrainConfig};
/// let data = Dataset::classes(vec![-1.0, 1.0], 1, vec![0, 1])?;
/// let mut net = Mlp::builder(1).dense(2).build()?;
/// let report = net.fit(&data, &TrainConfig::default().max_epochs(4))?;
/// assert_eq!((report.epochs, report.steps, report.history.len()), (4, 4, 4));
/// println!("{report}");
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Number of epochs finished.
    pub epochs: usize,
    /// Number of updates made, those of an unfinished epoch included.
    pub steps: u64,
    /// The validation loss of the best epoch; NaN without validation data.
    pub best_validation: f32,
    /// The epoch, counted from 1, with the lowest validation loss, or with the highest accuracy if
    /// early stopping watches that; `None` without validation data.
    pub best_epoch: Option<usize>,
    /// The epochs finished, in order.
    pub history: Vec<EpochReport>,
    /// Seconds from the first check to the end.
    pub seconds: f64,
    /// Samples trained on per second, the time for validation and callbacks left out.
    pub samples_per_second: f64,
}

impl Report {
    /// Mean training loss of the last epoch finished, without the L2 term; NaN if none was.
    pub fn loss(&self) -> f32 {
        self.history.last().map_or(f32::NAN, |epoch| epoch.loss)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} after {} epochs ({} steps, {:.2} s, {:.0} samples/s): loss {:.6}",
            self.stop_reason,
            self.epochs,
            self.steps,
            self.seconds,
            self.samples_per_second,
            self.loss()
        )?;
        if let Some(epoch) = self.best_epoch {
            write!(
                f,
                ", best validation {:.6} after epoch {epoch}",
                self.best_validation
            )?;
        }
        Ok(())
    }
}
