//! The weight gradient with the step of an optimiser on it: the bits of the two apart, and the
//! numbers of the reference.

use kernels::{
    AdamRule, Gemm, Gradient, KernelError, Kernels, MatMut, MatRef, RmspropRule, SgdRule, Team,
    Update, Workspace, with_team,
};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::gemm::gemm;
use tests::layout::{Guarded, Storage};
use tests::optimizer::{Optimizer, Rule};
use tests::tolerance::{self, U};
use tests::values::Values;

use crate::case::{Case, Post, available, call, exact, view_mut};

const SGD: SgdRule = SgdRule {
    learning_rate: 0.1,
    momentum: 0.0,
    nesterov: false,
    weight_decay: 0.01,
};

const ADAM: AdamRule = AdamRule {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
    decoupled_weight_decay: 0.0,
    step: 1,
};

const RMSPROP: RmspropRule = RmspropRule {
    learning_rate: 0.01,
    alpha: 0.75,
    eps: 1e-8,
    momentum: 0.0,
    centered: false,
    weight_decay: 0.01,
};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sgd(SgdRule),
    Adam(AdamRule),
    Rmsprop(RmspropRule),
}

const KINDS: [Kind; 7] = {
    let momentum = SgdRule {
        momentum: 0.9,
        ..SGD
    };
    let nesterov = SgdRule {
        nesterov: true,
        ..momentum
    };
    let decoupled = AdamRule {
        decoupled_weight_decay: 0.5,
        ..ADAM
    };
    let centered = RmspropRule {
        momentum: 0.9,
        centered: true,
        ..RMSPROP
    };
    [
        Kind::Sgd(SGD),
        Kind::Sgd(momentum),
        Kind::Sgd(nesterov),
        Kind::Adam(ADAM),
        Kind::Adam(decoupled),
        Kind::Rmsprop(RMSPROP),
        Kind::Rmsprop(centered),
    ]
};

/// Weights, and the state of an optimiser that has seen `warm` or no steps.
#[derive(Clone)]
struct Weights {
    params: Guarded,
    first: Guarded,
    second: Guarded,
    velocity: Guarded,
}

impl Weights {
    fn new(m: usize, n: usize, warm: bool) -> Self {
        let mut values = Values::new((m * 31 + n) as u64);
        // Each at its own distance between rows.
        let mut matrix = |pad, scale: f32| {
            let storage = Storage::Rows { pad };
            Guarded::new(storage, m, n, |_, _| scale * values.uniform())
        };
        let scale = if warm { 1.0 } else { 0.0 };
        let (params, first, mut second) = (matrix(0, 1.0), matrix(3, scale), matrix(1, scale));
        let velocity = matrix(2, scale);
        for i in 0..m {
            for j in 0..n {
                let at = second.offset + i * second.row_stride as usize + j;
                second.data[at] = second.data[at].abs();
            }
        }
        Self {
            params,
            first,
            second,
            velocity,
        }
    }

    fn update(&mut self, kind: Kind) -> Update<'_> {
        let params = view_mut(&mut self.params);
        match kind {
            Kind::Sgd(rule) => Update::Sgd {
                rule,
                velocity: (rule.momentum != 0.0).then(|| view_mut(&mut self.first)),
                params,
            },
            Kind::Adam(rule) => Update::Adam {
                rule,
                first_moment: view_mut(&mut self.first),
                second_moment: view_mut(&mut self.second),
                params,
            },
            Kind::Rmsprop(rule) => Update::Rmsprop {
                rule,
                second_moment: view_mut(&mut self.second),
                first_moment: rule.centered.then(|| view_mut(&mut self.first)),
                velocity: (rule.momentum != 0.0).then(|| view_mut(&mut self.velocity)),
                params,
            },
        }
    }

    /// The step by itself, row by row.
    fn step(&mut self, kernels: &Kernels, kind: Kind, grads: &Guarded) {
        for i in 0..grads.rows {
            let grads: Vec<f32> = (0..grads.cols).map(|j| grads.at(i, j)).collect();
            let (mut params, mut first, mut second) = (
                view_mut(&mut self.params),
                view_mut(&mut self.first),
                view_mut(&mut self.second),
            );
            let params = params.row_mut(i).expect("contiguous");
            let first = first.row_mut(i).expect("contiguous");
            let second = second.row_mut(i).expect("contiguous");
            let mut velocity = view_mut(&mut self.velocity);
            let velocity = velocity.row_mut(i).expect("contiguous");
            match kind {
                Kind::Sgd(rule) => kernels.sgd_update(rule, &grads, first, params),
                Kind::Adam(rule) => kernels.adam_update(rule, &grads, first, second, params),
                Kind::Rmsprop(rule) => {
                    kernels.rmsprop_update(rule, &grads, second, first, velocity, params)
                }
            }
            .expect("as long");
        }
    }

    fn all(&self) -> [&Guarded; 4] {
        [&self.params, &self.first, &self.second, &self.velocity]
    }

    fn bits(&self) -> [Vec<u32>; 4] {
        self.all().map(Guarded::bits)
    }

    fn broken_guard(&self) -> bool {
        self.all().iter().any(|x| x.broken_guard().is_some())
    }
}

