//! Models in files: the parameters as safetensors under the names of `torch.nn.Sequential`, the
//! description of the network, and the state of its training, beside them.
//!
//! A file holds one tensor of f32 for each matrix of parameters (`0.weight`: outputs x inputs) or
//! vector (`0.bias`), and as metadata under the key `mlp` a text in JSON: the version of this format,
//! the [`Spec`], and in a checkpoint the optimiser and how far it has come. What an optimiser
//! remembers of a tensor `0.weight` is `optimizer.0.0.weight`, `optimizer.1.0.weight`, and so on.
//!
//! A file is checked before it is believed: sizes against the description before memory is asked
//! for, the description as any other, values for being finite.

mod error;
mod file;
mod tensors;

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use error::ModelFileError;

use crate::epoch::EpochSums;
use crate::error::MlpError;
use crate::model::{Mlp, Progress};
use crate::network::Network;
use crate::optimizer::{Optimizer, State};
use crate::params::{Buffer, Layout, Parameter, ParameterKind};
use crate::plateau::{MAX_COUNT, Plateau};
use crate::spec::Spec;
use tensors::{Tensor, TensorFile};

/// Version of the text in the metadata; another one is refused.
const VERSION: u32 = 1;

/// End of the name of a count that PyTorch keeps beside running statistics; nothing here depends on
/// it.
const UNUSED: &str = ".num_batches_tracked";

/// End of the name of running variances, which are not negative.
const VARIANCE: &str = ".running_var";

/// Beginning of the names of what an optimiser remembers.
const OPTIMIZER: &str = "optimizer.";

/// What the text says first: whether the rest can be understood.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The text of a file.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    spec: Spec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<Training>,
}

/// How far a training has come; what the optimiser remembers is in tensors.
#[derive(Serialize, Deserialize)]
struct Training {
    optimizer: Optimizer,
    step: u64,
    epochs: u64,
    plateau: Plateau,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unfinished: Option<EpochSums>,
}

impl Training {
    /// Checks that no count is near its end, and that the plateau is one: that training can go on.
    fn check_counts(&self, file: &str) -> Result<(), ModelFileError> {
        let most = self.step.max(self.epochs);
        let sound = self.unfinished.is_none_or(|sums| sums.is_sound());
        if most <= MAX_COUNT && self.plateau.is_sound() && sound {
            return Ok(());
        }
        Err(ModelFileError::Format {
            file: file.to_owned(),
            expected: "at most 2^53 steps and epochs",
            got: format!("{most}, {:?}, {:?}", self.plateau, self.unfinished),
        })
    }
}

