//! Scaled dot-product attention, forward and backward, for batches of sequences and heads.
//!
//! For one sequence of T rows and one head of width d, with q, k, v: T x d,
//!
//! ```text
//! s = q k^T / sqrt(d)      scores, T x T; what a mask hides counts as -infinity
//! p = softmax(s)           row by row
//! o = p v
//! ```
//!
//! (A. Vaswani et al., *Attention Is All You Need*, 2017). No score matrix exists whole beyond
//! [`workspace::BLOCK`] rows and columns: queries and keys are taken in blocks, and the softmax of a row is
//! brought up to date with each block of keys (T. Dao et al., *FlashAttention*, 2022). With the largest
//! score m and the sum l so far, and a block with scores s,
//!
//! ```text
//! m' = max(m, max s),  l' = e^(m - m') l + sum e^(s - m'),  o' = e^(m - m') o + e^(s - m') v
//! ```
//!
//! at the end `o = o / l`. A sequence of at most so many rows is one block: the plain formula. Kept
//! for the backward pass is `lse = m + ln l`, one number for each row, from which `p = e^(s - lse)` is
//! made again:
//!
//! ```text
//! dv = p^T do
//! ds = p (do v^T - D),  D_i = sum_j do_ij o_ij
//! dq = ds k / sqrt(d),  dk = ds^T q / sqrt(d)
//! ```
//!
//! A sequence and head are computed by one thread in one order, so bits do not depend on their number.

mod backward;
mod forward;
mod operands;
mod ops;
mod tile;
mod workspace;

pub use operands::{Attention, AttentionGradients};
pub(crate) use tile::{FinishRows, GradientTile, RowDots, SoftmaxTile};
pub use workspace::AttentionWorkspace;