fn cases() -> Vec<Case> {
    let (rows, cols) = (Storage::Rows { pad: 0 }, Storage::Cols { pad: 0 });
    let derivative = Post::Derivative(Activation::Tanh);
    let mut cases = Vec::new();
    for shape in [
        [0, 3, 2],
        [3, 5, 0],
        [1, 1, 1],
        [10, 40, 64],
        [49, 67, 32],
        [3, 200, 100],
        [70, 1, 90],
        [130, 150, 1100],
    ] {
        for (a, b) in [(cols, rows), (rows, cols)] {
            let case = Case {
                a,
                b,
                ..Case::new(shape)
            };
            let post = Case {
                post: derivative,
                ..case
            };
            cases.extend([case.scaled(0.5, 0.0), case.scaled(-2.0, 1.0), post]);
        }
    }
    cases
}

#[test]
fn the_bits_are_those_of_the_product_and_then_the_step() {
    check_each(cases(), |case| {
        let operands = case.operands();
        let [m, n, _] = case.shape;
        for kernels in available() {
            let isa = kernels.isa();
            let mut workspace = Workspace::new();
            let team = Team::solo();
            let mut grads = operands.old.clone();
            let call = call(case, &operands);
            kernels
                .gemm(&call, view_mut(&mut grads), &mut workspace, &team)
                .map_err(|e| e.to_string())?;
            for kind in KINDS {
                let mut apart = Weights::new(m, n, true);
                apart.step(kernels, kind, &grads);
                for (gradient, threads) in [
                    (Gradient::Keep, 1),
                    (Gradient::Discard, 1),
                    (Gradient::Discard, 3),
                ] {
                    let mut weights = Weights::new(m, n, true);
                    let mut kept = operands.old.clone();
                    let (update, g) = (weights.update(kind), view_mut(&mut kept));
                    with_team(threads, |team| {
                        kernels.gemm_update(&call, update, g, gradient, &mut workspace, team)
                    })
                    .map_err(|e| e.to_string())?;
                    let what = format!("{isa}, {kind:?}, {gradient:?}, {threads} threads");
                    if weights.bits() != apart.bits() {
                        return Err(format!("{what}: other weights or state"));
                    }
                    if gradient == Gradient::Keep && kept.bits() != grads.bits() {
                        return Err(format!("{what}: another gradient"));
                    }
                    if weights.broken_guard() || kept.broken_guard().is_some() {
                        return Err(format!("{what}: wrote beside a matrix"));
                    }
                }
            }
        }
        Ok(())
    });
}

