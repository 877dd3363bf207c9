//! Initial weights: how wide to draw them so that signals neither fade nor grow from layer to layer.
//!
//! A layer sums `fan_in` products forward and `fan_out` products backward. Weights of variance
//! `1 / fan_in` keep the variance of the signal, weights of variance `1 / fan_out` that of the
//! gradient; Xavier takes the mean of the two fans, He the first with a gain for what the ReLU
//! family cuts off.
//!
//! | | variance | drawn from |
//! |---|---|---|
//! | Xavier (Glorot) | `s^2 = 2 / (fan_in + fan_out)` | normal `N(0, s^2)`, or uniform `[-s sqrt 3, s sqrt 3)` |
//! | He (Kaiming) | `s^2 = 2 / ((1 + a^2) fan_in)` | as above |
//! | LeCun | `s^2 = 1 / fan_in` | as above |
//! | orthogonal | `s^2 = g^2 / max(fan_in, fan_out)` | rows, or columns, that are orthogonal and `g` long |
//!
//! with `g^2 = 2 / (1 + a^2)` before the ReLU family, 1 before all else, and `a` the negative slope of
//! the activation: 0, unless it is leaky ReLU.
//!
//! Gains, the factors on `s` for what an activation does to the size of a signal:
//!
//! | before | gain here | gain of PyTorch's `calculate_gain` |
//! |---|---|---|
//! | ReLU | `sqrt 2` in He and orthogonal | `sqrt 2`: half of the values become 0 |
//! | leaky ReLU | `sqrt(2 / (1 + a^2))` in He and orthogonal | the same |
//! | tanh | 1 | 5/3, for a signal that has shrunk in many layers |
//! | sigmoid, identity, softmax | 1 | 1 |
//! | GELU, SiLU, ELU, softplus | 1 | none |
//!
//! Xavier and LeCun have the gain 1 before everything, as their authors have it; that of tanh is exact at
//! the origin, where its slope is 1. Another gain is a factor on weights that were drawn
//! ([`Mlp::set_parameters`](crate::Mlp::set_parameters)), or on those of [`Init::fill`]: an example stands
//! there.
//!
//! X. Glorot and Y. Bengio, 2010, "Understanding the difficulty of training deep feedforward neural
//! networks", equations 12 and 16, with gain 1 for every activation. K. He, X. Zhang, S. Ren and
//! J. Sun, 2015, "Delving deep into rectifiers", equations 10 and 15. Y. LeCun et al., 1998, "Efficient
//! BackProp", section 4.6. A. Saxe, J. McClelland and S. Ganguli, 2014, "Exact solutions to the
//! nonlinear dynamics of learning in deep linear neural networks", section 3.

use kernels::Activation;
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use serde::{Deserialize, Serialize};

use crate::error::MlpError;
use crate::rng::{self, Purpose};

/// How the weights of a layer are drawn before training; biases start at zero.
///
/// ```
/// use mlp::{Init, Mlp};
/// let net = Mlp::builder(8).dense(16).tanh().dense(3).init(Init::LecunNormal).seed(1).build()?;
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Init {
    /// Normal with variance `2 / (fan_in + fan_out)`.
    XavierNormal,
    /// Uniform with variance `2 / (fan_in + fan_out)`.
    XavierUniform,
    /// Normal with variance `2 / ((1 + negative_slope^2) fan_in)`.
    HeNormal,
    /// Uniform with variance `2 / ((1 + negative_slope^2) fan_in)`.
    HeUniform,
    /// Normal with variance `1 / fan_in`.
    LecunNormal,
    /// Uniform with variance `1 / fan_in`.
    LecunUniform,
    /// Orthogonal rows, or columns if there are fewer, each `sqrt(2 / (1 + negative_slope^2))` long
    /// before the ReLU family and 1 long before all else: signals keep their length and their angles.
    /// Takes `4 fan_in fan_out min(fan_in, fan_out)` flop in f64, a second for 1,000 x 1,000.
    Orthogonal,
    /// All zero. Hidden units that start equal stay equal: for output layers only.
    Zeros,
    /// All the same value, which must be finite.
    Constant(f32),
}

/// The layer that weights are drawn for: what their spread depends on.
///
/// ```
/// use mlp::{Activation, Fan, Init};
/// let fan = Fan { fan_in: 50, fan_out: 30, activation: Activation::Relu };
/// // sqrt(2 / 50)
/// assert!((Init::HeNormal.standard_deviation(fan) - 0.2).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fan {
    /// Number of inputs of a unit; 0 counts as 1.
    pub fan_in: usize,
    /// Number of units that an input feeds; 0 counts as 1.
    pub fan_out: usize,
    /// What follows the layer's sum.
    pub activation: Activation,
}

