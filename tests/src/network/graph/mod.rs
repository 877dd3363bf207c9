//! Networks whose layers form a graph: values, gradients and the bounds of both for f32, by a tape.
//!
//! The description is a list of [`Block`]s; `tape` writes down every value in order, and the gradient
//! goes through the tape backwards, adding up where a value was read more than once. Each value and
//! each gradient carries a bound of what an f32 computation may be off.

mod normalised;
mod tape;

use super::{Loss, Network};
use crate::activation::Activation;
use crate::finite_diff;
use crate::loss::Pointwise;
use crate::matrix::Matrix;
use crate::norm::Over;
use crate::uncertain::Uncertain;
use crate::values::Values;
use tape::Tape;

/// A layer, which may be made of layers.
#[derive(Clone, Debug)]
pub enum Block {
    /// `x W^T + b` with so many outputs.
    Dense(usize),
    /// `act(x)`
    Act(Activation),
    /// `softmax(x)`, row by row
    Softmax,
    /// `block(x) + x`, or `block(x) + x P^T`
    Residual(Vec<Block>, bool),
    /// `[x, block(x)]`
    Concat(Vec<Block>),
    /// `x` plus what the dense layer so many dense layers back read, or plus its projection.
    Skip(usize, bool),
    /// `m x / (1 - rate)`
    Dropout(f32),
    /// The values of a sample in so many rows.
    Rows(usize),
    /// `gamma (x - mean) / sqrt(var + eps) + beta`, over the rows or the columns.
    Norm(Over),
    /// `[Q, K, V] = x W^T + b`, attention of so many heads, `o W^T + b`; the second says whether it is
    /// causal.
    Attention(usize, bool),
    /// A block of a Transformer: so many heads, so many hidden columns, whether it is causal, and the rate
    /// of its dropout; 0 is none.
    Transformer(usize, usize, bool, f32),
    /// At the beginning: the rows of a sample that are all 0 at its end are seen by no attention.
    Padding,
    /// Each value the number of a row of a table of so many rows and columns, plus a row for its
    /// place.
    Embedding(usize, usize),
}

impl Block {
    /// `z = x + drop(attention(norm(x)))`, `z + drop(W_2 drop(gelu(W_1 norm(z) + b_1)) + b_2)`
    fn transformer(
        width: usize,
        (heads, hidden, causal): (usize, usize, bool),
        rate: f32,
    ) -> [Self; 2] {
        let drop: &[Self] = match rate {
            0.0 => &[],
            rate => &[Self::Dropout(rate)],
        };
        let around = |inner: &[&[Self]]| {
            let norm = Self::Norm(Over::Rows);
            Self::Residual([&[norm], inner.concat().as_slice()].concat(), false)
        };
        let gelu = Self::Act(Activation::Gelu);
        [
            around(&[&[Self::Attention(heads, causal)], drop]),
            around(&[
                &[Self::Dense(hidden), gelu],
                drop,
                &[Self::Dense(width)],
                drop,
            ]),
        ]
    }

    /// Whether the condition holds for this block, or one within it.
    pub fn any(&self, holds: &dyn Fn(&Self) -> bool) -> bool {
        let within = match self {
            Self::Residual(inner, _) | Self::Concat(inner) => inner.as_slice(),
            _ => &[],
        };
        holds(self) || within.iter().any(|block| block.any(holds))
    }
}

/// A network, its parameters and what its masks depend on.
#[derive(Clone, Debug)]
pub struct GraphNet {
    /// From the input on.
    pub blocks: Vec<Block>,
    /// A weight `out x in`, a bias `1 x out`, gamma before beta, a table before that of places: in the
    /// order in which the layers are listed; a projection comes behind the block that it leads around.
    pub params: Vec<Matrix>,
    /// What the outputs are compared with.
    pub loss: Loss,
    /// Seed of the masks.
    pub seed: u64,
}

/// Gradients as parameters, and the bounds of their errors in f32.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The mean loss.
    pub loss: f64,
    /// In the order of the parameters.
    pub params: Vec<Uncertain>,
    /// The least distance of what an activation or a loss reads to its kink, if it has one.
    pub kink_distance: f64,
    /// The least standard deviation of a group that is normalised.
    pub least_deviation: f64,
}

impl Gradients {
    /// The gradients of all parameters, one after the other.
    pub fn flat(&self) -> Vec<f64> {
        let params = self.params.iter();
        params.flat_map(|p| p.value.data.clone()).collect()
    }

