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

use super::rule::{HasRates, Rates, Rule, Tuned, check_share};
use super::{Chunk, MAX_SLOTS};
use crate::error::MlpError;

/// Stochastic gradient descent: `w <- w - learning_rate v`, with `v` the gradient, or its running
/// sum with momentum.
///
/// ```
/// use mlp::Sgd;
/// let optimizer = Sgd::new(0.1).momentum(0.9).nesterov();
/// ```
pub type Sgd = Tuned<SgdRule>;

impl Tuned<SgdRule> {
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
}

impl HasRates for SgdRule {
    fn rates(&mut self) -> Rates<'_> {
        Rates {
            learning_rate: &mut self.learning_rate,
            l2: &mut self.weight_decay,
            decoupled: None,
        }
    }
}

impl Rule for Sgd {
    fn check(&self) -> Result<(), MlpError> {
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

    /// The velocity, if there is momentum.
    fn slots(&self) -> [bool; MAX_SLOTS] {
        [self.rule.momentum > 0.0, false, false]
    }

    fn flop(&self) -> u64 {
        let lines = [
            true,
            self.rule.weight_decay > 0.0,
            self.rule.momentum > 0.0,
            self.rule.nesterov,
        ];
        lines.into_iter().map(|line| 2 * u64::from(line)).sum()
    }

    fn update(&self, kernels: &Kernels, _: u64, chunk: Chunk<'_>) -> Result<(), KernelError> {
        let [velocity, ..] = chunk.slots;
        kernels.sgd_update(self.rule, chunk.gradients, velocity, chunk.parameters)
    }

    fn on_matrix<'a>(
        &self,
        _: u64,
        params: MatMut<'a>,
        [velocity, ..]: [Option<MatMut<'a>>; MAX_SLOTS],
    ) -> Result<Update<'a>, KernelError> {
        let rule = self.rule;
        Ok(Update::Sgd {
            rule,
            velocity,
            params,
        })
    }
}
