//! The losses: means over a batch, with the gradient in the same pass over the outputs.
//!
//! The mean's factor (1/B, or 1/(B n) for squared error) is part of the gradient of the outputs, so
//! all gradients below are those of the mean already.

mod kind;

use kernels::{KernelError, Kernels, MatMut, MatRef, Targets};

use crate::error::MlpError;

pub use kind::Loss;

impl Loss {
    /// Factor between the sum over all rows and the loss.
    fn scale(self, rows: usize, outputs: usize) -> f32 {
        match self {
            Self::SoftmaxCrossEntropy => 1.0 / rows as f32,
            Self::MeanSquaredError => 1.0 / (rows * outputs) as f32,
        }
    }

    /// The loss of a batch; its gradient with respect to the outputs goes to `gradient`.
    ///
    /// outputs, gradient: batch x outputs; `losses`: scratch of one element for each row.
    /// Allocates nothing.
    pub(crate) fn run(
        self,
        kernels: &Kernels,
        outputs: MatRef<'_>,
        targets: Targets<'_>,
        gradient: Option<MatMut<'_>>,
        losses: &mut [f32],
    ) -> Result<f32, MlpError> {
        let scale = self.scale(outputs.rows(), outputs.cols());
        match (self, targets) {
            (Self::SoftmaxCrossEntropy, targets) => kernels
                .softmax_cross_entropy(outputs, targets, scale, gradient, losses)
                .map_err(label_error)?,
            (Self::MeanSquaredError, Targets::Values(values)) => {
                kernels.squared_error(outputs, values, scale, gradient, losses)?;
            }
            (Self::MeanSquaredError, targets) => return Err(self.wrong_kind(targets)),
        }
        Ok(scale * kernels.sum(losses))
    }

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
        match (self, targets) {
            (Self::SoftmaxCrossEntropy, Targets::Classes(labels)) => match labels.len() {
                fits if fits == rows => Ok(()),
                len => misfit(format!("{rows} labels"), len.to_string()),
            },
            (_, Targets::Values(values)) => match (values.rows(), values.cols()) {
                fits if fits == (rows, outputs) => Ok(()),
                (r, c) => misfit(format!("{rows} x {outputs}"), format!("{r} x {c}")),
            },
            _ => Err(self.wrong_kind(targets)),
        }
    }

    /// Checks the targets of a whole data set, element by element.
    pub(crate) fn check(
        self,
        rows: usize,
        outputs: usize,
        targets: Targets<'_>,
    ) -> Result<(), MlpError> {
        self.check_shape(rows, outputs, targets)?;
        match targets {
            Targets::Classes(labels) => {
                match labels.iter().position(|&label| label as usize >= outputs) {
                    None => Ok(()),
                    Some(row) => Err(MlpError::Label {
                        row,
                        label: labels[row],
                        classes: outputs,
                    }),
                }
            }
            Targets::Values(values) if self == Self::SoftmaxCrossEntropy => {
                for row in 0..rows {
                    for col in 0..outputs {
                        let value = *values.at(row, col);
                        if value < 0.0 {
                            return Err(MlpError::Targets {
                                loss: self,
                                expected: "weights of at least 0",
                                got: format!("{value} in row {row}, column {col}"),
                            });
                        }
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn wrong_kind(self, targets: Targets<'_>) -> MlpError {
        MlpError::Targets {
            loss: self,
            expected: match self {
                Self::SoftmaxCrossEntropy => "class labels, or a row of weights for each sample",
                Self::MeanSquaredError => "a row of values for each sample",
            },
            got: match targets {
                Targets::Classes(_) => "class labels".into(),
                _ => "targets of another kind".into(),
            },
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

/// Number of rows whose largest output is that of the class aimed at.
///
/// Of a row of weights the largest is the class aimed at.
pub(crate) fn count_correct(outputs: MatRef<'_>, targets: Targets<'_>) -> usize {
    let hit = |row: usize| {
        let class = argmax(outputs, row);
        match targets {
            Targets::Classes(labels) => labels[row] as usize == class,
            Targets::Values(values) => argmax(values, row) == class,
            _ => false,
        }
    };
    (0..outputs.rows()).filter(|&row| hit(row)).count()
}
