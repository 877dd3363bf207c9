//! The public door: shapes are checked here, then the product is computed.

use super::bf16_blocking::{LEAST_SIDE, effective};
use super::bf16_plan::{Bf16Plan, Bf16Product};
use super::direct::{Direct, small};
use super::finish::{FinishFn, FinishedTile, Finishing, Place};
use super::macrokernel::Finish;
use super::operand::{Left, Operand, Right};
use super::plan::compute;
use super::prepack::PackedOperand;
use super::product::{Factor, Output, Product};
use super::workspace::Workspace;
use crate::counter_rng::Dropout;
use crate::dispatch::Kernels;
use crate::epilogue::Epilogue;
use crate::error::KernelError;
use crate::precision::Precision;
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// The operands of one matrix product except C.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a> {
    /// Factor of the product; when it is 0, A and B are not read.
    pub alpha: f32,
    /// `m x k`
    pub a: Left<'a>,
    /// `k x n`
    pub b: Right<'a>,
    /// Factor of the old C; when it is 0, C is not read.
    pub beta: f32,
    /// Applied to each element before it is stored.
    pub epilogue: Epilogue<'a>,
    /// A mask by whose factor each element is multiplied: the result of [`Epilogue::Activate`], the sum
    /// that goes into [`Epilogue::Derivative`]. So forward and backward pass of a layer with dropout
    /// are one product each, with the bits that separate calls would give.
    pub dropout: Option<Dropout>,
    /// How exact the result has to be; more exact than that it may always be.
    pub precision: Precision,
}

