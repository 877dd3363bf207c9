//! Handwritten digits with normalised and with densely connected layers, in cross-validation.
//!
//! ```text
//! cargo run --release --example digits_blocks
//! ```
//!
//! The first network normalises what comes out of its hidden layers over the batch. The second puts the
//! outputs of each hidden layer beside its inputs, so that every layer reads all before it. In both the
//! last layer reads its inputs with dropout, and the learning rate falls along a cosine, step by step.
//! Dropout stands behind the last norm: before one it would make the variance that training collects
//! larger than that of predictions. Each fifth of the 1797 images is left out once; the last lines are
//! the mean accuracies on what was left out.

#[path = "common/exit.rs"]
mod exit;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mlp::{
    AdamW, Column, CsvReader, Dataset, Mlp, MlpBuilder, MlpError, Scaler, Schedule, TrainConfig,
};

/// The images and their labels.
const DIGITS: &[u8] = include_bytes!("digits/digits.csv.gz");

/// Value of a pixel that is all dark.
const DARK: f32 = 16.0;

const FOLDS: usize = 5;
const EPOCHS: usize = 40;

/// Cross-validates a normalised and a densely connected network on handwritten digits.
#[derive(Parser)]
struct Options {
    /// Decides the parts of the data, the first weights, the masks and the order of the samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let digits = digits()?;
    let normalised = cross_validate(&digits, normalised, options.seed)?;
    println!("batch normalisation: {:.2} %", 100.0 * normalised);
    let dense = cross_validate(&digits, densely_connected, options.seed)?;
    println!("dense connections: {:.2} %", 100.0 * dense);
    Ok(())
}

fn digits() -> Result<Dataset, Box<dyn Error>> {
    let mut digits = CsvReader::labels(Column::Last).read_from(DIGITS)?;
    Scaler::uniform(digits.n_features(), 0.0, 1.0 / DARK).apply(&mut digits)?;
    Ok(digits)
}

/// Two hidden layers, normalised before their activations.
fn normalised(pixels: usize) -> MlpBuilder {
    let net = Mlp::builder(pixels).dense(512).batch_norm().relu();
    net.dense(256).batch_norm().relu().dropout(0.3).dense(10)
}

/// Four layers that each add 48 columns to all that is there.
fn densely_connected(pixels: usize) -> MlpBuilder {
    let net = Mlp::builder(pixels).dense(96).batch_norm().relu();
    let grown = (0..4).fold(net, |net, _| {
        net.concat(|block| block.dense(48).batch_norm().relu())
    });
    grown.dropout(0.2).dense(10)
}

/// Mean accuracy on each fifth of the data, after training on the others.
fn cross_validate(
    digits: &Dataset,
    net: fn(usize) -> MlpBuilder,
    seed: u64,
) -> Result<f64, MlpError> {
    const BATCH: usize = 64;
    let mut sum = 0.0;
    for (fold, number) in digits.stratified_folds(FOLDS, seed)?.iter().zip(1..) {
        let (train, test) = (digits.select(&fold.train)?, digits.select(&fold.test)?);
        let mut net = net(digits.n_features()).seed(seed + number).build()?;
        let steps = EPOCHS * train.n_samples().div_ceil(BATCH);
        let config = TrainConfig::default()
            .optimizer(AdamW::new(2e-3).weight_decay(0.05))
            .schedule(Schedule::cosine(steps as u64, 0.0).per_step())
            .batch_size(BATCH)
            .max_epochs(EPOCHS);
        net.fit(&train, &config)?;
        let accuracy = net.evaluate(&test)?.accuracy.unwrap_or_default();
        println!("  fold {number}: {:.2} %", 100.0 * accuracy);
        sum += f64::from(accuracy);
    }
    Ok(sum / FOLDS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_batch_norm_finds_985_of_1000_digits() {
        let accuracy = cross_validate(&digits().unwrap(), normalised, 0).unwrap();
        assert!(accuracy >= 0.985, "{accuracy}");
    }

    #[test]
    fn worked_dense_connections_find_98_of_100_digits() {
        let accuracy = cross_validate(&digits().unwrap(), densely_connected, 0).unwrap();
        assert!(accuracy >= 0.98, "{accuracy}");
    }
}
