//! Trains a classifier of handwritten digits in about a second.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --folds 5
//! ```
//!
//! 1797 images of 8 x 8 pixels are part of the program (see ATTRIBUTION.md). A quarter of them,
//! chosen by the seed with all digits in proportion, is left out to test with; `--folds` leaves each
//! part of the data out once instead.

#[path = "../common/mod.rs"]
mod common;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::{Outcome, Training};
use mlp::{Column, CsvReader, DataError, Dataset, Scaler};

/// The images and their labels.
const DIGITS: &[u8] = include_bytes!("digits.csv.gz");

/// Value of a pixel that is all dark.
const DARK: f32 = 16.0;

/// Share of the samples to train with.
const TRAIN_SHARE: f64 = 0.75;

/// Trains a classifier of handwritten digits, and says how well it does on images it has not seen.
#[derive(Parser)]
struct Options {
    /// Cross-validation: divide the data into this many parts, leave each out once
    #[arg(long, value_name = "K")]
    folds: Option<usize>,
    /// Decides the parts of the data, the first weights and the order of the samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The most threads to use; 0 for all
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// File for the loss curve, an SVG; beside the program if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    common::main(|| run(&options))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let chart = common::chart(options.out.as_deref(), "digits-loss.svg")?;
    common::summarise(&train(options)?, chart)
}

/// One training for each part of the data.
fn train(options: &Options) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let mut digits = CsvReader::labels(Column::Last).read_from(DIGITS)?;
    Scaler::uniform(digits.n_features(), 0.0, 1.0 / DARK).apply(&mut digits)?;
    let training = Training {
        hidden: 256,
        learning_rate: 0.002,
        batch_size: 64,
        epochs: 40,
        threads: options.threads,
    };
    parts(&digits, options)?
        .iter()
        .map(|part| training.run(&part.title, &part.train, &part.test, options.seed))
        .collect()
}

/// Samples to train with, and samples to test with.
struct Part {
    title: String,
    train: Dataset,
    test: Dataset,
}

/// Divides the digits as the options say.
fn parts(digits: &Dataset, options: &Options) -> Result<Vec<Part>, DataError> {
    let Some(k) = options.folds else {
        let (train, test) = digits.stratified_split(TRAIN_SHARE, options.seed)?;
        let title = "digits".to_owned();
        return Ok(vec![Part { title, train, test }]);
    };
    let folds = digits.stratified_folds(k, options.seed)?;
    let parts = folds.iter().zip(1..).map(|(fold, number)| {
        Ok(Part {
            title: format!("fold {number}/{k}"),
            train: digits.select(&fold.train)?,
            test: digits.select(&fold.test)?,
        })
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_cross_validation_finds_975_of_1000_digits() {
        let options = Options::parse_from(["digits", "--folds", "5"]);
        let outcomes = train(&options).unwrap();
        let mean = outcomes.iter().map(Outcome::accuracy).sum::<f64>() / outcomes.len() as f64;
        assert!(mean >= 0.975, "{mean}");
    }

    #[test]
    fn every_digit_is_tested_once_in_five_folds() {
        let digits = CsvReader::labels(Column::Last).read_from(DIGITS).unwrap();
        let options = Options::parse_from(["digits", "--folds", "5"]);
        let parts = parts(&digits, &options).unwrap();
        let tested: usize = parts.iter().map(|part| part.test.n_samples()).sum();
        assert_eq!((parts.len(), tested, digits.n_samples()), (5, 1797, 1797));
        assert_eq!((digits.n_features(), digits.n_classes()), (64, Some(10)));
    }
}