    /// The bounds of all errors, in the order of [`Self::flat`].
    pub fn flat_bounds(&self) -> Vec<f64> {
        let params = self.params.iter();
        params.flat_map(|p| p.error.data.clone()).collect()
    }
}

/// How the first parameters are drawn.
struct Drawn {
    rows: usize,
    cols: usize,
    /// Between these.
    range: (f64, f64),
}

/// The parameters of a list of blocks that reads `rows` rows of `width` values; the rows and the width
/// of its output.
fn shapes(
    blocks: &[Block],
    mut rows: usize,
    mut width: usize,
    params: &mut Vec<Drawn>,
) -> (usize, usize) {
    let weight = |rows: usize, cols: usize| {
        let largest = (1.0 / (cols as f64).sqrt()).log2().ceil().exp2();
        Drawn {
            rows,
            cols,
            range: (-largest, largest),
        }
    };
    let row = |cols: usize, centre: f64| Drawn {
        rows: 1,
        cols,
        range: (centre - 0.25, centre + 0.25),
    };
    let mut read = Vec::new();
    for block in blocks {
        match block {
            Block::Dense(outputs) => {
                read.push(width);
                params.extend([weight(*outputs, width), row(*outputs, 0.0)]);
                width = *outputs;
            }
            Block::Residual(inner, projection) => {
                let (_, out) = shapes(inner, rows, width, params);
                if *projection {
                    params.push(weight(out, width));
                }
                width = out;
            }
            Block::Skip(over, projection) => {
                if *projection {
                    params.push(weight(width, read[read.len() - over]));
                }
            }
            Block::Concat(inner) => width += shapes(inner, rows, width, params).1,
            Block::Rows(new) => {
                width = rows * width / new;
                rows = *new;
            }
            Block::Norm(_) => params.extend([row(width, 1.0), row(width, 0.0)]),
            Block::Attention(..) => {
                let inner = 3 * width;
                params.extend([weight(inner, width), row(inner, 0.0)]);
                params.extend([weight(width, width), row(width, 0.0)]);
            }
            Block::Transformer(heads, hidden, causal, rate) => {
                let inner = Block::transformer(width, (*heads, *hidden, *causal), *rate);
                shapes(&inner, rows, width, params);
            }
            Block::Embedding(symbols, columns) => {
                params.extend([weight(*symbols, *columns), weight(width, *columns)]);
                (rows, width) = (width, *columns);
            }
            Block::Act(_) | Block::Softmax | Block::Dropout(_) | Block::Padding => {}
        }
    }
    (rows, width)
}

impl GraphNet {
    /// A network with random parameters that are exact in f32.
    pub fn random(blocks: Vec<Block>, inputs: usize, loss: Loss, seed: u64) -> Self {
        let mut drawn = Vec::new();
        shapes(&blocks, 1, inputs, &mut drawn);
        let mut values = Values::new(seed);
        let params = drawn.iter().map(|Drawn { rows, cols, range }| {
            let (middle, half) = ((range.0 + range.1) / 2.0, (range.1 - range.0) / 2.0);
            let exact = |x: f64| f64::from((middle + half * x) as f32);
            values.matrix(*rows, *cols).map(exact)
        });
        Self {
            params: params.collect(),
            blocks,
            loss,
            seed,
        }
    }

    /// The outputs, and the bounds of their errors.
    pub fn outputs(&self, x: &Matrix) -> Uncertain {
        Tape::new(self, x).outputs().clone()
    }

    /// The mean loss of a batch.
    pub fn loss(&self, x: &Matrix, targets: &Matrix) -> f64 {
        self.losses().loss_of(&self.outputs(x).value, targets).0
    }

    /// What knows the loss.
    fn losses(&self) -> Network {
        Network {
            layers: Vec::new(),
            loss: self.loss,
        }
    }

    /// The derivative of the mean loss with respect to every parameter.
    pub fn gradients(&self, x: &Matrix, targets: &Matrix) -> Gradients {
        let tape = Tape::new(self, x);
        let outputs = tape.outputs();
        let (loss, value) = self.losses().loss_of(&outputs.value, targets);
        let (_, error) = self.losses().loss_bounds(outputs, targets);
        let params = tape.backward(Uncertain { value, error });
        let kinks = outputs.value.data.iter().zip(&targets.data).map(|(y, t)| {
            let difference = (y - t).abs();
            match self.loss {
                Loss::Mean(Pointwise::Absolute) => difference,
                Loss::Mean(Pointwise::Huber(delta)) => (difference - delta).abs(),
                _ => f64::INFINITY,
            }
        });
        Gradients {
            loss,
            params,
            kink_distance: kinks.fold(tape.kink_distance(), f64::min),
            least_deviation: tape.least_deviation(),
        }
    }

