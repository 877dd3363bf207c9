//! Optimisers over a flat list of parameters, in the form PyTorch documents.

/// How parameters follow their gradients. `g` is the gradient plus `weight_decay` times the
/// parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `v <- momentum v + g`, then `w <- w - lr v`, or `w <- w - lr (g + momentum v)` for Nesterov.
    /// Without momentum `w <- w - lr g`.
    Sgd {
        /// lr
        learning_rate: f64,
        /// Share of the velocity that is kept.
        momentum: f64,
        /// Whether to look ahead.
        nesterov: bool,
        /// L2 term.
        weight_decay: f64,
    },
    /// Kingma and Ba, *Adam: a method for stochastic optimization*, 2015, algorithm 1, with the
    /// decay of Loshchilov and Hutter, *Decoupled weight decay regularization*, 2019, algorithm 2:
    /// `w <- w - lr decoupled_weight_decay w`,
    /// `m <- beta1 m + (1 - beta1) g`, `v <- beta2 v + (1 - beta2) g^2`,
    /// `w <- w - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)`.
    Adam {
        /// lr
        learning_rate: f64,
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
        /// L2 term.
        weight_decay: f64,
        /// Taken off the parameter itself.
        decoupled_weight_decay: f64,
    },
    /// Tieleman and Hinton, lecture 6.5 of *Neural networks for machine learning*, 2012; centered,
    /// A. Graves, *Generating sequences with recurrent neural networks*, 2013, equations 38 to 42,
    /// with eps added to the root instead of under it:
    /// `v <- alpha v + (1 - alpha) g^2`, `m <- alpha m + (1 - alpha) g`,
    /// `b <- momentum b + g / (sqrt(v - m^2) + eps)`, `w <- w - lr b`; `m = 0` unless centered.
    Rmsprop {
        /// lr
        learning_rate: f64,
        /// Decay of the moments.
        alpha: f64,
        /// Added to the denominator.
        eps: f64,
        /// Share of the velocity that is kept.
        momentum: f64,
        /// Whether squares are taken around the mean.
        centered: bool,
        /// L2 term.
        weight_decay: f64,
    },
}

/// A rule and what it remembers.
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Rule,
    /// Velocity or first moment.
    first: Vec<f64>,
    /// Second moment.
    second: Vec<f64>,
    /// Velocity beside moments.
    velocity: Vec<f64>,
    step: i32,
    /// Whether the decay of the rule, of either kind, applies to a parameter.
    decays: Vec<bool>,
}

impl Optimizer {
    /// Remembers nothing yet; all parameters decay.
    pub fn new(rule: Rule, params: usize) -> Self {
        Self::sparing(rule, vec![true; params])
    }

    /// Remembers nothing yet; only the marked parameters decay.
    pub fn sparing(rule: Rule, decays: Vec<bool>) -> Self {
        let params = decays.len();
        Self {
            decays,
            rule,
            first: vec![0.0; params],
            second: vec![0.0; params],
            velocity: vec![0.0; params],
            step: 0,
        }
    }

    /// One step.
    pub fn step(&mut self, params: &mut [f64], grads: &[f64]) {
        self.step += 1;
        for i in 0..params.len() {
            params[i] -= self.change(i, params[i], grads[i]);
        }
    }

