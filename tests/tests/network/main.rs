//! Whole networks of every instruction set against the reference in f64.

#[path = "../common/activation.rs"]
mod activation;
mod alone;
mod draw;
mod gradients;
mod graphs;
mod layers;
mod nets;
mod objective;
mod outputs;
mod training;