/// How far weights may lie from the reference after the first step with a gradient that is off by
/// `error`: that times the slope of the step, and a few roundings of the numbers in it.
fn bound(kind: Kind, weight: f64, gradient: f64, error: f64) -> f64 {
    let (step, slope) = match kind {
        Kind::Sgd(rule) => {
            let reach = if rule.nesterov { 1.9 } else { 1.0 };
            let slope = reach * f64::from(rule.learning_rate);
            (slope * gradient.abs(), slope)
        }
        // The first step is lr g / (|g| + eps), which has the sign of g.
        Kind::Adam(rule) => {
            let lr = f64::from(rule.learning_rate);
            (
                lr * (1.0 + f64::from(rule.decoupled_weight_decay)),
                lr / gradient.abs(),
            )
        }
        // It is lr g / (c |g| + eps), with c^2 = 1 - alpha, or alpha (1 - alpha) if centered.
        Kind::Rmsprop(rule) => {
            let alpha = f64::from(rule.alpha);
            let share = if rule.centered { alpha } else { 1.0 };
            let step = f64::from(rule.learning_rate) / (share * (1.0 - alpha)).sqrt();
            (step, step / gradient.abs())
        }
    };
    slope * (error + U * weight.abs()) + 16.0 * U * (weight.abs() + step)
}

fn reference(kind: Kind) -> Rule {
    match kind {
        Kind::Sgd(rule) => Rule::Sgd {
            learning_rate: f64::from(rule.learning_rate),
            momentum: f64::from(rule.momentum),
            nesterov: rule.nesterov,
            weight_decay: f64::from(rule.weight_decay),
        },
        Kind::Adam(rule) => Rule::Adam {
            learning_rate: f64::from(rule.learning_rate),
            beta1: f64::from(rule.beta1),
            beta2: f64::from(rule.beta2),
            eps: f64::from(rule.eps),
            weight_decay: f64::from(rule.weight_decay),
            decoupled_weight_decay: f64::from(rule.decoupled_weight_decay),
        },
        Kind::Rmsprop(rule) => Rule::Rmsprop {
            learning_rate: f64::from(rule.learning_rate),
            alpha: f64::from(rule.alpha),
            eps: f64::from(rule.eps),
            momentum: f64::from(rule.momentum),
            centered: rule.centered,
            weight_decay: f64::from(rule.weight_decay),
        },
    }
}