impl Init {
    /// The usual choice: [`Init::HeNormal`] before the ReLU family, [`Init::XavierUniform`] before
    /// everything else.
    pub fn for_activation(activation: Activation) -> Self {
        match activation {
            Activation::Relu | Activation::LeakyRelu { .. } => Self::HeNormal,
            _ => Self::XavierUniform,
        }
    }

    /// Standard deviation of the weights; 0 where they are not random.
    pub fn standard_deviation(self, fan: Fan) -> f32 {
        let (fan_in, fan_out) = (fan.fan_in.max(1) as f64, fan.fan_out.max(1) as f64);
        let slope = match fan.activation {
            Activation::LeakyRelu { negative_slope } => f64::from(negative_slope),
            _ => 0.0,
        };
        let variance = match self {
            Self::XavierNormal | Self::XavierUniform => 2.0 / (fan_in + fan_out),
            Self::HeNormal | Self::HeUniform => 2.0 / ((1.0 + slope * slope) * fan_in),
            Self::LecunNormal | Self::LecunUniform => 1.0 / fan_in,
            Self::Orthogonal => {
                let gain = match fan.activation {
                    Activation::Relu | Activation::LeakyRelu { .. } => 2.0 / (1.0 + slope * slope),
                    _ => 1.0,
                };
                gain / fan_in.max(fan_out)
            }
            Self::Zeros | Self::Constant(_) => 0.0,
        };
        variance.sqrt() as f32
    }

    /// Fills `weights` with the numbers of layer number `layer` of the network with this seed.
    ///
    /// The same arguments give the same weights, and no layer's weights depend on another's.
    ///
    /// ```
    /// use mlp::{Activation, Fan, Init, Mlp};
    ///
    /// let fan = Fan { fan_in: 3, fan_out: 2, activation: Activation::Relu };
    /// let mut weights = [0.0; 6];
    /// Init::HeNormal.fill(fan, 42, 0, &mut weights)?;
    /// assert!(weights.iter().all(|&w| w != 0.0));
    ///
    /// // A network whose weights have PyTorch's gain for tanh; its biases are 0.
    /// let net = Mlp::builder(8).dense(16).tanh().dense(16).tanh().dense(3);
    /// let mut net = net.init(Init::XavierNormal).build()?;
    /// let wider: Vec<f32> = net.parameters().iter().map(|w| 5.0 / 3.0 * w).collect();
    /// net.set_parameters(&wider)?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// weights: `fan_out` x `fan_in`, row by row
    ///
    /// # Errors
    /// [`MlpError::Shape`] if `weights` are of another number than `fan_out` times `fan_in`.
    pub fn fill(
        self,
        fan: Fan,
        seed: u64,
        layer: u64,
        weights: &mut [f32],
    ) -> Result<(), MlpError> {
        if fan.fan_out.checked_mul(fan.fan_in) != Some(weights.len()) {
            return Err(MlpError::Shape {
                what: "weights",
                expected: format!("{} x {}", fan.fan_out, fan.fan_in),
                got: weights.len().to_string(),
            });
        }
        let deviation = self.standard_deviation(fan);
        let samples = rng::stream(seed, Purpose::Weights, layer);
        match self {
            Self::XavierNormal | Self::HeNormal | Self::LecunNormal => {
                let normal = Distribution::<f32>::sample_iter(StandardNormal, samples);
                for (w, z) in weights.iter_mut().zip(normal) {
                    *w = deviation * z;
                }
            }
            Self::XavierUniform | Self::HeUniform | Self::LecunUniform => {
                // A uniform variable on [-b, b) has variance b^2 / 3.
                let bound = deviation * 3f32.sqrt();
                let unit = Distribution::<f32>::sample_iter(StandardUniform, samples);
                for (w, u) in weights.iter_mut().zip(unit) {
                    *w = bound * (2.0 * u - 1.0);
                }
            }
            Self::Orthogonal => {
                let (rows, cols) = (fan.fan_out, fan.fan_in);
                let normal = Distribution::<f32>::sample_iter(StandardNormal, samples);
                let vectors = orthonormal(rows.min(cols), rows.max(cols), normal);
                let length = f64::from(deviation) * (rows.max(cols) as f64).sqrt();
                let wide = rows <= cols;
                for (index, w) in weights.iter_mut().enumerate() {
                    let (row, col) = (index / cols, index % cols);
                    let element = match wide {
                        true => vectors[row * cols + col],
                        false => vectors[col * rows + row],
                    };
                    *w = (length * element) as f32;
                }
            }
            Self::Zeros => weights.fill(0.0),
            Self::Constant(value) => weights.fill(value),
        }
        Ok(())
    }
}

