//! Adam and AdamW, in PyTorch's form.
//!
//! ```text
//! g <- dL/dw + weight_decay w                   Adam: the gradient of an L2 term in the loss
//! w <- w - learning_rate weight_decay w         AdamW instead: decay apart from the gradient
//! m <- beta1 m + (1 - beta1) g                  first moment
//! v <- beta2 v + (1 - beta2) g^2                second moment
//! w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//! ```
//!
//! with t the number of the step, counted from 1. D. P. Kingma and J. Ba, 2015, "Adam: a method for
//! stochastic optimization", algorithm 1. I. Loshchilov and F. Hutter, 2019, "Decoupled weight decay
//! regularization", algorithm 2.

use kernels::{AdamRule, KernelError, Kernels, MatMut, Update};
use serde::{Deserialize, Serialize};

use super::{Chunk, MAX_SLOTS, check_not_negative, check_positive, check_share};
use crate::error::MlpError;

/// Adam: steps of about `learning_rate` in each parameter, whatever the scale of its gradient.
///
/// ```
/// use mlp::Adam;
/// let optimizer = Adam::new(1e-3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Adam {
    rule: AdamRule,
}

impl Default for Adam {
    /// Learning rate 0.001.
    fn default() -> Self {
        Self::new(1e-3)
    }
}

impl Adam {
    /// The two moments.
    pub(super) const SLOTS: [bool; MAX_SLOTS] = [true, true, false];

    /// Adam with beta1 = 0.9, beta2 = 0.999, eps = 1e-8.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            rule: AdamRule {
                learning_rate,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.0,
                decoupled_weight_decay: 0.0,
                step: 0,
            },
        }
    }

    /// Decay rates of the two moments: at least 0, below 1.
    pub fn betas(mut self, beta1: f32, beta2: f32) -> Self {
        (self.rule.beta1, self.rule.beta2) = (beta1, beta2);
        self
    }

    /// Added to the denominator; above 0.
    pub fn eps(mut self, eps: f32) -> Self {
        self.rule.eps = eps;
        self
    }

    /// L2 term `weight_decay / 2 |w|^2` of the loss: `weight_decay w` is added to the gradient of
    /// each weight, not of biases (see [`ParamGroup`](crate::ParamGroup)); 0 unless said otherwise.
    /// Decay that is no part of the gradient is that of [`AdamW`].
    pub fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.rule.weight_decay = weight_decay;
        self
    }

    pub(super) fn check(&self) -> Result<(), MlpError> {
        check_not_negative("learning_rate", self.rule.learning_rate)?;
        check_not_negative("weight_decay", self.rule.weight_decay)?;
        check_not_negative("weight_decay", self.rule.decoupled_weight_decay)?;
        check_positive("eps", self.rule.eps)?;
        check_share("beta1", self.rule.beta1)?;
        check_share("beta2", self.rule.beta2)
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
        self.rule.decoupled_weight_decay *= weight_decay;
        self
    }

    pub(super) fn update(
        &self,
        kernels: &Kernels,
        step: u64,
        chunk: Chunk<'_>,
    ) -> Result<(), KernelError> {
        let [first_moment, second_moment, _] = chunk.slots;
        kernels.adam_update(
            AdamRule { step, ..self.rule },
            chunk.gradients,
            first_moment,
            second_moment,
            chunk.parameters,
        )
    }

    /// Update number `step`, counted from 1, of one matrix of parameters.
    pub(super) fn on_matrix<'a>(
        &self,
        step: u64,
        params: MatMut<'a>,
        slots: [Option<MatMut<'a>>; MAX_SLOTS],
    ) -> Result<Update<'a>, KernelError> {
        let [Some(first_moment), Some(second_moment), _] = slots else {
            return Err(KernelError::Shape {
                op: "adam_update",
                expected: "two moments for each parameter".into(),
                got: "fewer".into(),
            });
        };
        let rule = AdamRule { step, ..self.rule };
        Ok(Update::Adam {
            rule,
            first_moment,
            second_moment,
            params,
        })
    }
}

/// Adam with decoupled weight decay: each step first takes `learning_rate weight_decay w` off each
/// weight, not off biases (see [`ParamGroup`](crate::ParamGroup)), whatever its gradient is.
///
/// The decay is no term of the loss, and none is reported.
///
/// ```
/// use mlp::AdamW;
/// let optimizer = AdamW::new(1e-3).weight_decay(0.05);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct AdamW {
    adam: Adam,
}

impl AdamW {
    /// AdamW with beta1 = 0.9, beta2 = 0.999, eps = 1e-8 and a weight decay of 0.01.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            adam: Adam::new(learning_rate),
        }
        .weight_decay(1e-2)
    }

    /// As [`Adam::betas`].
    pub fn betas(mut self, beta1: f32, beta2: f32) -> Self {
        self.adam = self.adam.betas(beta1, beta2);
        self
    }

    /// As [`Adam::eps`].
    pub fn eps(mut self, eps: f32) -> Self {
        self.adam = self.adam.eps(eps);
        self
    }

    /// Share of each weight that a step takes off it, times the learning rate: at least 0.
    pub fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.adam.rule.decoupled_weight_decay = weight_decay;
        self
    }
}

impl From<AdamW> for Adam {
    fn from(adamw: AdamW) -> Self {
        adamw.adam
    }
}
