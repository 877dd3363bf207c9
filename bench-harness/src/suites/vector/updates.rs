//! One step of each optimiser over parameters of its own.

use kernels::{AdamRule, KernelError, Kernels, RmspropRule, SgdRule};
use reference::optimizer::{Optimizer, Rule as Exact};

use super::{Errors, LENGTHS, Make, Operation, Work, check, checked};
use crate::floats::{Floats, filled, uniform};

/// So small that parameters keep their range over all repetitions.
const LEARNING_RATE: f32 = 1e-6;

const MOMENTUM: f32 = 0.9;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const ALPHA: f32 = 0.99;
const EPS: f32 = 1e-8;
const DECOUPLED_WEIGHT_DECAY: f32 = 1e-2;

/// A step is held against f64 with this learning rate, so that it is no rounding error.
const CHECKED_RATE: f32 = 1e-1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Sgd,
    Momentum,
    Nesterov,
    Adam,
    AdamW,
    Rmsprop,
}

pub(super) fn operations() -> Vec<Make> {
    let mut operations: Vec<Make> = Vec::new();
    for len in LENGTHS {
        for rule in Rule::ALL {
            operations.push(Box::new(move |_| Ok(Box::new(Update::new(rule, len)))));
        }
    }
    operations
}

impl Rule {
    const ALL: [Self; 6] = [
        Self::Sgd,
        Self::Momentum,
        Self::Nesterov,
        Self::Adam,
        Self::AdamW,
        Self::Rmsprop,
    ];

    /// Vectors that are remembered from step to step: each is read and written.
    fn state(self) -> usize {
        match self {
            Self::Sgd => 0,
            Self::Momentum | Self::Nesterov | Self::Rmsprop => 1,
            Self::Adam | Self::AdamW => 2,
        }
    }

    fn sgd(self, learning_rate: f32) -> SgdRule {
        SgdRule {
            learning_rate,
            momentum: if self == Self::Sgd { 0.0 } else { MOMENTUM },
            nesterov: self == Self::Nesterov,
            weight_decay: 0.0,
        }
    }

    fn decay(self) -> f32 {
        if self == Self::AdamW {
            DECOUPLED_WEIGHT_DECAY
        } else {
            0.0
        }
    }

    fn exact(self) -> Exact {
        let learning_rate = f64::from(CHECKED_RATE);
        match self {
            Self::Sgd | Self::Momentum | Self::Nesterov => Exact::Sgd {
                learning_rate,
                momentum: f64::from(self.sgd(CHECKED_RATE).momentum),
                nesterov: self == Self::Nesterov,
                weight_decay: 0.0,
            },
            Self::Adam | Self::AdamW => Exact::Adam {
                learning_rate,
                beta1: f64::from(BETA1),
                beta2: f64::from(BETA2),
                eps: f64::from(EPS),
                weight_decay: 0.0,
                decoupled_weight_decay: f64::from(self.decay()),
            },
            Self::Rmsprop => Exact::Rmsprop {
                learning_rate,
                alpha: f64::from(ALPHA),
                eps: f64::from(EPS),
                momentum: 0.0,
                centered: false,
                weight_decay: 0.0,
            },
        }
    }
}

struct Update {
    rule: Rule,
    /// That of the check until it was called once.
    learning_rate: f32,
    grads: Floats,
    start: Floats,
    params: Floats,
    state: [Floats; 2],
}

impl Update {
    fn new(rule: Rule, len: usize) -> Self {
        let start = uniform(len, 2);
        let state = |number| filled(if number < rule.state() { len } else { 0 }, 0.0);
        Self {
            rule,
            learning_rate: CHECKED_RATE,
            grads: uniform(len, 1),
            params: start.clone(),
            start,
            state: [state(0), state(1)],
        }
    }
}

impl Operation for Update {
    fn name(&self) -> &'static str {
        match self.rule {
            Rule::Sgd => "sgd",
            Rule::Momentum => "momentum",
            Rule::Nesterov => "nesterov",
            Rule::Adam => "adam",
            Rule::AdamW => "adamw",
            Rule::Rmsprop => "rmsprop",
        }
    }

    fn shape(&self) -> (usize, usize) {
        (1, self.params.len())
    }

    fn work(&self) -> Work {
        // Gradients are read; parameters and what is remembered are read and written.
        Work::moving((3 + 2 * self.rule.state()) * self.params.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let learning_rate = std::mem::replace(&mut self.learning_rate, LEARNING_RATE);
        let (grads, params) = (&self.grads, &mut self.params);
        let [first, second] = &mut self.state;
        match self.rule {
            Rule::Sgd | Rule::Momentum | Rule::Nesterov => {
                kernels.sgd_update(self.rule.sgd(learning_rate), grads, first, params)
            }
            Rule::Adam | Rule::AdamW => {
                let rule = AdamRule {
                    learning_rate,
                    beta1: BETA1,
                    beta2: BETA2,
                    eps: EPS,
                    weight_decay: 0.0,
                    decoupled_weight_decay: self.rule.decay(),
                    step: 1,
                };
                kernels.adam_update(rule, grads, first, second, params)
            }
            Rule::Rmsprop => {
                let rule = RmspropRule {
                    learning_rate,
                    alpha: ALPHA,
                    eps: EPS,
                    momentum: 0.0,
                    centered: false,
                    weight_decay: 0.0,
                };
                kernels.rmsprop_update(rule, grads, first, &mut [], &mut [], params)
            }
        }
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let indices: Vec<_> = checked(self.params.len()).collect();
        let of = |x: &[f32]| -> Vec<f64> { indices.iter().map(|&i| f64::from(x[i])).collect() };
        let mut exact = of(&self.start);
        Optimizer::new(self.rule.exact(), exact.len()).step(&mut exact, &of(&self.grads));
        let got: Vec<_> = indices.iter().map(|&i| self.params[i]).collect();
        // A parameter, and what is taken from it.
        let start = of(&self.start);
        check(self.name(), &got, |i| exact[i], |i| start[i])
    }
}
