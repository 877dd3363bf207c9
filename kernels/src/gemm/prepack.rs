//! Operands packed once, for many products.
//!
//! The panels are as deep as the operand: `data[panel][p][width]`. Where a product cuts its depth is
//! then free, and follows from the shape of the product as it does for an operand that is not
//! packed; so the bits are the same.
//!
//! An operand of products on the matrix unit is packed for that (`bf16_panels`), in another form.

use std::fmt;

use aligned_vec::{AVec, ConstAlign};

use super::bf16_blocking::{effective, parts_of};
use super::bf16_panels::{Bf16Factor, Bf16Panels};
use super::blocking::{Blocking, Order, Split};
use super::panels::{Cut, Operand, Packed, pack, pack_within};
use super::tables::Kit;
use crate::bf16::Bf16Unit;
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::isa::Isa;
use crate::precision::Precision;
use crate::team::Team;
use crate::view::MatRef;

/// Bytes of a cache line.
const ALIGN: usize = 64;
/// Elements that each member packs at least: some ten microseconds.
const CHUNK_LEN: usize = 1 << 15;

/// An `m x k` matrix in the order in which the micro-kernel of one instruction set reads it, to be the
/// A of products: made by [`Kernels::pack_a`].
pub struct PackedA {
    form: Form,
}

/// A `k x n` matrix in the order in which the micro-kernel of one instruction set reads it, to be the
/// B of products: made by [`Kernels::pack_b`].
pub struct PackedB {
    form: Form,
}

/// What products ask of a packed operand.
pub(super) trait PackedOperand {
    /// Its panels.
    fn form(&self) -> &Form;

    /// Rows and columns.
    fn shape(&self) -> (usize, usize);

    /// Which products it is for.
    fn packed_for(&self) -> PackedFor {
        self.form().packed_for()
    }

    /// As an operand of the matrix unit, if it is packed for that.
    fn bf16(&self) -> Option<Bf16Factor<'_>> {
        self.form().bf16()
    }

    /// As an operand of multiply-adds.
    ///
    /// # Panics
    /// If it is packed for the matrix unit.
    fn panels(&self) -> Prepacked<'_, f32> {
        self.form().panels()
    }
}

impl PackedOperand for PackedA {
    fn form(&self) -> &Form {
        &self.form
    }

    fn shape(&self) -> (usize, usize) {
        let (k, m) = self.form.shape();
        (m, k)
    }
}

impl PackedOperand for PackedB {
    fn form(&self) -> &Form {
        &self.form
    }

    fn shape(&self) -> (usize, usize) {
        self.form.shape()
    }
}

/// The panels of an operand.
pub(super) enum Form {
    /// For multiply-adds.
    F32(Panels),
    /// For the matrix unit.
    Bf16(Bf16Panels),
}

/// Which products a packed operand is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedFor {
    pub(super) isa: Isa,
    pub(super) precision: Precision,
    /// What multiplies bf16 numbers, if that is to compute them.
    pub(super) unit: Option<Bf16Unit>,
    /// Rows of the highest panel and registers of the widest, of a form for multiply-adds.
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Form {
    fn packed_for(&self) -> PackedFor {
        match self {
            Self::F32(panels) => PackedFor {
                isa: panels.isa,
                precision: Precision::Ieee,
                unit: None,
                height: panels.cut.split.longest(),
                width: panels.width,
            },
            Self::Bf16(panels) => PackedFor {
                isa: panels.isa,
                precision: panels.precision,
                unit: Some(panels.unit),
                height: 0,
                width: 1,
            },
        }
    }

    /// Depth of the operand, and its rows or columns.
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::F32(panels) => (panels.k, panels.cut.len),
            Self::Bf16(panels) => (panels.k, panels.len),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(panels) => panels.data.len() * size_of::<f32>(),
            Self::Bf16(panels) => panels.bytes(),
        }
    }

    /// Packs another operand of the same shape.
    fn fill(&mut self, from: MatRef<'_>, unit: bool, team: &Team) {
        match self {
            Self::F32(panels) => panels.fill(from, unit, team),
            Self::Bf16(panels) => panels.fill(from, team),
        }
    }

    /// # Panics
    /// If the operand is packed for the matrix unit, whose products take another way.
    fn panels(&self) -> Prepacked<'_, f32> {
        match self {
            Self::F32(panels) => panels.as_operand(),
            Self::Bf16(_) => unreachable!("a product on the matrix unit has a plan of its own"),
        }
    }

    fn bf16(&self) -> Option<Bf16Factor<'_>> {
        match self {
            Self::F32(_) => None,
            Self::Bf16(panels) => Some(Bf16Factor::Packed(panels)),
        }
    }
}

impl Kernels {
    /// A packed copy of A for products of `m x k` by `k x n_hint` matrices.
    ///
    /// Products with another number of columns have the same bits as without packing too, but maybe not
    /// the best tiles; a copy for the matrix unit is used whatever that number is.
    ///
    /// # Complexity
    /// m k elements are read and written.
    pub fn pack_a(&self, a: MatRef<'_>, n_hint: usize) -> PackedA {
        self.pack_a_for(a, n_hint, Precision::process_wide())
    }

