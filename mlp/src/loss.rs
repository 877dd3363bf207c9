//! The losses: means over a batch, with the gradient in the same pass over the outputs.
//!
//! The mean's factor (1/B for cross-entropy, 1/(B n) for what compares each output by itself) is part
//! of the gradient of the outputs, so all gradients below are those of the mean already.

mod kind;
mod objective;

use std::ops::Range;

use kernels::{KernelError, Kernels, MatMut, MatRef, PointwiseLoss, Targets, Team, Weighting};

use crate::data::Data;
use crate::error::MlpError;
use crate::params::{Buffer, grow, zeros};

pub use kind::Loss;
pub use objective::{LossBatch, LossFn, Objective};

/// What the outputs of a batch are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim<'a> {
    pub(crate) targets: Targets<'a>,
    /// A weight for each sample.
    pub(crate) weights: Option<&'a [f32]>,
    /// How many rows the mean is over, if these are only some of them, without weights.
    pub(crate) rows_of_mean: Option<usize>,
}

impl<'a> Aim<'a> {
    /// All samples of a batch.
    pub(crate) fn new(targets: Targets<'a>, weights: Option<&'a [f32]>) -> Self {
        Self {
            targets,
            weights,
            rows_of_mean: None,
        }
    }

    /// Some of the samples of a batch without weights, for their part of its mean.
    pub(crate) fn part(&self, rows: Range<usize>) -> Self {
        let (targets, all) = match self.targets {
            Targets::Classes(labels) => (Targets::Classes(&labels[rows]), labels.len()),
            Targets::Values(values) => {
                let part = values.part(rows, 0..values.cols());
                (Targets::Values(part), values.rows())
            }
            other => (other, rows.len()),
        };
        Self {
            targets,
            weights: None,
            rows_of_mean: Some(all),
        }
    }

    /// What `rows` rows without weights are divided by in a mean.
    fn weight_of_mean(&self, rows: usize) -> f64 {
        self.rows_of_mean.unwrap_or(rows) as f64
    }
}

impl<'a> From<Data<'a>> for Aim<'a> {
    fn from(data: Data<'a>) -> Self {
        Self::new(data.targets(), data.weights())
    }
}

/// How outputs and targets become a number.
pub(crate) enum Criterion<'c> {
    /// The loss of the network, with what a training changes in it.
    Built(Loss, &'c Objective),
    /// The user's own.
    Own(&'c mut LossFn<'c>),
}

/// The loss of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BatchLoss {
    /// The mean.
    pub(crate) mean: f32,
    /// What it counts in a mean over batches: rows, or the sum of their weights.
    pub(crate) weight: f64,
}

/// Memory for the loss of a batch.
#[derive(Debug)]
pub(crate) struct LossMemory {
    /// The loss of each row.
    losses: Buffer,
    /// What is compared with instead of the targets, or a gradient that nobody reads.
    soft: Buffer,
}

impl LossMemory {
    pub(crate) fn new() -> Self {
        Self {
            losses: zeros(0),
            soft: zeros(0),
        }
    }

    /// Makes room for a batch.
    pub(crate) fn reserve(&mut self, rows: usize, outputs: usize) {
        grow(&mut self.losses, rows);
        grow(&mut self.soft, rows * outputs);
    }
}

impl Criterion<'_> {
    /// Whether it is the user's own, which is one of the outputs whatever they are.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// The loss of a batch; its gradient with respect to the outputs goes to `gradient`.
    ///
    /// outputs, gradient: batch x outputs. Allocates nothing in memory that is large enough.
    pub(crate) fn run(
        &mut self,
        kernels: &Kernels,
        outputs: MatRef<'_>,
        aim: Aim<'_>,
        gradient: Option<MatMut<'_>>,
        memory: &mut LossMemory,
        team: &Team,
    ) -> Result<BatchLoss, MlpError> {
        match self {
            Self::Built(Loss::SoftmaxCrossEntropy, objective) => {
                cross_entropy(kernels, outputs, aim, objective, gradient, memory, team)
            }
            Self::Built(loss, _) => pointwise(*loss, kernels, outputs, aim, gradient, memory),
            Self::Own(function) => own(function, outputs, aim, gradient, memory),
        }
    }
}

/// `scale` between a sum over rows of this total weight and their mean; 0 where nothing counts.
fn mean_factor(weight: f64) -> f32 {
    if weight > 0.0 {
        (1.0 / weight) as f32
    } else {
        0.0
    }
}

