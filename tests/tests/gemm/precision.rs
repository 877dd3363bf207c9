//! Products as sums of bf16 products, on the matrix unit where there is one and on its model everywhere.

use kernels::{
    Activation, Epilogue, Gemm, GemmTask, Gradient, Isa, KernelError, Kernels, MatMut, MatRef,
    Precision, SgdRule, Team, Update, Workspace, with_team,
};
use tests::cases::check_each;
use tests::gemm::gemm;
use tests::layout::Storage;
use tests::tolerance;
use tests::values::Values;

use crate::case::{Case, available, call, exact, run, view, view_mut};

/// From the least exact on, with the parts that each number has.
pub(crate) const PARTS: [(Precision, usize); 3] = [
    (Precision::Medium, 1),
    (Precision::High, 2),
    (Precision::Highest, 3),
];

/// Shapes that the matrix unit takes, the fourth not at the highest precision: whole panels and edges, one block of the depth and
/// several, more than one group of panels.
const SHAPES: [[usize; 3]; 5] = [
    [64, 128, 96],
    [157, 91, 250],
    [63, 94, 257],
    [33, 800, 1000],
    [300, 64, 64],
];

/// The kernels with a matrix unit.
pub(crate) fn with_tiles() -> Vec<&'static Kernels> {
    let shape = (64, 128, 96);
    let has = |kernels: &&Kernels| {
        kernels.effective_precision(Precision::Medium, shape) == Precision::Medium
    };
    let all: Vec<_> = available().into_iter().filter(has).collect();
    assert!(!all.is_empty(), "the model is everywhere");
    all
}

