//! A matrix that owns its memory: what a network answers with.

use kernels::{MatMut, MatRef};

/// A dense row-major matrix of f32; rows are samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self {
            data: vec![0.0; rows * cols],
            rows,
            cols,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is no such row, as a slice would.
    #[track_caller]
    pub fn row(&self, i: usize) -> &[f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// All elements, row after row.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// All elements, row after row.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// All elements, row after row.
    pub fn into_vec(self) -> Vec<f32> {
        self.data
    }

    /// A view of the whole matrix.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the constructors see to the length"
    )]
    pub fn view(&self) -> MatRef<'_> {
        MatRef::from_row_major(&self.data, self.rows, self.cols)
            .expect("as many elements as rows times columns")
    }

    /// A mutable view of the whole matrix.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the constructors see to the length"
    )]
    pub fn view_mut(&mut self) -> MatMut<'_> {
        MatMut::from_row_major(&mut self.data, self.rows, self.cols)
            .expect("as many elements as rows times columns")
    }
}

impl<'a> From<&'a Matrix> for MatRef<'a> {
    fn from(matrix: &'a Matrix) -> Self {
        matrix.view()
    }
}
