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

use super::rule::{HasRates, Rates, Rule, Tuned, check_positive, check_share, no_slot};
use super::{Chunk, MAX_SLOTS};
use crate::error::MlpError;

/// Adam: steps of about `learning_rate` in each parameter, whatever the scale of its gradient.
///
/// ```
/// use mlp::Adam;
/// let optimizer = Adam::new(1e-3);
/// ```
pub type Adam = Tuned<AdamRule>;

impl Default for Adam {
    /// Learning rate 0.001.
    fn default() -> Self {
        Self::new(1e-3)
    }
}

impl Tuned<AdamRule> {
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
}

impl HasRates for AdamRule {
    fn rates(&mut self) -> Rates<'_> {
        Rates {
            learning_rate: &mut self.learning_rate,
            l2: &mut self.weight_decay,
            decoupled: Some(&mut self.decoupled_weight_decay),
        }
    }
}

impl Rule for Adam {
    fn check(&self) -> Result<(), MlpError> {
        check_positive("eps", self.rule.eps)?;
        check_share("beta1", self.rule.beta1)?;
        check_share("beta2", self.rule.beta2)
    }

    /// The two moments.
    fn slots(&self) -> [bool; MAX_SLOTS] {
        [true, true, false]
    }

    /// 3 and 4 of the moments, 2 of the factors without bias, 2 of root and eps, 3 of the step.
    fn flop(&self) -> u64 {
        let l2 = if self.rule.weight_decay > 0.0 { 2 } else { 0 };
        let decoupled = if self.rule.decoupled_weight_decay > 0.0 {
            2
        } else {
            0
        };
        14 + l2 + decoupled
    }

    fn update(&self, kernels: &Kernels, step: u64, chunk: Chunk<'_>) -> Result<(), KernelError> {
        let [first_moment, second_moment, _] = chunk.slots;
        kernels.adam_update(
            AdamRule { step, ..self.rule },
            chunk.gradients,
            first_moment,
            second_moment,
            chunk.parameters,
        )
    }

    fn on_matrix<'a>(
        &self,
        step: u64,
        params: MatMut<'a>,
        slots: [Option<MatMut<'a>>; MAX_SLOTS],
    ) -> Result<Update<'a>, KernelError> {
        let [Some(first_moment), Some(second_moment), _] = slots else {
            return Err(no_slot("adam_update"));
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
