//! What the user asked for: a network as plain data, and the builder that collects it.

use std::hint::black_box;

use kernels::{Activation, Isa};

use crate::error::MlpError;
use crate::init::Init;
use crate::loss::Loss;

/// One layer, as the user asked for it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LayerSpec {
    /// `y = x W^T + b` with `W: width x fan_in`.
    Dense {
        /// Number of outputs.
        width: usize,
    },
    /// `y = act(x)`, element by element.
    Activation(Activation),
}

/// A network as plain data: everything that decides its shape and its first weights.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spec {
    /// Number of features of a sample.
    pub inputs: usize,
    /// The layers, from the input on.
    pub layers: Vec<LayerSpec>,
    /// What training makes small.
    pub loss: Loss,
    /// How weights are drawn; `None` chooses for each layer by the activation that follows it
    /// ([`Init::for_activation`]).
    pub init: Option<Init>,
    /// Seed of the weights, and of the order of the samples in training.
    pub seed: u64,
}

impl Spec {
    /// The activation that follows layer number `layer` directly.
    pub(crate) fn activation_after(&self, layer: usize) -> Activation {
        match self.layers.get(layer + 1) {
            Some(&LayerSpec::Activation(activation)) => activation,
            _ => Activation::Identity,
        }
    }

    /// Checks all that can be wrong with the description.
    pub(crate) fn check(&self) -> Result<(), MlpError> {
        if self.inputs == 0 {
            return Err(MlpError::Setting {
                name: "inputs",
                expected: "at least 1 feature",
                got: "0".into(),
            });
        }
        if !matches!(self.layers.first(), Some(LayerSpec::Dense { .. })) {
            return Err(MlpError::Layer {
                layer: 0,
                expected: "a dense layer at the beginning",
                got: match self.layers.first() {
                    None => "no layers".into(),
                    Some(layer) => format!("{layer:?}"),
                },
            });
        }
        for (layer, description) in self.layers.iter().enumerate() {
            check_layer(layer, description)?;
        }
        self.check_size()?;
        if let Some(Init::Constant(value)) = self.init
            && !value.is_finite()
        {
            return Err(MlpError::Setting {
                name: "init",
                expected: "a finite constant",
                got: value.to_string(),
            });
        }
        if self.loss == Loss::SoftmaxCrossEntropy && self.outputs() < 2 {
            return Err(MlpError::Layer {
                layer: self.layers.len() - 1,
                expected: "at least 2 outputs for softmax cross-entropy",
                got: self.outputs().to_string(),
            });
        }
        Ok(())
    }

    /// Checks that there is memory for the parameters.
    fn check_size(&self) -> Result<(), MlpError> {
        let mut fan_in = self.inputs;
        let mut parameters = Some(0usize);
        for layer in &self.layers {
            if let LayerSpec::Dense { width } = *layer {
                let more = fan_in.checked_add(1).and_then(|n| n.checked_mul(width));
                parameters = parameters
                    .zip(more)
                    .and_then(|(n, more)| n.checked_add(more));
                fan_in = width;
            }
        }
        // Without black_box the compiler may leave out an allocation that nothing is written to.
        let reserve = |n| black_box(&mut Vec::<f32>::new()).try_reserve_exact(n);
        if parameters.is_some_and(|n| reserve(n).is_ok()) {
            return Ok(());
        }
        Err(MlpError::Setting {
            name: "layers",
            expected: "no more parameters than there is memory for",
            got: parameters.map_or_else(|| "more than can be counted".into(), |n| n.to_string()),
        })
    }

    /// Width of the last layer; that of the input if there is none.
    pub(crate) fn outputs(&self) -> usize {
        let widths = self.layers.iter().rev().filter_map(|layer| match layer {
            LayerSpec::Dense { width } => Some(*width),
            LayerSpec::Activation(_) => None,
        });
        widths.into_iter().next().unwrap_or(self.inputs)
    }
}

fn check_layer(layer: usize, description: &LayerSpec) -> Result<(), MlpError> {
    match *description {
        LayerSpec::Dense { width: 0 } => Err(MlpError::Layer {
            layer,
            expected: "a width of at least 1",
            got: "0".into(),
        }),
        LayerSpec::Activation(Activation::LeakyRelu { negative_slope })
            if !(negative_slope.is_finite() && negative_slope >= 0.0) =>
        {
            Err(MlpError::Layer {
                layer,
                expected: "a finite negative_slope of at least 0",
                got: negative_slope.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// Collects the description of a network; [`build`](MlpBuilder::build) checks it and makes it.
///
/// Made by [`Mlp::builder`](crate::Mlp::builder).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct MlpBuilder {
    pub(crate) spec: Spec,
    pub(crate) isa: Option<Isa>,
}

impl MlpBuilder {
    pub(crate) fn new(inputs: usize) -> Self {
        Self {
            spec: Spec {
                inputs,
                layers: Vec::new(),
                loss: Loss::default(),
                init: None,
                seed: 0,
            },
            isa: None,
        }
    }

    fn layer(mut self, layer: LayerSpec) -> Self {
        self.spec.layers.push(layer);
        self
    }

    /// Adds `y = x W^T + b` with `width` outputs.
    pub fn dense(self, width: usize) -> Self {
        self.layer(LayerSpec::Dense { width })
    }

    /// Adds `y = act(x)`.
    pub fn activation(self, activation: Activation) -> Self {
        self.layer(LayerSpec::Activation(activation))
    }

    /// Adds `y = max(x, 0)`.
    pub fn relu(self) -> Self {
        self.activation(Activation::Relu)
    }

    /// Adds `y = x` where x > 0, `negative_slope * x` elsewhere; the slope is finite, at least 0.
    pub fn leaky_relu(self, negative_slope: f32) -> Self {
        self.activation(Activation::LeakyRelu { negative_slope })
    }

    /// Adds `y = 1 / (1 + e^-x)`.
    pub fn sigmoid(self) -> Self {
        self.activation(Activation::Sigmoid)
    }

    /// Adds `y = tanh x`.
    pub fn tanh(self) -> Self {
        self.activation(Activation::Tanh)
    }

    /// What training makes small; [`Loss::SoftmaxCrossEntropy`] unless said otherwise.
    ///
    /// The loss belongs to the network, not to a training: it decides what
    /// [`predict`](crate::Mlp::predict) and [`evaluate`](crate::Mlp::evaluate) mean.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.spec.loss = loss;
        self
    }

    /// How the weights of all dense layers are drawn.
    ///
    /// Without it each layer follows its activation: He normal before the ReLU family, Xavier
    /// uniform before all else. Biases start at 0.
    pub fn init(mut self, init: Init) -> Self {
        self.spec.init = Some(init);
        self
    }

    /// Seed of the weights, and of the order of the samples in training; 0 unless said otherwise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.spec.seed = seed;
        self
    }

    /// Insists on the kernels of one instruction set, instead of the best that the CPU and
    /// `KERNELS_ISA` allow.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }
}
