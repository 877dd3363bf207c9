//! The matrix unit of x86 (Intel AMX): its tiles, the operating system's permission to use them, and a
//! model of them in plain Rust.

pub(crate) mod model;
pub(crate) mod permission;
pub(crate) mod tile;

/// Which matrix unit computes products of bf16 numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TileKind {
    /// The unit of the CPU.
    Amx,
    /// [`model::Model`], for tests on machines without one.
    Model,
}
