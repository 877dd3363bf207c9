//! A first network and a first training for data of a size: rules of thumb, each with its reason.
//!
//! ```text
//! widths         d_l = sqrt(d_(l-1) d_(l+1)), from the inputs to the outputs
//! activations    ReLU between the layers; at the end softmax for classes, identity for a value
//! batch          samples / 100 as a power of two, 32 to 256
//! learning rate  0.1 batch / 256, which is 0.0125 to 0.1, warmed up, then along a cosine to 0
//! lambda         1e-4 parameters / samples, 1e-4 to 1e-2
//! epochs         10,000 steps, 10 to 100
//! ```
//!
//! They are where a search begins, not where it ends.

use std::fmt;

use kernels::Activation;

use crate::builder::MlpBuilder;
use crate::config::TrainConfig;
use crate::error::MlpError;
use crate::loss::Loss;
use crate::model::Mlp;
use crate::optimizer::Sgd;
use crate::schedule::Schedule;
use crate::spec::LayerSpec;

/// From so many samples on two hidden layers are proposed instead of one.
const SAMPLES_OF_TWO_LAYERS: usize = 1000;

/// Steps of a training, where that many make 10 to 100 epochs.
const STEPS: usize = 10_000;

/// What [`Mlp::suggest`] proposes. Printed, it says why.
///
/// ```
/// use mlp::{Activation, LayerSpec, Mlp};
/// let classes = Mlp::suggest(784, 10, 60_000)?;
/// assert_eq!((classes.hidden, classes.output), (Activation::Relu, LayerSpec::Softmax));
/// let value = Mlp::suggest(8, 1, 500)?;
/// assert_eq!(value.output, LayerSpec::Activation(Activation::Identity));
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Suggestion {
    /// Widths from the inputs to the outputs, both included.
    pub widths: Vec<usize>,
    /// The activation between the dense layers.
    pub hidden: Activation,
    /// What stands behind the last of them: softmax for classes, the identity for a value.
    pub output: LayerSpec,
    /// The loss that goes with it.
    pub loss: Loss,
    /// Rows of a batch: 32 to 256, or all samples if there are fewer.
    pub batch_size: usize,
    /// The highest learning rate, of gradient descent with a momentum of 0.9: 0.001 to 0.1.
    pub learning_rate: f32,
    /// Warm-up, then a cosine; counts epochs.
    pub schedule: Schedule,
    /// lambda of the L2 term `lambda / 2 |w|^2`: 1e-4 to 1e-2.
    pub weight_decay: f32,
    /// Epochs: 10 to 100.
    pub max_epochs: usize,
    samples: usize,
}

impl Mlp {
    /// Proposes a network and a training for `samples` samples of `inputs` features: for as many
    /// classes as there are outputs, or for one value if there is one.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let suggestion = Mlp::suggest(784, 10, 60_000)?;
    /// // 784 : 183 = 183 : 43 = 43 : 10, but for rounding.
    /// assert_eq!(suggestion.widths, [784, 183, 43, 10]);
    /// println!("{suggestion}");
    /// let net = suggestion.builder().seed(1).build()?;
    /// let config = suggestion.config().threads(2);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Errors
    /// [`MlpError::Setting`] if a number is 0.
    pub fn suggest(inputs: usize, outputs: usize, samples: usize) -> Result<Suggestion, MlpError> {
        for (name, number) in [
            ("inputs", inputs),
            ("outputs", outputs),
            ("samples", samples),
        ] {
            if number == 0 {
                return Err(MlpError::Setting {
                    name,
                    expected: "at least 1",
                    got: "0".into(),
                });
            }
        }
        let hidden = if samples < SAMPLES_OF_TWO_LAYERS {
            1
        } else {
            2
        };
        let ratio = (outputs as f64 / inputs as f64).powf(1.0 / f64::from(hidden + 1));
        let between =
            (1..=hidden).map(|l| (inputs as f64 * ratio.powi(l)).round().max(1.0) as usize);
        let mut widths = vec![inputs];
        widths.extend(between);
        widths.push(outputs);

        let batch = (samples / 100).clamp(32, 256);
        // The power of two at or below it.
        let batch = 1 << batch.ilog2();
        let parameters: f64 = widths
            .windows(2)
            .map(|pair| (pair[0] as f64 + 1.0) * pair[1] as f64)
            .sum();
        let batch_size = samples.min(batch);
        let max_epochs = (STEPS / samples.div_ceil(batch_size)).clamp(10, 100);
        let warm = (max_epochs as u64 / 20).max(1);
        let rest = Schedule::cosine(max_epochs as u64 - warm, 0.0);
        let (output, loss) = match outputs {
            1 => (
                LayerSpec::Activation(Activation::Identity),
                Loss::MeanSquaredError,
            ),
            _ => (LayerSpec::Softmax, Loss::SoftmaxCrossEntropy),
        };
        Ok(Suggestion {
            widths,
            hidden: Activation::Relu,
            output,
            loss,
            batch_size,
            learning_rate: 0.1 * batch as f32 / 256.0,
            schedule: Schedule::warmup(warm, 0.1).then(warm, rest),
            weight_decay: (1e-4 * parameters / samples as f64).clamp(1e-4, 1e-2) as f32,
            max_epochs,
            samples,
        })
    }
}

