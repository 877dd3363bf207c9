//! A matrix that owns its memory: what a network answers with.

use kernels::{MatMut, MatRef};

use crate::error::MlpError;
use crate::params::fits_memory;

/// A dense row-major matrix of f32; rows are samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// A matrix of zeros.
    ///
    /// # Panics
    /// If there is no memory for so many elements. The answers of a network are an error then.
    #[track_caller]
    pub fn zeros(rows: usize, cols: usize) -> Self {
        match Self::checked(rows, cols) {
            Ok(zeros) => zeros,
            Err(error) => panic!("{error}"),
        }
    }

    /// A matrix of zeros.
    ///
    /// # Errors
    /// [`MlpError::Shape`] if there is no memory for so many elements.
    pub(crate) fn checked(rows: usize, cols: usize) -> Result<Self, MlpError> {
        let len = rows.checked_mul(cols);
        let Some(len) = len.filter(|&len| fits_memory(Some(len))) else {
            return Err(MlpError::Shape {
                what: "matrix",
                expected: "no more elements than there is memory for".into(),
                got: format!("{rows} x {cols}"),
            });
        };
        Ok(Self {
            data: vec![0.0; len],
            rows,
            cols,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_without_memory_are_an_error() {
        assert_eq!(Matrix::checked(2, 3), Ok(Matrix::zeros(2, 3)));
        for (rows, cols) in [(usize::MAX, 2), (1 << 40, 1 << 10)] {
            assert_eq!(
                Matrix::checked(rows, cols).unwrap_err().to_string(),
                format!(
                    "matrix: expected no more elements than there is memory for, got {rows} x {cols}"
                )
            );
        }
    }

    #[test]
    #[should_panic(expected = "matrix: expected no more elements than there is memory for")]
    fn zeros_without_memory_panic_with_the_reason() {
        let _ = Matrix::zeros(1 << 40, 1 << 10);
    }
}
