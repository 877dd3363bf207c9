//! A step in row blocks ([`Blocks`]): each on one thread, through forward pass, loss and backward pass.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kernels::{KernelError, Kernels, MatRef, Team};

use super::memory::{Memory, Scratch};
use super::{MAX_PLANS, Ran, backward_calls, loss_of};
use crate::error::MlpError;
use crate::loss::{Aim, BatchLoss, Criterion, Loss, LossMemory, Objective};
use crate::network::Network;
use crate::params::{Buffer, grow, zeros};
use crate::plan::{Blocks, Passes, Plan, lower};

/// What runs in blocks.
#[derive(Clone, Copy)]
pub(super) struct Task<'t> {
    pub(super) network: &'t Network,
    pub(super) input: MatRef<'t>,
    pub(super) aim: Aim<'t>,
    pub(super) loss: Loss,
    pub(super) objective: &'t Objective,
    /// Updates made before.
    pub(super) step: u64,
}

/// A batch size, and how it is divided, if it is.
#[derive(Debug)]
struct Size {
    batch: usize,
    divided: Option<Divided>,
}

#[derive(Debug)]
struct Divided {
    blocks: Blocks,
    /// The plan of a block, and that of the last one.
    plans: [Plan; 2],
}

impl Divided {
    fn plan(&self, block: usize) -> &Plan {
        &self.plans[usize::from(block + 1 == self.blocks.count())]
    }
}

/// Memory of a member of the team.
#[derive(Debug)]
struct Slot {
    arena: Buffer,
    /// Of a block that is not the first of its group.
    gradients: Buffer,
    loss: LossMemory,
    scratch: Scratch,
}

/// What a group comes to.
#[derive(Debug)]
struct Group {
    gradients: Buffer,
    /// Its part of the mean, or why there is none.
    loss: Result<f64, MlpError>,
}

/// The batch sizes seen so far, and the memory for all of them.
#[derive(Debug, Default)]
pub(super) struct BlockRunner {
    /// The newest last.
    sizes: Vec<Size>,
    slots: Vec<Mutex<Slot>>,
    groups: Vec<Mutex<Group>>,
    /// Groups of the last pass.
    filled: usize,
}

impl BlockRunner {
    /// Makes room for batches of `batch` rows; the number of their size if they run in blocks.
    pub(super) fn prepare(
        &mut self,
        network: &Network,
        batch: usize,
        threads: usize,
    ) -> Option<usize> {
        let known = self.sizes.iter().position(|size| size.batch == batch);
        let number = known.unwrap_or_else(|| {
            let divide = |blocks: Blocks| Divided {
                blocks,
                plans: [blocks.rows, blocks.last_rows()]
                    .map(|rows| lower(&network.graph, rows, Passes::Both)),
            };
            if self.sizes.len() == MAX_PLANS {
                self.sizes.remove(0);
            }
            self.sizes.push(Size {
                batch,
                divided: Blocks::of(&network.graph, batch).map(divide),
            });
            self.sizes.len() - 1
        });
        let divided = self.sizes[number].divided.as_ref()?;
        if known.is_none() || self.slots.len() < threads {
            let parameters = network.parameter_count();
            self.slots.resize_with(threads.max(self.slots.len()), || {
                Mutex::new(Slot {
                    arena: zeros(0),
                    gradients: zeros(parameters),
                    loss: LossMemory::new(),
                    scratch: Scratch::default(),
                })
            });
            for plan in &divided.plans {
                for slot in &mut self.slots {
                    let slot = slot.get_mut().unwrap_or_else(PoisonError::into_inner);
                    grow(&mut slot.arena, plan.arena_len);
                    slot.loss.reserve(plan.outputs.rows, network.outputs());
                    slot.scratch.reserve(plan, 1);
                }
            }
            let groups = divided.blocks.groups.max(self.groups.len());
            self.groups.resize_with(groups, || {
                Mutex::new(Group {
                    gradients: zeros(parameters),
                    loss: Ok(0.0),
                })
            });
        }
        Some(number)
    }

    /// Both passes and the loss of a batch whose size was prepared; the gradients stay in their groups.
    pub(super) fn run(
        &mut self,
        number: usize,
        task: Task<'_>,
        team: &Team,
    ) -> Result<BatchLoss, MlpError> {
        let Some(divided) = &self.sizes[number].divided else {
            unreachable!("only sizes that are divided are given out");
        };
        let blocks = divided.blocks;
        self.filled = blocks.groups;
        team.run(blocks.groups, &|number, slot| {
            let (mut slot, mut group) = (lock(&self.slots[slot]), lock(&self.groups[number]));
            let Group { gradients, loss } = &mut *group;
            *loss = slot.group(task, divided, number, gradients, &mut |_| ());
        });
        self.loss(blocks)
    }

