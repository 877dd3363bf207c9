//! What the precision of products does to a training: handwritten digits, several seeds, each precision.
//!
//! ```text
//! cargo run --release --example precisions
//! ```
//!
//! Every fifth image is left out; the lines are the loss of the last epoch and the accuracy on what was left
//! out, seed by seed, with their means, and what really ran. Without a matrix unit all precisions are the same
//! bits; `KERNELS_TILES=model` computes with a model of one, slowly.

#[path = "common/exit.rs"]
mod exit;

use std::error::Error;
use std::num::NonZeroU64;
use std::process::ExitCode;

use clap::Parser;
use mlp::{Adam, Column, CsvReader, Dataset, Mlp, MlpError, Precision, Scaler, TrainConfig};

/// The images and their labels.
const DIGITS: &[u8] = include_bytes!("digits/digits.csv.gz");

/// Value of a pixel that is all dark.
const DARK: f32 = 16.0;

const EPOCHS: usize = 12;
const BATCH: usize = 128;

/// Trains on handwritten digits with products of each precision.
#[derive(Parser)]
struct Options {
    /// Trainings of each precision, each from first weights of its own
    #[arg(long, default_value = "5")]
    seeds: NonZeroU64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut digits = CsvReader::labels(Column::Last).read_from(DIGITS)?;
    Scaler::uniform(digits.n_features(), 0.0, 1.0 / DARK).apply(&mut digits)?;
    let fold = &digits.stratified_folds(5, 0)?[0];
    let (train, test) = (digits.select(&fold.train)?, digits.select(&fold.test)?);
    for precision in Precision::ALL.into_iter().rev() {
        let mut losses = Vec::new();
        let mut accuracies = Vec::new();
        let mut ran = precision;
        for seed in 1..=options.seeds.get() {
            let outcome = train_once(precision, seed, &train, &test)?;
            losses.push(outcome.loss);
            accuracies.push(100.0 * outcome.accuracy);
            ran = outcome.ran;
        }
        println!("{precision:8} ran {ran:8} loss {}", listed(&losses, 4));
        println!("{:21} accuracy {}", "", listed(&accuracies, 2));
    }
    Ok(())
}

/// What came of a training.
struct Outcome {
    loss: f64,
    accuracy: f64,
    ran: Precision,
}

fn train_once(
    precision: Precision,
    seed: u64,
    train: &Dataset,
    test: &Dataset,
) -> Result<Outcome, MlpError> {
    let net = Mlp::builder(train.n_features()).dense(128).relu();
    let net = net.dense(128).relu().dense(10);
    let mut net = net.seed(seed).precision(precision).build()?;
    let config = TrainConfig::default()
        .optimizer(Adam::new(2e-3))
        .batch_size(BATCH)
        .max_epochs(EPOCHS);
    net.fit(train, &config)?;
    let accuracy = net.evaluate(test)?.accuracy.unwrap_or(0.0);
    Ok(Outcome {
        loss: net.evaluate(train)?.loss.into(),
        accuracy: accuracy.into(),
        ran: net.effective_precision(BATCH)?,
    })
}

/// Numbers and their mean.
fn listed(numbers: &[f64], digits: usize) -> String {
    let all: Vec<_> = numbers.iter().map(|x| format!("{x:.digits$}")).collect();
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    format!("{}, mean {mean:.digits$}", all.join(" "))
}
