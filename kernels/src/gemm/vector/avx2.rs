//! 256-bit registers: 8 `f32` or 4 `f64`, masks as vectors of sign bits.
//!
//! The unsafe operations are intrinsics whose safety [`Vector`] hands to its callers.

use std::arch::x86_64::*;

use super::{Job, Level, Vector};
use crate::level::Avx2;

impl Level for Avx2 {
    type F32 = __m256;
    type F64 = __m256d;

    #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
    unsafe fn run<J: Job>(args: &J::Args) {
        // SAFETY: the caller of `Level::run` vouches for the CPU and for the job.
        unsafe { J::run::<Self>(args) }
    }
}

/// The first `count` lanes, all bits set in `lanes`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    lanes: __m256i,
    count: usize,
}

/// A window of `LANES` words into this, ending `n` words after its middle, selects the first `n`.
static MASK_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static MASK_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

impl Vector for __m256 {
    type Elem = f32;
    type Mask = Mask;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    const FREE_MASKS: bool = false;

    intrinsics!(f32: zero _mm256_setzero_ps, splat _mm256_set1_ps, mul _mm256_mul_ps, load _mm256_loadu_ps, store _mm256_storeu_ps);

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as `Vector` asks.
        unsafe { _mm256_fmadd_ps(self, b, c) }
    }

    #[inline(always)]
    unsafe fn mask(count: usize) -> Mask {
        // SAFETY: `count <= 8`, so the window lies in the table.
        let lanes = unsafe { _mm256_loadu_si256(MASK_32.as_ptr().add(8 - count).cast()) };
        Mask { lanes, count }
    }

    #[inline(always)]
    unsafe fn load_masked(mask: Mask, p: *const f32) -> Self {
        // SAFETY: as `Vector` asks; lanes outside the mask are not touched.
        unsafe { _mm256_maskload_ps(p, mask.lanes) }
    }

    /// By halves: a masked store takes some forty steps of microcode on AMD cores before Zen 4.
    #[inline(always)]
    unsafe fn store_masked(self, mask: Mask, p: *mut f32) {
        let n = mask.count;
        // SAFETY: as `Vector` asks; each part lies in the first `n` lanes.
        unsafe {
            if n == Self::LANES {
                self.store(p);
                return;
            }
            let (mut rest, mut p) = (_mm256_castps256_ps128(self), p);
            if n & 4 != 0 {
                _mm_storeu_ps(p, rest);
                (rest, p) = (_mm256_extractf128_ps::<1>(self), p.add(4));
            }
            if n & 2 != 0 {
                _mm_storel_pd(p.cast(), _mm_castps_pd(rest));
                (rest, p) = (_mm_movehl_ps(rest, rest), p.add(2));
            }
            if n & 1 != 0 {
                _mm_store_ss(p, rest);
            }
        }
    }

    /// As [`Self::store_masked`], with each of its questions asked once for all rows.
    #[expect(
        clippy::needless_range_loop,
        reason = "iterators send the registers to memory"
    )]
    #[inline(always)]
    unsafe fn store_last_masked<const NV: usize, const MR: usize>(
        rows: &[[Self; NV]; MR],
        mask: Mask,
        p: *mut f32,
        stride: isize,
    ) {
        let n = mask.count;
        // SAFETY: as `Vector` asks; each part lies in the first `n` lanes.
        unsafe {
            let mut rest = [_mm_setzero_ps(); MR];
            for i in 0..MR {
                rest[i] = _mm256_castps256_ps128(rows[i][NV - 1]);
            }
            let mut p = p;
            if n & 4 != 0 {
                for i in 0..MR {
                    _mm_storeu_ps(p.offset(i as isize * stride), rest[i]);
                    rest[i] = _mm256_extractf128_ps::<1>(rows[i][NV - 1]);
                }
                p = p.add(4);
            }
            if n & 2 != 0 {
                for i in 0..MR {
                    _mm_storel_pd(p.offset(i as isize * stride).cast(), _mm_castps_pd(rest[i]));
                    rest[i] = _mm_movehl_ps(rest[i], rest[i]);
                }
                p = p.add(2);
            }
            if n & 1 != 0 {
                for i in 0..MR {
                    _mm_store_ss(p.offset(i as isize * stride), rest[i]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: as `Vector` asks; four elements fit the array.
        unsafe {
            let quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let sums = _mm_add_ps(
                _mm256_castps256_ps128(quads),
                _mm256_extractf128_ps::<1>(quads),
            );
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }

    /// Four columns at a time: rows q and 4 + q share a register, a 4 x 4 transpose inside the
    /// 128-bit lanes finishes the job.
    #[inline(always)]
    unsafe fn transpose(src: *const f32, stride: isize, rows: usize, dst: *mut f32, ld: usize) {
        // SAFETY: `Vector::transpose`'s caller vouches for every place read and written here.
        unsafe {
            let row = |r: usize| src.offset(r.min(rows - 1) as isize * stride);
            for c in [0, 4] {
                let pair = |q: usize| {
                    let (lo, hi) = (row(q).add(c), row(4 + q).add(c));
                    _mm256_insertf128_ps::<1>(
                        _mm256_castps128_ps256(_mm_loadu_ps(lo)),
                        _mm_loadu_ps(hi),
                    )
                };
                let (t0, t1, t2, t3) = (pair(0), pair(1), pair(2), pair(3));
                let (a, b) = (_mm256_unpacklo_ps(t0, t1), _mm256_unpacklo_ps(t2, t3));
                let (e, f) = (_mm256_unpackhi_ps(t0, t1), _mm256_unpackhi_ps(t2, t3));
                let columns = [
                    _mm256_shuffle_ps::<0b01_00_01_00>(a, b),
                    _mm256_shuffle_ps::<0b11_10_11_10>(a, b),
                    _mm256_shuffle_ps::<0b01_00_01_00>(e, f),
                    _mm256_shuffle_ps::<0b11_10_11_10>(e, f),
                ];
                for (i, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(dst.add((c + i) * ld), column);
                }
            }
        }
    }
}

impl Vector for __m256d {
    type Elem = f64;
    type Mask = Mask;
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    const FREE_MASKS: bool = false;

    intrinsics!(f64: zero _mm256_setzero_pd, splat _mm256_set1_pd, mul _mm256_mul_pd, load _mm256_loadu_pd, store _mm256_storeu_pd);

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as `Vector` asks.
        unsafe { _mm256_fmadd_pd(self, b, c) }
    }

    #[inline(always)]
    unsafe fn mask(count: usize) -> Mask {
        // SAFETY: `count <= 4`, so the window lies in the table.
        let lanes = unsafe { _mm256_loadu_si256(MASK_64.as_ptr().add(4 - count).cast()) };
        Mask { lanes, count }
    }

    #[inline(always)]
    unsafe fn load_masked(mask: Mask, p: *const f64) -> Self {
        // SAFETY: as `Vector` asks; lanes outside the mask are not touched.
        unsafe { _mm256_maskload_pd(p, mask.lanes) }
    }

    /// By halves, as for `f32`.
    #[inline(always)]
    unsafe fn store_masked(self, mask: Mask, p: *mut f64) {
        let n = mask.count;
        // SAFETY: as `Vector` asks; each part lies in the first `n` lanes.
        unsafe {
            if n == Self::LANES {
                self.store(p);
                return;
            }
            let (mut rest, mut p) = (_mm256_castpd256_pd128(self), p);
            if n & 2 != 0 {
                _mm_storeu_pd(p, rest);
                (rest, p) = (_mm256_extractf128_pd::<1>(self), p.add(2));
            }
            if n & 1 != 0 {
                _mm_store_sd(p, rest);
            }
        }
    }

    #[inline(always)]
    unsafe fn sums(registers: [Self; 4]) -> [f64; 4] {
        // SAFETY: as `Vector` asks; four elements fit the array.
        registers.map(|x| unsafe {
            let mut lanes = [0.0; 4];
            _mm256_storeu_pd(lanes.as_mut_ptr(), x);
            (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
        })
    }
}
