//! The public door, and loops `jc`, `pc`, `ic`: packing, and which thread computes what.

use std::ops::Range;

use super::blocking::Blocking;
use super::finish::{FinishArgs, FinishFn};
use super::macrokernel::{Block, Finish, FinishedTile, Operand};
use super::pack::PackArgs;
use super::tables::Kit;
use super::vector::Element;
use super::workspace::Workspace;
use crate::dispatch::Kernels;
use crate::epilogue::Epilogue;
use crate::error::KernelError;
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// The operands of one matrix product except C.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a> {
    /// Factor of the product; when it is 0, A and B are not read.
    pub alpha: f32,
    /// `m x k`
    pub a: MatRef<'a>,
    /// `k x n`
    pub b: MatRef<'a>,
    /// Factor of the old C; when it is 0, C is not read.
    pub beta: f32,
    /// Applied to each element before it is stored.
    pub epilogue: Epilogue<'a>,
}

impl<'a> Gemm<'a> {
    /// `C <- A B`
    pub fn new(a: MatRef<'a>, b: MatRef<'a>) -> Self {
        Self {
            alpha: 1.0,
            a,
            b,
            beta: 0.0,
            epilogue: Epilogue::Store,
        }
    }
}

impl Kernels {
    /// `C <- epilogue(alpha A B + beta C)`
    ///
    /// # Shapes
    /// A: m x k, B: k x n, C: m x n, any strides; a transposed operand is a view with its strides
    /// exchanged ([`MatRef::t`]). Any of the sizes may be 0; with k = 0 the product is 0.
    ///
    /// # Complexity
    /// 2 m n k flop. What is packed is packed once per call; no allocation once `workspace` has
    /// seen the shape.
    ///
    /// # Numerics
    /// f32 accumulation, each element one chain of multiply-adds per block of the depth:
    /// `|error| <= gamma_k |alpha| sum_p |a_ip| |b_pj|`. The bits depend on the shape, the strides
    /// and the instruction set, never on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes do not fit; C is then untouched.
    pub fn gemm(
        &self,
        gemm: &Gemm<'_>,
        c: MatMut<'_>,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        let (m, n) = (c.rows(), c.cols());
        check_shapes(gemm.a, gemm.b, (m, n))?;
        check_epilogue(&gemm.epilogue, m, n)?;
        let kernels = self.gemm;
        let finish = FinishF32 {
            epilogue: gemm.epilogue,
            apply: kernels.finish,
        };
        Product {
            kit: &kernels.f32,
            alpha: gemm.alpha,
            a: gemm.a,
            b: gemm.b,
            beta: gemm.beta,
        }
        .compute(c, finish, workspace, team);
        Ok(())
    }

    /// `C <- alpha A B + beta C` in f64; shapes, cost and errors as for [`Kernels::gemm`].
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes do not fit; C is then untouched.
    #[expect(
        clippy::too_many_arguments,
        reason = "the operands of the formula, in its order"
    )]
    pub fn gemm_f64(
        &self,
        alpha: f64,
        a: MatRef<'_, f64>,
        b: MatRef<'_, f64>,
        beta: f64,
        c: MatMut<'_, f64>,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        check_shapes(a, b, (c.rows(), c.cols()))?;
        Product {
            kit: &self.gemm.f64,
            alpha,
            a,
            b,
            beta,
        }
        .compute(c, Plain, workspace, team);
        Ok(())
    }
}

fn check_shapes<T>(
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    (m, n): (usize, usize),
) -> Result<(), KernelError> {
    let k = a.cols();
    if (a.rows(), b.rows(), b.cols()) == (m, k, n) {
        return Ok(());
    }
    Err(KernelError::shape(
        "gemm",
        format!("A {m} x k and B k x {n} for C {m} x {n}"),
        format!("A {} x {} and B {} x {}", a.rows(), k, b.rows(), b.cols()),
    ))
}

fn check_epilogue(epilogue: &Epilogue<'_>, m: usize, n: usize) -> Result<(), KernelError> {
    match epilogue {
        Epilogue::Activate {
            bias: Some(bias), ..
        } if bias.len() != n => Err(KernelError::shape(
            "gemm",
            format!("a bias of {n} elements, one per column of C"),
            bias.len().to_string(),
        )),
        Epilogue::Derivative { output, .. } if (output.rows(), output.cols()) != (m, n) => {
            Err(KernelError::shape(
                "gemm",
                format!("a saved output of {m} x {n}, the shape of C"),
                format!("{} x {}", output.rows(), output.cols()),
            ))
        }
        _ => Ok(()),
    }
}

/// Nothing is done to the sums.
#[derive(Clone, Copy)]
struct Plain;

impl<T> Finish<T> for Plain {
    fn is_store(&self) -> bool {
        true
    }

    unsafe fn finish(&self, _: FinishedTile<T>) {}
}

