//! Networks on the command line.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};

/// A network and the batch that it is given, or a table of them.
#[derive(Args, Debug)]
pub(crate) struct NetworkChoice {
    /// Widths from the inputs to the outputs, such as 784,512,256,10.
    #[arg(long, required_unless_present = "suite")]
    layers: Option<Layers>,
    /// Samples of a step.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// What follows each layer but the last.
    #[arg(long, value_enum, default_value_t = ActivationName::Relu)]
    activation: ActivationName,
    /// A table of networks instead of one.
    #[arg(long, value_enum, conflicts_with_all = ["layers", "batch", "activation"])]
    suite: Option<NetworkTable>,
}

/// Names for lists of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkTable {
    /// From a few neurons for flowers (A) to layers of 4096 (H), with the batches usual for each.
    Networks,
    /// Those of them whose step takes less than some 50 ms: A to G.
    Small,
    /// The one whose step takes longer: H.
    Large,
    /// A to G with one sample, and with 64: what is asked of a network in use.
    Serving,
}

impl NetworkTable {
    /// Whether the network of this name is in the table.
    fn holds(self, name: &str) -> bool {
        match self {
            Self::Networks => true,
            Self::Small | Self::Serving => name != "H",
            Self::Large => name == "H",
        }
    }
}

/// Batches of [`NetworkTable::Serving`].
const SERVED: [usize; 2] = [1, 64];

/// A network and the batch that it is given.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NetworkArgs {
    /// Its name, if it is of a table.
    #[serde(rename = "network", skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'static str>,
    pub(crate) layers: Layers,
    pub(crate) batch: usize,
    pub(crate) activation: ActivationName,
}

/// Name, widths, batch, activation.
const NETWORKS: [(&str, &[usize], usize, ActivationName); 8] = [
    ("A", &[4, 16, 16, 3], 32, ActivationName::Relu),
    ("B", &[17, 64, 64, 6], 64, ActivationName::Tanh),
    ("C", &[17, 256, 256, 6], 256, ActivationName::Relu),
    ("D", &[784, 128, 10], 64, ActivationName::Relu),
    ("E", &[784, 512, 256, 10], 128, ActivationName::Relu),
    (
        "F",
        &[1024, 1024, 1024, 1024, 10],
        256,
        ActivationName::Relu,
    ),
    (
        "G",
        &[256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 10],
        128,
        ActivationName::Relu,
    ),
    ("H", &[2048, 4096, 4096, 1000], 512, ActivationName::Relu),
];

impl NetworkChoice {
    /// The networks chosen, at least one.
    pub(crate) fn networks(&self) -> Vec<NetworkArgs> {
        match &self.layers {
            Some(layers) => vec![NetworkArgs {
                name: None,
                layers: layers.clone(),
                batch: self.batch,
                activation: self.activation,
            }],
            None => self.suite.map(Self::table).unwrap_or_default(),
        }
    }

    fn table(suite: NetworkTable) -> Vec<NetworkArgs> {
        NETWORKS
            .iter()
            .filter(|(name, ..)| suite.holds(name))
            .flat_map(|&(name, layers, usual, activation)| {
                let batches = if suite == NetworkTable::Serving {
                    SERVED.to_vec()
                } else {
                    vec![usual]
                };
                batches.into_iter().map(move |batch| NetworkArgs {
                    name: Some(name),
                    layers: Layers(layers.to_vec()),
                    batch,
                    activation,
                })
            })
            .collect()
    }

    /// Whether it is a table of them.
    pub(crate) fn is_a_table(&self) -> bool {
        self.suite.is_some()
    }

    /// The first of them.
    pub(crate) fn first(&self) -> NetworkArgs {
        self.networks().swap_remove(0)
    }
}

/// The networks whose names these letters are; `None` if one of them is no name.
pub(crate) fn networks_named(names: &str) -> Option<Vec<NetworkArgs>> {
    let all = NetworkChoice::table(NetworkTable::Networks);
    let of = |letter: char| {
        let is_it = |network: &&NetworkArgs| network.name.is_some_and(|name| name.contains(letter));
        all.iter().find(is_it).cloned()
    };
    names.chars().map(of).collect()
}

/// Activations by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum ActivationName {
    /// y = x
    Identity,
    /// y = max(x, 0)
    Relu,
    /// y = x for x > 0, else x / 100
    LeakyRelu,
    /// y = 1 / (1 + e^-x)
    Sigmoid,
    /// y = tanh x
    Tanh,
}

/// Optimisers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum OptimizerName {
    /// Plain gradient descent.
    Sgd,
    /// With momentum 0.9.
    Momentum,
    /// With Nesterov's momentum 0.9.
    Nesterov,
    /// Adam with the usual betas.
    Adam,
}

/// Widths of the layers of a network, inputs first; at least two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layers(pub(crate) Vec<usize>);

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let widths: Option<Vec<usize>> = text
            .split(',')
            .map(|width| width.trim().parse().ok().filter(|&width| width > 0))
            .collect();
        match widths {
            Some(widths) if widths.len() >= 2 => Ok(Self(widths)),
            _ => Err("expected at least two widths of at least 1, such as 784,512,10".to_owned()),
        }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&words.join(","))
    }
}

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_and_written_alike() {
        let layers: Layers = "784,512,10".parse().expect("three widths");
        assert_eq!(layers, Layers(vec![784, 512, 10]));
        assert_eq!(layers.to_string(), "784,512,10");
        for text in ["", "784", "784,0,10", "784,,10", "784,-1"] {
            assert!(text.parse::<Layers>().is_err(), "{text:?}");
        }
    }
}
