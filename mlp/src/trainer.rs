//! Single steps of training, for callers with a loop of their own; [`fit`](crate::Mlp::fit) is made
//! of them.

use kernels::{MatRef, Targets, Team};

use crate::clip::{self, Clip};
use crate::data::{Data, check_matrix};
use crate::error::MlpError;
use crate::loss::{Aim, BatchLoss, Criterion, LossBatch, LossFn, Objective};
use crate::model::Mlp;
use crate::optimizer::{Optimizer, ParamGroup, resolve};
use crate::plan::Passes;
use crate::plateau::Plateau;
use crate::run::Engine;
use crate::schedule::Schedule;

/// Trains a network step by step.
///
/// It owns the memory of a step: activations, gradients, scratch. A step allocates nothing once a
/// batch of its size has been seen; up to eight batch sizes are remembered. Parameters and the state
/// of the optimiser stay in the network, so nothing is lost when the trainer goes.
///
/// Made by [`Mlp::trainer`]. [`Trainer::step`] is [`Trainer::gradients_of`] and
/// [`Trainer::update`] in one; [`Trainer::forward`] and [`Trainer::backward`] take the first apart for a loss of one's own.
///
/// ```
/// use mlp::{MatRef, Mlp, Sgd, Targets, Team};
///
/// let mut net = Mlp::builder(2).dense(8).tanh().dense(2).build()?;
/// let x = [0., 0., 0., 1., 1., 0., 1., 1.];
/// let x = MatRef::from_row_major(&x, 4, 2)?;
/// let mut trainer = net.trainer(Sgd::new(0.5))?;
/// let first = trainer.step(x, Targets::Classes(&[0, 1, 1, 0]), &Team::solo())?;
/// for _ in 0..200 {
///     trainer.step(x, Targets::Classes(&[0, 1, 1, 0]), &Team::solo())?;
/// }
/// let last = trainer.step(x, Targets::Classes(&[0, 1, 1, 0]), &Team::solo())?;
/// assert!(last < first / 10.0);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Debug)]
pub struct Trainer<'n> {
    mlp: &'n mut Mlp,
    engine: Engine,
    objective: Objective,
    clip: Option<Clip>,
    schedule: Schedule,
    /// Whether the norm of the gradient is wanted, clipping or not.
    watch_norm: bool,
    gradient_norm: Option<f32>,
}

impl Mlp {
    /// A trainer for a loop of one's own; it goes on from where the last training ended.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if a setting of the optimiser is out of range.
    pub fn trainer(&mut self, optimizer: impl Into<Optimizer>) -> Result<Trainer<'_>, MlpError> {
        // What a training lowered is none of a loop that watches no plateau.
        self.progress.plateau = Plateau::default();
        self.progress.unfinished = None;
        Trainer::new(self, optimizer.into(), &[])
    }
}

impl<'n> Trainer<'n> {
    /// A trainer that goes on from the state that the network is in.
    pub(crate) fn new(
        mlp: &'n mut Mlp,
        optimizer: Optimizer,
        groups: &[ParamGroup],
    ) -> Result<Self, MlpError> {
        optimizer.check()?;
        let layout = mlp.network.graph.parameters();
        let factors = resolve(layout, groups)?;
        mlp.progress.state.switch(optimizer, factors, layout.len());
        mlp.progress.state.check()?;
        let engine = Engine::new(&mlp.network, Passes::Both);
        Ok(Self {
            mlp,
            engine,
            objective: Objective::default(),
            clip: None,
            schedule: Schedule::constant(),
            watch_norm: false,
            gradient_norm: None,
        })
    }

    /// Trains groups of parameters in ways of their own; replaces the groups given before.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if a factor is out of range, or a group has no parameters.
    pub fn groups(self, groups: &[ParamGroup]) -> Result<Self, MlpError> {
        let factors = resolve(self.mlp.network.graph.parameters(), groups)?;
        self.mlp.progress.state.treat(factors);
        self.mlp.progress.state.check()?;
        Ok(self)
    }

    /// Changes the loss: label smoothing, weights of classes.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if a setting is out of range, or not one for the loss of the network.
    pub fn objective(mut self, objective: Objective) -> Result<Self, MlpError> {
        let network = &self.mlp.network;
        objective.check(network.spec.loss, network.outputs())?;
        self.objective = objective;
        Ok(self)
    }

    /// Clips the gradients before each update; `None` clips nothing.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if the bound is out of range.
    pub fn clip(mut self, clip: impl Into<Option<Clip>>) -> Result<Self, MlpError> {
        self.clip = clip.into();
        if let Some(clip) = &self.clip {
            clip.check()?;
        }
        Ok(self)
    }

