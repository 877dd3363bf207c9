//! Layer and batch normalisation on every instruction set, against the f64 reference: widths around
//! the registers, every layout, columns far from 0, running statistics, threads, wrong input.

mod accuracy;
mod case;
#[path = "../common/mod.rs"]
mod common;
mod prediction;
