//! Which kernel computes a product, by name: for those who ask why it takes as long as it does.

use super::direct::{Direct, DirectKernel};
use super::driver::Gemm;
use super::operand::{Left, Right};
use super::plan::Plan;
use super::product::{Output, Way};
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::view::MatMut;

impl Kernels {
    /// The kernel by which [`Kernels::gemm`] computes a product into `c` with a team of `threads` members:
    /// `{op}_{isa}`, for micro-tiles `{op}_{isa}_{mr}x{nr}`, and what is done to the operands first.
    ///
    /// ```
    /// use kernels::{Gemm, Kernels, MatMut, MatRef};
    ///
    /// let (a, b, mut c) = ([0.0; 200 * 300], [0.0; 300 * 100], [0.0; 200 * 100]);
    /// let a = MatRef::from_row_major(&a, 200, 300)?;
    /// let gemm = Gemm::new(a, MatRef::from_row_major(&b, 300, 100)?);
    /// let c = MatMut::from_row_major(&mut c, 200, 100)?;
    /// let kernels = Kernels::detect()?;
    /// let name = kernels.gemm_kernel(&gemm, &c, 1)?;
    /// assert!(name.starts_with(&format!("sgemm_{}_", kernels.isa())), "{name}");
    /// # Ok::<(), kernels::KernelError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kernels::gemm`].
    pub fn gemm_kernel(
        &self,
        gemm: &Gemm<'_>,
        c: &MatMut<'_>,
        threads: usize,
    ) -> Result<String, KernelError> {
        self.check_product("gemm_kernel", gemm, (c.rows(), c.cols()))?;
        let (isa, out) = (self.isa(), Output::of(c));
        if let Some(plan) = self.bf16_plan(gemm, out, self.finish(gemm), 1) {
            return Ok(plan.name(isa));
        }
        if let (Left::View(a), Right::View(b)) = (gemm.a, gemm.b) {
            let direct = Direct {
                kit: &self.gemm.f32,
                alpha: gemm.alpha,
                a,
                b,
                beta: gemm.beta,
                out,
            };
            if let Some(kernel) = direct.kernel(gemm.is_plain(), threads) {
                return Ok(match kernel {
                    DirectKernel::Row => format!("sgemv_{isa}, a row"),
                    DirectKernel::Column => format!("sgemv_{isa}, a column"),
                    DirectKernel::Tiles => format!("sgemm_{isa}_small"),
                    DirectKernel::TilesOfTransposed => format!("sgemm_{isa}_small, B transposed"),
                });
            }
        }
        self.gemm_update_kernel(gemm, c)
    }

    /// The kernel by which [`Kernels::gemm_update`] computes a gradient into `grads`, as
    /// [`Kernels::gemm_kernel`] names it.
    ///
    /// # Errors
    /// As [`Kernels::gemm`].
    pub fn gemm_update_kernel(
        &self,
        gemm: &Gemm<'_>,
        grads: &MatMut<'_>,
    ) -> Result<String, KernelError> {
        let shape = (grads.rows(), grads.cols());
        self.check_product("gemm_update_kernel", gemm, shape)?;
        let isa = self.isa();
        let (out, finish) = (Output::of(grads), self.finish(gemm));
        if let Some(plan) = self.bf16_plan(gemm, out, finish, 1) {
            return Ok(plan.name(isa));
        }
        let plan = Plan::new(self.product(gemm), out, finish, 1);
        Ok(match plan.map(|plan| plan.way()) {
            None => "nothing".to_owned(),
            Some(Way::Dots(..) | Way::DotsOfAColumn(..)) => format!("sdot_{isa}"),
            Some(Way::Tiles { blocking, .. }) => {
                let lanes = self.gemm.f32.lanes;
                let (mr, nr) = (blocking.rows.longest(), blocking.cols.longest() * lanes);
                let packed = match (blocking.pack_a, blocking.pack_b) {
                    (false, false) => "",
                    (true, false) => ", A packed",
                    (false, true) => ", B packed",
                    (true, true) => ", A and B packed",
                };
                format!("sgemm_{isa}_{mr}x{nr}{packed}")
            }
        })
    }
}
