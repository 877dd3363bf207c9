//! The training loop: epochs, validation, stopping.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::Instant;

use kernels::Team;

use crate::config::TrainConfig;
use crate::data::{BatchBuffer, Batches, Data, check_matrix};
use crate::epoch::EpochSums;
use crate::error::MlpError;
use crate::evaluate::evaluate;
use crate::loss::{Criterion, LossFn, Objective};
use crate::model::{Mlp, Progress};
use crate::optimizer::{State, resolve};
use crate::params::Buffer;
use crate::plan::Passes;
use crate::plateau::Plateau;
use crate::report::{EpochReport, Evaluation, Report, StopReason};
use crate::run::Engine;
use crate::schedule::Schedule;
use crate::trainer::Trainer;

/// Room in the history is made for so many epochs at most before there are as many.
const HISTORY_RESERVE: usize = 1 << 12;

/// What a training starts from, beside the parameters as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// An optimiser that remembers nothing, and the order of the first epoch.
    Fresh,
    /// Where the last training ended.
    Continue,
}

impl Mlp {
    /// Trains the network on `data`, from its parameters as they are, with an optimiser that
    /// remembers nothing.
    ///
    /// Data and settings are checked before the first step. The same network, data and settings give
    /// the same parameters, bit for bit, for any number of threads.
    ///
    /// # Complexity
    /// 6 flop for each sample, epoch and weight; 4 for those of the first layer. Memory is allocated
    /// in the first epoch only.
    ///
    /// # Errors
    /// If the data do not fit the network ([`MlpError::Shape`], [`MlpError::Label`],
    /// [`MlpError::Targets`]) or a setting is out of range ([`MlpError::Setting`]). A loss that
    /// becomes NaN or infinite is no error but a
    /// [`StopReason`](crate::StopReason::NonFinite).
    pub fn fit<'a>(
        &mut self,
        data: impl Into<Data<'a>>,
        config: &TrainConfig<'_>,
    ) -> Result<Report, MlpError> {
        train(self, data.into(), config, Start::Fresh, config.max_epochs)
    }

    /// One epoch on `data`, or what is left of one that a [`time_budget`](TrainConfig::time_budget) cut
    /// short, going on from where the last training ended: the state of the optimiser and the count of
    /// epochs are kept. `max_epochs` of the settings is not used.
    ///
    /// # Errors
    /// As [`Mlp::fit`].
    pub fn partial_fit<'a>(
        &mut self,
        data: impl Into<Data<'a>>,
        config: &TrainConfig<'_>,
    ) -> Result<Report, MlpError> {
        train(self, data.into(), config, Start::Continue, 1)
    }

    /// As [`Mlp::fit`], but going on from where the last training ended: two epochs of `fit` and
    /// three of `resume` give the bits of five epochs of `fit`, whatever ended the first two. Early stopping
    /// alone counts anew.
    ///
    /// # Errors
    /// As [`Mlp::fit`].
    pub fn resume<'a>(
        &mut self,
        data: impl Into<Data<'a>>,
        config: &TrainConfig<'_>,
    ) -> Result<Report, MlpError> {
        train(
            self,
            data.into(),
            config,
            Start::Continue,
            config.max_epochs,
        )
    }
}

/// Trains on `data` for at most `max_epochs`.
fn train(
    mlp: &mut Mlp,
    data: Data<'_>,
    config: &TrainConfig<'_>,
    start: Start,
    max_epochs: usize,
) -> Result<Report, MlpError> {
    let clock = Instant::now();
    check(mlp, data, config)?;
    let layout = mlp.network.graph.parameters();
    let factors = resolve(layout, &config.groups)?;
    if start == Start::Fresh {
        mlp.progress.state = State::new(config.optimizer, factors, layout.len());
        mlp.progress.epochs = 0;
        mlp.progress.unfinished = None;
    }
    // Without the setting, a reduction of an earlier training is none of this one.
    if start == Start::Fresh || config.reduce_on_plateau.is_none() {
        mlp.progress.plateau = Plateau::default();
    }
    let batch_size = config.batch_size.min(data.n_samples());
    let seed = config.seed.unwrap_or(mlp.network.spec.seed);
    let schedule = config.schedule.clone().unwrap_or_else(Schedule::constant);
    let trainer = Trainer::new(mlp, config.optimizer, &config.groups)?
        .objective(config.objective.clone())?
        .clip(config.clip)?
        .schedule(schedule.or_per_epoch())?
        .watch_gradient_norm(config.stop_below_gradient_norm.is_some());
    let network = &trainer.network().network;
    let training = Training {
        data,
        config,
        max_epochs,
        batches: Batches::new(data.n_samples(), batch_size, seed)?.drop_last(config.drop_last),
        buffer: BatchBuffer::new(data, batch_size)?,
        evaluator: Engine::new(network, Passes::Forward),
        good: Good::new(trainer.network()),
        best: Best::new(config),
        history: Vec::with_capacity(max_epochs.min(HISTORY_RESERVE)),
        clock,
        training_seconds: 0.0,
        trainer,
    };
    config.team().with_team(|team| training.run(team))
}

