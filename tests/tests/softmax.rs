//! Softmax and its cross-entropy on every instruction set, against the f64 reference: every width up to a
//! few registers, every layout, special values, wrong input.

mod common;

use kernels::{KernelError, Kernels, MatMut, MatRef, Targets, with_team};
use tests::layout::{Guarded, Storage};
use tests::loss;
use tests::matrix::Matrix;
use tests::tolerance::U;
use tests::values::Values;

use common::{available, view, view_mut};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// Roundings of a result of softmax besides those of the sum and of `x - max`.
const ROUNDINGS: f64 = 12.0;

fn lay(storage: Storage, x: &Matrix) -> Guarded {
    Guarded::new(storage, x.rows, x.cols, |i, j| x.at(i, j) as f32)
}

fn filled(storage: Storage, rows: usize, cols: usize) -> Guarded {
    Guarded::new(storage, rows, cols, |_, _| 9.0)
}

/// Shapes with one and two registers, more, and tails; more rows than are finished together.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let narrow = (0..=67).map(|cols| (3, cols));
    narrow.chain([
        (0, 10),
        (1, 10),
        (64, 10),
        (65, 10),
        (130, 7),
        (6, 26),
        (2, 1000),
        (2, 2049),
    ])
}

/// Layouts of the operand and of the result: each alone, and mixed.
fn layouts() -> impl Iterator<Item = (Storage, Storage)> {
    let same = Storage::DISTINCT.map(|storage| (storage, storage));
    let rows = Storage::Rows { pad: 0 };
    let mixed = [(rows, Storage::Spread), (Storage::Cols { pad: 3 }, rows)];
    same.into_iter().chain(mixed)
}

/// Relative error that a probability may have, from the distance of its logit to the largest.
fn relative(spread: f64, n: usize) -> f64 {
    U * (spread.abs() + n as f64 + ROUNDINGS)
}

