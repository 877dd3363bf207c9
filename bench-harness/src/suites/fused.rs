//! What fusing saves: `y = act(x W^T + b)` in one call, against a product, then the bias, then the
//! activation, each over all of `y`; and what each epilogue costs over the product alone. On one thread.

use anyhow::Context;
use kernels::{Activation, Epilogue, Gemm, KernelError, Kernels, MatMut, MatRef, Team, Workspace};
use serde::Serialize;

use super::epilogues;
use crate::args::{ActivationName, CommonArgs, Op};
use crate::floats::{Floats, filled, uniform};
use crate::operands::Operands;
use crate::progress::each;
use crate::timing::Call;
use crate::versus::Versus;

/// (batch, outputs, inputs) of layers.
const SHAPES: [(usize, usize, usize); 5] = [
    (32, 128, 784),
    (128, 512, 784),
    (128, 256, 512),
    (512, 64, 64),
    (4096, 64, 16),
];

const ACTIVATIONS: [ActivationName; 3] = [
    ActivationName::Relu,
    ActivationName::Sigmoid,
    ActivationName::Tanh,
];

/// Why a timed call cannot fail.
const CHECKED: &str = "the same call succeeded in the check";

/// One layer: x of batch x inputs, w of outputs x inputs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Case {
    batch: usize,
    outputs: usize,
    inputs: usize,
    activation: ActivationName,
    isa: &'static str,
}

/// What a layer reads.
struct Layer {
    case: Case,
    /// x as A, and w as B, stored outputs x inputs.
    operands: Operands,
    bias: Floats,
}

impl Layer {
    fn new(case: Case) -> Self {
        Self {
            case,
            operands: Operands::random(case.batch, case.outputs, case.inputs, Op::Nt),
            bias: uniform(case.outputs, 3),
        }
    }

    /// Memory for the outputs; NaN, so that an element that is not written is noticed.
    fn outputs(&self) -> Floats {
        filled(self.case.batch * self.case.outputs, f32::NAN)
    }

    /// `y = epilogue(x w^T)`
    fn product(
        &self,
        kernels: &Kernels,
        epilogue: Epilogue<'_>,
        y: &mut [f32],
        workspace: &mut Workspace,
    ) -> Result<(), KernelError> {
        let Case {
            batch,
            outputs,
            inputs,
            ..
        } = self.case;
        let x = MatRef::from_row_major(&self.operands.a, batch, inputs)?;
        let w = MatRef::from_row_major(&self.operands.b, outputs, inputs)?;
        let gemm = Gemm {
            epilogue,
            ..Gemm::new(x, w.t())
        };
        let y = MatMut::from_row_major(y, batch, outputs)?;
        kernels.gemm(&gemm, y, workspace, &Team::solo())
    }

    /// `y = act(x w^T + b)` in one call.
    fn fused(
        &self,
        kernels: &Kernels,
        y: &mut [f32],
        workspace: &mut Workspace,
    ) -> Result<(), KernelError> {
        let epilogue = Epilogue::Activate {
            bias: Some(&self.bias),
            activation: self.case.activation.into(),
        };
        self.product(kernels, epilogue, y, workspace)
    }

    /// `z = x w^T`, then `z += b`, then `y = act(z)`.
    fn separate(
        &self,
        kernels: &Kernels,
        z: &mut [f32],
        y: &mut [f32],
        workspace: &mut Workspace,
    ) -> Result<(), KernelError> {
        self.product(kernels, Epilogue::Store, z, workspace)?;
        for row in z.chunks_exact_mut(self.case.outputs) {
            kernels.axpy(1.0, &self.bias, row)?;
        }
        kernels.activation_forward(Activation::from(self.case.activation), z, y)
    }

    /// Holds outputs against f64.
    fn check(&self, way: &'static str, y: &[f32]) -> anyhow::Result<()> {
        let checked = self
            .operands
            .check_layer(y, &self.bias, self.case.activation);
        checked
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{way} {:?}", self.case.activation))
    }
}

/// Runs the suite.
pub(crate) fn run(args: &CommonArgs) -> anyhow::Result<()> {
    args.common.ensure_one_thread("fused")?;
    args.common.ensure_no_precision("fused")?;
    let kernels = args.common.kernels()?;
    let cases = SHAPES.map(|shape| ACTIVATIONS.map(|activation| (shape, activation)));
    for ((batch, outputs, inputs), activation) in each("fused", cases.concat()) {
        let case = Case {
            batch,
            outputs,
            inputs,
            activation,
            isa: kernels.isa().name(),
        };
        run_case(args, kernels, case)?;
    }
    epilogues::run(args, kernels)
}

fn run_case(args: &CommonArgs, kernels: &'static Kernels, case: Case) -> anyhow::Result<()> {
    let layer = &Layer::new(case);
    let (mut y, mut y_again) = (layer.outputs(), layer.outputs());
    let (mut z, mut y_separate) = (layer.outputs(), layer.outputs());
    let mut workspaces = [(); 3].map(|()| Workspace::new());
    let [workspace, workspace_separate, workspace_again] = &mut workspaces;
    layer.fused(kernels, &mut y, workspace)?;
    layer.separate(kernels, &mut z, &mut y_separate, workspace_separate)?;
    layer.check("fused", &y)?;
    layer.check("separate", &y_separate)?;

    let versus = Versus::time(
        [
            Box::new(Call::new("fused", || {
                layer.fused(kernels, &mut y, workspace).expect(CHECKED);
            })),
            Box::new(Call::new("separate", || {
                let (z, y) = (&mut z, &mut y_separate);
                let done = layer.separate(kernels, z, y, workspace_separate);
                done.expect(CHECKED);
            })),
            Box::new(Call::new("fused", || {
                let done = layer.fused(kernels, &mut y_again, workspace_again);
                done.expect(CHECKED);
            })),
        ],
        kernels.isa(),
        args.common.budget(),
    )?;
    let title = format!(
        "{}x{}x{} {:?}, fused and separate",
        case.batch, case.outputs, case.inputs, case.activation
    );
    versus.print("fused", &case, &title, args.common.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_are_right_and_a_wrong_output_is_named() {
        let kernels = Kernels::detect().expect("kernels");
        let layer = Layer::new(Case {
            batch: 5,
            outputs: 7,
            inputs: 9,
            activation: ActivationName::Tanh,
            isa: kernels.isa().name(),
        });
        let (mut fused, mut z, mut y) = (layer.outputs(), layer.outputs(), layer.outputs());
        let workspace = &mut Workspace::new();
        layer.fused(kernels, &mut fused, workspace).expect("fused");
        layer
            .separate(kernels, &mut z, &mut y, workspace)
            .expect("separate");
        layer.check("fused", &fused).expect("right");
        layer.check("separate", &y).expect("right");
        for wrong in [y[17] + 1e-3, f32::NAN] {
            y[17] = wrong;
            let error = layer.check("separate", &y).expect_err("a wrong output");
            assert!(format!("{error:#}").contains("C[2, 3]"), "{error:#}");
        }
    }
}