    /// [`Kernels::pack_a`] for products that have to be as exact as `precision`; less exact ones may be
    /// asked for too.
    ///
    /// Where the matrix unit computes products of this shape, the copy has their form: it serves no others.
    pub fn pack_a_for(&self, a: MatRef<'_>, n_hint: usize, precision: Precision) -> PackedA {
        let shape = (a.rows(), n_hint, a.cols());
        if let Some(panels) = self.bf16_panels(shape, precision, (true, a.t())) {
            return PackedA {
                form: Form::Bf16(panels),
            };
        }
        let kit = &self.gemm.f32;
        let shape = (a.rows().max(1), n_hint.max(1), a.cols());
        let blocking = Blocking::choose(kit, shape, Order::ROWS);
        let cut = Cut {
            split: Split::new(a.rows(), blocking.rows.longest()),
            unit: 1,
            len: a.rows(),
        };
        PackedA {
            form: Form::F32(Panels::new(
                self.isa(),
                kit,
                cut,
                blocking.cols.longest(),
                a.t(),
                is_by_columns(a),
            )),
        }
    }

    /// A packed copy of B for products of `m_hint x k` by `k x n` matrices.
    ///
    /// Products with another number of rows have the same bits as without packing too, but maybe not
    /// the best tiles; a copy for the matrix unit is used whatever that number is.
    ///
    /// # Complexity
    /// k n elements are read and written; the copy has n rounded up to a whole register.
    pub fn pack_b(&self, b: MatRef<'_>, m_hint: usize) -> PackedB {
        self.pack_b_for(b, m_hint, Precision::process_wide())
    }

    /// [`Kernels::pack_b`] for products that have to be as exact as `precision`; less exact ones may be
    /// asked for too.
    ///
    /// Where the matrix unit computes products of this shape, the copy has their form: it serves no others.
    pub fn pack_b_for(&self, b: MatRef<'_>, m_hint: usize, precision: Precision) -> PackedB {
        let shape = (m_hint, b.cols(), b.rows());
        if let Some(panels) = self.bf16_panels(shape, precision, (false, b)) {
            return PackedB {
                form: Form::Bf16(panels),
            };
        }
        let kit = &self.gemm.f32;
        let (k, n) = (b.rows(), b.cols());
        let shape = (m_hint.max(1), n.max(1), k);
        let split = Blocking::choose(kit, shape, Order::ROWS).cols;
        let cut = Cut {
            split,
            unit: kit.lanes,
            len: n,
        };
        PackedB {
            form: Form::F32(Panels::new(
                self.isa(),
                kit,
                cut,
                split.longest(),
                b,
                is_unit(b),
            )),
        }
    }

    /// An operand packed for the matrix unit, if that computes products of this shape: whether it is A, and
    /// a matrix with a column for each of its rows or columns.
    fn bf16_panels(
        &self,
        shape: (usize, usize, usize),
        precision: Precision,
        (is_left, from): (bool, MatRef<'_>),
    ) -> Option<Bf16Panels> {
        let unit = self.bf16?;
        let parts = parts_of(effective(unit, precision, shape))?;
        Some(Bf16Panels::new(
            (self.isa(), self.gemm, unit),
            (precision, parts),
            is_left,
            from,
        ))
    }
}

impl PackedA {
    /// Packs another matrix of the same shape in the place of the old one; allocates nothing.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shape is another; the old content is then kept.
    pub fn refresh(&mut self, a: MatRef<'_>, team: &Team) -> Result<(), KernelError> {
        check_refresh("A", (self.rows(), self.cols()), a)?;
        self.form.fill(a.t(), is_by_columns(a), team);
        Ok(())
    }

    /// Number of rows, m.
    pub fn rows(&self) -> usize {
        self.shape().0
    }

    /// Number of columns, k.
    pub fn cols(&self) -> usize {
        self.shape().1
    }

    /// The instruction set whose kernels can use it.
    pub fn isa(&self) -> Isa {
        self.form.packed_for().isa
    }

    /// The precision up to which products can use it.
    pub fn precision(&self) -> Precision {
        self.form.packed_for().precision
    }

    /// Bytes of the copy.
    pub fn bytes(&self) -> usize {
        self.form.bytes()
    }
}

impl PackedB {
    /// Packs another matrix of the same shape in the place of the old one; allocates nothing.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shape is another; the old content is then kept.
    pub fn refresh(&mut self, b: MatRef<'_>, team: &Team) -> Result<(), KernelError> {
        check_refresh("B", (self.rows(), self.cols()), b)?;
        self.form.fill(b, is_unit(b), team);
        Ok(())
    }

    /// Number of rows, k.
    pub fn rows(&self) -> usize {
        self.shape().0
    }

