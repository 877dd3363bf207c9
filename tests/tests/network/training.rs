//! Ten steps of training: losses as in f64, for every optimiser.

use mlp::{Adam, AdamW, Optimizer, Rmsprop, Sgd, Team};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::loss::Pointwise;
use tests::network::{Loss, Network, flatten};
use tests::optimizer::{self, Rule};

use crate::nets::{Problem, isas};

const STEPS: usize = 10;

/// Largest relative difference of two losses.
const TOLERANCE: f64 = 1e-5;

/// Names of the optimisers, with settings that are exact in f32 where both sides need the same.
const OPTIMIZERS: [&str; 9] = [
    "sgd",
    "sgd with weight decay",
    "momentum",
    "nesterov",
    "adam",
    "adam with weight decay",
    "adamw",
    "rmsprop with weight decay",
    "rmsprop, centered, with momentum",
];

/// An optimiser in f32 and in f64.
fn optimizer(name: &str) -> (Optimizer, Rule) {
    let (sgd_rate, adam_rate, decay) = (0.125f32, 0.01f32, 0.0625f32);
    let (momentum, betas, eps) = (0.875f32, (0.9f32, 0.999f32), 1e-8f32);
    // With the usual eps the first steps of RMSprop are those of the sign of the gradient, and what
    // is left of the error of a gradient near 0 is all of it.
    let (momentum_of_squares, wide_eps) = (0.875f32, 0.0625f32);
    let sgd = |momentum: f32, nesterov, weight_decay: f32| Rule::Sgd {
        learning_rate: f64::from(sgd_rate),
        momentum: f64::from(momentum),
        nesterov,
        weight_decay: f64::from(weight_decay),
    };
    let adam = |weight_decay: f32, decoupled: f32| Rule::Adam {
        learning_rate: f64::from(adam_rate),
        beta1: f64::from(betas.0),
        beta2: f64::from(betas.1),
        eps: f64::from(eps),
        weight_decay: f64::from(weight_decay),
        decoupled_weight_decay: f64::from(decoupled),
    };
    let rmsprop = |momentum: f32, centered, weight_decay: f32| Rule::Rmsprop {
        learning_rate: f64::from(adam_rate),
        alpha: f64::from(momentum_of_squares),
        eps: f64::from(wide_eps),
        momentum: f64::from(momentum),
        centered,
        weight_decay: f64::from(weight_decay),
    };
    let plain = Sgd::new(sgd_rate);
    let adam_f32 = Adam::new(adam_rate).betas(betas.0, betas.1).eps(eps);
    let rmsprop_f32 = Rmsprop::new(adam_rate)
        .alpha(momentum_of_squares)
        .eps(wide_eps);
    match name {
        "sgd" => (plain.into(), sgd(0.0, false, 0.0)),
        "sgd with weight decay" => (plain.weight_decay(decay).into(), sgd(0.0, false, decay)),
        "momentum" => (plain.momentum(momentum).into(), sgd(momentum, false, 0.0)),
        "nesterov" => (
            plain.momentum(momentum).nesterov().into(),
            sgd(momentum, true, 0.0),
        ),
        "adam" => (adam_f32.into(), adam(0.0, 0.0)),
        "adam with weight decay" => (adam_f32.weight_decay(decay).into(), adam(decay, 0.0)),
        "adamw" => {
            let adamw = AdamW::new(adam_rate).betas(betas.0, betas.1).eps(eps);
            let decay = 4.0 * decay;
            (adamw.weight_decay(decay).into(), adam(0.0, decay))
        }
        "rmsprop with weight decay" => {
            let ours = rmsprop_f32.weight_decay(decay);
            (ours.into(), rmsprop(0.0, false, decay))
        }
        "rmsprop, centered, with momentum" => {
            let ours = rmsprop_f32.momentum(0.5).centered();
            (ours.into(), rmsprop(0.5, true, 0.0))
        }
        other => panic!("no optimiser is called {other}"),
    }
}

/// Which of the parameters are weights: what decays unless a group says otherwise.
fn weights(network: &Network) -> Vec<bool> {
    let layers = network.layers.iter();
    layers
        .flat_map(|layer| {
            let weights = layer.weights.data.iter().map(|_| true);
            weights.chain(layer.bias.iter().map(|_| false))
        })
        .collect()
}

/// The losses of ten steps in f64, each before its update.
fn reference_losses(problem: &Problem, rule: Rule) -> Vec<f64> {
    let mut network = problem.reference();
    let (x, t) = problem.batch().exact();
    let mut params = network.flat();
    let mut optimizer = optimizer::Optimizer::sparing(rule, weights(&network));
    (0..STEPS)
        .map(|_| {
            let (loss, gradients) = network.gradients(&x, &t);
            optimizer.step(&mut params, &flatten(&gradients));
            network.set_flat(&params);
            loss
        })
        .collect()
}

fn check_curves(problem: &Problem) {
    check_each(OPTIMIZERS, |name| {
        let (ours, rule) = optimizer(name);
        let expected = reference_losses(problem, rule);
        // Some 2000 times the tolerance, so that a step not taken would show.
        if expected[STEPS - 1] > 0.98 * expected[0] {
            return Err(format!(
                "nothing was learned, this shows nothing: {expected:?}"
            ));
        }
        let batch = problem.batch();
        for isa in isas() {
            let mut network = problem.network(isa)?;
            let mut trainer = network.trainer(ours).map_err(|e| e.to_string())?;
            for (step, &expected) in expected.iter().enumerate() {
                let loss = trainer
                    .step(batch.x(), batch.targets(), &Team::solo())
                    .map_err(|e| e.to_string())?;
                let relative = (f64::from(loss) - expected).abs() / expected;
                if relative.is_nan() || relative > TOLERANCE {
                    return Err(format!(
                        "{isa}, step {step}: loss {loss}, expected {expected}, off by {relative:.1e}"
                    ));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn classifier_on_labels() {
    check_curves(&Problem {
        widths: vec![12, 24, 17, 5],
        activation: Activation::Relu,
        loss: Loss::CrossEntropy,
        batch: 32,
        labels: true,
    });
}

#[test]
fn classifier_on_soft_targets() {
    check_curves(&Problem {
        widths: vec![12, 24, 5],
        activation: Activation::Tanh,
        loss: Loss::CrossEntropy,
        batch: 20,
        labels: false,
    });
}

#[test]
fn regression() {
    check_curves(&Problem {
        widths: vec![9, 30, 21, 3],
        activation: Activation::Sigmoid,
        loss: Loss::Mean(Pointwise::Squared),
        batch: 32,
        labels: false,
    });
}

#[test]
fn regression_through_leaky_units() {
    check_curves(&Problem {
        widths: vec![9, 30, 3],
        activation: Activation::LeakyRelu(0.125),
        loss: Loss::Mean(Pointwise::Squared),
        batch: 32,
        labels: false,
    });
}

#[test]
fn regression_by_other_losses() {
    for loss in [Pointwise::Absolute, Pointwise::Huber(0.25)] {
        check_curves(&Problem {
            widths: vec![9, 30, 3],
            activation: Activation::Tanh,
            loss: Loss::Mean(loss),
            batch: 32,
            labels: false,
        });
    }
}

#[test]
fn binary_classifier() {
    check_curves(&Problem {
        widths: vec![9, 30, 3],
        activation: Activation::Relu,
        loss: Loss::Mean(Pointwise::Binary),
        batch: 32,
        labels: true,
    });
}
