//! Samples and what they should give: checked once where they come in, borrowed from then on.

mod batches;
mod dataset;
mod error;
mod samples;
mod scaler;
mod split;

pub use batches::{BatchBuffer, Batches};
pub use dataset::Dataset;
pub use error::DataError;
pub use samples::Data;
pub use scaler::Scaler;
pub use split::Fold;