fn largest(row: &[f64]) -> f64 {
    row.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[track_caller]
fn assert_close(got: f32, exact: f64, bound: f64, what: &str) {
    let error = (f64::from(got) - exact).abs();
    assert!(error <= bound, "{what}: {got:e}, expected {exact:e}");
}

#[test]
fn softmax_and_its_logarithm() {
    let mut values = Values::new(21);
    for (rows, cols) in shapes() {
        let x = values.matrix(rows, cols).map(|x| 20.0 * x);
        let x = x.map(|x| f64::from(x as f32));
        for (from, to) in layouts() {
            let input = lay(from, &x);
            for k in available() {
                let (mut p, mut log_p) = (filled(to, rows, cols), filled(to, rows, cols));
                k.softmax(view(&input), view_mut(&mut p)).expect("fits");
                k.log_softmax(view(&input), view_mut(&mut log_p))
                    .expect("fits");
                assert_eq!((p.broken_guard(), log_p.broken_guard()), (None, None));
                for i in 0..rows {
                    let (exact, exact_log) = (loss::softmax(x.row(i)), loss::log_softmax(x.row(i)));
                    for j in 0..cols {
                        let what = format!("{i}, {j} of {rows} x {cols}, {to:?}, {}", k.isa());
                        let spread = x.at(i, j) - largest(x.row(i));
                        let bound = relative(spread, cols);
                        assert_close(p.at(i, j), exact[j], bound * exact[j], &what);
                        // The spread is rounded once more when the logarithm is taken from it.
                        let bound = bound + U * spread.abs();
                        assert_close(log_p.at(i, j), exact_log[j], bound, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn the_gradient_of_softmax() {
    let mut values = Values::new(22);
    for (rows, cols) in shapes() {
        let logits = values.matrix(rows, cols).map(|x| 4.0 * x);
        let dy = values.matrix(rows, cols);
        let mut y = Matrix::zeros(rows, cols);
        for i in 0..rows {
            for (j, p) in loss::softmax(logits.row(i)).into_iter().enumerate() {
                y.data[i * cols + j] = f64::from(p as f32);
            }
        }
        for (from, to) in layouts() {
            let (y_laid, dy_laid) = (lay(from, &y), lay(from, &dy));
            for k in available() {
                let mut dx = filled(to, rows, cols);
                k.softmax_backward(view(&y_laid), view(&dy_laid), view_mut(&mut dx))
                    .expect("fits");
                assert_eq!(dx.broken_guard(), None);
                for i in 0..rows {
                    let (y, dy) = (y.row(i), dy.row(i));
                    let exact = loss::softmax_gradient(y, dy);
                    let terms: f64 = y.iter().zip(dy).map(|(y, dy)| (y * dy).abs()).sum();
                    for j in 0..cols {
                        let what = format!("{i}, {j} of {rows} x {cols}, {to:?}, {}", k.isa());
                        let centred = dy[j].abs() + terms;
                        let bound = U * y[j] * ((cols as f64 + 2.0) * terms + 3.0 * centred);
                        assert_close(dx.at(i, j), exact[j], bound, &what);
                    }
                }
            }
        }
    }
}

/// Runs the loss on all instruction sets and layouts and holds it against the reference.
fn check_cross_entropy(x: &Matrix, labels: Option<&[u32]>, t: &Matrix) {
    const SCALE: f32 = -0.25;
    let (rows, cols) = (x.rows, x.cols);
    let exact = loss::softmax_cross_entropy(x, t);
    for (from, to) in layouts() {
        let (logits, values) = (lay(from, x), lay(from, t));
        let targets = labels.map_or(Targets::Values(view(&values)), Targets::Classes);
        for k in available() {
            let mut grad = filled(to, rows, cols);
            let (mut losses, mut alone) = (vec![9.0; rows], vec![9.0; rows]);
            let out = Some(view_mut(&mut grad));
            k.softmax_cross_entropy(view(&logits), targets, SCALE, out, &mut losses)
                .expect("fits");
            k.softmax_cross_entropy(view(&logits), targets, SCALE, None, &mut alone)
                .expect("fits");
            assert_eq!(grad.broken_guard(), None);
            for i in 0..rows {
                let total: f64 = t.row(i).iter().sum();
                let max = largest(x.row(i));
                let what = format!("row {i} of {rows} x {cols}, {from:?}, {}", k.isa());
                let bound = U * (cols as f64 + ROUNDINGS) * (exact.losses[i] + total);
                assert_close(losses[i], exact.losses[i], bound, &what);
                assert_close(alone[i], exact.losses[i], bound, &what);
                for j in 0..cols {
                    let p = exact.gradient.at(i, j) + t.at(i, j);
                    let bound = relative(x.at(i, j) - max, cols) * p + 2.0 * U * t.at(i, j);
                    let expected = f64::from(SCALE) * exact.gradient.at(i, j);
                    assert_close(grad.at(i, j), expected, 0.25 * bound + 1e-38, &what);
                }
            }
        }
    }
}

#[test]
fn cross_entropy_of_classes() {
    let mut values = Values::new(22);
    for (rows, cols) in shapes().filter(|&(_, cols)| cols > 0) {
        let x = values.matrix(rows, cols).map(|x| f64::from(8.0 * x as f32));
        let labels = values.labels(rows, cols);
        check_cross_entropy(&x, Some(&labels), &Matrix::one_hot(&labels, cols));
    }
}

#[test]
fn cross_entropy_of_soft_targets() {
    let mut values = Values::new(23);
    for (rows, cols) in shapes() {
        let x = values.matrix(rows, cols).map(|x| f64::from(8.0 * x as f32));
        // Some targets are 0, and the rows do not sum to 1.
        let t = values.matrix(rows, cols).map(|t| t.max(0.0));
        check_cross_entropy(&x, None, &t);
    }
}

/// Widths with a row in one register, in two, and in more, on every instruction set.
const WIDTHS: [usize; 5] = [3, 10, 16, 40, 100];

/// Results for one row: probabilities, log-probabilities, loss of class `label`, gradient.
fn row_results(k: &Kernels, x: &[f32], label: u32) -> (Vec<f32>, Vec<f32>, f32, Vec<f32>) {
    let n = x.len();
    let logits = MatRef::from_row_major(x, 1, n).expect("n elements");
    let (mut p, mut log_p, mut grad) = (vec![9.0; n], vec![9.0; n], vec![9.0; n]);
    let mut losses = [9.0];
    let out = |data| MatMut::from_row_major(data, 1, n).expect("n elements");
    k.softmax(logits, out(&mut p)).expect("fits");
    k.log_softmax(logits, out(&mut log_p)).expect("fits");
    let (targets, grad_out) = (
        Targets::Classes(std::slice::from_ref(&label)),
        out(&mut grad),
    );
    k.softmax_cross_entropy(logits, targets, 1.0, Some(grad_out), &mut losses)
        .expect("fits");
    (p, log_p, losses[0], grad)
}

#[test]
fn logits_far_apart() {
    for k in available() {
        for n in WIDTHS {
            for (low, high) in [(0.0, 1e4), (-1e4, 0.0), (-1e4, 1e4), (-3e38, 3e38)] {
                let mut x = vec![low; n];
                x[n - 1] = high;
                let (p, log_p, loss, grad) = row_results(k, &x, n as u32 - 1);
                let certain = |j| f32::from(j == n - 1);
                for j in 0..n {
                    assert_eq!(p[j], certain(j), "{j} of {n} on {}", k.isa());
                    assert_eq!(log_p[j], if j == n - 1 { 0.0 } else { low - high });
                }
                assert_eq!((loss, grad), (0.0, vec![0.0; n]));
                let (.., loss, grad) = row_results(k, &x, 0);
                assert_eq!(loss, high - low);
                assert_eq!((grad[0], grad[n - 1]), (-1.0, 1.0));
            }
        }
    }
}

#[test]
fn an_infinitely_small_logit_has_probability_0() {
    for k in available() {
        for n in WIDTHS {
            let mut x = vec![2.0; n];
            x[0] = -INF;
            let (p, log_p, loss, grad) = row_results(k, &x, 1);
            assert_eq!((p[0], log_p[0], grad[0]), (0.0, -INF, 0.0));
            let expected = ((n - 1) as f64).ln();
            assert_close(loss, expected, 8.0 * U * expected, "the others share it");
            let (.., loss, grad) = row_results(k, &x, 0);
            assert_eq!((loss, grad[0]), (INF, -1.0));
            // As a soft target, 0 on -inf counts as 0.
            let mut t = vec![0.0; n];
            t[1] = 1.0;
            let view = |x| MatRef::from_row_major(x, 1, n).expect("n elements");
            let mut losses = [9.0];
            let targets = Targets::Values(view(&t));
            k.softmax_cross_entropy(view(&x), targets, 1.0, None, &mut losses)
                .expect("fits");
            assert_close(losses[0], expected, 8.0 * U * expected, "soft targets");
        }
    }
}

#[test]
fn a_row_without_softmax_is_nan_and_its_neighbours_are_not() {
    /// More than are treated at once; row 1 is the bad one.
    const ROWS: usize = 6;
    for k in available() {
        for n in WIDTHS {
            let lone = |value: f32, rest: f32, at: usize| {
                let mut x = vec![rest; n];
                x[at] = value;
                x
            };
            let bad = [
                vec![-INF; n],
                lone(INF, 1.0, 0),
                lone(INF, 1.0, n - 1),
                lone(INF, -INF, 1),
                lone(NAN, 1.0, 0),
                lone(-NAN, 1.0, n / 2),
                lone(NAN, -INF, n - 1),
                lone(NAN, INF, n - 1),
            ];
            for row in bad {
                let x = [vec![1.0; n], row, vec![1.0; (ROWS - 2) * n]].concat();
                let logits = MatRef::from_row_major(&x, ROWS, n).expect("ROWS n elements");
                let one_hot: Vec<f32> = (0..ROWS * n).map(|j| f32::from(j % n == 0)).collect();
                let one_hot = MatRef::from_row_major(&one_hot, ROWS, n).expect("ROWS n elements");
                for targets in [Targets::Classes(&[0; ROWS]), Targets::Values(one_hot)] {
                    let (mut grad, mut losses) = (vec![9.0; ROWS * n], [9.0; ROWS]);
                    let out = MatMut::from_row_major(&mut grad, ROWS, n).expect("ROWS n elements");
                    k.softmax_cross_entropy(logits, targets, 1.0, Some(out), &mut losses)
                        .expect("fits");
                    let nan: Vec<usize> = (0..ROWS).filter(|&i| losses[i].is_nan()).collect();
                    assert_eq!(nan, [1], "{x:?}");
                    for (j, g) in grad.iter().enumerate() {
                        assert_eq!(g.is_nan(), j / n == 1, "{j} on {}: {x:?}", k.isa());
                    }
                }
                let mut p = vec![9.0; ROWS * n];
                for run in [Kernels::softmax, Kernels::log_softmax] {
                    let out = MatMut::from_row_major(&mut p, ROWS, n).expect("ROWS n elements");
                    run(k, logits, out).expect("fits");
                    for (j, p) in p.iter().enumerate() {
                        assert_eq!(p.is_nan(), j / n == 1, "{j} on {}: {x:?}", k.isa());
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
    let other = MatRef::from_row_major(&data, 4, 3).expect("12 elements");
    for k in available() {
        let (mut grad, mut losses) = ([7.0; 12], [7.0; 3]);
        let mut ce = |targets, rows, cols, n| {
            let out = MatMut::from_row_major(&mut grad, rows, cols).expect("12 elements");
            k.softmax_cross_entropy(x, targets, 1.0, Some(out), &mut losses[..n])
        };
        let results = [
            ce(Targets::Classes(&[0; 2]), 3, 4, 3),
            ce(Targets::Classes(&[0; 3]), 4, 3, 3),
            ce(Targets::Classes(&[0; 3]), 3, 4, 2),
            ce(Targets::Values(other), 3, 4, 3),
        ];
        let label = ce(Targets::Classes(&[0, 1, 4]), 3, 4, 3);
        let expected = KernelError::Label {
            op: "softmax_cross_entropy",
            row: 2,
            label: 4,
            classes: 4,
        };
        assert_eq!(label, Err(expected));
        fn turned(data: &mut [f32]) -> MatMut<'_> {
            MatMut::from_row_major(data, 4, 3).expect("12 elements")
        }
        let more = [
            k.softmax(x, turned(&mut grad)),
            k.log_softmax(x, turned(&mut grad)),
            k.softmax_backward(x, x, turned(&mut grad)),
        ];
        for result in results.into_iter().chain(more) {
            assert!(
                matches!(result, Err(KernelError::Shape { .. })),
                "{result:?}"
            );
        }
        assert_eq!((grad, losses), ([7.0; 12], [7.0; 3]));
    }
}

#[test]
fn a_team_shares_the_rows_of_a_loss_with_the_bits_of_one_thread() {
    let mut values = Values::new(0x7ea3);
    for (rows, cols) in [(1, 3), (127, 4), (129, 4), (1000, 5), (300, 70)] {
        let x = values.vec(rows * cols);
        let soft = values.vec(rows * cols);
        let labels = values.labels(rows, cols);
        let soft = MatRef::from_row_major(&soft, rows, cols).expect("as many elements");
        for k in available() {
            for targets in [Targets::Classes(&labels), Targets::Values(soft)] {
                let run = |threads: usize| {
                    let (mut grad, mut losses) = (vec![9.0; rows * cols], vec![9.0; rows]);
                    let x = MatRef::from_row_major(&x, rows, cols).expect("as many elements");
                    let out = MatMut::from_row_major(&mut grad, rows, cols).expect("as many");
                    with_team(threads, |team| {
                        let (out, losses) = (Some(out), &mut losses);
                        k.softmax_cross_entropy_on(x, targets, 0.5, out, losses, team)
                    })
                    .expect("shapes that fit");
                    let all = grad.into_iter().chain(losses);
                    all.map(f32::to_bits).collect::<Vec<_>>()
                };
                let alone = run(1);
                for threads in [2, 3, 8] {
                    assert_eq!(run(threads), alone, "{rows} x {cols}, {threads} threads");
                }
            }
        }
    }
}