    /// What is taken off parameter `i`; where it enters is decay.
    fn change(&mut self, i: usize, param: f64, grad: f64) -> f64 {
        let param = if self.decays[i] { param } else { 0.0 };
        match self.rule {
            Rule::Sgd {
                learning_rate,
                momentum,
                nesterov,
                weight_decay,
            } => {
                let g = grad + weight_decay * param;
                self.first[i] = momentum * self.first[i] + g;
                if nesterov {
                    learning_rate * (g + momentum * self.first[i])
                } else {
                    learning_rate * self.first[i]
                }
            }
            Rule::Adam {
                learning_rate,
                beta1,
                beta2,
                eps,
                weight_decay,
                decoupled_weight_decay,
            } => {
                let g = grad + weight_decay * param;
                self.first[i] = beta1 * self.first[i] + (1.0 - beta1) * g;
                self.second[i] = beta2 * self.second[i] + (1.0 - beta2) * g * g;
                let first = self.first[i] / (1.0 - beta1.powi(self.step));
                let second = self.second[i] / (1.0 - beta2.powi(self.step));
                let decay = decoupled_weight_decay * param;
                learning_rate * (decay + first / (second.sqrt() + eps))
            }
            Rule::Rmsprop {
                learning_rate,
                alpha,
                eps,
                momentum,
                centered,
                weight_decay,
            } => {
                let g = grad + weight_decay * param;
                self.second[i] = alpha * self.second[i] + (1.0 - alpha) * g * g;
                let mut variance = self.second[i];
                if centered {
                    self.first[i] = alpha * self.first[i] + (1.0 - alpha) * g;
                    variance -= self.first[i] * self.first[i];
                }
                let direction = g / (variance.max(0.0).sqrt() + eps);
                self.velocity[i] = momentum * self.velocity[i] + direction;
                learning_rate * self.velocity[i]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    /// One parameter that starts at 1 with gradient 2 in every step.
    fn walk(rule: Rule, steps: usize) -> f64 {
        let (mut w, mut optimizer) = ([1.0], Optimizer::new(rule, 1));
        for _ in 0..steps {
            optimizer.step(&mut w, &[2.0]);
        }
        w[0]
    }

    fn sgd(momentum: f64, nesterov: bool, weight_decay: f64) -> Rule {
        Rule::Sgd {
            learning_rate: 0.1,
            momentum,
            nesterov,
            weight_decay,
        }
    }

    #[test]
    fn sgd_by_hand() {
        assert_abs_diff_eq!(walk(sgd(0.0, false, 0.0), 2), 0.6, epsilon = 1e-15);
        // v = 2, then 0.5 * 2 + 2 = 3: 1 - 0.2 - 0.3
        assert_abs_diff_eq!(walk(sgd(0.5, false, 0.0), 2), 0.5, epsilon = 1e-15);
        // 2 + 0.5 * 2 = 3, then 2 + 0.5 * 3 = 3.5: 1 - 0.3 - 0.35
        assert_abs_diff_eq!(walk(sgd(0.5, true, 0.0), 2), 0.35, epsilon = 1e-15);
        // g = 2 + 0.5 = 2.5, then 2 + 0.5 * 0.75 = 2.375: 1 - 0.25 - 0.2375
        assert_abs_diff_eq!(walk(sgd(0.0, false, 0.5), 2), 0.5125, epsilon = 1e-15);
    }

    #[test]
    fn what_is_spared_does_not_decay() {
        let mut optimizer = Optimizer::sparing(sgd(0.0, false, 0.5), vec![false, true]);
        let mut w = [1.0, 1.0];
        optimizer.step(&mut w, &[2.0, 2.0]);
        assert_abs_diff_eq!(w[0], 0.8, epsilon = 1e-15);
        assert_abs_diff_eq!(w[1], 0.75, epsilon = 1e-15);
    }

    #[test]
    fn adam_by_hand() {
        let rule = |eps, weight_decay| Rule::Adam {
            learning_rate: 0.1,
            beta1: 0.5,
            beta2: 0.75,
            eps,
            weight_decay,
            decoupled_weight_decay: 0.0,
        };
        // A steady gradient has corrected moments g and g^2: each step is lr g / (g + eps).
        assert_abs_diff_eq!(walk(rule(0.0, 0.0), 3), 0.7, epsilon = 1e-15);
        assert_abs_diff_eq!(walk(rule(2.0, 0.0), 2), 0.9, epsilon = 1e-15);
        // g = 3, then 2.9: m = 1.5, 2.2 of 0.75; v = 2.25, 3.79 of 0.4375.
        let second = 0.1 * (2.2 / 0.75) / (3.79f64 / 0.4375).sqrt();
        assert_abs_diff_eq!(walk(rule(0.0, 1.0), 2), 0.9 - second, epsilon = 1e-15);
    }

    #[test]
    fn decoupled_decay_by_hand() {
        let rule = Rule::Adam {
            learning_rate: 0.1,
            beta1: 0.5,
            beta2: 0.75,
            eps: 0.0,
            weight_decay: 0.0,
            decoupled_weight_decay: 0.5,
        };
        // Each step keeps 0.95 of the parameter and takes 0.1: 0.85, then 0.8075 - 0.1.
        assert_abs_diff_eq!(walk(rule, 2), 0.7075, epsilon = 1e-15);
    }

    #[test]
    fn rmsprop_by_hand() {
        let rule = |momentum, centered| Rule::Rmsprop {
            learning_rate: 0.1,
            alpha: 0.75,
            eps: 1.0,
            momentum,
            centered,
            weight_decay: 0.0,
        };
        // v = 1, then 1.75: steps of 0.2 / 2 and 0.2 / (1.75^0.5 + 1).
        let second = 0.2 / (1.75f64.sqrt() + 1.0);
        assert_abs_diff_eq!(walk(rule(0.0, false), 2), 0.9 - second, epsilon = 1e-15);
        // The second step keeps half of the first.
        let both = 0.9 - 0.05 - second;
        assert_abs_diff_eq!(walk(rule(0.5, false), 2), both, epsilon = 1e-15);
        // m = 0.5, v - m^2 = 0.75.
        let centered = 1.0 - 0.2 / (0.75f64.sqrt() + 1.0);
        assert_abs_diff_eq!(walk(rule(0.0, true), 1), centered, epsilon = 1e-15);
    }
}