impl<'a> Gemm<'a> {
    /// Whether the sums are stored as they are.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.epilogue, Epilogue::Store) && self.dropout.is_none()
    }

    /// `C <- A B` as exact as [`Precision::process_wide`] says, where each of A and B is a view or packed
    /// before.
    pub fn new(a: impl Into<Left<'a>>, b: impl Into<Right<'a>>) -> Self {
        Self {
            alpha: 1.0,
            a: a.into(),
            b: b.into(),
            beta: 0.0,
            epilogue: Epilogue::Store,
            dropout: None,
            precision: Precision::process_wide(),
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
    /// f32 accumulation, each element one chain of multiply-adds per block of the depth, or one per
    /// lane of a register where dot products are taken: before beta C and the epilogue,
    /// `|error| <= gamma_(k+2) |alpha| sum_p |a_ip| |b_pj|`. The bits depend on the shape, the strides
    /// and the instruction set, never on the number of threads. A [`super::PackedA`] or
    /// [`super::PackedB`] gives the bits of the view that it was packed from, if the columns of C are
    /// contiguous, except where the views would be taken by dot products: rows of A and columns of B contiguous,
    /// and n = 1, or m at most 48 (with registers narrower than a cache line and m k at most 2^16: 64) and at
    /// most k / 10, or n at most 12 and at most k / 16 with
    /// m max(n, 8) (k + 32) below 2^19.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes do not fit, or an operand was packed for other kernels or for
    /// other tiles than the other one; [`KernelError::Parameter`] if the slope of an activation is
    /// outside its range; C is then untouched.
    pub fn gemm(
        &self,
        gemm: &Gemm<'_>,
        mut c: MatMut<'_>,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        if let (Left::View(a), Right::View(b)) = (&gemm.a, &gemm.b)
            && (self.bf16.is_none() || c.rows().min(c.cols()) < LEAST_SIDE)
            && gemm.is_plain()
            && (a.rows(), b.rows(), b.cols()) == (c.rows(), a.cols(), c.cols())
            // SAFETY: the kernels are those of this CPU.
            && unsafe {
                small(
                    &self.gemm.f32,
                    gemm.alpha,
                    (a, b),
                    gemm.beta,
                    &mut c,
                    team.threads(),
                )
            }
        {
            return Ok(());
        }
        self.any_gemm(gemm, c, workspace, team)
    }

    /// [`Self::gemm`] of any size.
    #[inline(never)]
    fn any_gemm(
        &self,
        gemm: &Gemm<'_>,
        c: MatMut<'_>,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        self.check_product("gemm", gemm, (c.rows(), c.cols()))?;
        if self.bf16.is_some_and(|unit| unit.serves(gemm.precision))
            && let Some(plan) =
                self.bf16_plan(gemm, Output::of(&c), self.finish(gemm), team.threads())
        {
            // SAFETY: C is borrowed by `c`.
            unsafe { plan.run_all(workspace, team) };
            return Ok(());
        }
        if let (Left::View(a), Right::View(b)) = (&gemm.a, &gemm.b) {
            let direct = Direct {
                kit: &self.gemm.f32,
                alpha: gemm.alpha,
                a: *a,
                b: *b,
                beta: gemm.beta,
                out: Output::of(&c),
            };
            // SAFETY: the kernels are those of this CPU; C is borrowed by `c`.
            if unsafe { direct.compute(self.finish(gemm), team) } {
                return Ok(());
            }
        }
        compute(self.product(gemm), c, self.finish(gemm), workspace, team);
        Ok(())
    }

    /// Whether a product and its epilogue fit a C of `shape`, and these kernels; `op` is what was
    /// asked for.
    #[inline(always)]
    pub(super) fn check_product(
        &self,
        op: &'static str,
        gemm: &Gemm<'_>,
        shape: (usize, usize),
    ) -> Result<(), KernelError> {
        if let (Left::View(a), Right::View(b), Epilogue::Store) = (&gemm.a, &gemm.b, &gemm.epilogue)
            && (a.rows(), b.rows(), b.cols()) == (shape.0, a.cols(), shape.1)
        {
            return Ok(());
        }
        self.check_any_product(op, gemm, shape)
    }

    /// As [`Self::check_product`], apart from the one check that the smallest products notice.
    #[inline(never)]
    fn check_any_product(
        &self,
        op: &'static str,
        gemm: &Gemm<'_>,
        shape: (usize, usize),
    ) -> Result<(), KernelError> {
        let (a, b) = (&gemm.a, &gemm.b);
        check_shapes(op, (a.rows(), a.cols()), (b.rows(), b.cols()), shape)?;
        check_epilogue(op, &gemm.epilogue, shape)?;
        match (gemm.a, gemm.b) {
            (Left::View(_), Right::View(_)) => Ok(()),
            _ => self.check_packed(op, gemm),
        }
    }

    /// Whether operands that were packed before were packed for these kernels, and for one another.
    fn check_packed(&self, op: &'static str, gemm: &Gemm<'_>) -> Result<(), KernelError> {
        let (a, b) = (gemm.a.packed_for(), gemm.b.packed_for());
        for (name, packed) in [("an A", a), ("a B", b)] {
            let Some(packed) = packed else { continue };
            if packed.isa != self.isa() || (packed.unit.is_some() && packed.unit != self.bf16) {
                return Err(KernelError::shape(
                    op,
                    format!("{name} packed for {}", self.isa()),
                    format!("one packed for {}", packed.isa),
                ));
            }
            if packed.precision < gemm.precision {
                return Err(KernelError::shape(
                    op,
                    format!(
                        "{name} packed for the precision {} or better",
                        gemm.precision
                    ),
                    format!("one packed for {}", packed.precision),
                ));
            }
        }
        let (Some(a), Some(b)) = (a, b) else {
            return Ok(());
        };
        if a.precision != b.precision {
            return Err(KernelError::shape(
                op,
                format!("an A packed for {}, as B is", b.precision),
                format!("one packed for {}", a.precision),
            ));
        }
        if a.height <= self.gemm.f32.families[b.width - 1].len() {
            return Ok(());
        }
        let highest = self.gemm.f32.families[b.width - 1].len();
        Err(KernelError::shape(
            op,
            format!(
                "an A packed in panels of at most {highest} rows, for a B in panels of {} registers",
                b.width
            ),
            format!("one in panels of {} rows", a.height),
        ))
    }

    /// How a product that was checked is computed on the matrix unit; `None` if it is better off with
    /// multiply-adds, or there is no unit.
    #[inline]
    pub(super) fn bf16_plan<'a, F: Finish<f32>>(
        &self,
        gemm: &Gemm<'a>,
        out: Output<f32>,
        finish: F,
        threads: usize,
    ) -> Option<Bf16Plan<'a, F>> {
        let product = Bf16Product {
            kernels: self.gemm,
            unit: self.bf16?,
            precision: gemm.precision,
            alpha: gemm.alpha,
            a: gemm.a.bf16()?,
            b: gemm.b.bf16()?,
            beta: gemm.beta,
            k: gemm.a.cols(),
        };
        Bf16Plan::new(product, out, finish, threads)
    }

    /// A product that was checked, by multiply-adds.
    pub(super) fn product<'a>(&self, gemm: &'a Gemm<'_>) -> Product<'a, f32> {
        Product {
            kit: &self.gemm.f32,
            alpha: gemm.alpha,
            a: factor(gemm.a),
            b: factor(gemm.b),
            beta: gemm.beta,
        }
    }

    /// The epilogue of a product that was checked.
    pub(super) fn finish<'a>(&self, gemm: &'a Gemm<'_>) -> FinishF32<'a> {
        FinishF32 {
            finishing: Finishing {
                epilogue: &gemm.epilogue,
                dropout: &gemm.dropout,
            },
            apply: self.gemm.finish,
        }
    }

    /// How exact an `m x k` by `k x n` product of views is that has to be at least as exact as `asked`: the
    /// choice depends on nothing else.
    pub fn effective_precision(&self, asked: Precision, shape: (usize, usize, usize)) -> Precision {
        match self.bf16 {
            Some(unit) => effective(unit, asked, shape),
            None => Precision::Ieee,
        }
    }

    /// `C <- alpha A B + beta C` in f64, without an epilogue; shapes and cost as for
    /// [`Kernels::gemm`], and so are the numerics, with the roundings of f64.
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
        let (a_shape, b_shape) = ((a.rows(), a.cols()), (b.rows(), b.cols()));
        check_shapes("gemm_f64", a_shape, b_shape, (c.rows(), c.cols()))?;
        let direct = Direct {
            kit: &self.gemm.f64,
            alpha,
            a,
            b,
            beta,
            out: Output::of(&c),
        };
        // SAFETY: the kernels are those of this CPU; C is borrowed by `c`.
        if unsafe { direct.compute(Plain, team) } {
            return Ok(());
        }
        let product = Product {
            kit: &self.gemm.f64,
            alpha,
            a: Factor::View(a),
            b: Factor::View(b),
            beta,
        };
        compute(product, c, Plain, workspace, team);
        Ok(())
    }
}