fn cross_entropy(
    kernels: &Kernels,
    outputs: MatRef<'_>,
    aim: Aim<'_>,
    objective: &Objective,
    gradient: Option<MatMut<'_>>,
    memory: &mut LossMemory,
    team: &Team,
) -> Result<BatchLoss, MlpError> {
    let (rows, classes) = (outputs.rows(), outputs.cols());
    let losses = &mut memory.losses[..rows];
    let (targets, weight) = if objective.is_plain() && aim.weights.is_none() {
        (aim.targets, aim.weight_of_mean(rows))
    } else {
        check_labels(aim.targets, classes)?;
        let soft = &mut memory.soft[..rows * classes];
        let view = MatMut::from_row_major(soft, rows, classes)?;
        let weight = objective.soften(aim.targets, aim.weights, view);
        let soft = MatRef::from_row_major(soft, rows, classes)?;
        (Targets::Values(soft), weight)
    };
    let scale = mean_factor(weight);
    kernels
        .softmax_cross_entropy_on(outputs, targets, scale, gradient, losses, team)
        .map_err(label_error)?;
    let mean = scale * kernels.sum(losses);
    Ok(BatchLoss { mean, weight })
}

fn pointwise(
    loss: Loss,
    kernels: &Kernels,
    outputs: MatRef<'_>,
    aim: Aim<'_>,
    gradient: Option<MatMut<'_>>,
    memory: &mut LossMemory,
) -> Result<BatchLoss, MlpError> {
    let (rows, cols) = (outputs.rows(), outputs.cols());
    let of_element = match loss {
        Loss::MeanAbsoluteError => PointwiseLoss::Absolute,
        Loss::Huber { delta } => PointwiseLoss::Huber { delta },
        Loss::BinaryCrossEntropy => PointwiseLoss::BinaryCrossEntropy,
        Loss::MeanSquaredError | Loss::SoftmaxCrossEntropy => PointwiseLoss::Squared,
    };
    let targets = match aim.targets {
        Targets::Values(values) => values,
        Targets::Classes(labels) if loss == Loss::BinaryCrossEntropy => {
            check_labels(aim.targets, 2)?;
            let soft = &mut memory.soft[..rows];
            for (target, &label) in soft.iter_mut().zip(labels) {
                *target = label as f32;
            }
            MatRef::from_row_major(soft, rows, 1)?
        }
        targets => return Err(loss.wrong_kind(targets)),
    };
    let weight = aim.weights.map_or(aim.weight_of_mean(rows), |weights| {
        weights.iter().map(|&w| f64::from(w)).sum()
    });
    let scale = mean_factor(weight * cols as f64);
    let weighting = Weighting {
        scale,
        rows: aim.weights,
    };
    let losses = &mut memory.losses[..rows];
    kernels.pointwise_loss(of_element, outputs, targets, weighting, gradient, losses)?;
    let mean = scale * kernels.sum(losses);
    Ok(BatchLoss { mean, weight })
}

fn own(
    function: &mut LossFn<'_>,
    outputs: MatRef<'_>,
    aim: Aim<'_>,
    gradient: Option<MatMut<'_>>,
    memory: &mut LossMemory,
) -> Result<BatchLoss, MlpError> {
    let (rows, cols) = (outputs.rows(), outputs.cols());
    let scratch = &mut memory.soft[..rows * cols];
    let mut gradient = match gradient {
        Some(gradient) => gradient,
        None => MatMut::from_row_major(scratch, rows, cols)?,
    };
    for row in 0..rows {
        for col in 0..cols {
            *gradient.at_mut(row, col) = 0.0;
        }
    }
    let mean = function(LossBatch {
        outputs,
        targets: aim.targets,
        weights: aim.weights,
        gradient: gradient.reborrow(),
    });
    let gradient = gradient.as_ref();
    let finite = (0..rows).all(|row| (0..cols).all(|col| gradient.at(row, col).is_finite()));
    Ok(BatchLoss {
        // A gradient that is not finite is found before it is used, like a loss that is not.
        mean: if finite { mean } else { f32::NAN },
        weight: rows as f64,
    })
}

/// Checks that labels are those of so many classes.
fn check_labels(targets: Targets<'_>, classes: usize) -> Result<(), MlpError> {
    let Targets::Classes(labels) = targets else {
        return Ok(());
    };
    match labels.iter().position(|&label| label as usize >= classes) {
        None => Ok(()),
        Some(row) => Err(MlpError::Label {
            row,
            label: labels[row],
            classes,
        }),
    }
}