#[test]
fn the_weights_are_those_of_the_reference() {
    check_each(cases(), |case| {
        if case.post != Post::Store {
            return Ok(());
        }
        let operands = case.operands();
        let [m, n, k] = case.shape;
        let product = gemm(
            f64::from(case.alpha),
            &exact(&operands.a),
            &exact(&operands.b),
            f64::from(case.beta),
            &exact(&operands.old),
        );
        for kernels in available() {
            for kind in KINDS {
                let mut weights = Weights::new(m, n, false);
                let start = exact(&weights.params);
                let mut expected = start.data.clone();
                Optimizer::new(reference(kind), m * n).step(&mut expected, &product.value.data);
                let decay = match kind {
                    Kind::Sgd(rule) => rule.weight_decay,
                    Kind::Adam(rule) => rule.weight_decay,
                    Kind::Rmsprop(rule) => rule.weight_decay,
                };
                let (mut g, mut workspace) = (operands.old.clone(), Workspace::new());
                let (update, g) = (weights.update(kind), view_mut(&mut g));
                let (call, gradient) = (call(case, &operands), Gradient::Discard);
                kernels
                    .gemm_update(&call, update, g, gradient, &mut workspace, &Team::solo())
                    .map_err(|e| e.to_string())?;
                for i in 0..m {
                    for j in 0..n {
                        let at = i * n + j;
                        let error = tolerance::gemm(k, product.magnitude.data[at]);
                        let gradient = product.value.data[at] + f64::from(decay) * start.data[at];
                        let bound = bound(kind, start.data[at], gradient, error);
                        let (got, expected) = (weights.params.at(i, j), expected[at]);
                        if !tolerance::agrees(got, expected, bound) {
                            let isa = kernels.isa();
                            return Err(format!(
                                "{isa}, {kind:?}: W[{i}, {j}]: expected {expected} +- {bound:.1e}, got {got}"
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn misfits_are_named_and_change_nothing() {
    let data = [1.0; 12];
    let (m, n, k) = (3, 4, 2);
    let a = MatRef::from_row_major(&data, m, k).expect("small");
    let b = MatRef::from_row_major(&data, k, n).expect("small");
    let momentum = SgdRule {
        momentum: 0.5,
        ..SGD
    };
    let downwards = SgdRule {
        learning_rate: -0.1,
        ..SGD
    };
    let step_0 = AdamRule { step: 0, ..ADAM };
    // Shape and column stride of the weights, of the state, the rule, and words of the message.
    type Matrix = (usize, usize, isize);
    let fits: Matrix = (m, n, 1);
    let centered = RmspropRule {
        centered: true,
        ..RMSPROP
    };
    let no_share = RmspropRule {
        alpha: 1.0,
        ..RMSPROP
    };
    let cases: [(Matrix, Option<Matrix>, Kind, [&str; 2]); 12] = [
        (
            fits,
            None,
            Kind::Rmsprop(centered),
            ["first moment, as it is centered", "none"],
        ),
        (
            fits,
            Some((2, 4, 1)),
            Kind::Rmsprop(centered),
            ["first moment", "2 x 4"],
        ),
        (
            fits,
            None,
            Kind::Rmsprop(no_share),
            ["alpha: expected", "got 1"],
        ),
        ((4, 3, 1), None, Kind::Sgd(SGD), ["3 x 4", "4 x 3"]),
        ((m, n, 2), None, Kind::Sgd(SGD), ["contiguous", "2"]),
        (fits, None, Kind::Sgd(momentum), ["velocity", "none"]),
        (
            fits,
            Some((3, 3, 1)),
            Kind::Sgd(momentum),
            ["velocity", "3 x 3"],
        ),
        (
            fits,
            Some((m, n, -1)),
            Kind::Sgd(momentum),
            ["velocity", "-1"],
        ),
        (fits, Some((2, 4, 1)), Kind::Adam(ADAM), ["moment", "2 x 4"]),
        (
            (m, 5, 1),
            Some(fits),
            Kind::Adam(ADAM),
            ["parameters", "3 x 5"],
        ),
        (
            fits,
            None,
            Kind::Sgd(downwards),
            ["learning_rate", "got -0.1"],
        ),
        (
            fits,
            Some(fits),
            Kind::Adam(step_0),
            ["step: expected", "got 0"],
        ),
    ];
    check_each(cases, |&(params, state, kind, words)| {
        for kernels in available() {
            let (mut w, mut v1, mut v2, mut g) = ([7.0; 64], [7.0; 64], [7.0; 64], [7.0; 12]);
            fn matrix(data: &mut [f32], (r, c, stride): Matrix) -> MatMut<'_> {
                MatMut::with_strides(data, 16, r, c, 12, stride).expect("inside the buffer")
            }
            let update = match kind {
                Kind::Sgd(rule) => Update::Sgd {
                    rule,
                    velocity: state.map(|shape| matrix(&mut v1, shape)),
                    params: matrix(&mut w, params),
                },
                Kind::Adam(rule) => Update::Adam {
                    rule,
                    first_moment: matrix(&mut v1, fits),
                    second_moment: matrix(&mut v2, state.expect("given")),
                    params: matrix(&mut w, params),
                },
                Kind::Rmsprop(rule) => Update::Rmsprop {
                    rule,
                    second_moment: matrix(&mut v1, fits),
                    first_moment: state.map(|shape| matrix(&mut v2, shape)),
                    velocity: None,
                    params: matrix(&mut w, params),
                },
            };
            let grads = MatMut::from_row_major(&mut g, m, n).expect("small");
            let (call, gradient) = (Gemm::new(a, b), Gradient::Keep);
            let mut workspace = Workspace::new();
            let team = Team::solo();
            let text =
                match kernels.gemm_update(&call, update, grads, gradient, &mut workspace, &team) {
                    Err(
                        error @ (KernelError::Shape {
                            op: "gemm_update", ..
                        }
                        | KernelError::Parameter {
                            op: "gemm_update", ..
                        }),
                    ) => error.to_string(),
                    other => return Err(format!("expected an error, got {other:?}")),
                };
            if let Some(word) = words.iter().find(|&&word| !text.contains(word)) {
                return Err(format!("{text:?} lacks {word:?}"));
            }
            let all = [&w[..], &v1, &v2, &g];
            if all.iter().any(|x| x.iter().any(|&x| x != 7.0)) {
                return Err("something changed".to_owned());
            }
        }
        Ok(())
    });
}
