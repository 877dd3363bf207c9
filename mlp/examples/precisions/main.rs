//! What the precision of products does to trainings: four tasks, several seeds, each precision.
//!
//! ```text
//! cargo run --release --example precisions -- --data DIR
//! ```
//!
//! Handwritten digits, two spirals, sequences that a Transformer reverses, and where `--data` names a folder
//! with the `t10k-` files of MNIST, those. A line has the loss on the samples of the training and the
//! accuracy on others, as means over the seeds, and how far both are from those of `ieee`: the mean of the
//! differences seed by seed, with its standard error. `ran` is what the products of a batch were computed
//! with at least. Without a unit for bf16 numbers all precisions are the same bits; `KERNELS_TILES=model`
//! computes with a model of one, slowly.

#[path = "../common/exit.rs"]
mod exit;
#[path = "../common/spirals.rs"]
mod spirals;
mod tasks;

use std::error::Error;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mlp::{MlpError, Precision};
use tasks::{Task, digits, mnist, sequences, two_spirals};

/// Trains small networks with products of each precision.
#[derive(Parser)]
struct Options {
    /// Trainings of each task at each precision, each from first weights of its own
    #[arg(long, default_value = "5")]
    seeds: NonZeroU64,
    /// Folder with the test files of MNIST, gzipped or not
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

/// What came of each task at each precision, `ieee` first.
fn run(options: &Options) -> Result<Vec<[Column; 4]>, Box<dyn Error>> {
    let mut tasks = vec![digits()?, two_spirals()?, sequences()?];
    if let Some(folder) = &options.data {
        tasks.push(mnist(folder)?);
    }
    println!(
        "{:10} {:8} {:8} {:>9} {:>20} {:>9} {:>18}",
        "task", "asked", "ran", "loss", "from ieee", "accuracy", "from ieee"
    );
    let mut table = Vec::new();
    for task in &tasks {
        let mut columns = Vec::new();
        for precision in Precision::ALL.into_iter().rev() {
            let column = Column::of(task, precision, options.seeds.get())?;
            let ieee = columns.first().unwrap_or(&column);
            print(task, &column, ieee);
            columns.push(column);
        }
        table.extend(<[Column; 4]>::try_from(columns));
    }
    Ok(table)
}

/// The trainings of a task at one precision, seed by seed.
#[derive(Debug)]
struct Column {
    asked: Precision,
    ran: Precision,
    losses: Vec<f64>,
    /// In percent.
    accuracies: Vec<f64>,
}

impl Column {
    fn of(task: &Task, precision: Precision, seeds: u64) -> Result<Self, MlpError> {
        let mut column = Self {
            asked: precision,
            ran: precision,
            losses: Vec::new(),
            accuracies: Vec::new(),
        };
        for seed in 1..=seeds {
            let outcome = task.train(seed, precision)?;
            column.ran = outcome.ran;
            column.losses.push(outcome.loss);
            column.accuracies.push(100.0 * outcome.accuracy);
        }
        Ok(column)
    }
}

fn print(task: &Task, column: &Column, ieee: &Column) {
    println!(
        "{:10} {:8} {:8} {:9.5} {:>20} {:9.2} {:>18}",
        task.name,
        column.asked,
        column.ran,
        mean(&column.losses),
        shown(difference(&column.losses, &ieee.losses), 5),
        mean(&column.accuracies),
        shown(difference(&column.accuracies, &ieee.accuracies), 2),
    );
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The mean of `x - y`, and its standard error, if there is more than one pair.
fn difference(x: &[f64], y: &[f64]) -> (f64, Option<f64>) {
    let differences: Vec<_> = x.iter().zip(y).map(|(x, y)| x - y).collect();
    let (n, mean) = (differences.len() as f64, mean(&differences));
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    let error = (n > 1.0).then(|| (squares / ((n - 1.0) * n)).sqrt());
    (mean, error)
}

fn shown((mean, error): (f64, Option<f64>), digits: usize) -> String {
    match error {
        Some(error) => format!("{mean:+.digits$} +- {error:.digits$}"),
        None => format!("{mean:+.digits$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_taken_pair_by_pair() {
        let (mean, error) = difference(&[1.0, 2.0, 6.0], &[0.0, 3.0, 3.0]);
        assert_eq!(mean, 1.0);
        // The differences 1, -1, 3 have the variance 4.
        let error = error.expect("three pairs");
        assert!((error - (4.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{error}");
        assert_eq!(difference(&[1.0], &[0.5]), (0.5, None));
    }

    #[test]
    fn worked_tasks_are_learned_at_every_precision() {
        let table = run(&Options::parse_from(["precisions", "--seeds", "1"])).unwrap();
        assert_eq!(table.len(), 3);
        for columns in table {
            for column in columns {
                assert!(column.accuracies[0] > 90.0, "{column:?}");
            }
        }
    }
}