    /// Changes the learning rate from step to step, or from epoch to epoch; the end of an epoch is
    /// told with [`Trainer::end_epoch`].
    ///
    /// Steps and epochs are counted since the network was built, or since its last
    /// [`fit`](Mlp::fit) began. The schedule has to say which of the two it counts
    /// ([`Schedule::per_step`], [`Schedule::per_epoch`]): one that counts epochs stands still in a loop that
    /// never tells their ends.
    ///
    /// ```
    /// use mlp::{Mlp, Schedule, Sgd};
    /// let mut net = Mlp::builder(2).dense(2).build()?;
    /// let cosine = Schedule::cosine(100, 0.0);
    /// assert!(net.trainer(Sgd::new(0.1))?.schedule(cosine.clone()).is_err());
    /// let trainer = net.trainer(Sgd::new(0.1))?.schedule(cosine.per_step())?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Errors
    /// [`MlpError::Setting`] if a setting is out of range, or the schedule does not say what it counts.
    pub fn schedule(mut self, schedule: Schedule) -> Result<Self, MlpError> {
        schedule.check()?;
        schedule.check_unit()?;
        self.schedule = schedule;
        Ok(self)
    }

    /// Whether each step finds the norm of its gradient, also where nothing is clipped, to be read
    /// with [`Trainer::gradient_norm`]; costs about as much as clipping.
    pub fn watch_gradient_norm(mut self, watch: bool) -> Self {
        self.watch_norm = watch;
        self
    }

    /// The norm of the gradient of the last update, over all parameters and before clipping; `None`
    /// if it was not needed.
    pub fn gradient_norm(&self) -> Option<f32> {
        self.gradient_norm
    }

    /// The learning rate of the last update, without the factors of groups.
    pub fn learning_rate(&self) -> f32 {
        self.mlp.progress.state.learning_rate()
    }

    /// Counts an epoch, for schedules per epoch.
    pub fn end_epoch(&mut self) {
        self.mlp.progress.epochs += 1;
    }

    /// The L2 term of the loss, which the losses returned by other methods do not include:
    /// `weight_decay / 2 |w|^2` over the parameters that decay. 0 without L2; decoupled decay
    /// ([`AdamW`](crate::AdamW)) is no term of the loss.
    ///
    /// # Complexity
    /// Reads all parameters.
    pub fn penalty(&self) -> f32 {
        let Mlp { network, progress } = &*self.mlp;
        let state = &progress.state;
        state.penalty(
            network.kernels,
            &network.parameters[..network.parameter_count()],
        )
    }

