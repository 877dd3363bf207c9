//! Few rows against a B stored by columns (`X W^T` with a small batch): dot products along the
//! depth, nothing packed.
//!
//! Packing B would cost one step per element of B, the product itself only `m / LANES`. Here both
//! operands are read along the depth, where they are contiguous:
//!
//! ```text
//! for R rows, for C columns:
//!     acc_rc <- sum over p of a(r, p ..) * b(p .., c)    register by register, LANES partial sums
//!     c_rc   <- alpha * (sum of the lanes of acc_rc) + beta c_rc
//! ```
//!
//! Each element is the sum of `LANES` chains, added in a fixed tree.

use std::marker::PhantomData;

use super::vector::{Element, Job, Lane, Level, Vector};

/// Some rows and columns of C and where their operands are; `a(i, p) = a[i * a_row + p]`,
/// `b(p, j) = b[j * b_col + p]`, `c(i, j) = c[i * c_row + j * c_col]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DotArgs<T> {
    pub(super) k: usize,
    pub(super) a: *const T,
    pub(super) a_row: isize,
    pub(super) b: *const T,
    pub(super) b_col: isize,
    pub(super) c: *mut T,
    pub(super) c_row: isize,
    pub(super) c_col: isize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) alpha: T,
    /// When zero, C is not read.
    pub(super) beta: T,
}

/// Computes the rows and columns of C that the arguments name.
///
/// # Safety
/// The CPU has the instruction set; A and B can be read, C written (and read, unless `beta` is zero)
/// as the strides say, and no one else touches this part of C.
pub(super) type DotFn<T> = unsafe fn(&DotArgs<T>);

/// The dot products of an instruction set.
pub(super) const fn dot_fn<L: Level, T: Lane>() -> DotFn<T> {
    L::run::<Dot<T>>
}

/// Columns that share the registers loaded from A; a multiple of what [`Vector::sums`] adds at once.
const COLS: usize = 4;
/// With one row, twice as many, or the adders would wait for their own results.
const COLS_OF_ONE_ROW: usize = 8;
/// Rows that share the registers loaded from B: with the sums of 4 x 4, 16 registers would spill.
const ROWS: usize = 4;
const ROWS_OF_16_REGISTERS: usize = 3;

struct Dot<T>(PhantomData<T>);

impl<T: Lane> Job for Dot<T> {
    type Args = DotArgs<T>;

    #[inline(always)]
    unsafe fn run<L: Level>(t: &DotArgs<T>) {
        // SAFETY: `DotFn`; the rows and columns given to `tile` lie below `rows` and `cols`.
        unsafe {
            if t.rows == 1 {
                for j in (0..t.cols).step_by(COLS_OF_ONE_ROW) {
                    tile::<T::Of<L>, 1, COLS_OF_ONE_ROW>(t, 0, j);
                }
                return;
            }
            if <T::Of<L> as Vector>::REGISTERS > 16 {
                rows::<T::Of<L>, ROWS>(t);
            } else {
                rows::<T::Of<L>, ROWS_OF_16_REGISTERS>(t);
            }
        }
    }
}

/// All rows and columns, `R <= 4` rows at a time.
///
/// # Safety
/// As [`DotFn`].
#[inline(always)]
unsafe fn rows<V: Vector, const R: usize>(t: &DotArgs<V::Elem>) {
    let full = t.rows / R * R;
    for j in (0..t.cols).step_by(COLS) {
        // SAFETY: this function's contract; the rows and columns lie below `rows` and `cols`.
        unsafe {
            for i in (0..full).step_by(R) {
                tile::<V, R, COLS>(t, i, j);
            }
            match t.rows - full {
                1 => tile::<V, 1, COLS>(t, full, j),
                2 => tile::<V, 2, COLS>(t, full, j),
                3 => tile::<V, 3, COLS>(t, full, j),
                _ => {}
            }
        }
    }
}

/// Rows `i .. i + R` and columns `j .. j + C`; columns beyond the last one are computed from the
/// last one again and not stored.
///
/// # Safety
/// As [`DotFn`]; `i + R <= rows`, `j < cols`.
#[expect(
    clippy::needless_range_loop,
    reason = "iterators send the accumulators to memory"
)]
#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const C: usize>(
    t: &DotArgs<V::Elem>,
    i: usize,
    j: usize,
) {
    // SAFETY: this function's contract; the mask keeps the last step to the depth.
    unsafe {
        let a: [_; R] = std::array::from_fn(|r| t.a.offset((i + r) as isize * t.a_row));
        let b: [_; C] =
            std::array::from_fn(|c| t.b.offset((j + c).min(t.cols - 1) as isize * t.b_col));
        let mut acc = [[V::zero(); C]; R];
        let full = t.k / V::LANES * V::LANES;
        for p in (0..full).step_by(V::LANES) {
            let mut x = [V::zero(); R];
            for r in 0..R {
                x[r] = V::load(a[r].add(p));
            }
            for c in 0..C {
                let y = V::load(b[c].add(p));
                for r in 0..R {
                    acc[r][c] = x[r].mul_add(y, acc[r][c]);
                }
            }
        }
        if full < t.k {
            let rest = V::mask(t.k - full);
            for c in 0..C {
                let y = V::load_masked(rest, b[c].add(full));
                for r in 0..R {
                    let x = V::load_masked(rest, a[r].add(full));
                    acc[r][c] = x.mul_add(y, acc[r][c]);
                }
            }
        }
        for r in 0..R {
            let row = t.c.offset((i + r) as isize * t.c_row);
            for c in (0..C).step_by(4) {
                let sums = V::sums([acc[r][c], acc[r][c + 1], acc[r][c + 2], acc[r][c + 3]]);
                for (s, sum) in sums.into_iter().enumerate() {
                    if j + c + s < t.cols {
                        let at = row.offset((j + c + s) as isize * t.c_col);
                        let sum = t.alpha * sum;
                        *at = if t.beta == V::Elem::ZERO {
                            sum
                        } else {
                            sum + t.beta * *at
                        };
                    }
                }
            }
        }
    }
}
