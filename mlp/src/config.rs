//! How to train: settings with defaults, checked when a training begins.

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use kernels::TeamOptions;

use crate::clip::Clip;
use crate::data::Data;
use crate::error::MlpError;
use crate::loss::{LossBatch, LossFn, Objective};
use crate::optimizer::{Optimizer, ParamGroup};
use crate::plateau::ReduceOnPlateau;
use crate::report::EpochReport;
use crate::schedule::Schedule;

/// Rows of a batch unless said otherwise: the middle of the range 32 to 256 that usually works.
const DEFAULT_BATCH_SIZE: usize = 128;

/// Epochs unless said otherwise.
const DEFAULT_MAX_EPOCHS: usize = 20;

/// Ends a training when the validation loss no longer falls, or the accuracy no longer rises.
///
/// An epoch counts as better if its validation loss is below that of the last better epoch, or its
/// accuracy above, by more than `min_delta`. After `patience` epochs in a row that are not, the
/// training ends.
///
/// ```
/// use mlp::{Dataset, EarlyStopping, Mlp, TrainConfig};
///
/// let x: Vec<f32> = (0..80).map(|i| (i % 8) as f32).collect();
/// let data = Dataset::classes(x.clone(), 1, x.iter().map(|&x| u32::from(x > 3.0)).collect())?;
/// let (train, valid) = data.stratified_split(0.75, 42)?;
/// let mut net = Mlp::builder(1).dense(8).tanh().dense(2).build()?;
/// let report = net.fit(&train, &TrainConfig::default()
///     .max_epochs(500)
///     .validation(&valid)
///     .early_stopping(EarlyStopping::patience(3).on_accuracy().restore_best()))?;
/// assert!(report.epochs < 500);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct EarlyStopping {
    pub(crate) patience: usize,
    pub(crate) min_delta: f32,
    pub(crate) restore_best: bool,
    pub(crate) on_accuracy: bool,
}

impl EarlyStopping {
    /// Ends the training after `patience` epochs in a row without a better validation loss; at
    /// least 1.
    pub fn patience(patience: usize) -> Self {
        Self {
            patience,
            min_delta: 0.0,
            restore_best: false,
            on_accuracy: false,
        }
    }

    /// Watches the accuracy on the validation data instead of the loss. The network has to tell classes apart,
    /// and the validation data to say which they are, beside a loss of one's own too.
    pub fn on_accuracy(mut self) -> Self {
        self.on_accuracy = true;
        self
    }

    /// By how much the loss has to fall, or the accuracy to rise, for an epoch to count as better; 0 unless
    /// said otherwise.
    pub fn min_delta(mut self, min_delta: f32) -> Self {
        self.min_delta = min_delta;
        self
    }

    /// Ends with the network as it was after the best epoch instead of the last, whatever ends the training
    /// and whatever `min_delta` is: with its parameters, the state of the optimiser and the counts of steps
    /// and epochs, in the bits of a training of so many epochs. [`resume`](crate::Mlp::resume) goes on from
    /// there.
    pub fn restore_best(mut self) -> Self {
        self.restore_best = true;
        self
    }
}

/// What is called after each epoch.
type Callback<'a> = Box<dyn FnMut(&EpochReport) -> ControlFlow<()> + 'a>;

/// How to train: optimiser, batches, epochs, stopping.
///
/// ```
/// use mlp::{Sgd, TrainConfig};
/// let config = TrainConfig::default()
///     .optimizer(Sgd::new(0.1).momentum(0.9))
///     .batch_size(32)
///     .max_epochs(50);
/// ```
#[must_use]
pub struct TrainConfig<'a> {
    pub(crate) optimizer: Optimizer,
    pub(crate) groups: Vec<ParamGroup>,
    pub(crate) objective: Objective,
    pub(crate) loss_fn: Option<RefCell<Box<LossFn<'a>>>>,
    pub(crate) clip: Option<Clip>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) reduce_on_plateau: Option<ReduceOnPlateau>,
    pub(crate) batch_size: usize,
    pub(crate) max_epochs: usize,
    pub(crate) shuffle: bool,
    pub(crate) drop_last: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) threads: usize,
    pub(crate) spin: Option<Duration>,
    pub(crate) validation: Option<Data<'a>>,
    pub(crate) early_stopping: Option<EarlyStopping>,
    pub(crate) stop_below_loss: Option<f32>,
    pub(crate) stop_below_gradient_norm: Option<f32>,
    pub(crate) time_budget: Option<Duration>,
    pub(crate) on_epoch: Option<RefCell<Callback<'a>>>,
}

