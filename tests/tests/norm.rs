//! Layer and batch normalisation on every instruction set, against the f64 reference: widths around
//! the registers, every layout, columns far from 0, running statistics, threads, wrong input.

mod common;

use kernels::{
    KernelError, Kernels, MatMut, MatRef, Norm, NormGradients, Running, Statistics, StatisticsMut,
    Team, with_team,
};
use tests::layout::{Guarded, Storage};
use tests::matrix::Matrix;
use tests::norm::{self, Over};
use tests::tolerance::gamma as roundings;
use tests::values::Values;

use common::{available, view, view_mut};

const EPS: f32 = 1e-5;

fn lay(storage: Storage, x: &Matrix) -> Guarded {
    Guarded::new(storage, x.rows, x.cols, |i, j| x.at(i, j) as f32)
}

fn filled(storage: Storage, rows: usize, cols: usize) -> Guarded {
    Guarded::new(storage, rows, cols, |_, _| 9.0)
}

/// Shapes around one and several registers, and around the blocks of a sum.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let narrow = (1..=67).map(|cols| (5, cols));
    narrow.chain([
        (2, 1),
        (2, 130),
        (63, 9),
        (64, 9),
        (65, 17),
        (200, 3),
        (3, 1000),
        (2, 2500),
    ])
}

