//! What plans are made of small networks: which calls, what is fused, where values lie.

use super::*;
use crate::layers;
use crate::spec::MlpBuilder;

fn plan(builder: MlpBuilder, batch: usize, passes: Passes) -> Plan {
    builder.spec.check().unwrap();
    lower(&layers::build(&builder.spec).0, batch, passes)
}

fn digits() -> MlpBuilder {
    MlpBuilder::new(64)
        .dense(32)
        .relu()
        .dense(16)
        .tanh()
        .dense(10)
}

/// The shapes m, n, k of all products, with their kind.
fn products(plan: &Plan) -> Vec<(Product, usize, usize, usize)> {
    plan.calls()
        .filter_map(|call| match call {
            Call::Gemm { product, c, k, .. } => {
                Some((*product, c.region().rows, c.region().cols, *k))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_step_is_three_products_a_layer_but_two_for_the_first() {
    use Product::*;
    assert_eq!(
        products(&plan(digits(), 8, Passes::Both)),
        [
            (Forward, 8, 32, 64),
            (Forward, 8, 16, 32),
            (Forward, 8, 10, 16),
            (DataGradient, 8, 16, 10),
            (WeightGradient, 10, 16, 8),
            (DataGradient, 8, 32, 16),
            (WeightGradient, 16, 32, 8),
            (WeightGradient, 32, 64, 8),
        ]
    );
}

#[test]
fn large_weights_are_stepped_on_with_their_gradient() {
    let builder = MlpBuilder::new(200).dense(100).relu().dense(170).relu();
    let plan = plan(builder.dense(10), 8, Passes::Both);
    let steps: Vec<usize> = plan
        .calls()
        .filter_map(|call| match call {
            Call::Gemm {
                c,
                fused: Fused::Step,
                ..
            } => Some(c.region().len()),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [100 * 170, 200 * 100]);
    // The biases, and with the second one the small weight that follows it.
    let second = 200 * 100 + 100 + 100 * 170;
    let rest = [20_000..20_100, second..second + 170 + 170 * 10 + 10];
    assert_eq!(plan.unfused, rest);
}

#[test]
fn activations_and_their_derivatives_are_fused_into_products() {
    let plan = plan(digits(), 8, Passes::Both);
    assert!(
        plan.calls()
            .all(|call| matches!(call, Call::Gemm { .. } | Call::ColumnSums { .. }))
    );
    let activated = |call: &&Call| {
        matches!(call, Call::Gemm { fused: Fused::Activate { activation, .. }, .. }
            if *activation != Activation::Identity)
    };
    let derived = |call: &&Call| {
        matches!(
            call,
            Call::Gemm {
                fused: Fused::Derivative { .. },
                ..
            }
        )
    };
    assert_eq!(plan.forward.iter().filter(activated).count(), 2);
    assert_eq!(plan.backward.iter().filter(derived).count(), 2);
}

#[test]
fn what_cannot_be_fused_is_a_call_of_its_own() {
    let builder = MlpBuilder::new(3).dense(4).relu().tanh().dense(2).sigmoid();
    let plan = plan(builder, 5, Passes::Both);
    let alone = |call: &&Call| matches!(call, Call::Activation { .. });
    let alone_back = |call: &&Call| matches!(call, Call::ActivationGradient { .. });
    assert_eq!(plan.forward.iter().filter(alone).count(), 1);
    // That of the sigmoid follows the loss, that of the ReLU that of the tanh.
    assert_eq!(plan.backward.iter().filter(alone_back).count(), 2);
}

/// What a call reads in the arena, and what it writes there.
fn touched(call: &Call) -> (Vec<Region>, Option<Region>) {
    let in_arena = |source: &Source| match source {
        Source::Arena(region) => Some(*region),
        _ => None,
    };
    match call {
        Call::Gemm { a, b, c, fused, .. } => {
            let mut reads: Vec<Region> = [a, b].into_iter().filter_map(in_arena).collect();
            if let Fused::Derivative { output, .. } = fused {
                reads.push(*output);
            }
            match c {
                Sink::Arena(region) => (reads, Some(*region)),
                Sink::Gradients(_) => (reads, None),
            }
        }
        Call::Activation { x, y, .. } => (vec![*x], Some(*y)),
        Call::ActivationGradient { y, dy, dx, .. } => (vec![*y, *dy], Some(*dx)),
        Call::ColumnSums { x, .. } => (vec![*x], None),
    }
}

/// Each value is still whole when it is read: the last write that touched its place wrote just it.
#[test]
fn no_value_is_overwritten_before_its_last_reader() {
    let nets = [
        digits(),
        MlpBuilder::new(3)
            .dense(40)
            .relu()
            .tanh()
            .dense(2)
            .sigmoid(),
        MlpBuilder::new(7)
            .dense(5)
            .dense(300)
            .leaky_relu(0.1)
            .dense(1),
        (0..12).fold(MlpBuilder::new(9), |net, i| {
            net.dense(3 + 7 * (i % 5)).relu()
        }),
    ];
    for (net, passes) in nets
        .into_iter()
        .flat_map(|net| [(net.clone(), Passes::Forward), (net, Passes::Both)])
    {
        let net = net.loss(crate::Loss::MeanSquaredError);
        for batch in [1, 5, 64] {
            let plan = plan(net.clone(), batch, passes);
            let mut owner: Vec<Option<Region>> = vec![None; plan.arena_len];
            let check = |owner: &[Option<Region>], region: Region| {
                assert!(
                    owner[region.range()].iter().all(|o| *o == Some(region)),
                    "{plan}"
                );
            };
            let run = |owner: &mut Vec<Option<Region>>, calls: &[Call]| {
                for call in calls {
                    let (reads, write) = touched(call);
                    for read in reads {
                        check(owner, read);
                        assert!(write.is_none_or(|w| {
                            w.range().end <= read.range().start
                                || read.range().end <= w.range().start
                        }));
                    }
                    if let Some(write) = write {
                        owner[write.range()].fill(Some(write));
                    }
                }
            };
            run(&mut owner, &plan.forward);
            check(&owner, plan.outputs);
            if let Some(gradient) = plan.output_gradient {
                owner[gradient.range()].fill(Some(gradient));
                check(&owner, plan.outputs);
            }
            run(&mut owner, &plan.backward);
        }
    }
}

#[test]
fn the_arena_grows_with_the_sum_of_the_widths() {
    let widths = [512, 256, 10];
    let net = || {
        MlpBuilder::new(784)
            .dense(512)
            .relu()
            .dense(256)
            .relu()
            .dense(10)
    };
    for batch in [32, 128] {
        let sum: usize = widths.iter().sum::<usize>() * batch * size_of::<f32>();
        let both = plan(net(), batch, Passes::Both).arena_bytes();
        // Activations, and the gradients of the two layers that are under way.
        assert!(both >= sum && both <= 2 * sum, "{both} of {sum}");
        // Two neighbouring layers at a time.
        let forward = plan(net(), batch, Passes::Forward).arena_bytes();
        assert_eq!(forward, (512 + 256) * batch * size_of::<f32>());
    }
}

#[test]
fn flop_are_those_of_the_formula() {
    let plan = plan(digits(), 8, Passes::Both);
    let products = 64 * 32 + 32 * 16 + 16 * 10;
    assert_eq!(plan.forward_flop(), 2 * 8 * products);
    let biases = 32 + 16 + 10;
    assert_eq!(
        plan.backward_flop(),
        2 * 8 * (2 * products - 64 * 32) + 8 * biases
    );
}

#[test]
fn prints_a_line_for_each_call() {
    let plan = plan(digits(), 8, Passes::Both);
    let text = plan.to_string();
    assert_eq!(text.lines().count(), 1 + plan.calls().count());
    assert!(
        text.starts_with("batch 8: 11 calls, 43520 flop forward"),
        "{text}"
    );
    assert!(text.contains("8 x 32 x 64"), "{text}");
}