    /// One step: gradients, then update. Returns the loss before the update.
    ///
    /// The gradients of large layers are used where they are made: [`Trainer::gradients`] is `None`
    /// afterwards. The parameters have the bits that [`Trainer::gradients_of`] and
    /// [`Trainer::update`] would give them.
    ///
    /// # Shapes
    /// x: batch x inputs; targets: a label, or a row of outputs, for each row of x
    ///
    /// # Complexity
    /// As [`Trainer::gradients_of`]; parameters and state are read and written once.
    ///
    /// # Errors
    /// As [`Trainer::gradients_of`] and [`Trainer::update`]; the parameters are then as they were.
    pub fn step<'a>(
        &mut self,
        x: impl Into<MatRef<'a>>,
        targets: Targets<'_>,
        team: &Team,
    ) -> Result<f32, MlpError> {
        let x = x.into();
        let loss = self.loss_of(x, targets, team)?;
        self.descend(x, team)?;
        Ok(loss)
    }

    /// As [`Trainer::step`], with samples that may have weights ([`Data::weighted`]).
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn step_data<'a>(
        &mut self,
        data: impl Into<Data<'a>>,
        team: &Team,
    ) -> Result<f32, MlpError> {
        let data = data.into();
        self.mlp.network.check_batch(data.inputs())?;
        self.mlp.check_data(data)?;
        let loss = self.loss_of_finite(data.inputs(), data.into(), None, team)?;
        self.descend(data.inputs(), team)?;
        Ok(loss.mean)
    }

    /// As [`Trainer::step`], with a loss of one's own: `loss` returns that of the batch, and fills in
    /// its gradient with respect to the outputs. Targets may have any number of columns.
    ///
    /// ```
    /// use mlp::{Loss, MatRef, Mlp, Sgd, Targets, Team};
    ///
    /// // Quantile loss: outputs below nine tenths of the targets.
    /// let mut net = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError).build()?;
    /// let x = [0., 1., 2., 3.];
    /// let x = MatRef::from_row_major(&x, 4, 1)?;
    /// let mut trainer = net.trainer(Sgd::new(0.1))?;
    /// let loss = trainer.step_with(x, Targets::Values(x), &Team::solo(), |batch| {
    ///     let (mut batch, mut sum) = (batch, 0.0);
    ///     let Targets::Values(targets) = batch.targets else { return f32::NAN };
    ///     for row in 0..batch.outputs.rows() {
    ///         let d = batch.outputs.at(row, 0) - targets.at(row, 0);
    ///         let slope = if d < 0.0 { -0.9 } else { 0.1 };
    ///         sum += slope * d / 4.0;
    ///         *batch.gradient.at_mut(row, 0) = slope / 4.0;
    ///     }
    ///     sum
    /// })?;
    /// assert!(loss > 0.0);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`MlpError::NonFiniteLoss`] also if an element of the gradient is NaN or
    /// infinite, [`MlpError::Setting`] if the trainer has an [`Objective`], which changes the losses that
    /// are built in.
    pub fn step_with<'a>(
        &mut self,
        x: impl Into<MatRef<'a>>,
        targets: Targets<'_>,
        team: &Team,
        mut loss: impl FnMut(LossBatch<'_>) -> f32,
    ) -> Result<f32, MlpError> {
        let x = x.into();
        self.check_inputs(x)?;
        let aim = Aim::new(targets, None);
        let loss = self.loss_of_finite(x, aim, Some(&mut loss), team)?;
        self.descend(x, team)?;
        Ok(loss.mean)
    }

    /// The loss of a batch, and its gradient with respect to all parameters, to be read with
    /// [`Trainer::gradients`] or used by [`Trainer::update`].
    ///
    /// # Complexity
    /// 6 flop for each row and weight, 4 for those of the first layer.
    ///
    /// # Errors
    /// [`MlpError::Shape`], [`MlpError::Label`] or [`MlpError::Targets`] if the batch does not fit
    /// the network, [`MlpError::Data`] if `x` holds NaN or infinity, [`MlpError::NonFiniteLoss`] if
    /// the loss is NaN or infinite, which is seen before the backward pass.
    pub fn gradients_of<'a>(
        &mut self,
        x: impl Into<MatRef<'a>>,
        targets: Targets<'_>,
        team: &Team,
    ) -> Result<f32, MlpError> {
        let x = x.into();
        let loss = self.loss_of(x, targets, team)?;
        self.engine.backward(&mut self.mlp.network, x, team)?;
        Ok(loss)
    }

    /// Looks at every input of a step.
    fn check_inputs(&self, x: MatRef<'_>) -> Result<(), MlpError> {
        self.mlp.network.check_batch(x)?;
        check_matrix("inputs", x)?;
        self.mlp.network.check_symbols(x)
    }

    /// The forward pass and the loss, after a look at every input and target.
    fn loss_of(
        &mut self,
        x: MatRef<'_>,
        targets: Targets<'_>,
        team: &Team,
    ) -> Result<f32, MlpError> {
        self.check_inputs(x)?;
        let network = &self.mlp.network;
        let loss = network.spec.loss;
        loss.check(x.rows(), network.outputs(), targets)?;
        let aim = Aim::new(targets, None);
        Ok(self.loss_of_finite(x, aim, None, team)?.mean)
    }

    /// The forward pass and the loss, the user's own if there is one, of inputs that are known to be
    /// finite.
    ///
    /// # Errors
    /// As [`Trainer::gradients_of`].
    pub(crate) fn loss_of_finite(
        &mut self,
        x: MatRef<'_>,
        aim: Aim<'_>,
        own: Option<&mut LossFn<'_>>,
        team: &Team,
    ) -> Result<BatchLoss, MlpError> {
        let network = &self.mlp.network;
        network.check_batch(x)?;
        let loss = network.spec.loss;
        let mut criterion = match own {
            Some(function) => {
                self.objective.check_own()?;
                Criterion::Own(function)
            }
            None => {
                loss.check_shape(x.rows(), network.outputs(), aim.targets)?;
                Criterion::Built(loss, &self.objective)
            }
        };
        self.engine.set_step(self.mlp.progress.state.step);
        let engine = &mut self.engine;
        let loss = engine.forward_and_loss(network, x, aim, &mut criterion, team)?;
        if !loss.mean.is_finite() {
            let step = self.mlp.progress.state.step + 1;
            let loss = loss.mean;
            return Err(MlpError::NonFiniteLoss { step, loss });
        }
        Ok(loss)
    }

    /// The backward pass and the update, after [`Trainer::loss_of_finite`] of the same inputs.
    pub(crate) fn descend(&mut self, x: MatRef<'_>, team: &Team) -> Result<(), MlpError> {
        // Before the backward pass, with which the statistics of normalisations take their step.
        self.set_rate()?;
        if self.needs_norm() {
            self.engine.backward(&mut self.mlp.network, x, team)?;
            return self.update(team);
        }
        let Mlp { network, progress } = &mut *self.mlp;
        self.engine
            .backward_and_step(network, &mut progress.state, x, team)
    }

    /// The forward pass alone: the outputs of the last layer, batch x outputs.
    ///
    /// # Errors
    /// [`MlpError::Shape`] if `x` does not have a column for each input, or no rows;
    /// [`MlpError::Data`] if it holds NaN or infinity.
    pub fn forward<'a>(
        &mut self,
        x: impl Into<MatRef<'a>>,
        team: &Team,
    ) -> Result<MatRef<'_>, MlpError> {
        let x = x.into();
        self.check_inputs(x)?;
        self.engine.set_step(self.mlp.progress.state.step);
        self.engine.forward(&self.mlp.network, x, team)
    }

    /// The backward pass from a gradient of one's own: that of any loss with respect to the outputs.
    ///
    /// Follows [`Trainer::forward`] with the same `x`, whose values it uses up.
    ///
    /// # Shapes
    /// `output_gradient`: batch x outputs, as the outputs of the forward pass
    ///
    /// # Errors
    /// [`MlpError::Shape`] if there was no forward pass, or one of another batch;
    /// [`MlpError::Data`] if the gradient holds NaN or infinity.
    pub fn backward<'a>(
        &mut self,
        x: impl Into<MatRef<'a>>,
        output_gradient: MatRef<'_>,
        team: &Team,
    ) -> Result<(), MlpError> {
        let x = x.into();
        self.mlp.network.check_batch(x)?;
        check_matrix("gradient of the outputs", output_gradient)?;
        self.engine.set_output_gradient(output_gradient)?;
        self.engine.backward(&mut self.mlp.network, x, team)
    }

    /// The gradients of the last backward pass, in the order of [`Mlp::parameters`], clipped after
    /// an update that clips; `None` before the first, and after a [`Trainer::step`] that neither clips
    /// nor watches the norm, which does not keep them.
    pub fn gradients(&self) -> Option<&[f32]> {
        self.engine.gradients()
    }

    /// Lets the optimiser change the parameters by the gradients of the last backward pass, clipped
    /// if [`Trainer::clip`] says so.
    ///
    /// # Errors
    /// [`MlpError::Shape`] if there are none, see [`Trainer::gradients`];
    /// [`MlpError::NonFiniteGradient`] if their norm is needed and not finite;
    /// [`MlpError::NonFiniteRate`] if the schedule makes the learning rate NaN or infinite. The parameters
    /// are then as they were.
    pub fn update(&mut self, team: &Team) -> Result<(), MlpError> {
        self.set_rate()?;
        let needs_norm = self.needs_norm();
        let Mlp { network, progress } = &mut *self.mlp;
        let gradients = self.engine.gradients_mut().ok_or_else(|| MlpError::Shape {
            what: "update",
            expected: "gradients of a backward pass".into(),
            got: "none that were kept".into(),
        })?;
        self.gradient_norm = None;
        if needs_norm {
            let norm = clip::norm(network.kernels, gradients, team);
            self.gradient_norm = Some(norm as f32);
            if !norm.is_finite() {
                return Err(MlpError::NonFiniteGradient {
                    step: progress.state.step + 1,
                    norm: norm as f32,
                });
            }
            if let Some(clip) = &self.clip {
                clip.apply(network.kernels, gradients, norm, team);
            }
        }
        let count = network.parameter_count();
        let parameters = &mut network.parameters[..count];
        progress
            .state
            .update(network.kernels, gradients, parameters, team)?;
        Ok(())
    }

    fn needs_norm(&self) -> bool {
        self.clip.is_some() || self.watch_norm
    }

    /// The learning rate of the update that comes.
    fn set_rate(&mut self) -> Result<(), MlpError> {
        let progress = &mut self.mlp.progress;
        let steps = progress.state.step;
        let factor = self.schedule.at(steps, progress.epochs) * progress.plateau.factor;
        let step = steps + 1;
        let none = |learning_rate| MlpError::NonFiniteRate {
            step,
            learning_rate,
        };
        progress.state.set_rate(factor).map_err(none)
    }

    /// The network as it is now.
    pub fn network(&self) -> &Mlp {
        self.mlp
    }

    /// What the last forward pass gave the loss.
    pub(crate) fn scores(&self) -> Result<MatRef<'_>, MlpError> {
        self.engine.scores()
    }

    /// The network, to be changed by those who know what they do: the training loop.
    pub(crate) fn network_mut(&mut self) -> &mut Mlp {
        self.mlp
    }
}