/// `count` orthonormal vectors of `len >= count` elements, one after the other, uniform among all such:
/// random normal vectors, each freed from what it has in common with those before it.
///
/// Gram and Schmidt's method, twice for each vector: then f64 loses no orthogonality (L. Giraud et al.,
/// 2005, "The loss of orthogonality in the Gram-Schmidt orthogonalization process").
fn orthonormal(count: usize, len: usize, normal: impl Iterator<Item = f32>) -> Vec<f64> {
    let mut vectors: Vec<f64> = normal.take(count * len).map(f64::from).collect();
    for i in 0..count {
        let (before, from) = vectors.split_at_mut(i * len);
        let v = &mut from[..len];
        for _ in 0..2 {
            for u in before.chunks_exact(len) {
                let common = dot(u, v);
                for (v, u) in v.iter_mut().zip(u) {
                    *v -= common * u;
                }
            }
        }
        let length = dot(v, v).sqrt();
        for v in v {
            *v /= length;
        }
    }
    vectors
}

/// `sum_i a_i b_i`, in eight sums, so that several are under way at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks(sums.len()), b.chunks(sums.len()));
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    const RANDOM: [Init; 6] = [
        Init::XavierNormal,
        Init::XavierUniform,
        Init::HeNormal,
        Init::HeUniform,
        Init::LecunNormal,
        Init::LecunUniform,
    ];

    fn fan(fan_in: usize, fan_out: usize, activation: Activation) -> Fan {
        Fan {
            fan_in,
            fan_out,
            activation,
        }
    }

    fn drawn(init: Init, fan: Fan, seed: u64, layer: u64) -> Vec<f32> {
        let mut weights = vec![f32::NAN; fan.fan_in * fan.fan_out];
        init.fill(fan, seed, layer, &mut weights).unwrap();
        weights
    }

    #[test]
    fn deviations_are_those_of_the_papers() {
        let leaky = Activation::LeakyRelu {
            negative_slope: 0.5,
        };
        for (init, activation, expected) in [
            (Init::XavierNormal, Activation::Tanh, (2.0f32 / 80.0).sqrt()),
            (
                Init::XavierUniform,
                Activation::Relu,
                (2.0f32 / 80.0).sqrt(),
            ),
            (Init::HeNormal, Activation::Relu, 0.2),
            (Init::HeUniform, Activation::Identity, 0.2),
            (Init::HeNormal, leaky, (2.0f32 / (1.25 * 50.0)).sqrt()),
            (Init::LecunNormal, Activation::Relu, (1.0f32 / 50.0).sqrt()),
            (Init::LecunUniform, leaky, (1.0f32 / 50.0).sqrt()),
            (Init::Orthogonal, Activation::Tanh, (1.0f32 / 50.0).sqrt()),
            (Init::Orthogonal, leaky, (2.0f32 / (1.25 * 50.0)).sqrt()),
            (Init::Constant(3.0), Activation::Relu, 0.0),
        ] {
            let deviation = init.standard_deviation(fan(50, 30, activation));
            assert_relative_eq!(deviation, expected, max_relative = 1e-6);
        }
    }

    #[test]
    fn weights_have_the_stated_mean_and_deviation() {
        let fan = fan(400, 250, Activation::Relu);
        for init in RANDOM {
            let weights = drawn(init, fan, 1, 0);
            let n = weights.len() as f64;
            let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
            let square = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / n;
            let deviation = f64::from(init.standard_deviation(fan));
            // Five standard errors of each estimate from 100 000 draws.
            assert!(
                mean.abs() < 5.0 * deviation / n.sqrt(),
                "{init:?}: mean {mean}"
            );
            assert_relative_eq!(
                square.sqrt(),
                deviation,
                max_relative = 5.0 / (2.0 * n).sqrt()
            );
        }
    }

    #[test]
    fn orthogonal_weights_are_orthogonal_and_as_long_as_stated() {
        let leaky = Activation::LeakyRelu {
            negative_slope: 0.5,
        };
        for (fan_in, fan_out, activation, square) in [
            (7, 5, Activation::Tanh, 1.0),
            (5, 7, Activation::Relu, 2.0),
            (40, 40, leaky, 1.6),
            (1, 1, Activation::Identity, 1.0),
            (130, 9, Activation::Sigmoid, 1.0),
        ] {
            let fan = fan(fan_in, fan_out, activation);
            let weights = drawn(Init::Orthogonal, fan, 4, 0);
            let (count, len) = (fan_in.min(fan_out), fan_in.max(fan_out));
            // Rows of a wide matrix, columns of a tall one.
            let at = |vector: usize, i: usize| match fan_out <= fan_in {
                true => f64::from(weights[vector * fan_in + i]),
                false => f64::from(weights[i * fan_in + vector]),
            };
            for a in 0..count {
                for b in 0..=a {
                    let dot: f64 = (0..len).map(|i| at(a, i) * at(b, i)).sum();
                    let expected = if a == b { square } else { 0.0 };
                    // Each element is rounded to f32 once.
                    let bound = 4.0 * 2f64.powi(-24) * square;
                    assert!((dot - expected).abs() <= bound, "{a}, {b}: {dot}");
                }
            }
            assert_ne!(weights, drawn(Init::Orthogonal, fan, 5, 0));
        }
    }

    #[test]
    fn uniform_weights_fill_their_interval_and_stay_inside() {
        let fan = fan(100, 100, Activation::Tanh);
        let bound = Init::XavierUniform.standard_deviation(fan) * 3f32.sqrt();
        let weights = drawn(Init::XavierUniform, fan, 2, 0);
        let (low, high) = weights
            .iter()
            .fold((0f32, 0f32), |(low, high), &w| (low.min(w), high.max(w)));
        assert!(-bound <= low && low < -0.99 * bound, "{low} of {bound}");
        assert!(high <= bound && high > 0.99 * bound, "{high} of {bound}");
    }

    #[test]
    fn normal_weights_have_the_tails_of_a_normal_distribution() {
        let fan = fan(500, 200, Activation::Relu);
        let deviation = Init::HeNormal.standard_deviation(fan);
        let weights = drawn(Init::HeNormal, fan, 3, 0);
        let beyond = weights.iter().filter(|w| w.abs() > 2.0 * deviation).count();
        // P(|z| > 2) = 4.55 %; five standard errors of 100 000 draws are 0.33 %.
        let share = beyond as f64 / weights.len() as f64;
        assert!((share - 0.0455).abs() < 0.0033, "{share}");
    }

    #[test]
    fn weights_never_change() {
        let three = |init: Init| {
            let weights = drawn(init, fan(8, 8, Activation::Relu), 42, 1);
            [weights[0], weights[1], weights[2]]
        };
        assert_eq!(three(Init::HeNormal), [0.923745, 0.01106361, 0.6129142]);
        assert_eq!(
            three(Init::XavierUniform),
            [0.068337716, 0.41400734, 0.47981462]
        );
    }

    #[test]
    fn weights_of_another_shape_are_refused() {
        for init in RANDOM.into_iter().chain([Init::Orthogonal, Init::Zeros]) {
            let tanh = Activation::Tanh;
            assert!(drawn(init, fan(0, 3, tanh), 0, 0).is_empty());
            assert!(drawn(init, fan(3, 0, tanh), 0, 0).is_empty());
            let mut weights = [7.0; 6];
            for (fan_in, fan_out) in [(0, 3), (2, 2), (usize::MAX, 2)] {
                let refused = init.fill(fan(fan_in, fan_out, tanh), 0, 0, &mut weights);
                assert_eq!(
                    refused.unwrap_err().to_string(),
                    format!("weights: expected {fan_out} x {fan_in}, got 6")
                );
            }
            assert_eq!(weights, [7.0; 6]);
        }
    }

    #[test]
    fn layers_and_seeds_differ() {
        let fan = fan(16, 16, Activation::Relu);
        for init in RANDOM {
            let weights = drawn(init, fan, 5, 0);
            assert_eq!(weights, drawn(init, fan, 5, 0), "{init:?}");
            assert_ne!(weights, drawn(init, fan, 5, 1), "{init:?}");
            assert_ne!(weights, drawn(init, fan, 6, 0), "{init:?}");
        }
    }

    #[test]
    fn fixed_weights_are_fixed() {
        let fan = fan(2, 2, Activation::Identity);
        assert_eq!(drawn(Init::Zeros, fan, 0, 0), [0.0; 4]);
        assert_eq!(drawn(Init::Constant(0.25), fan, 0, 0), [0.25; 4]);
    }

    #[test]
    fn the_default_follows_the_activation() {
        let leaky = Activation::LeakyRelu {
            negative_slope: 0.01,
        };
        for (activation, init) in [
            (Activation::Relu, Init::HeNormal),
            (leaky, Init::HeNormal),
            (Activation::Tanh, Init::XavierUniform),
            (Activation::Sigmoid, Init::XavierUniform),
            (Activation::Identity, Init::XavierUniform),
        ] {
            assert_eq!(Init::for_activation(activation), init);
        }
    }
}
