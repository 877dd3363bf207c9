//! Steps whose parts are timed.

use std::time::{Duration, Instant};

use kernels::{MatRef, Targets, Team};

use super::Pass;
use crate::error::MlpError;
use crate::loss::{Aim, Criterion, Loss, Objective};
use crate::matrix::Matrix;
use crate::model::Mlp;
use crate::network::Network;
use crate::plan::{Call, Cost, Fused, Plan};
use crate::run::{Engine, Ran};
use crate::spec::LayerSpec;

/// Numbers like samples; of symbols, if the network takes these.
pub(super) fn samples(mlp: &Mlp, batch: usize) -> Result<Matrix, MlpError> {
    let symbols = mlp.spec().layers.iter().find_map(|layer| match layer {
        LayerSpec::Embedding { symbols, .. } => Some(*symbols),
        _ => None,
    });
    let mut samples = Matrix::checked(batch, mlp.inputs())?;
    for (index, x) in samples.as_mut_slice().iter_mut().enumerate() {
        *x = match symbols {
            Some(symbols) => (index % symbols) as f32,
            // Both signs, and no pattern that is as long as a row.
            None => (index * 37 % 101) as f32 / 50.0 - 1.0,
        };
    }
    Ok(samples)
}

/// What a network is asked for that has `rows` rows of outputs.
pub(super) struct Wanted {
    labels: Vec<u32>,
    values: Matrix,
}

impl Wanted {
    pub(super) fn of(network: &Network, rows: usize) -> Result<Self, MlpError> {
        Ok(Self {
            labels: vec![0; rows],
            values: Matrix::checked(rows, network.outputs())?,
        })
    }

    fn targets(&self, loss: Loss) -> Targets<'_> {
        match loss {
            Loss::SoftmaxCrossEntropy => Targets::Classes(&self.labels),
            _ => Targets::Values(self.values.view()),
        }
    }
}

/// What of a step is timed by itself: a call, or the same call in all row blocks.
pub(super) struct Seen {
    pub(super) pass: Pass,
    pub(super) name: &'static str,
    pub(super) shape: String,
    pub(super) kernel: String,
    pub(super) threads: usize,
    /// How often it is called.
    pub(super) times: usize,
    /// Of all that.
    pub(super) cost: Cost,
    /// The shortest time of all that.
    pub(super) measured: Duration,
    /// The time of the step that runs.
    lap: Duration,
}

impl Seen {
    fn new(pass: Pass, name: &'static str, shape: String, cost: Cost) -> Self {
        Self {
            pass,
            name,
            shape,
            kernel: name.to_owned(),
            threads: 1,
            times: 1,
            cost,
            measured: Duration::MAX,
            lap: Duration::ZERO,
        }
    }

    /// `slots` is how many numbers the optimiser keeps for each parameter.
    fn of(ran: Ran<'_>, pass: Pass, plan: &Plan, slots: usize) -> Self {
        match ran {
            Ran::Call(call) => {
                let cost = cost_in_step(call, slots);
                Self::new(pass, call.name(), call.shape(), cost)
            }
            Ran::Loss => {
                let (rows, cols) = (plan.outputs.rows, plan.outputs.cols);
                let cost = Cost::of(0, 2 * rows * cols, rows * cols);
                Self::new(Pass::Loss, "loss", format!("{rows} x {cols}"), cost)
            }
            Ran::Update(len) => {
                let cost = Cost::of(0, (2 + slots) * len, (1 + slots) * len);
                Self::new(Pass::Update, "update", len.to_string(), cost)
            }
        }
    }
}

/// What a call costs in a step: where the update is part of it, parameters and state are read and written in
/// place of the gradient, which goes nowhere.
fn cost_in_step(call: &Call, slots: usize) -> Cost {
    let Call::Gemm {
        c,
        fused: Fused::Step,
        ..
    } = call
    else {
        return call.cost();
    };
    let len = c.region().len();
    let moved = Cost::of(0, (1 + slots) * len, slots * len);
    call.cost() + moved
}

/// The times of the parts of a step, in their order; those of the next row block again.
pub(super) struct Laps<'l> {
    team: &'l Team,
    seen: &'l mut [Seen],
    /// How many there are before the updates.
    of_block: usize,
    next: usize,
    /// What it takes to look at the clock.
    look: Duration,
    last: Instant,
}