impl Mlp {
    /// Writes the network to a file, from which [`Mlp::load`] makes it again.
    ///
    /// The format is [safetensors](https://github.com/huggingface/safetensors). The tensors have the
    /// names that `torch.nn.Sequential` gives them, so in Python
    /// `model.load_state_dict(safetensors.torch.load_file(path))` fills a `Sequential` of the same
    /// layers. A file of that name is replaced in one piece: at no moment is there half a model.
    /// A symbolic link stays one: the file at its end is replaced.
    ///
    /// # Complexity
    /// The parameters are written once; as much memory again for the time of the call.
    ///
    /// # Errors
    /// [`MlpError::ModelFile`] if the file cannot be written, or there is something of that name which is no
    /// regular file, such as a folder or a device; what was there before is then still there.
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// let path = std::env::temp_dir().join(format!("mlp-doc-{}.safetensors", std::process::id()));
    /// let net = Mlp::builder(3).dense(8).relu().dense(2).build()?;
    /// net.save(&path)?;
    /// let again = Mlp::load(&path)?;
    /// assert_eq!(again.spec(), net.spec());
    /// assert_eq!(again.parameters(), net.parameters());
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), MlpError> {
        self.write(path.as_ref(), None)
    }

    /// As [`Mlp::save`], with the state of the training beside the parameters: a training that goes on
    /// ([`Mlp::resume`]) from the file ends in the bits of one that was not interrupted.
    ///
    /// # Complexity
    /// As [`Mlp::save`], for the parameters and as many values as the optimiser keeps for them.
    ///
    /// # Errors
    /// As [`Mlp::save`].
    ///
    /// ```
    /// use mlp::{Dataset, Mlp, TrainConfig};
    ///
    /// let path = std::env::temp_dir().join(format!("mlp-doc-checkpoint-{}", std::process::id()));
    /// let data = Dataset::classes(vec![0., 1., 2., 3.], 1, vec![0, 0, 1, 1])?;
    /// let config = TrainConfig::default().max_epochs(3);
    /// let mut net = Mlp::builder(1).dense(4).tanh().dense(2).build()?;
    /// net.fit(&data, &config)?;
    /// net.save_checkpoint(&path)?;
    /// let mut again = Mlp::load(&path)?;
    /// net.resume(&data, &config)?;
    /// again.resume(&data, &config)?;
    /// assert_eq!(again.parameters(), net.parameters());
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn save_checkpoint(&self, path: impl AsRef<Path>) -> Result<(), MlpError> {
        let Progress {
            state,
            epochs,
            plateau,
            unfinished,
        } = &self.progress;
        let training = Training {
            optimizer: state.optimizer(),
            step: state.step,
            epochs: *epochs,
            plateau: *plateau,
            unfinished: *unfinished,
        };
        self.write(path.as_ref(), Some(training))
    }

    /// Makes the network that a file holds, ready to predict; and to go on with its training, if the
    /// file was written by [`Mlp::save_checkpoint`].
    ///
    /// # Complexity
    /// The file is read once; memory for it and for the network.
    ///
    /// # Errors
    /// [`MlpError::ModelFile`] if the file cannot be read, or is not what [`Mlp::save`] writes: the
    /// message names the tensor, the shape expected and the one found. No file makes it panic.
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// let path = std::env::temp_dir().join(format!("mlp-doc-load-{}", std::process::id()));
    /// assert!(Mlp::load(&path).is_err(), "no such file");
    /// Mlp::builder(3).dense(8).gelu().dense(2).build()?.save(&path)?;
    /// assert_eq!(Mlp::load(&path)?.inputs(), 3);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, MlpError> {
        let path = path.as_ref();
        let bytes = file::read(path)?;
        let file = TensorFile::new(path, &bytes)?;
        let Description { spec, training, .. } = describe(&file)?;
        let refused = |error: MlpError| ModelFileError::Network {
            file: file.name().to_owned(),
            message: error.to_string(),
        };
        // Before memory is taken for as many parameters as the description says there are.
        let layout = Network::layout(&spec).map_err(refused)?;
        for parameter in matrices(&layout) {
            file.check(&parameter.name, &shape(&parameter))?;
        }
        if let Some(training) = &training {
            training.optimizer.check().map_err(refused)?;
            training.check_counts(file.name())?;
        }
        let mut mlp = Self::from_network(Network::of(spec, None).map_err(refused)?);
        mlp.network.parameters = mlp.parameters_in(&file)?;
        if let Some(training) = training {
            mlp.progress = mlp.progress_in(&file, &training)?;
        }
        Ok(mlp)
    }

    /// Takes the parameters from a file with tensors of the same names and shapes, such as one that
    /// PyTorch wrote (`safetensors.torch.save_file(model.state_dict(), path)`); the state of the
    /// training is left as it is.
    ///
    /// # Complexity
    /// As [`Mlp::load`].
    ///
    /// # Errors
    /// [`MlpError::ModelFile`] if the file cannot be read, lacks a tensor, or holds one of another
    /// shape or name; the network is then as it was.
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// let path = std::env::temp_dir().join(format!("mlp-doc-parameters-{}", std::process::id()));
    /// let net = |seed| Mlp::builder(3).dense(8).relu().dense(2).seed(seed).build();
    /// net(1)?.save(&path)?;
    /// let mut other = net(2)?;
    /// other.load_parameters(&path)?;
    /// assert_eq!(other.parameters(), net(1)?.parameters());
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn load_parameters(&mut self, path: impl AsRef<Path>) -> Result<(), MlpError> {
        let path = path.as_ref();
        let bytes = file::read(path)?;
        let parameters = self.parameters_in(&TensorFile::new(path, &bytes)?)?;
        self.network.parameters = parameters;
        Ok(())
    }

    fn write(&self, path: &Path, training: Option<Training>) -> Result<(), MlpError> {
        let layout = self.network.graph.parameters();
        let mut tensors = Vec::new();
        add(&mut tensors, matrices(layout), "", &self.network.parameters);
        if training.is_some() {
            for (slot, values) in self.progress.state.slots().iter().enumerate() {
                if !values.is_empty() {
                    let prefix = format!("{OPTIMIZER}{slot}.");
                    add(&mut tensors, layout.iter().cloned(), &prefix, values);
                }
            }
        }
        let description = Description {
            version: VERSION,
            spec: self.network.spec.clone(),
            training,
        };
        let text = serde_json::to_string(&description).map_err(|error| ModelFileError::Format {
            file: path.display().to_string(),
            expected: "a description that can be written as JSON",
            got: error.to_string(),
        })?;
        tensors::write(path, &tensors, text)?;
        Ok(())
    }

    /// The parameters that a file holds for this network.
    fn parameters_in(&self, file: &TensorFile<'_>) -> Result<Buffer, ModelFileError> {
        let layout = self.network.graph.parameters();
        let known: HashSet<String> = matrices(layout).map(|parameter| parameter.name).collect();
        for name in file.tensor_names() {
            if !known.contains(name) && !name.starts_with(OPTIMIZER) && !name.ends_with(UNUSED) {
                return Err(ModelFileError::Tensor {
                    file: file.name().to_owned(),
                    tensor: name.to_owned(),
                    expected: "the names of the parameters of the network alone".into(),
                    got: "one that it does not have".into(),
                });
            }
        }
        let mut parameters = self.network.parameters.clone();
        read(file, matrices(layout), "", &mut parameters)?;
        Ok(parameters)
    }

    /// The state of the training that a file holds for this network.
    fn progress_in(
        &self,
        file: &TensorFile<'_>,
        training: &Training,
    ) -> Result<Progress, ModelFileError> {
        let layout = self.network.graph.parameters();
        let mut state = State::new(training.optimizer, Vec::new(), layout.len());
        state.step = training.step;
        for (slot, values) in state.slots_mut().iter_mut().enumerate() {
            if !values.is_empty() {
                let prefix = format!("{OPTIMIZER}{slot}.");
                read(file, layout.iter().cloned(), &prefix, values)?;
            }
        }
        Ok(Progress {
            state,
            epochs: training.epochs,
            plateau: training.plateau,
            unfinished: training.unfinished,
        })
    }
}