/// An operand of a product by multiply-adds.
fn factor<'a, P: PackedOperand>(operand: Operand<'a, P>) -> Factor<'a, f32> {
    match operand {
        Operand::View(view) => Factor::View(view),
        Operand::Packed(packed) => Factor::Packed(packed.panels()),
    }
}

fn check_shapes(
    op: &'static str,
    (a_rows, k): (usize, usize),
    (b_rows, b_cols): (usize, usize),
    (m, n): (usize, usize),
) -> Result<(), KernelError> {
    if (a_rows, b_rows, b_cols) == (m, k, n) {
        return Ok(());
    }
    Err(KernelError::shape(
        op,
        format!("A {m} x k and B k x {n} for C {m} x {n}"),
        format!("A {a_rows} x {k} and B {b_rows} x {b_cols}"),
    ))
}

fn check_epilogue(
    op: &'static str,
    epilogue: &Epilogue<'_>,
    (m, n): (usize, usize),
) -> Result<(), KernelError> {
    match epilogue {
        Epilogue::Store => {}
        Epilogue::Activate { activation, .. } | Epilogue::Derivative { activation, .. } => {
            activation.check(op)?;
        }
    }
    match epilogue {
        Epilogue::Activate {
            bias: Some(bias), ..
        } if bias.len() != n => Err(KernelError::shape(
            op,
            format!("a bias of {n} elements, one per column of C"),
            bias.len().to_string(),
        )),
        Epilogue::Derivative { saved, .. } if (saved.rows(), saved.cols()) != (m, n) => {
            Err(KernelError::shape(
                op,
                format!("a saved matrix of {m} x {n}, the shape of C"),
                format!("{} x {}", saved.rows(), saved.cols()),
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

    unsafe fn finish(&self, _: &FinishedTile<T>) {}
}

/// The epilogues of f32.
#[derive(Clone, Copy)]
pub(super) struct FinishF32<'a> {
    finishing: Finishing<'a>,
    apply: FinishFn,
}

impl Finish<f32> for FinishF32<'_> {
    fn is_store(&self) -> bool {
        matches!(self.finishing.epilogue, Epilogue::Store) && self.finishing.dropout.is_none()
    }

    #[inline(always)]
    fn fetch(&self, place: &Place) {
        if let Epilogue::Derivative { saved, .. } = self.finishing.epilogue
            && saved.col_stride() == 1
        {
            place.fetch(saved.as_ptr(), saved.row_stride());
        }
    }

    #[inline(always)]
    unsafe fn finish(&self, tile: &FinishedTile<f32>) {
        // SAFETY: the macro-kernel vouches for the tile, `check_epilogue` for the operands, and
        // `Kernels` for the CPU.
        unsafe { (self.apply)(&self.finishing, tile) }
    }
}
