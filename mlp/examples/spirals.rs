//! Two spirals, told apart by a plain network and by one of residual blocks.
//!
//! ```text
//! cargo run --release --example spirals
//! ```
//!
//! Both have the same layers, 20 of 24 units, and are trained alike. In the second, pairs of layers make
//! blocks `y = x + W_2 relu(W_1 relu(x))`: what a block does is added to what came in, so that the whole
//! begins near to a network of one layer and deepens as it learns. Printed are the training losses of
//! both, epoch by epoch, and how many points between those of the training they put on the right arm.

#[path = "common/exit.rs"]
mod exit;
#[path = "common/spirals.rs"]
mod spirals;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mlp::{Adam, Dataset, Mlp, MlpError, Schedule, TrainConfig};
use spirals::spirals;

const BLOCKS: usize = 10;
const WIDTH: usize = 24;
const POINTS: usize = 600;
const TURNS: f32 = 2.0;
const BATCH: usize = 50;
const EPOCHS: usize = 60;

/// Trains a plain and a residual network to tell two spirals apart.
#[derive(Parser)]
struct Options {
    /// Decides the first weights and the order of the samples
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What came of one network.
struct Outcome {
    /// Training loss of each epoch.
    losses: Vec<f32>,
    /// Share of the points not trained on that it finds, 0 to 1.
    accuracy: f32,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

/// Plain, and residual.
fn run(options: &Options) -> Result<[Outcome; 2], Box<dyn Error>> {
    let points = spirals(POINTS, TURNS)?;
    let (train, test) = points.stratified_split(0.75, 0)?;
    let outcomes = [
        learn(plain(options.seed)?, &train, &test)?,
        learn(residual(options.seed)?, &train, &test)?,
    ];
    println!("training loss    plain  residual");
    for epoch in (0..EPOCHS).step_by(4).chain([EPOCHS - 1]) {
        let [plain, residual] = outcomes.each_ref().map(|outcome| outcome.losses[epoch]);
        println!("epoch {:2}       {plain:7.4}   {residual:7.4}", epoch + 1);
    }
    let [plain, residual] = outcomes.each_ref().map(|outcome| 100.0 * outcome.accuracy);
    println!("on the right arm {plain:6.1} %  {residual:6.1} % of points not trained on");
    Ok(outcomes)
}

fn plain(seed: u64) -> Result<Mlp, MlpError> {
    let net = Mlp::builder(2).dense(WIDTH).relu();
    let net = (0..2 * BLOCKS).fold(net, |net, _| net.dense(WIDTH).relu());
    net.dense(2).seed(seed).build()
}

fn residual(seed: u64) -> Result<Mlp, MlpError> {
    let net = (0..BLOCKS).fold(Mlp::builder(2).dense(WIDTH), |net, _| {
        net.residual(|block| block.relu().dense(WIDTH).relu().dense(WIDTH))
    });
    net.relu().dense(2).seed(seed).build()
}

fn learn(mut net: Mlp, train: &Dataset, test: &Dataset) -> Result<Outcome, MlpError> {
    let steps = EPOCHS * train.n_samples().div_ceil(BATCH);
    let config = TrainConfig::default()
        .optimizer(Adam::new(2e-3))
        .schedule(Schedule::cosine(steps as u64, 0.0).per_step())
        .batch_size(BATCH)
        .max_epochs(EPOCHS);
    let report = net.fit(train, &config)?;
    Ok(Outcome {
        losses: report.history.iter().map(|epoch| epoch.loss).collect(),
        accuracy: net.evaluate(test)?.accuracy.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_residual_blocks_learn_spirals_sooner() {
        let [plain, residual] = run(&Options::parse_from(["spirals"])).unwrap();
        assert!(residual.accuracy >= 0.99, "{}", residual.accuracy);
        let last = |outcome: &Outcome| outcome.losses[EPOCHS - 1];
        assert!(last(&residual) < 0.02, "{}", last(&residual));
        let middle = [&plain, &residual].map(|outcome| outcome.losses[EPOCHS / 3]);
        assert!(middle[1] < middle[0] / 2.0, "{middle:?}");
    }
}
