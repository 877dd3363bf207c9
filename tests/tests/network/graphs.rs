//! Networks whose layers form a graph, drawn at random: skip connections, dense connections, dropout,
//! sequences, all activations.

use kernels::Isa;
use mlp::{BlockBuilder, Builder, MatRef, Mlp, Sgd, Targets, with_team};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::loss::Pointwise;
use tests::matrix::Matrix;
use tests::network::Loss;
use tests::network::graph::{Block, GraphNet};
use tests::values::Values;

use crate::activation::to_kernel;
use crate::nets::{compare, isas};

/// Networks that are drawn.
const GRAPHS: u64 = 48;

/// Nearer to its kink an activation may not be, so that differences do not step across it.
pub(crate) const KINK: f64 = 1e-4;

const INPUTS: usize = 6;
const OUTPUTS: usize = 3;
const BATCH: usize = 5;

/// The blocks of a list that keeps the width, `depth` lists deep.
fn list(values: &mut Values, width: usize, depth: usize) -> Vec<Block> {
    let activation = |values: &mut Values| {
        let all = Activation::ALL;
        Block::Act(all[values.below(all.len())])
    };
    let mut blocks = Vec::new();
    for _ in 0..=values.below(2) {
        match values.below(if depth == 0 { 2 } else { 7 }) {
            0 => blocks.extend([Block::Dense(width), activation(values)]),
            1 => {
                blocks.extend([Block::Dense(width), activation(values)]);
                blocks.push(Block::Dropout([0.25, 0.5][values.below(2)]));
            }
            2 => {
                let inner = list(values, width, depth - 1);
                blocks.extend([Block::Residual(inner, false), activation(values)]);
            }
            3 => {
                let mut inner = list(values, width, depth - 1);
                inner.insert(0, activation(values));
                inner.push(Block::Dense(width));
                blocks.push(Block::Residual(inner, values.below(2) == 0));
            }
            4 => {
                let growth = 1 + values.below(4);
                let inner = vec![Block::Dense(growth), activation(values)];
                blocks.push(Block::Concat(inner));
                blocks.push(Block::Concat(vec![Block::Dense(growth + 1)]));
                blocks.extend([Block::Dense(width), activation(values)]);
            }
            5 => {
                for _ in 0..3 {
                    blocks.extend([Block::Dense(width), activation(values)]);
                }
                blocks.extend([Block::Skip(2, false), Block::Skip(1, values.below(2) == 0)]);
            }
            _ => {
                let inner = list(values, width, depth - 1);
                blocks.extend([Block::Rows(2), Block::Dense(width / 2), activation(values)]);
                blocks.push(Block::Rows(1));
                blocks.push(Block::Concat(inner));
                blocks.push(Block::Dense(width));
            }
        }
    }
    blocks
}

/// A network and its batch.
#[derive(Clone, Debug)]
struct Case {
    net: GraphNet,
    x: Matrix,
    targets: Matrix,
}

impl Case {
    fn new(number: u64) -> Self {
        // A draw that comes too near to a kink is drawn again.
        for attempt in 0..100 {
            let seed = 1000 * number + attempt;
            let mut values = Values::new(seed);
            let width = 4 + 2 * values.below(4);
            let mut blocks = vec![Block::Dense(width)];
            blocks.extend(list(&mut values, width, 2));
            blocks.push(Block::Dense(OUTPUTS));
            let loss = [Loss::CrossEntropy, Loss::Mean(Pointwise::Squared)][values.below(2)];
            let net = GraphNet::random(blocks, INPUTS, loss, seed);
            let x = values.matrix(BATCH, INPUTS);
            let targets = values.matrix(BATCH, OUTPUTS).map(f64::abs);
            if net.gradients(&x, &targets).kink_distance > KINK {
                return Self { net, x, targets };
            }
        }
        panic!("network {number}: every draw comes near to a kink");
    }

    /// The network in f32, with the parameters of the one in f64.
    fn network(&self, isa: Isa) -> Result<Mlp, String> {
        let loss = match self.net.loss {
            Loss::CrossEntropy => mlp::Loss::SoftmaxCrossEntropy,
            Loss::Mean(_) => mlp::Loss::MeanSquaredError,
        };
        let builder = Mlp::builder(INPUTS).loss(loss).seed(self.net.seed).isa(isa);
        let mut network = add(builder, &self.net.blocks)
            .build()
            .map_err(|e| e.to_string())?;
        let params: Vec<f32> = flat(&self.net.params).iter().map(|&w| w as f32).collect();
        network.set_parameters(&params).map_err(|e| e.to_string())?;
        Ok(network)
    }
}

