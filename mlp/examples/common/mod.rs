//! What the examples share: one training with its progress, the figures it ends with, a chart.

mod chart;
mod confusion;
mod exit;
mod progress;
mod training;

use std::error::Error;
use std::path::Path;

pub(crate) use exit::main;
pub(crate) use training::{Outcome, Training};

use chart::Chart;
use confusion::Confusion;

/// Makes the file of the chart: the one the user named, or `name` beside the program, in the build
/// directory, which is never part of the sources.
pub(crate) fn chart(named: Option<&Path>, name: &str) -> Result<Chart, Box<dyn Error>> {
    let program = std::env::current_exe().ok();
    let folder = program.as_deref().and_then(Path::parent);
    let beside = || {
        folder
            .map_or_else(std::env::temp_dir, Path::to_path_buf)
            .join(name)
    };
    Chart::create(named.map_or_else(beside, Path::to_path_buf))
}

/// Draws the loss curves, and prints what came of the trainings; the last line is the mean accuracy.
pub(crate) fn summarise(outcomes: &[Outcome], mut chart: Chart) -> Result<(), Box<dyn Error>> {
    chart.draw_losses(outcomes)?;
    let mean = |figure: fn(&Outcome) -> f64| {
        outcomes.iter().map(figure).sum::<f64>() / outcomes.len() as f64
    };
    let confusion: Confusion = outcomes.iter().flat_map(Outcome::answers).collect();
    println!("\nconfusion matrix (row: digit, column: answer)\n{confusion}");
    if outcomes.len() > 1 {
        for (outcome, number) in outcomes.iter().zip(1..) {
            println!("training {number}: {:.2} %", 100.0 * outcome.accuracy());
        }
        println!("means of {} trainings:", outcomes.len());
    }
    println!("instruction set: {}", outcomes[0].isa);
    println!("training: {:.2} s", mean(|outcome| outcome.seconds));
    println!(
        "throughput: {:.0} samples/s",
        mean(|outcome| outcome.samples_per_second)
    );
    println!("loss curve: {}", chart.path().display());
    println!("test loss: {:.4}", mean(|outcome| outcome.test_loss));
    println!("test accuracy: {:.2} %", 100.0 * mean(Outcome::accuracy));
    Ok(())
}
