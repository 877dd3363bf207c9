//! A safe door to the crate `gemm`.
//!
//! Its one function takes pointers and strides, and no well-kept crate hands f32 products of every shape
//! to it through a safe one: faer has kernels of its own before it, candle allocates each result. To be
//! timed in turn with ours it has to live in the same process, and bench-harness forbids unsafe code; so
//! the sizes are checked here, and nothing else is done.
#![cfg(feature = "gemm")]

use gemm::{Parallelism, gemm};

/// A row-major matrix as it is stored, or its transpose.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

impl<'a> Matrix<'a> {
    /// The matrix stored as `rows x cols`.
    ///
    /// # Panics
    /// If `data` has another number of elements.
    pub fn new(data: &'a [f32], (rows, cols): (usize, usize)) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols));
        Self {
            data,
            rows,
            cols,
            row_stride: isize::try_from(cols).expect("a slice has no more elements"),
            col_stride: 1,
        }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// `C = A B`, with C row-major, on `threads` threads of the current rayon pool.
///
/// # Panics
/// If the sizes of A, B and C do not fit together.
pub fn multiply(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], threads: usize) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!((b.rows, Some(c.len())), (k, m.checked_mul(n)));
    let parallelism = match threads {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    };
    let c_row = isize::try_from(n).expect("a slice has no more elements");
    // SAFETY: a `Matrix` holds all its elements at its strides, as `new` saw; C has m n elements, the
    // rows of A are as long as the columns of B, as just seen; and C is borrowed mutably, so that it
    // shares no place with them.
    unsafe {
        gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_row,
            false,
            a.data.as_ptr(),
            a.col_stride,
            a.row_stride,
            b.data.as_ptr(),
            b.col_stride,
            b.row_stride,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
