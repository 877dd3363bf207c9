//! How far an f32 result may lie from the f64 one: bounds that follow from the roundings done, not
//! from what was seen.
//!
//! One f32 operation gives `x (1 + d)` with `|d| <= u = 2^-24`. A value that passes through n
//! operations is off by at most `n u / (1 - n u)` of itself, whatever the order of a sum
//! (N. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., lemma 3.1). None of this
//! was measured first; a kernel that sums in blocks stays far below.

use crate::activation::Activation;

/// Unit roundoff of f32, 2^-24: half the distance from 1 to the next number.
pub const U: f64 = f32::EPSILON as f64 / 2.0;

/// Roundings of a term of C beyond those of its k products: a product passes through at most k + 1
/// when it is summed (k fused multiply-adds; or one product and k - 1 sums; or a chain of kc and one
/// sum for each of k / kc blocks), then one each for alpha, the sum with beta C, and the bias.
const GEMM_EXTRA: usize = 4;

/// Error of a function made of exponentials in f32, in units of u of the result: 4 ULP at most.
const ACTIVATION_UNITS: f64 = 8.0;

/// What both forms of GELU may be off beyond that, in units of u: to the left the relative error of
/// `x P(x)` is that of an exponential of a rounded argument, up to `4 |ln P|`, and `|x| P |ln P|` stays
/// below 0.41.
const GELU_UNITS: f64 = 2.0;

/// `n u / (1 - n u)`
///
/// # Panics
/// If there are so many operations that nothing is certain any more.
pub fn gamma(operations: usize) -> f64 {
    let nu = operations as f64 * U;
    assert!(nu < 0.5, "{operations} operations");
    nu / (1.0 - nu)
}

/// Bound for `alpha sum_p a_p b_p + beta c + bias`, where `magnitude` is the same sum of absolute
/// values: `(k + 4) u magnitude`.
pub fn gemm(k: usize, magnitude: f64) -> f64 {
    gamma(k + GEMM_EXTRA) * magnitude
}

/// Bound for `alpha sum_p a_p b_p + beta c`, each of a and b the sum of so many bf16 parts, whose products
/// are those that count (all but those below the last part: one of one, three of two, six of three), and
/// where `magnitude` is the same sum of absolute values.
///
/// A part is half a unit of 8 bits from what it stands for, 2^-8 of it, so what `parts` leave out of a number is
/// `d = 2^-8 parts` of it, and nothing for three; left out of a product is `2 d + d^2` and the products of parts
/// that do not count. The parts of a number are together at most `1 + 2^-7 + 2^-15` times as large. Products of parts
/// are exact. One is summed in a chain of 16, with the other chain, with as many sums as there are products of
/// 32 steps in a chain of at most 256, and with the other chains, of which some may be added to each other first.
///
/// # Panics
/// For other than 1, 2 or 3 parts.
pub fn gemm_bf16(parts: usize, k: usize, magnitude: f64) -> f64 {
    const SHARE: f64 = 1.0 / 256.0;
    let (products, left_out) = match parts {
        1 => (1, 2.0 * SHARE + SHARE * SHARE),
        // The rests of both numbers, and the product of both second parts.
        2 => (3, 3.03 * SHARE * SHARE),
        // The products of a second and a third part, and of both third parts.
        3 => (6, 2.02 * SHARE * SHARE * SHARE),
        _ => panic!("{parts} parts"),
    };
    let chain = products * k.min(256).div_ceil(32);
    let roundings = gamma(16 + 1 + chain + k.div_ceil(256) + GEMM_EXTRA);
    (left_out + 1.02 * roundings) * magnitude
}

/// Bound for `y = act(s)`, where `s` is off by `error`.
///
/// The error of `s` grows by the largest slope; the function itself adds its own.
pub fn activated(activation: Activation, y: f64, error: f64) -> f64 {
    let own = match activation {
        Activation::Identity | Activation::Relu => 0.0,
        Activation::LeakyRelu(_) => 1.0,
        _ => ACTIVATION_UNITS,
    };
    let absolute = match activation {
        Activation::Gelu | Activation::GeluTanh => GELU_UNITS * U,
        _ => 0.0,
    };
    activation.lipschitz() * error + own * U * (y.abs() + activation.lipschitz() * error) + absolute
}

/// Bound for `s act'(x)`, where `s` is off by `error` and what was saved for the derivative is exact.
///
/// The derivative of sigmoid and tanh is made in at most two operations on numbers up to 1, so it is
/// off by 2 u at most; the product rounds once more. Those made of exponentials, up to 1.13, are off by
/// 4 ULP in each of two summands.
pub fn differentiated(activation: Activation, s: f64, saved: f64, error: f64) -> f64 {
    let own = match activation {
        Activation::Identity | Activation::Relu => 0.0,
        Activation::LeakyRelu(slope) => f64::from(slope).max(1.0),
        Activation::Sigmoid | Activation::Tanh => 3.0,
        // The sum of an output up to alpha and alpha itself.
        Activation::Elu(alpha) => 2.0 + f64::from(alpha),
        _ => derivative_units(activation) + 1.0,
    };
    activation.derivative(saved).abs() * error * (1.0 + own * U) + own * U * (s.abs() + error)
}

/// Error of a derivative made of exponentials, in units of u.
pub fn derivative_units(activation: Activation) -> f64 {
    match activation {
        Activation::Gelu | Activation::GeluTanh | Activation::Silu => 2.0 * ACTIVATION_UNITS,
        _ => ACTIVATION_UNITS,
    }
}

/// Whether a result is as good as `expected` within `bound`, or is the same NaN or infinity.
pub fn agrees(got: f32, expected: f64, bound: f64) -> bool {
    if expected.is_nan() {
        return got.is_nan();
    }
    f64::from(got) == expected || (f64::from(got) - expected).abs() <= bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operation_is_half_an_epsilon() {
        assert_eq!(U, 2f64.powi(-24));
        assert!(gamma(1) >= U && gamma(1) < 1.000_001 * U);
        assert!(gamma(1000) > 1000.0 * U);
    }

    #[test]
    fn a_sum_in_f32_stays_below_its_bound_and_a_lost_product_does_not() {
        let x: Vec<f32> = crate::values::Values::new(3).vec(2 * 784);
        let pairs = || x.chunks(2).map(|p| (p[0], p[1]));
        let got: f32 = pairs().map(|(a, b)| a * b).sum();
        let exact: f64 = pairs().map(|(a, b)| f64::from(a) * f64::from(b)).sum();
        let magnitude: f64 = pairs()
            .map(|(a, b)| (f64::from(a) * f64::from(b)).abs())
            .sum();
        let bound = gemm(784, magnitude);
        assert!(agrees(got, exact, bound));
        let (a, b) = (f64::from(x[0]), f64::from(x[1]));
        assert!(!agrees((exact - a * b) as f32, exact, bound), "{}", a * b);
    }

    #[test]
    fn specials_agree_with_themselves_alone() {
        assert!(agrees(f32::NAN, f64::NAN, 0.0) && !agrees(1.0, f64::NAN, 1e9));
        assert!(agrees(f32::INFINITY, f64::INFINITY, 0.0));
        assert!(!agrees(f32::NEG_INFINITY, f64::INFINITY, f64::MAX));
        assert!(!agrees(f32::NAN, 1.0, f64::INFINITY));
    }
}