/// The epilogues of f32.
#[derive(Clone, Copy)]
struct FinishF32<'a> {
    epilogue: Epilogue<'a>,
    apply: FinishFn,
}

impl Finish<f32> for FinishF32<'_> {
    fn is_store(&self) -> bool {
        matches!(self.epilogue, Epilogue::Store)
    }

    unsafe fn finish(&self, tile: FinishedTile<f32>) {
        let FinishedTile {
            c,
            c_row,
            row,
            col,
            rows,
            cols,
        } = tile;
        let args = FinishArgs {
            epilogue: self.epilogue,
            c,
            c_row,
            row,
            col,
            rows,
            cols,
        };
        // SAFETY: the macro-kernel vouches for the tile, `check_epilogue` for the operands, and
        // `Kernels` for the CPU.
        unsafe { (self.apply)(args) }
    }
}

/// A checked product.
#[derive(Clone, Copy)]
struct Product<'a, T: 'static> {
    kit: &'static Kit<T>,
    alpha: T,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    beta: T,
}

/// C, shared with the members of a team, each of which writes its own panels.
#[derive(Clone, Copy)]
struct Output<T> {
    ptr: *mut T,
    row: isize,
    col: isize,
    cols: usize,
}

// SAFETY: the chunks of a phase write disjoint panels of C.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

/// Work below which a second thread costs more than it brings, in multiply-adds.
const CHUNK_WORK: usize = 1 << 17;

