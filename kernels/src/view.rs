//! Strided views of matrices: a pointer, two sizes, two strides.
//!
//! Element (i, j) lies `i * row_stride + j * col_stride` elements after element (0, 0). Strides are
//! counted in elements and may be negative; a read-only view may also repeat elements (stride 0).
//! The constructors check that every element lies inside the slice, so the kernels need not.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use crate::error::KernelError;

mod layout;

use layout::{check_bounds, check_part, is_dense_in, may_overlap, part_offset, stride_of};

/// Read-only view of a `rows x cols` matrix.
pub struct MatRef<'a, T = f32> {
    ptr: *const T,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
    life: PhantomData<&'a [T]>,
}

/// Mutable view of a `rows x cols` matrix; no two elements share a place.
pub struct MatMut<'a, T = f32> {
    ptr: *mut T,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a `MatRef` is a shared borrow of a slice with a shape; it may go wherever `&[T]` may.
unsafe impl<T: Sync> Send for MatRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatRef<'_, T> {}
// SAFETY: a `MatMut` is a unique borrow of a slice with a shape; it may go wherever `&mut [T]` may.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a shared `MatMut` gives out nothing but shared borrows.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

impl<T> Clone for MatRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MatRef<'_, T> {}

impl<'a, T> MatRef<'a, T> {
    /// Row-major view of the first `rows * cols` elements of `data`.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if the slice is shorter than that.
    #[inline]
    pub fn from_row_major(data: &'a [T], rows: usize, cols: usize) -> Result<Self, KernelError> {
        if is_dense_in(data.len(), rows, cols) {
            return Ok(Self {
                ptr: data.as_ptr(),
                rows,
                cols,
                row_stride: cols as isize,
                col_stride: 1,
                life: PhantomData,
            });
        }
        Self::with_strides(data, 0, rows, cols, stride_of(cols)?, 1)
    }

    /// View whose element (i, j) is `data[offset + i * row_stride + j * col_stride]`.
    ///
    /// Strides may be negative or zero.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if an element lies outside the slice.
    pub fn with_strides(
        data: &'a [T],
        offset: usize,
        rows: usize,
        cols: usize,
        row_stride: isize,
        col_stride: isize,
    ) -> Result<Self, KernelError> {
        check_bounds(data.len(), offset, rows, cols, row_stride, col_stride)?;
        // The pointer is taken from the whole slice: negative strides reach back before `offset`.
        // SAFETY: `check_bounds` saw `offset <= len`.
        let ptr = unsafe { data.as_ptr().add(offset) };
        Ok(Self {
            ptr,
            rows,
            cols,
            row_stride,
            col_stride,
            life: PhantomData,
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

    /// Distance between rows, in elements.
    pub fn row_stride(&self) -> isize {
        self.row_stride
    }

    /// Distance between columns, in elements.
    pub fn col_stride(&self) -> isize {
        self.col_stride
    }

    /// Pointer to element (0, 0); dangling if the view is empty.
    pub fn as_ptr(&self) -> *const T {
        self.ptr
    }

    /// The same elements with rows and columns exchanged.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Element (i, j).
    ///
    /// # Panics
    /// If the element lies outside the view.
    #[track_caller]
    pub fn at(&self, i: usize, j: usize) -> &'a T {
        assert!(
            i < self.rows && j < self.cols,
            "({i}, {j}) in {} x {}",
            self.rows,
            self.cols
        );
        // SAFETY: the constructor checked that every (i, j) of the view lies in the borrowed slice.
        unsafe {
            &*self
                .ptr
                .offset(i as isize * self.row_stride + j as isize * self.col_stride)
        }
    }

    /// Row `i` as a slice, or `None` if its elements are not contiguous.
    ///
    /// # Panics
    /// If there is no such row.
    #[track_caller]
    pub fn row(&self, i: usize) -> Option<&'a [T]> {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return Some(&[]);
        }
        if self.col_stride != 1 && self.cols != 1 {
            return None;
        }
        // SAFETY: the constructor checked that the whole row lies in the borrowed slice.
        Some(unsafe {
            std::slice::from_raw_parts(self.ptr.offset(i as isize * self.row_stride), self.cols)
        })
    }

    /// All elements as one slice, or `None` if they are not contiguous in row-major order.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        if self.rows == 0 || self.cols == 0 {
            return Some(&[]);
        }
        let dense = (self.col_stride == 1 || self.cols == 1)
            && (self.row_stride == self.cols as isize || self.rows == 1);
        // SAFETY: dense, and the constructor checked that the last element lies in the slice.
        dense.then(|| unsafe { std::slice::from_raw_parts(self.ptr, self.rows * self.cols) })
    }

    /// The part of the view in the given rows and columns.
    ///
    /// # Panics
    /// If a range is reversed or reaches outside the view.
    #[track_caller]
    pub fn part(&self, rows: Range<usize>, cols: Range<usize>) -> Self {
        check_part(self.rows, self.cols, &rows, &cols);
        let offset = part_offset(&rows, &cols, self.row_stride, self.col_stride);
        // SAFETY: a non-empty part starts at one of the view's elements; an empty one does not move.
        let ptr = unsafe { self.ptr.offset(offset) };
        Self {
            ptr,
            rows: rows.len(),
            cols: cols.len(),
            ..*self
        }
    }
}

impl<'a, T> MatMut<'a, T> {
    /// Row-major view of the first `rows * cols` elements of `data`.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if the slice is shorter than that.
    #[inline]
    pub fn from_row_major(
        data: &'a mut [T],
        rows: usize,
        cols: usize,
    ) -> Result<Self, KernelError> {
        if is_dense_in(data.len(), rows, cols) {
            return Ok(Self {
                ptr: data.as_mut_ptr(),
                rows,
                cols,
                row_stride: cols as isize,
                col_stride: 1,
                life: PhantomData,
            });
        }
        Self::with_strides(data, 0, rows, cols, stride_of(cols)?, 1)
    }

