//! What a plan says that its passes cost, against counting: three loops count the operations of every
//! product, formulas of shapes those of the rest, and the elements that each call reads and writes.

use mlp::{Adam, AdamW, Mlp, MlpBuilder, Plan, Rmsprop, Sgd};

const BATCH: usize = 24;

/// Operations counted so far.
#[derive(Clone, Copy, Default)]
struct Counter(u64);

impl Counter {
    /// A product of m x k and k x n, multiply-add by multiply-add.
    fn product(&mut self, m: usize, n: usize, k: usize) {
        for _ in 0..m {
            for _ in 0..n {
                for _ in 0..k {
                    self.0 += 2;
                }
            }
        }
    }

    /// So many operations for each element of rows x cols.
    fn elements(&mut self, each: u64, rows: usize, cols: usize) {
        for _ in 0..rows * cols {
            self.0 += each;
        }
    }
}

/// Both passes of a network.
#[derive(Default)]
struct Passes {
    forward: Counter,
    backward: Counter,
    /// Elements that are read and written.
    forward_moved: (usize, usize),
    backward_moved: (usize, usize),
}

/// Counts elements that a call reads and writes.
fn moved(count: &mut (usize, usize), read: usize, written: usize) {
    count.0 += read;
    count.1 += written;
}

impl Passes {
    /// `y = x W^T + b` over so many rows; `first` if x has no gradient.
    fn dense(&mut self, rows: usize, width: usize, fan_in: usize, first: bool) {
        self.projection(rows, width, fan_in, first);
        self.backward.elements(1, rows, width);
        // The bias, and the sums of its gradient.
        moved(&mut self.forward_moved, width, 0);
        moved(&mut self.backward_moved, rows * width, width);
    }

    /// `y = x W^T`
    fn projection(&mut self, rows: usize, width: usize, fan_in: usize, first: bool) {
        self.forward.product(rows, width, fan_in);
        self.backward.product(width, fan_in, rows);
        if !first {
            self.backward.product(rows, fan_in, width);
        }
        let (x, y, w) = (rows * fan_in, rows * width, width * fan_in);
        moved(&mut self.forward_moved, x + w, y);
        moved(&mut self.backward_moved, y + x, w);
        if !first {
            moved(&mut self.backward_moved, y + w, x);
        }
    }

    /// An activation inside the products around it, whose values its derivative is taken from.
    fn fused(&mut self, rows: usize, width: usize) {
        moved(&mut self.backward_moved, rows * width, 0);
    }

    fn check_bytes(&self, plan: &Plan) {
        for (cost, (read, written)) in [
            (plan.forward_cost(), self.forward_moved),
            (plan.backward_cost(), self.backward_moved),
        ] {
            let expected = (4 * read as u64, 4 * written as u64);
            assert_eq!((cost.bytes_read, cost.bytes_written), expected, "{plan}");
        }
    }

    fn check(&self, plan: &Plan) {
        let (forward, backward) = (plan.forward_cost(), plan.backward_cost());
        assert_eq!(forward.flop, self.forward.0, "forward:\n{plan}");
        assert_eq!(backward.flop, self.backward.0, "backward:\n{plan}");
        assert_eq!(plan.cost(), forward + backward);
        assert_eq!(plan.forward_flop(), forward.flop);
        assert_eq!(plan.backward_flop(), backward.flop);
    }
}

fn plan(builder: MlpBuilder, batch: usize) -> Plan {
    let net = builder.build().expect("a network");
    net.plan(batch).expect("a batch of some rows")
}

