//! One vector register as the GEMM sees it: the dozen operations that decide its speed.
//!
//! Everything else in this crate is written over `pulp`. The micro-kernel and packing are not,
//! because masks, broadcasts, prefetches and in-register transposes decide there.

/// Stamps the operations that are one intrinsic each.
///
/// The unsafe part of all of them is what [`Vector`] asks of its callers: the instruction set is
/// there, and the pointers may be read or written.
macro_rules! intrinsics {
    ($elem:ty: zero $zero:path, splat $splat:path, mul $mul:path, load $load:path, store $store:path) => {
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: as `Vector` asks.
            unsafe { $zero() }
        }

        #[inline(always)]
        unsafe fn splat(x: $elem) -> Self {
            // SAFETY: as `Vector` asks.
            unsafe { $splat(x) }
        }

        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            // SAFETY: as `Vector` asks.
            unsafe { $mul(self, b) }
        }

        #[inline(always)]
        unsafe fn load(p: *const $elem) -> Self {
            // SAFETY: as `Vector` asks.
            unsafe { $load(p) }
        }

        #[inline(always)]
        unsafe fn store(self, p: *mut $elem) {
            // SAFETY: as `Vector` asks.
            unsafe { $store(p, self) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

/// A floating-point type that matrices are made of.
pub(crate) trait Element:
    Copy
    + PartialEq
    + Send
    + Sync
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Mul<Output = Self>
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

impl Element for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

/// A register of `LANES` elements.
///
/// # Safety
/// Every function may only be called on a CPU that has the instruction set of the implementation,
/// and inside a function compiled for it, or nothing is inlined. Pointers need the alignment of one
/// element only.
pub(crate) trait Vector: Copy {
    type Elem: Element;
    /// Selects the first lanes of a register.
    type Mask: Copy;
    const LANES: usize;
    /// How many of them there are.
    const REGISTERS: usize;
    /// Whether a masked load costs no more than a plain one.
    const FREE_MASKS: bool;

    unsafe fn zero() -> Self;
    unsafe fn splat(x: Self::Elem) -> Self;
    /// `self * b + c`, rounded once where the instruction set can.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    /// # Safety
    /// `LANES` elements can be read at `p`.
    unsafe fn load(p: *const Self::Elem) -> Self;
    /// # Safety
    /// `LANES` elements can be written at `p`.
    unsafe fn store(self, p: *mut Self::Elem);
    /// The mask of the first `n <= LANES` lanes.
    unsafe fn mask(n: usize) -> Self::Mask;
    /// Loads the lanes of the mask, and zero in the others.
    ///
    /// # Safety
    /// The lanes of the mask can be read at `p`; no others are touched.
    unsafe fn load_masked(mask: Self::Mask, p: *const Self::Elem) -> Self;
    /// # Safety
    /// The lanes of the mask can be written at `p`; no others are touched.
    unsafe fn store_masked(self, mask: Self::Mask, p: *mut Self::Elem);
    /// [`Self::store_masked`] of the last register of each row, `stride` elements apart from `p` on.
    ///
    /// # Safety
    /// As [`Self::store_masked`], for each row.
    #[allow(
        clippy::needless_range_loop,
        reason = "iterators send the registers to memory"
    )]
    #[inline(always)]
    unsafe fn store_last_masked<const NV: usize, const MR: usize>(
        rows: &[[Self; NV]; MR],
        mask: Self::Mask,
        p: *mut Self::Elem,
        stride: isize,
    ) {
        for i in 0..MR {
            // SAFETY: this function's contract.
            unsafe { rows[i][NV - 1].store_masked(mask, p.offset(i as isize * stride)) };
        }
    }
    /// The sum of the lanes of each of four registers, added in a fixed order.
    unsafe fn sums(registers: [Self; 4]) -> [Self::Elem; 4];
    /// Transposes a `LANES x LANES` block: `dst[c * ld + r] = src(r)[c]` with
    /// `src(r) = src + min(r, rows - 1) * stride`, rows of the result written in order of `c`.
    ///
    /// # Safety
    /// `LANES` elements can be read at each `src(r)`; `LANES` can be written at each `dst + c * ld`.
    #[inline(always)]
    unsafe fn transpose(
        src: *const Self::Elem,
        stride: isize,
        rows: usize,
        dst: *mut Self::Elem,
        ld: usize,
    ) {
        for c in 0..Self::LANES {
            for r in 0..Self::LANES {
                // SAFETY: the caller vouches for both places.
                unsafe {
                    *dst.add(c * ld + r) = *src.offset(r.min(rows - 1) as isize * stride).add(c);
                }
            }
        }
    }
}

/// Hints that the cache line of `p` is wanted soon in the first-level cache; `p` may point anywhere.
#[inline(always)]
pub(super) fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every CPU of this architecture has the instruction, which touches nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// As [`prefetch`], into the second-level cache, where there is room whatever the distance of lines.
#[inline(always)]
pub(super) fn prefetch_near<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// The registers of an instruction set, and a way into code compiled for it.
pub(crate) trait Level: crate::level::Level {
    type F32: Vector<Elem = f32>;
    type F64: Vector<Elem = f64>;
    /// Runs a job in a function compiled for this instruction set; a pointer to `run::<J>` is what
    /// the tables hold.
    ///
    /// # Safety
    /// The CPU has the instruction set, and what the job asks of its arguments holds.
    unsafe fn run<J: Job>(args: &J::Args);
}

/// Work to be compiled for an instruction set.
pub(crate) trait Job {
    /// What it works on.
    type Args;

    /// The work; implementations are `#[inline(always)]`, so that it is compiled inside
    /// [`Level::run`].
    ///
    /// # Safety
    /// What the implementation asks of its arguments, and to be called by [`Level::run`] alone.
    unsafe fn run<L: Level>(args: &Self::Args);
}

/// Picks the register of a level that holds the elements `Self`.
pub(crate) trait Lane: Element {
    type Of<L: Level>: Vector<Elem = Self>;
}

impl Lane for f32 {
    type Of<L: Level> = L::F32;
}

impl Lane for f64 {
    type Of<L: Level> = L::F64;
}
