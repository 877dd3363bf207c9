//! Exclusive or, which no network without a hidden layer can learn.
//!
//! ```text
//! cargo run --release --example xor
//! ```
//!
//! Four samples, four hidden units, one output: the smallest thing that shows a network at work. A line
//! through the plane has the right answer for three of the four at most; the hidden layer bends it.

#[path = "common/exit.rs"]
mod exit;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mlp::{Adam, Dataset, Loss, Mlp, TrainConfig};

const SAMPLES: [[f32; 2]; 4] = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
const ANSWERS: [u32; 4] = [0, 1, 1, 0];

/// Learns exclusive or.
#[derive(Parser)]
struct Options {
    /// Decides the first weights
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What came of one network.
struct Outcome {
    /// How likely it holds a 1, for each sample.
    probabilities: Vec<f32>,
    answers: Vec<u32>,
}

impl Outcome {
    fn right(&self) -> usize {
        let pairs = self.answers.iter().zip(ANSWERS);
        pairs
            .filter(|(answer, expected)| *answer == expected)
            .count()
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

/// Without a hidden layer, and with one.
fn run(options: &Options) -> Result<[Outcome; 2], Box<dyn Error>> {
    let samples = Dataset::classes(SAMPLES.concat(), 2, ANSWERS.to_vec())?;
    let train = |hidden: bool| -> Result<Outcome, Box<dyn Error>> {
        let mut net = Mlp::builder(2);
        if hidden {
            net = net.dense(4).tanh();
        }
        let net = net.dense(1).loss(Loss::BinaryCrossEntropy);
        let mut net = net.seed(options.seed).build()?;
        let config = TrainConfig::default()
            .optimizer(Adam::new(0.05))
            .batch_size(4)
            .max_epochs(500);
        net.fit(&samples, &config)?;
        Ok(Outcome {
            probabilities: net.predict_proba(samples.inputs())?.as_slice().to_vec(),
            answers: net.predict(samples.inputs())?,
        })
    };
    let outcomes = [train(false)?, train(true)?];

    println!("a  b  a xor b   no hidden layer   four hidden units");
    for (i, [a, b]) in SAMPLES.into_iter().enumerate() {
        let [line, bent] = outcomes.each_ref().map(|o| o.probabilities[i]);
        println!(
            "{a}  {b}     {}          {line:.4}            {bent:.4}",
            ANSWERS[i]
        );
    }
    let [line, bent] = outcomes.each_ref().map(Outcome::right);
    println!("right: {line} of 4 without a hidden layer, {bent} of 4 with one");
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_xor_is_exact_with_a_hidden_layer_only() {
        let [line, bent] = run(&Options::parse_from(["xor"])).unwrap();
        assert!(line.right() < 4);
        assert_eq!(bent.answers, ANSWERS);
        for (p, answer) in bent.probabilities.iter().zip(ANSWERS) {
            assert!((p - answer as f32).abs() < 0.01, "{p} for {answer}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(Options::try_parse_from(["xor", "--seed", "one"]).is_err());
        assert!(Options::try_parse_from(["xor", "more"]).is_err());
    }
}
