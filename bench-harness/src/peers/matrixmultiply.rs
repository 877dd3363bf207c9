//! [matrixmultiply](https://docs.rs/matrixmultiply) through ndarray, whose `general_mat_mul` hands
//! f32 products of every shape to its `sgemm` after comparing sizes: some nanoseconds.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::Multiply;
use crate::operands::Operands;

/// On one thread: its threads are a matter of an environment variable, read once.
pub(crate) struct MatrixMultiply;

impl Multiply for MatrixMultiply {
    fn name(&self) -> &'static str {
        "matrixmultiply"
    }

    fn threads(&self) -> usize {
        1
    }

    fn multiply(&mut self, operands: &Operands, c: &mut [f32]) {
        let view = |(rows, cols), data| {
            ArrayView2::from_shape((rows, cols), data).expect("operands have their shapes")
        };
        let mut a = view(operands.a_stored(), &operands.a);
        let mut b = view(operands.b_stored(), &operands.b);
        if operands.a_is_transposed() {
            a.swap_axes(0, 1);
        }
        if operands.b_is_transposed() {
            b.swap_axes(0, 1);
        }
        let mut c = ArrayViewMut2::from_shape((operands.m, operands.n), c).expect("C is m x n");
        general_mat_mul(1.0, &a, &b, 0.0, &mut c);
    }
}
