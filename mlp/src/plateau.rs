//! The learning rate lowered where the loss no longer falls.

use serde::{Deserialize, Serialize};

use crate::error::MlpError;
use crate::schedule::not_negative;

/// The most steps or epochs of a training, which a file of it can hold: thousands of years of them.
pub(crate) const MAX_COUNT: u64 = 1 << 53;

/// Lowers the learning rate where the loss no longer falls, as PyTorch's `ReduceLROnPlateau`.
///
/// Watches the validation loss after each epoch, the training loss where there are no validation
/// data. An epoch is better if its loss is below `best - threshold |best|`, which for a loss above 0 is
/// PyTorch's `best (1 - threshold)`; for one below 0, as a loss of one's own may be, PyTorch's bar lies
/// above the best loss. After more than `patience`
/// epochs in a row that are not, the learning rate is multiplied by `factor`, and the count of epochs
/// begins anew. Multiplies with a [`Schedule`](crate::Schedule), if there is one too.
///
/// ```
/// use mlp::{ReduceOnPlateau, TrainConfig};
/// let config = TrainConfig::default().reduce_on_plateau(ReduceOnPlateau::new(0.5).patience(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct ReduceOnPlateau {
    factor: f32,
    patience: u64,
    threshold: f32,
    cooldown: u64,
    lowest: f32,
}

impl ReduceOnPlateau {
    /// Multiplies by `factor`, above 0 and below 1; patience 10, threshold 1e-4, no cooldown.
    pub fn new(factor: f32) -> Self {
        Self {
            factor,
            patience: 10,
            threshold: 1e-4,
            cooldown: 0,
            lowest: 0.0,
        }
    }

    /// Epochs without a better loss that are waited through.
    pub fn patience(mut self, patience: u64) -> Self {
        self.patience = patience;
        self
    }

    /// Share of the best loss by which it has to fall to count as better: at least 0, below 1.
    pub fn threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// Epochs after a reduction in which none is counted as worse: at most 2^53.
    pub fn cooldown(mut self, cooldown: u64) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// The lowest factor in all: finite, at least 0; 0 unless said otherwise.
    pub fn lowest(mut self, lowest: f32) -> Self {
        self.lowest = lowest;
        self
    }

    pub(crate) fn check(&self) -> Result<(), MlpError> {
        let share = (0.0..1.0).contains(&self.factor) && self.factor > 0.0;
        if !share {
            return Err(MlpError::Setting {
                name: "plateau: factor",
                expected: "a number above 0 and below 1",
                got: self.factor.to_string(),
            });
        }
        if !(0.0..1.0).contains(&self.threshold) {
            return Err(MlpError::Setting {
                name: "plateau: threshold",
                expected: "a number of at least 0 and below 1",
                got: self.threshold.to_string(),
            });
        }
        if self.cooldown > MAX_COUNT {
            return Err(MlpError::Setting {
                name: "plateau: cooldown",
                expected: "at most 2^53 epochs",
                got: self.cooldown.to_string(),
            });
        }
        not_negative("plateau: lowest", self.lowest)
    }
}

/// What [`ReduceOnPlateau`] remembers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plateau {
    /// Infinite before the first epoch, which no number in JSON is: kept as its bits.
    #[serde(with = "bits")]
    best: f32,
    worse_epochs: u64,
    cooling: u64,
    /// The factor on the learning rate.
    pub(crate) factor: f32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self {
            best: f32::INFINITY,
            worse_epochs: 0,
            cooling: 0,
            factor: 1.0,
        }
    }
}

/// A float as the integer that its bits are.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(x: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(x.to_bits())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<f32, D::Error> {
        u32::deserialize(from).map(f32::from_bits)
    }
}

impl Plateau {
    /// Whether training can bring it about, and go on from it, having counted no further than `most`.
    pub(crate) fn is_sound(&self) -> bool {
        let counted = self.worse_epochs.max(self.cooling) <= MAX_COUNT;
        counted && !self.best.is_nan() && (0.0..=1.0).contains(&self.factor)
    }

    /// Takes note of the loss of an epoch.
    pub(crate) fn see(&mut self, settings: &ReduceOnPlateau, loss: f32) {
        // Infinite before the first epoch, of which no share can be taken off.
        let bar = match self.best {
            f32::INFINITY => self.best,
            best if best > 0.0 => best * (1.0 - settings.threshold),
            best => best * (1.0 + settings.threshold),
        };
        if loss < bar {
            self.best = loss;
            self.worse_epochs = 0;
        } else {
            self.worse_epochs += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.worse_epochs = 0;
        }
        if self.worse_epochs > settings.patience {
            self.factor = (self.factor * settings.factor).max(settings.lowest.min(self.factor));
            self.cooling = settings.cooldown;
            self.worse_epochs = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Factors after each of these losses.
    fn plateau(settings: ReduceOnPlateau, losses: &[f32]) -> Vec<f32> {
        let mut plateau = Plateau::default();
        let factors = losses.iter().map(|&loss| {
            plateau.see(&settings, loss);
            plateau.factor
        });
        factors.collect()
    }

    #[test]
    fn a_plateau_lowers_the_rate_after_its_patience() {
        let settings = ReduceOnPlateau::new(0.5).patience(1);
        // 0.99995 is not better by the threshold; NaN never is.
        assert_eq!(
            plateau(settings, &[1.0, 0.99995, 1.0, 1.0, f32::NAN, 0.5, 0.5]),
            [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]
        );
        let settings = settings.cooldown(2).lowest(0.3);
        assert_eq!(
            plateau(settings, &[1.0; 10]),
            [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]
        );
    }

    #[test]
    fn a_loss_below_zero_has_to_fall_by_a_share_of_its_size() {
        let settings = ReduceOnPlateau::new(0.5).patience(0).threshold(0.5);
        // From -1 on better is below -1.5: -1.4 and -1.5 are not, -1.6 is.
        assert_eq!(
            plateau(settings, &[-1.0, -1.4, -1.5, -1.6, 0.0]),
            [1.0, 0.5, 0.25, 0.25, 0.125]
        );
    }

    #[test]
    fn says_what_is_out_of_range() {
        for (settings, name) in [
            (ReduceOnPlateau::new(1.0), "plateau: factor"),
            (ReduceOnPlateau::new(0.0), "plateau: factor"),
            (
                ReduceOnPlateau::new(0.5).threshold(1.0),
                "plateau: threshold",
            ),
            (ReduceOnPlateau::new(0.5).lowest(-1.0), "plateau: lowest"),
        ] {
            let message = settings.check().unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
    }
}
