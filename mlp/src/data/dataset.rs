//! [`Dataset`]: samples that own their memory, and can be divided.

use kernels::{MatRef, Targets};

use super::error::DataError;
use super::samples::Data;
use super::split::{self, Fold};

/// Samples in memory of their own; `&Dataset` goes wherever [`Data`] goes.
///
/// As with [`Data`], there is at least one sample and every number is finite.
///
/// ```
/// use mlp::{Dataset, Scaler};
///
/// // Four samples of two features, two of each class.
/// let x = vec![1., 10., 2., 20., 3., 30., 4., 40.];
/// let mut data = Dataset::classes(x, 2, vec![0, 0, 1, 1])?;
/// Scaler::standard(&data).apply(&mut data)?;
/// let (train, test) = data.stratified_split(0.5, 42)?;
/// assert_eq!((train.n_samples(), test.n_classes()), (2, Some(2)));
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    n_features: usize,
    features: Vec<f32>,
    targets: OwnedTargets,
}

#[derive(Clone, Debug, PartialEq)]
enum OwnedTargets {
    Classes(Vec<u32>),
    Values { n_outputs: usize, values: Vec<f32> },
}

impl Dataset {
    /// Samples that each belong to one class.
    ///
    /// # Shapes
    /// features: samples x `n_features`, row after row; labels: samples, counted from 0
    ///
    /// # Errors
    /// As [`Data::classes`], and [`DataError::RowLength`] if the rows do not come out even.
    pub fn classes(
        features: Vec<f32>,
        n_features: usize,
        labels: Vec<u32>,
    ) -> Result<Self, DataError> {
        Data::classes(rows_of("inputs", &features, n_features)?, &labels)?;
        Ok(Self {
            n_features,
            features,
            targets: OwnedTargets::Classes(labels),
        })
    }

    /// Samples with a row of values each.
    ///
    /// # Shapes
    /// features: samples x `n_features`; values: samples x `n_outputs`; both row after row
    ///
    /// # Errors
    /// As [`Data::values`], and [`DataError::RowLength`] if the rows do not come out even.
    pub fn values(
        features: Vec<f32>,
        n_features: usize,
        values: Vec<f32>,
        n_outputs: usize,
    ) -> Result<Self, DataError> {
        Data::values(
            rows_of("inputs", &features, n_features)?,
            rows_of("targets", &values, n_outputs)?,
        )?;
        Ok(Self {
            n_features,
            features,
            targets: OwnedTargets::Values { n_outputs, values },
        })
    }

    /// The samples as a borrowed, checked pair; costs nothing.
    pub fn data(&self) -> Data<'_> {
        Data::trusted(self.inputs(), self.targets())
    }

    /// The features, samples x features.
    pub fn inputs(&self) -> MatRef<'_> {
        whole_rows(&self.features, self.n_features)
    }

    /// What the samples should give.
    pub fn targets(&self) -> Targets<'_> {
        match &self.targets {
            OwnedTargets::Classes(labels) => Targets::Classes(labels),
            OwnedTargets::Values { n_outputs, values } => {
                Targets::Values(whole_rows(values, *n_outputs))
            }
        }
    }

    /// The labels, one for each sample; `None` if the targets are values.
    pub fn labels(&self) -> Option<&[u32]> {
        self.data().labels()
    }

    /// Number of samples, at least 1.
    pub fn n_samples(&self) -> usize {
        self.features.len() / self.n_features
    }

    /// Number of features of a sample, at least 1.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Number of classes, one more than the highest label; `None` if the targets are values.
    pub fn n_classes(&self) -> Option<usize> {
        self.data().n_classes()
    }

    /// The features, row after row; who writes them keeps them finite.
    pub(super) fn features_mut(&mut self) -> &mut [f32] {
        &mut self.features
    }

    /// The chosen samples in the order given; an index may occur more than once.
    ///
    /// # Errors
    /// [`DataError::Empty`] if none is chosen, [`DataError::Index`] if one does not exist.
    pub fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        let samples = self.n_samples();
        if indices.is_empty() {
            return Err(DataError::Empty {
                what: "select",
                rows: 0,
                cols: self.n_features,
            });
        }
        if let Some(position) = indices.iter().position(|&i| i >= samples) {
            return Err(DataError::Index {
                what: "select",
                index: indices[position],
                position,
                samples,
            });
        }
        let pick = |values: &[f32], width: usize| -> Vec<f32> {
            let rows = indices.iter().map(|&i| &values[i * width..][..width]);
            rows.flatten().copied().collect()
        };
        Ok(Self {
            n_features: self.n_features,
            features: pick(&self.features, self.n_features),
            targets: match &self.targets {
                OwnedTargets::Classes(labels) => {
                    OwnedTargets::Classes(indices.iter().map(|&i| labels[i]).collect())
                }
                OwnedTargets::Values { n_outputs, values } => OwnedTargets::Values {
                    n_outputs: *n_outputs,
                    values: pick(values, *n_outputs),
                },
            },
        })
    }

    /// Divides the samples at random: `fraction` of them first, the rest second.
    ///
    /// Both parts keep the order the samples had. The same seed gives the same parts.
    ///
    /// # Errors
    /// [`DataError::Setting`] unless the fraction leaves a sample on either side.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        self.divide(fraction, None, seed)
    }

    /// As [`Dataset::split`], each class divided in the same proportion, within one sample.
    ///
    /// # Errors
    /// As [`Dataset::split`], and [`DataError::TargetKind`] if the targets are values.
    pub fn stratified_split(&self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let labels = self.need_labels("stratified_split")?;
        self.divide(fraction, Some(labels), seed)
    }

    fn divide(
        &self,
        fraction: f64,
        labels: Option<&[u32]>,
        seed: u64,
    ) -> Result<(Self, Self), DataError> {
        let samples = self.n_samples();
        // A fraction that is NaN or out of range makes a count that is out of range too.
        let count = (samples as f64 * fraction).round();
        if !(count >= 1.0 && count < samples as f64) {
            return Err(DataError::Setting {
                what: "fraction",
                expected: format!("a share of {samples} samples that leaves one on either side"),
                got: fraction.to_string(),
            });
        }
        let (first, second) = split::two_parts(samples, count as usize, labels, seed);
        Ok((self.select(&first)?, self.select(&second)?))
    }

    /// Divides the samples into `k` parts that have the same mix of classes, within one sample
    /// each, and returns the `k` ways to leave one out.
    ///
    /// # Errors
    /// [`DataError::Setting`] unless `2 <= k <= samples`, [`DataError::TargetKind`] if the targets
    /// are values.
    pub fn stratified_folds(&self, k: usize, seed: u64) -> Result<Vec<Fold>, DataError> {
        self.need_labels("stratified_folds")?;
        self.data().folds(k, seed)
    }

    fn need_labels(&self, what: &'static str) -> Result<&[u32], DataError> {
        self.labels().ok_or(DataError::TargetKind {
            what,
            expected: "class labels",
            got: "values",
        })
    }
}

