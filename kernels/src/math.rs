//! exp, tanh, sigmoid and ln on one register, for every instruction set.
//!
//! # Method
//! All exponentials start alike (Cody and Waite, 1980): with `n = round(x / ln 2)` and
//! `r = x - n ln 2`, so `|r| <= ln(2) / 2`,
//!
//! `e^x = 2^n (1 + w)`, `w = e^r - 1 = r + r^2 q(r)`
//!
//! where q is the polynomial of Cephes' `expf`. Rounding to n is one addition of
//! [`ROUND_TO_INTEGER`]; afterwards the low bits of the sum hold n, and a shift makes them an
//! exponent. ln 2 is subtracted in two pieces, the first so short that `n * LN2_HIGH` is exact with
//! or without a fused multiply-add.
//!
//! - exp adds n to the exponent bits of `1 + w`;
//! - sigmoid is `1 / (1 + 2^n + 2^n w)` of -x, which rounds once less than `1 / (1 + exp)`;
//! - tanh is an odd polynomial (Cephes' `tanhf`) for `|x| < 0.625`, else `1 - 2 / (1 + e^2|x|)`;
//! - ln splits x into `2^k (1 + f)`, `1 + f` in `[sqrt(1/2), sqrt(2))`, and uses the polynomial of
//!   Cephes' `logf` in f.
//!
//! # Subnormal numbers
//! An operation that makes a subnormal number can cost more than a hundred cycles. So results below
//! 2^-126 are 0 (exp, sigmoid), squares of small numbers are kept normal by [`TINY`], and arguments
//! are clamped before they can underflow.
//!
//! # Error
//! In units in the last place, over all arguments with a normal result, with or without a fused
//! multiply-add:
//!
//! | | bound | largest seen |
//! |---|---|---|
//! | [`exp`] | 1 | 0.91 |
//! | [`tanh`] | 1.5 | 1.21 |
//! | [`sigmoid`] | 2 | 1.69 |
//! | [`ln`] | 1 | 0.83 |
//! | [`ln_1p`] | 1.5 | 1.19 |

use pulp::Simd;

const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// 1.5 * 2^23: a float this large has no fraction bits, so adding it rounds to an integer.
const ROUND_TO_INTEGER: f32 = 12_582_912.0;

/// First piece of ln 2: 355 / 512, nine bits, so that products with |n| <= 2^15 are exact.
const LN2_HIGH: f32 = 355.0 / 512.0;

/// Second piece: `ln 2 - LN2_HIGH`.
#[expect(clippy::excessive_precision, reason = "the digits of the source")]
const LN2_LOW: f32 = -2.121_944_400_5e-4;

/// q of the module text, highest power first: Cephes, `expf.c`.
#[expect(clippy::excessive_precision, reason = "the digits of the source")]
const EXP: [f32; 6] = [
    1.987_569_150_0e-4,
    1.398_199_950_7e-3,
    8.333_451_907_3e-3,
    4.166_579_589_4e-2,
    1.666_666_545_9e-1,
    5.000_000_120_1e-1,
];

/// The smallest x with a normal e^x: the first float above -126 ln 2.
const EXP_MIN: f32 = -87.336_54;

/// The largest x with a finite e^x: the last float below 128 ln 2.
const EXP_MAX: f32 = 88.722_83;

/// `(tanh(x) / x - 1) / x^2` in powers of x^2, highest first, for |x| < [`TANH_SMALL`]: Cephes,
/// `tanhf.c`.
#[expect(clippy::excessive_precision, reason = "the digits of the source")]
const TANH: [f32; 5] = [
    -5.704_988_727_45e-3,
    2.063_908_879_54e-2,
    -5.373_971_555_31e-2,
    1.333_144_220_36e-1,
    -3.333_328_194_22e-1,
];

/// Where tanh changes from the polynomial to the exponential.
const TANH_SMALL: f32 = 0.625;

/// From here on tanh rounds to 1 (from 9.01 on, in fact) and the exponential need not grow.
const TANH_ONE: f32 = 10.0;

/// Added to squares so that they stay normal for every x. They enter sums of 1 and more, or factors
/// near 1, in which 2^-40 is far below the last place.
const TINY: f32 = 1.0 / (1u64 << 40) as f32;

/// From here on sigmoid rounds to 1 (from 17.4 on, in fact).
const SIGMOID_ONE: f32 = 20.0;

