//! Reference implementations in f64, and the tools that compare against them.
//!
//! Everything here is written for being obviously right: three loops, f64, no blocking, no reuse.
//! It shares no code with what it checks and imports nothing of this workspace. The reference itself
//! is held against literals worked out by hand, in the tests below each file.
#![forbid(unsafe_code)]

pub mod activation;
pub mod attention;
pub mod cases;
pub mod dropout;
pub mod finite_diff;
pub mod gemm;
pub mod layout;
pub mod loss;
pub mod matrix;
pub mod measured;
pub mod network;
pub mod norm;
pub mod optimizer;
pub mod shapes;
pub mod tolerance;
pub mod ulp;
pub mod uncertain;
pub mod values;
