//! The ways in which one product could be computed: for a harness that asks whether the way that is
//! chosen is the best.

use super::blocking::{Blocking, Tiling};
use super::driver::{FinishF32, Gemm};
use super::operand::{Left, Right};
use super::plan::Plan;
use super::prepack::is_unit;
use super::product::{Factor, Output, Product, Way};
use super::workspace::Workspace;
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::team::Team;
use crate::view::MatMut;

/// A way to compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Dot products along the depth.
    Dots,
    /// Micro-tiles.
    Tiles {
        /// Width of a micro-tile, in registers; it is as high as the registers allow.
        width: usize,
        /// Whether A is packed.
        pack_a: bool,
        /// Whether B is packed.
        pack_b: bool,
    },
}

impl Variant {
    /// The way of this name, if it exists for a product into `out`.
    fn way<'a>(
        self,
        product: &Product<'a, f32>,
        out: &Output<f32>,
        k: usize,
        finish: &FinishF32<'_>,
    ) -> Option<Way<'a, f32>> {
        let (Factor::View(_), Factor::View(b)) = (product.a, product.b) else {
            return None;
        };
        match self {
            Self::Dots => product.dots(out, k),
            Self::Tiles {
                width,
                pack_a,
                pack_b,
            } => {
                let family = product.kit.families.get(width.checked_sub(1)?)?;
                let is_wide = width > 1 && (width - 1) * product.kit.lanes >= out.cols;
                if is_wide || (!pack_b && !is_unit(b)) {
                    return None;
                }
                let tiling = Tiling {
                    width,
                    height: family.len(),
                    pack_a,
                    pack_b,
                };
                let shape = (out.rows, out.cols, k);
                let blocking = Blocking::of(product.kit, shape, tiling, product.order());
                Some(product.tiles_of(blocking, finish))
            }
        }
    }
}

impl Kernels {
    /// All ways to compute a product into `c`; none if an operand was packed before.
    pub fn gemm_variants(&self, gemm: &Gemm<'_>, c: &MatMut<'_>) -> Vec<Variant> {
        if !is_of_views(gemm) {
            return Vec::new();
        }
        let (product, finish) = (self.product(gemm), self.finish(gemm));
        let (out, k) = (Output::of(c), gemm.a.cols());
        let both = [false, true];
        let tiles = (1..=product.kit.families.len()).flat_map(|width| {
            both.into_iter().flat_map(move |pack_a| {
                both.map(|pack_b| Variant::Tiles {
                    width,
                    pack_a,
                    pack_b,
                })
            })
        });
        let all = std::iter::once(Variant::Dots).chain(tiles);
        all.filter(|variant| variant.way(&product, &out, k, &finish).is_some())
            .collect()
    }

    /// [`Kernels::gemm`] by multiply-adds in one of the ways of [`Self::gemm_variants`].
    ///
    /// # Errors
    /// As [`Kernels::gemm`], and [`KernelError::Parameter`] if there is no such way.
    pub fn gemm_by(
        &self,
        variant: Variant,
        gemm: &Gemm<'_>,
        c: MatMut<'_>,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        let op = "gemm_by";
        self.check_product(op, gemm, (c.rows(), c.cols()))?;
        let not_there = || KernelError::Parameter {
            op,
            name: "variant",
            expected: "one that exists for the operands",
            got: format!("{variant:?}"),
        };
        if !is_of_views(gemm) {
            return Err(not_there());
        }
        let (product, finish) = (self.product(gemm), self.finish(gemm));
        let mut exists = true;
        let plan = Plan::by(
            product,
            Output::of(&c),
            finish,
            team.threads(),
            |product, out, k| {
                let way = variant.way(product, out, k, &finish);
                exists = way.is_some();
                way.unwrap_or_else(|| product.way(out, k, &finish))
            },
        );
        if !exists {
            return Err(not_there());
        }
        if let Some(plan) = plan {
            // SAFETY: C is borrowed by `c`.
            unsafe { plan.run_all(workspace, team) };
        }
        Ok(())
    }
}

/// Whether no operand was packed before: the ways are those of views.
fn is_of_views(gemm: &Gemm<'_>) -> bool {
    matches!((gemm.a, gemm.b), (Left::View(_), Right::View(_)))
}
