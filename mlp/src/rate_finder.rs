//! Which learning rate to begin with: a training on a copy of the network whose rate grows from step to
//! step.
//!
//! Step i of n, counted from 0, has the rate `r_i = lowest (highest / lowest)^(i / (n - 1))`, and the loss
//! of its batch, `L_i`, is smoothed:
//!
//! ```text
//! m_i = s m_(i-1) + (1 - s) L_i,  smoothed_i = m_i / (1 - s^(i+1))
//! ```
//!
//! Where the rate is too low the loss stays, where it is too high it explodes; in between it falls, and
//! the rate at which it falls fastest per factor of the rate is a good one: the middle of the tenth of all
//! steps over which it falls most. The sweep ends when the
//! smoothed loss is above four times its lowest value.
//!
//! L. Smith, 2017, "Cyclical learning rates for training neural networks", section 3.3.

use std::cell::RefCell;

use kernels::Team;

use crate::config::TrainConfig;
use crate::data::{BatchBuffer, Batches, Data};
use crate::error::MlpError;
use crate::loss::LossFn;
use crate::model::Mlp;
use crate::schedule::Schedule;
use crate::train;
use crate::trainer::Trainer;

/// How many times its lowest value the smoothed loss may reach before the sweep ends.
const EXPLODED: f32 = 4.0;

/// From where to where the learning rate is swept, in how many steps.
///
/// ```
/// let sweep = mlp::RateSweep::default().range(1e-5, 1.0).steps(50);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct RateSweep {
    lowest: f32,
    highest: f32,
    steps: usize,
    smoothing: f32,
}

impl Default for RateSweep {
    /// From 1e-6 to 10 in 100 steps, the smoothed loss keeping 0.9 of its old value.
    fn default() -> Self {
        Self {
            lowest: 1e-6,
            highest: 10.0,
            steps: 100,
            smoothing: 0.9,
        }
    }
}

impl RateSweep {
    /// The first rate and the last: finite, above 0, the last above the first.
    pub fn range(mut self, lowest: f32, highest: f32) -> Self {
        (self.lowest, self.highest) = (lowest, highest);
        self
    }

    /// Steps, each with a batch: at least 5.
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// Share of the old mean of the losses that each step keeps: at least 0, below 1.
    pub fn smoothing(mut self, share: f32) -> Self {
        self.smoothing = share;
        self
    }

    fn check(&self) -> Result<(), MlpError> {
        let refuse = |name, expected, got: String| {
            Err(MlpError::Setting {
                name,
                expected,
                got,
            })
        };
        let Self {
            lowest,
            highest,
            steps,
            smoothing,
        } = *self;
        if !(lowest > 0.0 && highest > lowest && highest.is_finite()) {
            let expected = "finite rates above 0, the first below the last";
            return refuse("sweep: range", expected, format!("{lowest} to {highest}"));
        }
        if steps < 5 {
            return refuse("sweep: steps", "at least 5", steps.to_string());
        }
        if !(0.0..1.0).contains(&smoothing) {
            let expected = "a number of at least 0 and below 1";
            return refuse("sweep: smoothing", expected, smoothing.to_string());
        }
        Ok(())
    }

    /// The curve of a sweep: its mean of losses begins with the noise of its first batches, and from step
    /// to step it has some left.
    fn curve(&self, points: Vec<RatePoint>, exploded: bool) -> RateCurve {
        let first = (1.0 / (1.0 - self.smoothing)) as usize - 1;
        let reach = (self.steps / 20).max(1);
        RateCurve::new(points, exploded, first, reach)
    }

    /// By what factor the rate grows from step to step.
    fn factor(&self) -> f32 {
        let (lowest, highest) = (f64::from(self.lowest), f64::from(self.highest));
        (highest / lowest).powf(1.0 / (self.steps - 1) as f64) as f32
    }
}

/// One step of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RatePoint {
    /// The learning rate of the step.
    pub learning_rate: f32,
    /// The loss of its batch, before the step.
    pub loss: f32,
    /// The mean of the losses so far, newer ones counting more.
    pub smoothed: f32,
}

