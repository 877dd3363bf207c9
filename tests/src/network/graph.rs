//! Networks whose layers form a graph: values, gradients and the bounds of both for f32, by a tape.
//!
//! The description is a list of [`Block`]s; `GraphNet::tape` writes down every value in order, and the
//! gradient goes through the tape backwards, adding up where a value was read more than once. Each
//! value and each gradient carries a bound of what an f32 computation may be off, as in `bounds`.

use super::bounds::{Uncertain, activated, exact, product_error, sum, through_activation};
use super::{Loss, Network, softmax};
use crate::activation::Activation;
use crate::dropout;
use crate::finite_diff;
use crate::gemm::product;
use crate::matrix::Matrix;
use crate::tolerance::U;
use crate::values::Values;

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
}

/// Where a value on the tape comes from.
#[derive(Clone, Debug)]
enum From {
    Input,
    Linear {
        x: usize,
        weight: usize,
        bias: Option<usize>,
    },
    Act(usize, Activation),
    Softmax(usize),
    Sum(usize, usize),
    Concat(usize, usize),
    Mask(usize, Matrix),
    Rows(usize),
}

/// A network, its parameters and what its masks depend on.
#[derive(Clone, Debug)]
pub struct GraphNet {
    /// From the input on.
    pub blocks: Vec<Block>,
    /// A weight `out x in`, a bias `1 x out`: in the order in which the layers are listed; a projection
    /// comes behind the block that it leads around.
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
    pub values: Vec<Matrix>,
    /// Of each element of the values.
    pub bounds: Vec<Matrix>,
    /// How near to its kink any activation that has one is.
    pub kink_distance: f64,
}

struct Tape<'n> {
    net: &'n GraphNet,
    from: Vec<From>,
    values: Vec<Uncertain>,
    next_param: usize,
    masks: u64,
}

impl Tape<'_> {
    fn push(&mut self, from: From, value: Uncertain) -> usize {
        self.from.push(from);
        self.values.push(value);
        self.values.len() - 1
    }

    fn param(&mut self) -> usize {
        self.next_param += 1;
        self.next_param - 1
    }

    fn linear(&mut self, x: usize, has_bias: bool) -> usize {
        let weight = self.param();
        let bias = has_bias.then(|| self.param());
        let (input, params) = (&self.values[x], &self.net.params);
        let w = exact(params[weight].transposed());
        let value = product(&input.value, &w.value);
        let carried = product_error(input, &w);
        let b = |j: usize| bias.map_or(0.0, |bias| params[bias].data[j]);
        let (rows, cols) = (value.rows, value.cols);
        let value = Matrix::from_fn(rows, cols, |i, j| value.at(i, j) + b(j));
        let error = Matrix::from_fn(rows, cols, |i, j| {
            carried.at(i, j) + 2.0 * U * (value.at(i, j).abs() + b(j).abs())
        });
        self.push(From::Linear { x, weight, bias }, Uncertain { value, error })
    }

    fn add(&mut self, a: usize, b: usize) -> usize {
        let value = rounded_sum(&self.values[a], &self.values[b]);
        self.push(From::Sum(a, b), value)
    }

    fn around(&mut self, y: usize, from: usize, projection: bool) -> usize {
        let from = if projection {
            self.linear(from, false)
        } else {
            from
        };
        self.add(y, from)
    }

    fn list(&mut self, blocks: &[Block], mut x: usize) -> usize {
        let mut read = Vec::new();
        for block in blocks {
            x = match block {
                Block::Dense(_) => {
                    read.push(x);
                    self.linear(x, true)
                }
                Block::Act(activation) => {
                    let value = activated(*activation, &self.values[x]);
                    self.push(From::Act(x, *activation), value)
                }
                Block::Softmax => {
                    let value = softmax::forward(&self.values[x]);
                    self.push(From::Softmax(x), value)
                }
                Block::Residual(inner, projection) => {
                    let y = self.list(inner, x);
                    self.around(y, x, *projection)
                }
                Block::Skip(over, projection) => {
                    self.around(x, read[read.len() - over], *projection)
                }
                Block::Concat(inner) => {
                    let y = self.list(inner, x);
                    let beside = |f: fn(&Uncertain) -> &Matrix| {
                        let (a, b) = (f(&self.values[x]), f(&self.values[y]));
                        Matrix::from_fn(a.rows, a.cols + b.cols, |i, j| match j < a.cols {
                            true => a.at(i, j),
                            false => b.at(i, j - a.cols),
                        })
                    };
                    let value = Uncertain {
                        value: beside(|u| &u.value),
                        error: beside(|u| &u.error),
                    };
                    self.push(From::Concat(x, y), value)
                }
                Block::Dropout(rate) => {
                    let (rows, cols) = (self.values[x].value.rows, self.values[x].value.cols);
                    let mask = dropout::mask(*rate, self.net.seed, 0, self.masks, rows, cols);
                    self.masks += 1;
                    let value = masked(&self.values[x], &mask);
                    self.push(From::Mask(x, mask), value)
                }
                Block::Rows(rows) => {
                    let samples = self.values[0].value.rows;
                    let value = reshaped(&self.values[x], samples * rows);
                    self.push(From::Rows(x), value)
                }
            };
        }
        x
    }
}

