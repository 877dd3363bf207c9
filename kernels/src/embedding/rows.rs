//! Rows of a table, chosen by number, and the sum of gradients into them.

use pulp::{Simd, WithSimd};

use crate::lanes::{Row, RowMut, Tail, Together, TogetherMut};
use crate::parts::Divide;
use crate::view::{MatMut, MatRef};

/// Which row of a table belongs to which row of the output.
#[derive(Clone, Copy)]
pub(crate) enum Choice<'a> {
    /// Row `t` of sequence `b` has the number that stands at (b, t): a whole number, checked.
    Numbers(MatRef<'a>),
    /// Row i has number `i mod` this: its place in its sequence.
    Places(usize),
}

impl Choice<'_> {
    /// The number that belongs to row `i` of the output.
    #[inline(always)]
    fn of(self, i: usize) -> usize {
        match self {
            Self::Numbers(numbers) => *numbers.at(i / numbers.cols(), i % numbers.cols()) as usize,
            Self::Places(steps) => i % steps,
        }
    }
}

/// `y_i = table_(n_i)`, or that and the row of `positions` for its place.
pub(crate) struct Gather<'a> {
    pub(crate) table: MatRef<'a>,
    pub(crate) numbers: MatRef<'a>,
    pub(crate) positions: Option<MatRef<'a>>,
    /// Number of the first row of `y`.
    pub(crate) first: usize,
    pub(crate) y: MatMut<'a>,
}

impl Divide for Gather<'_> {
    fn len(&self) -> usize {
        self.y.rows()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (first, second) = self.y.split_at_row(at);
        let behind = self.first + at;
        (
            Self { y: first, ..self },
            Self {
                y: second,
                first: behind,
                ..self
            },
        )
    }
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let tail = Tail::of_row(s, self.y.cols());
        let (numbers, steps) = (Choice::Numbers(self.numbers), self.numbers.cols());
        for i in 0..self.y.rows() {
            let number = self.first + i;
            let row = self.table.row(numbers.of(number)).unwrap_or_default();
            let row = Together::new(row, tail);
            let y = self.y.row_mut(i).unwrap_or_default();
            let mut y = TogetherMut::new(y, tail);
            match self.positions {
                None => {
                    for index in 0..row.registers() {
                        y.store(s, index, row.load(s, index, 0.0));
                    }
                }
                Some(positions) => {
                    let place = positions.row(number % steps).unwrap_or_default();
                    let place = Together::new(place, tail);
                    for index in 0..row.registers() {
                        let sum = s.add_f32s(row.load(s, index, 0.0), place.load(s, index, 0.0));
                        y.store(s, index, sum);
                    }
                }
            }
        }
    }
}

/// `d_table_n = sum of dy_i over the rows i with n_i = n`, one after the other.
///
/// It is divided among threads by columns: the order of the sums stays that of the rows.
pub(crate) struct Scatter<'a> {
    pub(crate) choice: Choice<'a>,
    pub(crate) dy: MatRef<'a>,
    pub(crate) d_table: MatMut<'a>,
}

impl Divide for Scatter<'_> {
    fn len(&self) -> usize {
        self.dy.cols()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (rows, cols) = (0..self.dy.rows(), self.dy.cols());
        let (first, second) = self.d_table.split_at_col(at);
        (
            Self {
                choice: self.choice,
                dy: self.dy.part(rows.clone(), 0..at),
                d_table: first,
            },
            Self {
                choice: self.choice,
                dy: self.dy.part(rows, at..cols),
                d_table: second,
            },
        )
    }
}

impl WithSimd for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let tail = Tail::of_row(s, self.dy.cols());
        for n in 0..self.d_table.rows() {
            self.d_table.row_mut(n).unwrap_or_default().fill(0.0);
        }
        for i in 0..self.dy.rows() {
            let dy = Together::new(self.dy.row(i).unwrap_or_default(), tail);
            let row = self.d_table.row_mut(self.choice.of(i)).unwrap_or_default();
            let mut row = TogetherMut::new(row, tail);
            for index in 0..dy.registers() {
                let sum = s.add_f32s(row.reader().load(s, index, 0.0), dy.load(s, index, 0.0));
                row.store(s, index, sum);
            }
        }
    }
}