impl Default for TrainConfig<'_> {
    /// Adam with learning rate 0.001, shuffled batches of 128, 20 epochs, all threads, no validation.
    fn default() -> Self {
        Self {
            optimizer: Optimizer::default(),
            groups: Vec::new(),
            objective: Objective::default(),
            loss_fn: None,
            clip: None,
            schedule: None,
            reduce_on_plateau: None,
            batch_size: DEFAULT_BATCH_SIZE,
            max_epochs: DEFAULT_MAX_EPOCHS,
            shuffle: true,
            drop_last: false,
            seed: None,
            threads: 0,
            spin: None,
            validation: None,
            early_stopping: None,
            stop_below_loss: None,
            stop_below_gradient_norm: None,
            time_budget: None,
            on_epoch: None,
        }
    }
}

impl<'a> TrainConfig<'a> {
    /// The optimiser: [`Sgd`](crate::Sgd), [`Adam`](crate::Adam), [`AdamW`](crate::AdamW) or
    /// [`Rmsprop`](crate::Rmsprop).
    ///
    /// ```
    /// use mlp::{AdamW, TrainConfig};
    /// let config = TrainConfig::default().optimizer(AdamW::new(1e-3).weight_decay(0.05));
    /// ```
    pub fn optimizer(mut self, optimizer: impl Into<Optimizer>) -> Self {
        self.optimizer = optimizer.into();
        self
    }

    /// Adds a group of parameters that are trained in a way of their own; a later group goes before
    /// an earlier one.
    ///
    /// ```
    /// use mlp::{ParamGroup, ParameterKind, Sgd, TrainConfig};
    /// // Biases learn twice as fast; the first layer stays as it is.
    /// let config = TrainConfig::default()
    ///     .optimizer(Sgd::new(0.1).weight_decay(1e-4))
    ///     .group(ParamGroup::kind(ParameterKind::Bias).learning_rate_factor(2.0))
    ///     .group(ParamGroup::named("0").learning_rate_factor(0.0));
    /// ```
    pub fn group(mut self, group: ParamGroup) -> Self {
        self.groups.push(group);
        self
    }

    /// Changes the loss of the training: label smoothing, weights of classes. The losses of
    /// validation stay plain.
    pub fn objective(mut self, objective: Objective) -> Self {
        self.objective = objective;
        self
    }