/// `(ln(1 + f) - f + f^2 / 2) / f^3` in powers of f, highest first, for 1 + f in
/// [sqrt(1/2), sqrt(2)): Cephes, `logf.c`.
#[expect(clippy::excessive_precision, reason = "the digits of the source")]
const LN: [f32; 9] = [
    7.037_683_629_2e-2,
    -1.151_461_031_0e-1,
    1.167_699_874_0e-1,
    -1.242_014_084_6e-1,
    1.424_932_278_7e-1,
    -1.666_805_766_5e-1,
    2.000_071_476_5e-1,
    -2.499_999_399_3e-1,
    3.333_333_117_4e-1,
];

/// Exponent bits of 1.0, as an integer.
const EXPONENT_OF_ONE: u32 = 127;

/// Bits of the fraction of a float.
const FRACTION_BITS: u32 = 23;

/// `min(x, limit)`, and NaN where x is NaN.
#[inline(always)]
pub(crate) fn at_most<S: Simd>(s: S, limit: S::f32s, x: S::f32s) -> S::f32s {
    if S::IS_SCALAR {
        s.select_f32s(s.less_than_f32s(limit, x), limit, x)
    } else {
        // The vector units give the second operand (x86), or NaN (NEON), where one of them is NaN.
        s.min_f32s(limit, x)
    }
}

/// `max(x, limit)`, and NaN where x is NaN.
#[inline(always)]
pub(crate) fn at_least<S: Simd>(s: S, limit: S::f32s, x: S::f32s) -> S::f32s {
    if S::IS_SCALAR {
        s.select_f32s(s.greater_than_f32s(limit, x), limit, x)
    } else {
        // As in `at_most`.
        s.max_f32s(limit, x)
    }
}

/// Polynomial in x, coefficients from the highest power down (Horner's rule).
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = s.splat_f32s(coefficients[0]);
    for c in &coefficients[1..] {
        sum = s.mul_add_e_f32s(sum, x, s.splat_f32s(*c));
    }
    sum
}

/// e^x = 2^n (1 + w): n, shifted to where the exponent of a float lies, and w.
///
/// Meaningful for |x| < 2^15 ln 2; elsewhere both parts are garbage, but cheap garbage.
#[inline(always)]
fn split_exp<S: Simd>(s: S, x: S::f32s) -> (S::u32s, S::f32s) {
    let magic = s.splat_f32s(ROUND_TO_INTEGER);
    let shifted = s.mul_add_e_f32s(x, s.splat_f32s(LOG2_E), magic);
    let n = s.sub_f32s(shifted, magic);
    // The high part is exact. The low one joins the small terms, to be rounded among them.
    let high = s.negate_mul_add_e_f32s(n, s.splat_f32s(LN2_HIGH), x);
    let low = s.mul_f32s(n, s.splat_f32s(-LN2_LOW));
    let r = s.add_f32s(high, low);
    let square = s.mul_add_e_f32s(r, r, s.splat_f32s(TINY));
    // Estrin's scheme: pairs first, for a chain of dependent operations half as long.
    let [c5, c4, c3, c2, c1, c0] = EXP;
    let q = polynomial(s, r, [c5, c4]);
    let q = s.mul_add_e_f32s(q, square, polynomial(s, r, [c3, c2]));
    let q = s.mul_add_e_f32s(q, square, polynomial(s, r, [c1, c0]));
    let w = s.add_f32s(high, s.mul_add_e_f32s(q, square, low));
    let exponent =
        s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(shifted), s.splat_u32s(FRACTION_BITS));
    (exponent, w)
}

/// 2^n of an n from [`split_exp`], for -126 <= n <= 127.
#[inline(always)]
fn power_of_two<S: Simd>(s: S, exponent: S::u32s) -> S::f32s {
    let one = s.splat_u32s(EXPONENT_OF_ONE << FRACTION_BITS);
    s.transmute_f32s_u32s(s.add_u32s(exponent, one))
}

/// e^x; 0 where the result would be below 2^-126.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let (exponent, w) = split_exp(s, x);
    let p = s.add_f32s(w, s.splat_f32s(1.0));
    let y = s.transmute_f32s_u32s(s.add_u32s(s.transmute_u32s_f32s(p), exponent));
    let underflows = s.less_than_f32s(x, s.splat_f32s(EXP_MIN));
    let y = s.select_f32s(underflows, s.splat_f32s(0.0), y);
    // The comparison is false for NaN too, and x + inf is then NaN, else inf.
    let finite = s.less_than_or_equal_f32s(x, s.splat_f32s(EXP_MAX));
    s.select_f32s(finite, y, s.add_f32s(x, s.splat_f32s(f32::INFINITY)))
}

