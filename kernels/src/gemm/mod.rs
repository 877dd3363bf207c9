//! `C <- epilogue(alpha A B + beta C)`: the loops of BLIS around a register-tiled micro-kernel.
//!
//! ```text
//! LOOP 5  jc  columns of C, nc at a time            product
//! LOOP 4  pc    depth, kc at a time; pack B         product
//! LOOP 3  ic      rows of C, mc at a time; pack A   product
//! LOOP 2  jr        column panels, nr wide          macrokernel
//! LOOP 1  ir          row panels, mr high           macrokernel
//!                       C tile += A panel B panel   microkernel
//! ```
//!
//! F. Van Zee and R. van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS
//! Functionality", ACM TOMS 41 (2015). Which of the operands are packed, and how high and wide the
//! panels are, follows from the shape, the strides and the instruction set (`blocking`). A few rows or columns with
//! operands that lie along the depth are dot products instead (`dot`).

mod amx_kernel;
mod batch;
mod bf16_blocking;
#[cfg(target_arch = "x86_64")]
mod bf16_dot;
mod bf16_pack;
mod bf16_panels;
mod bf16_plan;
mod blocking;
mod choice;
mod chunks;
mod direct;
mod dot;
mod driver;
mod finish;
mod macrokernel;
mod microkernel;
mod operand;
mod pack;
mod panels;
mod partial;
mod plan;
mod prepack;
mod product;
mod row;
mod step;
mod tables;
mod update;
#[cfg(feature = "probe")]
mod variant;
mod vector;
mod workspace;

pub use batch::GemmTask;
pub use driver::Gemm;
pub use operand::{Left, Operand, Right};
pub use prepack::{PackedA, PackedB};
pub(crate) use tables::GemmKernels;
pub use update::{Gradient, Update};
#[cfg(feature = "probe")]
pub use variant::Variant;
pub use workspace::Workspace;