    /// Trains on a loss of one's own instead of that of the network: `loss` returns that of a batch,
    /// and fills in its gradient with respect to the outputs. The validation loss is the same
    /// function; the accuracy is told where the targets are such that the loss of the network could use them.
    /// Targets may have any number of columns. With an [`Objective`], which changes the losses that are
    /// built in, it is an error.
    ///
    /// ```
    /// use mlp::{Targets, TrainConfig};
    /// // Half the mean of the squares.
    /// let config = TrainConfig::default().loss_fn(|batch| {
    ///     let (mut batch, mut sum) = (batch, 0.0);
    ///     let Targets::Values(targets) = batch.targets else { return f32::NAN };
    ///     let rows = batch.outputs.rows();
    ///     for row in 0..rows {
    ///         let d = batch.outputs.at(row, 0) - targets.at(row, 0);
    ///         sum += d * d / 2.0 / rows as f32;
    ///         *batch.gradient.at_mut(row, 0) = d / rows as f32;
    ///     }
    ///     sum
    /// });
    /// ```
    pub fn loss_fn(mut self, loss: impl FnMut(LossBatch<'_>) -> f32 + 'a) -> Self {
        self.loss_fn = Some(RefCell::new(Box::new(loss)));
        self
    }

    /// Clips the gradient of each step; by default nothing is clipped.
    ///
    /// ```
    /// use mlp::{Clip, TrainConfig};
    /// let config = TrainConfig::default().clip(Clip::norm(1.0));
    /// ```
    pub fn clip(mut self, clip: Clip) -> Self {
        self.clip = Some(clip);
        self
    }

    /// How the learning rate changes; by default it does not.
    ///
    /// Steps and epochs count from the beginning of [`fit`](crate::Mlp::fit), and go on in
    /// [`resume`](crate::Mlp::resume) and [`partial_fit`](crate::Mlp::partial_fit). A schedule counts epochs
    /// unless it says [`per_step`](Schedule::per_step).
    ///
    /// ```
    /// use mlp::{Schedule, TrainConfig};
    /// // 1,000 steps up, then down along a cosine over 9,000.
    /// let schedule = Schedule::warmup(1000, 0.01).then(1000, Schedule::cosine(9000, 0.0));
    /// let config = TrainConfig::default().schedule(schedule.per_step());
    /// ```
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// Lowers the learning rate where the validation loss, or the training loss without validation
    /// data, no longer falls; multiplies with a schedule. What has been lowered stays so in a
    /// [`resume`](crate::Mlp::resume) with this setting; a training without it begins with the full rate.
    pub fn reduce_on_plateau(mut self, settings: ReduceOnPlateau) -> Self {
        self.reduce_on_plateau = Some(settings);
        self
    }

    /// Samples of a step: at least 1. If there are fewer samples than that, all of them are one batch.
    ///
    /// The last batch of an epoch may be smaller: see [`TrainConfig::drop_last`].
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// The most epochs: passes over the data; at least 1.
    pub fn max_epochs(mut self, max_epochs: usize) -> Self {
        self.max_epochs = max_epochs;
        self
    }

    /// Whether each epoch visits the samples in an order of its own (the default) or in theirs.
    ///
    /// ```
    /// // Samples of a series, as they came; or in orders that another seed decides.
    /// let config = mlp::TrainConfig::default().shuffle(false);
    /// let config = mlp::TrainConfig::default().seed(7);
    /// ```
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Whether the last batch of an epoch is left out where it would be smaller than the others; by default
    /// it is not. Batch normalisation, which needs two rows at least, may not be able to do with what is
    /// left.
    ///
    /// ```
    /// use mlp::{Dataset, Mlp, TrainConfig};
    ///
    /// let data = Dataset::classes((0..9u8).map(f32::from).collect(), 1, vec![0, 0, 0, 0, 1, 1, 1, 1, 1])?;
    /// let mut net = Mlp::builder(1).dense(4).batch_norm().relu().dense(2).build()?;
    /// // Two batches of four, and one of one.
    /// assert!(net.fit(&data, &TrainConfig::default().batch_size(4)).is_err());
    /// let report = net.fit(&data, &TrainConfig::default().batch_size(4).drop_last(true).max_epochs(1))?;
    /// assert_eq!(report.steps, 2);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Seed of the orders of the samples; that of the network unless said otherwise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The most threads; 0, the default, stands for all of the current rayon pool.
    ///
    /// The result is the same, bit for bit, for any number.
    ///
    /// ```
    /// use std::time::Duration;
    /// // Two threads on cores that others use too.
    /// let config = mlp::TrainConfig::default().threads(2).spin(Duration::from_micros(100));
    /// ```
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// How long the threads that help spin for more work before they sleep; 2 ms unless set.
    ///
    /// It covers the gaps between the parallel parts of a step, and what a callback or a loss of one's own
    /// takes between them. A thread that sleeps costs nothing and takes some 50 us to wake, one that spins
    /// answers in half of one but keeps a core from other programs: where a core is shared, less is more.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = Some(spin);
        self
    }

    /// The team of a training.
    pub(crate) fn team(&self) -> TeamOptions {
        let team = TeamOptions::new(self.threads);
        match self.spin {
            Some(spin) => team.spin(spin),
            None => team,
        }
    }

