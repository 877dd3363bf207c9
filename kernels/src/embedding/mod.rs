//! Embeddings: symbols, given as numbers, become rows of a table that is learned.

mod ops;
mod rows;

pub(crate) use rows::{Gather, Scatter};
