//! erf and the activations made of it and of exponentials, on one register.
//!
//! # Method
//! - erf, for `|x| < 0.9277`, is `x + x p(x^2)`; elsewhere `1 - e^(-t q(t))` with `t = |x|`. Both
//!   polynomials were fitted for this file: p for the least relative error of erf (0.28 of 2^-24), q
//!   for that of erf and of its complement up to t = 4.1 (5e-6 of `1 - erf`). Beyond, the
//!   complement is below 1e-8 and goes to 0.
//! - P(x), the share of a normal variable below x, is half that complement on the left and 1 minus it
//!   on the right, so that no tail cancels.
//! - `e^x - 1`, for x <= 0, is `(2^n - 1) + 2^n w` with the parts of [`super`]'s exponentials, and
//!   `x + x^2 / 2` where `x > -2^-12`.
//! - `ln(1 + u)` adds what `1 + u` lost by rounding, `c / (1 + u)`, to the logarithm of the sum.
//! - SiLU is `x sigmoid(x)`, and the tanh form of GELU `x sigmoid(2 u)`.
//!
//! # Error
//! | | bound |
//! |---|---|
//! | [`erf`] | 1.5 units in the last place |
//! | [`elu`] with alpha = 1 | 3 units in the last place |
//! | [`softplus`] | 3 units in the last place |
//! | [`silu`] | `2^-24 * 8 \|y\|` |
//! | [`gelu`], [`gelu_tanh`] | `2^-24 (8 \|y\| + 2)` |
//! | derivatives | `2^-24 * 16` |
//!
//! The tails of GELU to the left are small numbers whose relative error grows with x^2, that of an
//! exponential of a rounded argument; hence a bound that is absolute there.

use pulp::Simd;

use super::{TINY, at_least, at_most, exp, ln, polynomial, power_of_two, sigmoid, split_exp};

/// `erf(x) / x - 1` in powers of x^2, highest first, for |x| < [`ERF_SMALL`].
const ERF: [f32; 6] = [
    -5.965_8e-4,
    4.988_307e-3,
    -2.676_333e-2,
    1.128_172_7e-1,
    -3.761_248_5e-1,
    1.283_791_5e-1,
];

/// `-ln(1 - erf(t)) / t` in powers of t, highest first, for t from [`ERF_SMALL`] to 4.1.
const ERF_COMPLEMENT: [f32; 7] = [
    1.641_976_7e-5,
    -3.724_704_2e-4,
    3.833_719_6e-3,
    -2.414_211_6e-2,
    1.066_487_1e-1,
    6.349_201e-1,
    1.128_701_1,
];

/// Where erf changes from the polynomial to the exponential.
const ERF_SMALL: f32 = 0.9277;

/// From here on to the left, `e^x - 1` rounds to -1 (from -17.4 on, in fact).
const EXP_M1_MIN: f32 = -20.0;

/// To the right of this, `e^x - 1` is `x + x^2 / 2` to 0.2 units in the last place.
const EXP_M1_SMALL: f32 = -1.0 / 4096.0;

/// Beyond this both forms of GELU are x or 0, and SiLU as well (from 105 on); products with zero stay
/// numbers.
const FAR: f32 = 110.0;

const SQRT_1_2: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// `1 / sqrt(2 pi)`
const NORMAL_DENSITY: f32 = 0.398_942_3;

/// `2 sqrt(2 / pi)`: 2 u is this times `x + CUBIC x^3`.
const GELU_TANH: f32 = 1.595_769;

/// The factor of x^3 in the tanh form of GELU.
const CUBIC: f32 = 0.044_715;

/// `1 - erf(t)` for t >= [`ERF_SMALL`].
#[inline(always)]
fn erf_complement<S: Simd>(s: S, t: S::f32s) -> S::f32s {
    let q = polynomial(s, t, ERF_COMPLEMENT);
    exp(s, s.neg_f32s(s.mul_f32s(t, q)))
}

/// erf(x) for |x| < [`ERF_SMALL`].
#[inline(always)]
fn erf_small<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let square = s.mul_add_e_f32s(x, x, s.splat_f32s(TINY));
    s.mul_add_e_f32s(polynomial(s, square, ERF), x, x)
}

/// erf(x); keeps the sign of zero.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let sign = s.and_f32s(x, s.splat_f32s(-0.0));
    let t = s.abs_f32s(x);
    let large = s.sub_f32s(s.splat_f32s(1.0), erf_complement(s, t));
    let is_small = s.less_than_f32s(t, s.splat_f32s(ERF_SMALL));
    s.or_f32s(s.select_f32s(is_small, erf_small(s, t), large), sign)
}

/// `(1 + erf(x / sqrt 2)) / 2`
#[inline(always)]
fn normal_cdf<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let half = s.splat_f32s(0.5);
    let z = s.mul_f32s(x, s.splat_f32s(SQRT_1_2));
    let t = s.abs_f32s(z);
    let tail = s.mul_f32s(half, erf_complement(s, t));
    let is_left = s.less_than_f32s(x, s.splat_f32s(0.0));
    let large = s.select_f32s(is_left, tail, s.sub_f32s(s.splat_f32s(1.0), tail));
    let small = s.mul_add_e_f32s(half, erf_small(s, z), half);
    s.select_f32s(s.less_than_f32s(t, s.splat_f32s(ERF_SMALL)), small, large)
}

