//! [`Data`]: inputs and targets that are known to fit together.

use std::ops::Range;

use kernels::{MatRef, Targets};

use super::error::DataError;
use super::split::{self, Fold};

/// Borrowed samples: row i of the inputs belongs to row i of the targets.
///
/// A value exists only if there is at least one sample with at least one feature, there are as many
/// targets as samples, and every number is finite. Whether labels and widths fit a network is
/// checked by the network.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    inputs: MatRef<'a>,
    targets: Targets<'a>,
    weights: Option<&'a [f32]>,
}

impl<'a> Data<'a> {
    /// Samples that each belong to one class.
    ///
    /// # Shapes
    /// inputs: samples x features; labels: samples, counted from 0
    ///
    /// # Errors
    /// [`DataError::Empty`], [`DataError::SampleCount`] or [`DataError::NotFinite`].
    pub fn classes(inputs: MatRef<'a>, labels: &'a [u32]) -> Result<Self, DataError> {
        Self::checked(inputs, Targets::Classes(labels), labels.len())
    }

    /// Samples with a row of values each: numbers to predict, or probabilities of classes.
    ///
    /// # Shapes
    /// inputs: samples x features; values: samples x outputs
    ///
    /// # Errors
    /// [`DataError::Empty`], [`DataError::SampleCount`] or [`DataError::NotFinite`].
    pub fn values(inputs: MatRef<'a>, values: MatRef<'a>) -> Result<Self, DataError> {
        let data = Self::checked(inputs, Targets::Values(values), values.rows())?;
        check_matrix("targets", values)?;
        Ok(data)
    }

    fn checked(
        inputs: MatRef<'a>,
        targets: Targets<'a>,
        n_targets: usize,
    ) -> Result<Self, DataError> {
        check_matrix("inputs", inputs)?;
        if n_targets != inputs.rows() {
            return Err(DataError::SampleCount {
                expected: inputs.rows(),
                got: n_targets,
            });
        }
        Ok(Self::trusted(inputs, targets))
    }

    /// For parts of this module that hold or copy samples which have been checked before.
    pub(super) fn trusted(inputs: MatRef<'a>, targets: Targets<'a>) -> Self {
        Self {
            inputs,
            targets,
            weights: None,
        }
    }

    /// Weighs the samples against each other: a loss becomes a weighted mean,
    /// `sum_i s_i L_i / sum_i s_i`. Accuracies count each sample once.
    ///
    /// ```
    /// use mlp::{Data, MatRef, Mlp};
    ///
    /// let x = MatRef::from_row_major(&[0., 1., 2.], 3, 1)?;
    /// let data = Data::classes(x, &[0, 1, 1])?;
    /// let net = Mlp::builder(1).dense(2).build()?;
    /// // The last sample alone counts.
    /// let last = Data::classes(x.part(2..3, 0..1), &[1])?;
    /// let weighted = net.evaluate(data.weighted(&[0., 0., 5.])?)?;
    /// assert!((weighted.loss - net.evaluate(last)?.loss).abs() < 1e-6);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::SampleCount`] if there is not a weight for each sample, [`DataError::Weight`] if
    /// one is negative, NaN or infinite, or all are 0.
    pub fn weighted(self, weights: &'a [f32]) -> Result<Self, DataError> {
        if weights.len() != self.n_samples() {
            return Err(DataError::SampleCount {
                expected: self.n_samples(),
                got: weights.len(),
            });
        }
        let bad = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0));
        let none = weights.iter().all(|&w| w == 0.0).then_some(0);
        if let Some(row) = bad.or(none) {
            let value = weights[row];
            return Err(DataError::Weight { row, value });
        }
        Ok(Self {
            weights: Some(weights),
            ..self
        })
    }

    /// The weights of the samples, if they have some.
    pub fn weights(&self) -> Option<&'a [f32]> {
        self.weights
    }

    /// Weights for samples that were chosen from weighted ones.
    pub(super) fn with_trusted_weights(self, weights: Option<&'a [f32]>) -> Self {
        Self { weights, ..self }
    }

    /// The `k` ways to leave one of `k` equal parts out, for cross-validation: parts of random samples with
    /// the same mix of classes, within one sample of each, where there are labels; of any samples where
    /// the targets are values. The same seed gives the same parts.
    ///
    /// ```
    /// use mlp::{Data, MatRef};
    ///
    /// let x = [0., 1., 2., 3., 4., 5.];
    /// let x = MatRef::from_row_major(&x, 6, 1)?;
    /// let folds = Data::values(x, x)?.folds(3, 42)?;
    /// assert_eq!(folds.len(), 3);
    /// assert!(folds.iter().all(|fold| fold.train.len() == 4 && fold.test.len() == 2));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::Setting`] unless `2 <= k <= samples`.
    pub fn folds(&self, k: usize, seed: u64) -> Result<Vec<Fold>, DataError> {
        let n = self.n_samples();
        if !(2..=n).contains(&k) {
            return Err(DataError::Setting {
                what: "folds",
                expected: format!("2 to {n}, the number of samples"),
                got: k.to_string(),
            });
        }
        Ok(split::folds(n, k, self.labels(), seed))
    }

    /// Some of the samples, side by side.
    pub(crate) fn part(&self, rows: Range<usize>) -> Self {
        let part = |x: MatRef<'a>| x.part(rows.clone(), 0..x.cols());
        Self {
            inputs: part(self.inputs),
            targets: match self.targets {
                Targets::Classes(labels) => Targets::Classes(&labels[rows.clone()]),
                Targets::Values(values) => Targets::Values(part(values)),
                other => other,
            },
            weights: self.weights.map(|weights| &weights[rows.clone()]),
        }
    }

    /// The features, samples x features.
    pub fn inputs(&self) -> MatRef<'a> {
        self.inputs
    }

    /// What the samples should give.
    pub fn targets(&self) -> Targets<'a> {
        self.targets
    }

    /// Number of samples, at least 1.
    pub fn n_samples(&self) -> usize {
        self.inputs.rows()
    }

    /// Number of features of a sample, at least 1.
    pub fn n_features(&self) -> usize {
        self.inputs.cols()
    }

    /// The labels, one for each sample; `None` if the targets are values.
    pub fn labels(&self) -> Option<&'a [u32]> {
        match self.targets {
            Targets::Classes(labels) => Some(labels),
            _ => None,
        }
    }

    /// Number of classes, one more than the highest label; `None` if the targets are values.
    pub fn n_classes(&self) -> Option<usize> {
        let highest = self.labels()?.iter().max()?;
        Some(*highest as usize + 1)
    }
}