    /// The derivative of the mean loss with respect to every parameter by central differences, one
    /// after the other.
    pub fn numeric_gradients(&self, x: &Matrix, targets: &Matrix) -> Vec<f64> {
        let mut probe = self.clone();
        let mut gradients = Vec::new();
        for p in 0..self.params.len() {
            for at in 0..self.params[p].data.len() {
                let old = self.params[p].data[at];
                gradients.push(finite_diff::derivative(old, |value| {
                    probe.params[p].data[at] = value;
                    probe.loss(x, targets)
                }));
                probe.params[p].data[at] = old;
            }
        }
        gradients
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    fn net(blocks: &[Block], params: &[(usize, &[f32])]) -> GraphNet {
        let matrix = |&(rows, data): &(usize, &[f32])| {
            let cols = data.len() / rows;
            Matrix::from_f32(rows, cols, data)
        };
        GraphNet {
            blocks: blocks.to_vec(),
            params: params.iter().map(matrix).collect(),
            loss: Loss::Mean(Pointwise::Squared),
            seed: 0,
        }
    }

    /// One feature, two dense units of one weight each around which leads a connection.
    #[test]
    fn a_residual_block_by_hand() {
        let blocks = [
            Block::Residual(vec![Block::Dense(1)], false),
            Block::Dense(1),
        ];
        let params: [(usize, &[f32]); 4] = [(1, &[3.0]), (1, &[1.0]), (1, &[2.0]), (1, &[0.5])];
        let net = net(&blocks, &params);
        let x = Matrix::from_fn(1, 1, |_, _| 2.0);
        let t = Matrix::from_fn(1, 1, |_, _| 17.5);
        // (3 * 2 + 1) + 2 = 9; 9 * 2 + 0.5 = 18.5; loss 1; d = 2
        assert_eq!(net.outputs(&x).value.data, [18.5]);
        let gradients = net.gradients(&x, &t);
        let all: Vec<f64> = gradients.params.iter().map(|m| m.value.data[0]).collect();
        assert_eq!((gradients.loss, all), (1.0, vec![8.0, 4.0, 18.0, 2.0]));
        for (a, n) in [8.0, 4.0, 18.0, 2.0]
            .iter()
            .zip(net.numeric_gradients(&x, &t))
        {
            assert_abs_diff_eq!(*a, n, epsilon = 1e-6);
        }
    }

    #[test]
    fn embedding_attention_and_norm_by_hand() {
        let x = Matrix::from_f32(1, 2, &[1.0, 0.0]);
        let symbols = [Block::Embedding(2, 1), Block::Rows(1)];
        let net_of_symbols = net(&symbols, &[(2, &[5.0, 7.0]), (2, &[0.25, 0.5])]);
        assert_eq!(net_of_symbols.outputs(&x).value.data, [7.25, 5.5]);
        // Errors 7.25 and 5.5, times 2, over 2 elements: symbol 1 stands at place 0.
        let gradients = net_of_symbols.gradients(&x, &Matrix::zeros(1, 2));
        assert_eq!(gradients.params[0].value.data, [5.5, 7.25]);
        assert_eq!(gradients.params[1].value.data, [7.25, 5.5]);

        // Two rows of width 1 that see each other: with V = x and scores 0, the mean of both.
        let attention = [Block::Rows(2), Block::Attention(1, false), Block::Rows(1)];
        let zeros_and_one: &[f32] = &[0.0, 0.0, 1.0];
        let params: [(usize, &[f32]); 4] =
            [(3, zeros_and_one), (1, &[0.0; 3]), (1, &[1.0]), (1, &[0.0])];
        assert_eq!(net(&attention, &params).outputs(&x).value.data, [0.5, 0.5]);

        // Mean 1/2, deviation 1/2: -1 and 1, but for eps.
        let norm = net(
            &[Block::Norm(Over::Rows)],
            &[(1, &[2.0, 2.0]), (1, &[0.0, 1.0])],
        );
        for (got, expected) in norm.outputs(&x).value.data.iter().zip([2.0, -1.0]) {
            assert_abs_diff_eq!(*got, expected, epsilon = 1e-4);
        }
    }
}
