//! The parameters of a network: one flat arena with named matrices in it.
//!
//! The order is that of PyTorch's `Sequential.parameters()`: layer by layer, weight before bias.
//! Gradients and the state of an optimiser mirror the arena, element by element.

use std::ops::Range;

use aligned_vec::{AVec, ConstAlign};

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

/// Index of a parameter in a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParamId(usize);

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// `0.weight`: number of the layer in the list of layers, and what it is.
    pub(crate) name: String,
    pub(crate) kind: ParameterKind,
    /// Where it starts in the arena.
    pub(crate) offset: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Parameter {
    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.cols
    }
}

/// Names, shapes and places of all parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    parameters: Vec<Parameter>,
    len: usize,
}

impl Layout {
    /// Places a `rows x cols` matrix behind those that are there.
    pub(crate) fn add(
        &mut self,
        name: String,
        kind: ParameterKind,
        rows: usize,
        cols: usize,
    ) -> ParamId {
        let id = ParamId(self.parameters.len());
        self.parameters.push(Parameter {
            name,
            kind,
            offset: self.len,
            rows,
            cols,
        });
        self.len += rows * cols;
        id
    }

    /// All parameters, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter()
    }

    pub(crate) fn get(&self, id: ParamId) -> &Parameter {
        &self.parameters[id.0]
    }

    /// Number of elements of the arena.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}