/// What came of a sweep: the answer of [`Mlp::find_learning_rate`].
///
/// ```
/// use mlp::{Dataset, Mlp, RateSweep, TrainConfig};
/// let data = Dataset::classes(vec![-1.0, 1.0], 1, vec![0, 1])?;
/// let net = Mlp::builder(1).dense(2).build()?;
/// let sweep = RateSweep::default().range(1e-3, 0.1).steps(20);
/// let curve = net.find_learning_rate(&data, &TrainConfig::default(), sweep)?;
/// for point in &curve.points {
///     println!("{:.1e}: {:.4}", point.learning_rate, point.smoothed);
/// }
/// assert!(curve.points.len() == 20 && !curve.exploded);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RateCurve {
    /// The steps, in order, up to the end of the sweep or the explosion of the loss.
    pub points: Vec<RatePoint>,
    /// The learning rate at which the smoothed loss fell fastest; `None` if it never fell.
    pub suggestion: Option<f32>,
    /// Whether the sweep ended because the loss exploded, or was no longer finite.
    pub exploded: bool,
}

impl RateCurve {
    /// The curve of these points. Those before `first` count as noise; a slope is one over `reach` points
    /// to either side.
    fn new(points: Vec<RatePoint>, exploded: bool, first: usize, reach: usize) -> Self {
        // Steps are equal factors, so differences are slopes. Only what leads down to the lowest loss
        // counts: behind it a fall may be one from an explosion.
        let smoothed = |i: usize| points[i].smoothed;
        let counted = first..points.len();
        let lowest = counted.min_by(|&a, &b| smoothed(a).total_cmp(&smoothed(b)));
        let slope = |i: usize| smoothed(i + reach) - smoothed(i - reach);
        let inner = first + reach..(lowest.unwrap_or(0) + 1).saturating_sub(reach);
        let steepest = inner.min_by(|&a, &b| slope(a).total_cmp(&slope(b)));
        let suggestion = steepest
            .filter(|&i| slope(i) < 0.0)
            .map(|i| points[i].learning_rate);
        Self {
            points,
            suggestion,
            exploded,
        }
    }
}

impl Mlp {
    /// Sweeps the learning rate in a training on a copy of the network, and proposes the one at which
    /// the loss falls fastest. The network itself is left as it is.
    ///
    /// Optimiser (its learning rate aside), groups, loss, clipping, batch size, seed, order of the samples
    /// and threads are those of `config`; schedules and what ends a training are not used. Batches go on
    /// from epoch to epoch as in [`Mlp::fit`], so the curve is the same, bit for bit, each time and for any
    /// number of threads.
    ///
    /// ```
    /// use mlp::{Dataset, Mlp, RateSweep, Sgd, TrainConfig};
    ///
    /// let x: Vec<f32> = (0..64).map(|i| i as f32 / 32.0 - 1.0).collect();
    /// let labels = x.iter().map(|&x| u32::from(x > 0.0)).collect();
    /// let data = Dataset::classes(x, 1, labels)?;
    /// let net = Mlp::builder(1).dense(8).tanh().dense(2).build()?;
    /// let config = TrainConfig::default().batch_size(16);
    /// let sweep = RateSweep::default().range(1e-4, 100.0);
    /// let curve = net.find_learning_rate(&data, &config.optimizer(Sgd::new(0.0)), sweep)?;
    /// let rate = curve.suggestion.expect("the loss falls somewhere");
    /// assert!(rate > 1e-3 && rate < 50.0);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Complexity
    /// That of as many steps of training as the sweep has; the parameters are copied once.
    ///
    /// # Errors
    /// As [`Mlp::fit`]; [`MlpError::Setting`] if a setting of the sweep is out of range. A loss that is
    /// not finite is the end of the sweep, no error.
    pub fn find_learning_rate<'a>(
        &self,
        data: impl Into<Data<'a>>,
        config: &TrainConfig<'_>,
        sweep: RateSweep,
    ) -> Result<RateCurve, MlpError> {
        let data = data.into();
        sweep.check()?;
        train::check(self, data, config)?;
        // Another network with a training of its own, which begins with step 0.
        let mut copy = Self::from_network(self.network.clone());
        let optimizer = config.optimizer.with_learning_rate(sweep.lowest);
        let schedule = Schedule::exponential(sweep.factor()).per_step();
        let trainer = Trainer::new(&mut copy, optimizer, &config.groups)?
            .objective(config.objective.clone())?
            .clip(config.clip)?
            .schedule(schedule)?;
        let batch_size = config.batch_size.min(data.n_samples());
        let seed = config.seed.unwrap_or(self.network.spec.seed);
        let batches = Batches::new(data.n_samples(), batch_size, seed)?.drop_last(config.drop_last);
        let buffer = BatchBuffer::new(data, batch_size)?;
        let run = Run {
            trainer,
            data,
            config,
            sweep,
            batches,
            buffer,
        };
        config.team().with_team(|team| run.all(team))
    }
}

