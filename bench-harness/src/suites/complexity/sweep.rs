//! The networks whose steps are timed: one size varies, the others stay.

use serde::Serialize;

use crate::args::{ActivationName, Layers, NetworkArgs};

/// What varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sweep {
    Width,
    Depth,
    Batch,
}

/// Width and batch where they do not vary, and the number of weight matrices.
const WIDTH: usize = 512;
const BATCH: usize = 128;
const DEPTH: usize = 3;

/// From where a product is large enough that its cost per operation no longer depends on it.
const WIDTHS: [usize; 8] = [256, 384, 512, 768, 1024, 1280, 1536, 2048];
const DEPTHS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];
const BATCHES: [usize; 7] = [32, 64, 96, 128, 256, 512, 1024];

impl Sweep {
    pub(crate) const ALL: [Self; 3] = [Self::Width, Self::Depth, Self::Batch];

    /// Its networks, smallest first: all layers as wide as the inputs.
    pub(crate) fn networks(self) -> Vec<NetworkArgs> {
        let network = |width: usize, depth: usize, batch| NetworkArgs {
            name: None,
            layers: Layers(vec![width; depth + 1]),
            batch,
            activation: ActivationName::Relu,
        };
        match self {
            Self::Width => WIDTHS.map(|width| network(width, DEPTH, BATCH)).into(),
            Self::Depth => DEPTHS.map(|depth| network(WIDTH, depth, BATCH)).into(),
            Self::Batch => BATCHES.map(|batch| network(WIDTH, DEPTH, batch)).into(),
        }
    }
}
