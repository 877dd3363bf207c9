//! Blocks of a Transformer with dropout, and sequences of different lengths in one batch.

use kernels::{Isa, Kernels};
use mlp::{Data, MatRef, Mlp, MlpBuilder, Sgd, Targets, Team, TransformerBlock, with_team};
use tests::attention::Attention;
use tests::finite_diff::derivative;
use tests::loss::softmax_cross_entropy;
use tests::matrix::Matrix;
use tests::uncertain::Uncertain;
use tests::values::Values;

fn isas() -> Vec<Isa> {
    let all = Kernels::available().expect("the environment asks for what this machine has");
    all.into_iter().map(Kernels::isa).collect()
}

/// Dropout stands where the formula has it: the block is the same as one out of layers, value by value
/// and gradient by gradient, masks included.
#[test]
fn a_block_with_dropout_is_its_layers() {
    let (steps, width, rate) = (5, 8, 0.25);
    let ends = |net: MlpBuilder| net.rows(1).dense(3).seed(7);
    for causal in [false, true] {
        for isa in isas() {
            let begin = || Mlp::builder(steps * width).rows(steps).isa(isa);
            let block = TransformerBlock::new(2, 12);
            let block = if causal { block.causal() } else { block };
            let whole = ends(begin().transformer_block(block.dropout(rate)));
            let apart = begin()
                .residual(|b| {
                    let b = b.layer_norm();
                    let b = if causal {
                        b.causal_attention(2)
                    } else {
                        b.attention(2)
                    };
                    b.dropout(rate)
                })
                .residual(|b| {
                    let b = b.layer_norm().dense(12).gelu().dropout(rate);
                    b.dense(width).dropout(rate)
                });
            let mut nets = [whole, ends(apart)].map(|net| net.build().expect("a network"));
            let parameters = nets[1].parameters().to_vec();
            nets[0].set_parameters(&parameters).expect("as many");
            let mut values = Values::new(11);
            let x = values.vec(6 * steps * width);
            let x = MatRef::from_row_major(&x, 6, steps * width).expect("six samples");
            let labels = [0, 1, 2, 0, 1, 2];
            let [a, b] = nets.map(|mut net| {
                let predicted = net.forward(x).expect("samples that fit");
                let mut trainer = net.trainer(Sgd::new(0.5)).expect("a rate");
                let mut seen = Vec::new();
                for threads in [1, 2] {
                    with_team(threads, |team| {
                        let loss = trainer.gradients_of(x, Targets::Classes(&labels), team);
                        seen.push(loss.expect("samples that fit"));
                        seen.extend_from_slice(trainer.gradients().expect("they are kept"));
                        trainer.update(team).expect("gradients");
                    });
                }
                (predicted, seen)
            });
            assert_eq!(a, b, "{isa}");
            // Predictions drop nothing, trainings do.
            let plain = ends(begin().transformer_block(block));
            let mut plain = plain.build().expect("a network");
            plain.set_parameters(&parameters).expect("as many");
            assert_eq!(plain.forward(x).expect("samples that fit"), a.0);
            let mut trainer = plain.trainer(Sgd::new(0.5)).expect("a rate");
            let loss = trainer.gradients_of(x, Targets::Classes(&labels), &Team::solo());
            assert_ne!(loss.expect("samples that fit"), a.1[0]);
        }
    }
}

const STEPS: usize = 5;
const WIDTH: usize = 4;
const HEADS: usize = 2;
const CLASSES: usize = 3;
/// No value of the samples.
const PADDING: f32 = 9.0;

/// `rows -> attention -> one row -> dense`, in f64, with the rows that each sample has.
struct Reference {
    params: Vec<f64>,
    lengths: Vec<usize>,
    causal: bool,
}

impl Reference {
    fn dense(x: &Matrix, width: usize, params: &mut &[f64]) -> Matrix {
        let (weight, rest) = params.split_at(width * x.cols);
        let (bias, rest) = rest.split_at(width);
        *params = rest;
        Matrix::from_fn(x.rows, width, |i, j| {
            let row = &weight[j * x.cols..(j + 1) * x.cols];
            x.row(i).iter().zip(row).map(|(x, w)| x * w).sum::<f64>() + bias[j]
        })
    }

    fn outputs(&self, x: &Matrix) -> Matrix {
        let mut params = &self.params[..];
        let batch = self.lengths.len();
        let rows = Matrix {
            rows: batch * STEPS,
            cols: WIDTH,
            data: x.data.clone(),
        };
        let qkv = Self::dense(&rows, 3 * WIDTH, &mut params);
        let part = |n: usize| {
            let columns = Matrix::from_fn(rows.rows, WIDTH, |i, j| qkv.at(i, n * WIDTH + j));
            Uncertain::exact(columns)
        };
        let attention = Attention {
            q: part(0),
            k: part(1),
            v: part(2),
            batch,
            heads: HEADS,
            causal: self.causal,
            lengths: self.lengths.clone(),
        };
        let mixed = Self::dense(&attention.forward().o.value, WIDTH, &mut params);
        let whole = Matrix {
            rows: batch,
            cols: STEPS * WIDTH,
            data: mixed.data,
        };
        Self::dense(&whole, CLASSES, &mut params)
    }

