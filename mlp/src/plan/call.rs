//! The calls that a plan is made of, and what they print.

use std::fmt;
use std::ops::Range;

use kernels::Activation;

/// A matrix in one of the buffers that a plan runs over: some columns of a dense row-major one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// Where the whole matrix begins.
    pub(crate) offset: usize,
    /// Distance between rows: the width of the whole.
    pub(crate) stride: usize,
    /// The first of the columns.
    pub(crate) col: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Region {
    /// A whole matrix.
    pub(crate) fn dense(offset: usize, rows: usize, cols: usize) -> Self {
        Self {
            offset,
            stride: cols,
            col: 0,
            rows,
            cols,
        }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Where the whole matrix lies.
    pub(crate) fn whole(&self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.stride
    }

    /// Whether it is all of the matrix.
    pub(crate) fn is_whole(&self) -> bool {
        self.cols == self.stride
    }

    /// The columns in which it lies.
    pub(crate) fn columns(&self) -> Range<usize> {
        self.col..self.col + self.cols
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
        /// Length of the sums.
        k: usize,
    },
    /// `y = x`
    Copy { x: Source, y: Region },
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
}

impl Call {
    /// Floating-point operations of the products and sums; activations count one per element.
    pub(super) fn flop(&self) -> u64 {
        match self {
            Self::Gemm { c, k, .. } => 2 * (c.region().len() * k) as u64,
            Self::Copy { .. } => 0,
            Self::Sum { y, .. } | Self::Activation { y, .. } => y.len() as u64,
            Self::ActivationGradient { dx, .. } => dx.len() as u64,
            Self::ColumnSums { x, .. } => x.len() as u64,
        }
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
                accumulate,
                k,
                fused,
                ..
            } => {
                let plus = if *accumulate { " +=" } else { "" };
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
                    format!("{c}{plus}{fused}"),
                )
            }
            Self::Copy { y, .. } => line(
                f,
                "copy",
                format!("{} x {}", y.rows, y.cols),
                Sink::Arena(*y).to_string(),
            ),
            Self::Sum { y, .. } => line(
                f,
                "sum",
                format!("{} x {}", y.rows, y.cols),
                Sink::Arena(*y).to_string(),
            ),
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
