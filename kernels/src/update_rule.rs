//! One step of an optimiser on one register of parameters.
//!
//! Constants are prepared once per call, in f64 where they are differences of nearly equal numbers;
//! the loops of [`crate::update`] apply the rest.
//!
//! Moments and velocities below 2^-126 count as 0: once a gradient stays 0 they would decay into
//! subnormal numbers, on which every operation costs a hundred cycles or more, and stay there.

use pulp::Simd;

use crate::error::{KernelError, Range};
use crate::math::at_least;

/// Hyperparameters of [`crate::Kernels::sgd_update`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SgdRule {
    /// Step size: finite, at least 0.
    pub learning_rate: f32,
    /// Share of the old velocity that is kept: at least 0, below 1; 0 for plain gradient descent.
    pub momentum: f32,
    /// Whether to look ahead along the velocity.
    pub nesterov: bool,
    /// L2 term added to the gradient: finite, at least 0.
    pub weight_decay: f32,
}

impl SgdRule {
    /// Checks the ranges for the operation `op`.
    pub(crate) fn check(&self, op: &'static str) -> Result<(), KernelError> {
        Range::NotNegative.check(op, "learning_rate", self.learning_rate)?;
        Range::Share.check(op, "momentum", self.momentum)?;
        Range::NotNegative.check(op, "weight_decay", self.weight_decay)
    }
}

/// Hyperparameters of [`crate::Kernels::adam_update`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AdamRule {
    /// Step size: finite, at least 0.
    pub learning_rate: f32,
    /// Decay of the first moment: at least 0, below 1.
    pub beta1: f32,
    /// Decay of the second moment: at least 0, below 1.
    pub beta2: f32,
    /// Added to the denominator: finite, above 0.
    pub eps: f32,
    /// L2 term added to the gradient: finite, at least 0.
    pub weight_decay: f32,
    /// Decay of the parameters themselves, apart from the gradient (AdamW): finite, at least 0.
    pub decoupled_weight_decay: f32,
    /// Number of this step, counted from 1.
    pub step: u64,
}

impl AdamRule {
    /// Checks the ranges for the operation `op`.
    pub(crate) fn check(&self, op: &'static str) -> Result<(), KernelError> {
        Range::NotNegative.check(op, "learning_rate", self.learning_rate)?;
        Range::Share.check(op, "beta1", self.beta1)?;
        Range::Share.check(op, "beta2", self.beta2)?;
        Range::Positive.check(op, "eps", self.eps)?;
        Range::NotNegative.check(op, "weight_decay", self.weight_decay)?;
        let decoupled = self.decoupled_weight_decay;
        Range::NotNegative.check(op, "decoupled_weight_decay", decoupled)?;
        if self.step == 0 {
            return Err(KernelError::Parameter {
                op,
                name: "step",
                expected: "a number counted from 1",
                got: self.step.to_string(),
            });
        }
        Ok(())
    }
}

/// Hyperparameters of [`crate::Kernels::rmsprop_update`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RmspropRule {
    /// Step size: finite, at least 0.
    pub learning_rate: f32,
    /// Share of the old mean of squares that is kept: at least 0, below 1.
    pub alpha: f32,
    /// Added to the denominator: finite, above 0.
    pub eps: f32,
    /// Share of the old velocity that is kept: at least 0, below 1; 0 for no velocity.
    pub momentum: f32,
    /// Whether the mean of squares is taken around the mean of the gradient.
    pub centered: bool,
    /// L2 term added to the gradient: finite, at least 0.
    pub weight_decay: f32,
}

impl RmspropRule {
    /// Checks the ranges for the operation `op`.
    pub(crate) fn check(&self, op: &'static str) -> Result<(), KernelError> {
        Range::NotNegative.check(op, "learning_rate", self.learning_rate)?;
        Range::Share.check(op, "alpha", self.alpha)?;
        Range::Positive.check(op, "eps", self.eps)?;
        Range::Share.check(op, "momentum", self.momentum)?;
        Range::NotNegative.check(op, "weight_decay", self.weight_decay)
    }
}

/// x, or 0 where x is subnormal; NaN is kept.
#[inline(always)]
fn flush<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let subnormal = s.less_than_f32s(s.abs_f32s(x), s.splat_f32s(f32::MIN_POSITIVE));
    s.select_f32s(subnormal, s.splat_f32s(0.0), x)
}

/// `w -= lr g`, `g = grad + weight_decay w`
#[derive(Clone, Copy)]
pub(crate) struct Sgd<S: Simd> {
    learning_rate: S::f32s,
    weight_decay: S::f32s,
}

