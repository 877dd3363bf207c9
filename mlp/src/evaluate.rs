//! Asking a network: its outputs for any number of samples, a block of rows at a time.

use std::ops::Range;

use kernels::{Activation, MatMut, MatRef, Team};

use crate::data::{Data, DataError};
use crate::error::MlpError;
use crate::loss::{Criterion, Loss, argmax};
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
    /// Their softmax, row by row; for binary cross-entropy the sigmoid of each.
    Probabilities,
}

/// The rows `0..rows`, a block at a time.
fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows)
        .step_by(BLOCK_ROWS)
        .map(move |start| start..rows.min(start + BLOCK_ROWS))
}

/// Some of the rows of a matrix.
fn rows_of<'a>(x: MatRef<'a>, rows: &Range<usize>) -> MatRef<'a> {
    x.part(rows.clone(), 0..x.cols())
}

/// Mean loss and accuracy over checked data; an error where no sample has a weight.
pub(crate) fn evaluate(
    network: &Network,
    engine: &mut Engine,
    data: Data<'_>,
    criterion: &mut Criterion<'_>,
    team: &Team,
) -> Result<Evaluation, MlpError> {
    let (mut sum, mut weight, mut correct) = (0.0, 0.0, 0);
    let (loss, samples) = (network.spec.loss, data.n_samples());
    // The targets of the user's own loss may be anything.
    let has_classes = !criterion.is_own()
        || loss
            .check(samples, network.outputs(), data.targets())
            .is_ok();
    for rows in blocks(data.n_samples()) {
        let block = data.part(rows);
        engine.forward(network, block.inputs(), team)?;
        if has_classes {
            correct += loss.count_correct(engine.scores()?, block.targets());
        }
        let of_block = engine.loss(network, block.into(), criterion, team)?;
        // A block of no weight has a loss of no meaning.
        if of_block.weight > 0.0 {
            sum += f64::from(of_block.mean) * of_block.weight;
            weight += of_block.weight;
        }
    }
    if weight == 0.0 {
        // Some of the samples of weighted data may have none.
        return Err(MlpError::Data(DataError::Weight { row: 0, value: 0.0 }));
    }
    let accuracy = loss.accuracy(correct, samples, network.outputs());
    Ok(Evaluation {
        loss: (sum / weight) as f32,
        accuracy: accuracy.filter(|_| has_classes),
    })
}

/// Checks that outputs, the first of them in row `first`, are such that something can be said of classes.
fn check_finite(outputs: MatRef<'_>, first: usize) -> Result<(), MlpError> {
    for row in 0..outputs.rows() {
        for col in 0..outputs.cols() {
            let value = *outputs.at(row, col);
            if !value.is_finite() {
                return Err(MlpError::Data(DataError::NotFinite {
                    what: "outputs",
                    row: first + row,
                    col,
                    value,
                }));
            }
        }
    }
    Ok(())
}

/// Writes the answer for each row of `x` to the same row of `out`: rows x outputs. Probabilities of
/// outputs that are NaN or infinite are an error.
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
        engine.forward(network, rows_of(x, &rows), team)?;
        if answer == Answer::Probabilities {
            check_finite(engine.scores()?, rows.start)?;
        }
        let outputs = engine.outputs()?;
        let mut out = out.reborrow().part(rows, 0..cols);
        // What ends with softmax, or a sigmoid, gives probabilities.
        let answer = match network.graph.scores() {
            Some(_) => Answer::Outputs,
            None => answer,
        };
        match answer {
            Answer::Probabilities if network.spec.loss == Loss::BinaryCrossEntropy => {
                for row in 0..outputs.rows() {
                    for col in 0..cols {
                        let (x, y) = (outputs.at(row, col), out.at_mut(row, col));
                        let (x, y) = (std::slice::from_ref(x), std::slice::from_mut(y));
                        let sigmoid = Activation::Sigmoid;
                        network.kernels.activation_forward(sigmoid, x, y)?;
                    }
                }
            }
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

/// The class of each row of `x`: the column of the largest output, or for binary cross-entropy whether
/// the one output is above 0; an error where one is NaN or
/// infinite.
pub(crate) fn classes(
    network: &Network,
    engine: &mut Engine,
    x: MatRef<'_>,
    team: &Team,
) -> Result<Vec<u32>, MlpError> {
    let mut classes = Vec::with_capacity(x.rows());
    for rows in blocks(x.rows()) {
        let first = rows.start;
        engine.forward(network, rows_of(x, &rows), team)?;
        let outputs = engine.scores()?;
        check_finite(outputs, first)?;
        for row in 0..outputs.rows() {
            classes.push(match network.spec.loss {
                Loss::BinaryCrossEntropy => u32::from(*outputs.at(row, 0) > 0.0),
                _ => argmax(outputs, row) as u32,
            });
        }
    }
    Ok(classes)
}
