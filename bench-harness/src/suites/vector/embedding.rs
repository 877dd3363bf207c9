//! Rows of a table by their numbers, with the rows of their places, and the gradients of both.

use kernels::{KernelError, Kernels, MatMut, MatRef, Team};

use super::{Errors, Make, Operation, Work, check};
use crate::floats::{Floats, filled, uniform};

/// Sequences and rows of each.
const BATCH: usize = 32;
const STEPS: usize = 64;

/// (symbols, width): a table within the second-level cache, and one beyond it.
const TABLES: [(usize, usize); 2] = [(256, 64), (8192, 256)];

pub(super) fn operations() -> Vec<Make> {
    let of = |(symbols, width): (usize, usize)| -> [Make; 2] {
        [
            Box::new(move |_| Ok(Box::new(Forward::new(symbols, width)))),
            Box::new(move |_| Ok(Box::new(Backward::new(symbols, width)))),
        ]
    };
    TABLES.into_iter().flat_map(of).collect()
}

/// Numbers from 0 to `symbols - 1`, all as likely.
fn numbers(symbols: usize) -> Floats {
    let mut numbers = uniform(BATCH * STEPS, 1);
    for number in numbers.iter_mut() {
        let share = f64::from(*number) / 2.0 + 0.5;
        *number = (share * symbols as f64).floor() as f32;
    }
    numbers
}

struct Forward {
    symbols: usize,
    width: usize,
    table: Floats,
    positions: Floats,
    numbers: Floats,
    y: Floats,
}

impl Forward {
    fn new(symbols: usize, width: usize) -> Self {
        Self {
            symbols,
            width,
            table: uniform(symbols * width, 2),
            positions: uniform(STEPS * width, 3),
            numbers: numbers(symbols),
            y: filled(BATCH * STEPS * width, f32::NAN),
        }
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn shape(&self) -> (usize, usize) {
        (BATCH * STEPS, self.width)
    }

    fn work(&self) -> Work {
        // A row of the table and one of the positions are read, one is written.
        Work::moving(3 * self.y.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let table = MatRef::from_row_major(&self.table, self.symbols, self.width)?;
        let positions = MatRef::from_row_major(&self.positions, STEPS, self.width)?;
        let numbers = MatRef::from_row_major(&self.numbers, BATCH, STEPS)?;
        let y = MatMut::from_row_major(&mut self.y, BATCH * STEPS, self.width)?;
        kernels.embed(table, Some(positions), numbers, y, &Team::solo())
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let exact = |i: usize| {
            let (row, col) = (i / self.width, i % self.width);
            let symbol = self.numbers[row] as usize;
            let positions = f64::from(self.positions[row % STEPS * self.width + col]);
            f64::from(self.table[symbol * self.width + col]) + positions
        };
        check(self.name(), &self.y, exact, |_| 1.0)
    }
}

struct Backward {
    symbols: usize,
    width: usize,
    numbers: Floats,
    dy: Floats,
    d_table: Floats,
    d_positions: Floats,
}

impl Backward {
    fn new(symbols: usize, width: usize) -> Self {
        Self {
            symbols,
            width,
            numbers: numbers(symbols),
            dy: uniform(BATCH * STEPS * width, 2),
            d_table: filled(symbols * width, f32::NAN),
            d_positions: filled(STEPS * width, f32::NAN),
        }
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "embed_backward"
    }

    fn shape(&self) -> (usize, usize) {
        (BATCH * STEPS, self.width)
    }

    fn work(&self) -> Work {
        // The gradients are read once for each table, which is written.
        Work::moving(2 * self.dy.len() + self.d_table.len() + self.d_positions.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let numbers = MatRef::from_row_major(&self.numbers, BATCH, STEPS)?;
        let dy = MatRef::from_row_major(&self.dy, BATCH * STEPS, self.width)?;
        let d_table = MatMut::from_row_major(&mut self.d_table, self.symbols, self.width)?;
        let d_positions = MatMut::from_row_major(&mut self.d_positions, STEPS, self.width)?;
        kernels.embed_backward(numbers, dy, d_table, Some(d_positions), &Team::solo())
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let mut d_table = vec![0.0; self.d_table.len()];
        let mut d_positions = vec![0.0; self.d_positions.len()];
        for (i, &dy) in self.dy.iter().enumerate() {
            let (row, col) = (i / self.width, i % self.width);
            d_table[self.numbers[row] as usize * self.width + col] += f64::from(dy);
            d_positions[row % STEPS * self.width + col] += f64::from(dy);
        }
        // Sums of gradients, all of which are at most 1.
        let table = check(self.name(), &self.d_table, |i| d_table[i], |_| 1.0)?;
        let positions = check(self.name(), &self.d_positions, |i| d_positions[i], |_| 1.0)?;
        Ok(table.and(positions))
    }
}
