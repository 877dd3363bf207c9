//! 128-bit registers of aarch64: 4 `f32` or 2 `f64`.
//!
//! The unsafe operations are intrinsics whose safety [`Vector`] hands to its callers. There are no
//! masks in this instruction set: partial registers go through memory, lane by lane.

use std::arch::aarch64::*;

use super::{Job, Level, Vector};
use crate::level::Neon;

impl Level for Neon {
    type F32 = float32x4_t;
    type F64 = float64x2_t;

    #[target_feature(enable = "neon")]
    unsafe fn run<J: Job>(args: &J::Args) {
        // SAFETY: the caller of `Level::run` vouches for the CPU and for the job.
        unsafe { J::run::<Self>(args) }
    }
}

/// # Safety
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn zero_f32() -> float32x4_t {
    // SAFETY: this function's contract.
    unsafe { vdupq_n_f32(0.0) }
}

impl Vector for float32x4_t {
    type Elem = f32;
    type Mask = usize;
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    const FREE_MASKS: bool = false;

    intrinsics!(f32: zero zero_f32, splat vdupq_n_f32, mul vmulq_f32, load vld1q_f32, store vst1q_f32);

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as `Vector` asks.
        unsafe { vfmaq_f32(c, self, b) }
    }

    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }

    #[inline(always)]
    unsafe fn load_masked(mask: usize, p: *const f32) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(mask) {
            // SAFETY: as `Vector` asks: the lanes of the mask can be read.
            *lane = unsafe { *p.add(i) };
        }
        // SAFETY: four elements stand in the array.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, mask: usize, p: *mut f32) {
        let mut lanes = [0.0; 4];
        // SAFETY: four elements fit the array.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), self) };
        for (i, lane) in lanes.into_iter().enumerate().take(mask) {
            // SAFETY: as `Vector` asks: the lanes of the mask can be written.
            unsafe { *p.add(i) = lane };
        }
    }

    #[inline(always)]
    unsafe fn sums(registers: [Self; 4]) -> [f32; 4] {
        // SAFETY: as `Vector` asks.
        registers.map(|x| unsafe { vaddvq_f32(x) })
    }
}

/// # Safety
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn zero_f64() -> float64x2_t {
    // SAFETY: this function's contract.
    unsafe { vdupq_n_f64(0.0) }
}

impl Vector for float64x2_t {
    type Elem = f64;
    type Mask = usize;
    const LANES: usize = 2;
    const REGISTERS: usize = 32;
    const FREE_MASKS: bool = false;

    intrinsics!(f64: zero zero_f64, splat vdupq_n_f64, mul vmulq_f64, load vld1q_f64, store vst1q_f64);

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as `Vector` asks.
        unsafe { vfmaq_f64(c, self, b) }
    }

    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }

    #[inline(always)]
    unsafe fn load_masked(mask: usize, p: *const f64) -> Self {
        let mut lanes = [0.0; 2];
        for (i, lane) in lanes.iter_mut().enumerate().take(mask) {
            // SAFETY: as `Vector` asks: the lanes of the mask can be read.
            *lane = unsafe { *p.add(i) };
        }
        // SAFETY: two elements stand in the array.
        unsafe { vld1q_f64(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, mask: usize, p: *mut f64) {
        let mut lanes = [0.0; 2];
        // SAFETY: two elements fit the array.
        unsafe { vst1q_f64(lanes.as_mut_ptr(), self) };
        for (i, lane) in lanes.into_iter().enumerate().take(mask) {
            // SAFETY: as `Vector` asks: the lanes of the mask can be written.
            unsafe { *p.add(i) = lane };
        }
    }

    #[inline(always)]
    unsafe fn sums(registers: [Self; 4]) -> [f64; 4] {
        // SAFETY: as `Vector` asks.
        registers.map(|x| unsafe { vaddvq_f64(x) })
    }
}
