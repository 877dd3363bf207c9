//! Search for settings: points of a space, each scored by cross-validation.
//!
//! A [`Space`] has a value for each name at every point: all combinations of values
//! ([`Space::grid`]), or points drawn at random ([`Space::random`]). [`Search::run`] makes a network and a
//! training out of each point, trains it k times with one of k parts of the data left out, and scores it
//! on that part. With the score `s_f` of fold f of k:
//!
//! ```text
//! mean = 1/k sum_f s_f,  deviation = sqrt(1/(k - 1) sum_f (s_f - mean)^2)
//! ```
//!
//! Every seed is fixed: the parts depend on that of the search, points on that of the draw, trainings on
//! that of their network. J. Bergstra and Y. Bengio, 2012, "Random search for hyper-parameter
//! optimization": where few of many settings matter, points drawn at random find more than a grid.

use std::fmt;
use std::ops::Range;

use rand::RngExt;

use crate::builder::MlpBuilder;
use crate::config::TrainConfig;
use crate::data::{BatchBuffer, Data};
use crate::error::MlpError;
use crate::report::StopReason;
use crate::rng::{self, Purpose};

/// The most points of a grid.
const MAX_POINTS: usize = 1 << 20;

/// Settings by name, and the values that each may have.
///
/// ```
/// use mlp::Space;
///
/// let space = Space::new()
///     .values("width", [16.0, 32.0])
///     .values("learning_rate", [0.1, 0.01, 0.001]);
/// assert_eq!(space.grid()?.len(), 6);
/// // Rates between are tried too, as many between 0.001 and 0.01 as between 0.01 and 0.1.
/// let space = Space::new()
///     .values("width", [16.0, 32.0])
///     .log_uniform("learning_rate", 1e-3..0.1);
/// let points = space.random(10, 42)?;
/// assert!(points.iter().all(|point| (1e-3..0.1).contains(&point.get("learning_rate").unwrap())));
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Space {
    axes: Vec<(String, Axis)>,
}

/// The values of a setting.
#[derive(Clone, Debug, PartialEq)]
enum Axis {
    Values(Vec<f64>),
    Uniform(Range<f64>),
    LogUniform(Range<f64>),
}

/// A value for each setting.
///
/// ```
/// use mlp::Space;
/// let points = Space::new().values("width", [16.0]).values("rate", [0.5]).grid()?;
/// assert_eq!((points[0].whole("width")?, points[0].get("rate")?), (16, 0.5));
/// assert!(points[0].get("depth").is_err() && points[0].whole("rate").is_err());
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    values: Vec<(String, f64)>,
}

