//! One call of GEMM, described as data, and the comparison of its result with the reference.

use kernels::{Epilogue, Gemm, Kernels, Team, Workspace};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::gemm::{Product, gemm};
use tests::layout::{Guarded, Storage};
use tests::matrix::Matrix;
use tests::tolerance;
use tests::values::Values;

use crate::activation::to_kernel;
pub(crate) use crate::common::{view, view_mut};

/// The kernels of every instruction set of this machine, and the best with the model of a matrix unit.
pub(crate) fn available() -> Vec<&'static Kernels> {
    let mut all = crate::common::available();
    all.extend(all.last().map(|best| best.with_tile_model()));
    all
}

/// The epilogue of a call; its operands are made from the seed of the case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Post {
    Store,
    Activate { bias: bool, activation: Activation },
    Derivative(Activation),
}

/// What C holds before the call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Old {
    Values,
    Nan,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// m, n, k
    pub(crate) shape: [usize; 3],
    pub(crate) a: Storage,
    pub(crate) b: Storage,
    pub(crate) c: Storage,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) old: Old,
    pub(crate) post: Post,
}

impl Case {
    /// `C = A B`, all row-major without gaps, over a C full of NaN.
    pub(crate) fn new(shape: [usize; 3]) -> Self {
        let rows = Storage::Rows { pad: 0 };
        Self {
            shape,
            a: rows,
            b: rows,
            c: rows,
            alpha: 1.0,
            beta: 0.0,
            old: Old::Nan,
            post: Post::Store,
        }
    }

    /// With factors; C holds numbers unless beta is 0.
    pub(crate) fn scaled(self, alpha: f32, beta: f32) -> Self {
        let old = if beta == 0.0 { Old::Nan } else { Old::Values };
        Self {
            alpha,
            beta,
            old,
            ..self
        }
    }

    /// The operands, the same for the same case.
    pub(crate) fn operands(&self) -> Operands {
        let [m, n, k] = self.shape;
        let mut values = Values::new((m * 1_000_003 + n * 1009 + k) as u64);
        let a = Guarded::new(self.a, m, k, |_, _| values.uniform());
        let b = Guarded::new(self.b, k, n, |_, _| values.uniform());
        let old = Guarded::new(self.c, m, n, |_, _| match self.old {
            Old::Values => values.uniform(),
            Old::Nan => f32::NAN,
        });
        let bias = values.vec(n);
        // What is saved is laid out as C is, at other strides.
        let storage = match self.c {
            Storage::Rows { pad } => Storage::Rows { pad: pad + 1 },
            other => other,
        };
        let saved = Guarded::new(storage, m, n, |_, _| match self.post {
            Post::Derivative(Activation::Sigmoid | Activation::Softplus) => {
                (values.uniform() + 1.0) / 2.0
            }
            _ => values.uniform(),
        });
        Operands {
            a,
            b,
            old,
            bias,
            saved,
        }
    }
}

/// The memory of one call.
pub(crate) struct Operands {
    pub(crate) a: Guarded,
    pub(crate) b: Guarded,
    pub(crate) old: Guarded,
    pub(crate) bias: Vec<f32>,
    pub(crate) saved: Guarded,
}

/// The elements of a guarded matrix in f64.
pub(crate) fn exact(x: &Guarded) -> Matrix {
    Matrix::from_fn(x.rows, x.cols, |i, j| f64::from(x.at(i, j)))
}

/// The call, without its C.
pub(crate) fn call<'a>(case: &Case, operands: &'a Operands) -> Gemm<'a> {
    let mut call = Gemm::new(view(&operands.a), view(&operands.b));
    (call.alpha, call.beta) = (case.alpha, case.beta);
    call.epilogue = match case.post {
        Post::Store => Epilogue::Store,
        Post::Activate { bias, activation } => Epilogue::Activate {
            bias: bias.then_some(&operands.bias),
            activation: to_kernel(activation),
        },
        Post::Derivative(activation) => Epilogue::Derivative {
            activation: to_kernel(activation),
            saved: view(&operands.saved),
        },
    };
    call
}

