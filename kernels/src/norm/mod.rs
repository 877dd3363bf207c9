//! Normalisation: of each column over the rows of a batch, and of each row over its columns.

mod batch;
mod columns;
mod layer;
mod operands;
mod ops;

pub(crate) use batch::{BatchNorm, BatchNormBackward, BatchNormPredict};
pub(crate) use layer::{LayerNorm, LayerNormBackward, LayerNormParameters};
pub use operands::{Norm, NormGradients, Running, Statistics, StatisticsMut};
