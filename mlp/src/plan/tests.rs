//! What plans are made of small networks: which calls, what is fused, where values lie.

use super::*;
use crate::builder::MlpBuilder;
use crate::layers;
use kernels::Activation;

fn plan(builder: MlpBuilder, batch: usize, passes: Passes) -> Plan {
    let (spec, _) = builder.into_spec().unwrap();
    lower(&layers::build(&spec).unwrap().0, batch, passes)
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
fn touched(call: &Call) -> (Vec<Region>, Vec<Region>) {
    let in_arena = |source: &Source| match source {
        Source::Arena(region) => Some(*region),
        _ => None,
    };
    match call {
        Call::Gemm { a, b, c, fused, .. } => {
            let mut reads: Vec<Region> = [a, b].into_iter().filter_map(in_arena).collect();
            if let Fused::Derivative { saved, .. } = fused {
                reads.push(*saved);
            }
            match c {
                Sink::Arena(region) => (reads, vec![*region]),
                Sink::Gradients(_) => (reads, Vec::new()),
            }
        }
        Call::Copy { x, y } => (in_arena(x).into_iter().collect(), vec![*y]),
        Call::Dropout { x, y, .. } => (vec![*x], vec![*y]),
        Call::Sum { a, b, y } if a == y => (vec![*b], vec![*y]),
        Call::Sum { a, b, y } => (vec![*a, *b], vec![*y]),
        Call::Activation { x, y, .. } => (vec![*x], vec![*y]),
        Call::ActivationGradient { saved, dy, dx, .. } => (vec![*saved, *dy], vec![*dx]),
        Call::ColumnSums { x, .. } => (vec![*x], Vec::new()),
        Call::Layer(call) => call.touched(),
    }
}

/// Every element of a region of the arena.
fn elements(region: &Region) -> impl Iterator<Item = usize> + use<> {
    let Region {
        offset,
        stride,
        rows,
        ..
    } = *region;
    let columns = region.columns();
    (0..rows).flat_map(move |row| columns.clone().map(move |col| offset + row * stride + col))
}

/// A value is still whole when it is read: all of it was written, a call never writes what it reads,
/// and in networks without connections the last write that touched its place wrote just it.
fn check_memory(plan: &Plan, connected: bool) {
    let mut owner: Vec<Option<Region>> = vec![None; plan.arena_len];
    let check = |owner: &[Option<Region>], region: &Region| {
        let whole = |at: usize| match owner[at] {
            None => false,
            Some(written) => connected || written == *region,
        };
        assert!(elements(region).all(whole), "{region:?} in {plan}");
    };
    let write = |owner: &mut [Option<Region>], region: &Region| {
        for at in elements(region) {
            owner[at] = Some(*region);
        }
    };
    let run = |owner: &mut Vec<Option<Region>>, calls: &[Call]| {
        for call in calls {
            let (reads, written) = touched(call);
            let written_places: Vec<usize> = written.iter().flat_map(elements).collect();
            for read in &reads {
                check(owner, read);
                assert!(
                    elements(read).all(|at| !written_places.contains(&at)),
                    "{call:?} in {plan}"
                );
            }
            for region in &written {
                write(owner, region);
            }
        }
    };
    run(&mut owner, &plan.forward);
    check(&owner, &plan.outputs);
    if let Some(gradient) = plan.output_gradient {
        write(&mut owner, &gradient);
        check(&owner, &plan.outputs);
    }
    run(&mut owner, &plan.backward);
}

#[test]
fn no_value_is_overwritten_before_its_last_reader() {
    let plain = [
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
    let dropped = MlpBuilder::new(6)
        .dense(8)
        .relu()
        .dropout(0.5)
        .dense(8)
        .gelu();
    let dropped = dropped
        .dropout(0.1)
        .residual(|block| block.dense(8).dropout(0.2))
        .dense(2);
    let connected = [
        resnet(),
        densenet(),
        text_form(),
        transformer(),
        normalised(),
        dropped,
    ];
    let plain = plain.into_iter().map(|net| (net, false));
    for (net, connected) in plain.chain(connected.map(|net| (net, true))) {
        let net = net.loss(crate::Loss::MeanSquaredError);
        for passes in [Passes::Forward, Passes::Both] {
            for batch in [1, 5, 16] {
                check_memory(&plan(net.clone(), batch, passes), connected);
            }
        }
    }
}

fn resnet() -> MlpBuilder {
    MlpBuilder::new(6)
        .dense(16)
        .relu()
        .residual(|block| block.dense(16).relu().dense(16))
        .relu()
        .residual(|block| block.relu().dense(16).relu().dense(16))
        .residual_projected(|block| block.dense(9).tanh())
        .dense(3)
}

fn transformer() -> MlpBuilder {
    let net = MlpBuilder::new(5).embedding(7, 8).transformer(2, 12);
    net.causal_transformer(4, 6).layer_norm().rows(1).dense(3)
}

fn normalised() -> MlpBuilder {
    let net = MlpBuilder::new(6).batch_norm().dense(8).batch_norm().relu();
    net.concat(|block| block.layer_norm().dense(4))
        .residual(|block| block.batch_norm().dense(12))
        .dense(3)
}

fn densenet() -> MlpBuilder {
    let net = MlpBuilder::new(6).dense(8).relu();
    (0..3)
        .fold(net, |net, _| net.concat(|block| block.dense(4).relu()))
        .dense(3)
}

fn text_form() -> MlpBuilder {
    let net = MlpBuilder::new(6).dense(8).tanh().dense(8).tanh();
    let net = (0..4).fold(net, |net, _| net.dense(8).tanh().skip(2));
    net.dense(5).relu().skip_projected(3).dense(2)
}

/// The name that each call prints, in order.
fn names(calls: &[Call]) -> Vec<String> {
    let name = |call: &Call| call.to_string()[..20].trim().to_owned();
    calls.iter().map(name).collect()
}

#[test]
fn dropout_behind_a_relu_is_part_of_both_products() {
    let net = || MlpBuilder::new(6).dense(16).relu().dropout(0.5).dense(3);
    let training = plan(net(), 5, Passes::Both);
    let masked = |call: &&Call| matches!(call, Call::Gemm { mask: Some(_), .. });
    assert_eq!(training.forward.iter().filter(masked).count(), 1);
    assert_eq!(training.backward.iter().filter(masked).count(), 1);
    let alone =
        |call: &Call| matches!(call, Call::Dropout { .. } | Call::ActivationGradient { .. });
    assert!(!training.calls().any(alone), "{training}");
    // In prediction there is nothing to be seen of it.
    let prediction = plan(net(), 5, Passes::Forward);
    assert!(
        !prediction.calls().any(|call| masked(&call) || alone(call)),
        "{prediction}"
    );
    assert_eq!(prediction.forward.len(), 2);
}

#[test]
fn a_dense_block_copies_nothing() {
    for passes in [Passes::Forward, Passes::Both] {
        let plan = plan(densenet(), 5, passes);
        let moved = |call: &Call| matches!(call, Call::Copy { .. } | Call::Sum { .. });
        assert!(!plan.calls().any(moved), "{plan}");
        // Every layer reads and writes the columns of one matrix of 8 + 3 * 4.
        assert_eq!(plan.forward.len(), 5);
    }
    // In prediction there is that matrix and the outputs.
    let bytes = plan(densenet(), 16, Passes::Forward).arena_bytes();
    assert_eq!(bytes, 16 * (20 + 3) * size_of::<f32>());
}

#[test]
fn the_gradient_of_a_skip_is_added_to_by_the_product() {
    let net = MlpBuilder::new(4).dense(8).relu();
    let net = net.residual(|block| block.dense(8).relu().dense(8)).relu();
    let plan = plan(net.dense(3), 5, Passes::Both);
    // The first ReLU is read by the block and by the sum; its gradient is one product.
    let adding: Vec<bool> = plan
        .backward
        .iter()
        .filter_map(|call| match call {
            Call::Gemm {
                product: Product::DataGradient,
                accumulate,
                ..
            } => Some(*accumulate),
            _ => None,
        })
        .collect();
    assert_eq!(adding, [false, false, true]);
    assert!(
        names(&plan.backward).iter().all(|name| name != "sum"),
        "{plan}"
    );
    // Forward, the first ReLU is still needed: the sum begins as a copy of it.
    let forward = [
        "forward nt",
        "forward nt",
        "copy",
        "forward nt",
        "forward nt",
    ];
    assert_eq!(names(&plan.forward), forward);
}

#[test]
fn in_prediction_a_residual_block_adds_to_its_input() {
    let plan = plan(resnet(), 5, Passes::Forward);
    assert!(
        names(&plan.forward).iter().all(|name| name != "copy"),
        "{plan}"
    );
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

#[test]
fn bytes_are_those_of_each_operand_once() {
    // 4-3-2 on 5 samples, counted by hand in elements.
    let builder = MlpBuilder::new(4).dense(3).relu().dense(2);
    let plan = plan(builder, 5, Passes::Both);
    let elements: Vec<(u64, u64)> = plan
        .calls()
        .map(|call| (call.cost().bytes_read / 4, call.cost().bytes_written / 4))
        .collect();
    let forward = [(5 * 4 + 3 * 4 + 3, 5 * 3), (5 * 3 + 2 * 3 + 2, 5 * 2)];
    // Column sums; data gradient with what it is multiplied by; weight gradients.
    let backward = [
        (5 * 2, 2),
        (5 * 2 + 2 * 3 + 5 * 3, 5 * 3),
        (5 * 2 + 5 * 3, 2 * 3),
        (5 * 3, 3),
        (5 * 3 + 5 * 4, 3 * 4),
    ];
    assert_eq!(elements[..2], forward);
    let mut counted = elements[2..].to_vec();
    counted.sort_unstable();
    let mut expected = backward.to_vec();
    expected.sort_unstable();
    assert_eq!(counted, expected);
    let cost = plan.cost();
    assert_eq!(cost.flop, plan.forward_flop() + plan.backward_flop());
    let total: u64 = elements.iter().map(|(read, written)| read + written).sum();
    assert_eq!(cost.bytes(), 4 * total);
}

#[test]
fn bytes_of_layers_count_statistics_parameters_and_their_gradients() {
    // 6 columns on 5 samples: batch norm alone reads x and two parameters and writes three
    // statistics and y; back it reads x, the statistics, dy and gamma and writes dgamma and dbeta.
    let plan = plan(MlpBuilder::new(6).dense(6).batch_norm(), 5, Passes::Both);
    let layers: Vec<(u64, u64)> = plan
        .calls()
        .filter(|call| matches!(call, Call::Layer(_)))
        .map(|call| (call.cost().bytes_read / 4, call.cost().bytes_written / 4))
        .collect();
    assert_eq!(
        layers,
        [(30 + 12, 18 + 30), (30 + 18 + 30 + 6, 30 + 12)],
        "forward and backward"
    );
}