/// Checks data and settings of a training.
pub(crate) fn check(mlp: &Mlp, data: Data<'_>, config: &TrainConfig<'_>) -> Result<(), MlpError> {
    config.check()?;
    for data in [Some(data), config.validation].into_iter().flatten() {
        match config.loss_fn {
            // Which targets it can use, the user's own loss knows best.
            Some(_) => {
                mlp.network.check_inputs(data.inputs())?;
                mlp.network.check_symbols(data.inputs())?;
            }
            None => mlp.check_data(data)?,
        }
    }
    let loss = mlp.network.spec.loss;
    config.objective.check(loss, mlp.network.outputs())?;
    if config.loss_fn.is_some() {
        config.objective.check_own()?;
    }
    let on_accuracy = config.early_stopping.is_some_and(|s| s.on_accuracy);
    if let (true, Some(data)) = (on_accuracy, config.validation) {
        // A loss of one's own may be happy with targets that name no classes.
        mlp.check_data(data)?;
    }
    if on_accuracy && !loss.tells_classes() {
        return Err(MlpError::Setting {
            name: "early_stopping",
            expected: "a network that tells classes apart, to watch its accuracy",
            got: loss.to_string(),
        });
    }
    resolve(mlp.network.graph.parameters(), &config.groups)?;
    let batch_size = config.batch_size.min(data.n_samples());
    // The last batch of an epoch has what is left.
    mlp.network
        .check_variance(match data.n_samples() % batch_size {
            0 => batch_size,
            _ if config.drop_last => batch_size,
            rest => rest,
        })
}

/// A training under way.
struct Training<'t, 'c> {
    trainer: Trainer<'t>,
    data: Data<'t>,
    config: &'t TrainConfig<'c>,
    max_epochs: usize,
    batches: Batches,
    buffer: BatchBuffer,
    evaluator: Engine,
    good: Good,
    best: Best,
    history: Vec<EpochReport>,
    clock: Instant,
    training_seconds: f64,
}

impl Training<'_, '_> {
    fn run(mut self, team: &Team) -> Result<Report, MlpError> {
        let first_step = self.progress_steps();
        let mut stop_reason = StopReason::MaxEpochs;
        for epoch in 1..=self.max_epochs {
            let began = Instant::now();
            let means = match self.epoch(team)? {
                EpochEnd::Finished(means) => means,
                EpochEnd::CutShort(reason) => {
                    stop_reason = reason;
                    break;
                }
            };
            self.training_seconds += began.elapsed().as_secs_f64();
            if let Some(reason) = self.finish_epoch(epoch, means, team)? {
                stop_reason = reason;
                break;
            }
        }
        let steps = self.progress_steps() - first_step;
        if stop_reason == StopReason::NonFinite {
            self.fall_back();
        }
        if let Some((parameters, progress)) = &self.best.kept {
            let mlp = self.trainer.network_mut();
            mlp.network.parameters.copy_from_slice(parameters);
            mlp.progress.copy_from(progress);
        }
        Ok(self.report(stop_reason, steps))
    }

