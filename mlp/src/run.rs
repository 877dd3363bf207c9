//! Runs plans: one arena, one kernel call after the other, no decisions and no allocations.

use kernels::{
    Epilogue, Gemm, Gradient, KernelError, Kernels, MatMut, MatRef, Targets, Team, Workspace,
};

use crate::error::MlpError;
use crate::network::Network;
use crate::optimizer::State;
use crate::params::{Buffer, zeros};
use crate::plan::{Call, Fused, Passes, Plan, Product, Region, Sink, Source, lower};

/// Plans of so many batch sizes are kept; a training needs two, that of its last batch included.
const MAX_PLANS: usize = 8;

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
    /// The loss of each row.
    losses: Buffer,
    workspace: Workspace,
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
                Passes::Both => network.parameters.len(),
            }),
            has_gradients: false,
            losses: zeros(0),
            workspace: Workspace::new(),
            current: None,
        }
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
                self.workspace.reserve(rows, cols, *k, threads);
            }
        }
        grow(&mut self.arena, plan.arena_len);
        grow(&mut self.losses, batch);
        if self.plans.len() == MAX_PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan);
        self.plans.len() - 1
    }

    /// The forward pass; its outputs, batch x outputs.
    pub(crate) fn forward(
        &mut self,
        network: &Network,
        input: MatRef<'_>,
        team: &Team,
    ) -> Result<MatRef<'_>, MlpError> {
        let number = self.plan_for(network, input.rows(), team.threads());
        self.current = None;
        let mut memory = Memory {
            input,
            parameters: &network.parameters,
            gradients: &mut self.gradients,
            arena: &mut self.arena,
        };
        for call in &self.plans[number].forward {
            memory.run(call, network.kernels, &mut self.workspace, team)?;
        }
        self.current = Some(number);
        Ok(matrix(&self.arena, &self.plans[number].outputs)?)
    }

    /// The loss of the outputs of the last forward pass; with a backward pass planned, its gradient
    /// is put where that pass starts from.
    pub(crate) fn loss(
        &mut self,
        network: &Network,
        targets: Targets<'_>,
    ) -> Result<f32, MlpError> {
        let plan = self.current_plan()?;
        let (outputs, batch) = (plan.outputs, plan.batch);
        let output_gradient = plan.output_gradient;
        let losses = &mut self.losses[..batch];
        let loss = network.spec.loss;
        match output_gradient {
            None => {
                let outputs = matrix(&self.arena, &outputs)?;
                loss.run(network.kernels, outputs, targets, None, losses)
            }
            Some(region) => {
                let (arena, gradient) = carve(&mut self.arena, &region);
                let gradient = MatMut::from_row_major(gradient, region.rows, region.cols)?;
                let outputs = matrix_of(arena.read(&outputs), &outputs)?;
                loss.run(network.kernels, outputs, targets, Some(gradient), losses)
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
        let rows = self.arena[region.range()].chunks_exact_mut(region.cols);
        for (row, to) in rows.enumerate() {
            for (col, to) in to.iter_mut().enumerate() {
                *to = *gradient.at(row, col);
            }
        }
        Ok(())
    }

    /// The backward pass: gradients of all parameters, from that of the outputs.
    ///
    /// `input` is that of the last forward pass, whose values are used up.
    pub(crate) fn backward(
        &mut self,
        network: &Network,
        input: MatRef<'_>,
        team: &Team,
    ) -> Result<(), MlpError> {
        let number = self.take_current(input)?;
        let mut memory = Memory {
            input,
            parameters: &network.parameters,
            gradients: &mut self.gradients,
            arena: &mut self.arena,
        };
        for call in &self.plans[number].backward {
            memory.run(call, network.kernels, &mut self.workspace, team)?;
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
        let number = self.take_current(input)?;
        let kernels = network.kernels;
        state.begin_step();
        for call in &self.plans[number].backward {
            let (gradients, arena) = (&mut self.gradients, &mut self.arena);
            let workspace = &mut self.workspace;
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
                    gradients,
                    arena,
                };
                let region = c.region();
                let update =
                    state.on_matrix(&mut network.parameters, region.range(), region.cols)?;
                let (gemm, grads) = memory.product(call)?;
                kernels.gemm_update(&gemm, update, grads, Gradient::Discard, workspace, team)?;
            } else {
                let parameters = &network.parameters;
                let mut memory = Memory {
                    input,
                    parameters,
                    gradients,
                    arena,
                };
                memory.run(call, kernels, workspace, team)?;
            }
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

fn no_forward_pass() -> MlpError {
    MlpError::Shape {
        what: "backward pass",
        expected: "a forward pass before it".into(),
        got: "none since the last backward pass".into(),
    }
}

/// Makes a buffer at least `len` long.
fn grow(buffer: &mut Buffer, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
}

/// The region of a buffer as a matrix.
fn matrix<'m>(buffer: &'m [f32], region: &Region) -> Result<MatRef<'m>, KernelError> {
    matrix_of(&buffer[region.range()], region)
}

fn matrix_of<'m>(data: &'m [f32], region: &Region) -> Result<MatRef<'m>, KernelError> {
    MatRef::from_row_major(data, region.rows, region.cols)
}