/// Adds blocks to a description.
pub(crate) fn add<S>(builder: Builder<S>, blocks: &[Block]) -> Builder<S> {
    let inside = |inner: &[Block]| {
        let inner = inner.to_vec();
        move |block: BlockBuilder| add(block, &inner)
    };
    blocks.iter().fold(builder, |net, block| match block {
        Block::Dense(width) => net.dense(*width),
        Block::Act(activation) => net.activation(to_kernel(*activation)),
        Block::Softmax => net.softmax(),
        Block::Residual(inner, false) => net.residual(inside(inner)),
        Block::Residual(inner, true) => net.residual_projected(inside(inner)),
        Block::Concat(inner) => net.concat(inside(inner)),
        Block::Skip(over, false) => net.skip(*over),
        Block::Skip(over, true) => net.skip_projected(*over),
        Block::Dropout(rate) => net.dropout(*rate),
        Block::Rows(rows) => net.rows(*rows),
    })
}

pub(crate) fn flat(matrices: &[Matrix]) -> Vec<f64> {
    matrices
        .iter()
        .flat_map(|m| m.data.iter().copied())
        .collect()
}

pub(crate) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn cases() -> impl Iterator<Item = Case> {
    (0..GRAPHS).map(Case::new)
}

#[test]
fn the_reference_of_random_graphs_agrees_with_central_differences() {
    check_each(cases(), |case| {
        let analytic = flat(&case.net.gradients(&case.x, &case.targets).values);
        let numeric = case.net.numeric_gradients(&case.x, &case.targets);
        for (i, (a, n)) in analytic.iter().zip(&numeric).enumerate() {
            if (a - n).abs() > 1e-6 {
                return Err(format!("parameter {i}: {a} by formula, {n} by difference"));
            }
        }
        Ok(())
    });
}

#[test]
fn gradients_of_random_graphs_agree_with_the_reference() {
    check_each(cases(), |case| {
        let gradients = case.net.gradients(&case.x, &case.targets);
        let (expected, bounds) = (flat(&gradients.values), flat(&gradients.bounds));
        let to_f32 = |m: &Matrix| -> Vec<f32> { m.data.iter().map(|&x| x as f32).collect() };
        let (x, t) = (to_f32(&case.x), to_f32(&case.targets));
        let x = MatRef::from_row_major(&x, BATCH, INPUTS).map_err(|e| e.to_string())?;
        let t = MatRef::from_row_major(&t, BATCH, OUTPUTS).map_err(|e| e.to_string())?;
        for isa in isas() {
            let mut network = case.network(isa)?;
            let mut trainer = network.trainer(Sgd::new(0.1)).map_err(|e| e.to_string())?;
            for threads in [1, 2] {
                with_team(threads, |team| {
                    trainer
                        .gradients_of(x, Targets::Values(t), team)
                        .map_err(|e| e.to_string())?;
                    let got = trainer.gradients().ok_or("no gradients were kept")?;
                    compare("gradient", got, &expected, &bounds)?;
                    let off: Vec<f64> = got
                        .iter()
                        .zip(&expected)
                        .map(|(&g, e)| f64::from(g) - e)
                        .collect();
                    let relative = norm(&off) / norm(&expected);
                    if relative.is_nan() || relative > 1e-5 {
                        return Err(format!("off by {relative:.1e} of the norm"));
                    }
                    Ok(())
                })
                .map_err(|e| format!("{isa}, {threads} threads: {e}"))?;
            }
        }
        Ok(())
    });
}

/// Predictions leave dropout out, and are what the forward pass of a training without it gives.
#[test]
fn predictions_leave_dropout_out() {
    fn without(blocks: &[Block]) -> Vec<Block> {
        let kept = blocks.iter().filter(|b| !matches!(b, Block::Dropout(_)));
        kept.map(|block| match block {
            Block::Residual(inner, p) => Block::Residual(without(inner), *p),
            Block::Concat(inner) => Block::Concat(without(inner)),
            other => other.clone(),
        })
        .collect()
    }
    check_each(cases(), |case| {
        let x: Vec<f32> = case.x.data.iter().map(|&x| x as f32).collect();
        let x = MatRef::from_row_major(&x, BATCH, INPUTS).map_err(|e| e.to_string())?;
        let mut plain = case.net.clone();
        plain.blocks = without(&plain.blocks);
        let (expected, bounds) = plain.outputs(&case.x);
        for isa in isas() {
            let got = case.network(isa)?.forward(x).map_err(|e| e.to_string())?;
            compare("output", got.as_slice(), &expected.data, &bounds.data)
                .map_err(|e| format!("{isa}: {e}"))?;
        }
        Ok(())
    });
}
