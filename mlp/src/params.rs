//! The parameters of a network: one flat arena with named matrices in it.
//!
//! The order is that of PyTorch's `Sequential.parameters()`: layer by layer, weight before bias.
//! Gradients and the state of an optimiser mirror them, element by element. Behind the parameters the
//! arena holds the buffers: what training changes, but no gradient, such as running statistics.

use std::hint::black_box;
use std::ops::Range;

use aligned_vec::{AVec, ConstAlign};
use kernels::Activation;

/// Alignment of arenas: a cache line, and the widest vector.
const ALIGN_BYTES: usize = 64;

/// A buffer of f32 that starts on a cache line.
pub(crate) type Buffer = AVec<f32, ConstAlign<ALIGN_BYTES>>;

/// Elements of a cache line.
pub(crate) const LINE: usize = ALIGN_BYTES / size_of::<f32>();

/// A buffer of `len` zeros.
pub(crate) fn zeros(len: usize) -> Buffer {
    let mut buffer = Buffer::new(ALIGN_BYTES);
    buffer.resize(len, 0.0);
    buffer
}

/// Whether the allocator would give so many floats beside what is taken already; `None` are more than can
/// be counted.
pub(crate) fn fits_memory(len: Option<usize>) -> bool {
    // Without black_box the compiler may leave out an allocation that nothing is written to.
    let reserve = |n| black_box(&mut Vec::<f32>::new()).try_reserve_exact(n);
    len.is_some_and(|n| reserve(n).is_ok())
}

/// Makes a buffer at least `len` long.
pub(crate) fn grow(buffer: &mut Buffer, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
}

/// Index of a parameter in a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParamId(usize);

impl ParamId {
    /// Position among the parameters.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Index of a buffer in a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferId(usize);

/// What a parameter is before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Initial {
    /// The same everywhere.
    Constant(f32),
    /// Drawn as the description of the network says.
    Drawn {
        /// What follows the sums that these weights make.
        activation: Activation,
    },
}

/// What a parameter is for; decides how it is trained unless the user says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterKind {
    /// Multiplies values of other units: a matrix.
    Weight,
    /// Is added to each unit; that of a normalisation too.
    Bias,
    /// Scales each unit by itself: the gamma of a normalisation.
    Norm,
}

/// One matrix of parameters: a weight, or a bias as a matrix of one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// `0.weight`: number of the layer in the list of layers, and what it is; `2.0.weight` in the
    /// list of layers that is layer 2.
    pub(crate) name: String,
    pub(crate) kind: ParameterKind,
    /// Where it starts in the arena.
    pub(crate) offset: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) initial: Initial,
}

impl Parameter {
    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.cols
    }
}

/// Names, shapes and places of all parameters and buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    parameters: Section,
    buffers: Section,
}

/// Matrices one behind the other.
#[derive(Clone, Debug, Default)]
struct Section {
    matrices: Vec<Parameter>,
    len: usize,
    /// Whether there are more elements than can be counted.
    overflows: bool,
}

impl Section {
    fn add(
        &mut self,
        name: String,
        kind: ParameterKind,
        rows: usize,
        cols: usize,
        initial: Initial,
    ) -> usize {
        self.matrices.push(Parameter {
            name,
            kind,
            offset: self.len,
            rows,
            cols,
            initial,
        });
        match rows.checked_mul(cols).and_then(|n| self.len.checked_add(n)) {
            Some(len) => self.len = len,
            None => self.overflows = true,
        }
        self.matrices.len() - 1
    }
}

impl Layout {
    /// Places a `rows x cols` matrix of parameters behind those that are there.
    pub(crate) fn add(
        &mut self,
        name: String,
        kind: ParameterKind,
        rows: usize,
        cols: usize,
        initial: Initial,
    ) -> ParamId {
        ParamId(self.parameters.add(name, kind, rows, cols, initial))
    }

    /// Places a `rows x cols` matrix that training changes without a gradient behind all parameters:
    /// statistics of a normalisation.
    pub(crate) fn add_buffer(
        &mut self,
        name: String,
        rows: usize,
        cols: usize,
        initial: f32,
    ) -> BufferId {
        let (kind, initial) = (ParameterKind::Norm, Initial::Constant(initial));
        BufferId(self.buffers.add(name, kind, rows, cols, initial))
    }

    /// A buffer, and where its elements are.
    pub(crate) fn buffer(&self, id: BufferId) -> Parameter {
        self.behind_parameters(&self.buffers.matrices[id.0])
    }

    /// All buffers, in order.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = Parameter> {
        self.buffers
            .matrices
            .iter()
            .map(|buffer| self.behind_parameters(buffer))
    }

    fn behind_parameters(&self, buffer: &Parameter) -> Parameter {
        Parameter {
            offset: self.parameters.len + buffer.offset,
            ..buffer.clone()
        }
    }

    /// All parameters, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.matrices.iter()
    }

    pub(crate) fn get(&self, id: ParamId) -> &Parameter {
        &self.parameters.matrices[id.0]
    }

    /// Number of parameters: elements that have gradients, which come first in the arena.
    pub(crate) fn len(&self) -> usize {
        self.parameters.len
    }

    /// Elements of the arena, buffers included; `None` if there are too many to count.
    pub(crate) fn arena_len(&self) -> Option<usize> {
        if self.parameters.overflows || self.buffers.overflows {
            return None;
        }
        self.parameters.len.checked_add(self.buffers.len)
    }
}
