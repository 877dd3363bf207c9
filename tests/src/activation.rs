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
}

impl Activation {
    /// One of each kind.
    pub const ALL: [Self; 5] = [
        Self::Identity,
        Self::Relu,
        Self::LeakyRelu(0.01),
        Self::Sigmoid,
        Self::Tanh,
    ];

    /// `act(x)`
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Relu if x <= 0.0 => 0.0,
            Self::LeakyRelu(slope) if x <= 0.0 => f64::from(slope) * x,
            Self::Relu | Self::LeakyRelu(_) => x,
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
        }
    }

    /// `act'(x)` written in terms of the output `y = act(x)`; at a kink, that of the left side.
    pub fn derivative(self, y: f64) -> f64 {
        match self {
            Self::Relu if y <= 0.0 => 0.0,
            Self::LeakyRelu(slope) if y <= 0.0 => f64::from(slope),
            Self::Identity | Self::Relu | Self::LeakyRelu(_) => 1.0,
            Self::Sigmoid => y * (1.0 - y),
            Self::Tanh => 1.0 - y * y,
        }
    }

    /// The largest `|act'|`: how much an error of `x` can grow on its way to `y`.
    pub fn lipschitz(self) -> f64 {
        match self {
            Self::LeakyRelu(slope) => f64::from(slope).max(1.0),
            Self::Sigmoid => 0.25,
            Self::Identity | Self::Relu | Self::Tanh => 1.0,
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
                let y = activation.apply(x);
                let numeric = derivative(x, |x| activation.apply(x));
                assert_abs_diff_eq!(activation.derivative(y), numeric, epsilon = 1e-9);
            }
        }
    }
}