impl<'a> From<&'a Dataset> for Data<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        dataset.data()
    }
}

impl<'a> From<&'a Dataset> for MatRef<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        dataset.inputs()
    }
}

/// A buffer as a matrix, if its rows come out even.
fn rows_of<'a>(
    what: &'static str,
    values: &'a [f32],
    cols: usize,
) -> Result<MatRef<'a>, DataError> {
    if cols == 0 || values.is_empty() {
        return Err(DataError::Empty {
            what,
            rows: 0,
            cols,
        });
    }
    if !values.len().is_multiple_of(cols) {
        return Err(DataError::RowLength {
            what,
            cols,
            len: values.len(),
        });
    }
    Ok(whole_rows(values, cols))
}

/// A buffer of whole rows as a matrix.
fn whole_rows(values: &[f32], cols: usize) -> MatRef<'_> {
    MatRef::from_row_major(values, values.len() / cols, cols)
        .expect("rows of a slice lie in the slice")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six samples of two features, three of each class.
    fn six() -> Dataset {
        let features = (0..12u8).map(f32::from).collect();
        Dataset::classes(features, 2, vec![0, 0, 0, 1, 1, 1]).unwrap()
    }

    #[test]
    fn knows_its_sizes() {
        let set = six();
        assert_eq!(
            (set.n_samples(), set.n_features(), set.n_classes()),
            (6, 2, Some(2))
        );
        assert_eq!(set.inputs().row(2), Some(&[4.0, 5.0][..]));
        let data = Data::from(&set);
        assert!(matches!(
            data.targets(),
            Targets::Classes([0, 0, 0, 1, 1, 1])
        ));
    }

    #[test]
    fn selects_rows_with_their_targets() {
        let part = six().select(&[5, 0, 5]).unwrap();
        assert_eq!(
            part.inputs().as_slice().unwrap(),
            [10.0, 11.0, 0.0, 1.0, 10.0, 11.0]
        );
        assert_eq!(part.labels().unwrap(), [1, 0, 1]);
        let set = Dataset::values(vec![1.0, 2.0], 1, vec![3.0, 4.0, 5.0, 6.0], 2).unwrap();
        let part = set.select(&[1]).unwrap();
        let Targets::Values(values) = part.targets() else {
            panic!("targets became labels");
        };
        assert_eq!(values.as_slice().unwrap(), [5.0, 6.0]);
    }

    #[test]
    fn splits_with_the_targets_of_the_samples() {
        let (train, test) = six().stratified_split(2.0 / 3.0, 11).unwrap();
        assert_eq!(
            (train.labels().unwrap(), test.labels().unwrap()),
            (&[0, 0, 1, 1][..], &[0, 1][..])
        );
        for part in [&train, &test] {
            for (i, &label) in part.labels().unwrap().iter().enumerate() {
                assert_eq!(*part.inputs().at(i, 0) >= 6.0, label == 1);
            }
        }
    }

    #[test]
    fn says_what_does_not_fit() {
        let message = |error: DataError| error.to_string();
        let set = six();
        assert_eq!(
            message(set.select(&[1, 6]).unwrap_err()),
            "select: expected indices below 6, got 6 at position 1"
        );
        assert!(matches!(set.select(&[]), Err(DataError::Empty { .. })));
        for fraction in [0.0, 1.0, 0.05, -1.0, 7.0, f64::NAN, f64::INFINITY] {
            assert!(
                matches!(set.split(fraction, 0), Err(DataError::Setting { .. })),
                "{fraction}"
            );
        }
        assert_eq!(
            message(set.stratified_folds(7, 0).unwrap_err()),
            "folds: expected 2 to 6, the number of samples, got 7"
        );
        assert_eq!(
            message(Dataset::classes(vec![0.0; 5], 2, vec![0; 2]).unwrap_err()),
            "inputs: expected whole rows of 2 columns, got 5 values"
        );
        assert!(matches!(
            Dataset::classes(vec![], 0, vec![]),
            Err(DataError::Empty { .. })
        ));
        let values = Dataset::values(vec![0.0; 2], 1, vec![0.0; 2], 1).unwrap();
        assert_eq!(
            message(values.stratified_split(0.5, 0).unwrap_err()),
            "stratified_split: expected class labels as targets, got values"
        );
    }
}
