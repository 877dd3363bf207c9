//! The operands of a product as a caller hands them over: in place, or packed before.

use super::bf16_panels::Bf16Factor;
use super::prepack::{PackedA, PackedB, PackedFor, PackedOperand};
use crate::view::MatRef;

/// Either form of an operand of a product, `P` being its packed form.
#[derive(Debug)]
pub enum Operand<'a, P> {
    /// As it lies in memory; packed in the call if that pays.
    View(MatRef<'a>),
    /// Packed before.
    Packed(&'a P),
}

/// Either form of the left operand of a product, `m x k`.
pub type Left<'a> = Operand<'a, PackedA>;

/// Either form of the right operand of a product, `k x n`.
pub type Right<'a> = Operand<'a, PackedB>;

impl<P> Clone for Operand<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

// Derived, it would ask that of the packed form too, which is only borrowed.
impl<P> Copy for Operand<'_, P> {}

impl<'a, P> From<MatRef<'a>> for Operand<'a, P> {
    fn from(view: MatRef<'a>) -> Self {
        Self::View(view)
    }
}

impl<'a, P> From<&'a P> for Operand<'a, P> {
    fn from(packed: &'a P) -> Self {
        Self::Packed(packed)
    }
}

#[expect(
    private_bounds,
    reason = "the packed forms are those of this crate, and no trait that others could implement"
)]
impl<'a, P: PackedOperand> Operand<'a, P> {
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

    /// Number of rows: m of a left operand, k of a right one.
    pub fn rows(&self) -> usize {
        match self {
            Self::View(view) => view.rows(),
            Self::Packed(packed) => packed.shape().0,
        }
    }

    /// Number of columns: k of a left operand, n of a right one.
    pub fn cols(&self) -> usize {
        match self {
            Self::View(view) => view.cols(),
            Self::Packed(packed) => packed.shape().1,
        }
    }
}