fn layouts() -> impl Iterator<Item = (Storage, Storage)> {
    let same = Storage::DISTINCT.map(|storage| (storage, storage));
    let rows = Storage::Rows { pad: 0 };
    let mixed = [(rows, Storage::Spread), (Storage::Cols { pad: 3 }, rows)];
    same.into_iter().chain(mixed)
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

#[track_caller]
fn assert_close(got: f32, exact: f64, bound: f64, what: &str) {
    let error = (f64::from(got) - exact).abs();
    assert!(
        error <= bound,
        "{what}: {got:e}, expected {exact:e}, {bound:e} allowed"
    );
}

/// Operands of one case.
struct Case {
    over: Over,
    x: Matrix,
    dy: Matrix,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Case {
    fn new(over: Over, rows: usize, cols: usize, offset: f64, values: &mut Values) -> Self {
        let x = values
            .matrix(rows, cols)
            .map(|x| f64::from((x + offset) as f32));
        Self {
            over,
            x,
            dy: values.matrix(rows, cols),
            gamma: values.vec(cols),
            beta: values.vec(cols),
        }
    }

    fn groups(&self) -> usize {
        match self.over {
            Over::Rows => self.x.rows,
            Over::Columns => self.x.cols,
        }
    }

    fn norm(&self) -> Norm<'_> {
        Norm {
            gamma: &self.gamma,
            beta: &self.beta,
            eps: EPS,
        }
    }

    fn forward(
        &self,
        k: &Kernels,
        x: MatRef<'_>,
        y: MatMut<'_>,
        team: &Team,
    ) -> Result<[Vec<f32>; 2], KernelError> {
        let [mut mean, mut rstd] = [0, 1].map(|_| vec![9.0; self.groups()]);
        let saved = StatisticsMut {
            mean: &mut mean,
            rstd: &mut rstd,
        };
        match self.over {
            Over::Rows => k.layer_norm(self.norm(), x, y, saved, team),
            Over::Columns => {
                k.batch_norm(self.norm(), x, y, saved, &mut vec![9.0; self.x.cols], team)
            }
        }?;
        Ok([mean, rstd])
    }

    fn backward(
        &self,
        k: &Kernels,
        (x, dy): (MatRef<'_>, MatRef<'_>),
        [mean, rstd]: &[Vec<f32>; 2],
        dx: Option<MatMut<'_>>,
        team: &Team,
    ) -> Result<[Vec<f32>; 2], KernelError> {
        let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![9.0; self.x.cols]);
        let gradients = NormGradients {
            dx,
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        let saved = Statistics { mean, rstd };
        match self.over {
            Over::Rows => k.layer_norm_backward(&self.gamma, x, saved, dy, gradients, team),
            Over::Columns => k.batch_norm_backward(&self.gamma, x, saved, dy, gradients, team),
        }?;
        Ok([dgamma, dbeta])
    }

    fn check_forward(&self, k: &Kernels, from: Storage, to: Storage) {
        let (rows, cols) = (self.x.rows, self.x.cols);
        let what = format!("{:?} {rows} x {cols}, {to:?}, {}", self.over, k.isa());
        let (input, mut y) = (lay(from, &self.x), filled(to, rows, cols));
        let saved = self.forward(k, view(&input), view_mut(&mut y), &Team::solo());
        let [mean, rstd] = saved.expect("fits");
        assert_eq!(y.broken_guard(), None, "{what}");
        let eps = f64::from(EPS);
        let (exact_mean, exact_rstd) = norm::statistics(self.over, &self.x, eps);
        let (gamma, beta) = (wide(&self.gamma), wide(&self.beta));
        let exact = norm::apply(self.over, &self.x, &gamma, &beta, &exact_mean, &exact_rstd);
        let sums = self.over.roundings_of_a_sum(rows);
        let groups = self.over.groups(&self.x);
        for (group, values) in groups.iter().enumerate() {
            let (mean_bound, relative) = norm::statistics_bound(values, eps, sums);
            assert_close(mean[group], exact_mean[group], mean_bound, &what);
            let bound = relative * exact_rstd[group];
            assert_close(rstd[group], exact_rstd[group], bound, &what);
        }
        for i in 0..rows {
            for j in 0..cols {
                let group = self.over.group(i, j);
                let bound = norm::y_bound(
                    self.x.at(i, j) - exact_mean[group],
                    gamma[j],
                    beta[j],
                    exact_rstd[group],
                    norm::statistics_bound(&groups[group], eps, sums),
                );
                assert_close(y.at(i, j), exact.at(i, j), bound, &what);
            }
        }
    }

    /// The backward pass as a function of what it is given: x, the statistics, gamma and dy.
    fn check_backward(&self, k: &Kernels, from: Storage, to: Storage) {
        let (rows, cols) = (self.x.rows, self.x.cols);
        let what = format!("{:?} {rows} x {cols}, {to:?}, {}", self.over, k.isa());
        let (mean, rstd) = norm::statistics(self.over, &self.x, f64::from(EPS));
        let saved = [mean, rstd].map(|of| of.iter().map(|&x| x as f32).collect::<Vec<_>>());
        let (x, dy, mut dx) = (
            lay(from, &self.x),
            lay(from, &self.dy),
            filled(to, rows, cols),
        );
        let operands = (view(&x), view(&dy));
        let out = Some(view_mut(&mut dx));
        let with_dx = self
            .backward(k, operands, &saved, out, &Team::solo())
            .expect("fits");
        let alone = self
            .backward(k, operands, &saved, None, &Team::solo())
            .expect("fits");
        assert_eq!(dx.broken_guard(), None, "{what}");

        let gamma = wide(&self.gamma);
        let (mean, rstd) = (wide(&saved[0]), wide(&saved[1]));
        let exact = norm::gradients(self.over, &self.x, &gamma, (&mean, &rstd), &self.dy);
        let xhat = Matrix::from_fn(rows, cols, |i, j| {
            let group = self.over.group(i, j);
            (self.x.at(i, j) - mean[group]) * rstd[group]
        });
        let down = Over::Columns.roundings_of_a_sum(rows);
        for j in 0..cols {
            let terms = |f: &dyn Fn(usize) -> f64| (0..rows).map(|i| f(i).abs()).sum::<f64>();
            let gamma_bound = roundings(down + 3) * terms(&|i| self.dy.at(i, j) * xhat.at(i, j));
            let beta_bound = roundings(down) * terms(&|i| self.dy.at(i, j));
            for [dgamma, dbeta] in [&with_dx, &alone] {
                assert_close(dgamma[j], exact.dgamma[j], gamma_bound, &what);
                assert_close(dbeta[j], exact.dbeta[j], beta_bound, &what);
            }
        }
        let g = Matrix::from_fn(rows, cols, |i, j| self.dy.at(i, j) * gamma[j]);
        let (g, xhat) = (self.over.groups(&g), self.over.groups(&xhat));
        let sums = self.over.roundings_of_a_sum(rows);
        for group in 0..self.groups() {
            let bounds = norm::dx_bound(&g[group], &xhat[group], rstd[group], sums);
            for (place, bound) in bounds.into_iter().enumerate() {
                let (i, j) = match self.over {
                    Over::Rows => (group, place),
                    Over::Columns => (place, group),
                };
                assert_close(dx.at(i, j), exact.dx.at(i, j), bound, &what);
            }
        }
    }
}

const BOTH: [Over; 2] = [Over::Rows, Over::Columns];

#[test]
fn forward_on_every_width_and_layout() {
    let mut values = Values::new(41);
    for over in BOTH {
        for (rows, cols) in shapes() {
            let case = Case::new(over, rows, cols, 0.25, &mut values);
            for (from, to) in layouts() {
                for k in available() {
                    case.check_forward(k, from, to);
                }
            }
        }
    }
}

#[test]
fn backward_on_every_width_and_layout() {
    let mut values = Values::new(42);
    for over in BOTH {
        for (rows, cols) in shapes().filter(|&(_, cols)| over == Over::Columns || cols > 1) {
            let case = Case::new(over, rows, cols, 0.25, &mut values);
            for (from, to) in layouts() {
                for k in available() {
                    case.check_backward(k, from, to);
                }
            }
        }
    }
}

#[test]
fn a_mean_far_from_zero_costs_no_more_than_its_own_rounding() {
    let mut values = Values::new(43);
    let rows = Storage::Rows { pad: 0 };
    for over in BOTH {
        for offset in [30.0, -1000.0, 1e4] {
            for (n, m) in [(100, 33), (700, 65)] {
                let case = match over {
                    Over::Rows => Case::new(over, m, n, offset, &mut values),
                    Over::Columns => Case::new(over, n, m, offset, &mut values),
                };
                for k in available() {
                    case.check_forward(k, rows, rows);
                    case.check_backward(k, rows, rows);
                }
            }
        }
    }
}

#[test]
fn what_does_not_vary_becomes_beta() {
    for over in BOTH {
        for value in [0.0, 0.1, -1234.567] {
            let mut case = Case::new(over, 70, 37, 0.0, &mut Values::new(44));
            case.x = case.x.map(|_| f64::from(value as f32));
            for k in available() {
                let x = lay(Storage::Rows { pad: 0 }, &case.x);
                let mut y = filled(Storage::Rows { pad: 0 }, 70, 37);
                let saved = case.forward(k, view(&x), view_mut(&mut y), &Team::solo());
                let [mean, _] = saved.expect("fits");
                assert!(
                    mean.iter().all(|&mean| mean == value as f32),
                    "{over:?} {value}"
                );
                for i in 0..70 {
                    for j in 0..37 {
                        assert_eq!(y.at(i, j), case.beta[j], "{over:?} {value} on {}", k.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn the_variance_left_is_unbiased_and_that_of_the_batch_is_not() {
    // Columns 1, 3, 8 and 2, 2, 2: means 4 and 2, sums of squares 26 and 0.
    let x = [1.0, 2.0, 3.0, 2.0, 8.0, 2.0];
    let x = MatRef::from_row_major(&x, 3, 2).expect("6 elements");
    let norm = Norm {
        gamma: &[1.0; 2],
        beta: &[0.0; 2],
        eps: EPS,
    };
    for k in available() {
        let (mut y, [mut mean, mut rstd, mut var]) = ([0.0; 6], [[9.0; 2]; 3]);
        let out = MatMut::from_row_major(&mut y, 3, 2).expect("6 elements");
        let saved = StatisticsMut {
            mean: &mut mean,
            rstd: &mut rstd,
        };
        k.batch_norm(norm, x, out, saved, &mut var, &Team::solo())
            .expect("fits");
        assert_eq!(mean, [4.0, 2.0], "{}", k.isa());
        assert_close(var[0], 13.0, 1e-5, "26 / 2");
        assert_eq!(var[1], 0.0);
        assert_close(rstd[0], (3.0f64 / 26.0).sqrt(), 1e-6, "from 26 / 3");
    }
}

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
