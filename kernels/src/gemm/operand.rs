//! The operands of a product as a caller hands them over: in place, or packed before.

use super::bf16_panels::Bf16Factor;
use super::prepack::{PackedA, PackedB, PackedFor};
use crate::view::MatRef;

/// Either form of the left operand of a product.
#[derive(Clone, Copy, Debug)]
pub enum Left<'a> {
    /// As it lies in memory; packed in the call if that pays.
    View(MatRef<'a>),
    /// Packed before.
    Packed(&'a PackedA),
}

/// Either form of the right operand of a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// As it lies in memory; packed in the call if that pays.
    View(MatRef<'a>),
    /// Packed before.
    Packed(&'a PackedB),
}

impl<'a> From<MatRef<'a>> for Left<'a> {
    fn from(view: MatRef<'a>) -> Self {
        Self::View(view)
    }
}

impl<'a> From<&'a PackedA> for Left<'a> {
    fn from(packed: &'a PackedA) -> Self {
        Self::Packed(packed)
    }
}

impl<'a> From<MatRef<'a>> for Right<'a> {
    fn from(view: MatRef<'a>) -> Self {
        Self::View(view)
    }
}

impl<'a> From<&'a PackedB> for Right<'a> {
    fn from(packed: &'a PackedB) -> Self {
        Self::Packed(packed)
    }
}

impl<'a> Left<'a> {
    /// What it was packed for, if it was.
    pub(super) fn packed_for(&self) -> Option<PackedFor> {
        match self {
            Self::View(_) => None,
            Self::Packed(packed) => Some(packed.packed_for()),
        }
    }

    /// As an operand of the matrix unit, if it can be one.
    pub(super) fn bf16(&self) -> Option<Bf16Factor<'a>> {
        match self {
            Self::View(view) => Some(Bf16Factor::View(*view)),
            Self::Packed(packed) => packed.bf16(),
        }
    }

    /// Number of rows, m.
    pub fn rows(&self) -> usize {
        match self {
            Self::View(view) => view.rows(),
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// Number of columns, k.
    pub fn cols(&self) -> usize {
        match self {
            Self::View(view) => view.cols(),
            Self::Packed(packed) => packed.cols(),
        }
    }
}

impl<'a> Right<'a> {
    /// What it was packed for, if it was.
    pub(super) fn packed_for(&self) -> Option<PackedFor> {
        match self {
            Self::View(_) => None,
            Self::Packed(packed) => Some(packed.packed_for()),
        }
    }

    /// As an operand of the matrix unit, if it can be one.
    pub(super) fn bf16(&self) -> Option<Bf16Factor<'a>> {
        match self {
            Self::View(view) => Some(Bf16Factor::View(*view)),
            Self::Packed(packed) => packed.bf16(),
        }
    }

    /// Number of rows, k.
    pub fn rows(&self) -> usize {
        match self {
            Self::View(view) => view.rows(),
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// Number of columns, n.
    pub fn cols(&self) -> usize {
        match self {
            Self::View(view) => view.cols(),
            Self::Packed(packed) => packed.cols(),
        }
    }
}
