//! Where the elements of a view lie: whether in a slice, whether apart, and those of a part.

use std::ops::Range;

use crate::error::KernelError;

/// Checks that all elements of the view lie in a slice of `len` elements.
#[inline]
pub(super) fn check_bounds(
    len: usize,
    offset: usize,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
) -> Result<(), KernelError> {
    if rows == 0 || cols == 0 {
        return if offset <= len {
            Ok(())
        } else {
            Err(KernelError::OutOfBounds {
                rows,
                cols,
                row_stride,
                col_stride,
                offset,
                first: offset as i128,
                last: offset as i128,
                len,
            })
        };
    }
    // One reach is below 2^127 in size, but a sum of two may not be: it stays at the limit, which
    // lies outside any slice.
    let reach = |n: usize, stride: isize| (n as i128 - 1) * stride as i128;
    let (r, c) = (reach(rows, row_stride), reach(cols, col_stride));
    let first = (offset as i128).saturating_add(r.min(0).saturating_add(c.min(0)));
    let last = (offset as i128).saturating_add(r.max(0).saturating_add(c.max(0)));
    if first < 0 || last >= len as i128 {
        return Err(KernelError::OutOfBounds {
            rows,
            cols,
            row_stride,
            col_stride,
            offset,
            first,
            last,
            len,
        });
    }
    Ok(())
}

/// Whether two different (i, j) can name one element.
#[inline]
pub(super) fn may_overlap(rows: usize, cols: usize, row_stride: isize, col_stride: isize) -> bool {
    if rows == 0 || cols == 0 {
        return false;
    }
    let (mut inner, mut outer) = (
        (cols, col_stride.unsigned_abs()),
        (rows, row_stride.unsigned_abs()),
    );
    if inner.1 > outer.1 {
        std::mem::swap(&mut inner, &mut outer);
    }
    // A dimension of one element has no stride to speak of. Otherwise the shorter stride must move,
    // and the longer one must step over the whole extent of the shorter.
    let moves = |(n, stride): (usize, usize)| n <= 1 || stride > 0;
    if inner.0 <= 1 {
        return !moves(outer);
    }
    if outer.0 <= 1 {
        return !moves(inner);
    }
    inner.1 == 0 || outer.1 as u128 <= (inner.0 as u128 - 1) * inner.1 as u128
}

/// Whether a row-major matrix that is not empty lies in a slice of `len` elements: nothing overlaps then,
/// and no stride is too long.
#[inline]
pub(super) fn is_dense_in(len: usize, rows: usize, cols: usize) -> bool {
    rows != 0 && cols != 0 && rows.checked_mul(cols).is_some_and(|all| all <= len)
}

/// A row length as a stride.
#[inline]
pub(super) fn stride_of(cols: usize) -> Result<isize, KernelError> {
    isize::try_from(cols).map_err(|_| {
        KernelError::shape(
            "view",
            format!("at most {} columns", isize::MAX),
            cols.to_string(),
        )
    })
}

#[track_caller]
pub(super) fn check_part(n_rows: usize, n_cols: usize, rows: &Range<usize>, cols: &Range<usize>) {
    assert!(
        rows.start <= rows.end
            && rows.end <= n_rows
            && cols.start <= cols.end
            && cols.end <= n_cols,
        "rows {rows:?}, columns {cols:?} of a view of {n_rows} x {n_cols}"
    );
}

/// Distance of a part's first element from the view's; 0 for an empty part.
pub(super) fn part_offset(
    rows: &Range<usize>,
    cols: &Range<usize>,
    row_stride: isize,
    col_stride: isize,
) -> isize {
    if rows.is_empty() || cols.is_empty() {
        0
    } else {
        rows.start as isize * row_stride + cols.start as isize * col_stride
    }
}