impl<S: Simd> Sgd<S> {
    #[inline(always)]
    pub(crate) fn new(s: S, rule: SgdRule) -> Self {
        Self {
            learning_rate: s.splat_f32s(rule.learning_rate),
            weight_decay: s.splat_f32s(rule.weight_decay),
        }
    }

    /// The new w.
    #[inline(always)]
    pub(crate) fn step(self, s: S, grad: S::f32s, w: S::f32s) -> S::f32s {
        let g = s.mul_add_e_f32s(self.weight_decay, w, grad);
        s.negate_mul_add_e_f32s(self.learning_rate, g, w)
    }
}

/// `v = momentum v + g`, `w -= lr v`, or for Nesterov `w -= lr (g + momentum v)`, with
/// `g = grad + weight_decay w`
#[derive(Clone, Copy)]
pub(crate) struct Momentum<S: Simd> {
    learning_rate: S::f32s,
    momentum: S::f32s,
    weight_decay: S::f32s,
    nesterov: bool,
}

impl<S: Simd> Momentum<S> {
    #[inline(always)]
    pub(crate) fn new(s: S, rule: SgdRule) -> Self {
        Self {
            learning_rate: s.splat_f32s(rule.learning_rate),
            momentum: s.splat_f32s(rule.momentum),
            weight_decay: s.splat_f32s(rule.weight_decay),
            nesterov: rule.nesterov,
        }
    }

    /// The new (v, w).
    #[inline(always)]
    pub(crate) fn step(self, s: S, grad: S::f32s, v: S::f32s, w: S::f32s) -> (S::f32s, S::f32s) {
        let g = s.mul_add_e_f32s(self.weight_decay, w, grad);
        let v = flush(s, s.mul_add_e_f32s(self.momentum, v, g));
        let direction = if self.nesterov {
            s.mul_add_e_f32s(self.momentum, v, g)
        } else {
            v
        };
        (v, s.negate_mul_add_e_f32s(self.learning_rate, direction, w))
    }
}

/// The numbers in [`Adam`]'s formula, made once per call: powers are slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamConstants {
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    inverse_root_of_c2: f32,
    eps: f32,
    weight_decay: f32,
    /// What decoupled decay leaves of a parameter.
    kept: f32,
}

impl AdamConstants {
    pub(crate) fn new(rule: AdamRule) -> Self {
        let (beta1, beta2) = (f64::from(rule.beta1), f64::from(rule.beta2));
        let decay = f64::from(rule.learning_rate) * f64::from(rule.decoupled_weight_decay);
        let correction = |beta: f64| 1.0 - beta.powf(rule.step as f64);
        Self {
            beta1: rule.beta1,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: rule.beta2,
            one_minus_beta2: (1.0 - beta2) as f32,
            step_size: (f64::from(rule.learning_rate) / correction(beta1)) as f32,
            inverse_root_of_c2: (1.0 / correction(beta2).sqrt()) as f32,
            eps: rule.eps,
            weight_decay: rule.weight_decay,
            kept: (1.0 - decay) as f32,
        }
    }
}

/// Adam (Kingma and Ba, 2015) in PyTorch's form, with `g = grad + weight_decay w`; and with
/// decoupled decay AdamW (Loshchilov and Hutter, 2019):
///
/// `w *= 1 - lr decoupled_weight_decay`,
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `w -= lr / c1 * m / (sqrt(v) / sqrt(c2) + eps)`, `c = 1 - beta^step`
#[derive(Clone, Copy)]
pub(crate) struct Adam<S: Simd> {
    beta1: S::f32s,
    one_minus_beta1: S::f32s,
    beta2: S::f32s,
    one_minus_beta2: S::f32s,
    step_size: S::f32s,
    inverse_root_of_c2: S::f32s,
    eps: S::f32s,
    weight_decay: S::f32s,
    kept: S::f32s,
}

impl<S: Simd> Adam<S> {
    #[inline(always)]
    pub(crate) fn new(s: S, constants: AdamConstants) -> Self {
        Self {
            beta1: s.splat_f32s(constants.beta1),
            one_minus_beta1: s.splat_f32s(constants.one_minus_beta1),
            beta2: s.splat_f32s(constants.beta2),
            one_minus_beta2: s.splat_f32s(constants.one_minus_beta2),
            step_size: s.splat_f32s(constants.step_size),
            inverse_root_of_c2: s.splat_f32s(constants.inverse_root_of_c2),
            eps: s.splat_f32s(constants.eps),
            weight_decay: s.splat_f32s(constants.weight_decay),
            kept: s.splat_f32s(constants.kept),
        }
    }

