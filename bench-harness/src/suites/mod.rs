//! What can be measured.

pub(crate) mod complexity;
mod ensemble;
mod epilogues;
pub(crate) mod epoch;
pub(crate) mod explain;
pub(crate) mod fused;
pub(crate) mod gemm;
pub(crate) mod latency;
pub(crate) mod network;
pub(crate) mod peak;
mod shared;
mod standings;
pub(crate) mod threads;
pub(crate) mod variants;
pub(crate) mod vector;
