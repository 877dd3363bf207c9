//! What calls cost at least: operations, and bytes that have to move.

use std::iter::Sum;
use std::ops::Add;

use super::call::{Call, Fused};
use super::layer_call::LayerCall;
use super::region::{Region, Source};

/// Operations of some calls, and the bytes of their operands, each counted once however often a kernel
/// comes back to it: what a cache that holds all operands of a call would have to load and store.
///
/// What the optimiser adds is not in it: its state is no part of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add is two.
    pub flop: u64,
    /// Bytes of the operands that are read; one that is added to counts here and below.
    pub bytes_read: u64,
    /// Bytes of the results.
    pub bytes_written: u64,
}

impl Cost {
    /// Bytes read and written.
    pub fn bytes(&self) -> u64 {
        self.bytes_read + self.bytes_written
    }

    /// So many operations, and elements of f32 that are read and written.
    pub(crate) fn of(flop: u64, read: usize, written: usize) -> Self {
        let bytes = |elements: usize| (elements * size_of::<f32>()) as u64;
        Self {
            flop,
            bytes_read: bytes(read),
            bytes_written: bytes(written),
        }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            flop: self.flop + other.flop,
            bytes_read: self.bytes_read + other.bytes_read,
            bytes_written: self.bytes_written + other.bytes_written,
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

impl Call {
    /// Operations and bytes.
    pub(crate) fn cost(&self) -> Cost {
        let (read, written) = match self {
            Self::Gemm {
                c,
                accumulate,
                fused,
                k,
                ..
            } => {
                let Region {
                    rows: m, cols: n, ..
                } = *c.region();
                let old = if *accumulate { m * n } else { 0 };
                let beside = match fused {
                    Fused::Activate { bias, .. } => bias.map_or(0, |bias| bias.len()),
                    Fused::Derivative { saved, .. } => saved.len(),
                    Fused::Store | Fused::Step => 0,
                };
                ((m + n) * k + old + beside, m * n)
            }
            Self::Copy { y, .. } | Self::Dropout { y, .. } | Self::Activation { y, .. } => {
                (y.len(), y.len())
            }
            Self::Sum { y, .. } => (2 * y.len(), y.len()),
            Self::ActivationGradient { dx, .. } => (2 * dx.len(), dx.len()),
            Self::ColumnSums { x, sums } => (x.len(), sums.len()),
            Self::Layer(call) => call.elements(),
        };
        Cost::of(self.flop(), read, written)
    }
}

impl LayerCall {
    /// Elements read and written.
    fn elements(&self) -> (usize, usize) {
        let len = |regions: Vec<Region>| -> usize { regions.iter().map(Region::len).sum() };
        let (read, written) = self.touched();
        let (read, written) = (len(read), len(written));
        // The parameters, their gradients and the numbers of rows are not in the arena.
        match self {
            Self::LayerNorm { norm, .. } | Self::BatchNorm { norm, .. } => {
                (read + norm.gamma.len() + norm.beta.len(), written)
            }
            Self::BatchNormPredict {
                norm, mean, var, ..
            } => {
                let parameters = norm.gamma.len() + norm.beta.len();
                (read + parameters + mean.len() + var.len(), written)
            }
            Self::LayerNormGradient { norm, .. } | Self::BatchNormGradient { norm, .. } => (
                read + norm.gamma.len(),
                written + norm.gamma.len() + norm.beta.len(),
            ),
            Self::Softmax { .. }
            | Self::SoftmaxGradient { .. }
            | Self::Attention { .. }
            | Self::AttentionGradient { .. } => (read, written),
            // Each row of the result is the sum of one row of the table and one of the positions.
            Self::Embedding { numbers, y, .. } => (numbers.len_of(y.rows) + 2 * y.len(), written),
            Self::EmbeddingGradient {
                numbers,
                table,
                positions,
                dy,
            } => (
                numbers.len_of(dy.rows) + read,
                written + table.len() + positions.len(),
            ),
        }
    }
}

impl Source {
    /// Elements of the numbers of `rows` rows of an embedding.
    fn len_of(&self, rows: usize) -> usize {
        match self {
            Self::Input => rows,
            Self::Parameters(region) | Self::Arena(region) => region.len(),
        }
    }
}
