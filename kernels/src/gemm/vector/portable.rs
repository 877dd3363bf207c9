//! Arrays of four that the compiler maps to whatever 128-bit registers the target has.
//!
//! Products and sums are rounded separately: a fused multiply-add without hardware for it is a
//! function call.

use super::{Element, Job, Level, Vector};
use crate::level::Scalar;

impl Level for Scalar {
    type F32 = Lanes<f32>;
    type F64 = Lanes<f64>;

    unsafe fn run<J: Job>(args: &J::Args) {
        // SAFETY: no instruction set is needed; the caller of `Level::run` vouches for the job.
        unsafe { J::run::<Self>(args) }
    }
}

/// Four elements.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<T>([T; 4]);

impl<T: Element> Lanes<T> {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl<T: Element> Vector for Lanes<T> {
    type Elem = T;
    type Mask = usize;
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    const FREE_MASKS: bool = false;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([T::ZERO; 4])
    }

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        self.zip(b, |x, y| x * y).zip(c, |x, y| x + y)
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |x, y| x * y)
    }

    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: as `Vector` asks.
        Self(unsafe { p.cast::<[T; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: as `Vector` asks.
        unsafe { p.cast::<[T; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }

    #[inline(always)]
    unsafe fn load_masked(mask: usize, p: *const T) -> Self {
        let mut lanes = [T::ZERO; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(mask) {
            // SAFETY: as `Vector` asks: the lanes of the mask can be read.
            *lane = unsafe { *p.add(i) };
        }
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn store_masked(self, mask: usize, p: *mut T) {
        for (i, lane) in self.0.into_iter().enumerate().take(mask) {
            // SAFETY: as `Vector` asks: the lanes of the mask can be written.
            unsafe { *p.add(i) = lane };
        }
    }

    #[inline(always)]
    unsafe fn sums(registers: [Self; 4]) -> [T; 4] {
        registers.map(|Self([a, b, c, d])| (a + c) + (b + d))
    }
}
