//! [`Explanation`]: what a training step is made of, and where its time goes.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kernels::{
    Gemm, Isa, KernelError, Kernels, MatMut, MatRef, Targets, Team, Workspace, probe, with_team,
};

use crate::error::MlpError;
use crate::loss::{Aim, Criterion, Loss, Objective};
use crate::matrix::Matrix;
use crate::model::Mlp;
use crate::network::Network;
use crate::optimizer::{Sgd, resolve};
use crate::plan::{Cost, Passes, Plan};
use crate::run::{Engine, Ran};
use crate::spec::LayerSpec;

/// How long steps are repeated, each of their parts being judged by its shortest time.
const BUDGET: Duration = Duration::from_millis(300);
/// Steps that are timed, however long they take or however short they are.
const MIN_STEPS: usize = 3;
const MAX_STEPS: usize = 2000;
/// So slow that thousands of steps keep all numbers in their usual range.
const LEARNING_RATE: f32 = 1e-6;
/// Rounds of the multiply-add loop: some 50 us.
const PEAK_ROUNDS: u64 = 10_000;
/// Bursts of each probe; the fastest counts.
const BURSTS: usize = 20;
/// Products of one element in a burst.
const CALLS: u32 = 100;
/// Bytes that a burst of reading reads at least: some 20 us.
const READ_BYTES: usize = 1 << 20;
/// Bytes of the largest buffer to read from: beyond every cache that a core can count on.
const MAX_READ_BUFFER: usize = 256 << 20;

/// What limits a call, by what it does and what was measured of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Its operations, at the measured peak.
    Compute,
    /// The bytes of its operands, at the measured bandwidth.
    Memory,
    /// It is so small that calling it takes longer than either.
    Call,
}

/// Which part of a step a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// From the samples to the outputs.
    Forward,
    /// The loss and its gradient.
    Loss,
    /// The gradients, and the updates that are part of their products.
    Backward,
    /// The update of the parameters that are left.
    Update,
}

/// One call of a training step, in the order in which they run.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedCall {
    /// Its part of the step.
    pub pass: Pass,
    /// What it does, as in [`Plan`](crate::Plan).
    pub name: &'static str,
    /// `m x n x k` of a product, `rows x columns` of anything else.
    pub shape: String,
    /// The kernel that was chosen for a product; what a call that is none is called otherwise.
    pub kernel: String,
    /// How many threads could take part.
    pub threads: usize,
    /// Operations and bytes, as [`Plan::cost`](crate::Plan::cost) counts them. Those of the loss and of
    /// the update, which are no calls of the plan, are bytes alone.
    pub cost: Cost,
    /// The least time that the measured peaks permit, and what a call costs at least.
    pub predicted: Duration,
    /// The shortest time that was measured.
    pub measured: Duration,
    /// Operations per second over the measured peak of the threads that could take part.
    pub fraction_of_peak: f64,
    /// What the prediction is due to.
    pub bound: Bound,
}

/// Where the time of a training step goes: made by [`Mlp::explain`]; printed, it is a table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// Rows of a batch.
    pub batch: usize,
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// Threads that a call could have.
    pub threads: usize,
    /// Multiply-adds in registers alone, two operations each: of one thread, and of all at once.
    pub peak_flop_per_s: [f64; 2],
    /// Reading as many bytes as the step touches, over and over: of one thread, and of all at once.
    pub read_bytes_per_s: [f64; 2],
    /// What the smallest product takes; with several threads, what an empty parallel phase takes more.
    pub call_seconds: [f64; 2],
    /// The calls in their order.
    pub calls: Vec<ExplainedCall>,
    /// The shortest time of a whole step, without a clock between its calls.
    pub step: Duration,
}

impl Mlp {
    /// Measures a training step with batches of `batch` rows on all threads of the current rayon pool,
    /// call by call: which kernel was chosen, what it costs, how far it is from what the machine can do
    /// and why.
    ///
    /// The step is that of the optimiser of the last training, or of plain gradient descent, on made-up
    /// samples and a copy of the network, which is left as it is.
    ///
    /// ```
    /// let net = mlp::Mlp::builder(20).dense(30).relu().dense(10).build()?;
    /// let explanation = net.explain(64)?;
    /// let flop: u64 = explanation.calls.iter().map(|call| call.cost.flop).sum();
    /// assert_eq!(flop, net.plan(64)?.cost().flop);
    /// println!("{explanation}");
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Complexity
    /// At least four steps, and more until 0.3 s are over; memory of a training, and a buffer to measure
    /// the bandwidth with.
    ///
    /// # Errors
    /// As [`Mlp::plan`]; [`MlpError::BatchTooSmall`] for a batch that a batch normalisation cannot
    /// normalise.
    pub fn explain(&self, batch: usize) -> Result<Explanation, MlpError> {
        with_team(0, |team| self.explain_on(batch, team))
    }

