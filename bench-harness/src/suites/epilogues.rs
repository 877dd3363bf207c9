//! What the epilogues of training cost over the plain product at the shape of a hidden layer.
//!
//! Each is held against f64 before it is timed: the sums by [`Operands::check`], what the epilogue makes
//! of them by its formula in f64.

use std::cell::RefCell;

use anyhow::ensure;
use kernels::{
    Activation, AdamRule, Epilogue, Gemm, Gradient, KernelError, Kernels, MatMut, MatRef, SgdRule,
    Team, Update, Workspace,
};
use serde::Serialize;

use super::gemm::view;
use crate::args::{CommonArgs, Op};
use crate::floats::{Floats, filled, uniform};
use crate::operands::Operands;
use crate::progress::each;
use crate::timing::Call;
use crate::versus::Versus;

/// m, n, k.
const SHAPE: (usize, usize, usize) = (128, 512, 512);

/// What an epilogue may be off by in f32, in parts of the largest number it works on: a rounding each
/// for bias, activation and derivative, and up to four ULP of the functions.
const TOLERANCE: f64 = 8.0 * f32::EPSILON as f64;

/// Why a timed call cannot fail.
const CHECKED: &str = "the same call succeeded in the check";

/// What follows the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Post {
    /// Forward: `relu(s + b)`.
    BiasRelu,
    /// Forward: `tanh(s + b)`.
    BiasTanh,
    /// Data gradient: `s relu'(y)`.
    ReluDerivative,
    /// Data gradient: `s tanh'(y)`.
    TanhDerivative,
    /// The gradient of the bias, a pass of its own over a C in a near cache.
    ColumnSums,
    /// Weight gradient with a step of gradient descent on it; no gradient is kept.
    Sgd,
    /// With momentum.
    Momentum,
    /// With Adam.
    Adam,
}

const POSTS: [Post; 8] = [
    Post::BiasRelu,
    Post::BiasTanh,
    Post::ReluDerivative,
    Post::TanhDerivative,
    Post::ColumnSums,
    Post::Sgd,
    Post::Momentum,
    Post::Adam,
];

const SGD: SgdRule = SgdRule {
    learning_rate: 1e-3,
    momentum: 0.0,
    nesterov: false,
    weight_decay: 1e-4,
};

const ADAM: AdamRule = AdamRule {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 1e-4,
    decoupled_weight_decay: 0.0,
    step: 10,
};

impl Post {
    /// The product of training that it belongs to.
    fn op(self) -> Op {
        match self {
            Self::BiasRelu | Self::BiasTanh => Op::Nt,
            Self::ReluDerivative | Self::TanhDerivative | Self::ColumnSums => Op::Nn,
            Self::Sgd | Self::Momentum | Self::Adam => Op::Tn,
        }
    }

    /// What becomes of an element, in f64.
    fn exact(self, s: f64, bias: f64, y: f64) -> f64 {
        match self {
            Self::BiasRelu => (s + bias).max(0.0),
            Self::BiasTanh => (s + bias).tanh(),
            Self::ReluDerivative if y > 0.0 => s,
            Self::ReluDerivative => 0.0,
            Self::TanhDerivative => s * (1.0 - y * y),
            _ => s,
        }
    }
}

/// A product, and what its epilogues read and write.
struct Layer {
    kernels: &'static Kernels,
    post: Post,
    operands: Operands,
    bias: Floats,
    /// A saved output of the shape of C.
    y: Floats,
    /// NaN, so that an element that is not written is noticed.
    c: Floats,
    sums: Floats,
    params: Floats,
    moments: [Floats; 2],
    workspace: Workspace,
}

impl Layer {
    fn new(kernels: &'static Kernels, post: Post) -> Self {
        let (m, n, k) = SHAPE;
        Self {
            kernels,
            post,
            operands: Operands::random(m, n, k, post.op()),
            bias: uniform(n, 3),
            y: uniform(m * n, 4),
            c: filled(m * n, f32::NAN),
            sums: filled(n, f32::NAN),
            params: uniform(m * n, 5),
            moments: [filled(m * n, 0.0), filled(m * n, 0.0)],
            workspace: Workspace::new(),
        }
    }

    /// The product alone.
    fn plain(&mut self) -> Result<(), KernelError> {
        let (m, n, _) = SHAPE;
        let gemm = product(&self.operands)?;
        let c = MatMut::from_row_major(&mut self.c, m, n)?;
        self.kernels
            .gemm(&gemm, c, &mut self.workspace, &Team::solo())
    }