/// Sees that a matrix has elements, and that all are finite.
pub(crate) fn check_matrix(what: &'static str, x: MatRef<'_>) -> Result<(), DataError> {
    let (rows, cols) = (x.rows(), x.cols());
    if rows == 0 || cols == 0 {
        return Err(DataError::Empty { what, rows, cols });
    }
    for row in 0..rows {
        // Without a short cut the loop over a row is one that vectorises.
        let finite = match x.row(row) {
            Some(values) => values.iter().fold(true, |all, v| all & v.is_finite()),
            None => (0..cols).all(|col| x.at(row, col).is_finite()),
        };
        if !finite {
            let place = (0..cols).find(|&col| !x.at(row, col).is_finite());
            return Err(not_finite(what, x, row, place.unwrap_or(0)));
        }
    }
    Ok(())
}

fn not_finite(what: &'static str, x: MatRef<'_>, row: usize, col: usize) -> DataError {
    DataError::NotFinite {
        what,
        row,
        col,
        value: *x.at(row, col),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(data: &[f32], rows: usize, cols: usize) -> MatRef<'_> {
        MatRef::from_row_major(data, rows, cols).unwrap()
    }

    #[test]
    fn keeps_what_fits() {
        let data = Data::classes(matrix(&[1.0, 2.0, 3.0, 4.0], 2, 2), &[0, 4]).unwrap();
        assert_eq!(
            (data.n_samples(), data.n_features(), data.n_classes()),
            (2, 2, Some(5))
        );
        let values = [0.5, 0.25];
        let data = Data::values(matrix(&[1.0, 2.0, 3.0, 4.0], 2, 2), matrix(&values, 2, 1));
        assert_eq!(data.unwrap().n_classes(), None);
    }

    #[test]
    fn weights_belong_to_samples() {
        let data = Data::classes(matrix(&[1.0, 2.0, 3.0], 3, 1), &[0, 1, 0]).unwrap();
        assert_eq!(data.weights(), None);
        let weighted = data.weighted(&[1.0, 0.0, 2.0]).unwrap();
        assert_eq!(weighted.part(1..3).weights(), Some(&[0.0, 2.0][..]));
        let refused = |weights: &[f32]| data.weighted(weights).unwrap_err().to_string();
        assert_eq!(
            refused(&[1.0]),
            "targets: expected one for each of 3 samples, got 1"
        );
        let expected = "weights: expected finite numbers of at least 0, not all 0";
        for (weights, got) in [
            ([1.0, -1.0, 1.0], "-1 in row 1"),
            ([1.0, 1.0, f32::NAN], "NaN in row 2"),
            ([0.0; 3], "0 in row 0"),
        ] {
            assert_eq!(refused(&weights), format!("{expected}, got {got}"));
        }
    }

    #[test]
    fn says_what_does_not_fit() {
        let x = [1.0, 2.0, f32::NAN, 4.0];
        let y = [0.0, f32::INFINITY];
        let message = |result: Result<Data<'_>, DataError>| result.unwrap_err().to_string();
        assert_eq!(
            message(Data::classes(matrix(&x, 1, 2), &[0, 1, 2])),
            "targets: expected one for each of 1 samples, got 3"
        );
        assert_eq!(
            message(Data::classes(matrix(&x, 2, 2), &[0, 1])),
            "inputs: expected finite values, got NaN in row 1, column 0"
        );
        assert_eq!(
            message(Data::classes(matrix(&x, 2, 2).t(), &[0, 1])),
            "inputs: expected finite values, got NaN in row 0, column 1"
        );
        assert_eq!(
            message(Data::values(matrix(&x, 2, 1), matrix(&y, 2, 1))),
            "targets: expected finite values, got inf in row 1, column 0"
        );
        assert_eq!(
            message(Data::classes(matrix(&x, 0, 2), &[])),
            "inputs: expected at least one sample and one column, got 0 x 2"
        );
        assert_eq!(
            message(Data::values(matrix(&x, 2, 1), matrix(&y, 2, 0))),
            "targets: expected at least one sample and one column, got 2 x 0"
        );
    }
}