impl Suggestion {
    /// The network: dense layers with the activation between them, what is proposed for its end, and its
    /// loss: softmax and cross-entropy, or the values as they are and squared error if there is one output.
    pub fn builder(&self) -> MlpBuilder {
        let (inputs, outputs) = (self.widths[0], self.widths[self.widths.len() - 1]);
        let hidden = &self.widths[1..self.widths.len() - 1];
        let builder = hidden.iter().fold(Mlp::builder(inputs), |builder, &width| {
            builder.dense(width).activation(self.hidden)
        });
        builder
            .dense(outputs)
            .layer(self.output.clone())
            .loss(self.loss)
    }

    /// The training.
    pub fn config<'a>(&self) -> TrainConfig<'a> {
        let sgd = Sgd::new(self.learning_rate).momentum(0.9);
        TrainConfig::default()
            .optimizer(sgd.weight_decay(self.weight_decay))
            .schedule(self.schedule.clone())
            .batch_size(self.batch_size)
            .max_epochs(self.max_epochs)
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples = self.samples;
        writeln!(
            f,
            "widths {:?}: each the geometric mean of its neighbours; {} hidden for {samples} samples",
            self.widths,
            self.widths.len() - 2
        )?;
        writeln!(
            f,
            "ReLU in between: its derivative is 0 or 1, so gradients do not fade with depth, and it costs \
             next to nothing"
        )?;
        match self.output {
            LayerSpec::Softmax => writeln!(
                f,
                "softmax at the end, with cross-entropy: probabilities of classes that exclude each other, \
                 and p - t as the error signal, which does not fade where the network is wrong"
            )?,
            _ => writeln!(
                f,
                "identity at the end, with squared error: a value may be any number, and its mean is what \
                 the network learns"
            )?,
        }
        writeln!(
            f,
            "batches of {}: a hundredth of the samples, 32 to 256, where products run at full speed",
            self.batch_size
        )?;
        writeln!(
            f,
            "learning rate up to {}: in proportion to the batch, warmed up while the first steps are \
             long, and then lowered to 0 along a cosine",
            self.learning_rate
        )?;
        writeln!(
            f,
            "{} epochs: some {STEPS} steps, but each sample seen 10 times at least and 100 at most",
            self.max_epochs
        )?;
        write!(
            f,
            "weight decay {:e}: more where there are more parameters for each sample, 1e-4 to 1e-2",
            self.weight_decay
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;

    #[test]
    fn stays_in_the_ranges_that_usually_work_and_builds() {
        for inputs in [1, 2, 64, 784, 5000] {
            for outputs in [1, 2, 10, 1000] {
                for samples in [1, 10, 999, 1000, 60_000, 10_000_000] {
                    let s = Mlp::suggest(inputs, outputs, samples).unwrap();
                    let what = format!("{inputs}, {outputs}, {samples}: {s:?}");
                    assert!(s.batch_size <= 256, "{what}");
                    assert!(s.batch_size >= samples.min(32), "{what}");
                    assert!((0.001..=0.1).contains(&s.learning_rate), "{what}");
                    assert!((0.9e-4..=1.1e-2).contains(&s.weight_decay), "{what}");
                    assert!((10..=100).contains(&s.max_epochs), "{what}");
                    assert!(s.schedule.check().is_ok() && s.config().check().is_ok());
                    assert_eq!(s.schedule.factor(s.max_epochs as u64), 0.0, "{what}");
                    // The square-root rule, but for rounding to whole units.
                    for three in s.widths.windows(3) {
                        let mean = ((three[0] * three[2]) as f64).sqrt();
                        let slack = 1.0 + 0.5 * mean / three[0].min(three[2]) as f64;
                        assert!((three[1] as f64 - mean).abs() <= slack, "{what}");
                    }
                }
            }
        }
        let small = Mlp::suggest(20, 3, 100).unwrap();
        assert_eq!(small.widths, [20, 8, 3]);
        let text = small.to_string();
        for reason in ["batches of 32", "ReLU", "softmax at the end", "100 epochs"] {
            assert!(text.contains(reason), "{text}");
        }
        let value = Mlp::suggest(20, 1, 100).unwrap();
        assert!(value.to_string().contains("identity at the end"));
        let value = value.builder().build().unwrap();
        assert_eq!(value.spec().loss, Loss::MeanSquaredError);
        let net = small.builder().build().unwrap();
        assert_eq!(
            (net.inputs(), net.outputs(), net.dense_layers()),
            (20, 3, 2)
        );
    }

    #[test]
    fn what_is_proposed_learns() {
        // Which of two features is larger, of 400 points.
        let x: Vec<f32> = (0..800).map(|i| (i as f32 * 0.7).sin()).collect();
        let y = x.chunks(2).map(|p| u32::from(p[0] > p[1])).collect();
        let data = Dataset::classes(x, 2, y).unwrap();
        let suggestion = Mlp::suggest(2, 2, 400).unwrap();
        let mut net = suggestion.builder().seed(2).build().unwrap();
        net.fit(&data, &suggestion.config()).unwrap();
        assert!(net.evaluate(&data).unwrap().accuracy.unwrap() > 0.9);
    }

    #[test]
    fn nothing_is_proposed_for_nothing() {
        for (numbers, name) in [
            ([0, 1, 1], "inputs"),
            ([1, 0, 1], "outputs"),
            ([1, 1, 0], "samples"),
        ] {
            let [inputs, outputs, samples] = numbers;
            let error = Mlp::suggest(inputs, outputs, samples).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{name}: expected at least 1, got 0")
            );
        }
    }
}
