//! RMSprop, in PyTorch's form.
//!
//! ```text
//! g <- dL/dw + weight_decay w
//! v <- alpha v + (1 - alpha) g^2
//! m <- alpha m + (1 - alpha) g                  if centered, else m = 0
//! d <- g / (sqrt(v - m^2) + eps)
//! b <- momentum b + d                           b = 0 before the first step
//! w <- w - learning_rate b
//! ```
//!
//! T. Tieleman and G. Hinton, 2012, lecture 6.5 of "Neural networks for machine learning"; centered:
//! A. Graves, 2013, "Generating sequences with recurrent neural networks", equations 38 to 42.

use kernels::{KernelError, Kernels, MatMut, RmspropRule, Update};

use super::rule::{HasRates, Rates, Rule, Tuned, check_positive, check_share, no_slot};
use super::{Chunk, MAX_SLOTS};
use crate::error::MlpError;

/// RMSprop: the gradient, divided by the root of the running mean of its square.
///
/// ```
/// use mlp::Rmsprop;
/// let optimizer = Rmsprop::new(1e-2).alpha(0.9).momentum(0.9).centered();
/// ```
pub type Rmsprop = Tuned<RmspropRule>;

impl Tuned<RmspropRule> {
    /// RMSprop with alpha = 0.99, eps = 1e-8, without momentum, not centered.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            rule: RmspropRule {
                learning_rate,
                alpha: 0.99,
                eps: 1e-8,
                momentum: 0.0,
                centered: false,
                weight_decay: 0.0,
            },
        }
    }

    /// Share of the old mean of squares that is kept: at least 0, below 1.
    pub fn alpha(mut self, alpha: f32) -> Self {
        self.rule.alpha = alpha;
        self
    }

    /// Added to the denominator; above 0.
    pub fn eps(mut self, eps: f32) -> Self {
        self.rule.eps = eps;
        self
    }

    /// Share of the old velocity that is kept: at least 0, below 1; 0 unless said otherwise.
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.rule.momentum = momentum;
        self
    }

    /// Divides by the standard deviation of the gradient instead of its root mean square.
    pub fn centered(mut self) -> Self {
        self.rule.centered = true;
        self
    }
}

impl HasRates for RmspropRule {
    fn rates(&mut self) -> Rates<'_> {
        Rates {
            learning_rate: &mut self.learning_rate,
            l2: &mut self.weight_decay,
            decoupled: None,
        }
    }
}

impl Rule for Rmsprop {
    fn check(&self) -> Result<(), MlpError> {
        check_positive("eps", self.rule.eps)?;
        check_share("alpha", self.rule.alpha)?;
        check_share("momentum", self.rule.momentum)
    }

    /// The mean of squares; the mean, if it is centered; the velocity, if there is momentum.
    fn slots(&self) -> [bool; MAX_SLOTS] {
        [true, self.rule.centered, self.rule.momentum > 0.0]
    }

    /// 4 of the mean of squares, 3 of the quotient, 2 of the step; centered 3 of the mean and 2 of its
    /// square; 2 of the momentum, 2 of the decay.
    fn flop(&self) -> u64 {
        let centered = if self.rule.centered { 5 } else { 0 };
        let momentum = if self.rule.momentum > 0.0 { 2 } else { 0 };
        let decay = if self.rule.weight_decay > 0.0 { 2 } else { 0 };
        9 + centered + momentum + decay
    }

    fn update(&self, kernels: &Kernels, _: u64, chunk: Chunk<'_>) -> Result<(), KernelError> {
        let [second_moment, first_moment, velocity] = chunk.slots;
        kernels.rmsprop_update(
            self.rule,
            chunk.gradients,
            second_moment,
            first_moment,
            velocity,
            chunk.parameters,
        )
    }

    fn on_matrix<'a>(
        &self,
        _: u64,
        params: MatMut<'a>,
        [second_moment, first_moment, velocity]: [Option<MatMut<'a>>; MAX_SLOTS],
    ) -> Result<Update<'a>, KernelError> {
        Ok(Update::Rmsprop {
            rule: self.rule,
            second_moment: second_moment.ok_or_else(|| no_slot("rmsprop_update"))?,
            first_moment,
            velocity,
            params,
        })
    }
}
