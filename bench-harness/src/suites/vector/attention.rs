//! Scaled dot-product attention, forward and backward.

use kernels::{
    Attention, AttentionGradients, AttentionWorkspace, KernelError, Kernels, MatMut, MatRef, Team,
};
use reference::attention as exact;
use reference::matrix::Matrix;
use reference::uncertain::Uncertain;

use super::{Errors, Make, Operation, Work, check_within, errors};
use crate::floats::{Floats, filled, uniform};

/// Sequences, heads, and the width of all heads together.
const BATCH: usize = 2;
const HEADS: usize = 4;
const WIDTH: usize = 128;

/// Rows of a sequence: one block of scores, and several, tile by tile.
const STEPS: [usize; 3] = [32, 128, 384];

/// Products of scores and outputs, two operations each.
const FORWARD_FLOP: usize = 4;
/// Those of the scores again, of the gradients of the probabilities, and of q, k and v.
const BACKWARD_FLOP: usize = 10;

pub(super) fn operations() -> Vec<Make> {
    let of = |steps: usize| -> [Make; 2] {
        [
            Box::new(move |_| Ok(Box::new(Forward(Layer::new(steps))))),
            Box::new(move |kernels| Ok(Box::new(Backward::new(kernels, steps)?))),
        ]
    };
    STEPS.into_iter().flat_map(of).collect()
}

/// Operands, and what the forward pass leaves.
struct Layer {
    steps: usize,
    qkv: [Floats; 3],
    o: Floats,
    lse: Floats,
    workspace: AttentionWorkspace,
}

impl Layer {
    fn new(steps: usize) -> Self {
        let len = BATCH * steps * WIDTH;
        Self {
            steps,
            qkv: [1, 2, 3].map(|seed| uniform(len, seed)),
            o: filled(len, f32::NAN),
            lse: filled(BATCH * HEADS * steps, f32::NAN),
            workspace: AttentionWorkspace::new(),
        }
    }

    fn rows(&self) -> usize {
        BATCH * self.steps
    }

    fn forward(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let attention = operands(&self.qkv, BATCH * self.steps)?;
        let o = MatMut::from_row_major(&mut self.o, BATCH * self.steps, WIDTH)?;
        let (lse, workspace) = (&mut self.lse, &mut self.workspace);
        kernels.attention(&attention, o, lse, workspace, &Team::solo())
    }

    fn exact(&self) -> exact::Attention {
        let [q, k, v] = [0, 1, 2].map(|i| {
            let matrix = Matrix::from_f32(self.rows(), WIDTH, &self.qkv[i]);
            Uncertain::exact(matrix)
        });
        exact::Attention {
            q,
            k,
            v,
            batch: BATCH,
            heads: HEADS,
            causal: false,
            lengths: vec![self.steps; BATCH],
        }
    }

    fn flop(&self, of_each: usize) -> f64 {
        (of_each * self.rows() * self.steps * WIDTH) as f64
    }
}

fn operands(qkv: &[Floats; 3], rows: usize) -> Result<Attention<'_>, KernelError> {
    let view = |i: usize| MatRef::from_row_major(&qkv[i], rows, WIDTH);
    Ok(Attention::new(view(0)?, view(1)?, view(2)?, BATCH, HEADS))
}

struct Forward(Layer);

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn shape(&self) -> (usize, usize) {
        (self.0.rows(), WIDTH)
    }

    fn work(&self) -> Work {
        Work {
            values: 4 * self.0.o.len(),
            flop: Some(self.0.flop(FORWARD_FLOP)),
        }
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        self.0.forward(kernels)
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let exact = self.0.exact().forward();
        let (op, layer) = (self.name(), &self.0);
        let o = &exact.o;
        check_within(op, &layer.o, &|i| (o.value.data[i], o.error.data[i]))?;
        check_within(op, &layer.lse, &|i| (exact.lse[i], exact.lse_bound[i]))?;
        // Sums of values, all of which are at most 1.
        Ok(errors(&layer.o, |i| o.value.data[i], |_| 1.0))
    }
}

struct Backward {
    layer: Layer,
    d_o: Floats,
    gradients: [Floats; 3],
}

impl Backward {
    fn new(kernels: &Kernels, steps: usize) -> Result<Self, KernelError> {
        let mut layer = Layer::new(steps);
        layer.forward(kernels)?;
        let len = layer.o.len();
        Ok(Self {
            layer,
            d_o: uniform(len, 4),
            gradients: [(); 3].map(|()| filled(len, f32::NAN)),
        })
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "attention_backward"
    }

    fn shape(&self) -> (usize, usize) {
        (self.layer.rows(), WIDTH)
    }

    fn work(&self) -> Work {
        // q, k, v, o and its gradient are read, three gradients written.
        Work {
            values: 8 * self.d_o.len(),
            flop: Some(self.layer.flop(BACKWARD_FLOP)),
        }
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        let rows = self.layer.rows();
        let layer = &mut self.layer;
        let attention = operands(&layer.qkv, rows)?;
        let o = MatRef::from_row_major(&layer.o, rows, WIDTH)?;
        let d_o = MatRef::from_row_major(&self.d_o, rows, WIDTH)?;
        let [dq, dk, dv] = &mut self.gradients;
        let gradients = AttentionGradients {
            dq: MatMut::from_row_major(dq, rows, WIDTH)?,
            dk: MatMut::from_row_major(dk, rows, WIDTH)?,
            dv: MatMut::from_row_major(dv, rows, WIDTH)?,
        };
        let (saved, workspace) = ((o, &layer.lse[..]), &mut layer.workspace);
        kernels.attention_backward(&attention, saved, d_o, gradients, workspace, &Team::solo())
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let d_o = Matrix::from_f32(self.layer.rows(), WIDTH, &self.d_o);
        let exact = self.layer.exact().backward(&Uncertain::exact(d_o));
        let mut all = Errors::default();
        for (got, exact) in self.gradients.iter().zip(&exact) {
            let (values, bounds) = (&exact.value.data, &exact.error.data);
            check_within(self.name(), got, &|i| (values[i], bounds[i]))?;
            all = all.and(errors(got, |i| values[i], |_| 1.0));
        }
        Ok(all)
    }
}
