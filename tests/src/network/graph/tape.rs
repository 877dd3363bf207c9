//! The values of a network in order, and the way back.

use super::normalised::Normalised;
use super::{Block, GraphNet};
use crate::activation::Activation;
use crate::attention::Attention;
use crate::dropout;
use crate::matrix::Matrix;
use crate::network::softmax;
use crate::norm::Over;
use crate::tolerance::{U, gamma as roundings};
use crate::uncertain::{Uncertain, activated, linear, through_activation};

/// Where a value on the tape comes from.
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
    Norm {
        x: usize,
        gamma: usize,
        beta: usize,
        normalised: Normalised,
    },
    Attention(usize, Attention),
    Embedding {
        x: usize,
        table: usize,
        places: usize,
    },
}

/// Every value that a network computes for a batch.
pub(super) struct Tape<'n> {
    net: &'n GraphNet,
    from: Vec<From>,
    values: Vec<Uncertain>,
    next_param: usize,
    masks: u64,
    /// Rows of each sample before its padding, where it has one.
    lengths: Option<Vec<usize>>,
}

impl<'n> Tape<'n> {
    /// The forward pass, in training.
    pub(super) fn new(net: &'n GraphNet, x: &Matrix) -> Self {
        let mut tape = Tape {
            net,
            from: Vec::new(),
            values: Vec::new(),
            next_param: 0,
            masks: 0,
            lengths: None,
        };
        let input = tape.push(From::Input, Uncertain::exact(x.clone()));
        tape.list(&net.blocks, input);
        tape
    }

    /// The last value.
    pub(super) fn outputs(&self) -> &Uncertain {
        self.values.last().expect("the input at least")
    }

    /// The least distance of what an activation reads to its kink, if it has one.
    pub(super) fn kink_distance(&self) -> f64 {
        let distances = self.from.iter().flat_map(|from| match from {
            From::Act(x, Activation::Relu | Activation::LeakyRelu(_) | Activation::Elu(_)) => {
                self.values[*x].value.data.as_slice()
            }
            _ => &[],
        });
        distances.fold(f64::INFINITY, |least, x| least.min(x.abs()))
    }

    /// The least standard deviation of a group that is normalised.
    pub(super) fn least_deviation(&self) -> f64 {
        let deviations = self.from.iter().map(|from| match from {
            From::Norm { normalised, .. } => normalised.least_deviation(),
            _ => f64::INFINITY,
        });
        deviations.fold(f64::INFINITY, f64::min)
    }

    fn push(&mut self, from: From, value: Uncertain) -> usize {
        self.from.push(from);
        self.values.push(value);
        self.values.len() - 1
    }

    fn param(&mut self) -> usize {
        self.next_param += 1;
        self.next_param - 1
    }

    fn samples(&self) -> usize {
        self.values[0].value.rows
    }

    fn linear(&mut self, x: usize, has_bias: bool) -> usize {
        let weight = self.param();
        let bias = has_bias.then(|| self.param());
        let params = &self.net.params;
        let b = bias.map(|bias| params[bias].data.as_slice());
        let value = linear(&self.values[x], &params[weight], b);
        self.push(From::Linear { x, weight, bias }, value)
    }

    fn add(&mut self, a: usize, b: usize) -> usize {
        let value = self.values[a].plus(&self.values[b]);
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

    fn norm(&mut self, x: usize, over: Over) -> usize {
        let (gamma, beta) = (self.param(), self.param());
        let [g, b] = [gamma, beta].map(|p| self.net.params[p].data.as_slice());
        let normalised = Normalised::new(over, self.values[x].clone());
        let value = normalised.scaled(g, b);
        let from = From::Norm {
            x,
            gamma,
            beta,
            normalised,
        };
        self.push(from, value)
    }

    fn attention(&mut self, x: usize, heads: usize, causal: bool) -> usize {
        let qkv = self.linear(x, true);
        let width = self.values[x].value.cols;
        let part = |number: usize| self.values[qkv].columns(number * width, width);
        let steps = self.values[x].value.rows / self.samples();
        let attention = Attention {
            q: part(0),
            k: part(1),
            v: part(2),
            batch: self.samples(),
            heads,
            causal,
            lengths: match &self.lengths {
                Some(lengths) => lengths.clone(),
                None => vec![steps; self.samples()],
            },
        };
        let o = attention.forward().o;
        let o = self.push(From::Attention(qkv, attention), o);
        self.linear(o, true)
    }

    fn embedding(&mut self, x: usize) -> usize {
        let (table, places) = (self.param(), self.param());
        let (symbols, at) = (&self.values[x].value, &self.net.params[places]);
        let rows = &self.net.params[table];
        let value = Matrix::from_fn(symbols.data.len(), rows.cols, |i, j| {
            rows.at(symbols.data[i] as usize, j) + at.at(i % symbols.cols, j)
        });
        let error = value.map(|y| U * y.abs());
        let from = From::Embedding { x, table, places };
        self.push(from, Uncertain { value, error })
    }

    /// How many of the `steps` rows of each sample stand before those at its end that are all 0.
    fn lengths(&self, steps: usize) -> Vec<usize> {
        let x = &self.values[0].value;
        let filled = |sample: usize, step: usize| {
            let width = x.cols / steps;
            (step * width..(step + 1) * width).any(|col| x.at(sample, col) != 0.0)
        };
        let length = |sample| {
            (0..steps)
                .rfind(|&step| filled(sample, step))
                .map_or(0, |last| last + 1)
        };
        (0..x.rows).map(length).collect()
    }

    fn list(&mut self, blocks: &[Block], mut x: usize) -> usize {
        let mut read = Vec::new();
        for (position, block) in blocks.iter().enumerate() {
            x = match block {
                Block::Padding => {
                    let steps = match blocks.get(position + 1) {
                        Some(Block::Rows(rows)) => *rows,
                        _ => self.values[0].value.cols,
                    };
                    self.lengths = Some(self.lengths(steps));
                    x
                }
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
                    let value = self.values[x].beside(&self.values[y]);
                    self.push(From::Concat(x, y), value)
                }
                Block::Dropout(rate) => {
                    let Matrix { rows, cols, .. } = self.values[x].value;
                    let mask = dropout::mask(*rate, self.net.seed, 0, self.masks, rows, cols);
                    self.masks += 1;
                    let value = self.values[x].masked(&mask);
                    self.push(From::Mask(x, mask), value)
                }
                Block::Rows(rows) => {
                    let value = self.values[x].reshaped(self.samples() * rows);
                    self.push(From::Rows(x), value)
                }
                Block::Norm(over) => self.norm(x, *over),
                Block::Attention(heads, causal) => self.attention(x, *heads, *causal),
                Block::Transformer(heads, hidden, causal, rate) => {
                    let width = self.values[x].value.cols;
                    let inner = Block::transformer(width, (*heads, *hidden, *causal), *rate);
                    self.list(&inner, x)
                }
                Block::Embedding(..) => self.embedding(x),
            };
        }
        x
    }

