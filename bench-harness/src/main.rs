//! Measures what the kernels and the training reach.
#![forbid(unsafe_code)]

fn main() {}
