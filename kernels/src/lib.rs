//! SIMD routines for training neural networks on CPUs.

mod activation;
mod cpu;
mod dispatch;
mod elementwise;
mod epilogue;
mod error;
mod gemm;
mod isa;
mod lanes;
mod level;
mod loss;
mod math;
mod ops;
#[cfg(feature = "probe")]
#[doc(hidden)]
pub mod probe;
mod reduce;
mod softmax;
mod team;
mod update;
mod update_rule;
mod view;

pub use activation::Activation;
pub use cpu::{Cache, Caches, CpuInfo};
pub use dispatch::Kernels;
pub use epilogue::Epilogue;
pub use error::KernelError;
pub use gemm::{Gemm, GemmTask, Gradient, PackedB, Right, Update, Workspace};
pub use isa::{Isa, ParseIsaError};
pub use loss::Targets;
pub use team::{Team, TeamOptions, with_team};
pub use update_rule::{AdamRule, SgdRule};
pub use view::{MatMut, MatRef};
