//! Graph and batch size -> a straight list of kernel calls over one arena.
//!
//! 1. An activation that alone reads a linear node is fused into its product, and the derivative of
//!    an activation into the data gradient that it alone reads ([`lower`]).
//! 2. Each value gets a place in the arena for as long as something reads it ([`arena`]). A row of
//!    a value is as long as its layer is wide, so the arena holds `O(batch * sum of widths)` floats.
//! 3. What remains is data: shapes, offsets, epilogues. Running it decides nothing.

pub(crate) mod arena;
mod lower;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use kernels::Activation;

pub(crate) use lower::{Passes, lower, max_batch};

/// A dense row-major matrix in one of the buffers that a plan runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Region {
    pub(crate) fn len(&self) -> usize {
        self.rows * self.cols
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// What a call reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The samples of the batch.
    Input,
    /// A matrix of parameters.
    Parameters(Region),
    /// A value computed earlier.
    Arena(Region),
}

/// What a call writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// A value that depends on the batch.
    Arena(Region),
    /// The gradient of a parameter.
    Gradients(Region),
}

impl Sink {
    pub(crate) fn region(&self) -> &Region {
        match self {
            Self::Arena(region) | Self::Gradients(region) => region,
        }
    }
}

/// What a product does with an element before it stores it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fused {
    /// Nothing.
    Store,
    /// `act(s + bias_j)`
    Activate {
        bias: Region,
        activation: Activation,
    },
    /// `s * act'(output)`
    Derivative {
        activation: Activation,
        output: Region,
    },
    /// Nothing; but in a training step the optimiser's step on the weights follows at once, while
    /// their gradient is in the cache.
    Step,
}

/// Which of the three products of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// NT: `y = a b^T`
    Forward,
    /// NN: `dx = a b`
    DataGradient,
    /// TN: `dW = a^T b`
    WeightGradient,
}

/// One call of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call {
    Gemm {
        product: Product,
        a: Source,
        b: Source,
        c: Sink,
        fused: Fused,
        /// Length of the sums.
        k: usize,
    },
    /// `y = act(x)`
    Activation {
        activation: Activation,
        x: Region,
        y: Region,
    },
    /// `dx = dy * act'(y)`
    ActivationGradient {
        activation: Activation,
        y: Region,
        dy: Region,
        dx: Region,
    },
    /// `sums_j = sum_i x_ij`
    ColumnSums { x: Region, sums: Region },
}

impl Call {
    /// Floating-point operations of the products and sums; activations count one per element.
    fn flop(&self) -> u64 {
        match self {
            Self::Gemm { c, k, .. } => 2 * (c.region().len() * k) as u64,
            Self::Activation { y, .. } => y.len() as u64,
            Self::ActivationGradient { dx, .. } => dx.len() as u64,
            Self::ColumnSums { x, .. } => x.len() as u64,
        }
    }
}

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
    pub(crate) arena_len: usize,
    /// The parameters whose step is not fused into their gradient, in ascending order.
    pub(crate) unfused: Vec<Range<usize>>,
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
        self.backward.iter().map(Call::flop).sum()
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

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, shape: String, place: String| {
            write!(
                f,
                "{name:20} {shape:>20} {flop:>14} flop  {place}",
                flop = self.flop()
            )
        };
        match self {
            Self::Gemm {
                product,
                c,
                k,
                fused,
                ..
            } => {
                let name = match product {
                    Product::Forward => "forward nt",
                    Product::DataGradient => "data gradient nn",
                    Product::WeightGradient => "weight gradient tn",
                };
                let Region { rows, cols, .. } = c.region();
                line(
                    f,
                    name,
                    format!("{rows} x {cols} x {k}"),
                    format!("{c}{fused}"),
                )
            }
            Self::Activation { activation, y, .. } => line(
                f,
                "activation",
                format!("{} x {}", y.rows, y.cols),
                format!("{} {activation:?}", Sink::Arena(*y)),
            ),
            Self::ActivationGradient { activation, dx, .. } => line(
                f,
                "activation gradient",
                format!("{} x {}", dx.rows, dx.cols),
                format!("{} {activation:?}'", Sink::Arena(*dx)),
            ),
            Self::ColumnSums { x, sums } => line(
                f,
                "column sums",
                format!("{} x {}", x.rows, x.cols),
                Sink::Gradients(*sums).to_string(),
            ),
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Arena(_) => "arena",
            Self::Gradients(_) => "gradients",
        };
        let Range { start, end } = self.region().range();
        write!(f, "{name}[{start}..{end}]")
    }
}

impl fmt::Display for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => Ok(()),
            Self::Activate { activation, .. } => write!(f, " + bias, {activation:?}"),
            Self::Derivative { activation, .. } => write!(f, " * {activation:?}'"),
            Self::Step => f.write_str(" + step"),
        }
    }
}
