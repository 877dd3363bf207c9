//! Independent products as one phase of a team: threads that are done with one go on with the next.

use super::bf16_plan::Bf16Plan;
use super::chunks::Chunks;
use super::driver::{FinishF32, Gemm};
use super::plan::Plan;
use super::product::Output;
use super::workspace::{Slots, Workspace};
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::team::Team;
use crate::view::MatMut;

/// One product of a batch, and where its result goes.
#[derive(Debug)]
pub struct GemmTask<'a> {
    /// The operands.
    pub gemm: Gemm<'a>,
    /// `m x n`
    pub c: MatMut<'a>,
}

impl<'a> GemmTask<'a> {
    /// `C <- A B` or whatever `gemm` says.
    pub fn new(gemm: Gemm<'a>, c: MatMut<'a>) -> Self {
        Self { gemm, c }
    }

    /// How it is computed by up to `threads` members; the shapes have been checked.
    fn plan(&self, kernels: &Kernels, threads: usize) -> Option<Either<'_>> {
        let (gemm, out, finish) = (&self.gemm, Output::of(&self.c), kernels.finish(&self.gemm));
        if let Some(plan) = kernels.bf16_plan(gemm, out, finish, threads) {
            return Some(Either::Bf16(plan));
        }
        Plan::new(kernels.product(gemm), out, finish, threads).map(Either::F32)
    }
}

/// A plan for the unit that computes the product.
enum Either<'a> {
    F32(Plan<'a, f32, FinishF32<'a>>),
    Bf16(Bf16Plan<'a, FinishF32<'a>>),
}

impl Either<'_> {
    fn parts(&self) -> usize {
        match self {
            Self::F32(plan) => plan.parts(),
            Self::Bf16(plan) => plan.parts(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(plan) => plan.bytes(),
            Self::Bf16(plan) => plan.bytes(),
        }
    }

    /// # Safety
    /// As [`Plan::run`]; `memory` starts at a cache line.
    unsafe fn run(&self, part: usize, memory: *mut u8) {
        // SAFETY: this function's contract.
        unsafe {
            match self {
                Self::F32(plan) => plan.run(part, memory.cast()),
                Self::Bf16(plan) => plan.run(part, memory),
            }
        }
    }
}

impl Kernels {
    /// [`Kernels::gemm`] for each of several independent products, of any shapes, as one phase of the
    /// team.
    ///
    /// # Complexity
    /// That of the products; one phase instead of one for each. No allocation once `workspace` has
    /// seen the shapes.
    ///
    /// # Numerics
    /// Each result has the bits that it has alone.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes of a product do not fit; no C is then changed.
    pub fn gemm_batch(
        &self,
        tasks: &mut [GemmTask<'_>],
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        for task in &*tasks {
            let shape = (task.c.rows(), task.c.cols());
            self.check_product("gemm_batch", &task.gemm, shape)?;
        }
        let shapes = tasks.iter();
        let shapes = shapes.map(|task| (task.c.rows(), task.c.cols(), task.gemm.a.cols()));
        let shared = Chunks::worth_sharing(shapes);
        let threads = if shared { team.threads() } else { 1 };
        let (mut parts, mut bytes) = (0, 0);
        for plan in tasks.iter().filter_map(|task| task.plan(self, threads)) {
            parts = plan.parts().max(parts);
            bytes = plan.bytes().max(bytes);
        }
        workspace.grow(threads, bytes, 0);
        let slots = workspace.slots();
        let tasks = &*tasks;
        // Each part makes the plan of its product again: that is cheaper than to keep them all.
        let run = |part: usize, slot: usize| {
            let plan = tasks[part / parts].plan(self, threads);
            if let Some(plan) = plan.filter(|plan| part % parts < plan.parts()) {
                // SAFETY: each C is borrowed mutably until the phase is over, and each part of it is
                // run once; `grow` made a slot of the largest size for each member that takes part,
                // and no slot is used by two at a time.
                unsafe { plan.run(part % parts, Slots::get(slots, slot)) };
            }
        };
        let count = tasks.len() * parts;
        if threads > 1 {
            team.run(count, &run);
        } else {
            for part in 0..count {
                run(part, 0);
            }
        }
        Ok(())
    }
}