    /// [`Mlp::explain`] with a team of one's own.
    ///
    /// # Errors
    /// As [`Mlp::explain`].
    pub fn explain_on(&self, batch: usize, team: &Team) -> Result<Explanation, MlpError> {
        let plan = self.plan(batch)?;
        let samples = samples(self, batch);
        let input = MatRef::from(&samples);
        self.network.check_batch(input)?;
        let mut mlp = self.clone();
        if mlp.progress.state.learning_rate() == 0.0 {
            // A network that was never trained: its updates would be left out.
            let layout = mlp.network.graph.parameters();
            let (factors, len) = (resolve(layout, &[])?, layout.len());
            let optimizer = Sgd::new(LEARNING_RATE).into();
            mlp.progress.state.switch(optimizer, factors, len);
        }
        let mut steps = Steps {
            mlp,
            engine: Engine::new(&self.network, Passes::Both),
            input,
            wanted: Wanted::of(&self.network, plan.outputs.rows),
        };
        let mut seen = steps.list(&plan, team)?;
        let (clock, mut step) = (Instant::now(), Duration::MAX);
        for number in 0..MAX_STEPS {
            let mut laps = Laps::start(&mut seen, team);
            steps.run(team, &mut |_| laps.next())?;
            let whole = Instant::now();
            steps.run(team, &mut |_| ())?;
            step = step.min(whole.elapsed());
            if number >= MIN_STEPS && clock.elapsed() > BUDGET {
                break;
            }
        }
        let touched = plan.arena_bytes()
            + size_of::<f32>() * (samples.as_slice().len() + 2 * self.network.parameters.len());
        let machine = Machine::measure(self.network.kernels, touched, team)?;
        Ok(Explanation {
            batch,
            isa: self.isa(),
            threads: team.threads(),
            peak_flop_per_s: machine.peak,
            read_bytes_per_s: machine.read,
            call_seconds: machine.call,
            calls: seen.into_iter().map(|call| machine.judge(call)).collect(),
            step,
        })
    }
}

/// Numbers like samples; of symbols, if the network takes these.
fn samples(mlp: &Mlp, batch: usize) -> Matrix {
    let symbols = mlp.spec().layers.iter().find_map(|layer| match layer {
        LayerSpec::Embedding { symbols, .. } => Some(*symbols),
        _ => None,
    });
    let mut samples = Matrix::zeros(batch, mlp.inputs());
    for (index, x) in samples.as_mut_slice().iter_mut().enumerate() {
        *x = match symbols {
            Some(symbols) => (index % symbols) as f32,
            // Both signs, and no pattern that is as long as a row.
            None => (index * 37 % 101) as f32 / 50.0 - 1.0,
        };
    }
    samples
}

/// What a network is asked for that has `rows` rows of outputs.
struct Wanted {
    labels: Vec<u32>,
    values: Matrix,
}

impl Wanted {
    fn of(network: &Network, rows: usize) -> Self {
        Self {
            labels: vec![0; rows],
            values: Matrix::zeros(rows, network.outputs()),
        }
    }

    fn targets(&self, loss: Loss) -> Targets<'_> {
        match loss {
            Loss::SoftmaxCrossEntropy => Targets::Classes(&self.labels),
            _ => Targets::Values(self.values.view()),
        }
    }
}

/// A call, and its shortest time.
struct Seen {
    pass: Pass,
    name: &'static str,
    shape: String,
    kernel: String,
    threads: usize,
    cost: Cost,
    measured: Duration,
}

impl Seen {
    fn new(pass: Pass, name: &'static str, shape: String, cost: Cost) -> Self {
        Self {
            pass,
            name,
            shape,
            kernel: name.to_owned(),
            threads: 1,
            cost,
            measured: Duration::MAX,
        }
    }

    /// `slots` is how many numbers the optimiser keeps for each parameter.
    fn of(ran: Ran<'_>, pass: Pass, slots: usize) -> Self {
        match ran {
            Ran::Call(call) => Self::new(pass, call.name(), call.shape(), call.cost()),
            Ran::Update(len) => {
                let cost = Cost::of(0, (2 + slots) * len, (1 + slots) * len);
                Self::new(Pass::Update, "update", len.to_string(), cost)
            }
        }
    }
}

/// The times of the parts of a step, in their order.
struct Laps<'l> {
    team: &'l Team,
    seen: std::slice::IterMut<'l, Seen>,
    /// What it takes to look at the clock.
    look: Duration,
    last: Instant,
}