impl Loss {
    /// Checks kind and shape of the targets of `rows` samples for a network of `outputs` outputs.
    pub(crate) fn check_shape(
        self,
        rows: usize,
        outputs: usize,
        targets: Targets<'_>,
    ) -> Result<(), MlpError> {
        // The texts are made for a misfit only: this runs in every step.
        let misfit = |expected: String, got: String| {
            let what = "targets";
            Err(MlpError::Shape {
                what,
                expected,
                got,
            })
        };
        let takes_labels = match self {
            Self::SoftmaxCrossEntropy => true,
            Self::BinaryCrossEntropy => outputs == 1,
            _ => false,
        };
        match targets {
            Targets::Classes(labels) if takes_labels => match labels.len() {
                fits if fits == rows => Ok(()),
                len => misfit(format!("{rows} labels"), len.to_string()),
            },
            Targets::Values(values) => match (values.rows(), values.cols()) {
                fits if fits == (rows, outputs) => Ok(()),
                (r, c) => misfit(format!("{rows} x {outputs}"), format!("{r} x {c}")),
            },
            _ => Err(self.wrong_kind(targets)),
        }
    }

    /// Checks targets element by element, which allocates nothing unless one is refused.
    pub(crate) fn check(
        self,
        rows: usize,
        outputs: usize,
        targets: Targets<'_>,
    ) -> Result<(), MlpError> {
        self.check_shape(rows, outputs, targets)?;
        let (most, expected) = match self {
            Self::SoftmaxCrossEntropy => (f32::INFINITY, "weights of at least 0"),
            Self::BinaryCrossEntropy => (1.0, "probabilities, 0 to 1"),
            _ => return Ok(()),
        };
        // One output tells two classes apart.
        check_labels(targets, outputs.max(2))?;
        let Targets::Values(values) = targets else {
            return Ok(());
        };
        for row in 0..rows {
            for col in 0..outputs {
                let value = *values.at(row, col);
                if !(0.0..=most).contains(&value) {
                    return Err(MlpError::Targets {
                        loss: self,
                        expected,
                        got: format!("{value} in row {row}, column {col}"),
                    });
                }
            }
        }
        Ok(())
    }

    fn wrong_kind(self, targets: Targets<'_>) -> MlpError {
        MlpError::Targets {
            loss: self,
            expected: match self {
                Self::SoftmaxCrossEntropy => "class labels, or a row of weights for each sample",
                Self::BinaryCrossEntropy => {
                    "a row of probabilities for each sample, or labels for one output"
                }
                _ => "a row of values for each sample",
            },
            got: match targets {
                Targets::Classes(_) => "class labels".into(),
                _ => "targets of another kind".into(),
            },
        }
    }

    /// Share of the samples whose class is found, or of the outputs on the right side of 1/2;
    /// `None` if the loss does not tell classes apart.
    pub(crate) fn accuracy(self, correct: usize, samples: usize, outputs: usize) -> Option<f32> {
        let all = match self {
            Self::SoftmaxCrossEntropy => samples,
            Self::BinaryCrossEntropy => samples * outputs,
            _ => return None,
        };
        Some((correct as f64 / all as f64) as f32)
    }

    /// What counts as correct in [`Loss::accuracy`], in these rows.
    pub(crate) fn count_correct(self, outputs: MatRef<'_>, targets: Targets<'_>) -> usize {
        let by_row = |row: usize| {
            let class = argmax(outputs, row);
            match targets {
                // Of a row of weights the largest is the class aimed at.
                Targets::Values(values) => argmax(values, row) == class,
                Targets::Classes(labels) => labels[row] as usize == class,
                _ => false,
            }
        };
        let by_output = |row: usize, col: usize| {
            let aim = match targets {
                Targets::Values(values) => *values.at(row, col) > 0.5,
                Targets::Classes(labels) => labels[row] == 1,
                _ => false,
            };
            aim == (*outputs.at(row, col) > 0.0)
        };
        let rows = 0..outputs.rows();
        match self {
            Self::SoftmaxCrossEntropy => rows.filter(|&row| by_row(row)).count(),
            Self::BinaryCrossEntropy => rows
                .map(|row| {
                    (0..outputs.cols())
                        .filter(|&col| by_output(row, col))
                        .count()
                })
                .sum(),
            _ => 0,
        }
    }
}

/// A label out of range, in the words of this crate.
fn label_error(error: KernelError) -> MlpError {
    match error {
        KernelError::Label {
            row,
            label,
            classes,
            ..
        } => MlpError::Label {
            row,
            label,
            classes,
        },
        other => MlpError::Kernel(other),
    }
}

/// The column of the largest element of row `row`; the first, if several are.
pub(crate) fn argmax(x: MatRef<'_>, row: usize) -> usize {
    let mut best = 0;
    for col in 1..x.cols() {
        if x.at(row, col) > x.at(row, best) {
            best = col;
        }
    }
    best
}
