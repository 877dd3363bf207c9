//! A dense matrix of f64 in row-major order: what every reference takes and gives.

/// `rows x cols` numbers, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Element (i, j) is `data[i * cols + j]`.
    pub data: Vec<f64>,
}

impl Matrix {
    /// The matrix whose element (i, j) is `value(i, j)`.
    pub fn from_fn(rows: usize, cols: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let data = (0..rows)
            .flat_map(|i| (0..cols).map(move |j| (i, j)))
            .map(|(i, j)| value(i, j))
            .collect();
        Self { rows, cols, data }
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self::from_fn(rows, cols, |_, _| 0.0)
    }

    /// The matrix that holds these `rows * cols` numbers in row-major order.
    ///
    /// # Panics
    /// If there are more or fewer.
    #[track_caller]
    pub fn from_f32(rows: usize, cols: usize, data: &[f32]) -> Self {
        assert_eq!(data.len(), rows * cols, "{rows} x {cols}");
        Self {
            rows,
            cols,
            data: data.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The matrix with one row per label and a 1 in the column of the label.
    pub fn one_hot(labels: &[u32], classes: usize) -> Self {
        Self::from_fn(labels.len(), classes, |i, j| {
            f64::from(u8::from(labels[i] as usize == j))
        })
    }

    /// Element (i, j).
    ///
    /// # Panics
    /// If there is no such element.
    #[track_caller]
    pub fn at(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.rows && j < self.cols, "({i}, {j})");
        self.data[i * self.cols + j]
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Rows and columns exchanged.
    pub fn transposed(&self) -> Self {
        Self::from_fn(self.cols, self.rows, |i, j| self.at(j, i))
    }

    /// The matrix of `f` of each element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            data: self.data.iter().map(|&x| f(x)).collect(),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_row_major() {
        let x = Matrix::from_f32(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((x.at(0, 2), x.at(1, 0)), (3.0, 4.0));
        assert_eq!(x.transposed().data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(x.row(1), [4.0, 5.0, 6.0]);
    }

    #[test]
    fn one_hot_marks_the_label() {
        assert_eq!(
            Matrix::one_hot(&[2, 0], 3).data,
            [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
        );
    }
}
