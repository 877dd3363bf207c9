//! The tasks: data, a network for them, and how well it does.

use std::error::Error;
use std::path::Path;

use mlp::{
    Adam, Column, CsvReader, Dataset, Loss, Mlp, MlpBuilder, MlpError, Precision, Scaler, Schedule,
    TrainConfig,
};

use crate::spirals::spirals;

/// Handwritten digits and their labels.
const DIGITS: &[u8] = include_bytes!("../digits/digits.csv.gz");

/// Value of a pixel that is all dark: of these digits, and of those of MNIST.
const DARK: [f32; 2] = [16.0, 255.0];

/// Symbols of a sequence, and how many there are.
const STEPS: usize = 8;
const SYMBOLS: usize = 10;

/// A network and what it is to learn.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    train: Dataset,
    test: Dataset,
    network: fn() -> MlpBuilder,
    rate: f32,
    batch: usize,
    epochs: usize,
    /// Share of samples, or of what they consist of, that comes out right.
    accuracy: fn(&mut Mlp, &Dataset) -> Result<f64, MlpError>,
}

/// What came of a training.
pub(crate) struct Outcome {
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    pub(crate) ran: Precision,
}

impl Task {
    pub(crate) fn train(&self, seed: u64, precision: Precision) -> Result<Outcome, MlpError> {
        let mut net = (self.network)().seed(seed).precision(precision).build()?;
        let steps = self.epochs * self.train.n_samples().div_ceil(self.batch);
        let config = TrainConfig::default()
            .optimizer(Adam::new(self.rate))
            .schedule(Schedule::cosine(steps as u64, 0.01).per_step())
            .batch_size(self.batch)
            .max_epochs(self.epochs);
        net.fit(&self.train, &config)?;
        Ok(Outcome {
            loss: net.evaluate(&self.train)?.loss.into(),
            accuracy: (self.accuracy)(&mut net, &self.test)?,
            ran: net.effective_precision(self.batch)?,
        })
    }
}

/// Of single labels.
fn of_labels(net: &mut Mlp, test: &Dataset) -> Result<f64, MlpError> {
    Ok(net.evaluate(test)?.accuracy.unwrap_or_default().into())
}

/// 64-128-128-10 on 8 x 8 pixels; every fifth image is left out.
pub(crate) fn digits() -> Result<Task, Box<dyn Error>> {
    let mut digits = CsvReader::labels(Column::Last).read_from(DIGITS)?;
    Scaler::uniform(digits.n_features(), 0.0, 1.0 / DARK[0]).apply(&mut digits)?;
    let fold = &digits.stratified_folds(5, 0)?[0];
    Ok(Task {
        name: "digits",
        train: digits.select(&fold.train)?,
        test: digits.select(&fold.test)?,
        network: || {
            let net = Mlp::builder(64).dense(128).relu();
            net.dense(128).relu().dense(10)
        },
        rate: 2e-3,
        batch: 128,
        epochs: 12,
        accuracy: of_labels,
    })
}

/// Three residual blocks of 64 units; every fourth point is left out.
pub(crate) fn two_spirals() -> Result<Task, Box<dyn Error>> {
    let (train, test) = spirals(800, 1.5)?.stratified_split(0.75, 0)?;
    Ok(Task {
        name: "spirals",
        train,
        test,
        network: || {
            let net = (0..3).fold(Mlp::builder(2).dense(64), |net, _| {
                net.residual(|block| block.relu().dense(64).relu().dense(64))
            });
            net.relu().dense(2)
        },
        rate: 3e-3,
        batch: 128,
        epochs: 100,
        accuracy: of_labels,
    })
}

/// 784-256-10 on the test files of MNIST: four fifths to train with, the rest to test with.
pub(crate) fn mnist(folder: &Path) -> Result<Task, Box<dyn Error>> {
    let file = |name: &str| {
        let plain = folder.join(name);
        if plain.is_file() {
            plain
        } else {
            folder.join(format!("{name}.gz"))
        }
    };
    let (images, labels) = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    let mut digits = Dataset::from_idx(file(images), file(labels))?;
    Scaler::uniform(digits.n_features(), 0.0, 1.0 / DARK[1]).apply(&mut digits)?;
    let (train, test) = digits.stratified_split(0.8, 0)?;
    Ok(Task {
        name: "mnist",
        train,
        test,
        network: || Mlp::builder(784).dense(256).relu().dense(10),
        rate: 2e-3,
        batch: 128,
        epochs: 5,
        accuracy: of_labels,
    })
}

/// A Transformer that reverses sequences; each place says for each symbol whether it belongs there.
pub(crate) fn sequences() -> Result<Task, Box<dyn Error>> {
    let mut symbols = Symbols(1);
    let mut of = |samples: usize| {
        let inputs: Vec<_> = (0..samples * STEPS).map(|_| symbols.next()).collect();
        let mut targets = vec![0.0; samples * STEPS * SYMBOLS];
        let places = targets.chunks_exact_mut(SYMBOLS);
        let reversed = inputs.chunks_exact(STEPS).flat_map(|row| row.iter().rev());
        for (place, symbol) in places.zip(reversed) {
            place[*symbol as usize] = 1.0;
        }
        Dataset::values(inputs, STEPS, targets, STEPS * SYMBOLS)
    };
    Ok(Task {
        name: "sequences",
        train: of(4096)?,
        test: of(512)?,
        network: || {
            let net = Mlp::builder(STEPS).embedding(SYMBOLS, 64);
            let net = net.transformer(4, 128).layer_norm();
            net.dense(SYMBOLS).rows(1).loss(Loss::BinaryCrossEntropy)
        },
        rate: 3e-3,
        batch: 64,
        epochs: 6,
        accuracy: of_places,
    })
}

/// The share of places whose largest output is that of the symbol that belongs there.
fn of_places(net: &mut Mlp, test: &Dataset) -> Result<f64, MlpError> {
    let inputs = test.inputs();
    let outputs = net.forward(inputs)?;
    let outputs = outputs.view();
    let mut right = 0;
    for i in 0..test.n_samples() {
        for place in 0..STEPS {
            let output = |symbol: usize| *outputs.at(i, place * SYMBOLS + symbol);
            let best = (1..SYMBOLS).fold(0, |best, symbol| {
                if output(symbol) > output(best) {
                    symbol
                } else {
                    best
                }
            });
            right += usize::from(best == *inputs.at(i, STEPS - 1 - place) as usize);
        }
    }
    Ok(right as f64 / (test.n_samples() * STEPS) as f64)
}

/// A stream of random symbols (SplitMix64; Steele, Lea and Flood, 2014).
struct Symbols(u64);

impl Symbols {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % SYMBOLS as u64) as f32
    }
}