#[test]
fn dense_networks_cost_what_the_formulas_say() {
    for widths in [&[3, 2][..], &[17, 33, 15, 4], &[8, 5, 5, 5, 3]] {
        let mut builder = Mlp::builder(widths[0]);
        let mut passes = Passes::default();
        for (l, pair) in widths.windows(2).enumerate() {
            builder = builder.dense(pair[1]);
            if l + 2 < widths.len() {
                builder = builder.relu();
                passes.fused(BATCH, pair[1]);
            }
            passes.dense(BATCH, pair[1], pair[0], l == 0);
        }
        let plan = plan(builder, BATCH);
        passes.check(&plan);
        passes.check_bytes(&plan);
        // The same in closed form: 2 B sum d_l d_(l-1), twice that less the first data gradient, and the
        // sums of the biases.
        let pairs = || {
            widths
                .windows(2)
                .map(|pair| (pair[0] as u64, pair[1] as u64))
        };
        let b = BATCH as u64;
        let forward: u64 = pairs().map(|(from, to)| 2 * b * to * from).sum();
        let first = 2 * b * (widths[0] * widths[1]) as u64;
        let biases: u64 = pairs().map(|(_, to)| b * to).sum();
        assert_eq!(plan.forward_cost().flop, forward);
        assert_eq!(plan.backward_cost().flop, 2 * forward - first + biases);
        // Each operand once: inputs, weights and biases are read, outputs written.
        let read: u64 = pairs().map(|(from, to)| b * from + to * from + to).sum();
        let written: u64 = pairs().map(|(_, to)| b * to).sum();
        let cost = plan.forward_cost();
        assert_eq!(
            (cost.bytes_read, cost.bytes_written),
            (4 * read, 4 * written)
        );
    }
}

#[test]
fn skip_and_dense_connections_cost_little_beside_their_products() {
    let net = Mlp::builder(10).dense(12).relu();
    let net = net
        .residual(|block| block.dense(20).relu().dense(12))
        .relu();
    let net = net.concat(|block| block.dense(5).relu());
    let net = net
        .dense(17)
        .tanh()
        .dense(17)
        .tanh()
        .skip_projected(2)
        .dense(3);
    let mut passes = Passes::default();
    passes.dense(BATCH, 12, 10, true);
    passes.dense(BATCH, 20, 12, false);
    passes.dense(BATCH, 12, 20, false);
    passes.dense(BATCH, 5, 12, false);
    passes.dense(BATCH, 17, 17, false);
    passes.dense(BATCH, 17, 17, false);
    passes.projection(BATCH, 17, 17, false);
    passes.dense(BATCH, 3, 17, false);
    let plan = plan(net, BATCH);
    // Sums are products that add to what is there. What no product takes along are the derivatives of the
    // activations whose outputs are read in two places, or as part of wider rows.
    passes.backward.elements(1, BATCH, 17);
    passes.backward.elements(1, BATCH, 5);
    passes.check(&plan);
}

/// Of each element 7 and 10 operations: means, variance, result; xhat, sums, gradient.
#[test]
fn normalisation_costs_passes_over_its_elements() {
    let batch = |net: MlpBuilder| net.batch_norm();
    let layer = |net: MlpBuilder| net.layer_norm();
    // A batch has a mean, a factor and the unbiased variance of each column, a row two numbers.
    for (norm, statistics) in [
        (batch as fn(MlpBuilder) -> MlpBuilder, 3 * 12),
        (layer, 2 * BATCH),
    ] {
        let net = norm(Mlp::builder(10).dense(12)).relu().dense(3);
        let mut passes = Passes::default();
        passes.dense(BATCH, 12, 10, true);
        passes.forward.elements(7, BATCH, 12);
        passes.backward.elements(10, BATCH, 12);
        // The activation is behind no product.
        passes.forward.elements(1, BATCH, 12);
        passes.dense(BATCH, 3, 12, false);
        let (elements, gamma) = (BATCH * 12, 12);
        moved(
            &mut passes.forward_moved,
            elements + 2 * gamma,
            elements + statistics,
        );
        let read = 2 * elements + statistics + gamma;
        moved(&mut passes.backward_moved, read, elements + 2 * gamma);
        moved(&mut passes.forward_moved, elements, elements);
        passes.fused(BATCH, 12);
        let plan = plan(net, BATCH);
        passes.check(&plan);
        passes.check_bytes(&plan);
    }
}