    /// The new (m, v, w).
    #[inline(always)]
    pub(crate) fn step(
        self,
        s: S,
        grad: S::f32s,
        m: S::f32s,
        v: S::f32s,
        w: S::f32s,
    ) -> (S::f32s, S::f32s, S::f32s) {
        let g = s.mul_add_e_f32s(self.weight_decay, w, grad);
        let m = s.mul_add_e_f32s(self.beta1, m, s.mul_f32s(self.one_minus_beta1, g));
        let m = flush(s, m);
        let new = s.mul_f32s(s.mul_f32s(self.one_minus_beta2, g), g);
        let v = flush(s, s.mul_add_e_f32s(self.beta2, v, new));
        let denominator = s.mul_add_e_f32s(s.sqrt_f32s(v), self.inverse_root_of_c2, self.eps);
        let direction = s.div_f32s(m, denominator);
        // Without decoupled decay this is a product with 1, which changes no bit.
        let w = s.mul_f32s(w, self.kept);
        (m, v, s.negate_mul_add_e_f32s(self.step_size, direction, w))
    }
}

/// RMSprop (Tieleman and Hinton, 2012) in PyTorch's form, with `g = grad + weight_decay w`:
///
/// `v = alpha v + (1 - alpha) g^2`; centered (Graves, 2013) also `m = alpha m + (1 - alpha) g`;
/// `d = g / (sqrt(v - m^2) + eps)`, `m = 0` if not centered; `w -= lr d`, or with momentum
/// `b = momentum b + d`, `w -= lr b`
///
/// The variance `v - m^2` is never negative but for rounding; where it is, it counts as 0.
#[derive(Clone, Copy)]
pub(crate) struct Rmsprop<S: Simd> {
    learning_rate: S::f32s,
    alpha: S::f32s,
    one_minus_alpha: S::f32s,
    eps: S::f32s,
    momentum: S::f32s,
    weight_decay: S::f32s,
    pub(crate) centered: bool,
    pub(crate) has_velocity: bool,
}

/// What [`Rmsprop`] remembers of a register of parameters; the last two stay 0 if they are not used.
#[derive(Clone, Copy)]
pub(crate) struct RmspropMemory<S: Simd> {
    pub(crate) second_moment: S::f32s,
    pub(crate) first_moment: S::f32s,
    pub(crate) velocity: S::f32s,
}

impl<S: Simd> Rmsprop<S> {
    #[inline(always)]
    pub(crate) fn new(s: S, rule: RmspropRule) -> Self {
        Self {
            learning_rate: s.splat_f32s(rule.learning_rate),
            alpha: s.splat_f32s(rule.alpha),
            one_minus_alpha: s.splat_f32s((1.0 - f64::from(rule.alpha)) as f32),
            eps: s.splat_f32s(rule.eps),
            momentum: s.splat_f32s(rule.momentum),
            weight_decay: s.splat_f32s(rule.weight_decay),
            centered: rule.centered,
            has_velocity: rule.momentum > 0.0,
        }
    }

    /// The new memory and the new w.
    #[inline(always)]
    pub(crate) fn step(
        self,
        s: S,
        grad: S::f32s,
        memory: RmspropMemory<S>,
        w: S::f32s,
    ) -> (RmspropMemory<S>, S::f32s) {
        let mut memory = memory;
        let g = s.mul_add_e_f32s(self.weight_decay, w, grad);
        let share = s.mul_f32s(self.one_minus_alpha, g);
        let v = s.mul_add_e_f32s(self.alpha, memory.second_moment, s.mul_f32s(share, g));
        memory.second_moment = flush(s, v);
        let mut variance = memory.second_moment;
        if self.centered {
            let m = s.mul_add_e_f32s(self.alpha, memory.first_moment, share);
            memory.first_moment = flush(s, m);
            let m = memory.first_moment;
            variance = s.negate_mul_add_e_f32s(m, m, variance);
            variance = at_least(s, s.splat_f32s(0.0), variance);
        }
        let denominator = s.add_f32s(s.sqrt_f32s(variance), self.eps);
        let mut direction = s.div_f32s(g, denominator);
        if self.has_velocity {
            direction = s.mul_add_e_f32s(self.momentum, memory.velocity, direction);
            direction = flush(s, direction);
            memory.velocity = direction;
        }
        let w = s.negate_mul_add_e_f32s(self.learning_rate, direction, w);
        (memory, w)
    }
}
