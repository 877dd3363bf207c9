//! Trains 784-256-10 on MNIST, or on any data set published in the same four files.
//!
//! ```text
//! cargo run --release --example mnist -- --data DIR
//! ```
//!
//! DIR holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the two `t10k-` files, gzipped
//! or not. With the `t10k-` files alone, the seed divides their samples: four fifths to train with,
//! the rest to test with.
//!
//! Batches of 128, Adam with a learning rate of 0.002 from the first step to the last, pixels with
//! mean 0 and variance 1. Rate and scale were chosen with the seeds 5 to 9 on the `t10k-` files alone.

mod common;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use common::Training;
use mlp::{Dataset, Scaler};

/// Mean of the pixels of MNIST's training images, which are 0 to 255.
const PIXEL_MEAN: f32 = 0.1307 * 255.0;

/// Their standard deviation.
const PIXEL_DEVIATION: f32 = 0.3081 * 255.0;

/// Share of the samples to train with, if there are test files alone.
const TRAIN_SHARE: f64 = 0.8;

/// Trains a classifier of handwritten digits on the files of MNIST.
#[derive(Parser)]
struct Options {
    /// Folder with the IDX files
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Decides the split, the first weights and the order of the samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of trainings, each with the next seed; the accuracy is their mean
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
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
    let chart = common::chart(options.out.as_deref(), "mnist-loss.svg")?;
    let training = Training {
        hidden: 256,
        learning_rate: 0.002,
        batch_size: 128,
        epochs: 10,
        threads: options.threads,
    };
    let tested = read(&options.data, "t10k")?
        .ok_or_else(|| format!("{}: no t10k- files there", options.data.display()))?;
    let trained = read(&options.data, "train")?;
    let mut outcomes = Vec::new();
    for seed in (0..options.runs).map(|run| options.seed.wrapping_add(run)) {
        let title = format!("seed {seed}");
        outcomes.push(match &trained {
            Some(trained) => training.run(&title, trained, &tested, seed)?,
            None => {
                let (train, test) = tested.split(TRAIN_SHARE, seed)?;
                training.run(&title, &train, &test, seed)?
            }
        });
    }
    common::summarise(&outcomes, chart)
}

/// Reads a pair of files; `None` if neither is there.
fn read(folder: &Path, part: &str) -> Result<Option<Dataset>, Box<dyn Error>> {
    let images = find(folder, &format!("{part}-images-idx3-ubyte"));
    let labels = find(folder, &format!("{part}-labels-idx1-ubyte"));
    let (images, labels) = match (images, labels) {
        (Some(images), Some(labels)) => (images, labels),
        (None, None) => return Ok(None),
        (images, _) => {
            let missing = if images.is_none() { "images" } else { "labels" };
            return Err(format!("{}: the {part} {missing} are missing", folder.display()).into());
        }
    };
    let mut set = Dataset::from_idx(images, labels)?;
    let scaler = Scaler::uniform(set.n_features(), PIXEL_MEAN, 1.0 / PIXEL_DEVIATION);
    scaler.apply(&mut set)?;
    Ok(Some(set))
}

/// The file of that name, plain or gzipped.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    candidates.into_iter().find(|path| path.is_file())
}
