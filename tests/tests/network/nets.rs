//! The same network twice: in f32 and in f64.

use kernels::{Isa, Kernels};
use mlp::{MatRef, Mlp, Targets};
use tests::activation::Activation;
use tests::loss::Pointwise;
use tests::matrix::Matrix;
use tests::network::{Loss, Network};
use tests::values::Values;

use crate::activation::to_kernel;

/// The instruction sets of this machine.
pub(crate) fn isas() -> Vec<Isa> {
    let all = Kernels::available().expect("the environment asks for what this machine has");
    all.into_iter().map(Kernels::isa).collect()
}

/// The 2-norm.
pub(crate) fn norm(x: impl IntoIterator<Item = f64>) -> f64 {
    x.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// A matrix that f32 has exactly.
pub(crate) fn narrow(m: &Matrix) -> Vec<f32> {
    m.data.iter().map(|&x| x as f32).collect()
}

/// The loss of `mlp` that is meant by one of the reference.
pub(crate) fn to_loss(loss: Loss) -> mlp::Loss {
    match loss {
        Loss::CrossEntropy => mlp::Loss::SoftmaxCrossEntropy,
        Loss::Mean(Pointwise::Squared) => mlp::Loss::MeanSquaredError,
        Loss::Mean(Pointwise::Absolute) => mlp::Loss::MeanAbsoluteError,
        Loss::Mean(Pointwise::Huber(delta)) => mlp::Loss::Huber {
            delta: delta as f32,
        },
        Loss::Mean(Pointwise::Binary) => mlp::Loss::BinaryCrossEntropy,
    }
}

/// What to build and what to show it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) widths: Vec<usize>,
    pub(crate) activation: Activation,
    pub(crate) loss: Loss,
    pub(crate) batch: usize,
    /// Classes, or rows of values.
    pub(crate) labels: bool,
}

impl Problem {
    /// The network in f64, with its first parameters.
    pub(crate) fn reference(&self) -> Network {
        Network::random(&self.widths, self.activation, self.loss, 0x4e37)
    }

    pub(crate) fn batch(&self) -> Batch {
        let mut values = Values::new(0xba7c);
        let (n, outputs) = (self.batch, self.widths[self.widths.len() - 1]);
        let inputs = values.vec(n * self.widths[0]);
        let labels = values.labels(n, outputs);
        let rows = match (self.labels, self.loss) {
            (true, _) => Matrix::one_hot(&labels, outputs).data,
            // Weights of classes may not be negative, and need not sum to 1.
            (false, Loss::CrossEntropy) => values.matrix(n, outputs).map(f64::abs).data,
            // Probabilities are 0 to 1.
            (false, Loss::Mean(Pointwise::Binary)) => values.matrix(n, outputs).map(f64::abs).data,
            (false, Loss::Mean(_)) => values.matrix(n, outputs).data,
        };
        Batch {
            problem: self.clone(),
            inputs,
            labels,
            rows: rows.into_iter().map(|x| x as f32).collect(),
        }
    }

    /// The network in f32, with the parameters of the one in f64.
    pub(crate) fn network(&self, isa: Isa) -> Result<Mlp, String> {
        let mut builder = Mlp::builder(self.widths[0]);
        for (l, &width) in self.widths[1..].iter().enumerate() {
            builder = builder.dense(width);
            let hidden = l + 2 < self.widths.len();
            if hidden && self.activation != Activation::Identity {
                builder = builder.activation(to_kernel(self.activation));
            }
        }
        let mut network = builder
            .loss(to_loss(self.loss))
            .isa(isa)
            .build()
            .map_err(|e| e.to_string())?;
        if network.isa() != isa {
            return Err(format!("runs on {}, asked for {isa}", network.isa()));
        }
        let params: Vec<f32> = self.reference().flat().iter().map(|&w| w as f32).collect();
        network.set_parameters(&params).map_err(|e| e.to_string())?;
        Ok(network)
    }
}

/// A batch in both forms.
pub(crate) struct Batch {
    problem: Problem,
    inputs: Vec<f32>,
    labels: Vec<u32>,
    rows: Vec<f32>,
}

impl Batch {
    fn outputs(&self) -> usize {
        self.problem.widths[self.problem.widths.len() - 1]
    }

    /// The features, in f32.
    pub(crate) fn x(&self) -> MatRef<'_> {
        MatRef::from_row_major(&self.inputs, self.problem.batch, self.problem.widths[0])
            .expect("a row for each sample")
    }

    /// The targets, in f32.
    pub(crate) fn targets(&self) -> Targets<'_> {
        // Other losses get them as rows of zeros and a one.
        if self.problem.labels && self.problem.loss == Loss::CrossEntropy {
            return Targets::Classes(&self.labels);
        }
        let rows = MatRef::from_row_major(&self.rows, self.problem.batch, self.outputs());
        Targets::Values(rows.expect("a row for each sample"))
    }

    /// Features and targets, in f64.
    pub(crate) fn exact(&self) -> (Matrix, Matrix) {
        let n = self.problem.batch;
        (
            Matrix::from_f32(n, self.problem.widths[0], &self.inputs),
            Matrix::from_f32(n, self.outputs(), &self.rows),
        )
    }
}

/// Every activation, loss and kind of target, in networks whose sizes are none that a kernel likes.
pub(crate) fn problems() -> Vec<Problem> {
    let shapes: [(&[usize], usize); 7] = [
        (&[3, 2], 1),
        (&[1, 1, 2], 2),
        (&[5, 7, 3], 7),
        (&[17, 33, 15, 4], 16),
        (&[8, 5, 5, 5, 5, 3], 9),
        (&[64, 65, 10], 33),
        (&[40, 131, 67, 19], 50),
    ];
    let kinds = [
        (Loss::CrossEntropy, true),
        (Loss::CrossEntropy, false),
        (Loss::Mean(Pointwise::Squared), false),
        (Loss::Mean(Pointwise::Absolute), false),
        (Loss::Mean(Pointwise::Huber(0.25)), false),
        (Loss::Mean(Pointwise::Binary), false),
    ];
    let mut problems = Vec::new();
    for (widths, batch) in shapes {
        for activation in Activation::ALL {
            problems.extend(kinds.map(|(loss, labels)| Problem {
                widths: widths.to_vec(),
                activation,
                loss,
                batch,
                labels,
            }));
        }
    }
    problems
}

/// The first number that is further from the reference than its bound.
pub(crate) fn compare(
    what: &str,
    got: &[f32],
    expected: &[f64],
    bounds: &[f64],
) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("{} {what}, expected {}", got.len(), expected.len()));
    }
    for (i, ((&got, &expected), &bound)) in got.iter().zip(expected).zip(bounds).enumerate() {
        if !tests::tolerance::agrees(got, expected, bound) {
            return Err(format!(
                "{what} {i}: expected {expected} +- {bound:.1e}, got {got}"
            ));
        }
    }
    Ok(())
}
