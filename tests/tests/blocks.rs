//! Gradients of networks with normalisation, attention and embeddings against those of the f64
//! reference, on every instruction set.

use kernels::{Isa, Kernels};
use mlp::{MatRef, Mlp, MlpBuilder, Sgd, Targets, Team};
use tests::activation::Activation;
use tests::blocks::{Blocks, Layer};
use tests::cases::check_each;
use tests::matrix::Matrix;
use tests::values::Values;

/// The largest distance of two gradients, in the 2-norm, relative to the second.
const DISTANCE: f64 = 1e-5;

/// One network twice, and the samples it is shown.
struct Case {
    name: &'static str,
    build: fn(MlpBuilder) -> MlpBuilder,
    reference: fn() -> Vec<Layer>,
    inputs: usize,
    /// Samples are numbers below this; values if it is 0.
    symbols: usize,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn tanh() -> Layer {
    Layer::Function(f64::tanh)
}

/// The layers of a Transformer block of width 8 with one `hidden` function.
fn transformer(heads: usize, hidden: usize, causal: bool) -> [Layer; 2] {
    [
        Layer::Residual(vec![Layer::LayerNorm, Layer::Attention(heads, causal)]),
        Layer::Residual(vec![
            Layer::LayerNorm,
            Layer::Dense(hidden),
            Layer::Function(|x| Activation::Gelu.apply(x)),
            Layer::Dense(8),
        ]),
    ]
}

const CASES: [Case; 9] = [
    Case {
        name: "batch norm behind dense",
        build: |net| net.dense(7).batch_norm().tanh().dense(3),
        reference: || vec![Layer::Dense(7), Layer::BatchNorm, tanh(), Layer::Dense(3)],
        inputs: 5,
        symbols: 0,
    },
    Case {
        name: "batch norm first and last",
        build: |net| net.batch_norm().dense(9).tanh().dense(3).batch_norm(),
        reference: || {
            let [first, last] = [Layer::BatchNorm, Layer::BatchNorm];
            vec![first, Layer::Dense(9), tanh(), Layer::Dense(3), last]
        },
        inputs: 4,
        symbols: 0,
    },
    Case {
        name: "layer norm",
        build: |net| net.layer_norm().dense(17).layer_norm().tanh().dense(3),
        reference: || {
            let [first, last] = [Layer::LayerNorm, Layer::LayerNorm];
            vec![first, Layer::Dense(17), last, tanh(), Layer::Dense(3)]
        },
        inputs: 6,
        symbols: 0,
    },
    Case {
        name: "norms in blocks",
        build: |net| {
            net.dense(6)
                .residual(|block| block.batch_norm().tanh().dense(6))
                .concat(|block| block.layer_norm().dense(5).batch_norm().tanh())
                .dense(3)
        },
        reference: || {
            let residual = vec![Layer::BatchNorm, tanh(), Layer::Dense(6)];
            let concat = vec![Layer::LayerNorm, Layer::Dense(5), Layer::BatchNorm, tanh()];
            vec![
                Layer::Dense(6),
                Layer::Residual(residual),
                Layer::Concat(concat),
                Layer::Dense(3),
            ]
        },
        inputs: 5,
        symbols: 0,
    },
    Case {
        name: "batch norm of sequences",
        build: |net| net.rows(3).dense(4).batch_norm().tanh().rows(1).dense(3),
        reference: || {
            let rows = [Layer::Rows(3), Layer::Dense(4), Layer::BatchNorm, tanh()];
            [&rows[..], &[Layer::Rows(1), Layer::Dense(3)]].concat()
        },
        inputs: 6,
        symbols: 0,
    },
    Case {
        name: "attention",
        build: |net| net.rows(5).attention(2).rows(1).dense(3),
        reference: || {
            let attention = Layer::Attention(2, false);
            vec![Layer::Rows(5), attention, Layer::Rows(1), Layer::Dense(3)]
        },
        inputs: 20,
        symbols: 0,
    },
    Case {
        name: "causal attention between concatenations",
        build: |net| {
            net.rows(4)
                .dense(4)
                .concat(|block| block.causal_attention(4).dense(2))
                .rows(1)
                .dense(3)
        },
        reference: || {
            let block = vec![Layer::Attention(4, true), Layer::Dense(2)];
            let [rows, whole] = [Layer::Rows(4), Layer::Rows(1)];
            vec![
                rows,
                Layer::Dense(4),
                Layer::Concat(block),
                whole,
                Layer::Dense(3),
            ]
        },
        inputs: 12,
        symbols: 0,
    },
    Case {
        name: "embedding",
        build: |net| net.embedding(5, 3).rows(1).dense(3),
        reference: || vec![Layer::Embedding(5, 3), Layer::Rows(1), Layer::Dense(3)],
        inputs: 4,
        symbols: 5,
    },
    Case {
        name: "transformer",
        build: |net| {
            net.embedding(7, 8)
                .transformer(2, 12)
                .causal_transformer(4, 10)
                .layer_norm()
                .rows(1)
                .dense(3)
        },
        reference: || {
            let mut layers = vec![Layer::Embedding(7, 8)];
            layers.extend(transformer(2, 12, false));
            layers.extend(transformer(4, 10, true));
            layers.extend([Layer::LayerNorm, Layer::Rows(1), Layer::Dense(3)]);
            layers
        },
        inputs: 5,
        symbols: 7,
    },
];

const BATCH: usize = 6;

impl Case {
    fn samples(&self, values: &mut Values) -> Vec<f32> {
        let n = BATCH * self.inputs;
        match self.symbols {
            0 => values.vec(n),
            symbols => values
                .labels(n, symbols)
                .iter()
                .map(|&s| s as f32)
                .collect(),
        }
    }