    /// The gradients with respect to the parameters, from that with respect to the outputs.
    pub(super) fn backward(&self, d_outputs: Uncertain) -> Vec<Uncertain> {
        let params = &self.net.params;
        let zeros = |m: &Matrix| Uncertain::exact(Matrix::zeros(m.rows, m.cols));
        let mut gradients: Vec<Uncertain> = params.iter().map(zeros).collect();
        let mut adjoints: Vec<Option<Uncertain>> = vec![None; self.values.len()];
        adjoints[self.values.len() - 1] = Some(d_outputs);
        for at in (0..self.values.len()).rev() {
            let Some(dy) = adjoints[at].take() else {
                continue;
            };
            let mut add = |to: usize, part: Uncertain| {
                adjoints[to] = Some(match adjoints[to].take() {
                    None => part,
                    Some(before) => before.plus(&part),
                });
            };
            match &self.from[at] {
                From::Input => {}
                From::Linear { x, weight, bias } => {
                    gradients[*weight] = dy.transposed().times(&self.values[*x]);
                    if let Some(bias) = bias {
                        gradients[*bias] = dy.column_sums();
                    }
                    add(*x, dy.times(&Uncertain::exact(params[*weight].clone())));
                }
                From::Act(x, activation) => {
                    let (sums, outputs) = (&self.values[*x], &self.values[at]);
                    add(*x, through_activation(*activation, &dy, sums, outputs));
                }
                From::Softmax(x) => add(*x, softmax::backward(&self.values[at], &dy)),
                From::Sum(a, b) => {
                    add(*a, dy.clone());
                    add(*b, dy);
                }
                From::Concat(left, right) => {
                    let split = self.values[*left].value.cols;
                    let width = self.values[*right].value.cols;
                    add(*left, dy.columns(0, split));
                    add(*right, dy.columns(split, width));
                }
                From::Mask(x, mask) => add(*x, dy.masked(mask)),
                From::Rows(x) => add(*x, dy.reshaped(self.values[*x].value.rows)),
                From::Norm {
                    x,
                    gamma,
                    beta,
                    normalised,
                } => {
                    let [dx, dgamma, dbeta] = normalised.backward(&params[*gamma].data, &dy);
                    (gradients[*gamma], gradients[*beta]) = (dgamma, dbeta);
                    add(*x, dx);
                }
                From::Attention(qkv, attention) => {
                    let [dq, dk, dv] = attention.backward(&dy);
                    add(*qkv, dq.beside(&dk).beside(&dv));
                }
                From::Embedding { x, table, places } => {
                    let symbols = &self.values[*x].value;
                    for (i, symbol) in symbols.data.iter().enumerate() {
                        add_row(&mut gradients[*table], *symbol as usize, &dy, i);
                        add_row(&mut gradients[*places], i % symbols.cols, &dy, i);
                    }
                }
            }
        }
        gradients
    }
}

/// Adds row `from` of dy to row `row`: a term of a sum that meets a rounding for each row of dy at most.
fn add_row(gradient: &mut Uncertain, row: usize, dy: &Uncertain, from: usize) {
    let Matrix { rows, cols, .. } = dy.value;
    for j in 0..cols {
        let (d, off) = (dy.value.at(from, j), dy.error.at(from, j));
        gradient.value.data[row * cols + j] += d;
        gradient.error.data[row * cols + j] += off + roundings(rows) * (d.abs() + off);
    }
}
