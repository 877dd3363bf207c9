//! [gemm](https://docs.rs/gemm), on rayon, through a crate of ours that checks the sizes.

use peer_gemm::{Matrix, multiply};

use super::Multiply;
use crate::operands::Operands;

pub(crate) struct GemmCrate {
    pub(crate) threads: usize,
}

impl Multiply for GemmCrate {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn multiply(&mut self, operands: &Operands, c: &mut [f32]) {
        let mut a = Matrix::new(&operands.a, operands.a_stored());
        let mut b = Matrix::new(&operands.b, operands.b_stored());
        if operands.a_is_transposed() {
            a = a.t();
        }
        if operands.b_is_transposed() {
            b = b.t();
        }
        multiply(a, b, c, self.threads);
    }
}