impl Space {
    /// No settings yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn axis(mut self, name: &str, axis: Axis) -> Self {
        self.axes.push((name.to_owned(), axis));
        self
    }

    /// A setting that has one of these values: finite, at least one.
    pub fn values(self, name: &str, values: impl IntoIterator<Item = f64>) -> Self {
        self.axis(name, Axis::Values(values.into_iter().collect()))
    }

    /// A setting with a value from a range, each part of it as likely as any other of its length; for
    /// [`Space::random`] alone. The ends and their distance are finite, the first below the last.
    pub fn uniform(self, name: &str, range: Range<f64>) -> Self {
        self.axis(name, Axis::Uniform(range))
    }

    /// A setting whose logarithm is drawn so: each factor of it is as likely as any other. The ends are
    /// finite and above 0, the first below the last.
    pub fn log_uniform(self, name: &str, range: Range<f64>) -> Self {
        self.axis(name, Axis::LogUniform(range))
    }

    /// All combinations of the values, those of the last setting changing first.
    ///
    /// # Errors
    /// [`MlpError::Search`] if there are no settings, two of one name, one without values or with a range,
    /// or more than 2^20 combinations.
    pub fn grid(&self) -> Result<Vec<Point>, MlpError> {
        self.check()?;
        let mut points = vec![Point { values: Vec::new() }];
        for (name, axis) in &self.axes {
            let Axis::Values(values) = axis else {
                let got = format!("a range for {name:?}");
                return refuse("values of every setting, for a grid", got);
            };
            if points.len().saturating_mul(values.len()) > MAX_POINTS {
                return refuse("no more than 2^20 points", "more".into());
            }
            let with = |point: &Point, value: f64| {
                let mut point = point.clone();
                point.values.push((name.clone(), value));
                point
            };
            points = points
                .iter()
                .flat_map(|point| values.iter().map(move |&value| with(point, value)))
                .collect();
        }
        Ok(points)
    }

    /// `count` points drawn at random, the same for the same seed.
    ///
    /// # Errors
    /// [`MlpError::Search`] if `count` is 0 or above 2^20, there are no settings, two of one name, one
    /// without values, or one with a range that is none.
    pub fn random(&self, count: usize, seed: u64) -> Result<Vec<Point>, MlpError> {
        self.check()?;
        if !(1..=MAX_POINTS).contains(&count) {
            return refuse("1 to 2^20 points", count.to_string());
        }
        let draw = |index: usize| {
            let mut stream = rng::stream(seed, Purpose::Search, index as u64);
            let values = self.axes.iter().map(|(name, axis)| {
                let value = match axis {
                    Axis::Values(values) => {
                        values[stream.random_range(0..values.len() as u64) as usize]
                    }
                    Axis::Uniform(range) => stream.random_range(range.clone()),
                    Axis::LogUniform(range) => {
                        let log = stream.random_range(range.start.ln()..range.end.ln());
                        log.exp().clamp(range.start, range.end)
                    }
                };
                (name.clone(), value)
            });
            let values = values.collect();
            Point { values }
        };
        Ok((0..count).map(draw).collect())
    }

    fn check(&self) -> Result<(), MlpError> {
        if self.axes.is_empty() {
            return refuse("at least one setting", "none".into());
        }
        for (position, (name, axis)) in self.axes.iter().enumerate() {
            if self.axes[..position].iter().any(|(other, _)| other == name) {
                return refuse("settings of different names", format!("two named {name:?}"));
            }
            match axis {
                Axis::Values(values) => {
                    if values.is_empty() {
                        return refuse("at least one value", format!("none for {name:?}"));
                    }
                    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                        return refuse("finite values", format!("{value} for {name:?}"));
                    }
                }
                Axis::Uniform(range) | Axis::LogUniform(range) => {
                    let finite = range.start.is_finite() && range.end.is_finite();
                    if !finite || range.start >= range.end {
                        let expected = "a range from a finite number to a greater one";
                        return refuse(expected, format!("{range:?} for {name:?}"));
                    }
                    if !(range.end - range.start).is_finite() {
                        let expected = "a range whose length is finite";
                        return refuse(expected, format!("{range:?} for {name:?}"));
                    }
                    if matches!(axis, Axis::LogUniform(_)) && range.start <= 0.0 {
                        let expected = "a range above 0, for its logarithm";
                        return refuse(expected, format!("{range:?} for {name:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn refuse<T>(expected: &'static str, got: String) -> Result<T, MlpError> {
    Err(MlpError::Search { expected, got })
}

impl Point {
    /// The value of a setting.
    ///
    /// # Errors
    /// [`MlpError::Search`] if there is no setting of this name.
    pub fn get(&self, name: &str) -> Result<f64, MlpError> {
        let found = self.values.iter().find(|(other, _)| other == name);
        found.map_or_else(
            || refuse("a setting of the space", format!("{name:?}")),
            |&(_, value)| Ok(value),
        )
    }

    /// The value of a setting as a whole number: a width, a number of layers.
    ///
    /// # Errors
    /// [`MlpError::Search`] if there is no setting of this name, or its value is none.
    pub fn whole(&self, name: &str) -> Result<usize, MlpError> {
        let value = self.get(name)?;
        if value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0 {
            return Ok(value as usize);
        }
        refuse("a whole number from 0 on", format!("{value} for {name:?}"))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, value)) in self.values.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{name} {value}")?;
        }
        Ok(())
    }
}

/// Scores points by cross-validation.
///
/// ```
/// use mlp::{Adam, Dataset, Mlp, Search, Space, TrainConfig};
///
/// let x: Vec<f32> = (0..60).map(|i| i as f32 / 30.0 - 1.0).collect();
/// let labels = x.iter().map(|&x| u32::from(x > 0.2)).collect();
/// let data = Dataset::classes(x, 1, labels)?;
/// let space = Space::new()
///     .values("width", [4.0, 8.0])
///     .values("learning_rate", [0.1, 1e-6]);
/// let report = Search::new(space.grid()?).folds(3).run(&data, |point| {
///     let net = Mlp::builder(1).dense(point.whole("width")?).tanh().dense(2);
///     let adam = Adam::new(point.get("learning_rate")? as f32);
///     Ok((net, TrainConfig::default().optimizer(adam).batch_size(8).max_epochs(5)))
/// })?;
/// println!("{report}");
/// assert_eq!(report.best().point.get("learning_rate")?, 0.1);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Search {
    points: Vec<Point>,
    folds: usize,
    seed: u64,
    by_accuracy: bool,
}

impl Search {
    /// Over these points, with 5 folds, by the loss, seed 0.
    pub fn new(points: Vec<Point>) -> Self {
        Self {
            points,
            folds: 5,
            seed: 0,
            by_accuracy: false,
        }
    }

    /// How many parts the data are divided into: 2 to the number of samples.
    pub fn folds(mut self, folds: usize) -> Self {
        self.folds = folds;
        self
    }

    /// Seed of the parts.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Ranks by the accuracy instead of the loss; the network has to tell classes apart.
    pub fn by_accuracy(mut self) -> Self {
        self.by_accuracy = true;
        self
    }

    /// Trains the network and the training that `make` gives for each point as often as there are folds,
    /// and scores it on the part left out: by the plain loss of its network, and the accuracy if it tells
    /// classes apart.
    ///
    /// Parts have the same mix of classes where the data have labels ([`Data::folds`]). Early stopping has
    /// to bring its own validation data. The report is the same, bit for bit, for any number of threads.
    ///
    /// # Complexity
    /// That of `points x folds` trainings, one after the other, each with the threads of its settings. The
    /// samples are copied once for each fold. Where a fold leaves a last batch of one row, a network with batch
    /// normalisation asks for [`TrainConfig::drop_last`].
    ///
    /// # Errors
    /// [`MlpError::Search`] if there are no points, accuracies are to be ranked where there are none, or the
    /// samples of a fold are all of weight 0;
    /// [`MlpError::Data`] if folds are fewer than 2 or more than the samples;
    /// [`MlpError::Point`] with what `make`, or a training, returned. A training that diverges is no
    /// error: its loss is infinite and its accuracy 0.
    pub fn run<'a, 'c>(
        &self,
        data: impl Into<Data<'a>>,
        mut make: impl FnMut(&Point) -> Result<(MlpBuilder, TrainConfig<'c>), MlpError>,
    ) -> Result<SearchReport, MlpError> {
        let data = data.into();
        if self.points.is_empty() {
            return refuse("at least one point", "none".into());
        }
        let folds = data.folds(self.folds, self.seed)?;
        let mut parts = Vec::with_capacity(folds.len());
        for fold in &folds {
            let train = BatchBuffer::new(data, fold.train.len())?;
            let test = BatchBuffer::new(data, fold.test.len())?;
            for (part, rows) in [("trained on", &fold.train), ("left out", &fold.test)] {
                if !has_weight(data, rows) {
                    let got = format!("a fold of {} {part}, all of weight 0", rows.len());
                    return refuse("a sample of a weight above 0 in every fold", got);
                }
            }
            parts.push((fold, train, test));
        }
        let mut trials = Vec::with_capacity(self.points.len());
        for point in &self.points {
            let named = |error| MlpError::Point {
                point: point.to_string(),
                error: Box::new(error),
            };
            let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
            for (fold, train, test) in &mut parts {
                let (builder, config) = make(point).map_err(named)?;
                let train = train.gather(data, &fold.train)?;
                let test = test.gather(data, &fold.test)?;
                let mut net = builder.build().map_err(named)?;
                // All of them, before the first fold is trained on.
                net.check_data(data).map_err(named)?;
                let report = net.fit(train, &config).map_err(named)?;
                let score = net.evaluate(test).map_err(named)?;
                let diverged = report.stop_reason == StopReason::NonFinite;
                losses.push(if diverged { f32::INFINITY } else { score.loss });
                let accuracy = score.accuracy;
                accuracies.extend(accuracy.map(|a| if diverged { 0.0 } else { a }));
            }
            if self.by_accuracy && accuracies.is_empty() {
                let got = "a network that has no accuracy".into();
                return refuse("networks that tell classes apart", got).map_err(named);
            }
            trials.push(Trial {
                point: point.clone(),
                loss: Score::of(losses),
                accuracy: (!accuracies.is_empty()).then(|| Score::of(accuracies)),
            });
        }
        let key = |trial: &Trial| match &trial.accuracy {
            Some(accuracy) if self.by_accuracy => -accuracy.mean,
            // A loss that is NaN, as that of huge outputs may be, is no good one.
            _ if trial.loss.mean.is_nan() => f64::INFINITY,
            _ => trial.loss.mean,
        };
        // A stable order: of equal scores the first point stays first.
        trials.sort_by(|a, b| key(a).total_cmp(&key(b)));
        Ok(SearchReport { trials })
    }
}

/// Whether some of these samples count.
fn has_weight(data: Data<'_>, rows: &[usize]) -> bool {
    let counts = |weights: &[f32]| rows.iter().any(|&row| weights[row] > 0.0);
    data.weights().is_none_or(counts)
}

/// Scores of all folds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// The score of each fold, in order.
    pub folds: Vec<f32>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with `k - 1` below the sum.
    pub deviation: f64,
}

impl Score {
    fn of(folds: Vec<f32>) -> Self {
        let k = folds.len() as f64;
        let mean = folds.iter().map(|&s| f64::from(s)).sum::<f64>() / k;
        let squares = folds.iter().map(|&s| (f64::from(s) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / (k - 1.0)).sqrt();
        Self {
            folds,
            mean,
            deviation,
        }
    }
}

/// A point and its scores.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trial {
    /// The settings.
    pub point: Point,
    /// The loss on what was left out; infinite where a training diverged.
    pub loss: Score,
    /// The accuracy, if the network tells classes apart.
    pub accuracy: Option<Score>,
}

/// What came of a search. Printed, it is a table, the best first.
///
/// ```
/// use mlp::{Dataset, Mlp, Search, Space, TrainConfig};
/// let data = Dataset::classes((0..12u8).map(f32::from).collect(), 1, vec![0, 1].repeat(6))?;
/// let points = Space::new().values("width", [2.0, 4.0]).grid()?;
/// let report = Search::new(points).folds(2).run(&data, |point| {
///     let net = Mlp::builder(1).dense(point.whole("width")?).tanh().dense(2);
///     Ok((net, TrainConfig::default().max_epochs(1)))
/// })?;
/// for trial in &report.trials {
///     println!("{}: {:.3} +- {:.3}", trial.point, trial.loss.mean, trial.loss.deviation);
///     assert_eq!(trial.loss.folds.len(), 2);
/// }
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SearchReport {
    /// All points, the best first; at least one.
    pub trials: Vec<Trial>,
}

impl SearchReport {
    /// The point with the lowest mean loss, or the highest mean accuracy.
    pub fn best(&self) -> &Trial {
        &self.trials[0]
    }
}

impl fmt::Display for SearchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for trial in &self.trials {
            let Score {
                mean, deviation, ..
            } = &trial.loss;
            write!(f, "loss {mean:.6} +- {deviation:.6}")?;
            if let Some(Score {
                mean, deviation, ..
            }) = &trial.accuracy
            {
                write!(f, ", accuracy {mean:.4} +- {deviation:.4}")?;
            }
            writeln!(f, ": {}", trial.point)?;
        }
        Ok(())
    }
}
