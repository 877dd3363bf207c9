//! The optimisers: what becomes of the parameters, given their gradients.
//!
//! Each is one formula, element by element, over the flat arena of all parameters and up to
//! [`MAX_SLOTS`] arenas of state that mirror it.

mod adam;
mod groups;
mod rmsprop;
mod rule;
mod sgd;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use kernels::{KernelError, Kernels, MatMut, Team, Update};
use serde::{Deserialize, Serialize};

pub use adam::{Adam, AdamW};
pub use groups::ParamGroup;
pub(crate) use groups::{Factors, resolve};
pub use rmsprop::Rmsprop;
pub use rule::Tuned;
use rule::{HasRates, Rates, Rule, check_not_negative};
pub use sgd::Sgd;

use crate::error::MlpError;
use crate::params::{Buffer, LINE, zeros};

/// The most values that an optimiser keeps for each parameter.
const MAX_SLOTS: usize = 3;

/// Parameters that make a chunk of their own: 64 KB each of parameters, gradients and state, some
/// microseconds of work.
const CHUNK: usize = 1 << 14;

/// The most chunks of one update; of larger networks the chunks are larger.
pub(crate) const MAX_CHUNKS: usize = 32;

/// Elements of a chunk of `len`: at most [`MAX_CHUNKS`] chunks, whole cache lines.
pub(crate) fn chunk_len(len: usize) -> usize {
    len.div_ceil(MAX_CHUNKS).next_multiple_of(LINE).max(CHUNK)
}

/// A rule for the update of parameters, with its settings.
///
/// ```
/// use mlp::{Adam, AdamW, Optimizer, Rmsprop, Sgd, TrainConfig};
/// let all: [Optimizer; 4] = [
///     Sgd::new(0.1).momentum(0.9).nesterov().into(),
///     Adam::new(1e-3).into(),
///     AdamW::new(1e-3).into(),
///     Rmsprop::new(1e-3).into(),
/// ];
/// for optimizer in all {
///     let config = TrainConfig::default().optimizer(optimizer);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam, or AdamW.
    Adam(Adam),
    /// RMSprop.
    Rmsprop(Rmsprop),
}

impl Default for Optimizer {
    /// [`Adam`] with its default learning rate.
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

impl From<Sgd> for Optimizer {
    fn from(sgd: Sgd) -> Self {
        Self::Sgd(sgd)
    }
}

impl From<Adam> for Optimizer {
    fn from(adam: Adam) -> Self {
        Self::Adam(adam)
    }
}

impl From<AdamW> for Optimizer {
    fn from(adamw: AdamW) -> Self {
        Self::Adam(adamw.into())
    }
}

impl From<Rmsprop> for Optimizer {
    fn from(rmsprop: Rmsprop) -> Self {
        Self::Rmsprop(rmsprop)
    }
}

/// Some of the parameters, with what belongs to them; what is not kept for them is empty.
#[derive(Default)]
struct Chunk<'a> {
    gradients: &'a [f32],
    slots: [&'a mut [f32]; MAX_SLOTS],
    parameters: &'a mut [f32],
}

impl<'a> Chunk<'a> {
    /// Takes the first `len` parameters away.
    fn split_off_front(&mut self, len: usize) -> Self {
        let (gradients, rest) = self.gradients.split_at(len);
        self.gradients = rest;
        Self {
            gradients,
            slots: self.slots.each_mut().map(|slot| front(slot, len)),
            parameters: front(&mut self.parameters, len),
        }
    }
}

/// Takes the first `len` elements away; all of what is shorter.
fn front<'a>(slice: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let len = len.min(slice.len());
    let (front, rest) = std::mem::take(slice).split_at_mut(len);
    *slice = rest;
    front
}

impl Optimizer {
    fn rule(&self) -> &dyn Rule {
        match self {
            Self::Sgd(sgd) => sgd,
            Self::Adam(adam) => adam,
            Self::Rmsprop(rmsprop) => rmsprop,
        }
    }