    /// View whose element (i, j) is `data[offset + i * row_stride + j * col_stride]`.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if an element lies outside the slice, [`KernelError::Overlap`]
    /// if the longer stride does not step over the extent of the shorter one.
    pub fn with_strides(
        data: &'a mut [T],
        offset: usize,
        rows: usize,
        cols: usize,
        row_stride: isize,
        col_stride: isize,
    ) -> Result<Self, KernelError> {
        check_bounds(data.len(), offset, rows, cols, row_stride, col_stride)?;
        if may_overlap(rows, cols, row_stride, col_stride) {
            return Err(KernelError::Overlap {
                rows,
                cols,
                row_stride,
                col_stride,
            });
        }
        // The pointer is taken from the whole slice: negative strides reach back before `offset`.
        let base = data.as_mut_ptr();
        // SAFETY: `check_bounds` saw `offset <= len`.
        let ptr = unsafe { base.add(offset) };
        Ok(Self {
            ptr,
            rows,
            cols,
            row_stride,
            col_stride,
            life: PhantomData,
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

    /// Distance between rows, in elements.
    pub fn row_stride(&self) -> isize {
        self.row_stride
    }

    /// Distance between columns, in elements.
    pub fn col_stride(&self) -> isize {
        self.col_stride
    }

    /// Pointer to element (0, 0); dangling if the view is empty.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr
    }

    /// The same elements with rows and columns exchanged.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// A read-only view of the same elements.
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef {
            ptr: self.ptr,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
            life: PhantomData,
        }
    }

    /// A read-only view of the same elements, for as long as they were borrowed.
    pub fn into_ref(self) -> MatRef<'a, T> {
        MatRef {
            ptr: self.ptr,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
            life: PhantomData,
        }
    }

    /// The first `col` columns, and the others.
    ///
    /// # Panics
    /// If there are fewer than `col` columns.
    #[track_caller]
    pub fn split_at_col(self, col: usize) -> (Self, Self) {
        let (rows, cols) = (self.rows, self.cols);
        // No element belongs to both parts.
        let left = MatMut {
            life: PhantomData,
            ..self
        };
        (left.part(0..rows, 0..col), self.part(0..rows, col..cols))
    }

    /// All elements as a slice, row after row; `None` if they do not lie like that without gaps.
    pub fn as_mut_slice(&mut self) -> Option<&mut [T]> {
        self.as_ref().as_slice()?;
        let len = self.rows * self.cols;
        if len == 0 {
            return Some(&mut []);
        }
        // SAFETY: `as_slice` saw that the elements lie together, and the constructor that they are in
        // the borrowed slice.
        Some(unsafe { std::slice::from_raw_parts_mut(self.ptr, len) })
    }

    /// A second, shorter-lived view of the same elements.
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut {
            life: PhantomData,
            ..*self
        }
    }

    /// Element (i, j).
    ///
    /// # Panics
    /// If the element lies outside the view.
    #[track_caller]
    pub fn at_mut(&mut self, i: usize, j: usize) -> &mut T {
        assert!(
            i < self.rows && j < self.cols,
            "({i}, {j}) in {} x {}",
            self.rows,
            self.cols
        );
        let offset = i as isize * self.row_stride + j as isize * self.col_stride;
        // SAFETY: the constructor checked that every (i, j) of the view lies in the borrowed slice.
        unsafe { &mut *self.ptr.offset(offset) }
    }

    /// Row `i` as a slice, or `None` if its elements are not contiguous.
    ///
    /// # Panics
    /// If there is no such row.
    #[track_caller]
    pub fn row_mut(&mut self, i: usize) -> Option<&mut [T]> {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        if self.cols == 0 {
            return Some(&mut []);
        }
        if self.col_stride != 1 && self.cols != 1 {
            return None;
        }
        // SAFETY: the constructor checked that the whole row lies in the borrowed slice, and no
        // other element of this view overlaps it.
        Some(unsafe {
            std::slice::from_raw_parts_mut(self.ptr.offset(i as isize * self.row_stride), self.cols)
        })
    }

    /// The part of the view in the given rows and columns.
    ///
    /// # Panics
    /// If a range is reversed or reaches outside the view.
    #[track_caller]
    pub fn part(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        check_part(self.rows, self.cols, &rows, &cols);
        let offset = part_offset(&rows, &cols, self.row_stride, self.col_stride);
        // SAFETY: a non-empty part starts at one of the view's elements; an empty one does not move.
        let ptr = unsafe { self.ptr.offset(offset) };
        Self {
            ptr,
            rows: rows.len(),
            cols: cols.len(),
            ..self
        }
    }

    /// The first `row` rows, and those behind them.
    ///
    /// # Panics
    /// If there are not so many rows.
    #[track_caller]
    pub fn split_at_row(self, row: usize) -> (Self, Self) {
        let (rows, cols) = (self.rows, 0..self.cols);
        let first = Self { ..self };
        // The two have no element in common, and no two (i, j) of this view share a place.
        (first.part(0..row, cols.clone()), self.part(row..rows, cols))
    }
}

impl<T> fmt::Debug for MatRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MatRef({} x {}, strides {}, {})",
            self.rows, self.cols, self.row_stride, self.col_stride
        )
    }
}

impl<T> fmt::Debug for MatMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MatMut({} x {}, strides {}, {})",
            self.rows, self.cols, self.row_stride, self.col_stride
        )
    }
}
