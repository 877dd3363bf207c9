//! What decays, and what of it is part of the loss.

use super::{XOR, XOR_LABELS, config, small, xor};
use crate::{
    Adam, AdamW, MatRef, Mlp, Optimizer, ParamGroup, ParameterKind, Rmsprop, Sgd, Targets, Team,
};

/// `|w|^2` of all weights, and of all biases.
fn squares(net: &Mlp) -> (f32, f32) {
    let sum = |values: &[f32]| values.iter().map(|w| w * w).sum::<f32>();
    let layers = 0..net.dense_layers();
    layers
        .map(|layer| {
            let weights = net.weights(layer).unwrap();
            let bias = net.bias(layer).unwrap();
            (sum(weights.as_slice().unwrap()), sum(bias))
        })
        .fold((0.0, 0.0), |(w, b), (more_w, more_b)| {
            (w + more_w, b + more_b)
        })
}

#[test]
fn the_reported_penalty_is_that_of_the_weights() {
    let with_l2: [Optimizer; 3] = [
        Sgd::new(0.1).weight_decay(0.5).into(),
        Adam::new(0.01).weight_decay(0.5).into(),
        Rmsprop::new(0.01).weight_decay(0.5).into(),
    ];
    for optimizer in with_l2 {
        let mut net = small().build().unwrap();
        let config = config().optimizer(optimizer).max_epochs(2);
        let report = net.fit(&xor(), &config).unwrap();
        let last = report.history.last().unwrap();
        let (weights, biases) = squares(&net);
        assert!(biases > 0.0, "biases were trained");
        approx::assert_relative_eq!(last.penalty, 0.25 * weights, max_relative = 1e-5);
        assert_eq!(last.loss_with_penalty(), last.loss + last.penalty);

        let all = ParamGroup::all().weight_decay_factor(1.0);
        let trainer = net.trainer(optimizer).unwrap().groups(&[all]).unwrap();
        let expected = 0.25 * (weights + biases);
        approx::assert_relative_eq!(trainer.penalty(), expected, max_relative = 1e-5);
    }
    let decoupled = config().optimizer(AdamW::new(0.01).weight_decay(0.5));
    let report = small()
        .build()
        .unwrap()
        .fit(&xor(), &decoupled.max_epochs(1));
    assert_eq!(report.unwrap().history[0].penalty, 0.0);
}

/// With a gradient of 0 what moves moves by its decay alone.
#[test]
fn weights_decay_and_biases_do_not_unless_a_group_says_so() {
    let biases = ParamGroup::kind(ParameterKind::Bias).weight_decay_factor(1.0);
    let slow = ParamGroup::named("2").learning_rate_factor(0.5);
    let decoupled = AdamW::new(0.5).weight_decay(0.5);
    let coupled = Sgd::new(0.5).weight_decay(0.5);
    for optimizer in [Optimizer::from(decoupled), coupled.into()] {
        // Factors of the weights and biases of both layers.
        for (groups, expected) in [
            (vec![], [0.75, 1.0, 0.75, 1.0]),
            (vec![biases.clone()], [0.75, 0.75, 0.75, 0.75]),
            (
                vec![biases.clone(), slow.clone()],
                [0.75, 0.75, 0.875, 0.875],
            ),
        ] {
            let mut net = small().build().unwrap();
            let ones = vec![1.0; net.parameters().len()];
            net.set_parameters(&ones).unwrap();
            let mut trainer = net.trainer(optimizer).unwrap().groups(&groups).unwrap();
            let x = MatRef::from_row_major(&XOR, 4, 2).unwrap();
            let zero = [0.0; 8];
            let zero = MatRef::from_row_major(&zero, 4, 2).unwrap();
            trainer.forward(x, &Team::solo()).unwrap();
            trainer.backward(x, zero, &Team::solo()).unwrap();
            trainer.update(&Team::solo()).unwrap();
            for layer in 0..2 {
                let weights = net.weights(layer).unwrap();
                let (w, b) = (weights.as_slice().unwrap(), net.bias(layer).unwrap());
                let all = |values: &[f32], value| values.iter().all(|&v| v == value);
                assert!(all(w, expected[2 * layer]), "{optimizer:?}: {w:?}");
                assert!(all(b, expected[2 * layer + 1]), "{optimizer:?}: {b:?}");
            }
        }
    }
}

#[test]
fn a_layer_with_a_learning_rate_of_nothing_stays() {
    let mut net = small().build().unwrap();
    let before = net.parameters().to_vec();
    let frozen = net.weights(0).unwrap().as_slice().unwrap().len() + net.bias(0).unwrap().len();
    let group = ParamGroup::named("0").learning_rate_factor(0.0);
    net.fit(&xor(), &config().group(group)).unwrap();
    assert_eq!(net.parameters()[..frozen], before[..frozen]);
    assert_ne!(net.parameters()[frozen..], before[frozen..]);
}

#[test]
fn the_loss_of_a_step_has_no_penalty_in_it() {
    let x = MatRef::from_row_major(&XOR, 4, 2).unwrap();
    let first = |optimizer: Optimizer| {
        let mut net = small().build().unwrap();
        let mut trainer = net.trainer(optimizer).unwrap();
        trainer.step(x, Targets::Classes(&XOR_LABELS), &Team::solo())
    };
    let decayed = Sgd::new(0.1).weight_decay(1.0).into();
    assert_eq!(first(Sgd::new(0.1).into()), first(decayed));
}
