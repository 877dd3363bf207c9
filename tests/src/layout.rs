//! How a matrix lies in memory, and a buffer that notices when something beside it is touched.

/// Elements left before and after the matrix.
const MARGIN: usize = 19;

/// What surrounds a matrix: a NaN of a kind that no operation makes, so that whoever reads it
/// spoils the result, and whoever writes there is found out.
const GUARD: u32 = 0x7fc5_a5a5;

/// A way to lay out a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Rows one after the other, `pad` elements between them.
    Rows {
        /// Elements between the end of a row and the next.
        pad: usize,
    },
    /// Columns one after the other, `pad` elements between them.
    Cols {
        /// Elements between the end of a column and the next.
        pad: usize,
    },
    /// Row-major with this leading dimension, or the width if that is larger.
    RowsLd(usize),
    /// Column-major with this leading dimension, or the height if that is larger.
    ColsLd(usize),
    /// Neither rows nor columns contiguous: every third element of rows far apart.
    Spread,
    /// Row-major, last row first.
    RowsBackwards,
    /// Row-major, each row from its end to its start.
    ColsBackwards,
    /// Column-major, both directions reversed.
    AllBackwards,
    /// All rows are the same row (stride 0).
    OneRow,
    /// All columns are the same column (stride 0).
    OneCol,
    /// All elements are the same element.
    OneElement,
}

impl Storage {
    /// Every storage in which no two elements share a place, with the paddings that matter.
    pub const DISTINCT: [Self; 9] = [
        Self::Rows { pad: 0 },
        Self::Cols { pad: 0 },
        Self::Rows { pad: 5 },
        Self::Cols { pad: 3 },
        Self::RowsLd(1024),
        Self::Spread,
        Self::RowsBackwards,
        Self::ColsBackwards,
        Self::AllBackwards,
    ];

    /// Every storage in which elements share places: for operands that are only read.
    pub const REPEATED: [Self; 3] = [Self::OneRow, Self::OneCol, Self::OneElement];

    /// The strides between rows and between columns.
    pub fn strides(self, rows: usize, cols: usize) -> (isize, isize) {
        let (r, c) = (rows as isize, cols as isize);
        match self {
            Self::Rows { pad } => (c + pad as isize, 1),
            Self::Cols { pad } => (1, r + pad as isize),
            Self::RowsLd(ld) => (c.max(ld as isize), 1),
            Self::ColsLd(ld) => (1, r.max(ld as isize)),
            Self::Spread => (3 * c + 7, 3),
            Self::RowsBackwards => (-c - 2, 1),
            Self::ColsBackwards => (c + 2, -1),
            Self::AllBackwards => (-1, -r - 2),
            Self::OneRow => (0, 1),
            Self::OneCol => (1, 0),
            Self::OneElement => (0, 0),
        }
    }
}

/// A matrix of f32 inside a larger buffer whose other elements are guards.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Index of element (0, 0) in [`Self::data`].
    pub offset: usize,
    /// Distance between rows, in elements.
    pub row_stride: isize,
    /// Distance between columns, in elements.
    pub col_stride: isize,
    /// The whole buffer.
    pub data: Vec<f32>,
}

impl Guarded {
    /// Lays `value(i, j)` out as `storage` says; where elements share a place, the last one counts.
    pub fn new(
        storage: Storage,
        rows: usize,
        cols: usize,
        mut value: impl FnMut(usize, usize) -> f32,
    ) -> Self {
        let (row_stride, col_stride) = storage.strides(rows, cols);
        let reach = |n: usize, stride: isize| n.saturating_sub(1) as isize * stride;
        let (r, c) = (reach(rows, row_stride), reach(cols, col_stride));
        let before = (r.min(0) + c.min(0)).unsigned_abs();
        let after = (r.max(0) + c.max(0)).unsigned_abs();
        let mut guarded = Self {
            rows,
            cols,
            offset: MARGIN + before,
            row_stride,
            col_stride,
            data: vec![f32::from_bits(GUARD); MARGIN + before + after + 1 + MARGIN],
        };
        for i in 0..rows {
            for j in 0..cols {
                let index = guarded.index(i, j);
                guarded.data[index] = value(i, j);
            }
        }
        guarded
    }

    fn index(&self, i: usize, j: usize) -> usize {
        let step = i as isize * self.row_stride + j as isize * self.col_stride;
        self.offset
            .checked_add_signed(step)
            .expect("the buffer begins before every element")
    }

    /// Element (i, j).
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.data[self.index(i, j)]
    }

    /// The index of a guard that was overwritten, if any.
    pub fn broken_guard(&self) -> Option<usize> {
        let mut inside = vec![false; self.data.len()];
        for i in 0..self.rows {
            for j in 0..self.cols {
                inside[self.index(i, j)] = true;
            }
        }
        (0..self.data.len()).find(|&x| !inside[x] && self.data[x].to_bits() != GUARD)
    }

    /// The bits of all elements, row by row.
    pub fn bits(&self) -> Vec<u32> {
        (0..self.rows)
            .flat_map(|i| (0..self.cols).map(move |j| self.at(i, j).to_bits()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_storage_holds_its_elements_and_guards() {
        for storage in Storage::DISTINCT {
            for (rows, cols) in [(0, 0), (0, 3), (1, 1), (3, 5), (5, 1)] {
                let x = Guarded::new(storage, rows, cols, |i, j| (10 * i + j) as f32);
                for i in 0..rows {
                    for j in 0..cols {
                        assert_eq!(x.at(i, j), (10 * i + j) as f32, "{storage:?}");
                    }
                }
                assert_eq!(x.broken_guard(), None, "{storage:?} {rows} x {cols}");
            }
        }
    }

    #[test]
    fn strides_are_what_the_names_say() {
        let x = Guarded::new(Storage::Rows { pad: 2 }, 2, 3, |i, j| (10 * i + j) as f32);
        assert_eq!((x.row_stride, x.col_stride), (5, 1));
        assert_eq!(x.data[x.offset..x.offset + 3], [0.0, 1.0, 2.0]);
        assert_eq!(x.data[x.offset + 5..x.offset + 8], [10.0, 11.0, 12.0]);
        let x = Guarded::new(Storage::AllBackwards, 2, 2, |i, j| (10 * i + j) as f32);
        assert_eq!(x.data[x.offset - 1], 10.0);
        assert_eq!(x.data[x.offset - 4], 1.0);
    }

    #[test]
    fn a_write_beside_the_matrix_is_found() {
        let x = Guarded::new(Storage::Rows { pad: 1 }, 2, 2, |_, _| 0.0);
        for index in [0, x.offset - 1, x.offset + 2, x.data.len() - 1] {
            let mut broken = x.clone();
            broken.data[index] = 1.0;
            assert_eq!(broken.broken_guard(), Some(index));
        }
        let mut inside = x;
        let offset = inside.offset;
        inside.data[offset + 1] = 1.0;
        assert_eq!(inside.broken_guard(), None);
    }
}