    /// The settings that every optimiser has.
    fn rates(&mut self) -> Rates<'_> {
        match self {
            Self::Sgd(sgd) => sgd.rule.rates(),
            Self::Adam(adam) => adam.rule.rates(),
            Self::Rmsprop(rmsprop) => rmsprop.rule.rates(),
        }
    }

    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), MlpError> {
        let mut copy = *self;
        let rates = copy.rates();
        check_not_negative("learning_rate", *rates.learning_rate)?;
        check_not_negative("weight_decay", *rates.l2)?;
        check_not_negative("weight_decay", rates.decoupled.map_or(0.0, |decay| *decay))?;
        self.rule().check()
    }

    /// The settings with factors on the learning rate and on the weight decay.
    pub(crate) fn scaled(mut self, learning_rate: f32, weight_decay: f32) -> Self {
        let rates = self.rates();
        *rates.learning_rate *= learning_rate;
        *rates.l2 *= weight_decay;
        if let Some(decay) = rates.decoupled {
            *decay *= weight_decay;
        }
        self
    }

    /// The settings for parameters with these factors, at this factor of schedules.
    fn treated(&self, factors: &Factors, rate: f32) -> Self {
        self.scaled(factors.learning_rate * rate, factors.weight_decay)
    }

    /// The step size, before all factors.
    pub(crate) fn learning_rate(mut self) -> f32 {
        *self.rates().learning_rate
    }

    /// The settings with another step size.
    pub(crate) fn with_learning_rate(mut self, learning_rate: f32) -> Self {
        *self.rates().learning_rate = learning_rate;
        self
    }

    /// lambda of the term `lambda / 2 |w|^2` in the loss; decoupled decay has none.
    fn l2(mut self) -> f32 {
        *self.rates().l2
    }

    /// How many values it keeps for each parameter.
    pub(crate) fn kept(&self) -> usize {
        self.rule().slots().into_iter().filter(|&kept| kept).count()
    }

    /// Operations for each parameter.
    pub(crate) fn flop(&self) -> u64 {
        self.rule().flop()
    }
}

/// What an optimiser remembers from step to step.
#[derive(Clone, Debug)]
pub(crate) struct State {
    optimizer: Optimizer,
    /// For all parameters, in order.
    factors: Vec<Factors>,
    /// The factor of schedules on the learning rate.
    rate: f32,
    slots: [Buffer; MAX_SLOTS],
    /// Number of updates made.
    pub(crate) step: u64,
}

impl State {
    /// The state before the first step.
    pub(crate) fn new(optimizer: Optimizer, factors: Vec<Factors>, parameters: usize) -> Self {
        let slot = |kept| zeros(if kept { parameters } else { 0 });
        Self {
            optimizer,
            factors,
            rate: 1.0,
            slots: optimizer.rule().slots().map(slot),
            step: 0,
        }
    }

    /// The rule, with its settings.
    pub(crate) fn optimizer(&self) -> Optimizer {
        self.optimizer
    }

    /// What is kept for the parameters; empty where nothing is.
    pub(crate) fn slots(&self) -> &[Buffer] {
        &self.slots
    }

    /// What is kept for the parameters, to be set; empty where nothing is.
    pub(crate) fn slots_mut(&mut self) -> &mut [Buffer] {
        &mut self.slots
    }

    /// Goes on with other settings; from the start, if they are those of another kind of optimiser.
    pub(crate) fn switch(
        &mut self,
        optimizer: Optimizer,
        factors: Vec<Factors>,
        parameters: usize,
    ) {
        let same_kind =
            std::mem::discriminant(&self.optimizer) == std::mem::discriminant(&optimizer);
        if same_kind && self.optimizer.rule().slots() == optimizer.rule().slots() {
            (self.optimizer, self.factors) = (optimizer, factors);
        } else {
            *self = Self::new(optimizer, factors, parameters);
        }
    }

    /// Goes on with other factors.
    pub(crate) fn treat(&mut self, factors: Vec<Factors>) {
        self.factors = factors;
    }