impl<'l> Laps<'l> {
    pub(super) fn start(seen: &'l mut [Seen], team: &'l Team) -> Self {
        let looks = (0..16).map(|_| Instant::now().elapsed());
        let look = looks.min().unwrap_or_default();
        team.take_members();
        for seen in &mut *seen {
            seen.lap = Duration::ZERO;
        }
        Self {
            team,
            of_block: seen.iter().filter(|seen| seen.pass != Pass::Update).count(),
            seen,
            next: 0,
            look,
            last: Instant::now(),
        }
    }

    /// A part is over.
    pub(super) fn next(&mut self, ran: Ran<'_>) {
        let measured = self.last.elapsed().saturating_sub(self.look);
        let threads = self.team.take_members();
        if self.next == self.of_block && !matches!(ran, Ran::Update(_)) {
            self.next = 0;
        }
        if let Some(seen) = self.seen.get_mut(self.next) {
            seen.threads = threads;
            seen.lap += measured;
        }
        self.next += 1;
        self.last = Instant::now();
    }

    /// The step is over.
    pub(super) fn end(self) {
        for seen in self.seen {
            seen.measured = seen.measured.min(seen.lap);
        }
    }
}

/// Steps on a copy of a network.
pub(super) struct Steps<'s> {
    pub(super) mlp: Mlp,
    pub(super) engine: Engine,
    pub(super) input: MatRef<'s>,
    pub(super) wanted: Wanted,
}

impl Steps<'_> {
    /// One step as a training makes it.
    pub(super) fn run(&mut self, team: &Team) -> Result<(), MlpError> {
        let Mlp { network, progress } = &mut self.mlp;
        let (loss, objective) = (network.spec.loss, Objective::default());
        let aim = Aim::new(self.wanted.targets(loss), None);
        let mut criterion = Criterion::Built(loss, &objective);
        let engine = &mut self.engine;
        engine.forward_and_loss(network, self.input, aim, &mut criterion, team)?;
        engine.backward_and_step(network, &mut progress.state, self.input, team)
    }

    /// One step, with `after` called after each of its parts; row blocks come one after the other.
    pub(super) fn run_watched(
        &mut self,
        team: &Team,
        after: &mut impl FnMut(Ran<'_>),
    ) -> Result<(), MlpError> {
        let Mlp { network, progress } = &mut self.mlp;
        let (loss, objective) = (network.spec.loss, Objective::default());
        let aim = Aim::new(self.wanted.targets(loss), None);
        let mut criterion = Criterion::Built(loss, &objective);
        let (engine, input) = (&mut self.engine, self.input);
        engine.forward_and_loss_watched(network, input, aim, &mut criterion, team, after)?;
        engine.backward_and_step_watched(network, &mut progress.state, input, team, after)
    }

    /// The parts of a step, with the kernels of its products; `plan` is that of the batch, or of a row block.
    pub(super) fn list(&mut self, plan: &Plan, team: &Team) -> Result<Vec<Seen>, MlpError> {
        let slots = self.mlp.progress.state.slots().iter();
        let slots = slots.filter(|slot| !slot.is_empty()).count();
        let calls = plan.forward.len() + plan.backward_from_loss().len();
        let mut seen: Vec<Seen> = Vec::new();
        let mut number = 0;
        self.run_watched(team, &mut |ran| {
            let is_update = matches!(ran, Ran::Update(_));
            let place = number % (calls + 1);
            let pass = match place < plan.forward.len() {
                true => Pass::Forward,
                false => Pass::Backward,
            };
            let new = Seen::of(ran, pass, plan, slots);
            match seen.get_mut(place) {
                Some(known) if !is_update => {
                    known.times += 1;
                    known.cost = known.cost + new.cost;
                }
                _ => seen.push(new),
            }
            number += 1;
        })?;
        let of_calls = seen
            .iter_mut()
            .filter(|seen| matches!(seen.pass, Pass::Forward | Pass::Backward));
        let batch = self.input.rows();
        let rows = self.input.part(0..plan.batch, 0..self.input.cols());
        let threads = if plan.batch < batch {
            1
        } else {
            team.threads()
        };
        let calls = plan.forward.iter().chain(plan.backward_from_loss());
        for (seen, call) in of_calls.zip(calls) {
            let network = &self.mlp.network;
            let kernel = self.engine.kernel_of(network, batch, rows, call, threads)?;
            if let Some(kernel) = kernel {
                seen.kernel = kernel;
            }
        }
        Ok(seen)
    }
}
