//! Softmax of each row, and cross-entropy with the gradient of its logits.

use kernels::{KernelError, Kernels, MatMut, MatRef, Targets};
use reference::loss;
use reference::matrix::Matrix;

use super::{Errors, Make, Operation, RANGE, Work, arguments, check};
use crate::floats::{Floats, filled};

/// (rows, classes) of logits.
const LOGITS: [(usize, usize); 3] = [(128, 10), (128, 100), (128, 1000)];

pub(super) fn operations() -> Vec<Make> {
    let of = |(rows, cols): (usize, usize)| -> [Make; 2] {
        [
            Box::new(move |_| Ok(Box::new(Softmax(Logits::new(rows, cols))))),
            Box::new(move |_| Ok(Box::new(CrossEntropy::new(rows, cols)?))),
        ]
    };
    LOGITS.into_iter().flat_map(of).collect()
}

/// Logits, and a result of their shape.
struct Logits {
    rows: usize,
    cols: usize,
    x: Floats,
    y: Floats,
}

impl Logits {
    fn new(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            x: arguments(rows * cols, 1),
            y: filled(rows * cols, f32::NAN),
        }
    }

    fn exact(&self) -> Matrix {
        Matrix::from_f32(self.rows, self.cols, &self.x)
    }
}

struct Softmax(Logits);

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn shape(&self) -> (usize, usize) {
        (self.0.rows, self.0.cols)
    }

    fn work(&self) -> Work {
        Work::moving(2 * self.0.x.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let Logits { rows, cols, x, y } = &mut self.0;
        let x = MatRef::from_row_major(x, *rows, *cols)?;
        kernels.softmax(x, MatMut::from_row_major(y, *rows, *cols)?)
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let x = self.0.exact();
        let exact: Vec<_> = (0..x.rows).flat_map(|i| loss::softmax(x.row(i))).collect();
        check(self.name(), &self.0.y, |i| exact[i], |_| 0.0)
    }
}

struct CrossEntropy {
    /// The result is the gradient.
    logits: Logits,
    labels: Vec<u32>,
    losses: Floats,
}

impl CrossEntropy {
    fn new(rows: usize, cols: usize) -> anyhow::Result<Self> {
        let labels = (0..rows).map(|row| u32::try_from(row % cols));
        Ok(Self {
            logits: Logits::new(rows, cols),
            labels: labels.collect::<Result<_, _>>()?,
            losses: filled(rows, f32::NAN),
        })
    }
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn shape(&self) -> (usize, usize) {
        (self.logits.rows, self.logits.cols)
    }

    fn work(&self) -> Work {
        Work::moving(2 * self.logits.x.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let Logits { rows, cols, x, y } = &mut self.logits;
        let x = MatRef::from_row_major(x, *rows, *cols)?;
        let gradient = MatMut::from_row_major(y, *rows, *cols)?;
        let targets = Targets::Classes(&self.labels);
        kernels.softmax_cross_entropy(x, targets, 1.0, Some(gradient), &mut self.losses)
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let targets = Matrix::one_hot(&self.labels, self.logits.cols);
        let exact = loss::softmax_cross_entropy(&self.logits.exact(), &targets);
        // Probability and target; the largest logit and the logarithm of the sum.
        let gradient = |i: usize| exact.gradient.data[i];
        let gradients = check(self.name(), &self.logits.y, gradient, |i| targets.data[i])?;
        let loss = |row: usize| exact.losses[row];
        let losses = check(self.name(), &self.losses, loss, |_| f64::from(RANGE))?;
        Ok(gradients.and(losses))
    }
}