impl<'l> Laps<'l> {
    fn start(seen: &'l mut [Seen], team: &'l Team) -> Self {
        let looks = (0..16).map(|_| Instant::now().elapsed());
        let look = looks.min().unwrap_or_default();
        team.take_members();
        Self {
            team,
            seen: seen.iter_mut(),
            look,
            last: Instant::now(),
        }
    }

    fn next(&mut self) {
        let measured = self.last.elapsed().saturating_sub(self.look);
        let threads = self.team.take_members();
        if let Some(seen) = self.seen.next() {
            seen.threads = threads;
            seen.measured = seen.measured.min(measured);
        }
        self.last = Instant::now();
    }
}

/// Steps on a copy of a network.
struct Steps<'s> {
    mlp: Mlp,
    engine: Engine,
    input: MatRef<'s>,
    wanted: Wanted,
}

impl Steps<'_> {
    /// One step, with `after` called after each of its parts.
    fn run(&mut self, team: &Team, after: &mut impl FnMut(Part<'_>)) -> Result<(), MlpError> {
        let Mlp { network, progress } = &mut self.mlp;
        let loss = network.spec.loss;
        let objective = Objective::default();
        let engine = &mut self.engine;
        engine.forward_watched(network, self.input, team, &mut |ran| {
            after(Part::Ran(Pass::Forward, ran));
        })?;
        let aim = Aim {
            targets: self.wanted.targets(loss),
            weights: None,
        };
        engine.loss(network, aim, &mut Criterion::Built(loss, &objective), team)?;
        after(Part::Loss);
        let state = &mut progress.state;
        engine.backward_and_step_watched(network, state, self.input, team, &mut |ran| {
            after(Part::Ran(Pass::Backward, ran));
        })
    }

    /// The parts of a step, with the kernels of its products.
    fn list(&mut self, plan: &Plan, team: &Team) -> Result<Vec<Seen>, MlpError> {
        let slots = self.mlp.progress.state.slots().iter();
        let slots = slots.filter(|slot| !slot.is_empty()).count();
        let outputs = plan.outputs.len();
        let mut seen = Vec::new();
        self.run(team, &mut |part| {
            seen.push(match part {
                Part::Ran(pass, ran) => Seen::of(ran, pass, slots),
                Part::Loss => {
                    let shape = format!("{} x {}", plan.outputs.rows, plan.outputs.cols);
                    let cost = Cost::of(0, 2 * outputs, outputs);
                    Seen::new(Pass::Loss, "loss", shape, cost)
                }
            });
        })?;
        let of_calls = seen
            .iter_mut()
            .filter(|seen| matches!(seen.pass, Pass::Forward | Pass::Backward));
        for (seen, call) in of_calls.zip(plan.calls()) {
            let network = &self.mlp.network;
            let kernel = self
                .engine
                .kernel_of(network, self.input, call, team.threads())?;
            if let Some(kernel) = kernel {
                seen.kernel = kernel;
            }
        }
        Ok(seen)
    }
}

/// A part of a step that is over.
enum Part<'p> {
    Ran(Pass, Ran<'p>),
    Loss,
}

/// What was measured of the machine: of one thread, and of all.
struct Machine {
    threads: usize,
    peak: [f64; 2],
    read: [f64; 2],
    call: [f64; 2],
}

