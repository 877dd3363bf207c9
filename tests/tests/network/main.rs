//! Whole networks of every instruction set against the reference in f64.

mod gradients;
mod layers;
mod nets;
mod training;