impl<T: Element> Product<'_, T> {
    fn compute(
        mut self,
        mut c: MatMut<'_, T>,
        finish: impl Finish<T>,
        workspace: &mut Workspace,
        team: &Team,
    ) {
        let (m, n) = (c.rows(), c.cols());
        if m == 0 || n == 0 {
            return;
        }
        // A C stored by columns is the transpose of one stored by rows.
        if finish.is_store() && c.col_stride() != 1 && c.row_stride() == 1 {
            (self.a, self.b) = (self.b.t(), self.a.t());
            return self.compute(c.t(), finish, workspace, team);
        }
        let k = if self.alpha == T::ZERO {
            0
        } else {
            self.a.cols()
        };
        let b_unit = self.b.col_stride() == 1 || n == 1;
        let blocking = Blocking::choose(self.kit, (m, n, k), b_unit);
        let lanes = self.kit.lanes;
        let (a_len, b_len) = (blocking.packed_a(lanes), blocking.packed_b(lanes));
        workspace.grow(team.threads(), (a_len + b_len) * size_of::<T>());
        let slots = workspace.slots();
        let out = Output {
            ptr: c.as_mut_ptr(),
            row: c.row_stride(),
            col: if n == 1 { 1 } else { c.col_stride() },
            cols: n,
        };
        let (row_panels, col_panels) = (blocking.rows.parts(), blocking.cols.parts());
        let chunks = Chunks::new(team.threads(), (m, n, k), row_panels, col_panels);
        let work = |chunk: usize, slot: usize| {
            let (rows, cols) = chunks.get(chunk);
            // SAFETY: `grow` made a slot for each member, and the team gives a slot to one chunk at
            // a time; the workspace is borrowed until the phase is over.
            let (a_buffer, b_buffer) = unsafe {
                let start: *mut T = slots.get(slot);
                (start, start.wrapping_add(a_len))
            };
            // SAFETY: views are checked when made and shapes when the product was; the buffers are
            // as long as the blocking asks; chunks do not share panels of C.
            unsafe { self.chunk(&blocking, rows, cols, out, (a_buffer, b_buffer), finish) }
        };
        if chunks.count() == 1 {
            work(0, 0);
        } else {
            team.run(chunks.count(), &work);
        }
    }

    /// Loops `jc`, `pc`, `ic` over the given panels.
    ///
    /// # Safety
    /// The panels lie in C, no one else touches them, and the buffers hold `packed_a` and `packed_b`
    /// elements.
    unsafe fn chunk(
        &self,
        blocking: &Blocking,
        row_range: Range<usize>,
        col_range: Range<usize>,
        out: Output<T>,
        (a_buffer, b_buffer): (*mut T, *mut T),
        finish: impl Finish<T>,
    ) {
        let (a, b) = (self.a, self.b);
        for jc in col_range.clone().step_by(blocking.col_panels) {
            let cols = jc..(jc + blocking.col_panels).min(col_range.end);
            for pc in 0..blocking.depth.parts() {
                let (p, depth) = (blocking.depth.start(pc), blocking.depth.len(pc));
                let mut b_block = Operand {
                    ptr: b.as_ptr().wrapping_offset(p as isize * b.row_stride()),
                    across: b.col_stride(),
                    along: b.row_stride(),
                    packed: false,
                };
                if blocking.pack_b {
                    // SAFETY: this function's contract.
                    b_block =
                        unsafe { self.pack_b(blocking, b_block, depth, cols.clone(), b_buffer) };
                }
                for ic in row_range.clone().step_by(blocking.row_panels) {
                    let rows = ic..(ic + blocking.row_panels).min(row_range.end);
                    let mut a_block = Operand {
                        ptr: a.as_ptr().wrapping_offset(p as isize * a.col_stride()),
                        across: a.row_stride(),
                        along: a.col_stride(),
                        packed: false,
                    };
                    if blocking.pack_a {
                        // SAFETY: this function's contract.
                        a_block = unsafe {
                            self.pack_a(blocking, a_block, depth, rows.clone(), a_buffer)
                        };
                    }
                    let block = Block {
                        kit: self.kit,
                        blocking,
                        c: out.ptr,
                        c_row: out.row,
                        c_col: out.col,
                        n: out.cols,
                        a: a_block,
                        b: b_block,
                        k: depth,
                        alpha: self.alpha,
                        beta: if pc == 0 { self.beta } else { T::ONE },
                        last: pc + 1 == blocking.depth.parts(),
                    };
                    // SAFETY: this function's contract; packed blocks start at the first panel.
                    unsafe { block.run(rows, cols.clone(), finish) };
                }
            }
        }
    }

    /// Packs the row panels `panels` of the block of A that starts at `from`.
    ///
    /// # Safety
    /// The buffer holds `packed_a` elements.
    unsafe fn pack_a(
        &self,
        blocking: &Blocking,
        from: Operand<T>,
        depth: usize,
        panels: Range<usize>,
        buffer: *mut T,
    ) -> Operand<T> {
        let rows = blocking.rows;
        let first = rows.start(panels.start);
        for panel in panels {
            let (start, width) = (rows.start(panel), rows.len(panel));
            let args = PackArgs {
                src: from.ptr.wrapping_offset(start as isize * from.across),
                across: from.across,
                along: from.along,
                width,
                depth,
                dst: buffer.wrapping_add((start - first) * depth),
                ld: width,
            };
            // SAFETY: the panel lies in A; panels are packed in ascending order, so what one spills
            // is written by the next, and the last one has a register to spare.
            unsafe { (self.kit.pack)(&args) };
        }
        Operand {
            ptr: buffer,
            across: 1,
            along: 0,
            packed: true,
        }
    }

    /// Packs the column panels `panels` of the block of B that starts at `from`.
    ///
    /// # Safety
    /// The buffer holds `packed_b` elements.
    unsafe fn pack_b(
        &self,
        blocking: &Blocking,
        from: Operand<T>,
        depth: usize,
        panels: Range<usize>,
        buffer: *mut T,
    ) -> Operand<T> {
        let (cols, lanes) = (blocking.cols, self.kit.lanes);
        let first = cols.start(panels.start);
        for panel in panels {
            let (start, vectors) = (cols.start(panel), cols.len(panel));
            let args = PackArgs {
                src: from
                    .ptr
                    .wrapping_offset((start * lanes) as isize * from.across),
                across: from.across,
                along: from.along,
                width: (vectors * lanes).min(self.b.cols() - start * lanes),
                depth,
                dst: buffer.wrapping_add((start - first) * lanes * depth),
                ld: vectors * lanes,
            };
            // SAFETY: the panel lies in B; the rest as for A.
            unsafe { (self.kit.pack)(&args) };
        }
        Operand {
            ptr: buffer,
            across: 1,
            along: 0,
            packed: true,
        }
    }
}

/// The parts of C that are computed by themselves: a grid over its panels.
#[derive(Clone, Copy)]
struct Chunks {
    row_panels: usize,
    col_panels: usize,
    down: usize,
    across: usize,
}

impl Chunks {
    /// As many chunks as there are threads, while each has enough to do: the longer side is cut
    /// first.
    fn new(
        threads: usize,
        (m, n, k): (usize, usize, usize),
        row_panels: usize,
        col_panels: usize,
    ) -> Self {
        let wanted = threads.min(m.saturating_mul(n).saturating_mul(k) / CHUNK_WORK);
        let (mut down, mut across) = (1, 1);
        if wanted > 1 {
            if m >= n {
                down = wanted.min(row_panels);
                across = (wanted / down).min(col_panels);
            } else {
                across = wanted.min(col_panels);
                down = (wanted / across).min(row_panels);
            }
        }
        Self {
            row_panels,
            col_panels,
            down,
            across,
        }
    }

    fn count(&self) -> usize {
        self.down * self.across
    }

    /// The row and column panels of a chunk.
    fn get(&self, chunk: usize) -> (Range<usize>, Range<usize>) {
        let part =
            |panels: usize, parts: usize, i: usize| panels * i / parts..panels * (i + 1) / parts;
        (
            part(self.row_panels, self.down, chunk / self.across),
            part(self.col_panels, self.across, chunk % self.across),
        )
    }
}
