//! Trains multi-layer perceptrons on CPUs, fast.
//!
#![doc = concat!("```\n", include_str!("../doc/example.rs"), "```")]
//!
//! # How it works
//!
//! A description ([`Mlp::builder`]) becomes a graph, which is differentiated once, when the network is
//! built. For each batch size the graph becomes a plan ([`Mlp::plan`]): a straight list of kernel calls
//! over one arena, activations and their derivatives fused into the matrix products next to them. A
//! training step walks the list and decides nothing; after the first epoch nothing is allocated.
//!
//! # Conventions
//!
//! - Samples are rows. A weight is outputs x inputs, as in PyTorch: `y = x W^T + b`.
//! - The loss belongs to the network ([`Loss`]); it is a mean over the batch, and so are gradients.
//! - Results are the same, bit for bit, for any number of threads; another instruction set or another
//!   batch size may round differently.
//! - What a user supplies is checked where it comes in; [`MlpError`] says what was expected, what came,
//!   and where.
#![forbid(unsafe_code)]

mod builder;
mod clip;
mod config;
mod data;
mod ensemble;
mod epoch;
mod error;
mod evaluate;
mod explain;
mod fold;
mod graph;
mod init;
mod layers;
mod loss;
mod matrix;
mod model;
mod network;
mod optimizer;
mod params;
mod plan;
mod plateau;
mod rate_finder;
mod report;
mod rng;
mod run;
mod save;
mod schedule;
mod search;
mod spec;
mod suggest;
mod train;
mod trainer;

#[cfg(test)]
mod tests;

pub use kernels::{
    Activation, DerivativeFrom, Isa, KernelError, MatMut, MatRef, Precision, Targets, Team,
    TeamOptions, with_team,
};

pub use builder::{BlockBuilder, Builder, MlpBuilder, Settings};
pub use clip::Clip;
pub use config::{EarlyStopping, TrainConfig};
pub use data::{BatchBuffer, Batches, Data, DataError, Dataset, Fold, Scaler};
#[cfg(feature = "files")]
pub use data::{Column, CsvReader, FileError};
pub use ensemble::Ensemble;
pub use error::MlpError;
pub use explain::{Bound, ExplainedCall, Explanation, Pass};
pub use init::{Fan, Init};
pub use loss::{Loss, LossBatch, LossFn, Objective};
pub use matrix::Matrix;
pub use model::{Mlp, PredictWorkspace, Snapshot};
pub use optimizer::{Adam, AdamW, Optimizer, ParamGroup, Rmsprop, Sgd, Tuned};
pub use params::ParameterKind;
pub use plan::{Cost, Plan};
pub use plateau::ReduceOnPlateau;
pub use rate_finder::{RateCurve, RatePoint, RateSweep};
pub use report::{EpochReport, Evaluation, Report, StopReason};
pub use save::ModelFileError;
pub use schedule::Schedule;
pub use search::{Point, Score, Search, SearchReport, Space, Trial};
pub use spec::{LayerSpec, Shortcut, Spec, TransformerBlock};
pub use suggest::Suggestion;
pub use trainer::Trainer;
