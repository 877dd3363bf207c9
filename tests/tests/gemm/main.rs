//! GEMM of every instruction set against three loops in f64.

#[path = "../common/activation.rs"]
mod activation;
#[path = "../common/mod.rs"]
mod common;

mod batch;
mod case;
mod double;
mod epilogues;
mod errors;
mod laws;
mod neighbours;
mod precision;
mod precision_errors;
mod precision_specials;
mod prepacked;
mod sizes;
mod specials;
mod storage;
mod threads;
mod update;
