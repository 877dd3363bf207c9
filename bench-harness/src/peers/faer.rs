//! [faer](https://docs.rs/faer), on rayon.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::Multiply;
use crate::operands::Operands;

pub(crate) struct Faer {
    pub(crate) threads: usize,
}

/// A view of a row-major `rows x cols` matrix, or of its transpose.
fn view(data: &[f32], (rows, cols): (usize, usize), transposed: bool) -> MatRef<'_, f32> {
    let stored = MatRef::from_row_major_slice(data, rows, cols);
    if transposed {
        stored.transpose()
    } else {
        stored
    }
}

impl Multiply for Faer {
    fn name(&self) -> &'static str {
        "faer"
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn multiply(&mut self, operands: &Operands, c: &mut [f32]) {
        let par = match self.threads {
            1 => Par::Seq,
            threads => Par::rayon(threads),
        };
        matmul(
            MatMut::from_row_major_slice_mut(c, operands.m, operands.n),
            Accum::Replace,
            view(&operands.a, operands.a_stored(), operands.a_is_transposed()),
            view(&operands.b, operands.b_stored(), operands.b_is_transposed()),
            1.0,
            par,
        );
    }
}