    /// [`BlockRunner::run`] on the calling thread, with `after` called after each call and each loss.
    pub(super) fn run_watched(
        &mut self,
        number: usize,
        task: Task<'_>,
        after: &mut impl FnMut(Ran<'_>),
    ) -> Result<BatchLoss, MlpError> {
        let Some(divided) = &self.sizes[number].divided else {
            unreachable!("only sizes that are divided are given out");
        };
        let blocks = divided.blocks;
        self.filled = blocks.groups;
        for (number, group) in self.groups[..blocks.groups].iter().enumerate() {
            let (mut slot, mut group) = (lock(&self.slots[0]), lock(group));
            let Group { gradients, loss } = &mut *group;
            *loss = slot.group(task, divided, number, gradients, after);
        }
        self.loss(blocks)
    }

    /// The arena of the caller, which ran blocks of this plan; `None` if the size is not divided.
    pub(super) fn arena(&mut self, batch: usize) -> Option<&mut [f32]> {
        let size = self.sizes.iter().find(|size| size.batch == batch)?;
        size.divided.as_ref()?;
        let slot = self.slots.first_mut()?;
        let slot = slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        Some(&mut slot.arena)
    }

    /// The sum of what the groups come to.
    fn loss(&mut self, blocks: Blocks) -> Result<BatchLoss, MlpError> {
        let mut sum = 0.0;
        for group in &mut self.groups[..blocks.groups] {
            let group = group.get_mut().unwrap_or_else(PoisonError::into_inner);
            sum += std::mem::replace(&mut group.loss, Ok(0.0))?;
        }
        Ok(BatchLoss {
            mean: sum as f32,
            weight: blocks.batch as f64,
        })
    }

    /// The gradients of the last pass: those of its groups, added in their order. What `gradients` held has
    /// no meaning any more.
    pub(super) fn sum_gradients(
        &mut self,
        kernels: &Kernels,
        gradients: &mut Buffer,
    ) -> Result<(), KernelError> {
        for (number, group) in self.groups[..self.filled].iter_mut().enumerate() {
            let group = group.get_mut().unwrap_or_else(PoisonError::into_inner);
            match number {
                0 => std::mem::swap(gradients, &mut group.gradients),
                _ => kernels.axpy(1.0, &group.gradients, gradients)?,
            }
        }
        Ok(())
    }
}

impl Slot {
    /// The blocks of a group, one after the other: the sum of their gradients, and of their losses.
    fn group(
        &mut self,
        task: Task<'_>,
        divided: &Divided,
        number: usize,
        sum: &mut [f32],
        after: &mut impl FnMut(Ran<'_>),
    ) -> Result<f64, MlpError> {
        let Self {
            arena,
            gradients,
            loss,
            scratch,
        } = self;
        let blocks = divided.blocks.of_group(number);
        let (first, mut sum_of_losses) = (blocks.start, 0.0);
        for block in blocks {
            let (plan, rows) = (divided.plan(block), divided.blocks.rows_of(block));
            let memory = Memory {
                input: task.input.part(rows.clone(), 0..task.input.cols()),
                parameters: &task.network.parameters,
                seed: task.network.spec.seed,
                step: task.step,
                first_sample: rows.start,
                precision: task.network.precision(),
                gradients: match block == first {
                    true => &mut *sum,
                    false => &mut *gradients,
                },
                arena,
            };
            sum_of_losses += f64::from(task.block(memory, plan, rows, loss, scratch, after)?);
            if block != first {
                task.network.kernels.axpy(1.0, gradients, sum)?;
            }
        }
        Ok(sum_of_losses)
    }
}

impl Task<'_> {
    /// One block: its part of the mean loss, and the gradients of that.
    fn block(
        &self,
        mut memory: Memory<'_>,
        plan: &Plan,
        rows: Range<usize>,
        losses: &mut LossMemory,
        scratch: &mut Scratch,
        after: &mut impl FnMut(Ran<'_>),
    ) -> Result<f32, MlpError> {
        let (kernels, team) = (self.network.kernels, Team::solo());
        for call in &plan.forward {
            memory.run(call, kernels, scratch, &team)?;
            after(Ran::Call(call));
        }
        let mut criterion = Criterion::Built(self.loss, self.objective);
        let aim = self.aim.part(rows.clone());
        let loss = loss_of(
            plan,
            memory.arena,
            kernels,
            aim,
            &mut criterion,
            losses,
            &team,
        );
        let loss = loss.map_err(|error| match error {
            // Rows are those of the batch.
            MlpError::Label {
                row,
                label,
                classes,
            } => MlpError::Label {
                row: rows.start + row,
                label,
                classes,
            },
            other => other,
        })?;
        after(Ran::Loss);
        for call in backward_calls(plan, true) {
            memory.run(call, kernels, scratch, &team)?;
            after(Ran::Call(call));
        }
        Ok(loss.mean)
    }
}

fn lock<T>(cell: &Mutex<T>) -> MutexGuard<'_, T> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}