/// A sweep under way.
struct Run<'r, 'c> {
    trainer: Trainer<'r>,
    data: Data<'r>,
    config: &'r TrainConfig<'c>,
    sweep: RateSweep,
    batches: Batches,
    buffer: BatchBuffer,
}

impl Run<'_, '_> {
    fn all(mut self, team: &Team) -> Result<RateCurve, MlpError> {
        // Most sweeps explode long before: memory for all the steps that were asked for may not exist.
        let mut points: Vec<RatePoint> = Vec::new();
        let smoothing = f64::from(self.sweep.smoothing);
        let (mut mean, mut weight, mut lowest) = (0.0, 1.0, f32::INFINITY);
        for epoch in 0.. {
            if self.config.shuffle {
                self.batches.shuffle(epoch);
            }
            for rows in self.batches.iter() {
                let batch = self.buffer.gather(self.data, rows)?;
                let mut own = self.config.loss_fn.as_ref().map(RefCell::borrow_mut);
                let own = own
                    .as_deref_mut()
                    .map(|function| &mut **function as &mut LossFn<'_>);
                let inputs = batch.inputs();
                let loss = self
                    .trainer
                    .loss_of_finite(inputs, batch.into(), own, team)
                    .and_then(|loss| self.trainer.descend(inputs, team).map(|()| loss.mean));
                let loss = match loss {
                    Ok(loss) => loss,
                    Err(
                        MlpError::NonFiniteLoss { .. }
                        | MlpError::NonFiniteGradient { .. }
                        | MlpError::NonFiniteRate { .. },
                    ) => {
                        return Ok(self.sweep.curve(points, true));
                    }
                    Err(error) => return Err(error),
                };
                mean = smoothing * mean + (1.0 - smoothing) * f64::from(loss);
                weight *= smoothing;
                let smoothed = (mean / (1.0 - weight)) as f32;
                points.push(RatePoint {
                    learning_rate: self.trainer.learning_rate(),
                    loss,
                    smoothed,
                });
                // A loss below 0, as one of the user's own may be, has no multiple to exceed.
                if lowest > 0.0 && smoothed > EXPLODED * lowest {
                    return Ok(self.sweep.curve(points, true));
                }
                lowest = lowest.min(smoothed);
                if points.len() == self.sweep.steps {
                    return Ok(self.sweep.curve(points, false));
                }
            }
        }
        unreachable!("epochs do not end before the steps do")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: &[f32]) -> RateCurve {
        let point = |(i, &smoothed)| RatePoint {
            learning_rate: 10f32.powi(i as i32),
            loss: smoothed,
            smoothed,
        };
        RateCurve::new(losses.iter().enumerate().map(point).collect(), false, 0, 1)
    }

    #[test]
    fn the_suggestion_is_where_the_loss_falls_fastest_before_its_lowest_value() {
        let suggestion = |losses: &[f32]| curve(losses).suggestion;
        // Slopes -1, -5, -7, -4, ...; behind the lowest point a steeper fall does not count.
        let losses = [9.0, 9.0, 8.0, 4.0, 1.0, 0.0, 90.0, 20.0, 5.0];
        assert_eq!(suggestion(&losses), Some(1e3));
        assert_eq!(suggestion(&[1.0, 1.0, 1.0, 1.0]), None);
        assert_eq!(suggestion(&[1.0, 2.0, 3.0, 4.0]), None);
        for short in [&[][..], &[1.0], &[2.0, 1.0]] {
            assert_eq!(suggestion(short), None);
        }
    }
}