    fn loss(&self, x: &Matrix, targets: &Matrix) -> f64 {
        let losses = softmax_cross_entropy(&self.outputs(x), targets).losses;
        losses.iter().sum::<f64>() / self.lengths.len() as f64
    }

    fn gradients(&mut self, x: &Matrix, targets: &Matrix) -> Vec<f64> {
        (0..self.params.len())
            .map(|at| {
                let old = self.params[at];
                let slope = derivative(old, |value| {
                    self.params[at] = value;
                    self.loss(x, targets)
                });
                self.params[at] = old;
                slope
            })
            .collect()
    }
}

/// Samples of these lengths, filled up.
fn padded(lengths: &[usize], values: &mut Values) -> Vec<f32> {
    let mut x = values.vec(lengths.len() * STEPS * WIDTH);
    for (sample, &length) in lengths.iter().enumerate() {
        let rows = &mut x[sample * STEPS * WIDTH..][..STEPS * WIDTH];
        rows[length * WIDTH..].fill(PADDING);
        // A value of the padding inside a sequence ends none.
        if length > 1 {
            rows[0] = PADDING;
        }
    }
    x
}

#[test]
fn padded_sequences_agree_with_the_reference() {
    let lengths = vec![5, 1, 3, 4, 0, 2];
    let batch = lengths.len();
    for causal in [false, true] {
        let mut values = Values::new(31);
        let x = padded(&lengths, &mut values);
        let labels = values.labels(batch, CLASSES);
        let exact = Matrix::from_f32(batch, STEPS * WIDTH, &x);
        let targets = Matrix::one_hot(&labels, CLASSES);
        let x = MatRef::from_row_major(&x, batch, STEPS * WIDTH).expect("whole samples");
        for isa in isas() {
            let net = Mlp::builder(STEPS * WIDTH)
                .padding(PADDING)
                .rows(STEPS)
                .isa(isa);
            let net = if causal {
                net.causal_attention(HEADS)
            } else {
                net.attention(HEADS)
            };
            let mut net = net.rows(1).dense(CLASSES).build().expect("a network");
            let params = Values::new(32).vec(net.parameters().len());
            net.set_parameters(&params).expect("as many");
            let mut reference = Reference {
                params: params.iter().map(|&w| f64::from(w)).collect(),
                lengths: lengths.clone(),
                causal,
            };
            let outputs = reference.outputs(&exact);
            let got = net.forward(x).expect("samples that fit");
            for (got, expected) in got.as_slice().iter().zip(&outputs.data) {
                assert!(
                    (f64::from(*got) - expected).abs() < 2e-5,
                    "{got}, {expected}, {isa}"
                );
            }
            let expected = reference.gradients(&exact, &targets);
            let mut trainer = net.trainer(Sgd::new(0.1)).expect("a rate");
            for threads in [1, 2] {
                with_team(threads, |team| {
                    trainer.gradients_of(x, Targets::Classes(&labels), team)
                })
                .expect("samples that fit");
                let got = trainer.gradients().expect("they are kept");
                let square = |sum: f64, x: f64| sum + x * x;
                let off = got.iter().zip(&expected).map(|(&g, e)| f64::from(g) - e);
                let off = off.fold(0.0, square).sqrt();
                let whole = expected.iter().copied().fold(0.0, square).sqrt();
                assert!(off <= 1e-5 * whole, "{off:e} of {whole:e}, {isa}");
            }
        }
    }
}

