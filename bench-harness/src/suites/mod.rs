//! What can be measured.

pub(crate) mod gemm;
pub(crate) mod peak;