/// `C = A B` of row-major matrices.
pub(crate) fn product(
    kernels: &Kernels,
    precision: Precision,
    (a, b): (&[f32], &[f32]),
    (m, n, k): (usize, usize, usize),
) -> Vec<f32> {
    let mut c = vec![f32::NAN; m * n];
    let gemm = Gemm {
        precision,
        ..Gemm::new(
            MatRef::from_row_major(a, m, k).unwrap(),
            MatRef::from_row_major(b, k, n).unwrap(),
        )
    };
    let out = MatMut::from_row_major(&mut c, m, n).unwrap();
    kernels
        .gemm(&gemm, out, &mut Workspace::new(), &Team::solo())
        .unwrap();
    c
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_precision_keeps_its_bound() {
    let (rows, cols) = (Storage::Rows { pad: 3 }, Storage::Cols { pad: 1 });
    let cases = SHAPES.into_iter().flat_map(|shape| {
        [(rows, rows), (rows, cols), (cols, rows), (cols, cols)].map(|(a, b)| Case {
            a,
            b,
            ..Case::new(shape)
        })
    });
    let strided = [cols, Storage::Spread, Storage::RowsBackwards];
    let first = Case::new(SHAPES[1]);
    let strided = strided.map(|c| Case { c, ..first }.scaled(-1.5, 0.5));
    let strided_operands = Case {
        a: Storage::Spread,
        b: Storage::Spread,
        ..first
    };
    let cases = cases.chain(strided).chain([
        strided_operands,
        first.scaled(-2.5, 0.5),
        first.scaled(0.0, 2.0),
    ]);
    check_each(cases, |case| {
        let operands = case.operands();
        let expected = gemm(
            f64::from(case.alpha),
            &exact(&operands.a),
            &exact(&operands.b),
            f64::from(case.beta),
            &exact(&operands.old),
        );
        let [m, n, k] = case.shape;
        for kernels in with_tiles() {
            for (precision, parts) in PARTS {
                if kernels.effective_precision(precision, (m, n, k)) != precision {
                    continue;
                }
                let mut c = operands.old.clone();
                let gemm = Gemm {
                    precision,
                    ..call(case, &operands)
                };
                let (workspace, team) = (&mut Workspace::new(), &Team::solo());
                let done = kernels.gemm(&gemm, view_mut(&mut c), workspace, team);
                done.map_err(|e| e.to_string())?;
                if c.broken_guard().is_some() {
                    return Err(format!("{precision}: wrote beside C"));
                }
                for i in 0..m {
                    for j in 0..n {
                        let magnitude = expected.magnitude.at(i, j);
                        let bound = tolerance::gemm_bf16(parts, k, magnitude);
                        let (got, value) = (c.at(i, j), expected.value.at(i, j));
                        if !tolerance::agrees(got, value, bound) {
                            return Err(format!(
                                "{} {precision}: C[{i}, {j}]: expected {value} +- {bound:.1e}, got {got}",
                                kernels.isa()
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
fn what_a_precision_means_can_be_seen() {
    // 1, 2^-9 and 2^-18 are far enough apart for three parts.
    let (second, third) = (2.0_f32.powi(-9), 2.0_f32.powi(-18));
    let (m, n, k) = (64, 128, 96);
    for kernels in with_tiles() {
        for (precision, parts) in [
            (Precision::Medium, 1),
            (Precision::High, 2),
            (Precision::Highest, 3),
            (Precision::Ieee, 3),
        ] {
            let effective = kernels.effective_precision(precision, (m, n, k));
            let parts = if effective == precision { parts } else { 3 };
            for (needed, x) in [(1, 1.0), (2, 1.0 + second), (3, 1.0 + second + third)] {
                let mut a = vec![0.0; m * k];
                a.iter_mut().step_by(k).for_each(|first| *first = x);
                let c = product(kernels, precision, (&a, &vec![1.0; k * n]), (m, n, k));
                assert!(
                    c.iter().all(|&c| (c == x) == (needed <= parts)),
                    "{precision}, {needed} parts: {}",
                    c[0]
                );
            }
        }
    }
}

#[test]
fn integers_are_exact() {
    let (m, n, k) = (96, 96, 128);
    let mut values = Values::new(5);
    let mut integers = |len: usize| -> Vec<f32> {
        let next = |_| values.below(511) as f32 - 255.0;
        (0..len).map(next).collect()
    };
    let (a, b) = (integers(m * k), integers(k * n));
    for kernels in with_tiles() {
        let expected = product(kernels, Precision::Ieee, (&a, &b), (m, n, k));
        for (precision, _) in PARTS {
            let got = product(kernels, precision, (&a, &b), (m, n, k));
            assert_eq!(bits(&got), bits(&expected), "{precision}");
        }
    }
}

#[test]
fn without_a_matrix_unit_all_precisions_have_the_same_bits() {
    let (m, n, k) = (96, 128, 130);
    let mut values = Values::new(6);
    let (a, b) = (values.vec(m * k), values.vec(k * n));
    let plain = available().into_iter();
    let plain =
        plain.filter(|k| k.effective_precision(Precision::Medium, (m, n, 128)) == Precision::Ieee);
    for kernels in plain {
        let ieee = product(kernels, Precision::Ieee, (&a, &b), (m, n, k));
        for (precision, _) in PARTS {
            let got = product(kernels, precision, (&a, &b), (m, n, k));
            assert_eq!(bits(&got), bits(&ieee), "{} {precision}", kernels.isa());
        }
    }
    // Asked for it, those with a unit do without, too: the bits are those of the same registers.
    for kernels in with_tiles() {
        let ieee = product(kernels, Precision::Ieee, (&a, &b), (m, n, k));
        let isa = kernels.isa().min(Isa::Avx512);
        let without = Kernels::for_isa(isa).unwrap();
        let expected = product(without, Precision::Ieee, (&a, &b), (m, n, k));
        assert_eq!(bits(&ieee), bits(&expected), "{isa}");
    }
}

/// Where there is a matrix unit, its bits are those of the model.
#[test]
fn the_model_is_the_unit() {
    let Ok(amx) = Kernels::for_isa(Isa::Amx) else {
        eprintln!("skipped: no matrix unit");
        return;
    };
    let model = amx.with_tile_model();
    for [m, n, k] in SHAPES {
        let mut values = Values::new((m + n + k) as u64);
        let mut numbers = |len: usize| -> Vec<f32> {
            let next = |_| values.uniform() * 2.0_f32.powi(values.below(40) as i32 - 20);
            (0..len).map(next).collect()
        };
        let (a, b) = (numbers(m * k), numbers(k * n));
        for (precision, _) in PARTS {
            let got = product(amx, precision, (&a, &b), (m, n, k));
            let expected = product(model, precision, (&a, &b), (m, n, k));
            assert_eq!(bits(&got), bits(&expected), "{precision} {m} x {n} x {k}");
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (rows, cols) = (Storage::Rows { pad: 0 }, Storage::Cols { pad: 0 });
    let shapes = [[157, 251, 250], [64, 96, 2500], [400, 128, 90]];
    for kernels in with_tiles() {
        for (shape, (precision, _)) in shapes.into_iter().zip(PARTS) {
            for (a, b) in [(rows, rows), (rows, cols), (cols, rows)] {
                let case = Case {
                    a,
                    b,
                    ..Case::new(shape)
                };
                let operands = case.operands();
                let gemm = Gemm {
                    precision,
                    ..call(&case, &operands)
                };
                let on = |threads: usize| {
                    let mut c = operands.old.clone();
                    with_team(threads, |team| {
                        kernels.gemm(&gemm, view_mut(&mut c), &mut Workspace::new(), team)
                    })
                    .unwrap();
                    c
                };
                let alone = on(1);
                for threads in [2, 3, 5] {
                    assert_eq!(on(threads).bits(), alone.bits(), "{threads} threads");
                }
                let mut in_batch = operands.old.clone();
                let mut tasks = [GemmTask::new(gemm, view_mut(&mut in_batch))];
                with_team(2, |team| {
                    kernels.gemm_batch(&mut tasks, &mut Workspace::new(), team)
                })
                .unwrap();
                assert_eq!(in_batch.bits(), alone.bits(), "in a batch");
            }
        }
    }
}

#[test]
fn packed_before_or_not_the_bits_are_the_same() {
    for kernels in with_tiles() {
        for (precision, _) in PARTS {
            let case = Case::new([157, 251, 300]);
            let mut operands = case.operands();
            // Panels with numbers that are no sums of parts are packed otherwise.
            let a_start = operands.a.offset;
            operands.a.data[a_start + 3 * 300 + 270] = f32::INFINITY;
            let b_start = operands.b.offset;
            operands.b.data[b_start + 280 * 251 + 200] = 1e-38;
            let (a, b) = (view(&operands.a), view(&operands.b));
            let gemm = Gemm {
                precision,
                ..call(&case, &operands)
            };
            let mut plain = operands.old.clone();
            let (workspace, team) = (&mut Workspace::new(), &Team::solo());
            kernels
                .gemm(&gemm, view_mut(&mut plain), workspace, team)
                .unwrap();
            let mut packed_a = kernels.pack_a_for(a, 251, precision);
            let mut packed_b = kernels.pack_b_for(b, 157, precision);
            // A unit that does not serve the precision leaves it to multiply-adds.
            let effective = kernels.effective_precision(precision, (157, 251, 300));
            assert_eq!(packed_a.precision(), effective);
            assert_eq!(packed_b.precision(), effective);
            for threads in [1, 3] {
                with_team(threads, |team| {
                    packed_a.refresh(a, team)?;
                    packed_b.refresh(b, team)
                })
                .unwrap();
                for (left, right) in [(true, false), (false, true), (true, true)] {
                    let mut gemm = gemm;
                    if left {
                        gemm.a = (&packed_a).into();
                    }
                    if right {
                        gemm.b = (&packed_b).into();
                    }
                    let mut c = operands.old.clone();
                    kernels
                        .gemm(&gemm, view_mut(&mut c), workspace, team)
                        .unwrap();
                    assert_eq!(c.bits(), plain.bits(), "{precision} {left} {right}");
                }
            }
        }
    }
}

#[test]
fn operands_of_another_precision_are_refused_unless_they_are_better() {
    let case = Case::new([64, 128, 96]);
    let operands = case.operands();
    let (a, b) = (view(&operands.a), view(&operands.b));
    for kernels in with_tiles() {
        let with = |asked: Precision, packed_for: Precision| {
            let packed = kernels.pack_b_for(b, 64, packed_for);
            let gemm = Gemm {
                precision: asked,
                ..Gemm::new(a, &packed)
            };
            let mut c = operands.old.clone();
            kernels.gemm(
                &gemm,
                view_mut(&mut c),
                &mut Workspace::new(),
                &Team::solo(),
            )
        };
        for asked in Precision::ALL {
            for packed_for in Precision::ALL {
                // The most exact parts are not worth it in this shape.
                let made_for = kernels.effective_precision(packed_for, (64, 128, 96));
                assert_eq!(
                    with(asked, packed_for).is_ok(),
                    made_for >= asked,
                    "{asked} {packed_for}"
                );
            }
        }
        let error = with(Precision::Highest, Precision::Medium).unwrap_err();
        assert_eq!(
            error.to_string(),
            "gemm: expected a B packed for the precision highest or better, got one packed for medium"
        );
        let packed_a = kernels.pack_a_for(a, 128, Precision::Medium);
        let packed_b = kernels.pack_b_for(b, 64, Precision::Ieee);
        let gemm = Gemm {
            precision: Precision::Medium,
            ..Gemm::new(&packed_a, &packed_b)
        };
        let mut c = operands.old.clone();
        let mixed = kernels.gemm(
            &gemm,
            view_mut(&mut c),
            &mut Workspace::new(),
            &Team::solo(),
        );
        assert!(matches!(mixed, Err(KernelError::Shape { .. })), "{mixed:?}");
        // Kernels without a unit, or with another one, cannot use it.
        let others = available()
            .into_iter()
            .filter(|other| other.isa() != kernels.isa());
        for other in others {
            let packed = kernels.pack_b_for(b, 64, Precision::Medium);
            let gemm = Gemm::new(a, &packed);
            let refused = other.gemm(
                &gemm,
                view_mut(&mut operands.old.clone()),
                &mut Workspace::new(),
                &Team::solo(),
            );
            assert!(refused.is_err());
        }
    }
}

/// 157 x 91 numbers as a matrix.
fn view_of(x: &mut [f32]) -> MatMut<'_> {
    MatMut::from_row_major(x, 157, 91).unwrap()
}

#[test]
fn epilogues_and_updates_come_after_the_sums() {
    let case = Case::new([157, 91, 600]);
    let operands = case.operands();
    let bias = Values::new(9).vec(91);
    for kernels in with_tiles() {
        for (precision, _) in PARTS {
            let gemm = Gemm {
                precision,
                ..call(&case, &operands)
            };
            let (workspace, team) = (&mut Workspace::new(), &Team::solo());
            let mut sums = operands.old.clone();
            kernels
                .gemm(&gemm, view_mut(&mut sums), workspace, team)
                .unwrap();
            let epilogue = Epilogue::Activate {
                bias: Some(&bias),
                activation: Activation::Relu,
            };
            let mut c = operands.old.clone();
            kernels
                .gemm(
                    &Gemm { epilogue, ..gemm },
                    view_mut(&mut c),
                    workspace,
                    team,
                )
                .unwrap();
            for i in 0..157 {
                for (j, bias) in bias.iter().enumerate() {
                    let expected = (sums.at(i, j) + bias).max(0.0);
                    assert_eq!(c.at(i, j), expected, "{precision} [{i}, {j}]");
                }
            }
            // One block of the depth, whose gradient goes nowhere, and several.
            for k in [200, 600] {
                let gemm = Gemm {
                    a: view(&operands.a).part(0..157, 0..k).into(),
                    b: view(&operands.b).part(0..k, 0..91).into(),
                    ..gemm
                };
                let mut grads = vec![0.0; 157 * 91];
                kernels
                    .gemm(&gemm, view_of(&mut grads), workspace, team)
                    .unwrap();
                let rule = SgdRule {
                    learning_rate: 0.1,
                    momentum: 0.0,
                    nesterov: false,
                    weight_decay: 0.01,
                };
                let start = Values::new(10).vec(157 * 91);
                let mut expected = start.clone();
                kernels
                    .sgd_update(rule, &grads, &mut [], &mut expected)
                    .unwrap();
                for gradient in [Gradient::Keep, Gradient::Discard] {
                    let (mut params, mut memory) = (start.clone(), vec![f32::NAN; 157 * 91]);
                    let update = Update::Sgd {
                        rule,
                        velocity: None,
                        params: view_of(&mut params),
                    };
                    let grads = view_of(&mut memory);
                    kernels
                        .gemm_update(&gemm, update, grads, gradient, workspace, team)
                        .unwrap();
                    assert_eq!(bits(&params), bits(&expected), "{precision} {gradient:?}");
                }
            }
        }
    }
}

#[test]
fn a_call_after_reserve_does_not_need_more_memory() {
    for kernels in with_tiles() {
        for [m, n, k] in SHAPES {
            let mut workspace = Workspace::new();
            workspace.reserve(m, n, k, 1);
            let bytes = workspace.bytes();
            for (precision, _) in PARTS {
                let case = Case::new([m, n, k]);
                let operands = case.operands();
                let gemm = Gemm {
                    precision,
                    ..call(&case, &operands)
                };
                let mut c = operands.old.clone();
                kernels
                    .gemm(&gemm, view_mut(&mut c), &mut workspace, &Team::solo())
                    .unwrap();
                assert_eq!(workspace.bytes(), bytes, "{precision} {m} x {n} x {k}");
            }
        }
    }
}

#[test]
fn the_process_wide_precision_is_what_new_products_have() {
    let case = Case::new([2, 3, 4]);
    let operands = case.operands();
    let now = Precision::process_wide();
    assert_eq!(call(&case, &operands).precision, now);
    for kernels in available() {
        let mut workspace = Workspace::new();
        run(&case, &operands, kernels, &mut workspace, &Team::solo()).unwrap();
        // A product that is small is computed by multiply-adds, whatever is asked for.
        let effective = kernels.effective_precision(Precision::Medium, (2, 3, 4));
        assert_eq!(effective, Precision::Ieee);
    }
}