/// Runs the call and gives C back.
pub(crate) fn run(
    case: &Case,
    operands: &Operands,
    kernels: &Kernels,
    workspace: &mut Workspace,
    team: &Team,
) -> Result<Guarded, String> {
    let mut c = operands.old.clone();
    let call = call(case, operands);
    kernels
        .gemm(&call, view_mut(&mut c), workspace, team)
        .map_err(|e| e.to_string())?;
    Ok(c)
}

/// Element (i, j) after the epilogue, and how far a result in f32 may lie from it.
fn finished(case: &Case, operands: &Operands, product: &Product, i: usize, j: usize) -> (f64, f64) {
    let k = case.shape[2];
    let (s, magnitude) = (product.value.at(i, j), product.magnitude.at(i, j));
    match case.post {
        Post::Store => (s, tolerance::gemm(k, magnitude)),
        Post::Activate { bias, activation } => {
            let bias = if bias {
                f64::from(operands.bias[j])
            } else {
                0.0
            };
            let y = activation.apply(s + bias);
            let error = tolerance::gemm(k, magnitude + bias.abs());
            (y, tolerance::activated(activation, y, error))
        }
        Post::Derivative(activation) => {
            let saved = f64::from(operands.saved.at(i, j));
            let error = tolerance::gemm(k, magnitude);
            let bound = tolerance::differentiated(activation, s, saved, error);
            (s * activation.derivative(saved), bound)
        }
    }
}

/// The first element of C that differs from the reference by more than its bound.
fn compare(case: &Case, operands: &Operands, product: &Product, c: &Guarded) -> Result<(), String> {
    if let Some(index) = c.broken_guard() {
        let offset = index as isize - c.offset as isize;
        return Err(format!("wrote {offset} elements after C's first"));
    }
    for i in 0..c.rows {
        for j in 0..c.cols {
            let (expected, bound) = finished(case, operands, product, i, j);
            let got = c.at(i, j);
            if !tolerance::agrees(got, expected, bound) {
                return Err(format!(
                    "C[{i}, {j}]: expected {expected} +- {bound:.1e}, got {got}"
                ));
            }
        }
    }
    Ok(())
}

/// Holds every case on every instruction set against the reference.
#[track_caller]
pub(crate) fn check(cases: impl IntoIterator<Item = Case>) {
    check_by(cases, |case, operands, kernels, workspace| {
        run(case, operands, kernels, workspace, &Team::solo())
    });
}

/// As [`check`], with C as `compute` makes it.
#[track_caller]
pub(crate) fn check_by(
    cases: impl IntoIterator<Item = Case>,
    compute: impl Fn(&Case, &Operands, &Kernels, &mut Workspace) -> Result<Guarded, String>,
) {
    let all = available();
    let mut workspaces: Vec<_> = all.iter().map(|_| Workspace::new()).collect();
    check_each(cases, |case| {
        let operands = case.operands();
        let product = reference(case, &operands);
        for (kernels, workspace) in all.iter().zip(&mut workspaces) {
            compute(case, &operands, kernels, workspace)
                .and_then(|c| compare(case, &operands, &product, &c))
                .map_err(|why| format!("{}: {why}", kernels.isa()))?;
        }
        Ok(())
    });
}

/// The product of the reference, before the epilogue.
fn reference(case: &Case, operands: &Operands) -> Product {
    gemm(
        f64::from(case.alpha),
        &exact(&operands.a),
        &exact(&operands.b),
        f64::from(case.beta),
        &exact(&operands.old),
    )
}

/// Holds one C against the reference.
pub(crate) fn agrees(case: &Case, operands: &Operands, c: &Guarded) -> Result<(), String> {
    compare(case, operands, &reference(case, operands), c)
}
