//! The weight gradient with the step of the optimiser on it: `W <- step(W, alpha A B + beta G)`.
//!
//! A row panel of the gradient is turned into the step on its weights while it is in the second-level
//! cache: weights and state are read in long runs, which the hardware fetches ahead, where the few
//! elements of each row of a tile would each be waited for. Hints for those, tile by tile or beside a row
//! panel, cost more than they bring: at 128 x 512 x 512 on AVX2 a step of Adam took 5.5 % more than the
//! product without them, 9 to 14 % with them. A gradient that nobody wants to keep is made in the same few
//! kilobytes again and again, unless the depth is cut: then its blocks are added in G.

use super::driver::{FinishF32, Gemm};
use super::finish::FinishedTile;
use super::macrokernel::Finish;
use super::plan::compute;
use super::product::Output;
use super::step::{Step, StepFn, Weights};
use super::workspace::Workspace;
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::team::Team;
use crate::update_rule::{AdamConstants, AdamRule, RmspropRule, SgdRule};
use crate::view::MatMut;

/// The step of an optimiser on a matrix of weights and its state, all of the gradient's shape and
/// with contiguous columns.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update<'a> {
    /// As [`Kernels::sgd_update`].
    Sgd {
        /// The hyperparameters.
        rule: SgdRule,
        /// Needed with momentum; left alone without.
        velocity: Option<MatMut<'a>>,
        /// The weights.
        params: MatMut<'a>,
    },
    /// As [`Kernels::adam_update`].
    Adam {
        /// The hyperparameters.
        rule: AdamRule,
        /// The first moment.
        first_moment: MatMut<'a>,
        /// The second moment.
        second_moment: MatMut<'a>,
        /// The weights.
        params: MatMut<'a>,
    },
    /// As [`Kernels::rmsprop_update`].
    Rmsprop {
        /// The hyperparameters.
        rule: RmspropRule,
        /// The second moment.
        second_moment: MatMut<'a>,
        /// Needed if centered; left alone if not.
        first_moment: Option<MatMut<'a>>,
        /// Needed with momentum; left alone without.
        velocity: Option<MatMut<'a>>,
        /// The weights.
        params: MatMut<'a>,
    },
}

/// What becomes of the gradient after the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// It is stored, as [`Kernels::gemm`] would.
    Keep,
    /// What its memory holds afterwards means nothing; most of it is not even written.
    Discard,
}

const OP: &str = "gemm_update";

impl Kernels {
    /// `G <- epilogue(alpha A B + beta G)`, then one step of an optimiser with this gradient.
    ///
    /// # Shapes
    /// A: m x k, B: k x n, G: m x n, any strides; weights and state: m x n with contiguous columns.
    ///
    /// # Complexity
    /// 2 m n k flop and the step, whose operands are read and written once; with
    /// [`Gradient::Discard`] and a `beta` of 0, G is neither while the depth is one block.
    ///
    /// # Numerics
    /// The bits are those of [`Kernels::gemm`] followed by [`Kernels::sgd_update`],
    /// [`Kernels::adam_update`] or [`Kernels::rmsprop_update`], where G has contiguous columns.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes do not fit, weights or state have no contiguous columns,
    /// or state that the rule needs is missing; [`KernelError::Parameter`] for a hyperparameter or a slope outside
    /// its range; nothing is then changed.
    pub fn gemm_update(
        &self,
        gemm: &Gemm<'_>,
        update: Update<'_>,
        grads: MatMut<'_>,
        gradient: Gradient,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        let (m, n) = (grads.rows(), grads.cols());
        self.check_product(OP, gemm, (m, n))?;
        let finish = FinishWithStep {
            first: self.finish(gemm),
            step: step_of(update, (m, n))?,
            apply: self.gemm.step,
            discard: gradient == Gradient::Discard && gemm.beta == 0.0,
        };
        let unit = self.bf16_plan(gemm, Output::of(&grads), finish, team.threads());
        match unit {
            // SAFETY: G is borrowed by `grads`.
            Some(plan) => unsafe { plan.run_all(workspace, team) },
            None => compute(self.product(gemm), grads, finish, workspace, team),
        }
        Ok(())
    }
}