#[test]
fn attention_costs_its_projections_and_products_of_rows_with_rows() {
    let (steps, width, heads) = (6, 8, 2);
    for causal in [false, true] {
        let net = Mlp::builder(steps * width).rows(steps);
        let net = match causal {
            true => net.causal_attention(heads),
            false => net.attention(heads),
        };
        let mut passes = Passes::default();
        let rows = BATCH * steps;
        passes.dense(rows, 3 * width, width, true);
        for _ in 0..BATCH * heads {
            let d = width / heads;
            for row in 0..steps {
                let seen = if causal { row + 1 } else { steps };
                // Scores, and their sums of values.
                passes.forward.product(1, seen, d);
                passes.forward.product(1, d, seen);
                // The scores again, dv, dp, dq and dk.
                for _ in 0..5 {
                    passes.backward.product(1, seen, d);
                }
            }
        }
        // The samples, divided into rows.
        moved(&mut passes.forward_moved, rows * width, rows * width);
        // q, k and v; a logarithm of a sum for each row and head.
        let (qkv, y, lse) = (3 * rows * width, rows * width, rows * heads);
        moved(&mut passes.forward_moved, qkv, y + lse);
        moved(&mut passes.backward_moved, qkv + lse + 2 * y, qkv);
        passes.dense(rows, width, width, false);
        passes.dense(BATCH, 3, steps * width, false);
        let plan = plan(net.rows(1).dense(3), BATCH);
        passes.check(&plan);
        passes.check_bytes(&plan);
    }
}

#[test]
fn softmax_at_the_end_is_no_call_of_the_backward_pass() {
    let plain = plan(Mlp::builder(10).dense(12).relu().dense(5), BATCH);
    let ended = plan(Mlp::builder(10).dense(12).relu().dense(5).softmax(), BATCH);
    assert_eq!(plain.backward_cost(), ended.backward_cost());
    let more = ended.forward_cost().flop - plain.forward_cost().flop;
    assert_eq!(more, 4 * (BATCH * 5) as u64);
}

/// Values of all layers, and no more than two gradients of each, before and behind its activation: in
/// proportion to the batch, and to the sum of the widths.
#[test]
fn memory_is_that_of_the_values() {
    let line = 16;
    for widths in [&[64, 96, 32, 16][..], &[16; 12], &[256, 16]] {
        let build = || {
            let hidden = &widths[1..];
            let net = Mlp::builder(widths[0]);
            hidden
                .iter()
                .fold(net, |net, &width| net.dense(width).relu())
        };
        let sum: usize = widths[1..].iter().sum();
        for batch in [line, 10 * line] {
            let bytes = plan(build(), batch).arena_bytes();
            let floor = size_of::<f32>() * batch * sum;
            assert!((floor..=3 * floor).contains(&bytes), "{bytes}, {floor}");
        }
        let ratio = plan(build(), 10 * line).arena_bytes() / plan(build(), line).arena_bytes();
        assert_eq!(ratio, 10);
    }
}

/// Two arrays are read and one written, and one of each more for what the optimiser keeps, whatever the
/// batch; operations line by line of the formulas.
#[test]
fn an_update_costs_passes_over_the_parameters() {
    let n = (10 * 12 + 12 + 12 * 5 + 5) as u64;
    for batch in [1, BATCH] {
        let plan = plan(Mlp::builder(10).dense(12).relu().dense(5), batch);
        let costs = [
            (plan.update_cost(Sgd::new(0.1)), 2, 0),
            (plan.update_cost(Sgd::new(0.1).weight_decay(0.1)), 4, 0),
            (plan.update_cost(Sgd::new(0.1).momentum(0.9)), 4, 1),
            (
                plan.update_cost(Sgd::new(0.1).momentum(0.9).nesterov()),
                6,
                1,
            ),
            (plan.update_cost(Adam::new(0.1)), 14, 2),
            (plan.update_cost(AdamW::new(0.1)), 16, 2),
            (plan.update_cost(Rmsprop::new(0.1)), 9, 1),
            (
                plan.update_cost(Rmsprop::new(0.1).centered().momentum(0.5)),
                16,
                3,
            ),
        ];
        for (cost, flop, kept) in costs {
            assert_eq!(cost.flop, flop * n);
            assert_eq!(cost.bytes_read, 4 * n * (2 + kept));
            assert_eq!(cost.bytes_written, 4 * n * (1 + kept));
        }
    }
}
