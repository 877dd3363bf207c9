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

impl Norm<'_> {
    /// Those of the columns before `at`, and of the others.
    #[inline(always)]
    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        let (gamma, beta) = (self.gamma.split_at(at), self.beta.split_at(at));
        let [first, second] = [(gamma.0, beta.0), (gamma.1, beta.1)].map(|(gamma, beta)| Self {
            gamma,
            beta,
            ..self
        });
        (first, second)
    }
}

/// Memory for [`Statistics`].
#[derive(Debug)]
pub struct StatisticsMut<'a> {
    /// The mean.
    pub mean: &'a mut [f32],
    /// `1 / sqrt(var + eps)`
    pub rstd: &'a mut [f32],
}

impl Statistics<'_> {
    /// Those of the rows or columns before `at`, and of the others.
    #[inline(always)]
    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        let (mean, rstd) = (self.mean.split_at(at), self.rstd.split_at(at));
        let [first, second] =
            [(mean.0, rstd.0), (mean.1, rstd.1)].map(|(mean, rstd)| Self { mean, rstd });
        (first, second)
    }
}

impl StatisticsMut<'_> {
    /// That of the rows or columns before `at`, and of the others.
    #[inline(always)]
    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        let (mean, rstd) = (self.mean.split_at_mut(at), self.rstd.split_at_mut(at));
        let [first, second] =
            [(mean.0, rstd.0), (mean.1, rstd.1)].map(|(mean, rstd)| Self { mean, rstd });
        (first, second)
    }
}

/// Averages over the batches of a training.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// Mean of each column.
    pub mean: &'a [f32],
    /// Variance of each column.
    pub var: &'a [f32],
}

impl Running<'_> {
    /// Those of the columns before `at`, and of the others.
    #[inline(always)]
    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        let (mean, var) = (self.mean.split_at(at), self.var.split_at(at));
        let [first, second] =
            [(mean.0, var.0), (mean.1, var.1)].map(|(mean, var)| Self { mean, var });
        (first, second)
    }
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
