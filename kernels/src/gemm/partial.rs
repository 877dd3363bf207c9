//! Partial sums: blocks of a long depth, computed apart and added in the order of the depth.
//!
//! One thread adds the blocks to C one after the other:
//!
//! ```text
//! C <- alpha A_0 B_0 + beta C,   C <- C + alpha A_1 B_1,   C <- C + alpha A_2 B_2 ...
//! ```
//!
//! The members of a team compute several of them at a time, the first in C and each other in memory
//! of its own, and add them to C afterwards in the same order. Each element is the same sum of the
//! same terms in the same tree, so the bits are those of one thread.

use std::marker::PhantomData;

use super::vector::{Element, Job, Lane, Level, Vector};

/// Elements of all partial sums together: 1 MiB of `f32`, which stays in the caches of the members.
const MAX_ELEMENTS: usize = 1 << 18;
/// No block of a depth that is cut at all is shorter.
const MIN_DEPTH: usize = 128;
/// Elements of a cache line of `f32`: rows of partial sums start at one, so that no two members
/// write to the same.
const LINE: usize = 16;

/// Partial sums of an `m x n` matrix, row-major, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partials {
    /// Distance of rows.
    pub(super) row: usize,
    /// Distance of one partial sum from the next.
    pub(super) stride: usize,
    /// How many there is room for.
    pub(super) count: usize,
}

impl Partials {
    /// As many as fit, up to `wanted`.
    pub(super) fn new(rows: usize, cols: usize, wanted: usize) -> Self {
        // One column is a vector, a row alone needs no distance to the next.
        let row = match cols {
            1 => 1,
            _ => cols.next_multiple_of(LINE),
        };
        let stride = (rows * row).next_multiple_of(LINE);
        Self {
            row,
            stride,
            count: wanted.min(MAX_ELEMENTS / stride),
        }
    }

    /// Elements of all.
    pub(super) fn len(&self) -> usize {
        self.count * self.stride
    }
}

/// Elements of partial sums that no product of this shape or its transpose exceeds.
pub(super) fn partial_bound((m, n, k): (usize, usize, usize)) -> usize {
    let blocks = k / MIN_DEPTH;
    let most = |rows, cols| Partials::new(rows, cols, blocks).len();
    if m == 0 || n == 0 || m.saturating_mul(n) > MAX_ELEMENTS {
        return 0;
    }
    most(m, n).max(most(n, m))
}

/// A part of C and of the partial sums that belong to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddArgs<T> {
    /// `c(i, j) = c[i * c_row + j]`
    pub(super) c: *mut T,
    pub(super) c_row: isize,
    /// `partials[s * stride + i * row + j]`
    pub(super) partials: *const T,
    pub(super) row: usize,
    pub(super) stride: usize,
    pub(super) count: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// `c(i, j) <- (c(i, j) + p_0(i, j)) + p_1(i, j) ...`
///
/// # Safety
/// The CPU has the instruction set; the part of C can be read and written, and no one else touches
/// it; its partial sums can be read.
pub(super) type AddFn<T> = unsafe fn(&AddArgs<T>);

/// The addition of an instruction set.
pub(super) const fn add_fn<L: Level, T: Lane>() -> AddFn<T> {
    L::run::<Add<T>>
}

struct Add<T>(PhantomData<T>);

impl<T: Lane> Job for Add<T> {
    type Args = AddArgs<T>;

    #[inline(always)]
    unsafe fn run<L: Level>(t: &AddArgs<T>) {
        // SAFETY: `AddFn`.
        unsafe { add::<T::Of<L>>(t) }
    }
}

#[inline(always)]
unsafe fn add<V: Vector>(t: &AddArgs<V::Elem>) {
    // SAFETY: `AddFn`: elements `j < cols` of the rows are read and written, the last ones by mask.
    unsafe {
        // As the micro-kernel adds to C: `1 c + p`, rounded once.
        let one = V::splat(V::Elem::ONE);
        let full = t.cols / V::LANES * V::LANES;
        let rest = V::mask(t.cols - full);
        for i in 0..t.rows {
            let c = t.c.offset(i as isize * t.c_row);
            let p = t.partials.add(i * t.row);
            for j in (0..full).step_by(V::LANES) {
                let mut sum = V::load(c.add(j));
                for s in 0..t.count {
                    sum = one.mul_add(sum, V::load(p.add(s * t.stride + j)));
                }
                sum.store(c.add(j));
            }
            if full < t.cols {
                let mut sum = V::load_masked(rest, c.add(full));
                for s in 0..t.count {
                    let next = V::load_masked(rest, p.add(s * t.stride + full));
                    sum = one.mul_add(sum, next);
                }
                sum.store_masked(rest, c.add(full));
            }
        }
    }
}
