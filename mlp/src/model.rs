//! [`Mlp`]: what users hold.

use kernels::{Isa, MatMut, MatRef, Precision, Team, with_team};

use crate::builder::MlpBuilder;
use crate::data::{Data, check_matrix};
use crate::epoch::EpochSums;
use crate::error::MlpError;
use crate::evaluate::{self, Answer};
use crate::loss::{Criterion, Loss, Objective};
use crate::matrix::Matrix;
use crate::network::Network;
use crate::optimizer::{Sgd, State};
use crate::params::Buffer;
use crate::plan::{self, Blocks, Passes, Plan, lower};
use crate::plateau::Plateau;
use crate::report::Evaluation;
use crate::run::Engine;
use crate::spec::Spec;

/// Below so many flop a question is answered by the calling thread alone: entering the thread pool
/// from outside costs up to 0.1 ms, in which one thread does some 15 Mflop.
const POOL_FLOP: usize = 50_000_000;

/// A multi-layer perceptron: dense layers with activations between them.
///
/// Inputs are matrices with a row for each sample: a [`Matrix`], or a view ([`MatRef`]) of
/// memory of one's own. All methods check what they are given.
///
/// A clone is independent of the original: parameters and training state are copied.
#[derive(Clone, Debug)]
pub struct Mlp {
    pub(crate) network: Network,
    pub(crate) progress: Progress,
}

/// How far the training of a network has come.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: State,
    /// Epochs finished; tells the order of the samples of the next.
    pub(crate) epochs: u64,
    /// What the reduction on a plateau remembers.
    pub(crate) plateau: Plateau,
    /// What was done of an epoch that the time cut short.
    pub(crate) unfinished: Option<EpochSums>,
}

impl Progress {
    fn new(parameters: usize) -> Self {
        Self {
            // Plain gradient descent keeps no state, so this takes no memory.
            state: State::new(Sgd::new(0.0).into(), Vec::new(), parameters),
            epochs: 0,
            plateau: Plateau::default(),
            unfinished: None,
        }
    }

    /// Becomes a copy of `other`, in memory of its own where that is of the same sizes.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        let Self {
            state,
            epochs,
            plateau,
            unfinished,
        } = other;
        self.state.copy_from(state);
        (self.epochs, self.plateau, self.unfinished) = (*epochs, *plateau, *unfinished);
    }
}

/// All that training changes in a network: parameters, the state of the optimiser, counters.
///
/// A training that goes on from a restored snapshot ends in the same bits as one that was not
/// interrupted.
///
/// ```
/// use mlp::{Dataset, Mlp, TrainConfig};
///
/// let data = Dataset::classes(vec![0., 1., 2., 3.], 1, vec![0, 0, 1, 1])?;
/// let config = || TrainConfig::default().max_epochs(3);
/// let mut net = Mlp::builder(1).dense(2).build()?;
/// net.fit(&data, &config())?;
/// let saved = net.snapshot();
/// net.resume(&data, &config())?;
/// let six_epochs = net.parameters().to_vec();
/// net.restore(&saved)?;
/// net.resume(&data, &config())?;
/// assert_eq!(net.parameters(), six_epochs);
/// # Ok::<(), mlp::MlpError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The description of the network that it is of.
    spec: Spec,
    parameters: Buffer,
    progress: Progress,
}

/// Memory for [`Mlp::predict_into`]: grows when a block of rows of a new size comes, and is used
/// again from then on.
#[derive(Debug)]
pub struct PredictWorkspace {
    engine: Engine,
    /// The description of the network that it was made by: the plans in it are of that one.
    spec: Spec,
}

impl Mlp {
    /// Begins the description of a network for samples of `inputs` features.
    pub fn builder(inputs: usize) -> MlpBuilder {
        MlpBuilder::new(inputs)
    }

    pub(crate) fn from_builder(builder: MlpBuilder) -> Result<Self, MlpError> {
        Ok(Self::from_network(Network::build(builder)?))
    }

    /// A network that has not been trained.
    pub(crate) fn from_network(network: Network) -> Self {
        let progress = Progress::new(network.parameter_count());
        Self { network, progress }
    }

