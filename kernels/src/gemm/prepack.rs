//! A right operand packed once, for many products.
//!
//! The panels are as deep as the operand: `data[panel][p][width]`. Where a product cuts its depth is
//! then free, and follows from the shape of the product as it does for an operand that is not
//! packed; so the bits are the same.

use std::fmt;

use aligned_vec::{AVec, ConstAlign};

use super::blocking::{Blocking, Split};
use super::panels::{Cut, Operand, Packed, pack};
use super::tables::Kit;
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::isa::Isa;
use crate::view::MatRef;

/// Bytes of a cache line.
const ALIGN: usize = 64;

/// A `k x n` matrix in the order in which the micro-kernel of one instruction set reads it, to be the
/// B of products: made by [`Kernels::pack_b`].
pub struct PackedB {
    isa: Isa,
    kit: &'static Kit<f32>,
    k: usize,
    n: usize,
    cols: Split,
    unit: bool,
    data: AVec<f32, ConstAlign<ALIGN>>,
}

/// Either form of the right operand of a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// As it lies in memory; packed in the call if that pays.
    View(MatRef<'a>),
    /// Packed before.
    Packed(&'a PackedB),
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

impl Right<'_> {
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

impl Kernels {
    /// A packed copy of B for products of `m_hint x k` by `k x n` matrices.
    ///
    /// Products with another number of rows have the same bits as without packing too, but maybe not
    /// the best tiles.
    ///
    /// # Complexity
    /// k n elements are read and written; the copy has n rounded up to a whole register.
    pub fn pack_b(&self, b: MatRef<'_>, m_hint: usize) -> PackedB {
        let kit = &self.gemm.f32;
        let (k, n) = (b.rows(), b.cols());
        let shape = (m_hint.max(1), n.max(1), k);
        let cols = Blocking::choose(kit, shape, is_unit(b)).cols;
        let len = n.next_multiple_of(kit.lanes) * k + kit.lanes;
        let mut packed = PackedB {
            isa: self.isa(),
            kit,
            k,
            n,
            cols,
            unit: true,
            data: AVec::from_iter(ALIGN, std::iter::repeat_n(0.0, len)),
        };
        packed.fill(b);
        packed
    }
}

impl PackedB {
    /// Packs another matrix of the same shape in the place of the old one; allocates nothing.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shape is another; the old content is then kept.
    pub fn refresh(&mut self, b: MatRef<'_>) -> Result<(), KernelError> {
        if (b.rows(), b.cols()) != (self.k, self.n) {
            return Err(KernelError::shape(
                "refresh",
                format!("B of {} x {}, as it was packed", self.k, self.n),
                format!("{} x {}", b.rows(), b.cols()),
            ));
        }
        self.fill(b);
        Ok(())
    }

    fn fill(&mut self, b: MatRef<'_>) {
        self.unit = is_unit(b);
        if self.k == 0 || self.n == 0 {
            return;
        }
        let from = Operand {
            ptr: b.as_ptr(),
            across: b.col_stride(),
            along: b.row_stride(),
            packed: None,
        };
        let panels = 0..self.cols.parts();
        let (cut, to) = (self.cut(), self.data.as_mut_ptr());
        // SAFETY: `Kernels` exist only for what this CPU has; the view has k rows and n columns, and
        // `pack_b` made room for all panels and a register.
        unsafe { pack(self.kit, from, cut, panels, self.k, to) };
    }

    fn cut(&self) -> Cut {
        Cut {
            split: self.cols,
            unit: self.kit.lanes,
            len: self.n,
        }
    }

    /// Number of rows, k.
    pub fn rows(&self) -> usize {
        self.k
    }

    /// Number of columns, n.
    pub fn cols(&self) -> usize {
        self.n
    }

    /// The instruction set whose kernels can use it.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of the copy.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<f32>()
    }

    pub(super) fn panels(&self) -> Prepacked<'_, f32> {
        Prepacked {
            data: &self.data,
            cut: self.cut(),
            k: self.k,
            unit: self.unit,
        }
    }
}

impl fmt::Debug for PackedB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedB({} x {} for {})", self.k, self.n, self.isa)
    }
}

/// Whether the columns of B are contiguous, which decides how a product is blocked.
pub(super) fn is_unit<T>(b: MatRef<'_, T>) -> bool {
    b.col_stride() == 1 || b.cols() == 1
}

/// What a product sees of a packed operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepacked<'a, T> {
    data: &'a [T],
    pub(super) cut: Cut,
    k: usize,
    /// Whether the columns of the operand were contiguous before.
    pub(super) unit: bool,
}

impl<T> Prepacked<'_, T> {
    /// The panels from `panel` on and the steps of the depth from `skip` on.
    pub(super) fn operand(&self, panel: usize, skip: usize) -> Operand<T> {
        let before = self.cut.split.start(panel) * self.cut.unit;
        Operand {
            ptr: self.data.as_ptr().wrapping_add(before * self.k),
            across: 1,
            along: 0,
            packed: Some(Packed {
                depth: self.k,
                skip,
            }),
        }
    }
}
