//! [`Ensemble`]: several networks of one shape, trained side by side.

use std::sync::{Mutex, PoisonError};

use kernels::{MatRef, with_team};

use crate::builder::MlpBuilder;
use crate::config::TrainConfig;
use crate::data::Data;
use crate::error::MlpError;
use crate::loss::argmax;
use crate::matrix::Matrix;
use crate::model::Mlp;
use crate::report::Report;

/// Networks with the same inputs and outputs: seeds of one description, or points of a grid of
/// settings, trained at once and asked as one.
///
/// Each member is trained by one thread, from its first step to its last: nothing is handed over
/// between threads, so as many members as there are threads take the time of one. A member ends in
/// the bits that it has when it is trained alone.
///
/// ```
/// use mlp::{Adam, Dataset, Ensemble, Mlp, TrainConfig};
///
/// let x: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin()).collect();
/// let y = x.chunks(2).map(|p| u32::from(p[0] > p[1])).collect();
/// let data = Dataset::classes(x, 2, y)?;
///
/// let mut ensemble = Ensemble::of_seeds(&Mlp::builder(2).dense(8).relu().dense(2), 0..4)?;
/// let rates = [1e-3, 3e-3, 1e-2, 3e-2];
/// let reports = ensemble.fit(&data, 0, |member| {
///     TrainConfig::default().optimizer(Adam::new(rates[member])).batch_size(16).max_epochs(10)
/// })?;
/// assert_eq!(reports.len(), 4);
/// let classes = ensemble.predict(data.inputs())?;
/// assert_eq!(classes.len(), 100);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ensemble {
    /// At least one.
    members: Vec<Mlp>,
}

impl Ensemble {
    /// An ensemble of networks that were built before.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if there are none, [`MlpError::Shape`] if one has other numbers of
    /// inputs or outputs than the first.
    pub fn new(members: Vec<Mlp>) -> Result<Self, MlpError> {
        let shape = |mlp: &Mlp| (mlp.inputs(), mlp.outputs());
        let Some(first) = members.first().map(shape) else {
            return Err(MlpError::Setting {
                name: "members",
                expected: "at least 1 network",
                got: "0".into(),
            });
        };
        let other = members.iter().position(|mlp| shape(mlp) != first);
        if let Some(member) = other {
            let got = shape(&members[member]);
            return Err(MlpError::Shape {
                what: "members of an ensemble",
                expected: format!("{} inputs and {} outputs in each", first.0, first.1),
                got: format!("{} and {} in member {member}", got.0, got.1),
            });
        }
        Ok(Self { members })
    }

    /// One network for each seed, of one description.
    ///
    /// # Errors
    /// As [`MlpBuilder::build`], and [`MlpError::Setting`] if there are no seeds.
    pub fn of_seeds(
        builder: &MlpBuilder,
        seeds: impl IntoIterator<Item = u64>,
    ) -> Result<Self, MlpError> {
        let build = |seed| builder.clone().seed(seed).build();
        Self::new(seeds.into_iter().map(build).collect::<Result<_, _>>()?)
    }

    /// The networks.
    pub fn members(&self) -> &[Mlp] {
        &self.members
    }

    /// The networks, to go on with each by itself.
    pub fn into_members(self) -> Vec<Mlp> {
        self.members
    }

    /// Trains every member as [`Mlp::fit`] does, on `threads` threads (0: as many as there are), with
    /// the settings that `config` gives for its number. Reports are in the order of the members.
    ///
    /// The number of threads in those settings is not used: a member has one thread, or an equal
    /// share if there are fewer members than threads.
    ///
    /// # Complexity
    /// That of the trainings by themselves, over the number of threads; members that are left over
    /// when their number is not a multiple of that of threads run beside idle ones.
    ///
    /// # Errors
    /// [`MlpError::Member`] with the first error of [`Mlp::fit`] in the order of the members, each of
    /// which checks settings and data before its first step; the others are trained all the same.
    pub fn fit<'a, 'c>(
        &mut self,
        data: impl Into<Data<'a>>,
        threads: usize,
        config: impl Fn(usize) -> TrainConfig<'c> + Sync,
    ) -> Result<Vec<Report>, MlpError> {
        let data = data.into();
        let count = self.members.len();
        let slots: Vec<_> = self
            .members
            .iter_mut()
            .map(|mlp| Mutex::new((mlp, None)))
            .collect();
        with_team(threads, |team| {
            let share = (team.threads() / count).max(1);
            team.run(count, &|member, _| {
                let mut slot = slots[member].lock().unwrap_or_else(PoisonError::into_inner);
                let report = slot.0.fit(data, &config(member).threads(share));
                slot.1 = Some(report);
            });
        });
        let reports = slots.into_iter().enumerate().filter_map(|(member, slot)| {
            let (_, report) = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            let name = |error| MlpError::Member {
                member,
                error: Box::new(error),
            };
            report.map(|report| report.map_err(name))
        });
        reports.collect()
    }

    /// The mean of the members' outputs: samples x outputs. For networks that predict values.
    ///
    /// # Errors
    /// As [`Mlp::forward`].
    pub fn forward<'a>(&self, x: impl Into<MatRef<'a>>) -> Result<Matrix, MlpError> {
        let x = x.into();
        self.mean(|mlp| mlp.forward(x))
    }

    /// The mean of the members' probabilities: samples x classes.
    ///
    /// # Errors
    /// As [`Mlp::predict_proba`].
    pub fn predict_proba<'a>(&self, x: impl Into<MatRef<'a>>) -> Result<Matrix, MlpError> {
        let x = x.into();
        self.mean(|mlp| mlp.predict_proba(x))
    }

    /// The class with the largest mean probability for each sample, the first if several have it.
    ///
    /// # Errors
    /// As [`Mlp::predict`].
    pub fn predict<'a>(&self, x: impl Into<MatRef<'a>>) -> Result<Vec<u32>, MlpError> {
        let first = &self.members[0];
        first.check_predict()?;
        let probabilities = self.predict_proba(x)?;
        let view = probabilities.view();
        Ok((0..view.rows())
            .map(|row| match view.cols() {
                // The one output of binary cross-entropy is the probability of class 1.
                1 => u32::from(*view.at(row, 0) > 0.5),
                _ => argmax(view, row) as u32,
            })
            .collect())
    }

    fn mean(&self, answer: impl Fn(&Mlp) -> Result<Matrix, MlpError>) -> Result<Matrix, MlpError> {
        let mut sum = answer(&self.members[0])?;
        for mlp in &self.members[1..] {
            let other = answer(mlp)?;
            for (sum, other) in sum.as_mut_slice().iter_mut().zip(other.as_slice()) {
                *sum += other;
            }
        }
        let factor = 1.0 / self.members.len() as f32;
        sum.as_mut_slice().iter_mut().for_each(|x| *x *= factor);
        Ok(sum)
    }
}