impl Machine {
    /// `bytes` are those that a step touches.
    fn measure(kernels: &Kernels, bytes: usize, team: &Team) -> Result<Self, MlpError> {
        let solo = Team::solo();
        let (threads, isa) = (team.threads(), kernels.isa());
        let peak = |team: &Team| {
            let flop = probe::multiply_add(isa, PEAK_ROUNDS).unwrap_or_default();
            let seconds = shortest(|| {
                team.run(team.threads(), &|_, _| {
                    black_box(probe::multiply_add(isa, PEAK_ROUNDS));
                });
            });
            (team.threads() as u64 * flop) as f64 / seconds
        };
        let len = bytes.min(MAX_READ_BUFFER) / size_of::<f32>() + 1;
        let buffer = vec![1.0_f32; len];
        let rounds = READ_BYTES.div_ceil(len * size_of::<f32>());
        let read = |team: &Team| {
            let parts = team.threads();
            let seconds = shortest(|| {
                team.run(parts, &|part, _| {
                    for _ in 0..rounds {
                        let range = len * part / parts..len * (part + 1) / parts;
                        black_box(probe::read(black_box(&buffer[range])));
                    }
                });
            });
            (rounds * len * size_of::<f32>()) as f64 / seconds
        };
        let (x, mut y) = ([1.0], [0.0]);
        let mut workspace = Workspace::new();
        let mut failure = None;
        let smallest = shortest(|| {
            for _ in 0..CALLS {
                let result = smallest_product(kernels, &x, &mut y, &mut workspace, &solo);
                failure = failure.take().or(result.err());
            }
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        let empty = shortest(|| team.run(threads, &|_, _| ()));
        Ok(Self {
            threads,
            peak: [peak(&solo), peak(team)],
            read: [read(&solo), read(team)],
            call: [
                smallest / f64::from(CALLS),
                if threads > 1 { empty } else { 0.0 },
            ],
        })
    }

    /// What of the rate of all threads belongs to so many.
    fn share([one, all]: [f64; 2], members: usize, threads: usize) -> f64 {
        if members == 1 {
            one
        } else {
            all * members as f64 / threads as f64
        }
    }

    /// What bounds a call, and how near it came.
    fn judge(&self, seen: Seen) -> ExplainedCall {
        let Seen {
            threads, measured, ..
        } = seen;
        let peak = Self::share(self.peak, threads, self.threads);
        let read = Self::share(self.read, threads, self.threads);
        let compute = seen.cost.flop as f64 / peak;
        let memory = seen.cost.bytes() as f64 / read;
        let call = match threads {
            1 => self.call[0],
            _ => self.call[0] + self.call[1],
        };
        let work = compute.max(memory);
        let seconds = measured.as_secs_f64();
        ExplainedCall {
            pass: seen.pass,
            name: seen.name,
            shape: seen.shape,
            kernel: seen.kernel,
            threads,
            cost: seen.cost,
            predicted: Duration::from_secs_f64(work + call),
            measured,
            fraction_of_peak: if seconds > 0.0 {
                seen.cost.flop as f64 / seconds / peak
            } else {
                0.0
            },
            bound: if call > work {
                Bound::Call
            } else if compute >= memory {
                Bound::Compute
            } else {
                Bound::Memory
            },
        }
    }
}

/// The shortest of some runs, in seconds.
fn shortest(mut work: impl FnMut()) -> f64 {
    let runs = (0..BURSTS).map(|_| {
        let clock = Instant::now();
        work();
        clock.elapsed().as_secs_f64()
    });
    // A clock that stands still would make rates infinite.
    runs.fold(f64::INFINITY, f64::min).max(1e-9)
}

/// `y = x x` of one element each.
fn smallest_product(
    kernels: &Kernels,
    x: &[f32],
    y: &mut [f32],
    workspace: &mut Workspace,
    team: &Team,
) -> Result<(), KernelError> {
    let x = MatRef::from_row_major(black_box(x), 1, 1)?;
    let y = MatMut::from_row_major(y, 1, 1)?;
    kernels.gemm(&Gemm::new(x, x), y, workspace, team)
}

impl Explanation {
    /// The sum of the measured times of the calls.
    pub fn calls_measured(&self) -> Duration {
        self.calls.iter().map(|call| call.measured).sum()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flop: u64 = self.calls.iter().map(|call| call.cost.flop).sum();
        let rate = flop as f64 / self.step.as_secs_f64();
        let [peak_of_one, peak] = self.peak_flop_per_s;
        let [read_of_one, read] = self.read_bytes_per_s;
        let [call, phase] = self.call_seconds;
        writeln!(
            f,
            "batch {}, {}, {} threads: a step takes {:.1} us, {:.1} GFLOP/s, {:.0} % of the peak",
            self.batch,
            self.isa,
            self.threads,
            micros(self.step),
            rate / 1e9,
            100.0 * rate / peak,
        )?;
        writeln!(
            f,
            "peak {:.1} GFLOP/s of one thread, {:.1} of all; reading {:.1} and {:.1} GB/s; \
             a call {:.0} ns, a phase {:.0} ns",
            peak_of_one / 1e9,
            peak / 1e9,
            read_of_one / 1e9,
            read / 1e9,
            call * 1e9,
            phase * 1e9,
        )?;
        writeln!(
            f,
            "{:8} {:20} {:>18} {:34} {:>2} {:>9} {:>9} {:>10} {:>10} {:>6} bound by",
            "pass", "call", "shape", "kernel", "T", "Mflop", "KiB", "predicted", "measured", "peak"
        )?;
        for call in &self.calls {
            writeln!(
                f,
                "{:8} {:20} {:>18} {:34} {:>2} {:>9.3} {:>9.1} {:>7.2} us {:>7.2} us {:>4.0} % {}",
                format!("{:?}", call.pass).to_lowercase(),
                call.name,
                call.shape,
                call.kernel,
                call.threads,
                call.cost.flop as f64 / 1e6,
                call.cost.bytes() as f64 / 1024.0,
                micros(call.predicted),
                micros(call.measured),
                100.0 * call.fraction_of_peak,
                format!("{:?}", call.bound).to_lowercase(),
            )?;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