/// An update with its shapes checked; what it points to is borrowed for as long as `'a`.
fn step_of(update: Update<'_>, shape: (usize, usize)) -> Result<Step, KernelError> {
    Ok(match update {
        Update::Sgd {
            rule,
            velocity,
            params,
        } => {
            rule.check(OP)?;
            let params = weights("parameters", params, shape)?;
            if rule.momentum == 0.0 {
                Step::Sgd { rule, params }
            } else {
                let velocity = needed("a velocity, as there is momentum", velocity)?;
                Step::Momentum {
                    rule,
                    velocity: weights("a velocity", velocity, shape)?,
                    params,
                }
            }
        }
        Update::Adam {
            rule,
            first_moment,
            second_moment,
            params,
        } => {
            rule.check(OP)?;
            Step::Adam {
                constants: AdamConstants::new(rule),
                first_moment: weights("a first moment", first_moment, shape)?,
                second_moment: weights("a second moment", second_moment, shape)?,
                params: weights("parameters", params, shape)?,
            }
        }
        Update::Rmsprop {
            rule,
            second_moment,
            first_moment,
            velocity,
            params,
        } => {
            rule.check(OP)?;
            let first_moment = rule.centered.then(|| {
                let first = needed("a first moment, as it is centered", first_moment)?;
                weights("a first moment", first, shape)
            });
            let velocity = (rule.momentum != 0.0).then(|| {
                let velocity = needed("a velocity, as there is momentum", velocity)?;
                weights("a velocity", velocity, shape)
            });
            Step::Rmsprop {
                rule,
                second_moment: weights("a second moment", second_moment, shape)?,
                first_moment: first_moment.transpose()?,
                velocity: velocity.transpose()?,
                params: weights("parameters", params, shape)?,
            }
        }
    })
}

/// State that a rule cannot do without.
fn needed<'a>(what: &str, state: Option<MatMut<'a>>) -> Result<MatMut<'a>, KernelError> {
    state.ok_or_else(|| KernelError::shape(OP, what, "none"))
}

fn weights(
    what: &str,
    mut matrix: MatMut<'_>,
    (m, n): (usize, usize),
) -> Result<Weights, KernelError> {
    if (matrix.rows(), matrix.cols()) != (m, n) {
        return Err(KernelError::shape(
            OP,
            format!("{what} of {m} x {n}, the shape of the gradient"),
            format!("{} x {}", matrix.rows(), matrix.cols()),
        ));
    }
    if matrix.col_stride() != 1 && n > 1 {
        return Err(KernelError::shape(
            OP,
            format!("{what} with contiguous columns"),
            format!("a column stride of {}", matrix.col_stride()),
        ));
    }
    Ok(Weights {
        row_stride: matrix.row_stride(),
        ptr: matrix.as_mut_ptr(),
    })
}

/// The epilogue, then the step.
#[derive(Clone, Copy)]
struct FinishWithStep<'a> {
    first: FinishF32<'a>,
    step: Step,
    apply: StepFn,
    discard: bool,
}

impl Finish<f32> for FinishWithStep<'_> {
    fn is_store(&self) -> bool {
        false
    }

    fn by_rows(&self) -> bool {
        true
    }

    fn takes_all(&self) -> bool {
        self.discard
    }

    #[inline(always)]
    unsafe fn finish(&self, tile: &FinishedTile<f32>) {
        // SAFETY: the macro-kernel vouches for the tile, `step_of` for the weights, of which the
        // views were borrowed for all of the call and are each their own, and `Kernels` for the CPU.
        unsafe {
            if !self.first.is_store() {
                self.first.finish(tile);
            }
            (self.apply)(&self.step, tile);
        }
    }
}
