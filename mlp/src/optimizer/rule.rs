//! What the optimisers have in common: each is a rule of the kernels with its settings, a [`Tuned`] one, and
//! the rest of the crate sees no other side of them than [`Rule`].

use kernels::{KernelError, Kernels, MatMut, Update};
use serde::{Deserialize, Serialize};

use super::{Chunk, MAX_SLOTS};
use crate::error::MlpError;

/// An optimiser: a rule for the update of parameters, with its settings. [`Sgd`](crate::Sgd),
/// [`Adam`](crate::Adam) and [`Rmsprop`](crate::Rmsprop) are names for one each.
///
/// ```
/// use mlp::{Adam, Rmsprop, Sgd};
/// let optimizer = Sgd::new(0.1).momentum(0.9).weight_decay(1e-4);
/// let optimizer = Adam::new(1e-3).weight_decay(1e-4);
/// let optimizer = Rmsprop::new(1e-3).weight_decay(1e-4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Tuned<R> {
    pub(super) rule: R,
}

impl<R: HasRates> Tuned<R> {
    /// L2 term `weight_decay / 2 |w|^2` of the loss: `weight_decay w` is added to the gradient of
    /// each weight, not of biases (see [`ParamGroup`](crate::ParamGroup)); 0 unless said otherwise.
    /// Decay that is no part of the gradient is that of [`AdamW`](crate::AdamW).
    pub fn weight_decay(mut self, weight_decay: f32) -> Self {
        *self.rule.rates().l2 = weight_decay;
        self
    }
}

/// A rule of the kernels.
pub trait HasRates {
    /// The settings that every rule has.
    fn rates(&mut self) -> Rates<'_>;
}

/// The settings that every optimiser has, and factors may be put on.
#[derive(Debug)]
pub struct Rates<'a> {
    pub(super) learning_rate: &'a mut f32,
    /// lambda of the term `lambda / 2 |w|^2` in the loss.
    pub(super) l2: &'a mut f32,
    /// Decay that is no part of the gradient, where there is that.
    pub(super) decoupled: Option<&'a mut f32>,
}

/// A formula for the update of parameters.
pub(super) trait Rule {
    /// Checks the settings that this rule alone has.
    fn check(&self) -> Result<(), MlpError>;

    /// Which of the slots it keeps a value in for each parameter.
    fn slots(&self) -> [bool; MAX_SLOTS];

    /// Operations for each parameter, those of the formula as it is written.
    fn flop(&self) -> u64;

    /// Update number `step`, counted from 1, of a part of the parameters.
    fn update(&self, kernels: &Kernels, step: u64, chunk: Chunk<'_>) -> Result<(), KernelError>;

    /// Update number `step` of one matrix of parameters, to be made where its gradient is.
    fn on_matrix<'a>(
        &self,
        step: u64,
        params: MatMut<'a>,
        slots: [Option<MatMut<'a>>; MAX_SLOTS],
    ) -> Result<Update<'a>, KernelError>;
}

/// The error of a slot that is not there.
pub(super) fn no_slot(op: &'static str) -> KernelError {
    KernelError::Shape {
        op,
        expected: "what the optimiser keeps, for each parameter".into(),
        got: "none".into(),
    }
}

/// Checks that a setting is a finite number of at least 0.
pub(super) fn check_not_negative(name: &'static str, value: f32) -> Result<(), MlpError> {
    let good = value.is_finite() && value >= 0.0;
    refuse_unless(good, name, "a finite number of at least 0", value)
}

/// Checks that a setting is a finite number above 0.
pub(super) fn check_positive(name: &'static str, value: f32) -> Result<(), MlpError> {
    let good = value.is_finite() && value > 0.0;
    refuse_unless(good, name, "a finite number above 0", value)
}

/// Checks that a setting is at least 0 and below 1.
pub(super) fn check_share(name: &'static str, value: f32) -> Result<(), MlpError> {
    let good = (0.0..1.0).contains(&value);
    refuse_unless(good, name, "a number of at least 0 and below 1", value)
}

fn refuse_unless(
    good: bool,
    name: &'static str,
    expected: &'static str,
    got: f32,
) -> Result<(), MlpError> {
    if good {
        return Ok(());
    }
    Err(MlpError::Setting {
        name,
        expected,
        got: got.to_string(),
    })
}
