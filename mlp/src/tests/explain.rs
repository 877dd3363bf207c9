//! What is said of a step is what the plan holds, and the network stays as it is.

use super::{small, spiral};
use crate::{Adam, Bound, Explanation, Mlp, MlpError, Pass, TrainConfig, with_team};

fn explain(net: &Mlp, batch: usize, threads: usize) -> Explanation {
    with_team(threads, |team| net.explain_on(batch, team)).unwrap()
}

#[test]
fn calls_are_those_of_the_plan_with_loss_and_updates_between() {
    // The first weights are large enough for the step to be part of their gradient.
    let net = Mlp::builder(150)
        .dense(120)
        .relu()
        .dense(7)
        .build()
        .unwrap();
    let plan = net.plan(32).unwrap();
    for threads in [1, 3] {
        let explanation = explain(&net, 32, threads);
        let (updates, calls): (Vec<_>, Vec<_>) = explanation
            .calls
            .iter()
            .partition(|call| matches!(call.pass, Pass::Loss | Pass::Update));
        // The fused step reads the weights and writes them, in place of their gradient.
        let of_plan = plan.calls().map(|call| {
            let mut cost = call.cost();
            if call.shape() == "120 x 150 x 32" {
                cost.bytes_read += 4 * 120 * 150;
            }
            (call.name(), call.shape(), cost)
        });
        assert!(
            calls
                .iter()
                .map(|call| (call.name, call.shape.clone(), call.cost))
                .eq(of_plan)
        );
        let names: Vec<_> = updates.iter().map(|call| call.name).collect();
        assert_eq!(names, ["loss", "update"]);
        // The biases and the second weights.
        assert_eq!(updates[1].shape, (120 + 7 * 120 + 7).to_string());
        let flop: u64 = explanation.calls.iter().map(|call| call.cost.flop).sum();
        assert_eq!(flop, plan.forward_flop() + plan.backward_flop());
        assert!(
            calls
                .iter()
                .all(|call| (1..=threads).contains(&call.threads))
        );
        assert!(
            explanation.calls.iter().all(|call| {
                call.measured < explanation.step * 1000 && !call.predicted.is_zero()
            })
        );
    }
}

#[test]
fn the_state_of_the_optimiser_counts_where_the_step_is_fused() {
    let mut net = Mlp::builder(150)
        .dense(120)
        .relu()
        .dense(7)
        .build()
        .unwrap();
    let bytes = |net: &Mlp| {
        let calls = explain(net, 32, 1).calls;
        let fused = calls.iter().find(|call| call.shape == "120 x 150 x 32");
        fused.unwrap().cost.bytes()
    };
    let of_descent = bytes(&net);
    // With a rate of 0 it would be taken for a network that was never trained.
    drop(net.trainer(Adam::new(0.01)).unwrap());
    // Two moments of each weight are read and written.
    assert_eq!(bytes(&net), of_descent + 4 * 4 * 120 * 150);
}

#[test]
fn row_blocks_make_the_calls_of_a_batch_in_parts() {
    let net = Mlp::builder(4).dense(32).tanh().dense(16).tanh().dense(4);
    let net = net.build().unwrap();
    for threads in [1, 2] {
        let explanation = explain(&net, 3001, threads);
        assert!(explanation.row_blocks > 1);
        let flop: u64 = explanation.calls.iter().map(|call| call.cost.flop).sum();
        assert_eq!(flop, net.plan(3001).unwrap().cost().flop);
        let passes = |pass| {
            explanation
                .calls
                .iter()
                .filter(|call| call.pass == pass)
                .count()
        };
        let counts = [Pass::Forward, Pass::Loss, Pass::Backward, Pass::Update].map(passes);
        assert_eq!(counts, [3, 1, 8, 1], "{explanation}");
        assert!(
            explanation
                .to_string()
                .contains("row blocks, each on one thread")
        );
    }
}

#[test]
fn says_which_kernel_a_product_has_and_what_bounds_it() {
    let net = Mlp::builder(3).dense(512).relu().dense(512).dense(1);
    let net = net.loss(crate::Loss::MeanSquaredError).build().unwrap();
    let explanation = explain(&net, 256, 1);
    let isa = net.isa().to_string();
    for call in &explanation.calls {
        let product = call.shape.matches('x').count() == 2;
        assert_eq!(call.kernel.contains(&isa), product, "{}", call.kernel);
    }
    let [middle, sums] = ["256 x 512 x 512", "256 x 1"].map(|shape| {
        let mut calls = explanation.calls.iter();
        calls.find(|call| call.shape == shape).unwrap().bound
    });
    assert_eq!(middle, Bound::Compute);
    assert_ne!(sums, Bound::Compute);
    let table = explanation.to_string();
    assert_eq!(
        table.lines().count(),
        3 + explanation.calls.len(),
        "{table}"
    );
    assert!(table.contains("256 x 512 x 512"), "{table}");
}

#[test]
fn the_network_is_left_as_it_is() {
    let data = spiral(60);
    let mut net = small().build().unwrap();
    let settings = TrainConfig::default()
        .optimizer(Adam::new(0.01))
        .max_epochs(2);
    net.fit(&data, &settings).unwrap();
    let before = net.clone();
    explain(&net, 20, 2);
    assert_eq!(net.parameters(), before.parameters());
    let (mut net, mut before) = (net, before);
    for net in [&mut net, &mut before] {
        net.resume(&data, &settings).unwrap();
    }
    assert_eq!(net.parameters(), before.parameters());
}

#[test]
fn explains_layers_that_are_no_products() {
    let net = Mlp::builder(12)
        .dense(12)
        .batch_norm()
        .relu()
        .dense(3)
        .build()
        .unwrap();
    let explanation = explain(&net, 16, 2);
    assert!(
        explanation
            .calls
            .iter()
            .any(|call| call.name == "batch norm")
    );
    assert!(matches!(net.explain(0), Err(MlpError::Setting { .. })));
    assert!(matches!(
        net.explain(1),
        Err(MlpError::BatchTooSmall { .. })
    ));
}