/// `a + b`, rounded once.
fn rounded_sum(a: &Uncertain, b: &Uncertain) -> Uncertain {
    let value = sum(&a.value, &b.value);
    let error = sum(&a.error, &b.error);
    let error = Matrix::from_fn(value.rows, value.cols, |i, j| {
        error.at(i, j) + U * (value.at(i, j).abs() + error.at(i, j))
    });
    Uncertain { value, error }
}

/// `m x`, with a factor that is off by u and a product that rounds.
fn masked(x: &Uncertain, mask: &Matrix) -> Uncertain {
    let (rows, cols) = (mask.rows, mask.cols);
    let times = |m: &Matrix| Matrix::from_fn(rows, cols, |i, j| m.at(i, j) * mask.at(i, j));
    let (value, error) = (times(&x.value), times(&x.error));
    let error = Matrix::from_fn(rows, cols, |i, j| {
        let error = error.at(i, j);
        error + 3.0 * U * (value.at(i, j).abs() + error)
    });
    Uncertain { value, error }
}

/// The same elements in so many rows.
fn reshaped(x: &Uncertain, rows: usize) -> Uncertain {
    let shape = |m: &Matrix| Matrix {
        rows,
        cols: m.data.len() / rows,
        data: m.data.clone(),
    };
    Uncertain {
        value: shape(&x.value),
        error: shape(&x.error),
    }
}

fn transposed(x: &Uncertain) -> Uncertain {
    Uncertain {
        value: x.value.transposed(),
        error: x.error.transposed(),
    }
}

fn columns(x: &Uncertain, start: usize, cols: usize) -> Uncertain {
    let part = |m: &Matrix| Matrix::from_fn(m.rows, cols, |i, j| m.at(i, start + j));
    Uncertain {
        value: part(&x.value),
        error: part(&x.error),
    }
}

/// The shapes of the parameters of a list of blocks that reads `rows` rows of `width` values; the rows
/// and the width of its output.
fn shapes(
    blocks: &[Block],
    mut rows: usize,
    mut width: usize,
    params: &mut Vec<(usize, usize)>,
) -> (usize, usize) {
    let mut read = Vec::new();
    for block in blocks {
        match block {
            Block::Dense(outputs) => {
                read.push(width);
                params.extend([(*outputs, width), (1, *outputs)]);
                width = *outputs;
            }
            Block::Residual(inner, projection) => {
                let (_, out) = shapes(inner, rows, width, params);
                if *projection {
                    params.push((out, width));
                }
                width = out;
            }
            Block::Skip(over, projection) => {
                if *projection {
                    params.push((width, read[read.len() - over]));
                }
            }
            Block::Concat(inner) => width += shapes(inner, rows, width, params).1,
            Block::Rows(new) => {
                width = rows * width / new;
                rows = *new;
            }
            Block::Act(_) | Block::Softmax | Block::Dropout(_) => {}
        }
    }
    (rows, width)
}

impl GraphNet {
    /// A network with random parameters that are exact in f32.
    pub fn random(blocks: Vec<Block>, inputs: usize, loss: Loss, seed: u64) -> Self {
        let mut sizes = Vec::new();
        shapes(&blocks, 1, inputs, &mut sizes);
        let mut values = Values::new(seed);
        let params = sizes.iter().map(|&(rows, cols)| {
            let scale = match rows {
                1 => 0.25,
                _ => (1.0 / (cols as f64).sqrt()).log2().ceil().exp2(),
            };
            values.matrix(rows, cols).map(|w| w * scale)
        });
        Self {
            params: params.collect(),
            blocks,
            loss,
            seed,
        }
    }

