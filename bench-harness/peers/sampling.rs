//! The worker's side of `bench-harness sample`, for peers written in Rust; see `sampling.py`.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

const SAMPLE: Duration = Duration::from_millis(1);

/// So slow that thousands of steps on one batch keep all numbers in their usual range.
pub const LEARNING_RATE: f64 = 1e-4;

/// The case that the arguments ask for.
pub struct Case {
    pub suite: String,
    pub layers: Vec<usize>,
    pub batch: usize,
    pub is_tanh: bool,
    pub is_adam: bool,
}

impl Case {
    /// Reads `SUITE --layers A,B --batch B --activation NAME --optimizer NAME --threads T`; how many
    /// threads there are is up to the environment (`RAYON_NUM_THREADS`).
    pub fn from_args() -> Result<Self, String> {
        let mut args = std::env::args().skip(1);
        let mut case = Self {
            suite: args.next().ok_or("expected a suite")?,
            layers: Vec::new(),
            batch: 128,
            is_tanh: false,
            is_adam: true,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name}: expected a value"))?;
            let number = |text: &str| {
                let number: Result<usize, _> = text.parse();
                number.map_err(|_| format!("{name}: expected a number, got {text}"))
            };
            match name.as_str() {
                "--layers" => case.layers = value.split(',').map(number).collect::<Result<_, _>>()?,
                "--batch" => case.batch = number(&value)?,
                "--activation" => case.is_tanh = value == "tanh",
                "--optimizer" => case.is_adam = value == "adam",
                "--threads" => {}
                _ => return Err(format!("expected a known argument, got {name}")),
            }
        }
        match case.layers.len() {
            0 | 1 => Err("--layers: expected two widths or more".to_owned()),
            _ => Ok(case),
        }
    }

    pub fn inputs(&self) -> usize {
        self.layers[0]
    }

    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1]
    }

    /// Samples in `-1..1`, row by row.
    pub fn samples(&self) -> Vec<f32> {
        let mut state = 88_172_645_463_325_252_u64;
        (0..self.batch * self.inputs())
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32
            })
            .collect()
    }

    /// Labels in turn.
    pub fn labels(&self) -> impl Iterator<Item = usize> {
        (0..self.batch).map(|row| row % self.outputs())
    }
}

/// A fast step that does not train is no peer.
pub fn check_learning(first: f32, last: f32) -> Result<(), String> {
    if last < first {
        return Ok(());
    }
    Err(format!("expected a loss below {first} after the first steps, got {last}"))
}

/// Takes samples of `call` until stdin ends. A call returns when its work is done.
pub fn serve(mut call: impl FnMut()) -> std::io::Result<()> {
    let mut sample = |calls: usize| {
        let started = Instant::now();
        for _ in 0..calls {
            call();
        }
        started.elapsed()
    };
    // The first call makes ready what the others find.
    sample(1);
    let mut calls = 1;
    loop {
        let elapsed = sample(calls);
        if elapsed >= SAMPLE {
            break;
        }
        let factor = 1.2 * SAMPLE.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        calls = (calls as f64 * factor.clamp(2.0, 1e3)) as usize;
    }
    let mut answers = std::io::stdout().lock();
    writeln!(answers, "{calls}")?;
    answers.flush()?;
    for line in std::io::stdin().lock().lines() {
        let calls = line?.trim().parse().map_err(std::io::Error::other)?;
        if calls > 1 {
            // While the others ran, this one's memory left the caches.
            sample(1);
        }
        writeln!(answers, "{}", sample(calls).as_nanos())?;
        answers.flush()?;
    }
    Ok(())
}