    /// One pass over the data, unless a loss, a gradient or a parameter is not finite, or the time is
    /// up.
    fn epoch(&mut self, team: &Team) -> Result<EpochEnd, MlpError> {
        const NON_FINITE: EpochEnd = EpochEnd::CutShort(StopReason::NonFinite);
        let steps = self.batches.iter().len();
        let mut finished = true;
        if self.config.shuffle {
            let epoch = self.trainer.network().progress.epochs;
            self.batches.shuffle(epoch);
        }
        let first = EpochSums::new(self.batches.visited(), self.batches.batch_size());
        let unfinished = self.trainer.network_mut().progress.unfinished.take();
        let unfinished = unfinished.filter(|sums| sums.is_part_of(&first, steps));
        let mut sums = unfinished.unwrap_or(first);
        let mut is_first = true;
        for rows in self.batches.iter().skip(sums.batches as usize) {
            let batch = if self.config.shuffle {
                self.buffer.gather_with(self.data, rows, team)?
            } else {
                // In their own order the rows of a batch lie side by side.
                self.data.part(rows[0]..rows[0] + rows.len())
            };
            let inputs = batch.inputs();
            let mut own = self.config.loss_fn.as_ref().map(RefCell::borrow_mut);
            let own = own
                .as_deref_mut()
                .map(|function| &mut **function as &mut LossFn<'_>);
            let loss = self.trainer.loss_of_finite(inputs, batch.into(), own, team);
            let loss = match loss {
                Ok(loss) => loss,
                Err(MlpError::NonFiniteLoss { .. }) => {
                    // A loss of one's own may be at fault, rather than what it is of.
                    let own = self.config.loss_fn.is_some();
                    if is_first && own && check_matrix("outputs", self.trainer.scores()?).is_ok() {
                        self.good.keep(self.trainer.network(), self.history.len());
                    }
                    return Ok(NON_FINITE);
                }
                Err(error) => return Err(error),
            };
            if is_first {
                self.good.keep(self.trainer.network(), self.history.len());
                is_first = false;
            }
            match self.trainer.descend(inputs, team) {
                Ok(()) => {}
                Err(MlpError::NonFiniteGradient { .. } | MlpError::NonFiniteRate { .. }) => {
                    return Ok(NON_FINITE);
                }
                Err(error) => return Err(error),
            }
            sums.norm += f64::from(self.trainer.gradient_norm().unwrap_or(0.0));
            sums.loss += f64::from(loss.mean) * loss.weight;
            sums.weight += loss.weight;
            sums.batches += 1;
            if sums.batches < steps as u64 && time_is_up(self.config, self.clock) {
                finished = false;
                break;
            }
        }
        let mlp = self.trainer.network_mut();
        // Without short cut, so that the check runs at the speed of memory.
        let parameters = mlp.network.parameters.iter();
        if !parameters.fold(true, |finite, w| finite & w.is_finite()) {
            return Ok(NON_FINITE);
        }
        if !finished {
            mlp.progress.unfinished = Some(sums);
            return Ok(EpochEnd::CutShort(StopReason::TimeBudget));
        }
        self.trainer.end_epoch();
        Ok(EpochEnd::Finished(EpochMeans {
            loss: sums.mean_loss(),
            gradient_norm: self.trainer.gradient_norm().map(|_| sums.mean_norm()),
        }))
    }

    /// Validation, history, callback; the reason to stop here, if there is one.
    fn finish_epoch(
        &mut self,
        epoch: usize,
        means: EpochMeans,
        team: &Team,
    ) -> Result<Option<StopReason>, MlpError> {
        let network = &self.trainer.network().network;
        let validation = match self.config.validation {
            None => None,
            Some(data) => {
                let plain = Objective::default();
                let mut own = self.config.loss_fn.as_ref().map(RefCell::borrow_mut);
                let mut criterion = match own.as_deref_mut() {
                    Some(function) => Criterion::Own(&mut **function),
                    None => Criterion::Built(network.spec.loss, &plain),
                };
                let evaluator = &mut self.evaluator;
                Some(evaluate(network, evaluator, data, &mut criterion, team)?)
            }
        };
        let penalty = self.trainer.penalty();
        let report = EpochReport {
            epoch,
            loss: means.loss,
            penalty,
            gradient_norm: means.gradient_norm,
            learning_rate: self.trainer.learning_rate(),
            validation,
            seconds: self.clock.elapsed().as_secs_f64(),
        };
        self.history.push(report);
        if let Some(settings) = &self.config.reduce_on_plateau {
            let watched = validation.map_or(means.loss, |validation| validation.loss);
            let plateau = &mut self.trainer.network_mut().progress.plateau;
            plateau.see(settings, watched);
        }
        if let Some(validation) = validation {
            if validation.loss.is_finite() {
                self.good.keep(self.trainer.network(), self.history.len());
            }
            let mlp = self.trainer.network();
            self.best.see(epoch, validation, mlp);
        }
        if let Some(callback) = &self.config.on_epoch
            && let ControlFlow::Break(()) = (callback.borrow_mut())(&report)
        {
            return Ok(Some(StopReason::Callback));
        }
        Ok(self.reason_to_stop(&report))
    }

    /// The first criterion that an epoch meets.
    fn reason_to_stop(&self, report: &EpochReport) -> Option<StopReason> {
        let config = self.config;
        let below = |bar: Option<f32>, value: f32| bar.is_some_and(|bar| value < bar);
        let norm = report.gradient_norm.unwrap_or(f32::INFINITY);
        let patience = config.early_stopping.map(|stopping| stopping.patience);
        let reasons = [
            (
                below(config.stop_below_loss, report.loss),
                StopReason::LossThreshold,
            ),
            (
                below(config.stop_below_gradient_norm, norm),
                StopReason::GradientNorm,
            ),
            (
                patience.is_some_and(|patience| self.best.epochs_since >= patience),
                StopReason::ValidationPlateau,
            ),
            (time_is_up(config, self.clock), StopReason::TimeBudget),
        ];
        let met = reasons.into_iter().find(|(met, _)| *met);
        met.map(|(_, reason)| reason)
    }

    /// Goes back to good parameters; what the optimiser remembers of the others is forgotten. The epoch
    /// that ended with parameters without a finite loss is none: counts and history are without it.
    fn fall_back(&mut self) {
        let lost = self.history.len() - self.good.epochs;
        self.history.truncate(self.good.epochs);
        let Mlp { network, progress } = self.trainer.network_mut();
        network.parameters.copy_from_slice(&self.good.parameters);
        progress.state.forget();
        progress.epochs -= lost as u64;
        progress.unfinished = self.good.unfinished;
    }

    fn progress_steps(&self) -> u64 {
        self.trainer.network().progress.state.step
    }

    fn report(self, stop_reason: StopReason, steps: u64) -> Report {
        let epochs = self.history.len();
        let samples = (epochs * self.batches.visited()) as f64;
        Report {
            stop_reason,
            epochs,
            steps,
            best_validation: self.best.loss,
            best_epoch: self.best.epoch,
            seconds: self.clock.elapsed().as_secs_f64(),
            samples_per_second: if epochs == 0 {
                0.0
            } else {
                samples / self.training_seconds
            },
            history: self.history,
        }
    }
}

/// Whether a training that began at `clock` has used up its time.
fn time_is_up(config: &TrainConfig<'_>, clock: Instant) -> bool {
    config
        .time_budget
        .is_some_and(|budget| clock.elapsed() >= budget)
}

/// How an epoch ended.
enum EpochEnd {
    Finished(EpochMeans),
    CutShort(StopReason),
}

/// What is averaged over an epoch.
#[derive(Clone, Copy)]
struct EpochMeans {
    loss: f32,
    gradient_norm: Option<f32>,
}

/// The newest parameters known to be good: an epoch, or what came before the training, ended with them, and
/// a loss of theirs is finite.
struct Good {
    parameters: Buffer,
    /// How many epochs of this training they have seen, and how much of one before it.
    epochs: usize,
    unfinished: Option<EpochSums>,
}

impl Good {
    /// Those that a training starts from.
    fn new(mlp: &Mlp) -> Self {
        Self {
            parameters: mlp.network.parameters.clone(),
            epochs: 0,
            unfinished: mlp.progress.unfinished,
        }
    }