    /// Data to evaluate the network on after each epoch.
    ///
    /// ```
    /// use mlp::{Dataset, Mlp, TrainConfig};
    /// let data = Dataset::classes((0..40u8).map(f32::from).collect(), 1, vec![0, 1].repeat(20))?;
    /// let (train, valid) = data.stratified_split(0.75, 42)?;
    /// let mut net = Mlp::builder(1).dense(2).build()?;
    /// let report = net.fit(&train, &TrainConfig::default().validation(&valid).max_epochs(2))?;
    /// assert!(report.history.iter().all(|epoch| epoch.validation.is_some()));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn validation(mut self, data: impl Into<Data<'a>>) -> Self {
        self.validation = Some(data.into());
        self
    }

    /// Ends the training when the validation loss no longer falls; needs validation data.
    pub fn early_stopping(mut self, early_stopping: EarlyStopping) -> Self {
        self.early_stopping = Some(early_stopping);
        self
    }

    /// Ends the training after an epoch whose mean loss, without the L2 term, is below `loss`: any
    /// number.
    pub fn stop_below_loss(mut self, loss: f32) -> Self {
        self.stop_below_loss = Some(loss);
        self
    }

    /// Ends the training after an epoch in which the mean over the steps of the norm of the gradient,
    /// before clipping, is below `norm`, above 0. Each step then finds the norm, as clipping does.
    pub fn stop_below_gradient_norm(mut self, norm: f32) -> Self {
        self.stop_below_gradient_norm = Some(norm);
        self
    }

    /// Ends the training after the first step, or validation, that ends later than this since the
    /// beginning. An epoch that is cut short is in no history and not counted;
    /// [`resume`](crate::Mlp::resume) and [`partial_fit`](crate::Mlp::partial_fit), with the same data and
    /// settings, begin with the batches that are left of it, and end in the bits of a training that was not
    /// cut. So they do from a [`Snapshot`](crate::Snapshot) or a checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = mlp::TrainConfig::default()
    ///     .max_epochs(1000)
    ///     .time_budget(Duration::from_secs(60))
    ///     .stop_below_loss(1e-3)
    ///     .stop_below_gradient_norm(1e-4);
    /// ```
    pub fn time_budget(mut self, budget: Duration) -> Self {
        self.time_budget = Some(budget);
        self
    }

    /// Calls a function after each epoch, which may end the training by returning
    /// [`ControlFlow::Break`].
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// let config = mlp::TrainConfig::default().on_epoch(|epoch| {
    ///     println!("{}: {}", epoch.epoch, epoch.loss);
    ///     ControlFlow::Continue(())
    /// });
    /// ```
    pub fn on_epoch(mut self, callback: impl FnMut(&EpochReport) -> ControlFlow<()> + 'a) -> Self {
        self.on_epoch = Some(RefCell::new(Box::new(callback)));
        self
    }

    /// Checks all settings.
    pub(crate) fn check(&self) -> Result<(), MlpError> {
        self.optimizer.check()?;
        if let Some(clip) = &self.clip {
            clip.check()?;
        }
        if let Some(schedule) = &self.schedule {
            schedule.check()?;
        }
        if let Some(settings) = &self.reduce_on_plateau {
            settings.check()?;
        }
        at_least_one("batch_size", self.batch_size)?;
        at_least_one("max_epochs", self.max_epochs)?;
        if let Some(loss) = self.stop_below_loss.filter(|loss| loss.is_nan()) {
            return Err(MlpError::Setting {
                name: "stop_below_loss",
                expected: "a number",
                got: loss.to_string(),
            });
        }
        let norm = self.stop_below_gradient_norm;
        if let Some(norm) = norm.filter(|&norm| !(norm.is_finite() && norm > 0.0)) {
            return Err(MlpError::Setting {
                name: "stop_below_gradient_norm",
                expected: "a finite number above 0",
                got: norm.to_string(),
            });
        }
        let Some(stopping) = self.early_stopping else {
            return Ok(());
        };
        at_least_one("patience", stopping.patience)?;
        if !(stopping.min_delta.is_finite() && stopping.min_delta >= 0.0) {
            return Err(MlpError::Setting {
                name: "min_delta",
                expected: "a finite number of at least 0",
                got: stopping.min_delta.to_string(),
            });
        }
        if self.validation.is_none() {
            return Err(MlpError::Setting {
                name: "early_stopping",
                expected: "validation data to watch",
                got: "none".into(),
            });
        }
        Ok(())
    }
}

fn at_least_one(name: &'static str, value: usize) -> Result<(), MlpError> {
    if value > 0 {
        return Ok(());
    }
    Err(MlpError::Setting {
        name,
        expected: "at least 1",
        got: "0".into(),
    })
}

impl fmt::Debug for TrainConfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainConfig")
            .field("optimizer", &self.optimizer)
            .field("groups", &self.groups)
            .field("objective", &self.objective)
            .field("loss_fn", &self.loss_fn.is_some())
            .field("clip", &self.clip)
            .field("schedule", &self.schedule)
            .field("reduce_on_plateau", &self.reduce_on_plateau)
            .field("batch_size", &self.batch_size)
            .field("max_epochs", &self.max_epochs)
            .field("shuffle", &self.shuffle)
            .field("drop_last", &self.drop_last)
            .field("seed", &self.seed)
            .field("threads", &self.threads)
            .field("spin", &self.spin)
            .field("validation", &self.validation)
            .field("early_stopping", &self.early_stopping)
            .field("stop_below_loss", &self.stop_below_loss)
            .field("stop_below_gradient_norm", &self.stop_below_gradient_norm)
            .field("time_budget", &self.time_budget)
            .field("on_epoch", &self.on_epoch.is_some())
            .finish()
    }
}
