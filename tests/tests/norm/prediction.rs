//! Running statistics, threads, values that are no numbers, wrong input.

use kernels::{
    KernelError, MatMut, MatRef, Norm, NormGradients, Running, Statistics, StatisticsMut, Team,
    with_team,
};
use tests::layout::Storage;
use tests::norm::{self, Over};
use tests::tolerance::gamma as roundings;
use tests::values::Values;

use crate::case::{BOTH, Case, EPS, assert_close, filled, lay, layouts, shapes, wide};
use crate::common::{available, view, view_mut};

#[test]
fn prediction_uses_what_was_collected() {
    let mut values = Values::new(45);
    for (rows, cols) in shapes().chain([(1, 5), (0, 3)]) {
        let case = Case::new(Over::Columns, rows, cols, 0.5, &mut values);
        let mean = values.vec(cols);
        let var: Vec<f32> = values.vec(cols).iter().map(|v| v.abs() + 0.01).collect();
        let rstd: Vec<f64> = var
            .iter()
            .map(|&v| 1.0 / (f64::from(v) + f64::from(EPS)).sqrt())
            .collect();
        let (gamma, beta) = (wide(&case.gamma), wide(&case.beta));
        let exact = norm::apply(Over::Columns, &case.x, &gamma, &beta, &wide(&mean), &rstd);
        for (from, to) in layouts() {
            let input = lay(from, &case.x);
            for k in available() {
                let mut y = filled(to, rows, cols);
                let running = Running {
                    mean: &mean,
                    var: &var,
                };
                let out = view_mut(&mut y);
                k.batch_norm_predict(case.norm(), running, view(&input), out, &Team::solo())
                    .expect("fits");
                assert_eq!(y.broken_guard(), None);
                for i in 0..rows {
                    for j in 0..cols {
                        let distance = case.x.at(i, j) - f64::from(mean[j]);
                        // A sum, a root and a quotient for rstd.
                        let errors = (0.0, roundings(3));
                        let bound = norm::y_bound(distance, gamma[j], beta[j], rstd[j], errors);
                        assert_close(y.at(i, j), exact.at(i, j), bound, "prediction");
                    }
                }
            }
        }
        // Its backward pass: the statistics are constants.
        let x = lay(Storage::Rows { pad: 0 }, &case.x);
        let dy = lay(Storage::Rows { pad: 0 }, &case.dy);
        let narrow: Vec<f32> = rstd.iter().map(|&r| r as f32).collect();
        for k in available() {
            let mut dx = filled(Storage::Rows { pad: 2 }, rows, cols);
            let (mut dgamma, mut dbeta) = (vec![9.0; cols], vec![9.0; cols]);
            let gradients = NormGradients {
                dx: Some(view_mut(&mut dx)),
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            };
            let statistics = Statistics {
                mean: &mean,
                rstd: &narrow,
            };
            let (x, dy) = (view(&x), view(&dy));
            let team = &Team::solo();
            k.batch_norm_predict_backward(&case.gamma, x, statistics, dy, gradients, team)
                .expect("fits");
            for i in 0..rows {
                for j in 0..cols {
                    let exact = gamma[j] * f64::from(narrow[j]) * case.dy.at(i, j);
                    assert_close(dx.at(i, j), exact, roundings(2) * exact.abs(), "dx");
                }
            }
        }
    }
}

