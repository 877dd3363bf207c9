//! Networks whose layers form a graph: drawn at random, and one of each kind.

use kernels::Isa;
use mlp::{BlockBuilder, Builder, Mlp, TransformerBlock};
use tests::activation::Activation;
use tests::loss::Pointwise;
use tests::matrix::Matrix;
use tests::network::Loss;
use tests::network::graph::{Block, GraphNet};
use tests::norm::Over;
use tests::values::Values;

use crate::activation::to_kernel;
use crate::alone;
use crate::nets::{narrow, to_loss};

/// Networks that are drawn.
const GRAPHS: u64 = 36;

/// Nearer to its kink an activation may not be, so that differences do not step across it.
pub(crate) const KINK: f64 = 1e-4;

/// Less than this a group that is normalised may not vary: with `1 / std` to the third power in the
/// third derivative, differences would no longer be good to 1e-6.
const DEVIATION: f64 = 0.05;

const OUTPUTS: usize = 3;
pub(crate) const BATCH: usize = 8;

pub(crate) const LOSSES: [Loss; 5] = [
    Loss::CrossEntropy,
    Loss::Mean(Pointwise::Squared),
    Loss::Mean(Pointwise::Absolute),
    Loss::Mean(Pointwise::Huber(0.25)),
    Loss::Mean(Pointwise::Binary),
];

fn activation(values: &mut Values) -> Block {
    let all = Activation::ALL;
    Block::Act(all[values.below(all.len())])
}

fn any_norm(values: &mut Values) -> Block {
    Block::Norm([Over::Rows, Over::Columns][values.below(2)])
}

fn dropout(values: &mut Values) -> Block {
    Block::Dropout([0.25, 0.5][values.below(2)])
}

/// What every graph has a piece of.
#[derive(Clone, Copy)]
enum Piece {
    Norm,
    Dropout,
    Skip,
    Concat,
    Attention,
}

/// Blocks that keep the width.
fn piece(values: &mut Values, kind: Piece, width: usize) -> Vec<Block> {
    let plain = [Piece::Norm, Piece::Dropout][values.below(2)];
    let mut blocks = Vec::new();
    match kind {
        Piece::Norm => {
            let act = match values.below(4) {
                0 => Block::Softmax,
                _ => activation(values),
            };
            blocks.extend([Block::Dense(width), any_norm(values), act]);
        }
        Piece::Dropout => blocks.extend([Block::Dense(width), activation(values), dropout(values)]),
        Piece::Skip => match values.below(3) {
            // The residual block with the activation behind the sum.
            0 => {
                let mut inner = piece(values, plain, width);
                inner.extend([Block::Dense(width), any_norm(values)]);
                blocks.extend([Block::Residual(inner, false), activation(values)]);
            }
            // The one with norm and activation before the weights.
            1 => {
                let mut inner = vec![any_norm(values), activation(values)];
                inner.extend(piece(values, plain, width));
                inner.push(Block::Dense(width));
                blocks.push(Block::Residual(inner, values.below(2) == 0));
            }
            _ => {
                for _ in 0..3 {
                    blocks.extend([Block::Dense(width), activation(values)]);
                }
                blocks.extend([Block::Skip(2, false), Block::Skip(1, values.below(2) == 0)]);
            }
        },
        Piece::Concat => {
            let growth = 1 + values.below(4);
            let inner = vec![Block::Dense(growth), activation(values)];
            blocks.push(Block::Concat(inner));
            let width_beside = [Block::Dense(growth + 1)];
            blocks.push(Block::Concat(match values.below(2) {
                0 => width_beside.to_vec(),
                _ => [&[any_norm(values), activation(values)], &width_beside[..]].concat(),
            }));
            blocks.extend([Block::Dense(width), activation(values)]);
        }
        Piece::Attention => {
            blocks.extend([Block::Dense(12), Block::Rows(3)]);
            blocks.extend(sequence(values, 4));
            blocks.extend([Block::Rows(1), Block::Dense(width)]);
        }
    }
    blocks
}

