//! The calls that a plan is made of, and what they print.

use std::fmt;
use std::ops::Range;

use kernels::Activation;

use super::layer_call::LayerCall;
use super::region::{Region, Source};

/// Which passes a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    /// The forward pass alone: no value is kept for longer than the next layer needs it.
    Forward,
    /// Both: the forward pass keeps what the backward pass reads.
    Both,
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
        bias: Option<Region>,
        activation: Activation,
    },
    /// `s * act'(x)`, from x or `act(x)` as the activation asks
    Derivative {
        activation: Activation,
        saved: Region,
    },
    /// Nothing; but in a training step the optimiser's step on the weights follows at once, while
    /// their gradient is in the cache.
    Step,
}

/// A mask of dropout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mask {
    pub(crate) rate: f32,
    /// Its number among those of the network.
    pub(crate) layer: u64,
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
        /// Whether the product is added to what C holds.
        accumulate: bool,
        fused: Fused,
        /// By whose factors the elements are multiplied, see [`kernels::Gemm::dropout`].
        mask: Option<Mask>,
        /// Length of the sums.
        k: usize,
    },
    /// `y = x`
    Copy { x: Source, y: Region },
    /// `y = m x / (1 - rate)`
    Dropout { x: Region, y: Region, mask: Mask },
    /// `y = a + b`, where y may be a
    Sum { a: Region, b: Region, y: Region },
    /// `y = act(x)`
    Activation {
        activation: Activation,
        x: Region,
        y: Region,
    },
    /// `dx = dy * act'(x)`, from x or `act(x)` as the activation asks
    ActivationGradient {
        activation: Activation,
        saved: Region,
        dy: Region,
        dx: Region,
    },
    /// `sums_j = sum_i x_ij`
    ColumnSums { x: Region, sums: Region },
    /// What a layer computes that is no product.
    Layer(LayerCall),
}

impl Call {
    /// Floating-point operations of the products and sums; activations count one per element.
    pub(super) fn flop(&self) -> u64 {
        match self {
            Self::Gemm { c, k, .. } => 2 * (c.region().len() * k) as u64,
            Self::Copy { .. } => 0,
            Self::Dropout { y, .. } | Self::Sum { y, .. } | Self::Activation { y, .. } => {
                y.len() as u64
            }
            Self::ActivationGradient { dx, .. } => dx.len() as u64,
            Self::ColumnSums { x, .. } => x.len() as u64,
            Self::Layer(call) => call.flop(),
        }
    }
}

impl Call {
    /// What it does.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Gemm { product, .. } => match product {
                Product::Forward => "forward nt",
                Product::DataGradient => "data gradient nn",
                Product::WeightGradient => "weight gradient tn",
            },
            Self::Copy { .. } => "copy",
            Self::Dropout { .. } => "dropout",
            Self::Sum { .. } => "sum",
            Self::Activation { .. } => "activation",
            Self::ActivationGradient { .. } => "activation gradient",
            Self::ColumnSums { .. } => "column sums",
            Self::Layer(call) => call.name(),
        }
    }

    /// Rows and columns of what it is about: its result, or what the gradient of a parameter is summed
    /// over; of a product also the length of its sums.
    pub(crate) fn shape(&self) -> String {
        let Region { rows, cols, .. } = match self {
            Self::Gemm { c, k, .. } => {
                let Region { rows, cols, .. } = c.region();
                return format!("{rows} x {cols} x {k}");
            }
            Self::Copy { y, .. }
            | Self::Dropout { y, .. }
            | Self::Sum { y, .. }
            | Self::Activation { y, .. } => *y,
            Self::ActivationGradient { dx, .. } => *dx,
            Self::ColumnSums { x, .. } => *x,
            Self::Layer(call) => call.main(),
        };
        format!("{rows} x {cols}")
    }

    /// Where the result goes, and what is done to it on the way.
    fn place(&self) -> String {
        let arena = |region: &Region| Sink::Arena(*region).to_string();
        match self {
            Self::Gemm {
                c,
                accumulate,
                fused,
                mask,
                ..
            } => {
                let drop = if mask.is_some() { ", dropout" } else { "" };
                let plus = if *accumulate { " +=" } else { "" };
                format!("{c}{plus}{fused}{drop}")
            }
            Self::Copy { y, .. } | Self::Sum { y, .. } => arena(y),
            Self::Dropout { y, mask, .. } => format!("{} {}", arena(y), mask.rate),
            Self::Activation { activation, y, .. } => format!("{} {activation:?}", arena(y)),
            Self::ActivationGradient { activation, dx, .. } => {
                format!("{} {activation:?}'", arena(dx))
            }
            Self::Layer(call) => arena(&call.main()),
            Self::ColumnSums { sums, .. } => Sink::Gradients(*sums).to_string(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, shape, flop, place) = (self.name(), self.shape(), self.flop(), self.place());
        write!(f, "{name:20} {shape:>20} {flop:>14} flop  {place}")
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Arena(_) => "arena",
            Self::Gradients(_) => "gradients",
        };
        let region = self.region();
        let Range { start, end } = region.whole();
        write!(f, "{name}[{start}..{end}]")?;
        if !region.is_whole() {
            let Range { start, end } = region.columns();
            write!(f, " columns {start}..{end}")?;
        }
        Ok(())
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