/// x, but not to the left of -[`FAR`].
#[inline(always)]
fn not_far_left<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    at_least(s, s.splat_f32s(-FAR), x)
}

/// x between -[`FAR`] and [`FAR`].
#[inline(always)]
fn not_far<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    at_most(s, s.splat_f32s(FAR), not_far_left(s, x))
}

/// `x P(x)`
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    s.mul_f32s(not_far_left(s, x), normal_cdf(s, x))
}

/// `P(x) + x e^(-x^2 / 2) / sqrt(2 pi)`
#[inline(always)]
pub(crate) fn gelu_derivative<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let near = not_far(s, x);
    let half_square = s.mul_f32s(s.mul_f32s(near, s.splat_f32s(-0.5)), near);
    let density = s.mul_f32s(exp(s, half_square), s.splat_f32s(NORMAL_DENSITY));
    s.mul_add_e_f32s(near, density, normal_cdf(s, x))
}

/// `2 u` of the tanh form of GELU, for x that is not far.
#[inline(always)]
fn gelu_tanh_argument<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let square = s.mul_f32s(x, x);
    let linear = s.mul_f32s(x, s.splat_f32s(GELU_TANH));
    let factor = s.mul_add_e_f32s(square, s.splat_f32s(CUBIC), s.splat_f32s(1.0));
    s.mul_f32s(linear, factor)
}

/// `x sigmoid(2 u)`
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let gate = sigmoid(s, gelu_tanh_argument(s, not_far(s, x)));
    s.mul_f32s(not_far_left(s, x), gate)
}

/// `g = sigmoid(v)` and `g (1 - g)`; the second from the side on which g does not come near 1, so that
/// it keeps its relative error when it is multiplied by large numbers.
#[inline(always)]
fn gate_and_rise<S: Simd>(s: S, v: S::f32s) -> (S::f32s, S::f32s) {
    let tail = sigmoid(s, s.neg_f32s(s.abs_f32s(v)));
    let is_left = s.less_than_f32s(v, s.splat_f32s(0.0));
    let gate = s.select_f32s(is_left, tail, s.sub_f32s(s.splat_f32s(1.0), tail));
    (gate, s.negate_mul_add_e_f32s(tail, tail, tail))
}

/// `g + x g (1 - g) 2 u'` with `g = sigmoid(2 u)`
#[inline(always)]
pub(crate) fn gelu_tanh_derivative<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let x = not_far(s, x);
    let (gate, rise) = gate_and_rise(s, gelu_tanh_argument(s, x));
    let square = s.mul_f32s(x, x);
    let constant = s.splat_f32s(GELU_TANH);
    let slope = s.mul_add_e_f32s(square, s.splat_f32s(3.0 * CUBIC * GELU_TANH), constant);
    s.mul_add_e_f32s(s.mul_f32s(x, slope), rise, gate)
}

/// `x sigmoid(x)`
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    s.mul_f32s(not_far_left(s, x), sigmoid(s, x))
}

/// `g + x g (1 - g)` with `g = sigmoid(x)`
#[inline(always)]
pub(crate) fn silu_derivative<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let (gate, rise) = gate_and_rise(s, x);
    s.mul_add_e_f32s(not_far(s, x), rise, gate)
}

/// `e^x - 1` for x <= 0; keeps the sign of zero.
#[inline(always)]
fn exp_m1<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let (exponent, w) = split_exp(s, at_least(s, s.splat_f32s(EXP_M1_MIN), x));
    let scale = power_of_two(s, exponent);
    let large = s.mul_add_e_f32s(scale, w, s.sub_f32s(scale, one));
    let small = s.mul_f32s(x, s.mul_add_e_f32s(x, s.splat_f32s(0.5), one));
    let is_small = s.greater_than_f32s(x, s.splat_f32s(EXP_M1_SMALL));
    s.select_f32s(is_small, small, large)
}

/// `x` where x > 0, else `alpha (e^x - 1)`
#[inline(always)]
pub(crate) fn elu<S: Simd>(s: S, alpha: f32, x: S::f32s) -> S::f32s {
    let zero = s.splat_f32s(0.0);
    let left = exp_m1(s, at_most(s, zero, x));
    let left = s.mul_f32s(s.splat_f32s(alpha), left);
    s.select_f32s(s.greater_than_f32s(x, zero), x, left)
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`; 0 where the result would be below 2^-126.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let u = exp(s, s.neg_f32s(s.abs_f32s(x)));
    let sum = s.add_f32s(one, u);
    let lost = s.sub_f32s(u, s.sub_f32s(sum, one));
    let logarithm = s.add_f32s(ln(s, sum), s.div_f32s(lost, sum));
    s.add_f32s(at_least(s, s.splat_f32s(0.0), x), logarithm)
}

/// `1 - e^-y`
#[inline(always)]
pub(crate) fn softplus_derivative<S: Simd>(s: S, y: S::f32s) -> S::f32s {
    s.neg_f32s(exp_m1(s, s.neg_f32s(y)))
}