#[test]
fn the_bits_are_the_same_for_any_number_of_threads() {
    for over in BOTH {
        for (rows, cols) in [(300, 500), (3000, 67), (17, 9000)] {
            let case = Case::new(over, rows, cols, 0.25, &mut Values::new(46));
            let storage = Storage::Rows { pad: 0 };
            let (x, dy) = (lay(storage, &case.x), lay(storage, &case.dy));
            for k in available() {
                let run = |team: &Team| {
                    let mut y = filled(storage, rows, cols);
                    let mut dx = y.clone();
                    let saved = case
                        .forward(k, view(&x), view_mut(&mut y), team)
                        .expect("fits");
                    let operands = (view(&x), view(&dy));
                    let gradients = case
                        .backward(k, operands, &saved, Some(view_mut(&mut dx)), team)
                        .expect("fits");
                    (y.bits(), dx.bits(), saved, gradients)
                };
                let alone = run(&Team::solo());
                for threads in [2, 3, 8] {
                    let together = with_team(threads, run);
                    assert!(
                        together == alone,
                        "{over:?} {rows} x {cols}, {threads} threads"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_or_column_with_nan_leaves_the_others_alone() {
    for over in BOTH {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut case = Case::new(over, 40, 21, 0.0, &mut Values::new(47));
            case.x.data[7 * 21 + 3] = f64::from(bad);
            let x = lay(Storage::Rows { pad: 0 }, &case.x);
            for k in available() {
                let mut y = filled(Storage::Rows { pad: 0 }, 40, 21);
                case.forward(k, view(&x), view_mut(&mut y), &Team::solo())
                    .expect("fits");
                for i in 0..40 {
                    for j in 0..21 {
                        let hit = over.group(i, j) == over.group(7, 3);
                        assert_eq!(y.at(i, j).is_nan(), hit, "{i}, {j} on {}", k.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn wrong_input_is_an_error_and_changes_nothing() {
    let data = [1.0; 12];
    let x = MatRef::from_row_major(&data, 3, 4).expect("12 elements");
    let one_row = MatRef::from_row_major(&data, 1, 4).expect("4 elements");
    let norm = |n: usize, eps: f32| Norm {
        gamma: &data[..n],
        beta: &data[..4],
        eps,
    };
    for k in available() {
        let mut y = [7.0; 12];
        let mut batch = |norm, x: MatRef<'_>, rows, statistics: usize, values: usize| {
            let (mut mean, mut rstd, mut var) = ([0.0; 9], [0.0; 9], [0.0; 9]);
            let out = MatMut::from_row_major(&mut y, rows, 4).expect("fits");
            let saved = StatisticsMut {
                mean: &mut mean[..statistics],
                rstd: &mut rstd[..4],
            };
            k.batch_norm(norm, x, out, saved, &mut var[..values], &Team::solo())
        };
        let results = [
            (
                batch(norm(3, EPS), x, 3, 4, 4),
                "batch_norm: expected 4 values of gamma, one per column of x, got 3",
            ),
            (
                batch(norm(4, EPS), x, 2, 4, 4),
                "batch_norm: expected y 3 x 4, the shape of x, got 2 x 4",
            ),
            (
                batch(norm(4, EPS), x, 3, 3, 4),
                "batch_norm: expected 4 values of mean, one per column of x, got 3",
            ),
            (
                batch(norm(4, EPS), one_row, 1, 4, 4),
                "batch_norm: expected at least 2 rows, for their variance, got 1",
            ),
            (
                batch(norm(4, 0.0), x, 3, 4, 4),
                "batch_norm: eps: expected a finite number above 0, got 0",
            ),
            (
                batch(norm(4, EPS), x, 3, 4, 5),
                "batch_norm: expected 4 values of var, one per column of x, got 5",
            ),
        ];
        for (result, message) in results {
            assert_eq!(result.expect_err(message).to_string(), message);
        }
        assert_eq!(y, [7.0; 12]);

        let (mut y, mut mean, mut rstd) = ([7.0; 12], [0.0; 4], [0.0; 3]);
        let out = MatMut::from_row_major(&mut y, 3, 4).expect("12 elements");
        let saved = StatisticsMut {
            mean: &mut mean,
            rstd: &mut rstd,
        };
        let error = k.layer_norm(norm(4, EPS), x, out, saved, &Team::solo());
        assert_eq!(
            error.expect_err("four means for three rows").to_string(),
            "layer_norm: expected 3 values of mean, one per row of x, got 4"
        );
        assert_eq!(y, [7.0; 12]);

        let (mut dgamma, mut dbeta) = ([7.0; 4], [7.0; 4]);
        let mut dx = [7.0; 8];
        let gradients = NormGradients {
            dx: Some(MatMut::from_row_major(&mut dx, 2, 4).expect("8 elements")),
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        let saved = Statistics {
            mean: &data[..4],
            rstd: &data[..4],
        };
        let error = k.batch_norm_backward(&data[..4], x, saved, x, gradients, &Team::solo());
        assert!(matches!(error, Err(KernelError::Shape { .. })), "{error:?}");
        assert_eq!((dx, dgamma, dbeta), ([7.0; 8], [7.0; 4], [7.0; 4]));
    }
}
