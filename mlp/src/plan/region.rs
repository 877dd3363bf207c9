//! Where the operands of a call are.

use std::ops::Range;

/// A matrix in one of the buffers that a plan runs over: some columns of a dense row-major one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// Where the whole matrix begins.
    pub(crate) offset: usize,
    /// Distance between rows: the width of the whole.
    pub(crate) stride: usize,
    /// The first of the columns.
    pub(crate) col: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Region {
    /// A whole matrix.
    pub(crate) fn dense(offset: usize, rows: usize, cols: usize) -> Self {
        Self {
            offset,
            stride: cols,
            col: 0,
            rows,
            cols,
        }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Where the whole matrix lies.
    pub(crate) fn whole(&self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.stride
    }

    /// Whether it is all of the matrix.
    pub(crate) fn is_whole(&self) -> bool {
        self.cols == self.stride
    }

    /// The columns in which it lies.
    pub(crate) fn columns(&self) -> Range<usize> {
        self.col..self.col + self.cols
    }
}

/// What a call reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The samples of the batch.
    Input,
    /// A matrix of parameters.
    Parameters(Region),
    /// A value computed earlier.
    Arena(Region),
}
