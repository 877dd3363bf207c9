//! The buffers that the calls of a plan name, and one call on them.

use std::array;
use std::sync::{Mutex, PoisonError};

use kernels::{
    AttentionWorkspace, Dropout, Epilogue, Gemm, KernelError, Kernels, MatMut, MatRef, Precision,
    Team, Workspace,
};

use crate::plan::{Call, Fused, Mask, Plan, Product, Region, Sink, Source};

/// The region of a buffer as a matrix.
pub(super) fn matrix<'m>(buffer: &'m [f32], region: &Region) -> Result<MatRef<'m>, KernelError> {
    let whole = MatRef::from_row_major(&buffer[region.whole()], region.rows, region.stride)?;
    Ok(whole.part(0..region.rows, region.columns()))
}

/// `y = x`
pub(super) fn copy(x: MatRef<'_>, mut y: MatMut<'_>) {
    for i in 0..x.rows() {
        if let (Some(from), Some(to)) = (x.row(i), y.row_mut(i)) {
            to.copy_from_slice(from);
            continue;
        }
        for j in 0..x.cols() {
            *y.at_mut(i, j) = *x.at(i, j);
        }
    }
}

/// The arena without the region that a call writes.
#[derive(Clone, Copy)]
pub(super) struct Rest<'m> {
    before: &'m [f32],
    after: &'m [f32],
    /// Where `after` starts in the arena.
    after_offset: usize,
    /// The matrix of which the call writes some columns.
    whole: Region,
    /// The columns to the left of those, and to the right.
    left: MatRef<'m>,
    right: MatRef<'m>,
}

impl<'m> Rest<'m> {
    /// The rest of the arena if the call writes nothing in it.
    fn all(arena: &'m [f32]) -> Result<Self, KernelError> {
        let none = MatRef::from_row_major(&[], 0, 0)?;
        Ok(Self {
            before: arena,
            after: &[],
            after_offset: 0,
            whole: Region::dense(0, 0, 0),
            left: none,
            right: none,
        })
    }

    /// A value that the call reads.
    pub(super) fn read(&self, region: &Region) -> Result<MatRef<'m>, KernelError> {
        let all = region.whole();
        if all.end <= self.before.len() {
            return matrix(self.before, region);
        }
        if all.start >= self.after_offset {
            let offset = region.offset - self.after_offset;
            return matrix(self.after, &Region { offset, ..*region });
        }
        // Beside the columns that are written.
        let cols = region.columns();
        if cols.end <= self.left.cols() {
            return Ok(self.left.part(0..region.rows, cols));
        }
        let start = self.whole.columns().end;
        Ok(self
            .right
            .part(0..region.rows, cols.start - start..cols.end - start))
    }
}

/// Divides the arena into the region to be written and all else.
pub(super) fn carve<'m>(
    arena: &'m mut [f32],
    written: &Region,
) -> Result<(Rest<'m>, MatMut<'m>), KernelError> {
    let whole = written.whole();
    let (before, from) = arena.split_at_mut(whole.start);
    let (data, after) = from.split_at_mut(whole.len());
    let data = MatMut::from_row_major(data, written.rows, written.stride)?;
    let (left, data) = data.split_at_col(written.col);
    let (data, right) = data.split_at_col(written.cols);
    let rest = Rest {
        before,
        after,
        after_offset: whole.end,
        whole: *written,
        left: left.into_ref(),
        right: right.into_ref(),
    };
    Ok((rest, data))
}

/// `y = f(x)` row by row, or all rows at once where they lie together.
fn by_rows(
    x: MatRef<'_>,
    mut y: MatMut<'_>,
    mut f: impl FnMut(&[f32], &mut [f32]) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    if let (Some(x), Some(y)) = (x.as_slice(), y.as_mut_slice()) {
        return f(x, y);
    }
    for i in 0..x.rows() {
        if let (Some(x), Some(y)) = (x.row(i), y.row_mut(i)) {
            f(x, y)?;
        }
    }
    Ok(())
}