/// What a sequence is filled up with changes nothing of it: whatever stands in the rows behind its end,
/// and in the rest of the batch; a network without padding would see it.
#[test]
fn padding_is_seen_by_no_row() {
    let build = |padding: bool| {
        let net = Mlp::builder(6);
        let net = if padding { net.padding(0.0) } else { net };
        let block = TransformerBlock::new(2, 12).dropout(0.5);
        let net = net
            .embedding(10, 8)
            .transformer_block(block)
            .transformer(2, 8);
        net.layer_norm()
            .rows(6)
            .dense(2)
            .rows(1)
            .seed(3)
            .build()
            .expect("a network")
    };
    let (net, plain) = (build(true), build(false));
    let row = |net: &Mlp, x: &[f32]| -> Vec<f32> {
        let x = MatRef::from_row_major(x, x.len() / 6, 6).expect("whole samples");
        net.forward(x).expect("samples that fit").row(0).to_vec()
    };
    let short = [4.0, 0.0, 7.0, 0.0, 0.0, 0.0];
    let alone = row(&net, &short);
    let beside = [short, [1.0; 6], [0.0; 6]].concat();
    assert_eq!(row(&net, &beside), alone);
    // Two outputs for each place. The place of the second 0 is one of the sequence.
    let changed = row(&net, &[4.0, 3.0, 7.0, 0.0, 0.0, 0.0]);
    assert_ne!(changed[0], alone[0]);
    // One more symbol is seen by all before it.
    let longer = row(&net, &[4.0, 0.0, 7.0, 5.0, 0.0, 0.0]);
    assert_ne!(longer[0], alone[0]);
    // A table with another row for the padding changes the places of the padding alone.
    let filled = [4.0, 3.0, 7.0, 0.0, 0.0, 0.0];
    let mut other = net.clone();
    let mut parameters = net.parameters().to_vec();
    for w in &mut parameters[..8] {
        *w *= 3.0;
    }
    other.set_parameters(&parameters).expect("as many");
    let (before, after) = (row(&net, &filled), row(&other, &filled));
    assert_eq!(before[..6], after[..6]);
    assert!((6..12).all(|at| before[at] != after[at]));
    let seen = row(&plain, &short);
    let full = row(&plain, &[4.0, 8.0, 7.0, 6.0, 5.0, 3.0]);
    let same = row(&net, &[4.0, 8.0, 7.0, 6.0, 5.0, 3.0]);
    assert_eq!(full, same, "nothing is padding");
    assert_ne!(seen[0], alone[0], "the padding is seen without the layer");
}

#[test]
fn a_padded_network_trains_and_comes_back_from_a_file() {
    // Which of two symbols comes more often, in sequences of 1 to 5.
    let mut values = Values::new(5);
    let (mut x, mut labels) = (Vec::new(), Vec::new());
    for sample in 0..120 {
        let length = 1 + 2 * (sample % 3);
        let symbols: Vec<u32> = values.labels(length, 2);
        let ones: u32 = symbols.iter().sum();
        labels.push(u32::from(2 * ones as usize > length));
        x.extend(symbols.iter().map(|&s| 1.0 + s as f32));
        x.extend(vec![0.0; 5 - length]);
    }
    let x = MatRef::from_row_major(&x, 120, 5).expect("whole samples");
    let data = Data::classes(x, &labels).expect("a label for each");
    let block = TransformerBlock::new(2, 16).dropout(0.1);
    let net = Mlp::builder(5)
        .padding(0.0)
        .embedding(3, 8)
        .transformer_block(block);
    let mut net = net.rows(1).dense(2).seed(1).build().expect("a network");
    let config = mlp::TrainConfig::default()
        .optimizer(mlp::Adam::new(5e-3))
        .batch_size(20)
        .max_epochs(40);
    net.fit(data, &config).expect("data that fit");
    let accuracy = net.evaluate(data).expect("data that fit").accuracy;
    assert!(accuracy > Some(0.95), "{accuracy:?}");
    let path = std::env::temp_dir().join(format!("padded-{}.safetensors", std::process::id()));
    net.save(&path).expect("a place to write to");
    let loaded = Mlp::load(&path).expect("a file that was just written");
    std::fs::remove_file(&path).expect("the file is there");
    assert_eq!(loaded.spec(), net.spec());
    assert_eq!(loaded.forward(x), net.forward(x));
}

#[test]
fn padding_and_dropout_in_the_wrong_place_are_refused() {
    let message = |net: MlpBuilder| net.build().map(|_| ()).expect_err("no network").to_string();
    let padded = || Mlp::builder(12).padding(0.0);
    let place =
        "layer 0: expected padding at the beginning, directly before the rows or the embedding";
    for net in [
        padded().dense(3),
        padded().layer_norm().dense(3),
        padded().padding(0.0).rows(3).rows(1).dense(2),
    ] {
        assert!(message(net).starts_with(place));
    }
    let late = Mlp::builder(12)
        .dense(12)
        .padding(0.0)
        .rows(3)
        .rows(1)
        .dense(2);
    assert!(message(late).starts_with("layer 1: expected padding at the beginning"));
    let value = Mlp::builder(12).padding(f32::NAN).rows(3).rows(1).dense(2);
    assert_eq!(
        message(value),
        "layer 0: expected a finite value of the padding, got NaN"
    );
    let other = padded().rows(3).rows(6).attention(1).rows(1).dense(2);
    assert_eq!(
        message(other),
        "layer 3: expected attention over the rows that may be padding, got 6 rows instead of 3"
    );
    for rate in [1.0, -0.5, f32::NAN] {
        let block = TransformerBlock::new(2, 8).dropout(rate);
        let net = Mlp::builder(12)
            .rows(3)
            .transformer_block(block)
            .rows(1)
            .dense(2);
        let expected = format!("layer 1: expected a dropout of at least 0 and below 1, got {rate}");
        assert_eq!(message(net), expected);
    }
}