    /// Number of columns, n.
    pub fn cols(&self) -> usize {
        self.shape().1
    }

    /// The instruction set whose kernels can use it.
    pub fn isa(&self) -> Isa {
        self.form.packed_for().isa
    }

    /// The precision up to which products can use it.
    pub fn precision(&self) -> Precision {
        self.form.packed_for().precision
    }

    /// Bytes of the copy.
    pub fn bytes(&self) -> usize {
        self.form.bytes()
    }
}

fn check_refresh(
    name: &str,
    (rows, cols): (usize, usize),
    new: MatRef<'_>,
) -> Result<(), KernelError> {
    if (new.rows(), new.cols()) == (rows, cols) {
        return Ok(());
    }
    Err(KernelError::shape(
        "refresh",
        format!("{name} of {rows} x {cols}, as it was packed"),
        format!("{} x {}", new.rows(), new.cols()),
    ))
}

/// All panels of one operand.
pub(super) struct Panels {
    isa: Isa,
    kit: &'static Kit<f32>,
    k: usize,
    cut: Cut,
    width: usize,
    unit: bool,
    data: AVec<f32, ConstAlign<ALIGN>>,
}

/// Where panels are packed to, shared with the members of a team.
#[derive(Clone, Copy)]
struct Destination(*mut f32);

// SAFETY: each member writes panels of its own.
unsafe impl Send for Destination {}
// SAFETY: as above.
unsafe impl Sync for Destination {}

impl Destination {
    /// The address; a method, so that a closure borrows all of `self`.
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

impl Panels {
    /// Packs a matrix whose columns `cut` divides, for micro-tiles of `width` registers.
    fn new(
        isa: Isa,
        kit: &'static Kit<f32>,
        cut: Cut,
        width: usize,
        from: MatRef<'_>,
        unit: bool,
    ) -> Self {
        let k = from.rows();
        let len = cut.len.next_multiple_of(cut.unit) * k + kit.lanes;
        let mut panels = Self {
            isa,
            kit,
            k,
            cut,
            width,
            unit,
            data: AVec::from_iter(ALIGN, std::iter::repeat_n(0.0, len)),
        };
        panels.fill(from, unit, &Team::solo());
        panels
    }

    /// Packs a matrix of the shape that [`Self::new`] was given.
    fn fill(&mut self, from: MatRef<'_>, unit: bool, team: &Team) {
        let (kit, cut, k) = (self.kit, self.cut, self.k);
        self.unit = unit;
        let len = k * cut.len;
        if len == 0 {
            return;
        }
        let all = cut.split.parts();
        // What is deep enough can be packed to the last element, and no further.
        let shared = if k >= 2 * kit.lanes {
            len / CHUNK_LEN
        } else {
            1
        };
        let chunks = team.threads().min(shared).clamp(1, all);
        let to = Destination(self.data.as_mut_ptr());
        team.run(chunks, &|chunk, _| {
            let panels = all * chunk / chunks..all * (chunk + 1) / chunks;
            let operand = Operand {
                ptr: from.as_ptr(),
                across: from.col_stride(),
                along: from.row_stride(),
                packed: None,
            };
            let to = to.at(cut.split.start(panels.start) * cut.unit * k);
            // SAFETY: `Kernels` exist only for what this CPU has; the view has k rows and as many
            // columns as are cut; `new` made room for all panels and a register, which the last
            // chunk may spill into, and the others do not spill.
            unsafe {
                if panels.end == all {
                    pack(kit, operand, cut, panels, k, to);
                } else {
                    pack_within(kit, operand, cut, panels, k, to);
                }
            }
        });
    }

    fn as_operand(&self) -> Prepacked<'_, f32> {
        Prepacked {
            data: &self.data,
            cut: self.cut,
            k: self.k,
            width: self.width,
            unit: self.unit,
        }
    }
}

impl fmt::Debug for PackedA {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, k) = (self.rows(), self.cols());
        write!(f, "PackedA({m} x {k} for {})", self.isa())
    }
}

impl fmt::Debug for PackedB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (k, n) = (self.rows(), self.cols());
        write!(f, "PackedB({k} x {n} for {})", self.isa())
    }
}

/// Whether the columns of B are contiguous, which decides how a product is blocked.
pub(super) fn is_unit<T>(b: MatRef<'_, T>) -> bool {
    b.col_stride() == 1 || b.cols() == 1
}

/// Whether the rows of A are not contiguous but its columns are, which does so too.
pub(super) fn is_by_columns<T>(a: MatRef<'_, T>) -> bool {
    a.col_stride() != 1 && is_unit(a.t())
}

/// What a product sees of a packed operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepacked<'a, T> {
    data: &'a [T],
    pub(super) cut: Cut,
    pub(super) k: usize,
    /// Of the micro-tiles that it was cut for, in registers.
    pub(super) width: usize,
    /// [`is_unit`] of the B, or [`is_by_columns`] of the A that was packed.
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
