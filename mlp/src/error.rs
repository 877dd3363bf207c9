//! What can be wrong with a network, a setting, or a call into this crate.

use kernels::KernelError;

use crate::data::DataError;
use crate::loss::Loss;
use crate::save::ModelFileError;

/// Why a network could not be built, trained or asked.
///
/// Each message says what was expected, what came, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MlpError {
    /// The layers do not make a network.
    #[error("layer {layer}: expected {expected}, got {got}")]
    Layer {
        /// Position in the list of layers, counted from 0; activations count. `2.0` is the first
        /// layer of the list that is layer 2.
        layer: String,
        /// What the layer has to be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// Batch normalisation was to be trained on a batch that has no variance.
    #[error(
        "layer {layer}: batch normalisation in training: expected batches of at least 2 rows, got one \
         of {rows}; another batch_size, or drop_last where the last batch of an epoch is short, avoids it"
    )]
    BatchTooSmall {
        /// Position of the layer, see [`MlpError::Layer`].
        layer: String,
        /// Rows of the batch.
        rows: usize,
    },
    /// A setting is outside its range.
    #[error("{name}: expected {expected}, got {got}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        got: String,
    },
    /// A matrix or a slice is of the wrong shape.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// What was given.
        what: &'static str,
        /// The shape needed.
        expected: String,
        /// The shape that came.
        got: String,
    },
    /// A class label names a class that the network does not have.
    #[error("label {label} in row {row} is out of range: the network has {classes} outputs")]
    Label {
        /// Row of the label, counted from 0.
        row: usize,
        /// The label.
        label: u32,
        /// Number of outputs; labels run from 0 to `classes - 1`.
        classes: usize,
    },
    /// The targets are not what the loss of the network compares with.
    #[error("targets for {loss}: expected {expected}, got {got}")]
    Targets {
        /// The loss.
        loss: Loss,
        /// The kind it compares with.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A parameter to be set is NaN or infinite.
    #[error("parameters: expected finite values, got {value} at index {index}")]
    Parameter {
        /// Where it stands in the flat order of [`Mlp::parameters`](crate::Mlp::parameters).
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Classes were asked of a network that was not built to tell classes apart.
    #[error(
        "{op}: expected a network with softmax cross-entropy as its loss, or with binary \
         cross-entropy, this one has {loss}; forward gives its values"
    )]
    NotAClassifier {
        /// The operation.
        op: &'static str,
        /// The loss that the network was built for.
        loss: Loss,
    },
    /// The loss of a step was NaN or infinite; the step changed nothing.
    #[error("step {step}: the loss is {loss}; the parameters were left as they were")]
    NonFiniteLoss {
        /// Number of the step, counted from 1.
        step: u64,
        /// The loss.
        loss: f32,
    },
    /// The norm of the gradient of a step was NaN or infinite; the step changed nothing.
    #[error(
        "step {step}: the norm of the gradient is {norm}; the parameters were left as they were"
    )]
    NonFiniteGradient {
        /// Number of the step, counted from 1.
        step: u64,
        /// The norm.
        norm: f32,
    },
    /// A schedule made the learning rate NaN or infinite; the step changed nothing.
    #[error(
        "step {step}: the learning rate is {learning_rate}; the parameters were left as they were"
    )]
    NonFiniteRate {
        /// Number of the step, counted from 1.
        step: u64,
        /// The learning rate, with the factor of the group that it was found in.
        learning_rate: f32,
    },
    /// What is to be searched is nothing that can be.
    #[error("search: expected {expected}, got {got}")]
    Search {
        /// What a space, its points or their scores have to be.
        expected: &'static str,
        /// What they are.
        got: String,
    },
    /// One of the points of a search could not be scored.
    #[error("{point}: {error}")]
    Point {
        /// The settings.
        point: String,
        /// Why.
        error: Box<MlpError>,
    },
    /// One of several networks could not be trained.
    #[error("member {member}: {error}")]
    Member {
        /// Its number, counted from 0.
        member: usize,
        /// Why.
        error: Box<MlpError>,
    },
    /// The data cannot be trained on.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The file of a model could not be written or read.
    #[error(transparent)]
    ModelFile(#[from] ModelFileError),
    /// The kernels refused; when the environment asks for an instruction set that is not there.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl MlpError {
    /// What is wrong with a part of a layer, as an error of the layer, which is what the user wrote.
    pub(crate) fn of_layer(self, name: &str) -> Self {
        match self {
            Self::Layer { expected, got, .. } => Self::Layer {
                layer: name.to_owned(),
                expected,
                got,
            },
            other => other,
        }
    }
}