/// All parameters, and behind them what training changes without a gradient.
fn matrices(layout: &Layout) -> impl Iterator<Item = Parameter> {
    layout.iter().cloned().chain(layout.buffers())
}

/// Shape of a parameter in a file, as in PyTorch: vectors have one dimension.
fn shape(parameter: &Parameter) -> Vec<usize> {
    match parameter.kind {
        ParameterKind::Weight => vec![parameter.rows, parameter.cols],
        ParameterKind::Bias | ParameterKind::Norm => vec![parameter.rows * parameter.cols],
    }
}

/// Adds a tensor for each parameter, with its part of `values`.
fn add<'a>(
    tensors: &mut Vec<Tensor<'a>>,
    parameters: impl Iterator<Item = Parameter>,
    prefix: &str,
    values: &'a [f32],
) {
    tensors.extend(parameters.map(|parameter| Tensor {
        name: format!("{prefix}{}", parameter.name),
        shape: shape(&parameter),
        values: &values[parameter.range()],
    }));
}

/// Reads the tensor of each parameter into its part of `values`.
fn read(
    file: &TensorFile<'_>,
    parameters: impl Iterator<Item = Parameter>,
    prefix: &str,
    values: &mut [f32],
) -> Result<(), ModelFileError> {
    for parameter in parameters {
        let name = format!("{prefix}{}", parameter.name);
        let least = name.ends_with(VARIANCE).then_some(0.0);
        let to = &mut values[parameter.range()];
        file.copy(&name, &shape(&parameter), least, to)?;
    }
    Ok(())
}

/// Reads the text of a file.
fn describe(file: &TensorFile<'_>) -> Result<Description, ModelFileError> {
    let wrong = |expected, got: String| ModelFileError::Format {
        file: file.name().to_owned(),
        expected,
        got,
    };
    const DESCRIBED: &str = "a model with its description";
    let text = file.text().ok_or_else(|| {
        wrong(
            DESCRIBED,
            "tensors alone, which Mlp::load_parameters reads".into(),
        )
    })?;
    let no_json = |error: serde_json::Error| wrong(DESCRIBED, format!("one that is none: {error}"));
    let Version { version } = serde_json::from_str(text).map_err(no_json)?;
    if version != VERSION {
        let got = format!("version {version}");
        return Err(wrong("a description of version 1", got));
    }
    serde_json::from_str(text).map_err(no_json)
}
