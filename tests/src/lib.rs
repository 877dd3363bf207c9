//! Reference implementations in f64, and the tools that compare against them.
#![forbid(unsafe_code)]