/// Blocks over sequences that keep the width, attention among them.
fn sequence(values: &mut Values, width: usize) -> Vec<Block> {
    let (heads, causal) = ([1, 2, width][values.below(3)], values.below(2) == 0);
    let attention = Block::Attention(heads, causal);
    match values.below(4) {
        0 => vec![any_norm(values), attention],
        1 => {
            let (hidden, rate) = (3 + values.below(5), [0.0, 0.25][values.below(2)]);
            vec![Block::Transformer(heads, hidden, causal, rate)]
        }
        2 => {
            let inner = vec![activation(values), attention];
            vec![Block::Residual(inner, values.below(2) == 0)]
        }
        _ => vec![
            Block::Concat(vec![attention]),
            Block::Dense(width),
            dropout(values),
        ],
    }
}

/// A network and its batch.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) net: GraphNet,
    pub(crate) x: Matrix,
    pub(crate) targets: Matrix,
}

/// What is read.
#[derive(Clone, Copy)]
pub(crate) enum Inputs {
    Values(usize),
    /// Sequences of so many out of so many symbols.
    Symbols(usize, usize),
    /// Sequences of at most so many out of so many symbols, filled up with 0.
    PaddedSymbols(usize, usize),
    /// Sequences of at most so many rows of so many values, filled up with rows of 0.
    PaddedRows(usize, usize),
}

impl Inputs {
    /// A batch of them.
    fn draw(self, values: &mut Values) -> Matrix {
        let symbols = |values: &mut Values, steps: usize, symbols: usize| {
            let numbers = values.labels(BATCH * steps, symbols);
            let numbers: Vec<f32> = numbers.iter().map(|&n| n as f32).collect();
            Matrix::from_f32(BATCH, steps, &numbers)
        };
        match self {
            Self::Values(count) => values.matrix(BATCH, count),
            Self::Symbols(steps, count) => symbols(values, steps, count),
            Self::PaddedSymbols(steps, count) => {
                let whole = symbols(values, steps, count);
                padded(whole, steps, values)
            }
            Self::PaddedRows(steps, width) => {
                let whole = values.matrix(BATCH, steps * width);
                padded(whole, steps, values)
            }
        }
    }
}

/// Samples of `steps` rows, of which a part is filled up with 0: never all of them.
fn padded(mut whole: Matrix, steps: usize, values: &mut Values) -> Matrix {
    let width = whole.cols / steps;
    for sample in 0..whole.rows {
        let length = 1 + values.below(steps);
        for col in length * width..whole.cols {
            whole.data[sample * whole.cols + col] = 0.0;
        }
    }
    whole
}

impl Case {
    /// Blocks with parameters and a batch, drawn until differences are good there.
    fn new(
        name: String,
        seed: u64,
        loss: Option<Loss>,
        draw: impl Fn(&mut Values) -> (Inputs, Vec<Block>),
    ) -> Self {
        let mut last = String::new();
        for attempt in 0..100 {
            let seed = 1000 * seed + attempt;
            let mut values = Values::new(seed);
            let (inputs, blocks) = draw(&mut values);
            // Cross-entropy would be taken together with the softmax before it, binary cross-entropy refuses it.
            let kinds = match blocks.last() {
                Some(Block::Softmax) => &LOSSES[1..4],
                _ => &LOSSES,
            };
            let loss = loss.unwrap_or(kinds[values.below(kinds.len())]);
            let x = inputs.draw(&mut values);
            let net = GraphNet::random(blocks, x.cols, loss, seed);
            let outputs = net.outputs(&x).value.cols;
            let targets = values.matrix(BATCH, outputs).map(f64::abs);
            let gradients = net.gradients(&x, &targets);
            let (kink, deviation) = (gradients.kink_distance, gradients.least_deviation);
            last = format!("kink {kink:.1e}, deviation {deviation:.1e}");
            if kink > KINK && deviation > DEVIATION {
                return Self {
                    name,
                    net,
                    x,
                    targets,
                };
            }
        }
        panic!("{name}: no draw is good: {last}");
    }