    fn network(&self, isa: Isa) -> Mlp {
        let builder = (self.build)(Mlp::builder(self.inputs)).isa(isa);
        builder.build().expect("a network")
    }

    fn check(&self) -> Result<(), String> {
        let mut values = Values::new(81);
        let samples = self.samples(&mut values);
        let labels = values.labels(BATCH, 3);
        let team = &Team::solo();
        let fail = |error: mlp::MlpError| error.to_string();
        let mut expected: Option<(f64, Vec<f64>)> = None;
        for k in Kernels::available().map_err(|error| error.to_string())? {
            let mut net = self.network(k.isa());
            // Away from the first parameters: gamma of 1 and biases of 0 hide mistakes.
            let mut noise = Values::new(82);
            let params: Vec<f32> = net
                .parameters()
                .iter()
                .map(|p| p + 0.3 * noise.uniform())
                .collect();
            net.set_parameters(&params).map_err(fail)?;
            let (loss, gradient) = expected.get_or_insert_with(|| {
                let blocks = Blocks {
                    layers: (self.reference)(),
                    params: params.iter().map(|&p| f64::from(p)).collect(),
                };
                let x = Matrix::from_f32(BATCH, self.inputs, &samples);
                (blocks.loss(&x, &labels), blocks.gradient(&x, &labels))
            });
            let x = MatRef::from_row_major(&samples, BATCH, self.inputs)
                .map_err(|error| error.to_string())?;
            let mut trainer = net.trainer(Sgd::new(0.0)).map_err(fail)?;
            let got = trainer
                .gradients_of(x, Targets::Classes(&labels), team)
                .map_err(fail)?;
            if (f64::from(got) - *loss).abs() > DISTANCE * *loss {
                return Err(format!("loss {got}, expected {loss}, on {}", k.isa()));
            }
            let got = trainer.gradients().ok_or("no gradients were kept")?;
            let difference = got
                .iter()
                .zip(&*gradient)
                .map(|(&g, g64)| f64::from(g) - g64);
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let distance = norm(&mut { difference }) / norm(&mut gradient.iter().copied());
            // NaN is not near.
            let near = distance <= DISTANCE;
            if !near {
                return Err(format!("gradients {distance:e} apart on {}", k.isa()));
            }
        }
        Ok(())
    }
}

#[test]
fn gradients_are_those_of_the_reference() {
    check_each(CASES, |case| case.check());
}
