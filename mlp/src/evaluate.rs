//! Asking a network: its outputs for any number of samples, a block of rows at a time.

use std::ops::Range;

use kernels::{MatMut, MatRef, Targets, Team};

use crate::data::{Data, DataError};
use crate::error::MlpError;
use crate::loss::Loss;
use crate::loss::{argmax, count_correct};
use crate::network::Network;
use crate::report::Evaluation;
use crate::run::Engine;

/// Rows of a block: enough for products at full speed, few enough for values to stay in the cache.
const BLOCK_ROWS: usize = 256;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The outputs of the last layer.
    Outputs,
    /// Their softmax, row by row.
    Probabilities,
}

/// The rows `0..rows`, a block at a time.
fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows)
        .step_by(BLOCK_ROWS)
        .map(move |start| start..rows.min(start + BLOCK_ROWS))
}

/// Some of the rows of a matrix.
pub(crate) fn rows_of<'a>(x: MatRef<'a>, rows: &Range<usize>) -> MatRef<'a> {
    x.part(rows.clone(), 0..x.cols())
}

/// The targets of some of the rows.
pub(crate) fn targets_of<'a>(targets: Targets<'a>, rows: &Range<usize>) -> Targets<'a> {
    match targets {
        Targets::Classes(labels) => Targets::Classes(&labels[rows.clone()]),
        Targets::Values(values) => Targets::Values(rows_of(values, rows)),
        other => other,
    }
}

/// Mean loss and accuracy over checked data.
pub(crate) fn evaluate(
    network: &Network,
    engine: &mut Engine,
    data: Data<'_>,
    team: &Team,
) -> Result<Evaluation, MlpError> {
    let (mut loss, mut correct) = (0.0, 0);
    for rows in blocks(data.n_samples()) {
        let targets = targets_of(data.targets(), &rows);
        let outputs = engine.forward(network, rows_of(data.inputs(), &rows), team)?;
        correct += count_correct(outputs, targets);
        loss += f64::from(engine.loss(network, targets)?) * rows.len() as f64;
    }
    let samples = data.n_samples() as f64;
    Ok(Evaluation {
        loss: (loss / samples) as f32,
        accuracy: match network.spec.loss {
            Loss::SoftmaxCrossEntropy => Some((correct as f64 / samples) as f32),
            Loss::MeanSquaredError => None,
        },
    })
}

/// Writes the answer for each row of `x` to the same row of `out`: rows x outputs.
pub(crate) fn answer(
    network: &Network,
    engine: &mut Engine,
    x: MatRef<'_>,
    answer: Answer,
    mut out: MatMut<'_>,
    team: &Team,
) -> Result<(), MlpError> {
    let cols = out.cols();
    for rows in blocks(x.rows()) {
        let outputs = engine.forward(network, rows_of(x, &rows), team)?;
        let mut out = out.reborrow().part(rows, 0..cols);
        match answer {
            Answer::Probabilities => network.kernels.softmax(outputs, out)?,
            Answer::Outputs => {
                for row in 0..outputs.rows() {
                    for col in 0..cols {
                        *out.at_mut(row, col) = *outputs.at(row, col);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The class of each row of `x`: the column of the largest output; an error where one is NaN.
pub(crate) fn classes(
    network: &Network,
    engine: &mut Engine,
    x: MatRef<'_>,
    team: &Team,
) -> Result<Vec<u32>, MlpError> {
    let mut classes = Vec::with_capacity(x.rows());
    for rows in blocks(x.rows()) {
        let first = rows.start;
        let outputs = engine.forward(network, rows_of(x, &rows), team)?;
        for row in 0..outputs.rows() {
            if let Some(col) = (0..outputs.cols()).find(|&col| outputs.at(row, col).is_nan()) {
                return Err(MlpError::Data(DataError::NotFinite {
                    what: "outputs",
                    row: first + row,
                    col,
                    value: f32::NAN,
                }));
            }
            classes.push(argmax(outputs, row) as u32);
        }
    }
    Ok(classes)
}
