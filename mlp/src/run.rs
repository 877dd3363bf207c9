//! Runs plans: one arena, one kernel call after the other, no decisions and no allocations.

mod layers;
mod memory;

use kernels::{Gradient, KernelError, MatRef, Team};

use crate::error::MlpError;
use crate::loss::{Aim, BatchLoss, Criterion, LossMemory};
use crate::network::Network;
use crate::optimizer::State;
use crate::params::{Buffer, grow, zeros};
use crate::plan::{Call, Fused, Passes, Plan, Region, lower};
use memory::{Memory, Scratch, carve, matrix};

/// Plans of so many batch sizes are kept; a training needs two, that of its last batch included.
const MAX_PLANS: usize = 8;

/// A part of a step that ran.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ran<'p> {
    Call(&'p Call),
    /// The update of so many parameters.
    Update(usize),
}

/// The memory in which a network runs, and its plans for the batch sizes seen so far.
///
/// A batch size that is new makes a plan, and may make the arena grow; after that it allocates
/// nothing.
#[derive(Debug)]
pub(crate) struct Engine {
    passes: Passes,
    /// The newest last.
    plans: Vec<Plan>,
    arena: Buffer,
    /// The gradients of the parameters, in their order; empty without backward pass.
    gradients: Buffer,
    /// Whether they are those of the last backward pass.
    has_gradients: bool,
    loss: LossMemory,
    scratch: Scratch,
    /// Updates before the last forward pass: what masks depend on.
    step: u64,
    /// Whether the loss has written the gradient of the scores.
    from_scores: bool,
    /// The plan whose forward pass ran last, if its values are still in the arena.
    current: Option<usize>,
}

impl Engine {
    pub(crate) fn new(network: &Network, passes: Passes) -> Self {
        Self {
            passes,
            plans: Vec::new(),
            arena: zeros(0),
            gradients: zeros(match passes {
                Passes::Forward => 0,
                Passes::Both => network.parameter_count(),
            }),
            has_gradients: false,
            loss: LossMemory::new(),
            scratch: Scratch::default(),
            step: 0,
            from_scores: false,
            current: None,
        }
    }

    /// By which kernel a product is computed, of the plan that ran last on `input`, with so many
    /// threads; `None` for what is none.
    pub(crate) fn kernel_of(
        &mut self,
        network: &Network,
        input: MatRef<'_>,
        call: &Call,
        threads: usize,
    ) -> Result<Option<String>, KernelError> {
        let Call::Gemm { fused, .. } = call else {
            return Ok(None);
        };
        let mut memory = Memory {
            input,
            parameters: &network.parameters,
            seed: network.spec.seed,
            step: self.step,
            precision: network.precision(),
            gradients: &mut self.gradients,
            arena: &mut self.arena,
        };
        let (gemm, c) = memory.product(call)?;
        let name = match fused {
            Fused::Step => network.kernels.gemm_update_kernel(&gemm, &c),
            _ => network.kernels.gemm_kernel(&gemm, &c, threads),
        };
        name.map(Some)
    }

    /// The gradients of the parameters, in their order; `None` if no backward pass kept them.
    pub(crate) fn gradients(&self) -> Option<&[f32]> {
        self.has_gradients.then_some(&*self.gradients)
    }

    /// As [`Engine::gradients`], to be changed before they are used.
    pub(crate) fn gradients_mut(&mut self) -> Option<&mut [f32]> {
        self.has_gradients.then_some(&mut *self.gradients)
    }

    /// Makes room for batches of `batch` rows; returns the number of their plan.
    fn plan_for(&mut self, network: &Network, batch: usize, threads: usize) -> usize {
        if let Some(number) = self.plans.iter().position(|plan| plan.batch == batch) {
            return number;
        }
        let plan = lower(&network.graph, batch, self.passes);
        for call in plan.calls() {
            if let Call::Gemm { c, k, .. } = call {
                let Region { rows, cols, .. } = *c.region();
                self.scratch.gemm.reserve(rows, cols, *k, threads);
            }
        }
        grow(&mut self.arena, plan.arena_len);
        self.loss.reserve(batch, network.outputs());
        if self.plans.len() == MAX_PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        self.plans.len() - 1
    }

