//! Networks side by side: each ends in the bits that it has alone.

use super::{config, small, spiral};
use crate::{Adam, Ensemble, Mlp, MlpError, TrainConfig};

const RATES: [f32; 3] = [0.01, 0.03, 0.003];

fn settings<'a>(member: usize) -> TrainConfig<'a> {
    config().optimizer(Adam::new(RATES[member]))
}

#[test]
fn each_member_has_the_bits_of_training_it_alone() {
    let data = spiral(120);
    let alone: Vec<Mlp> = (0..3)
        .map(|member| {
            let mut net = small().seed(member).build().unwrap();
            net.fit(&data, &settings(member as usize)).unwrap();
            net
        })
        .collect();
    for threads in [1, 2, 3, 7] {
        let mut ensemble = Ensemble::of_seeds(&small(), 0..3).unwrap();
        let reports = ensemble.fit(&data, threads, settings).unwrap();
        assert_eq!(reports.len(), 3);
        for (member, alone) in ensemble.members().iter().zip(&alone) {
            assert_eq!(member.parameters(), alone.parameters(), "{threads} threads");
        }
    }
    assert_ne!(alone[0].parameters(), alone[1].parameters());
}

#[test]
fn answers_are_means_over_the_members() {
    let data = spiral(40);
    let mut ensemble = Ensemble::of_seeds(&small(), [5, 6]).unwrap();
    ensemble.fit(&data, 1, settings).unwrap();
    let x = data.inputs();
    let [first, second] = [0, 1].map(|i| ensemble.members()[i].predict_proba(x).unwrap());
    let mean = ensemble.predict_proba(x).unwrap();
    let classes = ensemble.predict(x).unwrap();
    for (row, &found) in classes.iter().enumerate() {
        for class in 0..2 {
            let expected = (first.row(row)[class] + second.row(row)[class]) * 0.5;
            assert_eq!(mean.row(row)[class], expected);
        }
        assert_eq!(found, u32::from(mean.row(row)[1] > mean.row(row)[0]));
    }
    let outputs = ensemble.forward(x).unwrap();
    let first = ensemble.members()[0].forward(x).unwrap();
    assert_ne!(outputs, first);
}

#[test]
fn refusals_say_what_was_expected() {
    let message = |result: Result<Ensemble, MlpError>| result.unwrap_err().to_string();
    assert_eq!(
        message(Ensemble::new(Vec::new())),
        "members: expected at least 1 network, got 0"
    );
    let other = Mlp::builder(2).dense(3).build().unwrap();
    assert_eq!(
        message(Ensemble::new(vec![small().build().unwrap(), other])),
        "members of an ensemble: expected 2 inputs and 2 outputs in each, got 2 and 3 in member 1"
    );
    let mut ensemble = Ensemble::of_seeds(&small(), 0..2).unwrap();
    let result = ensemble.fit(&spiral(20), 2, |member| {
        settings(member).batch_size(1 - member)
    });
    assert_eq!(
        result.unwrap_err().to_string(),
        "member 1: batch_size: expected at least 1, got 0"
    );
}