    /// Becomes a copy of `other`, in the same memory where that is of the same sizes.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        let lengths = |state: &Self| state.slots.each_ref().map(|slot| slot.len());
        if lengths(self) != lengths(other) {
            *self = other.clone();
            return;
        }
        for (slot, from) in self.slots.iter_mut().zip(&other.slots) {
            slot.copy_from_slice(from);
        }
        self.factors.clone_from(&other.factors);
        (self.optimizer, self.rate, self.step) = (other.optimizer, other.rate, other.step);
    }

    /// Checks the settings with the factors of all groups.
    pub(crate) fn check(&self) -> Result<(), MlpError> {
        let mut treated = self.factors.iter().map(|f| self.optimizer.treated(f, 1.0));
        treated.try_for_each(|settings| settings.check())
    }

    /// Sets the factor of schedules on the learning rate.
    ///
    /// # Errors
    /// The learning rate of a group, if it is NaN or infinite with this factor.
    pub(crate) fn set_rate(&mut self, rate: f32) -> Result<(), f32> {
        self.rate = rate;
        let treated = self.factors.iter().map(|f| self.optimizer.treated(f, rate));
        let mut rates = treated.map(Optimizer::learning_rate);
        rates.find(|rate| !rate.is_finite()).map_or(Ok(()), Err)
    }

    /// The learning rate as it is now, without the factors of groups.
    pub(crate) fn learning_rate(&self) -> f32 {
        self.optimizer.learning_rate() * self.rate
    }

    /// Remembers nothing any more but the number of updates made.
    pub(crate) fn forget(&mut self) {
        for slot in &mut self.slots {
            slot.fill(0.0);
        }
    }

    /// `lambda / 2 |w|^2` over the parameters that have an L2 term in the loss.
    pub(crate) fn penalty(&self, kernels: &Kernels, parameters: &[f32]) -> f32 {
        let lambda = f64::from(self.optimizer.l2());
        if lambda == 0.0 {
            return 0.0;
        }
        let sum = self.factors.iter().map(|factors| {
            let squares = kernels.sum_squares(&parameters[factors.range.clone()]);
            f64::from(factors.weight_decay) * f64::from(squares)
        });
        (lambda / 2.0 * sum.sum::<f64>()) as f32
    }

    /// One update of all parameters. Allocates nothing.
    pub(crate) fn update(
        &mut self,
        kernels: &Kernels,
        gradients: &[f32],
        parameters: &mut [f32],
        team: &Team,
    ) -> Result<(), KernelError> {
        self.begin_step();
        let all = 0..parameters.len();
        self.on_range(kernels, gradients, parameters, all, team)
    }

    /// Begins an update that is made part by part: each parameter by one call of
    /// [`State::on_matrix`] or [`State::on_range`].
    pub(crate) fn begin_step(&mut self) {
        self.step += 1;
    }

    /// The part of the update that belongs to the matrix of `cols` columns in a range of the
    /// parameters, to be made by the product that computes its gradient.
    pub(crate) fn on_matrix<'a>(
        &'a mut self,
        parameters: &'a mut [f32],
        range: Range<usize>,
        cols: usize,
    ) -> Result<Update<'a>, KernelError> {
        let rows = range.len() / cols;
        let optimizer = self.settings_at(range.start);
        let matrix = |data: &'a mut [f32]| MatMut::from_row_major(data, rows, cols);
        let params = matrix(&mut parameters[range.clone()])?;
        let [first, second, third] = self.slots.each_mut().map(|slot| match slot.is_empty() {
            true => None,
            false => Some(matrix(&mut slot[range.clone()])),
        });
        let slots = [first.transpose()?, second.transpose()?, third.transpose()?];
        optimizer.rule().on_matrix(self.step, params, slots)
    }

    /// The settings for the parameter that starts at `index`.
    fn settings_at(&self, index: usize) -> Optimizer {
        match groups::from(&self.factors, index).first() {
            Some(factors) => self.optimizer.treated(factors, self.rate),
            None => self.optimizer,
        }
    }

    /// The part of the update that belongs to a range of the parameters, whose gradients are given.
    ///
    /// An element's new value depends on that element alone, so the division into chunks changes
    /// nothing.
    pub(crate) fn on_range(
        &mut self,
        kernels: &Kernels,
        gradients: &[f32],
        parameters: &mut [f32],
        range: Range<usize>,
        team: &Team,
    ) -> Result<(), KernelError> {
        let Self {
            optimizer,
            factors,
            rate,
            slots,
            step,
        } = self;
        let run = |start: usize, chunk: Chunk<'_>| {
            let mut rest = chunk;
            let mut start = start;
            for factors in groups::from(factors, start) {
                let len = rest.parameters.len().min(factors.range.end - start);
                if len == 0 {
                    break;
                }
                let settings = optimizer.treated(factors, *rate);
                let part = rest.split_off_front(len);
                settings.rule().update(kernels, *step, part)?;
                start += len;
            }
            Ok(())
        };
        let mut rest = Chunk {
            gradients,
            slots: slots.each_mut().map(|slot| match slot.is_empty() {
                true => &mut [][..],
                false => &mut slot[range.clone()],
            }),
            parameters: &mut parameters[range.clone()],
        };
        let size = chunk_len(range.len());
        let chunks = range.len().div_ceil(size);
        if chunks <= 1 {
            return run(range.start, rest);
        }

        let cells: [Mutex<Chunk<'_>>; MAX_CHUNKS] = std::array::from_fn(|_| {
            let len = size.min(rest.parameters.len());
            Mutex::new(rest.split_off_front(len))
        });
        let failure = Mutex::new(None);
        team.run(chunks, &|number, _| {
            let mut cell = cells[number].lock().unwrap_or_else(PoisonError::into_inner);
            let chunk = std::mem::take(&mut *cell);
            if let Err(error) = run(range.start + number * size, chunk) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}
