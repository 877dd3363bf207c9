//! What can be measured.

pub(crate) mod complexity;
mod epilogues;
pub(crate) mod fused;
pub(crate) mod gemm;
pub(crate) mod infer;
pub(crate) mod peak;
mod shared;
mod standings;
pub(crate) mod threads;
pub(crate) mod train;
pub(crate) mod variants;
pub(crate) mod vector;
