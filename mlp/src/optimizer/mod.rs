//! The optimisers: what becomes of the parameters, given their gradients.
//!
//! Each is one formula, element by element, over the flat arena of all parameters and up to
//! [`MAX_SLOTS`] arenas of state that mirror it.

mod adam;
mod sgd;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use kernels::{KernelError, Kernels, MatMut, Team, Update};

pub use adam::Adam;
pub use sgd::Sgd;

use crate::error::MlpError;
use crate::params::{Buffer, LINE, zeros};

/// The most values that an optimiser keeps for each parameter.
const MAX_SLOTS: usize = 2;

/// Parameters that make a chunk of their own: 64 KB each of parameters, gradients and state, some
/// microseconds of work.
const CHUNK: usize = 1 << 14;

/// The most chunks of one update; of larger networks the chunks are larger.
const MAX_CHUNKS: usize = 32;

/// A rule for the update of parameters, with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
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

/// Some of the parameters, with what belongs to them.
struct Chunk<'a> {
    gradients: &'a [f32],
    slots: [&'a mut [f32]; MAX_SLOTS],
    parameters: &'a mut [f32],
}

impl Optimizer {
    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), MlpError> {
        match self {
            Self::Sgd(sgd) => sgd.check(),
            Self::Adam(adam) => adam.check(),
        }
    }

    /// How many values it keeps for each parameter.
    fn slots(&self) -> usize {
        match self {
            Self::Sgd(sgd) => sgd.slots(),
            Self::Adam(_) => Adam::SLOTS,
        }
    }

    /// Update number `step`, counted from 1, of a part of the parameters.
    fn update(&self, kernels: &Kernels, step: u64, chunk: Chunk<'_>) -> Result<(), KernelError> {
        match self {
            Self::Sgd(sgd) => sgd.update(kernels, chunk),
            Self::Adam(adam) => adam.update(kernels, step, chunk),
        }
    }
}

/// What an optimiser remembers from step to step.
#[derive(Clone, Debug)]
pub(crate) struct State {
    optimizer: Optimizer,
    slots: [Buffer; MAX_SLOTS],
    /// Number of updates made.
    pub(crate) step: u64,
}

impl State {
    /// The state before the first step.
    pub(crate) fn new(optimizer: Optimizer, parameters: usize) -> Self {
        let slot = |number| {
            zeros(if number < optimizer.slots() {
                parameters
            } else {
                0
            })
        };
        Self {
            optimizer,
            slots: [slot(0), slot(1)],
            step: 0,
        }
    }

    /// Goes on with other settings; from the start, if they are those of another kind of optimiser.
    pub(crate) fn switch(&mut self, optimizer: Optimizer, parameters: usize) {
        let same_kind =
            std::mem::discriminant(&self.optimizer) == std::mem::discriminant(&optimizer);
        if same_kind && self.optimizer.slots() == optimizer.slots() {
            self.optimizer = optimizer;
        } else {
            *self = Self::new(optimizer, parameters);
        }
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
        let matrix = |data: &'a mut [f32]| MatMut::from_row_major(data, rows, cols);
        let params = matrix(&mut parameters[range.clone()])?;
        let [first, second] = self.slots.each_mut().map(|slot| match slot.is_empty() {
            true => None,
            false => Some(matrix(&mut slot[range.clone()])),
        });
        let slots = [first.transpose()?, second.transpose()?];
        match &self.optimizer {
            Optimizer::Sgd(sgd) => Ok(sgd.on_matrix(params, slots)),
            Optimizer::Adam(adam) => adam.on_matrix(self.step, params, slots),
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
        let (optimizer, step) = (self.optimizer, self.step);
        let parameters = &mut parameters[range.clone()];
        let chunk = parameters
            .len()
            .div_ceil(MAX_CHUNKS)
            .next_multiple_of(LINE)
            .max(CHUNK);
        let chunks = parameters.len().div_ceil(chunk);
        if chunks <= 1 {
            let slots = self.slots.each_mut().map(|slot| match slot.is_empty() {
                true => &mut [][..],
                false => &mut slot[range.clone()],
            });
            return optimizer.update(
                kernels,
                step,
                Chunk {
                    gradients,
                    slots,
                    parameters,
                },
            );
        }

        let mut gradients = gradients.chunks(chunk);
        let mut parameters = parameters.chunks_mut(chunk);
        let mut slots = self.slots.each_mut().map(|slot| {
            let part = if slot.is_empty() { 0..0 } else { range.clone() };
            slot[part].chunks_mut(chunk)
        });
        let cells: [Mutex<Option<Chunk<'_>>>; MAX_CHUNKS] = std::array::from_fn(|_| {
            let slots = slots.each_mut().map(|slot| slot.next().unwrap_or_default());
            let chunk = gradients.next().zip(parameters.next());
            Mutex::new(chunk.map(|(gradients, parameters)| Chunk {
                gradients,
                slots,
                parameters,
            }))
        });
        let failure = Mutex::new(None);
        team.run(chunks, &|number, _| {
            let mut cell = cells[number].lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(chunk) = cell.take()
                && let Err(error) = optimizer.update(kernels, step, chunk)
            {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

/// Checks that a setting is a finite number of at least 0.
fn check_not_negative(name: &'static str, value: f32) -> Result<(), MlpError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(MlpError::Setting {
        name,
        expected: "a finite number of at least 0",
        got: value.to_string(),
    })
}

/// Checks that a setting is at least 0 and below 1.
fn check_share(name: &'static str, value: f32) -> Result<(), MlpError> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(MlpError::Setting {
        name,
        expected: "a number of at least 0 and below 1",
        got: value.to_string(),
    })
}
