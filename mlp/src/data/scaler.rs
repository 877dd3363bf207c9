//! Brings features to a common scale: `x' = (x - shift) factor`, feature by feature.
//!
//! Gradient descent takes one step size in all directions, so features of very different spread
//! make it slow (LeCun, Bottou, Orr and Müller, 1998, "Efficient BackProp", section 4.3). The
//! numbers are taken from the training samples alone and applied to all others.

use super::dataset::Dataset;
use super::error::DataError;
use super::samples::Data;

/// A shift and a factor for each feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler {
    shift: Vec<f32>,
    factor: Vec<f32>,
}

impl Scaler {
    /// Mean 0 and variance 1 over the samples given.
    ///
    /// A feature that never changes is only shifted: it becomes 0, and in other samples the
    /// distance from its constant.
    ///
    /// # Numerics
    /// Two passes in f64: the mean first, then the mean square of what is left.
    pub fn standard<'a>(data: impl Into<Data<'a>>) -> Self {
        let inputs = data.into().inputs();
        let n = inputs.rows() as f64;
        let (mut shift, mut factor) = (Vec::new(), Vec::new());
        for col in 0..inputs.cols() {
            let column = || (0..inputs.rows()).map(|row| f64::from(*inputs.at(row, col)));
            let first = f64::from(*inputs.at(0, col));
            if column().all(|x| x == first) {
                shift.push(first as f32);
                factor.push(1.0);
                continue;
            }
            let mean = column().sum::<f64>() / n;
            let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            shift.push(mean as f32);
            factor.push(variance.sqrt().recip() as f32);
        }
        Self { shift, factor }
    }

    /// The same shift and factor for every feature, for example those of a pixel.
    pub fn uniform(n_features: usize, shift: f32, factor: f32) -> Self {
        Self {
            shift: vec![shift; n_features],
            factor: vec![factor; n_features],
        }
    }

    /// Scales the features of a set in place.
    ///
    /// # Errors
    /// As [`Scaler::apply_rows`].
    pub fn apply(&self, set: &mut Dataset) -> Result<(), DataError> {
        self.check_width(set.n_features())?;
        self.apply_rows(set.features_mut())
    }

    /// Scales samples in place that lie row after row.
    ///
    /// # Errors
    /// [`DataError::RowLength`] or [`DataError::Columns`] if they do not have the features that
    /// this was made for, [`DataError::NotFinite`] if a result would not be a number; nothing is
    /// changed then.
    pub fn apply_rows(&self, values: &mut [f32]) -> Result<(), DataError> {
        let cols = self.shift.len();
        if cols == 0 || !values.len().is_multiple_of(cols) {
            return Err(DataError::RowLength {
                what: "scaler",
                cols,
                len: values.len(),
            });
        }
        for (row, values) in values.chunks_exact(cols).enumerate() {
            let scaled = |col: usize| (values[col] - self.shift[col]) * self.factor[col];
            if let Some(col) = (0..cols).find(|&col| !scaled(col).is_finite()) {
                return Err(DataError::NotFinite {
                    what: "scaler",
                    row,
                    col,
                    value: scaled(col),
                });
            }
        }
        for row in values.chunks_exact_mut(cols) {
            for ((x, shift), factor) in row.iter_mut().zip(&self.shift).zip(&self.factor) {
                *x = (*x - shift) * factor;
            }
        }
        Ok(())
    }

    fn check_width(&self, got: usize) -> Result<(), DataError> {
        if got == self.shift.len() {
            return Ok(());
        }
        Err(DataError::Columns {
            what: "scaler",
            expected: self.shift.len(),
            got,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    fn set(features: &[f32], n_features: usize) -> Dataset {
        let labels = vec![0; features.len() / n_features];
        Dataset::classes(features.to_vec(), n_features, labels).unwrap()
    }

    #[test]
    fn standard_gives_mean_zero_and_variance_one() {
        // Second column: mean 300, deviation sqrt(20000).
        let mut train = set(&[1.0, 100.0, 2.0, 500.0, 6.0, 300.0, 3.0, 300.0], 2);
        let scaler = Scaler::standard(&train);
        scaler.apply(&mut train).unwrap();
        for col in 0..2 {
            let column = |f: fn(f32) -> f32| (0..4).map(|i| f(*train.inputs().at(i, col))).sum();
            let (sum, squares): (f32, f32) = (column(|x| x), column(|x| x * x));
            assert_abs_diff_eq!(sum, 0.0, epsilon = 1e-6);
            assert_abs_diff_eq!(squares, 4.0, epsilon = 1e-5);
        }
        let mut test = [3.0, 300.0 + 20000f32.sqrt()];
        scaler.apply_rows(&mut test).unwrap();
        assert_abs_diff_eq!(test[..], [0.0, 1.0][..], epsilon = 1e-6);
    }

    #[test]
    fn constant_features_are_shifted_only() {
        let mut train = set(&[0.1; 7], 1);
        let scaler = Scaler::standard(&train);
        scaler.apply(&mut train).unwrap();
        assert_eq!(train.inputs().as_slice().unwrap(), [0.0; 7]);
        let mut other = [0.6];
        scaler.apply_rows(&mut other).unwrap();
        assert_eq!(other, [0.5]);
    }

    #[test]
    fn uniform_treats_all_features_alike() {
        let mut rows = [0.0, 8.0, 16.0, 4.0];
        Scaler::uniform(2, 8.0, 0.125)
            .apply_rows(&mut rows)
            .unwrap();
        assert_eq!(rows, [-1.0, 0.0, 1.0, -0.5]);
    }

    #[test]
    fn refuses_other_widths_and_overflow_and_leaves_the_data_alone() {
        let scaler = Scaler::uniform(2, 0.0, 1e30);
        let mut narrow = set(&[1.0, 2.0, 3.0, 4.0], 1);
        assert_eq!(
            scaler.apply(&mut narrow).unwrap_err().to_string(),
            "scaler: expected 2 columns, got 1"
        );
        assert!(matches!(
            scaler.apply_rows(&mut [1.0; 3]),
            Err(DataError::RowLength { .. })
        ));
        let mut wide = set(&[1.0, 2.0, 3.0, 1e20], 2);
        assert_eq!(
            scaler.apply(&mut wide).unwrap_err().to_string(),
            "scaler: expected finite values, got inf in row 1, column 1"
        );
        assert_eq!(wide.inputs().as_slice().unwrap(), [1.0, 2.0, 3.0, 1e20]);
    }
}