/// tanh x; keeps the sign of zero.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let sign = s.and_f32s(x, s.splat_f32s(-0.0));
    let a = s.abs_f32s(x);

    let square = s.mul_add_e_f32s(a, a, s.splat_f32s(TINY));
    let correction = s.mul_f32s(square, polynomial(s, square, TANH));
    let small = s.mul_add_e_f32s(correction, a, a);

    let one = s.splat_f32s(1.0);
    let limited = at_most(s, s.splat_f32s(TANH_ONE), a);
    let (exponent, w) = split_exp(s, s.add_f32s(limited, limited));
    let scale = power_of_two(s, exponent);
    let denominator = s.mul_add_e_f32s(scale, w, s.add_f32s(scale, one));
    let large = s.sub_f32s(one, s.div_f32s(s.splat_f32s(2.0), denominator));

    let is_small = s.less_than_f32s(a, s.splat_f32s(TANH_SMALL));
    s.or_f32s(s.select_f32s(is_small, small, large), sign)
}

/// 1 / (1 + e^-x); 0 where the result would be below 2^-126.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let limited = at_least(s, s.splat_f32s(EXP_MIN), x);
    let limited = at_most(s, s.splat_f32s(SIGMOID_ONE), limited);
    let (exponent, w) = split_exp(s, s.neg_f32s(limited));
    let scale = power_of_two(s, exponent);
    // From 2^24 on, 1 + 2^n loses its 1: what got lost goes to the smaller summand.
    let sum = s.add_f32s(scale, one);
    let lost = s.sub_f32s(one, s.sub_f32s(sum, scale));
    let denominator = s.add_f32s(s.mul_add_e_f32s(scale, w, lost), sum);
    let y = s.div_f32s(one, denominator);
    let underflows = s.less_than_f32s(x, s.splat_f32s(EXP_MIN));
    s.select_f32s(underflows, s.splat_f32s(0.0), y)
}

/// ln x for x >= 1, such as a sum of exponentials of which one is 1; infinity and NaN are kept.
#[inline(always)]
pub(crate) fn ln<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let bits = s.transmute_u32s_f32s(x);
    // Counted from the bits of sqrt(1/2), the exponent steps where m is to jump back.
    let root_of_half = s.splat_u32s(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let fraction_bits = s.splat_u32s(FRACTION_BITS);
    let k = s.wrapping_dyn_shr_u32s(s.sub_u32s(bits, root_of_half), fraction_bits);
    let m = s.sub_u32s(bits, s.wrapping_dyn_shl_u32s(k, fraction_bits));
    let f = s.sub_f32s(s.transmute_f32s_u32s(m), one);
    let k = s.add_u32s(k, s.splat_u32s(ROUND_TO_INTEGER.to_bits()));
    let k = s.sub_f32s(s.transmute_f32s_u32s(k), s.splat_f32s(ROUND_TO_INTEGER));

    let square = s.mul_f32s(f, f);
    let y = s.mul_f32s(s.mul_f32s(polynomial(s, f, LN), f), square);
    let y = s.mul_add_e_f32s(k, s.splat_f32s(LN2_LOW), y);
    let y = s.mul_add_e_f32s(square, s.splat_f32s(-0.5), y);
    let y = s.mul_add_e_f32s(k, s.splat_f32s(LN2_HIGH), s.add_f32s(f, y));
    let finite = s.less_than_or_equal_f32s(x, s.splat_f32s(f32::MAX));
    s.select_f32s(finite, y, x)
}

/// ln(1 + x) for x from 0 to 1, such as an exponential of what is not above 0; NaN is kept.
///
/// What `1 + x` loses of x is known exactly, and counts `lost / (1 + x)` in the logarithm.
#[inline(always)]
pub(crate) fn ln_1p<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let sum = s.add_f32s(x, one);
    let lost = s.sub_f32s(x, s.sub_f32s(sum, one));
    s.add_f32s(ln(s, sum), s.div_f32s(lost, sum))
}

pub(crate) mod smooth;

#[cfg(test)]
mod tests;