    fn tape(&self, x: &Matrix) -> Tape<'_> {
        let mut tape = Tape {
            net: self,
            from: Vec::new(),
            values: Vec::new(),
            next_param: 0,
            masks: 0,
        };
        let input = tape.push(From::Input, exact(x.clone()));
        tape.list(&self.blocks, input);
        tape
    }

    /// The outputs, and the bounds of their errors.
    ///
    /// # Panics
    /// If there are no layers.
    pub fn outputs(&self, x: &Matrix) -> (Matrix, Matrix) {
        let tape = self.tape(x);
        let last = tape.values.last().expect("the input at least");
        (last.value.clone(), last.error.clone())
    }

    /// The mean loss of a batch.
    pub fn loss(&self, x: &Matrix, targets: &Matrix) -> f64 {
        self.losses().loss_of(&self.outputs(x).0, targets).0
    }

    /// What knows the loss.
    fn losses(&self) -> Network {
        Network {
            layers: Vec::new(),
            loss: self.loss,
        }
    }

    /// The derivative of the mean loss with respect to every parameter.
    ///
    /// # Panics
    /// If there are no layers.
    pub fn gradients(&self, x: &Matrix, targets: &Matrix) -> Gradients {
        let tape = self.tape(x);
        let outputs = tape.values.last().expect("the input at least");
        let (loss, value) = self.losses().loss_of(&outputs.value, targets);
        let (_, error) = self.losses().loss_bounds(outputs, targets);
        let mut adjoints: Vec<Option<Uncertain>> = vec![None; tape.values.len()];
        adjoints[tape.values.len() - 1] = Some(Uncertain { value, error });
        let zeros = |m: &Matrix| exact(Matrix::zeros(m.rows, m.cols));
        let mut params: Vec<Uncertain> = self.params.iter().map(zeros).collect();
        let mut kink_distance = f64::INFINITY;
        for at in (0..tape.values.len()).rev() {
            let Some(dy) = adjoints[at].take() else {
                continue;
            };
            let add = |to: &mut Option<Uncertain>, part: Uncertain| {
                *to = Some(match to.take() {
                    None => part,
                    Some(before) => rounded_sum(&before, &part),
                });
            };
            match &tape.from[at] {
                From::Input => {}
                From::Linear { x, weight, bias } => {
                    let dy_t = transposed(&dy);
                    let input = &tape.values[*x];
                    params[*weight] = Uncertain {
                        value: product(&dy_t.value, &input.value),
                        error: product_error(&dy_t, input),
                    };
                    if let Some(bias) = bias {
                        let ones = exact(Matrix::from_fn(dy.value.rows, 1, |_, _| 1.0));
                        params[*bias] = transposed(&Uncertain {
                            value: product(&dy_t.value, &ones.value),
                            error: product_error(&dy_t, &ones),
                        });
                    }
                    let w = exact(self.params[*weight].clone());
                    let part = Uncertain {
                        value: product(&dy.value, &w.value),
                        error: product_error(&dy, &w),
                    };
                    add(&mut adjoints[*x], part);
                }
                From::Act(x, activation) => {
                    if let Activation::Relu | Activation::LeakyRelu(_) | Activation::Elu(_) =
                        activation
                    {
                        let nearest = |m: f64, s: &f64| m.min(s.abs());
                        let sums = &tape.values[*x].value.data;
                        kink_distance = sums.iter().fold(kink_distance, nearest);
                    }
                    let (sums, outputs) = (&tape.values[*x], &tape.values[at]);
                    let part = through_activation(*activation, &dy, sums, outputs);
                    add(&mut adjoints[*x], part);
                }
                From::Softmax(x) => {
                    let part = softmax::backward(&tape.values[at], &dy);
                    add(&mut adjoints[*x], part);
                }
                From::Sum(a, b) => {
                    add(&mut adjoints[*a], dy.clone());
                    add(&mut adjoints[*b], dy);
                }
                From::Concat(left, right) => {
                    let split = tape.values[*left].value.cols;
                    let width = tape.values[*right].value.cols;
                    add(&mut adjoints[*left], columns(&dy, 0, split));
                    add(&mut adjoints[*right], columns(&dy, split, width));
                }
                From::Mask(x, mask) => add(&mut adjoints[*x], masked(&dy, mask)),
                From::Rows(x) => {
                    let rows = tape.values[*x].value.rows;
                    add(&mut adjoints[*x], reshaped(&dy, rows));
                }
            }
        }
        let (values, bounds) = params.into_iter().map(|p| (p.value, p.error)).unzip();
        Gradients {
            loss,
            values,
            bounds,
            kink_distance,
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
    use crate::loss::Pointwise;
    use approx::assert_abs_diff_eq;

    /// One feature, two dense units of one weight each around which leads a connection.
    #[test]
    fn a_residual_block_by_hand() {
        let net = GraphNet {
            blocks: vec![
                Block::Residual(vec![Block::Dense(1)], false),
                Block::Dense(1),
            ],
            params: [3.0, 1.0, 2.0, 0.5]
                .map(|w| Matrix::from_fn(1, 1, |_, _| w))
                .to_vec(),
            loss: Loss::Mean(Pointwise::Squared),
            seed: 0,
        };
        let x = Matrix::from_fn(1, 1, |_, _| 2.0);
        let t = Matrix::from_fn(1, 1, |_, _| 17.5);
        // (3 * 2 + 1) + 2 = 9; 9 * 2 + 0.5 = 18.5; loss 1; d = 2
        assert_eq!(net.outputs(&x).0.data, [18.5]);
        let gradients = net.gradients(&x, &t);
        let all: Vec<f64> = gradients.values.iter().map(|m| m.data[0]).collect();
        assert_eq!((gradients.loss, all), (1.0, vec![8.0, 4.0, 18.0, 2.0]));
        for (a, n) in [8.0, 4.0, 18.0, 2.0]
            .iter()
            .zip(net.numeric_gradients(&x, &t))
        {
            assert_abs_diff_eq!(*a, n, epsilon = 1e-6);
        }
    }
}
