//! What a training has seen of an epoch so far, kept where the epoch is cut short.

use serde::{Deserialize, Serialize};

use crate::plateau::MAX_COUNT;

/// Sums over the batches of an epoch that had their step. In a checkpoint, with as much of the order of the
/// samples as it takes to know the same epoch again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochSums {
    /// Samples of the data, and of a batch.
    samples: u64,
    batch_size: u64,
    /// Batches that had their step.
    pub(crate) batches: u64,
    /// Mean losses, each times the weight of its batch, and those weights.
    #[serde(with = "bits")]
    pub(crate) loss: f64,
    #[serde(with = "bits")]
    pub(crate) weight: f64,
    /// Norms of gradients.
    #[serde(with = "bits")]
    pub(crate) norm: f64,
}

impl EpochSums {
    /// Before the first batch of an epoch of so many samples.
    pub(crate) fn new(samples: usize, batch_size: usize) -> Self {
        Self {
            samples: samples as u64,
            batch_size: batch_size as u64,
            batches: 0,
            loss: 0.0,
            weight: 0.0,
            norm: 0.0,
        }
    }

    /// Whether it belongs to an epoch like `other`, of `steps` batches, and some of these are left.
    pub(crate) fn is_part_of(&self, other: &Self, steps: usize) -> bool {
        let left = self.batches < steps as u64;
        left && (self.samples, self.batch_size) == (other.samples, other.batch_size)
    }

    /// Mean loss over the samples; 0 where none had a weight: there was nothing to lose.
    pub(crate) fn mean_loss(&self) -> f32 {
        if self.weight > 0.0 {
            (self.loss / self.weight) as f32
        } else {
            0.0
        }
    }

    /// Mean norm over the batches.
    pub(crate) fn mean_norm(&self) -> f32 {
        (self.norm / self.batches as f64) as f32
    }

    /// Whether a training can bring it about.
    pub(crate) fn is_sound(&self) -> bool {
        let sums = [self.loss, self.weight, self.norm];
        let counted = self.batches <= MAX_COUNT && self.batches > 0;
        counted && sums.into_iter().all(f64::is_finite) && self.weight >= 0.0 && self.norm >= 0.0
    }
}

/// A float as the integer that its bits are: text would round it.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(x.to_bits())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}