    /// Says how many updates were made before the next forward pass.
    pub(crate) fn set_step(&mut self, step: u64) {
        self.step = step;
    }

    /// The forward pass; its outputs, batch x outputs.
    pub(crate) fn forward(
        &mut self,
        network: &Network,
        input: MatRef<'_>,
        team: &Team,
    ) -> Result<MatRef<'_>, MlpError> {
        self.forward_watched(network, input, team, &mut |_| ())
    }

    /// [`Engine::forward`], with `after` called after each call.
    pub(crate) fn forward_watched(
        &mut self,
        network: &Network,
        input: MatRef<'_>,
        team: &Team,
        after: &mut impl FnMut(Ran<'_>),
    ) -> Result<MatRef<'_>, MlpError> {
        let number = self.plan_for(network, input.rows(), team.threads());
        self.current = None;
        let mut memory = Memory {
            input,
            parameters: &network.parameters,
            seed: network.spec.seed,
            step: self.step,
            precision: network.precision(),
            gradients: &mut self.gradients,
            arena: &mut self.arena,
        };
        for call in &self.plans[number].forward {
            memory.run(call, network.kernels, &mut self.scratch, team)?;
            after(Ran::Call(call));
        }
        self.current = Some(number);
        Ok(matrix(&self.arena, &self.plans[number].outputs)?)
    }

    /// The outputs of the last forward pass, or what their activation read where the loss takes that.
    pub(crate) fn scores(&self) -> Result<MatRef<'_>, MlpError> {
        let plan = self.current_plan()?;
        let region = plan.scores.map_or(plan.outputs, |scores| scores.values);
        Ok(matrix(&self.arena, &region)?)
    }

    /// The loss of the outputs of the last forward pass; with a backward pass planned, its gradient
    /// is put where that pass starts from.
    pub(crate) fn loss(
        &mut self,
        network: &Network,
        aim: Aim<'_>,
        criterion: &mut Criterion<'_>,
        team: &Team,
    ) -> Result<BatchLoss, MlpError> {
        let plan = self.current_plan()?;
        let scores = plan.scores.filter(|_| !criterion.is_own());
        let (outputs, output_gradient) = match scores {
            Some(scores) => (scores.values, scores.gradient),
            None => (plan.outputs, plan.output_gradient),
        };
        self.from_scores = scores.is_some();
        let (kernels, memory) = (network.kernels, &mut self.loss);
        match output_gradient {
            None => {
                let outputs = matrix(&self.arena, &outputs)?;
                criterion.run(kernels, outputs, aim, None, memory, team)
            }
            Some(region) => {
                let (arena, gradient) = carve(&mut self.arena, &region)?;
                let outputs = arena.read(&outputs)?;
                criterion.run(kernels, outputs, aim, Some(gradient), memory, team)
            }
        }
    }

    /// Starts the backward pass from a gradient of the caller's own instead of that of the loss.
    pub(crate) fn set_output_gradient(&mut self, gradient: MatRef<'_>) -> Result<(), MlpError> {
        let plan = self.current_plan()?;
        let region = plan.output_gradient.unwrap_or(plan.outputs);
        if (gradient.rows(), gradient.cols()) != (region.rows, region.cols) {
            return Err(MlpError::Shape {
                what: "gradient of the outputs",
                expected: format!("{} x {}", region.rows, region.cols),
                got: format!("{} x {}", gradient.rows(), gradient.cols()),
            });
        }
        self.from_scores = false;
        let (_, to) = carve(&mut self.arena, &region)?;
        memory::copy(gradient, to);
        Ok(())
    }

    /// The backward pass: gradients of all parameters, from that of the outputs.
    ///
    /// `input` is that of the last forward pass, whose values are used up.
    pub(crate) fn backward(
        &mut self,
        network: &mut Network,
        input: MatRef<'_>,
        team: &Team,
    ) -> Result<(), MlpError> {
        let number = self.take_current(input)?;
        self.keep_statistics(number, network)?;
        let mut memory = Memory {
            input,
            parameters: &network.parameters,
            seed: network.spec.seed,
            step: self.step,
            precision: network.precision(),
            gradients: &mut self.gradients,
            arena: &mut self.arena,
        };
        for call in backward_calls(&self.plans[number], self.from_scores) {
            memory.run(call, network.kernels, &mut self.scratch, team)?;
        }
        self.has_gradients = true;
        Ok(())
    }

    /// The backward pass and the step of an optimiser; the gradients of large layers are used where
    /// they are made and not kept.
    ///
    /// The bits are those of [`Engine::backward`] and [`State::update`].
    pub(crate) fn backward_and_step(
        &mut self,
        network: &mut Network,
        state: &mut State,
        input: MatRef<'_>,
        team: &Team,
    ) -> Result<(), MlpError> {
        self.backward_and_step_watched(network, state, input, team, &mut |_| ())
    }

    /// [`Engine::backward_and_step`], with `after` called after each call and each update.
    pub(crate) fn backward_and_step_watched(
        &mut self,
        network: &mut Network,
        state: &mut State,
        input: MatRef<'_>,
        team: &Team,
        after: &mut impl FnMut(Ran<'_>),
    ) -> Result<(), MlpError> {
        let number = self.take_current(input)?;
        self.keep_statistics(number, network)?;
        let kernels = network.kernels;
        state.begin_step();
        for call in backward_calls(&self.plans[number], self.from_scores) {
            let (gradients, arena) = (&mut self.gradients, &mut self.arena);
            let scratch = &mut self.scratch;
            if let Call::Gemm {
                c,
                fused: Fused::Step,
                ..
            } = call
            {
                // The gradient of a weight reads no parameters.
                let mut memory = Memory {
                    input,
                    parameters: &[],
                    seed: network.spec.seed,
                    step: self.step,
                    precision: network.precision(),
                    gradients,
                    arena,
                };
                let region = c.region();
                let update =
                    state.on_matrix(&mut network.parameters, region.whole(), region.cols)?;
                let (gemm, grads) = memory.product(call)?;
                kernels.gemm_update(
                    &gemm,
                    update,
                    grads,
                    Gradient::Discard,
                    &mut scratch.gemm,
                    team,
                )?;
            } else {
                let parameters = &network.parameters;
                let mut memory = Memory {
                    input,
                    parameters,
                    seed: network.spec.seed,
                    step: self.step,
                    precision: network.precision(),
                    gradients,
                    arena,
                };
                memory.run(call, kernels, scratch, team)?;
            }
            after(Ran::Call(call));
        }
        for range in &self.plans[number].unfused {
            let gradients = &self.gradients[range.clone()];
            state.on_range(
                kernels,
                gradients,
                &mut network.parameters,
                range.clone(),
                team,
            )?;
            after(Ran::Update(range.len()));
        }
        Ok(())
    }

    /// Lets the running statistics take their step towards the batch of the last forward pass, which
    /// counts now.
    fn keep_statistics(&self, number: usize, network: &mut Network) -> Result<(), KernelError> {
        let kernels = network.kernels;
        for step in &self.plans[number].running {
            for (running, batch) in [(&step.mean, &step.batch_mean), (&step.var, &step.batch_var)] {
                let running = &mut network.parameters[running.whole()];
                kernels.scale(1.0 - step.momentum, running);
                kernels.axpy(step.momentum, &self.arena[batch.whole()], running)?;
            }
        }
        Ok(())
    }

    /// The plan whose values are to be used up by a backward pass over `input`.
    fn take_current(&mut self, input: MatRef<'_>) -> Result<usize, MlpError> {
        let plan = self.current_plan()?;
        if plan.batch != input.rows() {
            return Err(MlpError::Shape {
                what: "inputs of the backward pass",
                expected: format!("the {} rows of the last forward pass", plan.batch),
                got: format!("{} rows", input.rows()),
            });
        }
        self.has_gradients = false;
        self.current.take().ok_or_else(no_forward_pass)
    }

    fn current_plan(&self) -> Result<&Plan, MlpError> {
        self.current
            .map(|number| &self.plans[number])
            .ok_or_else(no_forward_pass)
    }
}

/// The backward pass, from the scores if their gradient is known.
fn backward_calls(plan: &Plan, from_scores: bool) -> &[Call] {
    if from_scores {
        plan.backward_from_loss()
    } else {
        &plan.backward
    }
}

fn no_forward_pass() -> MlpError {
    MlpError::Shape {
        what: "backward pass",
        expected: "a forward pass before it".into(),
        got: "none since the last backward pass".into(),
    }
}
