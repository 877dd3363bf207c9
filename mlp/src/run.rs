//! Runs plans: one arena, one kernel call after the other, no decisions and no allocations.

mod blocks;
mod layers;
mod memory;

use kernels::{Gradient, KernelError, Kernels, MatRef, Precision, Team};

use crate::error::MlpError;
use crate::loss::{Aim, BatchLoss, Criterion, LossMemory};
use crate::network::Network;
use crate::optimizer::State;
use crate::params::{Buffer, grow, zeros};
use crate::plan::{self, Call, Fused, Passes, Plan};
use crate::spec::Spec;
use blocks::{BlockRunner, Task};
use memory::{Memory, Scratch, carve, matrix};

/// Plans of so many batch sizes are kept; a training needs two, that of its last batch included.
const MAX_PLANS: usize = 8;

/// A part of a step that ran.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ran<'p> {
    Call(&'p Call),
    /// The loss and its gradient.
    Loss,
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
    values: Values,
    /// Whether they are those of the last backward pass.
    has_gradients: bool,
    loss: LossMemory,
    scratch: Scratch,
    /// Whether the loss has written the gradient of the scores.
    from_scores: bool,
    /// Steps in row blocks.
    blocks: BlockRunner,
    /// What ran last and was not used up.
    current: Option<Ready>,
}

/// What a backward pass goes on from.
#[derive(Clone, Copy, Debug)]
enum Ready {
    /// The forward pass of the plan of this number, whose values are in the arena.
    Forward(usize),
    /// Both passes of so many rows in row blocks, whose gradients are not yet added.
    Blocks { batch: usize },
}

/// What the calls of a plan read and write, beside samples and parameters.
#[derive(Debug)]
struct Values {
    arena: Buffer,
    /// The gradients of the parameters, in their order; empty without backward pass.
    gradients: Buffer,
    /// Updates before the last forward pass: what masks depend on.
    step: u64,
}

impl Values {
    /// The buffers of calls that read `input`, from its first sample on, and `parameters`.
    fn memory<'m>(
        &'m mut self,
        spec: &Spec,
        precision: Precision,
        input: MatRef<'m>,
        parameters: &'m [f32],
    ) -> Memory<'m> {
        Memory {
            input,
            parameters,
            seed: spec.seed,
            step: self.step,
            first_sample: 0,
            precision,
            gradients: &mut self.gradients,
            arena: &mut self.arena,
        }
    }
}

impl Engine {
    pub(crate) fn new(network: &Network, passes: Passes) -> Self {
        Self {
            passes,
            plans: Vec::new(),
            values: Values {
                arena: zeros(0),
                gradients: zeros(match passes {
                    Passes::Forward => 0,
                    Passes::Both => network.parameter_count(),
                }),
                step: 0,
            },
            has_gradients: false,
            loss: LossMemory::new(),
            scratch: Scratch::default(),
            from_scores: false,
            blocks: BlockRunner::default(),
            current: None,
        }
    }

    /// By which kernel a product is computed with so many threads, of the step that ran last with batches of
    /// `batch` rows; `input` is that of its plan. `None` for what is none.
    pub(crate) fn kernel_of(
        &mut self,
        network: &Network,
        batch: usize,
        input: MatRef<'_>,
        call: &Call,
        threads: usize,
    ) -> Result<Option<String>, KernelError> {
        let Call::Gemm { fused, .. } = call else {
            return Ok(None);
        };
        let (precision, parameters) = (network.precision(), &network.parameters);
        let mut memory = self
            .values
            .memory(&network.spec, precision, input, parameters);
        if let Some(arena) = self.blocks.arena(batch) {
            memory.arena = arena;
        }
        let (gemm, c) = memory.product(call)?;
        let name = match fused {
            Fused::Step => network.kernels.gemm_update_kernel(&gemm, &c),
            _ => network.kernels.gemm_kernel(&gemm, &c, threads),
        };
        name.map(Some)
    }

    /// The gradients of the parameters, in their order; `None` if no backward pass kept them.
    pub(crate) fn gradients(&self) -> Option<&[f32]> {
        self.has_gradients.then_some(&*self.values.gradients)
    }

    /// As [`Engine::gradients`], to be changed before they are used.
    pub(crate) fn gradients_mut(&mut self) -> Option<&mut [f32]> {
        self.has_gradients.then_some(&mut *self.values.gradients)
    }

