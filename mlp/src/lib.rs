//! Trains multi-layer perceptrons on CPUs, fast.
#![forbid(unsafe_code)]

mod data;
mod init;
mod rng;

pub use data::{BatchBuffer, Batches, Data, DataError, Dataset, Fold, Scaler};
#[cfg(feature = "files")]
pub use data::{Column, CsvReader, FileError};
pub use init::{Fan, Init};
