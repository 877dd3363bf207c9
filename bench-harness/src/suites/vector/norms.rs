//! Layer normalisation (over rows) and batch normalisation (over columns), forward and backward.

use kernels::{
    KernelError, Kernels, MatMut, MatRef, Norm, NormGradients, Statistics, StatisticsMut, Team,
};
use reference::matrix::Matrix;
use reference::norm::{self, Over};

use super::{Errors, Make, Operation, RANGE, TOLERANCE, Work, arguments, check, check_within};
use crate::floats::{Floats, filled, uniform};

/// (rows, columns): within the first-level cache, of a hidden layer, and beyond the second-level cache.
const SHAPES: [(usize, usize); 3] = [(64, 64), (128, 512), (4096, 512)];

const EPS: f32 = 1e-5;

pub(super) fn operations() -> Vec<Make> {
    let mut operations: Vec<Make> = Vec::new();
    for shape in SHAPES {
        for over in [Over::Rows, Over::Columns] {
            operations.push(Box::new(move |_| {
                Ok(Box::new(Forward(Layer::new(over, shape))))
            }));
            operations.push(Box::new(move |kernels| {
                Ok(Box::new(Backward::new(kernels, over, shape)?))
            }));
        }
    }
    operations
}

/// A layer and what its forward pass leaves.
struct Layer {
    over: Over,
    rows: usize,
    cols: usize,
    x: Floats,
    gamma: Floats,
    beta: Floats,
    y: Floats,
    mean: Floats,
    rstd: Floats,
    /// Of batch normalisation alone.
    var: Floats,
}

impl Layer {
    fn new(over: Over, (rows, cols): (usize, usize)) -> Self {
        let groups = match over {
            Over::Rows => rows,
            Over::Columns => cols,
        };
        Self {
            over,
            rows,
            cols,
            x: arguments(rows * cols, 1),
            gamma: uniform(cols, 2),
            beta: uniform(cols, 3),
            y: filled(rows * cols, f32::NAN),
            mean: filled(groups, f32::NAN),
            rstd: filled(groups, f32::NAN),
            var: filled(cols, f32::NAN),
        }
    }

    fn forward(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let (rows, cols) = (self.rows, self.cols);
        let norm = Norm {
            gamma: &self.gamma,
            beta: &self.beta,
            eps: EPS,
        };
        let x = MatRef::from_row_major(&self.x, rows, cols)?;
        let y = MatMut::from_row_major(&mut self.y, rows, cols)?;
        let saved = StatisticsMut {
            mean: &mut self.mean,
            rstd: &mut self.rstd,
        };
        let team = Team::solo();
        match self.over {
            Over::Rows => kernels.layer_norm(norm, x, y, saved, &team),
            Over::Columns => kernels.batch_norm(norm, x, y, saved, &mut self.var, &team),
        }
    }

    fn exact(&self) -> Exact {
        let x = Matrix::from_f32(self.rows, self.cols, &self.x);
        let (mean, rstd) = norm::statistics(self.over, &x, f64::from(EPS));
        Exact {
            gamma: wide(&self.gamma),
            x,
            mean,
            rstd,
        }
    }
}

/// The same in f64.
struct Exact {
    x: Matrix,
    gamma: Vec<f64>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

struct Forward(Layer);

impl Operation for Forward {
    fn name(&self) -> &'static str {
        match self.0.over {
            Over::Rows => "layer_norm",
            Over::Columns => "batch_norm",
        }
    }

    fn shape(&self) -> (usize, usize) {
        (self.0.rows, self.0.cols)
    }

    fn work(&self) -> Work {
        Work::moving(2 * self.0.x.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        self.0.forward(kernels)
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let layer = &self.0;
        let Exact {
            x,
            gamma,
            mean,
            rstd,
        } = layer.exact();
        let beta = wide(&layer.beta);
        let y = norm::apply(layer.over, &x, &gamma, &beta, &mean, &rstd);
        let range = |_| f64::from(RANGE);
        check(self.name(), &layer.mean, |group| mean[group], range)?;
        check(self.name(), &layer.rstd, |group| rstd[group], |_| 0.0)?;
        // Differences from the mean, divided by the deviation.
        check(self.name(), &layer.y, |i| y.data[i], |_| 1.0)
    }
}

struct Backward {
    layer: Layer,
    dy: Floats,
    dx: Floats,
    dgamma: Floats,
    dbeta: Floats,
}

impl Backward {
    fn new(kernels: &Kernels, over: Over, shape: (usize, usize)) -> Result<Self, KernelError> {
        let mut layer = Layer::new(over, shape);
        layer.forward(kernels)?;
        let (len, cols) = (layer.x.len(), layer.cols);
        Ok(Self {
            layer,
            dy: uniform(len, 4),
            dx: filled(len, f32::NAN),
            dgamma: filled(cols, f32::NAN),
            dbeta: filled(cols, f32::NAN),
        })
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        match self.layer.over {
            Over::Rows => "layer_norm_backward",
            Over::Columns => "batch_norm_backward",
        }
    }

    fn shape(&self) -> (usize, usize) {
        (self.layer.rows, self.layer.cols)
    }

    fn work(&self) -> Work {
        Work::moving(3 * self.dy.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let layer = &self.layer;
        let (rows, cols) = (layer.rows, layer.cols);
        let x = MatRef::from_row_major(&layer.x, rows, cols)?;
        let dy = MatRef::from_row_major(&self.dy, rows, cols)?;
        let saved = Statistics {
            mean: &layer.mean,
            rstd: &layer.rstd,
        };
        let gradients = NormGradients {
            dx: Some(MatMut::from_row_major(&mut self.dx, rows, cols)?),
            dgamma: &mut self.dgamma,
            dbeta: &mut self.dbeta,
        };
        let team = Team::solo();
        match layer.over {
            Over::Rows => kernels.layer_norm_backward(&layer.gamma, x, saved, dy, gradients, &team),
            Over::Columns => {
                kernels.batch_norm_backward(&layer.gamma, x, saved, dy, gradients, &team)
            }
        }
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let (layer, op) = (&self.layer, self.name());
        let Exact {
            x,
            gamma,
            mean,
            rstd,
        } = layer.exact();
        let dy = Matrix::from_f32(layer.rows, layer.cols, &self.dy);
        let exact = norm::gradients(layer.over, &x, &gamma, (&mean, &rstd), &dy);
        // Differences of gradients, and of their means, divided by the deviation.
        let errors = check(op, &self.dx, |i| exact.dx.data[i], |_| 1.0)?;
        // Sums of as many terms as there are rows, each of about 1, of which little may be left.
        let bound = TOLERANCE * layer.rows as f64;
        check_within(op, &self.dgamma, &|j| (exact.dgamma[j], bound))?;
        check_within(op, &self.dbeta, &|j| (exact.dbeta[j], bound))?;
        Ok(errors)
    }
}