/// The arena without the region that a call writes.
#[derive(Clone, Copy)]
struct Rest<'m> {
    before: &'m [f32],
    after: &'m [f32],
    /// Where `after` starts in the arena.
    after_offset: usize,
}

impl<'m> Rest<'m> {
    fn read(&self, region: &Region) -> &'m [f32] {
        let range = region.range();
        if range.end <= self.before.len() {
            &self.before[range]
        } else {
            &self.after[range.start - self.after_offset..range.end - self.after_offset]
        }
    }
}

/// Divides the arena into the region to be written and all else.
fn carve<'m>(arena: &'m mut [f32], written: &Region) -> (Rest<'m>, &'m mut [f32]) {
    let (before, from) = arena.split_at_mut(written.offset);
    let (region, after) = from.split_at_mut(written.len());
    let rest = Rest {
        before,
        after,
        after_offset: written.offset + written.len(),
    };
    (rest, region)
}

/// The buffers that the calls of a plan name.
struct Memory<'m> {
    input: MatRef<'m>,
    parameters: &'m [f32],
    gradients: &'m mut [f32],
    arena: &'m mut [f32],
}

impl Memory<'_> {
    fn run(
        &mut self,
        call: &Call,
        kernels: &Kernels,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        match *call {
            Call::Gemm { .. } => {
                let (gemm, c) = self.product(call)?;
                kernels.gemm(&gemm, c, workspace, team)
            }
            Call::Activation { activation, x, y } => {
                let (arena, y) = carve(self.arena, &y);
                kernels.activation_forward(activation, arena.read(&x), y)
            }
            Call::ActivationGradient {
                activation,
                y,
                dy,
                dx,
            } => {
                let (arena, dx) = carve(self.arena, &dx);
                kernels.activation_backward(activation, arena.read(&y), arena.read(&dy), dx)
            }
            Call::ColumnSums { x, sums } => {
                let x = matrix(self.arena, &x)?;
                kernels.column_sums(x, 1.0, &mut self.gradients[sums.range()])
            }
        }
    }

    /// The operands of a product, and the matrix that it writes.
    fn product(&mut self, call: &Call) -> Result<(Gemm<'_>, MatMut<'_>), KernelError> {
        let &Call::Gemm {
            product,
            a,
            b,
            c,
            fused,
            ..
        } = call
        else {
            unreachable!("only products are asked for their operands");
        };
        let (input, parameters) = (self.input, self.parameters);
        let (arena, c) = self.split(&c)?;
        let read = |source: &Source| match source {
            Source::Input => Ok(input),
            Source::Parameters(region) => matrix(parameters, region),
            Source::Arena(region) => matrix_of(arena.read(region), region),
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
                bias: Some(&parameters[bias.range()]),
                activation: *activation,
            },
            Fused::Derivative { activation, output } => Epilogue::Derivative {
                activation: *activation,
                output: matrix_of(arena.read(output), output)?,
            },
        };
        Ok((
            Gemm {
                epilogue,
                ..Gemm::new(a, b)
            },
            c,
        ))
    }

    /// What a call writes, as a matrix; and what of the arena it can read meanwhile.
    fn split(&mut self, written: &Sink) -> Result<(Rest<'_>, MatMut<'_>), KernelError> {
        let Region { rows, cols, .. } = *written.region();
        let (arena, data) = match written {
            Sink::Arena(region) => carve(self.arena, region),
            Sink::Gradients(region) => {
                let arena = Rest {
                    before: self.arena,
                    after: &[],
                    after_offset: 0,
                };
                (arena, &mut self.gradients[region.range()])
            }
        };
        Ok((arena, MatMut::from_row_major(data, rows, cols)?))
    }
}
