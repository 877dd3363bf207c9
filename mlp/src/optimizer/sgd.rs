//! Stochastic gradient descent, with momentum and weight decay, in PyTorch's form.
//!
//! ```text
//! g <- dL/dw + weight_decay w
//! v <- momentum v + g                           v = 0 before the first step
//! w <- w - learning_rate v                      or, for Nesterov,
//! w <- w - learning_rate (g + momentum v)
//! ```
//!
//! Without momentum `v = g`, and nothing is kept. I. Sutskever et al., 2013, "On the importance of
//! initialization and momentum in deep learning"; there the learning rate is part of `v`.

use kernels::{KernelError, Kernels, MatMut, SgdRule, Update};
use serde::{Deserialize, Serialize};

use super::{Chunk, MAX_SLOTS, check_not_negative, check_share};
use crate::error::MlpError;

/// Stochastic gradient descent: `w <- w - learning_rate v`, with `v` the gradient, or its running
/// sum with momentum.
///
/// ```
/// use mlp::Sgd;
/// let optimizer = Sgd::new(0.1).momentum(0.9).nesterov();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Sgd {
    rule: SgdRule,
}

impl Sgd {
    /// Plain gradient descent.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            rule: SgdRule {
                learning_rate,
                momentum: 0.0,
                nesterov: false,
                weight_decay: 0.0,
            },
        }
    }

    /// Share of the old velocity that is kept: at least 0, below 1; 0 unless said otherwise.
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.rule.momentum = momentum;
        self
    }

    /// Looks ahead along the velocity: `w <- w - learning_rate (g + momentum v)`.
    pub fn nesterov(mut self) -> Self {
        self.rule.nesterov = true;
        self
    }

    /// L2 term `weight_decay / 2 |w|^2` of the loss: `weight_decay w` is added to the gradient of
    /// each weight, not of biases (see [`ParamGroup`](crate::ParamGroup)); 0 unless said otherwise.
    pub fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.rule.weight_decay = weight_decay;
        self
    }

    pub(super) fn check(&self) -> Result<(), MlpError> {
        check_not_negative("learning_rate", self.rule.learning_rate)?;
        check_not_negative("weight_decay", self.rule.weight_decay)?;
        check_share("momentum", self.rule.momentum)?;
        if self.rule.nesterov && self.rule.momentum == 0.0 {
            return Err(MlpError::Setting {
                name: "nesterov",
                expected: "a momentum above 0",
                got: "momentum 0".into(),
            });
        }
        Ok(())
    }

    pub(super) fn learning_rate(&self) -> f32 {
        self.rule.learning_rate
    }

    pub(super) fn l2(&self) -> f32 {
        self.rule.weight_decay
    }

    pub(super) fn scaled(mut self, learning_rate: f32, weight_decay: f32) -> Self {
        self.rule.learning_rate *= learning_rate;
        self.rule.weight_decay *= weight_decay;
        self
    }

    /// The velocity, if there is momentum.
    pub(super) fn slots(&self) -> [bool; MAX_SLOTS] {
        [self.rule.momentum > 0.0, false, false]
    }

    pub(super) fn update(&self, kernels: &Kernels, chunk: Chunk<'_>) -> Result<(), KernelError> {
        let [velocity, ..] = chunk.slots;
        kernels.sgd_update(self.rule, chunk.gradients, velocity, chunk.parameters)
    }

    /// The update of one matrix of parameters.
    pub(super) fn on_matrix<'a>(
        &self,
        params: MatMut<'a>,
        [velocity, ..]: [Option<MatMut<'a>>; MAX_SLOTS],
    ) -> Update<'a> {
        Update::Sgd {
            rule: self.rule,
            velocity,
            params,
        }
    }
}