    /// Mean loss over `data`, and the share of samples whose class was found.
    ///
    /// # Errors
    /// If the data do not fit the network: [`MlpError::Shape`], [`MlpError::Label`],
    /// [`MlpError::Targets`]; [`MlpError::Data`] if the weights of the samples are all 0.
    pub fn evaluate<'a>(&self, data: impl Into<Data<'a>>) -> Result<Evaluation, MlpError> {
        let data = data.into();
        self.check_data(data)?;
        self.ask(data.n_samples(), |engine, team| {
            let plain = Objective::default();
            let mut criterion = Criterion::Built(self.network.spec.loss, &plain);
            evaluate::evaluate(&self.network, engine, data, &mut criterion, team)
        })
    }

    /// The class of each sample: the number of its largest output, the first if several are.
    ///
    /// For networks with [`Loss::SoftmaxCrossEntropy`], and for those with
    /// [`Loss::BinaryCrossEntropy`] and one output: class 1 where it is above 0. The values that other
    /// networks predict are what [`Mlp::forward`] gives.
    ///
    /// # Errors
    /// [`MlpError::NotAClassifier`]; [`MlpError::Shape`] or [`MlpError::Data`] if `x` does not have a
    /// column for each input, or holds NaN or infinity, or values so large that an output is NaN or
    /// infinite: nothing can be said of classes then.
    pub fn predict<'a>(&self, x: impl Into<MatRef<'a>>) -> Result<Vec<u32>, MlpError> {
        let x = x.into();
        self.check_predict()?;
        self.check_features(x)?;
        self.ask(x.rows(), |engine, team| {
            evaluate::classes(&self.network, engine, x, team)
        })
    }

    /// The probability of each class for each sample: the softmax of the outputs, samples x classes; for
    /// binary cross-entropy the sigmoid of each output.
    ///
    /// # Errors
    /// As [`Mlp::predict`].
    pub fn predict_proba<'a>(&self, x: impl Into<MatRef<'a>>) -> Result<Matrix, MlpError> {
        self.check_classifier("predict_proba")?;
        self.answers(x.into(), Answer::Probabilities)
    }

    /// The outputs of the last layer, samples x outputs: logits of a classifier, or probabilities if it
    /// ends with softmax; predictions of a network trained on squared error. They are as they were
    /// computed: where values are too large for f32 an output may be infinite or NaN.
    ///
    /// # Errors
    /// [`MlpError::Shape`] or [`MlpError::Data`] if `x` does not have a column for each input, or
    /// holds NaN or infinity.
    pub fn forward<'a>(&self, x: impl Into<MatRef<'a>>) -> Result<Matrix, MlpError> {
        self.answers(x.into(), Answer::Outputs)
    }

    /// Memory for [`Mlp::predict_into`].
    pub fn predict_workspace(&self) -> PredictWorkspace {
        PredictWorkspace {
            engine: Engine::new(&self.network, Passes::Forward),
            spec: self.network.spec.clone(),
        }
    }

    /// Writes predictions to memory of the caller's, on the calling thread: what
    /// [`Mlp::predict_proba`] gives for a classifier, what [`Mlp::forward`] gives for others.
    ///
    /// Allocates nothing once the workspace has seen as many rows. The workspace may be one of
    /// another network of the same description.
    ///
    /// # Shapes
    /// x: samples x inputs; out: samples x outputs
    ///
    /// # Errors
    /// [`MlpError::Shape`] or [`MlpError::Data`] if shapes do not fit or `x` holds NaN or infinity, or an
    /// output of a classifier is NaN or infinite; [`MlpError::Setting`] if the workspace is one of a network of other layers.
    pub fn predict_into<'a>(
        &self,
        x: impl Into<MatRef<'a>>,
        out: MatMut<'_>,
        workspace: &mut PredictWorkspace,
    ) -> Result<(), MlpError> {
        let x = x.into();
        self.check_features(x)?;
        let expected = (x.rows(), self.network.outputs());
        if (out.rows(), out.cols()) != expected {
            return Err(MlpError::Shape {
                what: "memory for predictions",
                expected: format!("{} x {}", expected.0, expected.1),
                got: format!("{} x {}", out.rows(), out.cols()),
            });
        }
        let answer = match self.network.spec.loss {
            loss if loss.tells_classes() => Answer::Probabilities,
            _ => Answer::Outputs,
        };
        // Seed and initialisation decide no call.
        let (own, other) = (&self.network.spec, &workspace.spec);
        if (&own.layers, own.inputs, own.loss, own.precision)
            != (&other.layers, other.inputs, other.loss, other.precision)
        {
            return Err(MlpError::Setting {
                name: "workspace",
                expected: "one of a network of the same inputs, layers, loss and precision",
                got: format!(
                    "one of a network of {} inputs and other layers or settings",
                    other.inputs
                ),
            });
        }
        let engine = &mut workspace.engine;
        evaluate::answer(&self.network, engine, x, answer, out, &Team::solo())
    }

    /// A copy of all that training changes.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            spec: self.network.spec.clone(),
            parameters: self.network.parameters.clone(),
            progress: self.progress.clone(),
        }
    }

    /// Goes back to a snapshot of this network, or of one of the same inputs, layers and loss.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if the snapshot is of a network of other inputs, layers or another loss.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), MlpError> {
        let (own, other) = (&self.network.spec, &snapshot.spec);
        // Seed, initialisation and precision make no other network of it.
        if (own.inputs, &own.layers, own.loss) != (other.inputs, &other.layers, other.loss) {
            return Err(MlpError::Setting {
                name: "snapshot",
                expected: "one of a network of the same inputs, layers and loss",
                got: format!(
                    "one of a network of {} inputs and other layers or another loss",
                    other.inputs
                ),
            });
        }
        self.network
            .parameters
            .copy_from_slice(&snapshot.parameters);
        self.progress = snapshot.progress.clone();
        Ok(())
    }

    /// All parameters: layer by layer, the weight (row by row, a row for each output), then the bias.
    pub fn parameters(&self) -> &[f32] {
        &self.network.parameters[..self.network.parameter_count()]
    }

    /// Sets all parameters, in the order of [`Mlp::parameters`].
    ///
    /// # Errors
    /// [`MlpError::Shape`] if there are not as many, [`MlpError::Parameter`] if one is NaN or
    /// infinite.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<(), MlpError> {
        let expected = self.network.parameter_count();
        check_count(expected, parameters.len())?;
        if let Some(index) = parameters.iter().position(|w| !w.is_finite()) {
            let value = parameters[index];
            return Err(MlpError::Parameter { index, value });
        }
        self.network.parameters[..expected].copy_from_slice(parameters);
        Ok(())
    }

    /// Number of dense layers, those inside blocks and the projections of skip connections included.
    pub fn dense_layers(&self) -> usize {
        self.network.dense.len()
    }

    /// Weight of dense layer number `layer`, counted from 0: outputs x inputs. `None` if there is no
    /// such layer.
    pub fn weights(&self, layer: usize) -> Option<MatRef<'_>> {
        let weight = self.network.dense.get(layer)?.weight;
        let weight = self.network.graph.parameters().get(weight);
        let data = &self.network.parameters[weight.range()];
        MatRef::from_row_major(data, weight.rows, weight.cols).ok()
    }

    /// Bias of dense layer number `layer`, counted from 0: one value for each output. `None` if
    /// there is no such layer, or if it is a projection, which has none.
    pub fn bias(&self, layer: usize) -> Option<&[f32]> {
        let bias = self.network.dense.get(layer)?.bias?;
        let bias = self.network.graph.parameters().get(bias);
        Some(&self.network.parameters[bias.range()])
    }

    /// The description that the network was built from.
    pub fn spec(&self) -> &Spec {
        &self.network.spec
    }

    /// Number of features of a sample.
    pub fn inputs(&self) -> usize {
        self.network.spec.inputs
    }

    /// Number of outputs: classes, or values predicted.
    pub fn outputs(&self) -> usize {
        self.network.outputs()
    }

    /// The instruction set that the network runs on.
    pub fn isa(&self) -> Isa {
        self.network.kernels.isa()
    }

    /// How exact the least exact product of a training step with batches of `batch` rows is, of those that
    /// the precision asked for allows: what really runs.
    ///
    /// # Errors
    /// As [`Mlp::plan`].
    pub fn effective_precision(&self, batch: usize) -> Result<Precision, MlpError> {
        let (kernels, asked) = (self.network.kernels, self.network.precision());
        let plan = self.plan(batch)?;
        let graph = &self.network.graph;
        let plans = match Blocks::of(graph, batch) {
            Some(blocks) => [blocks.rows, blocks.last_rows()]
                .map(|rows| lower(graph, rows, Passes::Both))
                .into(),
            None => vec![plan],
        };
        let products = plans.iter().flat_map(Plan::products);
        let effective = |shape| kernels.effective_precision(asked, shape);
        Ok(products.map(effective).min().unwrap_or(Precision::Ieee))
    }

    /// The calls of a training step with batches of `batch` rows: what runs, in what shapes, in how
    /// much memory.
    ///
    /// Large batches of small networks take these calls in blocks of fewer rows
    /// ([`Explanation::row_blocks`](crate::Explanation::row_blocks)), unless the caller has a loss of its own.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if `batch` is 0, or so large that there is no memory for its values.
    pub fn plan(&self, batch: usize) -> Result<Plan, MlpError> {
        plan::checked(&self.network.graph, batch, Passes::Both)
    }

    /// Answers a question about `rows` samples: alone if it is small, with all threads if not.
    fn ask<R>(&self, rows: usize, answer: impl FnOnce(&mut Engine, &Team) -> R) -> R {
        let mut engine = Engine::new(&self.network, Passes::Forward);
        let flop = 2 * self.network.parameters.len();
        if rows.saturating_mul(flop) < POOL_FLOP {
            answer(&mut engine, &Team::solo())
        } else {
            with_team(0, |team| answer(&mut engine, team))
        }
    }

    fn answers(&self, x: MatRef<'_>, answer: Answer) -> Result<Matrix, MlpError> {
        self.network.check_inputs(x)?;
        let mut out = Matrix::checked(x.rows(), self.network.outputs())?;
        check_matrix("inputs", x)?;
        self.network.check_symbols(x)?;
        self.ask(x.rows(), |engine, team| {
            evaluate::answer(&self.network, engine, x, answer, out.view_mut(), team)
        })?;
        Ok(out)
    }

    /// Checks that data fit the network; that they are finite, [`Data`] has seen to.
    pub(crate) fn check_data(&self, data: Data<'_>) -> Result<(), MlpError> {
        self.network.check_inputs(data.inputs())?;
        self.network.check_symbols(data.inputs())?;
        let loss = self.network.spec.loss;
        loss.check(data.n_samples(), self.network.outputs(), data.targets())
    }

    fn check_features(&self, x: MatRef<'_>) -> Result<(), MlpError> {
        self.network.check_inputs(x)?;
        check_matrix("inputs", x)?;
        self.network.check_symbols(x)
    }

    /// Checks that the outputs are those of classes of which each sample has one.
    pub(crate) fn check_predict(&self) -> Result<(), MlpError> {
        self.check_classifier("predict")?;
        if self.network.spec.loss == Loss::BinaryCrossEntropy && self.outputs() != 1 {
            return Err(MlpError::Shape {
                what: "predict",
                expected: "one output, as binary cross-entropy tells two classes apart; \
                           predict_proba gives the probability of each"
                    .into(),
                got: self.outputs().to_string(),
            });
        }
        Ok(())
    }

    fn check_classifier(&self, op: &'static str) -> Result<(), MlpError> {
        let loss = self.network.spec.loss;
        if loss.tells_classes() {
            return Ok(());
        }
        Err(MlpError::NotAClassifier { op, loss })
    }
}

fn check_count(expected: usize, got: usize) -> Result<(), MlpError> {
    if got == expected {
        return Ok(());
    }
    Err(MlpError::Shape {
        what: "parameters",
        expected: expected.to_string(),
        got: got.to_string(),
    })
}

impl MlpBuilder {
    /// Checks the description and makes the network, with its first weights drawn.
    ///
    /// # Errors
    /// [`MlpError::Layer`] or [`MlpError::Setting`] if the description is no network,
    /// [`MlpError::Kernel`] if the instruction set asked for is not there.
    pub fn build(self) -> Result<Mlp, MlpError> {
        Mlp::from_builder(self)
    }
}
