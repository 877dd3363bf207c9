//! What normalisations are given, and what they leave for their backward pass.

use crate::view::MatMut;

/// `y = gamma xhat + beta`, where `xhat = (x - mean) / sqrt(var + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Scale of each column.
    pub gamma: &'a [f32],
    /// Shift of each column.
    pub beta: &'a [f32],
    /// Added to the variance: finite and above 0.
    pub eps: f32,
}

/// What a backward pass needs to know of each row or column that was normalised.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a> {
    /// The mean.
    pub mean: &'a [f32],
    /// `1 / sqrt(var + eps)`
    pub rstd: &'a [f32],
}

/// Memory for [`Statistics`].
#[derive(Debug)]
pub struct StatisticsMut<'a> {
    /// The mean.
    pub mean: &'a mut [f32],
    /// `1 / sqrt(var + eps)`
    pub rstd: &'a mut [f32],
}

/// Averages over the batches of a training.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// Mean of each column.
    pub mean: &'a [f32],
    /// Variance of each column.
    pub var: &'a [f32],
}

/// Where the backward pass of a normalisation writes.
#[derive(Debug)]
pub struct NormGradients<'a> {
    /// The gradient with respect to x, if it is wanted.
    pub dx: Option<MatMut<'a>>,
    /// One value for each column.
    pub dgamma: &'a mut [f32],
    /// One value for each column.
    pub dbeta: &'a mut [f32],
}
