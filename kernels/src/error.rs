//! What can be wrong with a call into this crate.

use crate::isa::Isa;

/// Why a view could not be made, a kernel could not be chosen, or operands do not fit together.
///
/// Each message says which operation was asked, what it expected, and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Two operands of one operation do not fit together.
    #[error("{op}: expected {expected}, got {got}")]
    Shape {
        /// The operation that was asked for.
        op: &'static str,
        /// What it needs, with the sizes filled in.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// A parameter of an operation is outside its range.
    #[error("{op}: {name}: expected {expected}, got {got}")]
    Parameter {
        /// The operation that was asked for.
        op: &'static str,
        /// Name of the parameter.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        got: String,
    },
    /// A view reaches beyond the slice it was made from.
    #[error(
        "view of {rows} x {cols} with row stride {row_stride} and column stride {col_stride} \
         at offset {offset} needs elements {first} to {last}, the slice has {len}"
    )]
    OutOfBounds {
        /// Rows of the view.
        rows: usize,
        /// Columns of the view.
        cols: usize,
        /// Distance between rows, in elements.
        row_stride: isize,
        /// Distance between columns, in elements.
        col_stride: isize,
        /// Index of element (0, 0) in the slice.
        offset: usize,
        /// Smallest index touched.
        first: i128,
        /// Largest index touched.
        last: i128,
        /// Length of the slice.
        len: usize,
    },
    /// Two elements of a mutable view would share a place in memory.
    #[error(
        "mutable view of {rows} x {cols} with row stride {row_stride} and column stride \
         {col_stride}: elements would overlap"
    )]
    Overlap {
        /// Rows of the view.
        rows: usize,
        /// Columns of the view.
        cols: usize,
        /// Distance between rows, in elements.
        row_stride: isize,
        /// Distance between columns, in elements.
        col_stride: isize,
    },
    /// A class label names a class that does not exist.
    #[error("{op}: label {label} in row {row} is out of range, there are {classes} classes")]
    Label {
        /// The operation that was asked for.
        op: &'static str,
        /// Row of the label.
        row: usize,
        /// The label.
        label: u32,
        /// Number of classes; labels run from 0 to `classes - 1`.
        classes: usize,
    },
    /// A number names a row that a table does not have.
    #[error(
        "{op}: expected whole numbers from 0 on, below {rows}, got {number} in row {row}, column {col}"
    )]
    Number {
        /// The operation that was asked for.
        op: &'static str,
        /// Row of the number.
        row: usize,
        /// Column of the number.
        col: usize,
        /// The number.
        number: String,
        /// Rows of the table.
        rows: usize,
    },
    /// `KERNELS_ISA` or `KERNELS_ENSURE_ISA` holds a word that is no instruction set.
    #[error("{variable}={value}: expected one of scalar, neon, avx2, avx512, avx512bf16, amx")]
    UnknownIsa {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// An instruction set was insisted on that this CPU, or the cap, does not offer.
    #[error("instruction set {wanted} was asked for, but the best available here is {best}")]
    MissingIsa {
        /// What was asked for.
        wanted: Isa,
        /// The best that can run.
        best: Isa,
    },
}

impl KernelError {
    /// A [`KernelError::Shape`] whose texts are made only when needed.
    pub(crate) fn shape(
        op: &'static str,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Shape {
            op,
            expected: expected.into(),
            got: got.into(),
        }
    }
}

/// What a parameter may be.
#[derive(Clone, Copy)]
pub(crate) enum Range {
    /// Finite and at least 0.
    NotNegative,
    /// Finite and above 0.
    Positive,
    /// At least 0 and below 1.
    Share,
}

impl Range {
    /// Checks a parameter of `op`.
    pub(crate) fn check(
        self,
        op: &'static str,
        name: &'static str,
        value: f32,
    ) -> Result<(), KernelError> {
        let (good, expected) = match self {
            Self::NotNegative => (value >= 0.0, "a finite number of at least 0"),
            Self::Positive => (value > 0.0, "a finite number above 0"),
            Self::Share => (
                (0.0..1.0).contains(&value),
                "a number of at least 0 and below 1",
            ),
        };
        if good && value.is_finite() {
            return Ok(());
        }
        Err(KernelError::Parameter {
            op,
            name,
            expected,
            got: value.to_string(),
        })
    }
}
