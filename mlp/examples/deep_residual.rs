//! Fifty layers with and without skip connections, on two spirals.
//!
//! ```text
//! cargo run --release --example deep_residual
//! ```
//!
//! Behind a sigmoid the error signal of each layer is that of the next times a slope of at most 1/4,
//! so in a deep network that is a chain it vanishes on its way down, and the first layers learn
//! nothing. Behind tanh, with weights drawn for it, it arrives, but a chain of fifty is hard to train
//! all the same. With `h_l = act(W h_(l-1) + b) + h_(l-2)` signals have a way around. Printed are the
//! norms of the first gradients, layer by layer, and the losses of the networks with tanh while they
//! are trained alike.

#[path = "common/exit.rs"]
mod exit;
#[path = "common/spirals.rs"]
mod spirals;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mlp::{Activation, Adam, Clip, Dataset, Mlp, MlpError, Team, TrainConfig};
use spirals::spirals;

const HIDDEN: usize = 50;
const WIDTH: usize = 16;
const POINTS: usize = 400;
const EPOCHS: usize = 40;
const RATE: f32 = 1e-3;

/// Shows what skip connections do for the gradients and the training of fifty layers.
#[derive(Parser)]
struct Options {
    /// Decides the first weights and the order of the samples
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

/// What is printed.
struct Outcome {
    /// Norms of the first gradients of each weight, from the input on: sigmoid in a chain, sigmoid
    /// with skip connections, tanh in a chain, tanh with skip connections.
    norms: [Vec<f64>; 4],
    /// Training loss of each epoch: tanh in a chain, tanh with skip connections.
    losses: [Vec<f32>; 2],
}

fn run(options: &Options) -> Result<Outcome, Box<dyn Error>> {
    let data = spirals(POINTS, 1.5)?;
    let build = |activation, with_skips| build(activation, with_skips, options.seed);
    let norms = |activation, with_skips| gradient_norms(&mut build(activation, with_skips)?, &data);
    let losses = |with_skips| training_losses(build(Activation::Tanh, with_skips)?, &data);
    let outcome = Outcome {
        norms: [
            norms(Activation::Sigmoid, false)?,
            norms(Activation::Sigmoid, true)?,
            norms(Activation::Tanh, false)?,
            norms(Activation::Tanh, true)?,
        ],
        losses: [losses(false)?, losses(true)?],
    };

    println!("first gradient   sigmoid   + skips      tanh   + skips");
    for layer in 0..=HIDDEN {
        let [a, b, c, d] = outcome.norms.each_ref().map(|norms| norms[layer]);
        println!("layer {layer:2}       {a:9.1e} {b:9.1e} {c:9.1e} {d:9.1e}");
    }
    println!("training loss                           tanh   + skips");
    for epoch in 0..EPOCHS {
        let [c, d] = outcome.losses.each_ref().map(|losses| losses[epoch]);
        println!(
            "epoch {:2}                           {c:9.4} {d:9.4}",
            epoch + 1
        );
    }
    Ok(outcome)
}

fn build(activation: Activation, with_skips: bool, seed: u64) -> Result<Mlp, MlpError> {
    let mut net = Mlp::builder(2).dense(WIDTH).activation(activation);
    for layer in 1..HIDDEN {
        net = net.dense(WIDTH).activation(activation);
        // The first layer that has one of its own width two layers down is the third.
        if with_skips && layer >= 2 {
            net = net.skip(2);
        }
    }
    net.dense(2).seed(seed).build()
}

fn training_losses(mut net: Mlp, data: &Dataset) -> Result<Vec<f32>, MlpError> {
    let config = TrainConfig::default()
        .optimizer(Adam::new(RATE))
        .clip(Clip::norm(1.0))
        .batch_size(40)
        .max_epochs(EPOCHS);
    let report = net.fit(data, &config)?;
    Ok(report.history.iter().map(|epoch| epoch.loss).collect())
}

fn gradient_norms(net: &mut Mlp, data: &Dataset) -> Result<Vec<f64>, MlpError> {
    let sizes: Vec<(usize, usize)> = (0..net.dense_layers())
        .filter_map(|layer| Some((net.weights(layer)?, net.bias(layer)?)))
        .map(|(weight, bias)| (weight.rows() * weight.cols(), bias.len()))
        .collect();
    let mut trainer = net.trainer(Adam::new(RATE))?;
    trainer.gradients_of(data.inputs(), data.targets(), &Team::solo())?;
    let mut rest = trainer.gradients().unwrap_or_default();
    let mut norms = Vec::new();
    for (weight, bias) in sizes {
        let (gradient, others) = rest.split_at(weight);
        let squares = gradient.iter().map(|g| f64::from(*g).powi(2));
        norms.push(squares.sum::<f64>().sqrt());
        rest = &others[bias..];
    }
    Ok(norms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_gradients_vanish_in_a_chain_and_not_beside_skips() {
        let outcome = run(&Options::parse_from(["deep_residual"])).unwrap();
        let [sigmoid, with_skips, ..] = &outcome.norms;
        assert!(sigmoid[0] < 1e-20 * sigmoid[HIDDEN]);
        assert!(with_skips[0] > 1e-5 * with_skips[HIDDEN]);
        let [chain, with_skips] = outcome.losses.each_ref().map(|losses| losses[EPOCHS - 1]);
        assert!(chain > 0.5, "{chain}");
        assert!(with_skips < 0.05, "{with_skips}");
    }
}
