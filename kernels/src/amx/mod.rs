//! The matrix unit of x86 (Intel AMX): its tiles, the operating system's permission to use them, and a
//! model of them in plain Rust.

pub(crate) mod model;
pub(crate) mod permission;
pub(crate) mod tile;
