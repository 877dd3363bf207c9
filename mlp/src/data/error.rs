//! What can be wrong with data.

/// Why data was refused; each message says what was expected, what came, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is nothing to learn from.
    #[error("{what}: expected at least one sample and one column, got {rows} x {cols}")]
    Empty {
        /// Inputs, targets, or the operation that would have made an empty set.
        what: &'static str,
        /// Number of samples.
        rows: usize,
        /// Number of columns.
        cols: usize,
    },
    /// Inputs and targets are not of the same number of samples.
    #[error("targets: expected one for each of {expected} samples, got {got}")]
    SampleCount {
        /// Number of rows of the inputs.
        expected: usize,
        /// Number of targets.
        got: usize,
    },
    /// The rows of a buffer do not come out even.
    #[error("{what}: expected whole rows of {cols} columns, got {len} values")]
    RowLength {
        /// Inputs or targets.
        what: &'static str,
        /// Columns of a row.
        cols: usize,
        /// Length of the buffer.
        len: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what}: expected finite values, got {value} in row {row}, column {col}")]
    NotFinite {
        /// Inputs, targets, or what was computed from them.
        what: &'static str,
        /// Row of the first such value, counted from 0.
        row: usize,
        /// Its column, counted from 0.
        col: usize,
        /// The value.
        value: f32,
    },
    /// The weights of samples are none.
    #[error("weights: expected finite numbers of at least 0, not all 0, got {value} in row {row}")]
    Weight {
        /// Row of the first bad weight, counted from 0.
        row: usize,
        /// The weight.
        value: f32,
    },
    /// Two sets that belong together have different numbers of columns.
    #[error("{what}: expected {expected} columns, got {got}")]
    Columns {
        /// The operation.
        what: &'static str,
        /// Columns it was made for.
        expected: usize,
        /// Columns that came.
        got: usize,
    },
    /// A sample was asked for that does not exist.
    #[error("{what}: expected indices below {samples}, got {index} at position {position}")]
    Index {
        /// The operation.
        what: &'static str,
        /// The index.
        index: usize,
        /// Where it stands among the indices.
        position: usize,
        /// Number of samples.
        samples: usize,
    },
    /// An operation needs targets of the other kind.
    #[error("{what}: expected {expected} as targets, got {got}")]
    TargetKind {
        /// The operation.
        what: &'static str,
        /// The kind it needs.
        expected: &'static str,
        /// The kind that came.
        got: &'static str,
    },
    /// A number that says how to divide the data is out of range.
    #[error("{what}: expected {expected}, got {got}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// Its range.
        expected: String,
        /// What came.
        got: String,
    },
}
