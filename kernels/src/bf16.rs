//! f32 numbers as sums of bf16 numbers.
//!
//! A bf16 number is the upper half of an f32: the same exponents, 8 bits of significand instead of 24.
//! Here it is an f32, or its bits, whose lower half is zero.
//!
//! ```text
//! x = h + m + l,   h = round(x),   m = round(x - h),   l = x - h - m
//! ```
//!
//! Both differences are exact, and so is the sum of the three parts: `|x - h| <= 2^-8 |x|` has 16 bits at
//! most, and `|x - h - m| <= 2^-16 |x|` 8. Rounding must be to nearest: parts cut off would all have the sign
//! of x, and what a product leaves out a bias. G. Henry, P. T. P. Tang and A. Heinecke, "Leveraging the
//! bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations" (2019).

use crate::precision::Precision;

/// What multiplies bf16 numbers and adds up the products as f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bf16Unit {
    /// Dot products of pairs in vector registers (AVX512-BF16).
    Dot,
    /// The matrix unit, [`crate::amx::tile::Amx`].
    Amx,
    /// [`crate::amx::model::Model`] of it, for tests on machines without one.
    Model,
}

impl Bf16Unit {
    /// Whether a sum of as many products as the precision takes is worth it: dot products do twice the
    /// work of multiply-adds in the same time, so that three products for one would be slower.
    pub(crate) fn serves(self, precision: Precision) -> bool {
        match self {
            Self::Dot => precision == Precision::Medium,
            Self::Amx | Self::Model => precision != Precision::Ieee,
        }
    }
}

/// The bits that a bf16 number has.
const UPPER: u32 = 0xffff_0000;
/// The bits of infinity.
pub(crate) const INFINITY: u32 = 0x7f80_0000;

/// The nearest bf16 number, the even one of two, of the bits of a finite number; infinity from
/// `2^128 - 2^119` on.
#[inline(always)]
fn round(bits: u32) -> u32 {
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & UPPER
}

/// The first `P` parts, largest first, as bits. All are finite where `|x| < 2^127`.
#[inline(always)]
pub(crate) fn split<const P: usize>(x: f32) -> [u32; P] {
    let mut rest = x;
    let mut parts = [0; P];
    for part in &mut parts {
        *part = round(rest.to_bits());
        rest -= f32::from_bits(*part);
    }
    parts
}

/// The sum of parts made by [`split`]: x itself if there are three.
#[inline(always)]
pub(crate) fn join<const P: usize>(parts: [u32; P]) -> f32 {
    let mut sum = 0.0;
    for part in parts.into_iter().rev() {
        sum += f32::from_bits(part);
    }
    sum
}

/// Any number in the room of `P` parts, for [`join_raw`]: all of its bits if there are two or more, else the
/// nearest number that is finite, infinite or NaN if x is.
#[inline(always)]
pub(crate) fn split_raw<const P: usize>(x: f32) -> [u32; P] {
    let bits = x.to_bits();
    let mut parts = [0; P];
    if P > 1 {
        parts[0] = bits & UPPER;
        parts[1] = bits << 16;
    } else if x.is_nan() {
        parts[0] = (bits | 0x0040_0000) & UPPER;
    } else {
        let nearest = round(bits);
        let overflows = nearest & !(1 << 31) == INFINITY;
        parts[0] = if overflows { bits & UPPER } else { nearest };
    }
    parts
}

/// What [`split_raw`] was given, or made of it.
#[inline(always)]
pub(crate) fn join_raw<const P: usize>(parts: [u32; P]) -> f32 {
    f32::from_bits(parts[0] | if P > 1 { parts[1] >> 16 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all exponents and patterns of bits.
    fn numbers() -> impl Iterator<Item = f32> {
        (0..200_000_u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9).rotate_left(7)))
    }

    #[test]
    fn rounds_to_nearest_even() {
        for (x, expected) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (-1.0 - 1.1 / 256.0, -1.0 - 2.0 / 256.0),
        ] {
            assert_eq!(split::<1>(x), [f32::to_bits(expected)], "{x}");
        }
    }

    #[test]
    fn three_parts_are_the_number() {
        for x in numbers().filter(|x| (2e-31..1e38).contains(&x.abs())) {
            let parts = split::<3>(x);
            assert_eq!(join(parts), x);
            let [h, m, l] = parts.map(f32::from_bits);
            assert!((x - h).abs() <= x.abs() / 256.0, "{x}");
            assert!((x - h - m).abs() <= x.abs() / 65536.0, "{x}");
            assert_eq!(f64::from(h) + f64::from(m) + f64::from(l), f64::from(x));
            assert!(parts.iter().all(|part| part & !UPPER == 0));
            assert_eq!(split::<2>(x), [parts[0], parts[1]]);
        }
    }

    #[test]
    fn raw_parts_keep_what_a_number_is() {
        let specials = [
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            -f32::INFINITY,
            1e-40,
            -0.0,
        ];
        for x in numbers().chain(specials) {
            assert_eq!(join_raw(split_raw::<2>(x)).to_bits(), x.to_bits());
            assert_eq!(join_raw(split_raw::<3>(x)).to_bits(), x.to_bits());
            let one = join_raw(split_raw::<1>(x));
            assert_eq!(one.is_nan(), x.is_nan(), "{x}");
            assert_eq!(one.is_infinite(), x.is_infinite(), "{x}");
            assert_eq!(one.is_sign_negative(), x.is_sign_negative(), "{x}");
            let is_normal = x.is_normal() && x.is_finite();
            assert!(!is_normal || (one - x).abs() <= x.abs() / 128.0, "{x}");
        }
        let odd_nan = f32::from_bits(0x7fff_ffff);
        assert!(join_raw(split_raw::<1>(odd_nan)).is_nan());
    }
}
