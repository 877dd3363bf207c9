//! Where the time of a training step goes, call by call:
//!
//! ```text
//! cargo run --release -p mlp --example explain -- --layers 784,128,10 --batch 64 --threads 2
//! ```

#[path = "common/exit.rs"]
mod exit;

use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::Parser;
use mlp::{Activation, Mlp, with_team};

/// Explains a training step of a network of dense layers.
#[derive(Debug, Parser)]
struct Args {
    /// Inputs, widths of the layers, outputs.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_value = "784,128,10")]
    layers: Vec<usize>,
    /// Rows of a batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Threads; 0: as many as there are.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// tanh between the layers, not ReLU.
    #[arg(long)]
    tanh: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    exit::main(|| run(&args))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let [inputs, hidden @ .., outputs] = args.layers.as_slice() else {
        return Err("--layers: expected at least the inputs and the outputs".into());
    };
    let activation = match args.tanh {
        true => Activation::Tanh,
        false => Activation::Relu,
    };
    let mut builder = Mlp::builder(*inputs);
    for &width in hidden {
        builder = builder.dense(width).activation(activation);
    }
    let net = builder.dense(*outputs).build()?;
    let explanation = with_team(args.threads, |team| net.explain_on(args.batch, team))?;
    // Not `print`, which panics when nobody reads any more.
    write!(stdout(), "{explanation}")?;
    Ok(())
}
