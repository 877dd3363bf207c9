//! A Transformer learns to reverse sequences of 8 out of 10 symbols.
//!
//! ```text
//! cargo run --release --example reverse
//! ```
//!
//! Each symbol becomes a row, two blocks of attention let every row look at every other, and each row
//! gives 10 logits for the symbol at its place. The loss is one of the caller's own: the mean
//! cross-entropy of the 8 places of each sequence. So this is also how a loop of one's own looks.

#[path = "common/exit.rs"]
mod exit;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use mlp::{Adam, Loss, MatRef, Matrix, Mlp, Schedule, Team, TransformerBlock, with_team};

/// Symbols of a sequence.
const STEPS: usize = 8;

/// How many symbols there are.
const SYMBOLS: usize = 10;

/// Sequences of a step.
const BATCH: usize = 64;

/// Share of the values that dropout drops in training.
const DROPOUT: f32 = 0.1;

const TRAINING_STEPS: u64 = 600;

/// Sequences to test with. Of the 10^8 that there are, training sees fewer than 40,000.
const UNSEEN: usize = 1000;

/// Trains a Transformer to reverse sequences of symbols.
#[derive(Parser)]
struct Options {
    /// Decides the first weights and the masks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The most threads to use; 0 for all
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::main(|| run(&options))
}

/// Trains, and gives the share of unseen sequences that come out right in all places.
fn run(options: &Options) -> Result<f64, Box<dyn Error>> {
    let mut net = Mlp::builder(STEPS)
        .embedding(SYMBOLS, 32)
        .transformer_block(TransformerBlock::new(4, 64).dropout(DROPOUT))
        .transformer_block(TransformerBlock::new(4, 64).dropout(DROPOUT))
        .layer_norm()
        .dense(SYMBOLS)
        .rows(1)
        // The outputs are taken as they are.
        .loss(Loss::MeanSquaredError)
        .seed(options.seed)
        .build()?;
    let clock = Instant::now();
    with_team(options.threads, |team| train(&mut net, team))?;
    println!("training: {:.1} s", clock.elapsed().as_secs_f64());

    let mut unseen = Sequences(u64::MAX / 3);
    let sequences = unseen.next(UNSEEN);
    let outputs = net.forward(MatRef::from_row_major(&sequences, UNSEEN, STEPS)?)?;
    let right = sequences
        .chunks_exact(STEPS)
        .enumerate()
        .filter(|(i, sequence)| answer(outputs.view(), *i).eq(sequence.iter().rev().copied()))
        .count();
    let share = right as f64 / UNSEEN as f64;
    println!("reversed without a mistake: {:.1} %", 100.0 * share);
    Ok(share)
}

fn train(net: &mut Mlp, team: &Team) -> Result<(), Box<dyn Error>> {
    let mut sequences = Sequences(1);
    let mut gradient = Matrix::zeros(BATCH, STEPS * SYMBOLS);
    let mut trainer = net
        .trainer(Adam::new(3e-3))?
        .schedule(Schedule::cosine(TRAINING_STEPS, 0.01).per_step())?;
    for step in 1..=TRAINING_STEPS {
        let batch = sequences.next(BATCH);
        let x = MatRef::from_row_major(&batch, BATCH, STEPS)?;
        let outputs = trainer.forward(x, team)?;
        let loss = cross_entropy(outputs, &batch, &mut gradient);
        trainer.backward(x, gradient.view(), team)?;
        trainer.update(team)?;
        if step % 50 == 0 {
            println!("step {step:5}  loss {loss:.4}");
        }
    }
    Ok(())
}

/// The mean over all places of `-ln softmax(logits)` of the symbol that belongs there, and its
/// gradient.
fn cross_entropy(outputs: MatRef<'_>, batch: &[f32], gradient: &mut Matrix) -> f64 {
    let mut loss = 0.0;
    let scale = 1.0 / batch.len() as f32;
    let mut to = gradient.view_mut();
    for i in 0..outputs.rows() {
        for place in 0..STEPS {
            let label = batch[i * STEPS + STEPS - 1 - place] as usize;
            let logits: [f32; SYMBOLS] =
                std::array::from_fn(|symbol| *outputs.at(i, place * SYMBOLS + symbol));
            let max = logits.iter().copied().fold(f32::MIN, f32::max);
            let e = logits.map(|x| (x - max).exp());
            let sum: f32 = e.iter().sum();
            loss += f64::from(sum.ln() + max - logits[label]);
            for (symbol, e) in e.iter().enumerate() {
                let target = f32::from(u8::from(symbol == label));
                *to.at_mut(i, place * SYMBOLS + symbol) = scale * (e / sum - target);
            }
        }
    }
    loss / batch.len() as f64
}

/// The symbol with the largest logit at each place of sequence `i`.
fn answer(outputs: MatRef<'_>, i: usize) -> impl Iterator<Item = f32> {
    (0..STEPS).map(move |place| {
        let logit = |symbol: usize| *outputs.at(i, place * SYMBOLS + symbol);
        let best = (1..SYMBOLS).fold(0, |best, symbol| {
            if logit(symbol) > logit(best) {
                symbol
            } else {
                best
            }
        });
        best as f32
    })
}

/// A stream of random sequences (SplitMix64; Steele, Lea and Flood, 2014).
struct Sequences(u64);

impl Sequences {
    fn next(&mut self, n: usize) -> Vec<f32> {
        let symbol = |_| {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % SYMBOLS as u64) as f32
        };
        (0..n * STEPS).map(symbol).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_transformer_reverses_990_of_1000_unseen_sequences() {
        let share = run(&Options::parse_from(["reverse"])).unwrap();
        assert!(share >= 0.99, "{share}");
    }
}
