//! Trains multi-layer perceptrons on CPUs, fast.
#![forbid(unsafe_code)]
