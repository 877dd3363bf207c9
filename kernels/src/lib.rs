//! SIMD routines for training neural networks on CPUs.
//!
//! [`Kernels::detect`] finds the best instruction set of the CPU; everything else is a method of what
//! it returns. Matrices are views with strides ([`MatRef`], [`MatMut`]), memory for packed operands is
//! the caller's ([`Workspace`]), threads are those of a [`Team`].
//!
//! ```
//! use kernels::{Activation, Epilogue, Gemm, Kernels, MatMut, MatRef, Team, Workspace};
//!
//! // y = relu(x W^T + b) for two samples of three features and two outputs.
//! let (x, w, b) = ([1., 2., 3., 4., 5., 6.], [1., 0., 0., 0., -1., 0.], [0.5, 0.5]);
//! let mut y = [0.; 4];
//! let epilogue = Epilogue::Activate { bias: Some(&b), activation: Activation::Relu };
//! let (x, w) = (MatRef::from_row_major(&x, 2, 3)?, MatRef::from_row_major(&w, 2, 3)?);
//! let gemm = Gemm { epilogue, ..Gemm::new(x, w.t()) };
//! let c = MatMut::from_row_major(&mut y, 2, 2)?;
//! Kernels::detect()?.gemm(&gemm, c, &mut Workspace::new(), &Team::solo())?;
//! assert_eq!(y, [1.5, 0., 4.5, 0.]);
//! # Ok::<(), kernels::KernelError>(())
//! ```

mod activation;
mod amx;
mod attention;
mod bf16;
mod counter_rng;
mod cpu;
mod dispatch;
mod elementwise;
mod embedding;
mod epilogue;
mod error;
mod gather;
mod gemm;
mod isa;
mod lanes;
mod level;
mod loss;
mod math;
mod norm;
mod ops;
mod parts;
mod precision;
#[cfg(feature = "probe")]
#[doc(hidden)]
pub mod probe;
mod reduce;
mod softmax;
mod team;
mod update;
mod update_rule;
mod view;

pub use activation::{Activation, DerivativeFrom};
pub use attention::{Attention, AttentionGradients, AttentionWorkspace};
pub use counter_rng::Dropout;
pub use cpu::{Cache, Caches, CpuInfo};
pub use dispatch::Kernels;
pub use epilogue::Epilogue;
pub use error::KernelError;
pub use gather::gather_rows;
#[cfg(feature = "probe")]
#[doc(hidden)]
pub use gemm::Variant;
pub use gemm::{
    Gemm, GemmTask, Gradient, Left, Operand, PackedA, PackedB, Right, Update, Workspace,
};
pub use isa::{Isa, ParseIsaError};
pub use loss::Targets;
pub use loss::pointwise::{PointwiseLoss, Weighting};
pub use norm::{Norm, NormGradients, Running, Statistics, StatisticsMut};
pub use precision::{ParsePrecisionError, Precision};
pub use team::{Team, TeamOptions, with_team};
pub use update_rule::{AdamRule, RmspropRule, SgdRule};
pub use view::{MatMut, MatRef};
