//! A surface over a square, learned from noisy samples, and how near that comes to the best possible.
//!
//! ```text
//! cargo run --release --example regression
//! ```
//!
//! Samples are `z = f(x, y) + noise` with `f = sin(3 x) cos(2 y) + x y / 2` and normal noise of a known
//! standard deviation. Nothing can predict the noise of a sample, so the root of the mean squared error
//! on new samples cannot fall below its size, and R^2 cannot rise above one minus the share of the noise
//! in the variance: f itself reaches just that. Printed are the network, f, and the mean as the simplest
//! guess, side by side.

#[path = "common/exit.rs"]
mod exit;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mlp::{Adam, Dataset, Init, Loss, Mlp, Schedule, TrainConfig};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rand_distr::{Distribution, Normal};

const TRAIN: usize = 8000;
const TEST: usize = 2000;
const BATCH: usize = 64;
const EPOCHS: usize = 40;

/// Learns a surface from noisy samples, and says how near it comes to the best possible.
#[derive(Parser)]
struct Options {
    /// Decides the samples, the first weights and the order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Standard deviation of the noise
    #[arg(long, default_value_t = 0.1)]
    noise: f32,
}

/// How well a guess does on samples that were not trained on.
struct Quality {
    /// Root of the mean squared error.
    rmse: f64,
    /// Share of the variance that is explained.
    r2: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

fn surface(x: f32, y: f32) -> f32 {
    (3.0 * x).sin() * (2.0 * y).cos() + x * y / 2.0
}

/// The network, and the surface itself.
fn run(options: &Options) -> Result<[Quality; 2], Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let noise = Normal::new(0.0, options.noise)
        .ok()
        .filter(|_| options.noise > 0.0)
        .ok_or_else(|| format!("--noise: expected a number above 0, got {}", options.noise))?;
    let mut samples = |n: usize| {
        let points: Vec<f32> = (0..2 * n).map(|_| rng.random_range(-1.5..1.5)).collect();
        let heights = points
            .chunks_exact(2)
            .map(|p| surface(p[0], p[1]) + noise.sample(&mut rng));
        let heights = heights.collect();
        Dataset::values(points, 2, heights, 1)
    };
    let (train, test) = (samples(TRAIN)?, samples(TEST)?);

    let mut net = Mlp::builder(2)
        .dense(32)
        .tanh()
        .dense(32)
        .tanh()
        .dense(1)
        .init(Init::XavierNormal)
        .loss(Loss::MeanSquaredError)
        .seed(options.seed)
        .build()?;
    let steps = EPOCHS * TRAIN.div_ceil(BATCH);
    let config = TrainConfig::default()
        .optimizer(Adam::new(5e-3))
        .schedule(Schedule::cosine(steps as u64, 0.0).per_step())
        .batch_size(BATCH)
        .max_epochs(EPOCHS);
    net.fit(&train, &config)?;

    let mlp::Targets::Values(heights) = test.targets() else {
        return Err("the samples have heights".into());
    };
    let heights: Vec<f32> = (0..TEST).map(|i| *heights.at(i, 0)).collect();
    let learned = net.forward(test.inputs())?;
    let points = test.inputs();
    let exact: Vec<f32> = (0..TEST)
        .map(|i| surface(*points.at(i, 0), *points.at(i, 1)))
        .collect();
    let mean = heights.iter().sum::<f32>() / TEST as f32;
    let network = quality(learned.as_slice(), &heights);
    let best = quality(&exact, &heights);
    let simplest = quality(&vec![mean; TEST], &heights);

    println!(
        "{TRAIN} samples to learn from, {TEST} others to test with, noise {}",
        options.noise
    );
    println!("                       RMSE       R^2");
    for (name, quality) in [
        ("mean of all", &simplest),
        ("network", &network),
        ("best possible", &best),
    ] {
        println!("{name:15}   {:9.4} {:9.4}", quality.rmse, quality.r2);
    }
    println!(
        "the network is {:.1} % above the noise",
        100.0 * (network.rmse / best.rmse - 1.0)
    );
    Ok([network, best])
}

fn quality(guesses: &[f32], heights: &[f32]) -> Quality {
    let n = heights.len() as f64;
    let mean = heights.iter().map(|&h| f64::from(h)).sum::<f64>() / n;
    let squares = |of: &dyn Fn(usize) -> f64| (0..heights.len()).map(of).sum::<f64>() / n;
    let error = squares(&|i| f64::from(guesses[i] - heights[i]).powi(2));
    let variance = squares(&|i| (f64::from(heights[i]) - mean).powi(2));
    Quality {
        rmse: error.sqrt(),
        r2: 1.0 - error / variance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_regression_comes_within_a_twentieth_of_the_noise() {
        let [network, best] = run(&Options::parse_from(["regression"])).unwrap();
        // The noise of 2000 samples is 0.1, within four standard errors.
        assert!((best.rmse - 0.1).abs() < 4.0 * 0.1 / (2.0 * TEST as f64).sqrt());
        assert!(network.rmse < 1.05 * best.rmse, "{}", network.rmse);
        assert!(
            network.r2 > best.r2 - 0.005 && best.r2 < 1.0,
            "{}",
            network.r2
        );
    }

    #[test]
    fn noise_that_is_none_is_refused() {
        let options = Options::parse_from(["regression", "--noise=-1"]);
        let error = run(&options).err().map(|e| e.to_string());
        let expected = "--noise: expected a number above 0, got -1";
        assert_eq!(error.as_deref(), Some(expected));
    }
}