/// `y = f(a, b)`, as [`by_rows`].
fn by_rows_of_two(
    a: MatRef<'_>,
    b: MatRef<'_>,
    mut y: MatMut<'_>,
    mut f: impl FnMut(&[f32], &[f32], &mut [f32]) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    if let (Some(a), Some(b), Some(y)) = (a.as_slice(), b.as_slice(), y.as_mut_slice()) {
        return f(a, b, y);
    }
    for i in 0..a.rows() {
        if let (Some(a), Some(b), Some(y)) = (a.row(i), b.row(i), y.row_mut(i)) {
            f(a, b, y)?;
        }
    }
    Ok(())
}

/// Elements that each member adds up at least, some three microseconds of it; columns that it has at
/// least, whole cache lines; and members that take part at most, whose parts are kept on the stack.
const SHARE_OF_SUMS: usize = 1 << 15;
const COLS_OF_SUMS: usize = 64;
const MAX_MEMBERS: usize = 16;

/// `sums_j = sum_i x_ij`; the columns are shared, so the bits are those of one thread.
fn column_sums(
    kernels: &Kernels,
    x: MatRef<'_>,
    sums: &mut [f32],
    team: &Team,
) -> Result<(), KernelError> {
    let (rows, cols) = (x.rows(), x.cols());
    let units = cols / COLS_OF_SUMS;
    let members = team.threads().min(MAX_MEMBERS);
    let parts = members.min(rows * cols / SHARE_OF_SUMS).min(units);
    if parts <= 1 {
        return kernels.column_sums(x, 1.0, sums);
    }
    let start = |part: usize| match part {
        last if last >= parts => cols,
        part => units * part / parts * COLS_OF_SUMS,
    };
    let mut rest = sums;
    let cells: [Mutex<&mut [f32]>; MAX_MEMBERS] = array::from_fn(|part| {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(start(part + 1) - start(part));
        rest = others;
        Mutex::new(own)
    });
    let failure = Mutex::new(None);
    team.run(parts, &|part, _| {
        let mut sums = cells[part].lock().unwrap_or_else(PoisonError::into_inner);
        let x = x.part(0..rows, start(part)..start(part + 1));
        if let Err(error) = kernels.column_sums(x, 1.0, &mut sums) {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

/// Memory for attention, without meaning between calls.
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    pub(super) workspace: AttentionWorkspace,
    pub(super) lengths: Vec<u32>,
}

/// Memory without meaning between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) gemm: Workspace,
    pub(super) attention: AttentionScratch,
}

impl Scratch {
    /// Makes room for the products of a plan.
    pub(super) fn reserve(&mut self, plan: &Plan, threads: usize) {
        for call in plan.calls() {
            if let Call::Gemm { c, k, .. } = call {
                let Region { rows, cols, .. } = *c.region();
                self.gemm.reserve(rows, cols, *k, threads);
            }
        }
    }
}

/// The buffers that the calls of a plan name.
pub(super) struct Memory<'m> {
    pub(super) input: MatRef<'m>,
    pub(super) parameters: &'m [f32],
    /// Seed and step of the masks.
    pub(super) seed: u64,
    pub(super) step: u64,
    /// Which of the batch the first sample is, for the masks.
    pub(super) first_sample: usize,
    pub(super) precision: Precision,
    pub(super) gradients: &'m mut [f32],
    pub(super) arena: &'m mut [f32],
}

impl Memory<'_> {
    /// Makes one call.
    pub(super) fn run(
        &mut self,
        call: &Call,
        kernels: &Kernels,
        scratch: &mut Scratch,
        team: &Team,
    ) -> Result<(), KernelError> {
        match *call {
            Call::Gemm { .. } => {
                let (gemm, c) = self.product(call)?;
                kernels.gemm(&gemm, c, &mut scratch.gemm, team)
            }
            Call::Copy { x, y } => {
                let input = self.input;
                let (arena, y) = carve(self.arena, &y)?;
                match &x {
                    Source::Input => copy(input, y),
                    Source::Parameters(region) => copy(matrix(self.parameters, region)?, y),
                    Source::Arena(region) => copy(arena.read(region)?, y),
                }
                Ok(())
            }
            Call::Dropout { x, y, mask } => {
                let dropout = self.dropout(mask, y.rows)?;
                let (arena, mut y) = carve(self.arena, &y)?;
                copy(arena.read(&x)?, y.reborrow());
                kernels.dropout(dropout, y);
                Ok(())
            }
            Call::Sum { a, b, y } => {
                let (arena, y_now) = carve(self.arena, &y)?;
                let b = arena.read(&b)?;
                if a == y {
                    return by_rows(b, y_now, |b, y| kernels.axpy(1.0, b, y));
                }
                by_rows_of_two(arena.read(&a)?, b, y_now, |a, b, y| kernels.add(a, b, y))
            }
            Call::Activation { activation, x, y } => {
                let (arena, y) = carve(self.arena, &y)?;
                let x = arena.read(&x)?;
                by_rows(x, y, |x, y| kernels.activation_forward(activation, x, y))
            }
            Call::ActivationGradient {
                activation,
                saved,
                dy,
                dx,
            } => {
                let (arena, dx) = carve(self.arena, &dx)?;
                let (saved, dy) = (arena.read(&saved)?, arena.read(&dy)?);
                by_rows_of_two(saved, dy, dx, |saved, dy, dx| {
                    kernels.activation_backward(activation, saved, dy, dx)
                })
            }
            Call::Layer(ref call) => self.run_layer(call, kernels, &mut scratch.attention, team),
            Call::ColumnSums { x, sums } => {
                let x = matrix(self.arena, &x)?;
                column_sums(kernels, x, &mut self.gradients[sums.whole()], team)
            }
        }
    }

    /// A mask in this step, of a value of so many rows.
    fn dropout(&self, mask: Mask, rows: usize) -> Result<Dropout, KernelError> {
        let rows_before = rows / self.input.rows() * self.first_sample;
        let mask = Dropout::new(mask.rate, self.seed, self.step, mask.layer)?;
        Ok(mask.from_row(rows_before))
    }

    /// The operands of a product, and the matrix that it writes.
    pub(super) fn product(&mut self, call: &Call) -> Result<(Gemm<'_>, MatMut<'_>), KernelError> {
        let &Call::Gemm {
            product,
            a,
            b,
            c,
            accumulate,
            fused,
            mask,
            ..
        } = call
        else {
            unreachable!("only products are asked for their operands");
        };
        let (input, parameters, precision) = (self.input, self.parameters, self.precision);
        let rows = c.region().rows;
        let dropout = mask.map(|mask| self.dropout(mask, rows)).transpose()?;
        let (arena, c) = self.split(&c)?;
        let read = |source: &Source| match source {
            Source::Input => Ok(input),
            Source::Parameters(region) => matrix(parameters, region),
            Source::Arena(region) => arena.read(region),
        };
        let (a, b) = (read(&a)?, read(&b)?);
        let (a, b) = match product {
            Product::Forward => (a, b.t()),
            Product::DataGradient => (a, b),
            Product::WeightGradient => (a.t(), b),
        };
        let epilogue = match &fused {
            Fused::Store | Fused::Step => Epilogue::Store,
            Fused::Activate { bias, activation } => Epilogue::Activate {
                bias: bias.as_ref().map(|bias| &parameters[bias.whole()]),
                activation: *activation,
            },
            Fused::Derivative { activation, saved } => Epilogue::Derivative {
                activation: *activation,
                saved: arena.read(saved)?,
            },
        };
        let beta = if accumulate { 1.0 } else { 0.0 };
        let gemm = Gemm {
            beta,
            epilogue,
            dropout,
            precision,
            ..Gemm::new(a, b)
        };
        Ok((gemm, c))
    }

    /// What a call writes, as a matrix; and what of the arena it can read meanwhile.
    fn split(&mut self, written: &Sink) -> Result<(Rest<'_>, MatMut<'_>), KernelError> {
        match written {
            Sink::Arena(region) => carve(self.arena, region),
            Sink::Gradients(region) => {
                let data = &mut self.gradients[region.whole()];
                let gradient = MatMut::from_row_major(data, region.rows, region.cols)?;
                Ok((Rest::all(self.arena)?, gradient))
            }
        }
    }
}
