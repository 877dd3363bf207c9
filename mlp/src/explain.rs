//! [`Explanation`]: what a training step is made of, and where its time goes.

mod machine;
mod steps;

use std::fmt;
use std::time::{Duration, Instant};

use kernels::{Isa, MatRef, Team, with_team};

use self::machine::Machine;
use self::steps::{Laps, Steps, Wanted, samples};
use crate::error::MlpError;
use crate::model::Mlp;
use crate::optimizer::{Sgd, resolve};
use crate::plan::{Blocks, Cost, Passes, lower};
use crate::run::Engine;

/// How long steps are repeated, each of their parts being judged by its shortest time.
const BUDGET: Duration = Duration::from_millis(300);
/// Steps that are timed, however long they take or however short they are.
const MIN_STEPS: usize = 3;
const MAX_STEPS: usize = 2000;
/// So slow that thousands of steps keep all numbers in their usual range.
const LEARNING_RATE: f32 = 1e-6;

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
    /// `m x n x k` of a product, `rows x columns` of anything else; of one row block, if a step runs in
    /// several.
    pub shape: String,
    /// The kernel that was chosen for a product; what a call that is none is called otherwise.
    pub kernel: String,
    /// How many threads could take part.
    pub threads: usize,
    /// Operations and bytes, as [`Plan::cost`](crate::Plan::cost) counts them, of all row blocks. Those of
    /// the loss and of the update, which are no calls of the plan, are bytes alone. A product with the update
    /// fused in reads and writes parameters and state instead of writing the gradient.
    pub cost: Cost,
    /// The least time that the measured peaks permit, and what a call costs at least.
    pub predicted: Duration,
    /// The shortest time that was measured; of all row blocks one after the other.
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
    /// How many row blocks go through the step, each on one thread; 1 if a step runs layer by layer, each
    /// call on as many threads as it is worth.
    pub row_blocks: usize,
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
        let mut plan = self.plan(batch)?;
        let graph = &self.network.graph;
        let blocks = Blocks::of(graph, batch);
        if let Some(blocks) = &blocks {
            plan = lower(graph, blocks.rows, Passes::Both);
        }
        let samples = samples(self, batch)?;
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
            wanted: Wanted::of(&self.network, batch)?,
        };
        let mut seen = steps.list(&plan, team)?;
        let (clock, mut step) = (Instant::now(), Duration::MAX);
        for number in 0..MAX_STEPS {
            let mut laps = Laps::start(&mut seen, team);
            steps.run_watched(team, &mut |ran| laps.next(ran))?;
            laps.end();
            let whole = Instant::now();
            steps.run(team)?;
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
            row_blocks: blocks.map_or(1, |blocks| blocks.count()),
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
        if self.row_blocks > 1 {
            writeln!(
                f,
                "{} row blocks, each on one thread; times are of all of them, one after the other",
                self.row_blocks
            )?;
        }
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