    /// Graphs that mix skip and dense connections, norms, dropout and attention in any order; every third
    /// begins with symbols, of which half are filled up with padding, the others with values. Softmax stands
    /// in the middle and at the end of some, and Transformer blocks have dropout or none.
    pub(crate) fn random() -> impl Iterator<Item = Self> {
        (0..GRAPHS).map(|number| {
            Self::new("random graph".to_owned(), number, None, |values| {
                let width = [4, 6][values.below(2)];
                let mut pieces = vec![Piece::Norm, Piece::Dropout, Piece::Skip, Piece::Concat];
                let (inputs, mut blocks) = if number % 3 == 0 {
                    let is_padded = number % 2 == 0;
                    let mut blocks = vec![Block::Padding; usize::from(is_padded)];
                    blocks.push(Block::Embedding(5, 4));
                    blocks.extend(sequence(values, 4));
                    blocks.extend([Block::Rows(1), Block::Dense(width)]);
                    let inputs = match is_padded {
                        true => Inputs::PaddedSymbols(4, 5),
                        false => Inputs::Symbols(4, 5),
                    };
                    (inputs, blocks)
                } else {
                    pieces.push(Piece::Attention);
                    (Inputs::Values(6), vec![Block::Dense(width)])
                };
                while !pieces.is_empty() {
                    let kind = pieces.swap_remove(values.below(pieces.len()));
                    blocks.extend(piece(values, kind, width));
                }
                blocks.push(Block::Dense(OUTPUTS));
                if values.below(4) == 0 {
                    blocks.push(Block::Softmax);
                }
                (inputs, blocks)
            })
        })
    }

    /// Each layer, and each kind of block, alone in a network.
    pub(crate) fn alone() -> impl Iterator<Item = Self> {
        let cases = alone::cases().into_iter().zip(1000..);
        cases.map(|((name, inputs, blocks), seed)| {
            // Squared errors: where others are flat they would hide what is wrong.
            let loss = Some(LOSSES[1]);
            Self::new(name.to_owned(), seed, loss, |_| (inputs, blocks.clone()))
        })
    }

    /// Each loss, behind one layer.
    pub(crate) fn losses() -> impl Iterator<Item = Self> {
        LOSSES.into_iter().zip(2000..).map(|(loss, seed)| {
            Self::new(format!("loss {loss:?}"), seed, Some(loss), |_| {
                (Inputs::Values(4), vec![Block::Dense(3)])
            })
        })
    }

    /// The network in f32, with the parameters of the one in f64.
    pub(crate) fn network(&self, isa: Isa) -> Result<Mlp, String> {
        let builder = Mlp::builder(self.x.cols)
            .loss(to_loss(self.net.loss))
            .seed(self.net.seed)
            .isa(isa);
        let mut network = add(builder, &self.net.blocks)
            .build()
            .map_err(|e| e.to_string())?;
        let params: Vec<f32> = self.net.params.iter().flat_map(narrow).collect();
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
        Block::Norm(Over::Columns) => net.batch_norm(),
        Block::Norm(Over::Rows) => net.layer_norm(),
        Block::Attention(heads, false) => net.attention(*heads),
        Block::Attention(heads, true) => net.causal_attention(*heads),
        Block::Transformer(heads, hidden, causal, rate) => {
            let block = TransformerBlock::new(*heads, *hidden).dropout(*rate);
            net.transformer_block(if *causal { block.causal() } else { block })
        }
        Block::Padding => net.padding(0.0),
        Block::Embedding(symbols, width) => net.embedding(*symbols, *width),
    })
}
