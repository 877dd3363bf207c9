//! `y = act(x)` and `dx = dy act'`, the derivative from what the kernel keeps for it.

use kernels::{Activation, DerivativeFrom, KernelError, Kernels};
use reference::activation::Activation as Exact;

use super::{Errors, LENGTHS, Make, Operation, Work, arguments, check};
use crate::floats::{Floats, filled};

/// Names forward and backward, the kernel's and the one in f64.
type Named = (&'static str, &'static str, Activation, Exact);

const ACTIVATIONS: [Named; 8] = [
    ("relu", "relu_backward", Activation::Relu, Exact::Relu),
    (
        "sigmoid",
        "sigmoid_backward",
        Activation::Sigmoid,
        Exact::Sigmoid,
    ),
    ("tanh", "tanh_backward", Activation::Tanh, Exact::Tanh),
    ("gelu", "gelu_backward", Activation::Gelu, Exact::Gelu),
    (
        "gelu_tanh",
        "gelu_tanh_backward",
        Activation::GeluTanh,
        Exact::GeluTanh,
    ),
    ("silu", "silu_backward", Activation::Silu, Exact::Silu),
    (
        "elu",
        "elu_backward",
        Activation::Elu { alpha: 1.0 },
        Exact::Elu(1.0),
    ),
    (
        "softplus",
        "softplus_backward",
        Activation::Softplus,
        Exact::Softplus,
    ),
];

pub(super) fn operations() -> Vec<Make> {
    let mut operations: Vec<Make> = Vec::new();
    for len in LENGTHS {
        for named in ACTIVATIONS {
            operations.push(Box::new(move |_| Ok(Box::new(Forward::new(named, len)))));
            operations.push(Box::new(move |kernels| {
                Ok(Box::new(Backward::new(kernels, named, len)?))
            }));
        }
    }
    operations
}

struct Forward {
    named: Named,
    x: Floats,
    y: Floats,
}

impl Forward {
    fn new(named: Named, len: usize) -> Self {
        Self {
            named,
            x: arguments(len, 1),
            y: filled(len, f32::NAN),
        }
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        self.named.0
    }

    fn shape(&self) -> (usize, usize) {
        (1, self.x.len())
    }

    fn work(&self) -> Work {
        Work::moving(2 * self.x.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        kernels.activation_forward(self.named.2, &self.x, &mut self.y)
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let exact = |i: usize| self.named.3.apply(f64::from(self.x[i]));
        // The left tails of GELU and SiLU are what is left of differences: their bounds are absolute.
        check(self.name(), &self.y, exact, |i| f64::from(self.x[i]))
    }
}

struct Backward {
    named: Named,
    /// x or y.
    saved: Floats,
    dy: Floats,
    dx: Floats,
}

impl Backward {
    fn new(kernels: &Kernels, named: Named, len: usize) -> Result<Self, KernelError> {
        let x = arguments(len, 1);
        let saved = match named.2.derivative_from() {
            DerivativeFrom::Input => x,
            DerivativeFrom::Output => {
                let mut y = filled(len, f32::NAN);
                kernels.activation_forward(named.2, &x, &mut y)?;
                y
            }
        };
        Ok(Self {
            named,
            saved,
            dy: arguments(len, 2),
            dx: filled(len, f32::NAN),
        })
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        self.named.1
    }

    fn shape(&self) -> (usize, usize) {
        (1, self.dy.len())
    }

    fn work(&self) -> Work {
        Work::moving(3 * self.dy.len())
    }

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError> {
        kernels.activation_backward(self.named.2, &self.saved, &self.dy, &mut self.dx)
    }

    fn check(&self) -> anyhow::Result<Errors> {
        let exact =
            |i: usize| f64::from(self.dy[i]) * self.named.3.derivative(f64::from(self.saved[i]));
        check(self.name(), &self.dx, exact, |i| f64::from(self.dy[i]))
    }
}