    /// Makes room for batches of `batch` rows; returns the number of their plan.
    fn plan_for(
        &mut self,
        network: &Network,
        batch: usize,
        threads: usize,
    ) -> Result<usize, MlpError> {
        if let Some(number) = self.plans.iter().position(|plan| plan.batch == batch) {
            return Ok(number);
        }
        let plan = plan::checked(&network.graph, batch, self.passes)?;
        self.scratch.reserve(&plan, threads);
        grow(&mut self.values.arena, plan.arena_len);
        self.loss.reserve(batch, network.outputs());
        if self.plans.len() == MAX_PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        Ok(self.plans.len() - 1)
    }

    /// Says how many updates were made before the next forward pass.
    pub(crate) fn set_step(&mut self, step: u64) {
        self.values.step = step;
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
        let number = self.plan_for(network, input.rows(), team.threads())?;
        self.current = None;
        let (precision, parameters) = (network.precision(), &network.parameters);
        let mut memory = self
            .values
            .memory(&network.spec, precision, input, parameters);
        for call in &self.plans[number].forward {
            memory.run(call, network.kernels, &mut self.scratch, team)?;
            after(Ran::Call(call));
        }
        self.current = Some(Ready::Forward(number));
        self.outputs()
    }

    /// The outputs of the last forward pass.
    pub(crate) fn outputs(&self) -> Result<MatRef<'_>, MlpError> {
        let plan = &self.plans[self.current_plan()?];
        Ok(matrix(&self.values.arena, &plan.outputs)?)
    }

    /// The outputs of the last forward pass, or what their activation read where the loss takes that.
    pub(crate) fn scores(&self) -> Result<MatRef<'_>, MlpError> {
        let plan = &self.plans[self.current_plan()?];
        let region = plan.scores.map_or(plan.outputs, |scores| scores.values);
        Ok(matrix(&self.values.arena, &region)?)
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
        let number = self.current_plan()?;
        self.from_scores = self.plans[number].scores.is_some() && !criterion.is_own();
        loss_of(
            &self.plans[number],
            &mut self.values.arena,
            network.kernels,
            aim,
            criterion,
            &mut self.loss,
            team,
        )
    }

    /// [`Engine::forward`] and [`Engine::loss`] of a step: a batch that runs in row blocks goes through its
    /// backward pass at once, and [`Engine::backward`] or [`Engine::backward_and_step`] go on from there.
    pub(crate) fn forward_and_loss(
        &mut self,
        network: &Network,
        input: MatRef<'_>,
        aim: Aim<'_>,
        criterion: &mut Criterion<'_>,
        team: &Team,
    ) -> Result<BatchLoss, MlpError> {
        if let Some((number, task)) = self.in_blocks(network, input, aim, criterion, team) {
            let loss = self.blocks.run(number, task, team)?;
            let batch = input.rows();
            self.current = Some(Ready::Blocks { batch });
            return Ok(loss);
        }
        self.forward(network, input, team)?;
        self.loss(network, aim, criterion, team)
    }

    /// [`Engine::forward_and_loss`], with `after` called after each call and each loss; row blocks all run on
    /// the calling thread.
    pub(crate) fn forward_and_loss_watched(
        &mut self,
        network: &Network,
        input: MatRef<'_>,
        aim: Aim<'_>,
        criterion: &mut Criterion<'_>,
        team: &Team,
        after: &mut impl FnMut(Ran<'_>),
    ) -> Result<BatchLoss, MlpError> {
        if let Some((number, task)) = self.in_blocks(network, input, aim, criterion, team) {
            let loss = self.blocks.run_watched(number, task, after)?;
            let batch = input.rows();
            self.current = Some(Ready::Blocks { batch });
            return Ok(loss);
        }
        self.forward_watched(network, input, team, after)?;
        let loss = self.loss(network, aim, criterion, team)?;
        after(Ran::Loss);
        Ok(loss)
    }

    /// What runs in row blocks, if the batch does.
    fn in_blocks<'t, 'c: 't>(
        &mut self,
        network: &'t Network,
        input: MatRef<'t>,
        aim: Aim<'t>,
        criterion: &Criterion<'c>,
        team: &Team,
    ) -> Option<(usize, Task<'t>)> {
        let Criterion::Built(loss, objective) = *criterion else {
            return None;
        };
        if !objective.is_plain() || aim.weights.is_some() {
            return None;
        }
        let number = self.blocks.prepare(network, input.rows(), team.threads())?;
        self.current = None;
        let task = Task {
            network,
            input,
            aim,
            loss,
            objective,
            step: self.values.step,
        };
        Some((number, task))
    }

    /// Starts the backward pass from a gradient of the caller's own instead of that of the loss.
    pub(crate) fn set_output_gradient(&mut self, gradient: MatRef<'_>) -> Result<(), MlpError> {
        let plan = &self.plans[self.current_plan()?];
        let region = plan.output_gradient.unwrap_or(plan.outputs);
        if (gradient.rows(), gradient.cols()) != (region.rows, region.cols) {
            return Err(MlpError::Shape {
                what: "gradient of the outputs",
                expected: format!("{} x {}", region.rows, region.cols),
                got: format!("{} x {}", gradient.rows(), gradient.cols()),
            });
        }
        self.from_scores = false;
        let (_, to) = carve(&mut self.values.arena, &region)?;
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
        let Some(number) = self.take_current(input)? else {
            self.blocks
                .sum_gradients(network.kernels, &mut self.values.gradients)?;
            self.has_gradients = true;
            return Ok(());
        };
        self.keep_statistics(number, network)?;
        let (precision, parameters) = (network.precision(), &network.parameters);
        let mut memory = self
            .values
            .memory(&network.spec, precision, input, parameters);
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
        let current = self.take_current(input)?;
        let (kernels, precision) = (network.kernels, network.precision());
        state.begin_step();
        let Some(number) = current else {
            let all = 0..network.parameter_count();
            let gradients = &mut self.values.gradients;
            self.blocks.sum_gradients(kernels, gradients)?;
            let parameters = &mut network.parameters;
            state.on_range(kernels, gradients, parameters, all.clone(), team)?;
            after(Ran::Update(all.len()));
            return Ok(());
        };
        self.keep_statistics(number, network)?;
        for call in backward_calls(&self.plans[number], self.from_scores) {
            let scratch = &mut self.scratch;
            if let Call::Gemm {
                c,
                fused: Fused::Step,
                ..
            } = call
            {
                // The gradient of a weight reads no parameters.
                let mut memory = self.values.memory(&network.spec, precision, input, &[]);
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
                let mut memory = self
                    .values
                    .memory(&network.spec, precision, input, parameters);
                memory.run(call, kernels, scratch, team)?;
            }
            after(Ran::Call(call));
        }
        for range in &self.plans[number].unfused {
            let gradients = &self.values.gradients[range.clone()];
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
                kernels.axpy(step.momentum, &self.values.arena[batch.whole()], running)?;
            }
        }
        Ok(())
    }

    /// The plan whose values are to be used up by a backward pass over `input`; `None` if it ran in row
    /// blocks.
    fn take_current(&mut self, input: MatRef<'_>) -> Result<Option<usize>, MlpError> {
        let (number, batch) = match self.current.ok_or_else(no_forward_pass)? {
            Ready::Forward(number) => (Some(number), self.plans[number].batch),
            Ready::Blocks { batch } => (None, batch),
        };
        if batch != input.rows() {
            return Err(MlpError::Shape {
                what: "inputs of the backward pass",
                expected: format!("the {batch} rows of the last forward pass"),
                got: format!("{} rows", input.rows()),
            });
        }
        self.has_gradients = false;
        self.current = None;
        Ok(number)
    }

    /// The plan whose forward pass ran last.
    fn current_plan(&self) -> Result<usize, MlpError> {
        match self.current {
            Some(Ready::Forward(number)) => Ok(number),
            _ => Err(no_forward_pass()),
        }
    }
}

/// The loss of the outputs that a forward pass left in the arena; the gradient is put where a backward
/// pass starts from, if one is planned.
fn loss_of(
    plan: &Plan,
    arena: &mut [f32],
    kernels: &Kernels,
    aim: Aim<'_>,
    criterion: &mut Criterion<'_>,
    memory: &mut LossMemory,
    team: &Team,
) -> Result<BatchLoss, MlpError> {
    let scores = plan.scores.filter(|_| !criterion.is_own());
    let (outputs, output_gradient) = match scores {
        Some(scores) => (scores.values, scores.gradient),
        None => (plan.outputs, plan.output_gradient),
    };
    match output_gradient {
        None => {
            let outputs = matrix(arena, &outputs)?;
            criterion.run(kernels, outputs, aim, None, memory, team)
        }
        Some(region) => {
            let (arena, gradient) = carve(arena, &region)?;
            let outputs = arena.read(&outputs)?;
            criterion.run(kernels, outputs, aim, Some(gradient), memory, team)
        }
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
