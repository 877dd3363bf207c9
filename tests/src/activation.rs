//! Activation functions and their derivatives, as the textbook writes them.

/// `y = act(x)`
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x` where positive, this slope times `x` elsewhere.
    LeakyRelu(f32),
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `tanh x`
    Tanh,
    /// `x` where positive, this factor times `e^x - 1` elsewhere.
    Elu(f32),
    /// `ln(1 + e^x)`
    Softplus,
    /// `x P(x)` with the share of a normal variable below x
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`
    GeluTanh,
    /// `x / (1 + e^-x)`
    Silu,
}

/// `erf x = 2 / sqrt(pi) sum_n (-1)^n x^(2n+1) / (n! (2n+1))`, and for large x its complement as a
/// continued fraction (Abramowitz and Stegun, 7.1.5 and 7.1.14).
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return a;
    }
    if a < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return std::f64::consts::FRAC_2_SQRT_PI * sum;
    }
    (1.0 - erf_complement(a)).copysign(x)
}

/// `1 - erf x` for x >= 2.5
fn erf_complement(x: f64) -> f64 {
    let mut fraction = x;
    for n in (1..=120).rev() {
        fraction = x + 0.5 * f64::from(n) / fraction;
    }
    (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt())
}

/// The share of a normal variable below x.
fn normal_cdf(x: f64) -> f64 {
    let z = x * std::f64::consts::FRAC_1_SQRT_2;
    if z < -2.5 {
        0.5 * erf_complement(-z)
    } else {
        0.5 * (1.0 + erf(z))
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The argument of tanh in the tanh form of GELU, and its derivative.
fn gelu_argument(x: f64) -> (f64, f64) {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    (
        c * (x + 0.044715 * x * x * x),
        c * (1.0 + 3.0 * 0.044715 * x * x),
    )
}

impl Activation {
    /// One of each kind.
    pub const ALL: [Self; 10] = [
        Self::Identity,
        Self::Relu,
        Self::LeakyRelu(0.01),
        Self::Sigmoid,
        Self::Tanh,
        Self::Elu(0.75),
        Self::Softplus,
        Self::Gelu,
        Self::GeluTanh,
        Self::Silu,
    ];

    /// What its derivative is computed from: x, or `y = act(x)`.
    pub fn saved(self, x: f64, y: f64) -> f64 {
        match self {
            Self::Gelu | Self::GeluTanh | Self::Silu => x,
            _ => y,
        }
    }

    /// `act(x)`
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Relu if x <= 0.0 => 0.0,
            Self::LeakyRelu(slope) if x <= 0.0 => f64::from(slope) * x,
            Self::Relu | Self::LeakyRelu(_) => x,
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Elu(alpha) if x <= 0.0 => f64::from(alpha) * x.exp_m1(),
            Self::Elu(_) => x,
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p() + 0.0 * x,
            Self::Gelu => x * normal_cdf(x),
            Self::GeluTanh => x * sigmoid(2.0 * gelu_argument(x).0),
            Self::Silu => x * sigmoid(x),
        }
    }

    /// `act'(x)` written in terms of what is [`saved`](Self::saved); at a kink, that of the left side.
    pub fn derivative(self, saved: f64) -> f64 {
        let (x, y) = (saved, saved);
        match self {
            Self::Relu if y <= 0.0 => 0.0,
            Self::LeakyRelu(slope) if y <= 0.0 => f64::from(slope),
            Self::Identity | Self::Relu | Self::LeakyRelu(_) => 1.0,
            Self::Sigmoid => y * (1.0 - y),
            Self::Tanh => 1.0 - y * y,
            Self::Elu(alpha) if y <= 0.0 => y + f64::from(alpha),
            Self::Elu(_) => 1.0,
            Self::Softplus => -(-y).exp_m1(),
            Self::Gelu => {
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                normal_cdf(x) + x * density
            }
            Self::GeluTanh => {
                let (u, slope) = gelu_argument(x);
                let gate = sigmoid(2.0 * u);
                gate + x * gate * (1.0 - gate) * 2.0 * slope
            }
            Self::Silu => {
                let gate = sigmoid(x);
                gate * (1.0 + x * (1.0 - gate))
            }
        }
    }

    /// The largest `|act'|`: how much an error of `x` can grow on its way to `y`.
    pub fn lipschitz(self) -> f64 {
        match self {
            Self::LeakyRelu(slope) => f64::from(slope).max(1.0),
            Self::Sigmoid => 0.25,
            Self::Elu(alpha) => f64::from(alpha).max(1.0),
            // The largest slope is 1.129 at sqrt 2, 1.129 and 1.0998.
            Self::Gelu | Self::GeluTanh | Self::Silu => 1.13,
            Self::Identity | Self::Relu | Self::Tanh | Self::Softplus => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite_diff::derivative;
    use approx::assert_abs_diff_eq;

    #[test]
    fn values_by_hand() {
        assert_eq!(Activation::Relu.apply(-2.0), 0.0);
        assert_eq!(Activation::Relu.apply(3.0), 3.0);
        assert_eq!(Activation::LeakyRelu(0.25).apply(-2.0), -0.5);
        assert_eq!(Activation::LeakyRelu(0.25).derivative(-0.5), 0.25);
        assert_eq!(Activation::Sigmoid.apply(0.0), 0.5);
        // 1 / (1 + e^-ln 3) = 1 / (1 + 1/3)
        assert_abs_diff_eq!(Activation::Sigmoid.apply(3f64.ln()), 0.75, epsilon = 1e-15);
        assert_eq!(Activation::Sigmoid.derivative(0.75), 0.1875);
        // tanh(ln 2) = (2 - 1/2) / (2 + 1/2)
        assert_abs_diff_eq!(Activation::Tanh.apply(2f64.ln()), 0.6, epsilon = 1e-15);
        assert_abs_diff_eq!(Activation::Tanh.derivative(0.6), 0.64, epsilon = 1e-15);
        assert_eq!(Activation::Relu.derivative(0.0), 0.0);
        // e^-ln 2 - 1 = -1/2; ln(1 + e^0) = ln 2; ln 3 / (1 + 1/3)
        assert_abs_diff_eq!(
            Activation::Elu(0.5).apply(-2f64.ln()),
            -0.25,
            epsilon = 1e-15
        );
        assert_abs_diff_eq!(Activation::Softplus.apply(0.0), 2f64.ln(), epsilon = 1e-15);
        assert_abs_diff_eq!(
            Activation::Silu.apply(3f64.ln()),
            0.75 * 3f64.ln(),
            epsilon = 1e-15
        );
        // Tables of the normal distribution: P(1) and P(-2).
        assert_abs_diff_eq!(
            Activation::Gelu.apply(1.0),
            0.841_344_746_068_543,
            epsilon = 1e-14
        );
        let tail = -2.0 * 0.022_750_131_948_179_2;
        assert_abs_diff_eq!(Activation::Gelu.apply(-2.0), tail, epsilon = 1e-14);
        assert!((Activation::GeluTanh.apply(1.0) - Activation::Gelu.apply(1.0)).abs() < 5e-4);
    }

    #[test]
    fn erf_by_tables_and_where_its_two_forms_meet() {
        assert_abs_diff_eq!(erf(0.5), 0.520_499_877_813_046_5, epsilon = 1e-15);
        assert_abs_diff_eq!(erf(-2.0), -0.995_322_265_018_952_7, epsilon = 1e-14);
        assert_abs_diff_eq!(erf(3.0), 0.999_977_909_503_001_4, epsilon = 1e-15);
        assert_abs_diff_eq!(erf(2.5), erf(2.499_999_999_999), epsilon = 1e-12);
        assert_eq!((erf(f64::INFINITY), erf(0.0)), (1.0, 0.0));
    }

    #[test]
    fn nan_stays_nan() {
        for activation in Activation::ALL {
            assert!(activation.apply(f64::NAN).is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn derivatives_are_those_of_the_functions() {
        for activation in Activation::ALL {
            for x in [-3.0, -0.5, 0.25, 2.0] {
                let saved = activation.saved(x, activation.apply(x));
                let numeric = derivative(x, |x| activation.apply(x));
                assert_abs_diff_eq!(activation.derivative(saved), numeric, epsilon = 1e-9);
            }
        }
    }
}
