//! One row times a matrix stored by rows: the memory decides, so B is read in long runs.
//!
//! ```text
//! for a strip of columns:
//!     sums <- 0                                   a buffer in the first-level cache
//!     for STEPS rows of B at a time:
//!         sums_j <- sums_j + x_p b_pj + x_(p+1) b_(p+1)j + ...
//!     c_j <- alpha sums_j + beta c_j
//! ```
//!
//! A register tile would read a few cache lines of each row of B and then jump to the next, which is
//! in another page. Each element is the chain over p that it is in the micro-kernel, so the bits are
//! the same.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::vector::{Element, Job, Lane, Level, Vector};

/// `c(j) <- alpha sum_p a(p) b(p, j) + beta c(j)`, with `a(p) = a[p * a_depth]`,
/// `b(p, j) = b[p * b_depth + j]`, `c(j) = c[j]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowArgs<T> {
    pub(super) k: usize,
    pub(super) a: *const T,
    pub(super) a_depth: isize,
    pub(super) b: *const T,
    pub(super) b_depth: isize,
    pub(super) c: *mut T,
    pub(super) cols: usize,
    pub(super) alpha: T,
    /// When zero, C is not read.
    pub(super) beta: T,
}

/// Computes a row of C.
///
/// # Safety
/// The CPU has the instruction set; A and B can be read, C written (and read, unless `beta` is zero)
/// as the arguments say, and no one else touches this part of C.
pub(super) type RowFn<T> = unsafe fn(&RowArgs<T>);

/// The row times matrix of an instruction set.
pub(super) const fn row_fn<L: Level, T: Lane>() -> RowFn<T> {
    L::run::<Row<T>>
}

/// Columns of a strip: the sums take half of the smallest first-level cache, and a run is two pages.
const STRIP: usize = 2048;
/// Rows of B that go by together: so many loads for one load and store of a sum.
const STEPS: usize = 4;

struct Row<T>(PhantomData<T>);

impl<T: Lane> Job for Row<T> {
    type Args = RowArgs<T>;

    #[inline(always)]
    unsafe fn run<L: Level>(t: &RowArgs<T>) {
        // SAFETY: `RowFn`; the strips lie in the columns.
        unsafe {
            let mut j = 0;
            while j < t.cols {
                let cols = STRIP.min(t.cols - j);
                let (b, c) = (t.b.add(j), t.c.add(j));
                strip::<T::Of<L>>(&RowArgs { b, c, cols, ..*t });
                j += cols;
            }
        }
    }
}

/// A row of at most [`STRIP`] columns.
///
/// # Safety
/// As [`RowFn`].
#[inline(always)]
unsafe fn strip<V: Vector>(t: &RowArgs<V::Elem>) {
    let mut buffer = [MaybeUninit::<V::Elem>::uninit(); STRIP];
    let sums = buffer.as_mut_ptr().cast::<V::Elem>();
    // SAFETY: `RowFn`; `STRIP` is a multiple of `LANES`, so whole registers fit the buffer, and the
    // first pass writes what the later ones read.
    unsafe {
        let mut p = 0;
        while p < t.k {
            let steps = STEPS.min(t.k - p);
            match steps {
                1 => pass::<V, 1>(t, p, sums),
                2 => pass::<V, 2>(t, p, sums),
                3 => pass::<V, 3>(t, p, sums),
                _ => pass::<V, STEPS>(t, p, sums),
            }
            p += steps;
        }
        let (alpha, beta) = (V::splat(t.alpha), V::splat(t.beta));
        let full = t.cols / V::LANES * V::LANES;
        for j in (0..full).step_by(V::LANES) {
            let mut sum = V::load(sums.add(j)).mul(alpha);
            if t.beta != V::Elem::ZERO {
                sum = beta.mul_add(V::load(t.c.add(j)), sum);
            }
            sum.store(t.c.add(j));
        }
        if full < t.cols {
            let rest = V::mask(t.cols - full);
            let mut sum = V::load(sums.add(full)).mul(alpha);
            if t.beta != V::Elem::ZERO {
                sum = beta.mul_add(V::load_masked(rest, t.c.add(full)), sum);
            }
            sum.store_masked(rest, t.c.add(full));
        }
    }
}

/// Adds the products of rows `p .. p + S` of B to the sums; the first pass starts them.
///
/// # Safety
/// As [`RowFn`]; `p + S <= k`; whole registers for all columns can be read and written at `sums`.
#[inline(always)]
unsafe fn pass<V: Vector, const S: usize>(t: &RowArgs<V::Elem>, p: usize, sums: *mut V::Elem) {
    // SAFETY: this function's contract; the mask keeps the last step to the columns.
    unsafe {
        let mut x = [V::zero(); S];
        let mut b = [t.b; S];
        for s in 0..S {
            x[s] = V::splat(*t.a.offset((p + s) as isize * t.a_depth));
            b[s] = t.b.offset((p + s) as isize * t.b_depth);
        }
        let full = t.cols / V::LANES * V::LANES;
        for j in (0..full).step_by(V::LANES) {
            let mut sum = if p == 0 {
                V::zero()
            } else {
                V::load(sums.add(j))
            };
            for s in 0..S {
                sum = x[s].mul_add(V::load(b[s].add(j)), sum);
            }
            sum.store(sums.add(j));
        }
        if full < t.cols {
            let rest = V::mask(t.cols - full);
            let mut sum = if p == 0 {
                V::zero()
            } else {
                V::load(sums.add(full))
            };
            for s in 0..S {
                sum = x[s].mul_add(V::load_masked(rest, b[s].add(full)), sum);
            }
            sum.store(sums.add(full));
        }
    }
}