    /// The product and what follows it.
    fn finished(&mut self) -> Result<(), KernelError> {
        let ((m, n, _), team) = (SHAPE, Team::solo());
        let gemm = product(&self.operands)?;
        let activate = |activation| Epilogue::Activate {
            bias: Some(&self.bias),
            activation,
        };
        let y = MatRef::from_row_major(&self.y, m, n)?;
        let derivative = |activation| Epilogue::Derivative {
            activation,
            saved: y,
        };
        let epilogue = match self.post {
            Post::BiasRelu => activate(Activation::Relu),
            Post::BiasTanh => activate(Activation::Tanh),
            Post::ReluDerivative => derivative(Activation::Relu),
            Post::TanhDerivative => derivative(Activation::Tanh),
            _ => Epilogue::Store,
        };
        let gemm = Gemm { epilogue, ..gemm };
        let (kernels, workspace) = (self.kernels, &mut self.workspace);
        let c = MatMut::from_row_major(&mut self.c, m, n)?;
        let params = MatMut::from_row_major(&mut self.params, m, n)?;
        let [first, second] = &mut self.moments;
        let first = MatMut::from_row_major(first, m, n)?;
        let update = match self.post {
            Post::Sgd => Update::Sgd {
                rule: SGD,
                velocity: None,
                params,
            },
            Post::Momentum => Update::Sgd {
                rule: SgdRule {
                    momentum: 0.9,
                    ..SGD
                },
                velocity: Some(first),
                params,
            },
            Post::Adam => Update::Adam {
                rule: ADAM,
                first_moment: first,
                second_moment: MatMut::from_row_major(second, m, n)?,
                params,
            },
            Post::ColumnSums => {
                kernels.gemm(&gemm, c, workspace, &team)?;
                let c = MatRef::from_row_major(&self.c, m, n)?;
                return kernels.column_sums(c, 1.0, &mut self.sums);
            }
            _ => return kernels.gemm(&gemm, c, workspace, &team),
        };
        let discard = Gradient::Discard;
        kernels.gemm_update(&gemm, update, c, discard, workspace, &team)
    }

    /// Holds the sums and the epilogue against f64. An update is held to a formula by the tests of the
    /// kernels; here it is enough that the step was made.
    fn check(&mut self) -> anyhow::Result<()> {
        let (m, n, _) = SHAPE;
        self.plain()?;
        self.operands.check(&self.c).map_err(anyhow::Error::msg)?;
        let (plain, before) = (self.c.clone(), self.params.clone());
        self.finished()?;
        if self.post.op() == Op::Tn {
            let moved = before
                .iter()
                .zip(self.params.iter())
                .filter(|(a, b)| a != b);
            let moved = moved.count();
            ensure!(
                2 * moved > m * n,
                "{:?}: {moved} of {} weights moved",
                self.post,
                m * n
            );
            return Ok(());
        }
        let largest = |x: &[f32]| {
            x.iter()
                .fold(1.0_f64, |max, &x| max.max(f64::from(x).abs()))
        };
        let bound = TOLERANCE * largest(&plain);
        for (index, (&s, &got)) in plain.iter().zip(self.c.iter()).enumerate() {
            let (bias, y) = (self.bias[index % n], self.y[index]);
            let exact = self.post.exact(s.into(), bias.into(), y.into());
            let error = (f64::from(got) - exact).abs();
            ensure!(
                error <= bound,
                "{:?}: C[{}, {}]: expected {exact} within {bound:e}, got {got}",
                self.post,
                index / n,
                index % n
            );
        }
        if self.post == Post::ColumnSums {
            for (j, &sum) in self.sums.iter().enumerate() {
                let column = (0..m).map(|i| f64::from(self.c[i * n + j]));
                let exact: f64 = column.sum();
                let bound = m as f64 * bound;
                ensure!(
                    (f64::from(sum) - exact).abs() <= bound,
                    "sum of column {j}: expected {exact} within {bound:e}, got {sum}"
                );
            }
        }
        Ok(())
    }
}

fn product(operands: &Operands) -> Result<Gemm<'_>, KernelError> {
    let a = view(&operands.a, operands.a_stored(), operands.a_is_transposed())?;
    let b = view(&operands.b, operands.b_stored(), operands.b_is_transposed())?;
    Ok(Gemm::new(a, b))
}

/// One case.
#[derive(Clone, Copy, Debug, Serialize)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    op: Op,
    epilogue: Post,
    isa: &'static str,
}

/// Times every epilogue against the product alone.
pub(super) fn run(args: &CommonArgs, kernels: &'static Kernels) -> anyhow::Result<()> {
    let (m, n, k) = SHAPE;
    for post in each("fused", POSTS.to_vec()) {
        let mut layer = Layer::new(kernels, post);
        layer.check()?;
        // All work in the same memory: where it lies decides more than an epilogue costs.
        let layer = RefCell::new(layer);
        let plain = || layer.borrow_mut().plain().expect(CHECKED);
        let finished = || layer.borrow_mut().finished().expect(CHECKED);
        let versus = Versus::time(
            [
                Box::new(Call::new("plain", plain)),
                Box::new(Call::new("finished", finished)),
                Box::new(Call::new("plain", plain)),
            ],
            kernels.isa(),
            args.common.budget(),
        )?;
        let op = post.op();
        let case = Case {
            m,
            n,
            k,
            op,
            epilogue: post,
            isa: kernels.isa().name(),
        };
        let title = format!("{op} {m}x{n}x{k}, plain and {post:?}");
        versus.print("epilogue", &case, &title, args.common.json)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epilogue_agrees_with_its_formula() {
        let kernels = Kernels::detect().expect("kernels");
        for post in POSTS {
            Layer::new(kernels, post).check().expect("the same");
        }
    }
}
