//! Graph and batch size -> a straight list of kernel calls over one arena.
//!
//! 1. What alone reads a product is fused into it: a sum, an activation, the derivative of one
//!    ([`fuse`]). That decides the turn of every call.
//! 2. Values share places where nothing is lost ([`place`]): a sum is added to one of its summands,
//!    what stands side by side is written there.
//! 3. Each place lies in the arena for as long as something reads it ([`arena`]). A row of a value is
//!    as long as its layer is wide, so the arena holds `O(batch * sum of widths)` floats.
//! 4. What remains is data: shapes, offsets, epilogues ([`lower`]). Running it decides nothing.

mod arena;
mod blocks;
mod call;
mod cost;
mod fuse;
mod layer_call;
mod lower;
mod place;
mod region;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use crate::optimizer::Optimizer;
pub(crate) use blocks::Blocks;
pub(crate) use call::{Call, Fused, Mask, Passes, Product, Sink};
pub use cost::Cost;
pub(crate) use layer_call::{Heads, LayerCall, NormCall};
pub(crate) use lower::{checked, lower};
pub(crate) use region::{Region, Source};

/// The calls of a forward pass, or of a forward and a backward pass, for one batch size.
///
/// Printed, it is a table of one line per call; see [`Mlp::plan`](crate::Mlp::plan).
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) batch: usize,
    pub(crate) forward: Vec<Call>,
    pub(crate) backward: Vec<Call>,
    pub(crate) outputs: Region,
    /// Where the loss writes its gradient; `None` in a plan without backward pass.
    pub(crate) output_gradient: Option<Region>,
    /// What the loss of the network reads and writes instead, if there is that.
    pub(crate) scores: Option<Scores>,
    pub(crate) arena_len: usize,
    /// Number of parameters.
    pub(crate) parameters: usize,
    /// The running statistics that a training step brings up to date.
    pub(crate) running: Vec<RunningStep>,
    /// The parameters whose step is not fused into their gradient, in ascending order.
    pub(crate) unfused: Vec<Range<usize>>,
}

/// What the activation at the end of a network reads, where the loss takes that instead of the outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    pub(crate) values: Region,
    /// What the first call of the backward pass computes, unless the loss has written it.
    pub(crate) gradient: Option<Region>,
}

/// One step of running statistics: `running <- (1 - momentum) running + momentum of_the_batch`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RunningStep {
    /// Buffers behind the parameters.
    pub(crate) mean: Region,
    pub(crate) var: Region,
    /// Rows in the arena.
    pub(crate) batch_mean: Region,
    pub(crate) batch_var: Region,
    pub(crate) momentum: f32,
}

impl Plan {
    /// Rows of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// Bytes of the arena: activations and gradients that depend on the batch.
    pub fn arena_bytes(&self) -> usize {
        self.arena_len * size_of::<f32>()
    }

    /// Floating-point operations of the forward pass; `2 batch sum d_l d_(l-1)` and some.
    pub fn forward_flop(&self) -> u64 {
        self.forward.iter().map(Call::flop).sum()
    }

    /// Floating-point operations of the backward pass; 0 in a plan without one.
    ///
    /// Twice those of the forward pass, less the data gradient of the first layer.
    pub fn backward_flop(&self) -> u64 {
        self.backward_from_loss().iter().map(Call::flop).sum()
    }

    /// The backward pass behind the loss of the network, which may have gone around the last activation.
    pub(crate) fn backward_from_loss(&self) -> &[Call] {
        &self.backward[usize::from(self.scores.is_some_and(|scores| scores.gradient.is_some()))..]
    }

    /// Operations and bytes of all calls of a step.
    ///
    /// ```
    /// let net = mlp::Mlp::builder(20).dense(30).relu().dense(10).build()?;
    /// let cost = net.plan(64)?.cost();
    /// assert_eq!(cost.flop, net.plan(64)?.forward_flop() + net.plan(64)?.backward_flop());
    /// // The forward pass alone reads the samples and the weights.
    /// assert!(cost.bytes_read > 4 * (64 * 20 + 20 * 30 + 30 * 10));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn cost(&self) -> Cost {
        self.forward_cost() + self.backward_cost()
    }

    /// Operations and bytes of the forward pass: of dense layers of `d_l` outputs `2 batch sum d_l d_(l-1)`
    /// flop, of which a product with bias and activation is one call.
    pub fn forward_cost(&self) -> Cost {
        self.forward.iter().map(Call::cost).sum()
    }

    /// Operations and bytes of the backward pass: twice the products of the forward pass, less the data
    /// gradient of the first layer, and `batch d_l` flop for each bias.
    pub fn backward_cost(&self) -> Cost {
        self.backward_from_loss().iter().map(Call::cost).sum()
    }

    /// Operations and bytes of an update of all parameters: `O(sum d_l d_(l-1))`, whatever the batch. A
    /// root and a quotient are one operation each.
    ///
    /// ```
    /// use mlp::{Adam, Mlp, Sgd};
    /// let plan = Mlp::builder(9).dense(10).build()?.plan(32)?;
    /// // A hundred parameters: `w - learning_rate g`; two arrays read, one written.
    /// let cost = plan.update_cost(Sgd::new(0.1));
    /// assert_eq!((cost.flop, cost.bytes_read, cost.bytes_written), (200, 800, 400));
    /// assert_eq!(plan.update_cost(Adam::new(1e-3)).bytes(), 4 * 100 * (4 + 3));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn update_cost(&self, optimizer: impl Into<Optimizer>) -> Cost {
        let optimizer = optimizer.into();
        let n = self.parameters;
        let slots = optimizer.kept();
        Cost::of(
            optimizer.flop() * n as u64,
            n * (2 + slots),
            n * (1 + slots),
        )
    }

    /// The shapes `(m, n, k)` of the products of dense layers.
    pub(crate) fn products(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.calls().filter_map(|call| match call {
            Call::Gemm { c, k, .. } => Some((c.region().rows, c.region().cols, *k)),
            _ => None,
        })
    }

    /// All calls, in order.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.forward.iter().chain(&self.backward)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "batch {}: {} calls, {} flop forward, {} backward, arena {} bytes",
            self.batch,
            self.forward.len() + self.backward.len(),
            self.forward_flop(),
            self.backward_flop(),
            self.arena_bytes()
        )?;
        for (number, call) in self.calls().enumerate() {
            writeln!(f, "{number:3}  {call}")?;
        }
        Ok(())
    }
}
