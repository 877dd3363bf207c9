//! 512-bit registers: 16 `f32` or 8 `f64`, masks in their own registers.
//!
//! The unsafe operations are intrinsics whose safety [`Vector`] hands to its callers.

use std::arch::x86_64::*;

use super::{Job, Level, Vector};
use crate::level::Avx512;

impl Level for Avx512 {
    type F32 = __m512;
    type F64 = __m512d;

    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,fma,avx2,bmi1,bmi2")]
    unsafe fn run<J: Job>(args: &J::Args) {
        // SAFETY: the caller of `Level::run` vouches for the CPU and for the job.
        unsafe { J::run::<Self>(args) }
    }
}

impl Vector for __m512 {
    type Elem = f32;
    type Mask = __mmask16;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const FREE_MASKS: bool = true;

    intrinsics!(f32: zero _mm512_setzero_ps, splat _mm512_set1_ps, mul _mm512_mul_ps, load _mm512_loadu_ps, store _mm512_storeu_ps);

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as `Vector` asks.
        unsafe { _mm512_fmadd_ps(self, b, c) }
    }

    #[inline(always)]
    unsafe fn mask(n: usize) -> __mmask16 {
        ((1_u32 << n) - 1) as __mmask16
    }

    #[inline(always)]
    unsafe fn load_masked(mask: __mmask16, p: *const f32) -> Self {
        // SAFETY: as `Vector` asks; lanes outside the mask are not touched.
        unsafe { _mm512_maskz_loadu_ps(mask, p) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, mask: __mmask16, p: *mut f32) {
        // SAFETY: as `Vector` asks; lanes outside the mask are not touched.
        unsafe { _mm512_mask_storeu_ps(p, mask, self) }
    }

    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: as `Vector` asks; four elements fit the array.
        unsafe {
            let pairs = |x, y| _mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
            let (ab, cd) = (_mm512_castps_pd(pairs(a, b)), _mm512_castps_pd(pairs(c, d)));
            let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
            let high = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
            let quads = _mm512_add_ps(low, high);
            let halves = _mm256_add_ps(
                _mm512_castps512_ps256(quads),
                _mm512_extractf32x8_ps::<1>(quads),
            );
            let sums = _mm_add_ps(
                _mm256_castps256_ps128(halves),
                _mm256_extractf128_ps::<1>(halves),
            );
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }

    /// Four columns at a time: 128-bit loads put rows q, 4 + q, 8 + q, 12 + q in the lanes of one
    /// register, so that a 4 x 4 transpose inside the lanes (8 shuffles) finishes the job; a whole
    /// 16 x 16 transpose by shuffles alone takes twice as many.
    #[inline(always)]
    unsafe fn transpose(src: *const f32, stride: isize, rows: usize, dst: *mut f32, ld: usize) {
        // SAFETY: `Vector::transpose`'s caller vouches for every place read and written here.
        unsafe {
            let row = |r: usize| src.offset(r.min(rows - 1) as isize * stride);
            for c in (0..16).step_by(4) {
                let quad = |q: usize| {
                    let at = |r: usize| _mm_loadu_ps(row(r).add(c));
                    let v = _mm512_castps128_ps512(at(q));
                    let v = _mm512_mask_broadcast_f32x4(v, 0x00f0, at(4 + q));
                    let v = _mm512_mask_broadcast_f32x4(v, 0x0f00, at(8 + q));
                    _mm512_mask_broadcast_f32x4(v, 0xf000, at(12 + q))
                };
                let (t0, t1, t2, t3) = (quad(0), quad(1), quad(2), quad(3));
                let pair = |lo, hi| (_mm512_castps_pd(lo), _mm512_castps_pd(hi));
                let (a, b) = pair(_mm512_unpacklo_ps(t0, t1), _mm512_unpacklo_ps(t2, t3));
                let (e, f) = pair(_mm512_unpackhi_ps(t0, t1), _mm512_unpackhi_ps(t2, t3));
                let columns = [
                    _mm512_unpacklo_pd(a, b),
                    _mm512_unpackhi_pd(a, b),
                    _mm512_unpacklo_pd(e, f),
                    _mm512_unpackhi_pd(e, f),
                ];
                for (i, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_ps(dst.add((c + i) * ld), _mm512_castpd_ps(column));
                }
            }
        }
    }
}

impl Vector for __m512d {
    type Elem = f64;
    type Mask = __mmask8;
    const LANES: usize = 8;
    const REGISTERS: usize = 32;
    const FREE_MASKS: bool = true;

    intrinsics!(f64: zero _mm512_setzero_pd, splat _mm512_set1_pd, mul _mm512_mul_pd, load _mm512_loadu_pd, store _mm512_storeu_pd);

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as `Vector` asks.
        unsafe { _mm512_fmadd_pd(self, b, c) }
    }

    #[inline(always)]
    unsafe fn mask(n: usize) -> __mmask8 {
        ((1_u32 << n) - 1) as __mmask8
    }

    #[inline(always)]
    unsafe fn load_masked(mask: __mmask8, p: *const f64) -> Self {
        // SAFETY: as `Vector` asks; lanes outside the mask are not touched.
        unsafe { _mm512_maskz_loadu_pd(mask, p) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, mask: __mmask8, p: *mut f64) {
        // SAFETY: as `Vector` asks; lanes outside the mask are not touched.
        unsafe { _mm512_mask_storeu_pd(p, mask, self) }
    }

    #[inline(always)]
    unsafe fn sums(registers: [Self; 4]) -> [f64; 4] {
        // SAFETY: as `Vector` asks.
        registers.map(|x| unsafe { _mm512_reduce_add_pd(x) })
    }
}
