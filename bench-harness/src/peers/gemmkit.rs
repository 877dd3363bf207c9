//! [gemmkit](https://docs.rs/gemmkit), on rayon.

use gemmkit::{MatMut, MatRef, Parallelism, gemm};

use super::Multiply;
use crate::operands::Operands;

pub(crate) struct GemmKit {
    pub(crate) threads: usize,
}

/// A view of a row-major `rows x cols` matrix, or of its transpose.
fn view(data: &[f32], (rows, cols): (usize, usize), transposed: bool) -> MatRef<'_, f32> {
    if transposed {
        MatRef::from_col_major(data, cols, rows)
    } else {
        MatRef::from_row_major(data, rows, cols)
    }
}

impl Multiply for GemmKit {
    fn name(&self) -> &'static str {
        "gemmkit"
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn multiply(&mut self, operands: &Operands, c: &mut [f32]) {
        let parallelism = match self.threads {
            1 => Parallelism::Serial,
            threads => Parallelism::Rayon(threads),
        };
        gemm(
            1.0,
            view(&operands.a, operands.a_stored(), operands.a_is_transposed()),
            view(&operands.b, operands.b_stored(), operands.b_is_transposed()),
            0.0,
            MatMut::from_row_major(c, operands.m, operands.n),
            parallelism,
        );
    }
}