    /// Those after so many epochs.
    fn keep(&mut self, mlp: &Mlp, epochs: usize) {
        self.parameters.copy_from_slice(&mlp.network.parameters);
        self.epochs = epochs;
        if epochs > 0 {
            self.unfinished = None;
        }
    }
}

/// The best epoch so far, and how long early stopping has waited for a better one.
struct Best {
    /// The validation loss of the best epoch; NaN before the first.
    loss: f32,
    /// The lowest score: the loss, or how many are told wrongly; NaN before the first.
    score: f32,
    on_accuracy: bool,
    epoch: Option<usize>,
    /// What the score has to be below by more than `min_delta`; NaN before the first.
    to_beat: f32,
    epochs_since: usize,
    min_delta: f32,
    keeps: bool,
    /// All that training changes, as it was after the best epoch.
    kept: Option<(Buffer, Progress)>,
}

impl Best {
    fn new(config: &TrainConfig<'_>) -> Self {
        let stopping = config.early_stopping;
        Self {
            loss: f32::NAN,
            score: f32::NAN,
            on_accuracy: stopping.is_some_and(|stopping| stopping.on_accuracy),
            epoch: None,
            to_beat: f32::NAN,
            epochs_since: 0,
            min_delta: stopping.map_or(0.0, |stopping| stopping.min_delta),
            keeps: stopping.is_some_and(|stopping| stopping.restore_best),
            kept: None,
        }
    }

    fn see(&mut self, epoch: usize, validation: Evaluation, mlp: &Mlp) {
        let score = match validation.accuracy {
            Some(accuracy) if self.on_accuracy => 1.0 - accuracy,
            _ => validation.loss,
        };
        let below = |bar: f32| score < bar || (bar.is_nan() && !score.is_nan());
        if below(self.to_beat - self.min_delta) {
            (self.to_beat, self.epochs_since) = (score, 0);
        } else {
            self.epochs_since += 1;
        }
        if !below(self.score) {
            return;
        }
        (self.score, self.loss, self.epoch) = (score, validation.loss, Some(epoch));
        if self.keeps {
            let Mlp { network, progress } = mlp;
            match &mut self.kept {
                Some((parameters, kept)) => {
                    parameters.copy_from_slice(&network.parameters);
                    kept.copy_from(progress);
                }
                None => self.kept = Some((network.parameters.clone(), progress.clone())),
            }
        }
    }
}
