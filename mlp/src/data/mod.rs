//! Samples and what they should give: checked once where they come in, borrowed from then on.

mod batches;
#[cfg(feature = "files")]
mod csv;
mod dataset;
mod error;
#[cfg(feature = "files")]
mod file;
#[cfg(feature = "files")]
mod idx;
mod samples;
mod scaler;
mod split;

pub use batches::{BatchBuffer, Batches};
#[cfg(feature = "files")]
pub use csv::{Column, CsvReader};
pub use dataset::Dataset;
pub use error::DataError;
#[cfg(feature = "files")]
pub use file::FileError;
pub use samples::Data;
pub(crate) use samples::check_matrix;
pub use scaler::Scaler;
pub use split::Fold;
