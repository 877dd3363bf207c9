//! The losses of single elements on every instruction set, against the f64 reference: every width up
//! to a few registers, every layout, with and without weights of rows, special values, wrong input.

mod common;

use kernels::{KernelError, MatMut, MatRef, PointwiseLoss, Weighting};
use tests::layout::{Guarded, Storage};
use tests::loss::{Pointwise, pointwise};
use tests::matrix::Matrix;
use tests::tolerance::U;
use tests::values::Values;

use common::{available, view, view_mut};

const ALL: [(PointwiseLoss, Pointwise); 5] = [
    (PointwiseLoss::Squared, Pointwise::Squared),
    (PointwiseLoss::Absolute, Pointwise::Absolute),
    (PointwiseLoss::Huber { delta: 0.5 }, Pointwise::Huber(0.5)),
    (PointwiseLoss::Huber { delta: 3.0 }, Pointwise::Huber(3.0)),
    (PointwiseLoss::BinaryCrossEntropy, Pointwise::Binary),
];

const PLAIN: Weighting<'static> = Weighting {
    scale: 1.0,
    rows: None,
};

/// Roundings of a loss besides those of its sum, all of terms of one sign: five of the element, its
/// weight, 2 units of an exponential and 3 of a logarithm.
const LOSS_ROUNDINGS: f64 = 12.0;

/// Roundings of a derivative: 4 of sigmoid, the difference, two products.
const SLOPE_ROUNDINGS: f64 = 8.0;

fn lay(storage: Storage, x: &Matrix) -> Guarded {
    Guarded::new(storage, x.rows, x.cols, |i, j| x.at(i, j) as f32)
}

fn filled(storage: Storage, rows: usize, cols: usize) -> Guarded {
    Guarded::new(storage, rows, cols, |_, _| 9.0)
}

#[track_caller]
fn assert_close(got: f32, exact: f64, bound: f64, what: &str) {
    let error = (f64::from(got) - exact).abs();
    assert!(
        error <= bound,
        "{what}: {got:e}, expected {exact:e} +- {bound:e}"
    );
}

/// Holds a loss of a matrix against the reference.
fn check(ours: PointwiseLoss, exact: Pointwise, x: &Matrix, t: &Matrix, weights: Option<&[f32]>) {
    const SCALE: f32 = -0.25;
    let (rows, cols) = (x.rows, x.cols);
    let expected = pointwise(exact, x, t);
    let layouts = Storage::DISTINCT.map(|storage| (storage, storage));
    let mixed = [(Storage::Rows { pad: 0 }, Storage::Spread)];
    for (from, to) in layouts.into_iter().chain(mixed) {
        let (input, targets) = (lay(from, x), lay(from, t));
        let weighting = Weighting {
            scale: SCALE,
            rows: weights,
        };
        for k in available() {
            let mut grad = filled(to, rows, cols);
            let (mut losses, mut alone) = (vec![9.0; rows], vec![9.0; rows]);
            for (grad, losses) in [(Some(view_mut(&mut grad)), &mut losses), (None, &mut alone)] {
                k.pointwise_loss(ours, view(&input), view(&targets), weighting, grad, losses)
                    .expect("fits");
            }
            assert_eq!(grad.broken_guard(), None);
            for i in 0..rows {
                let weight = weights.map_or(1.0, |weights| f64::from(weights[i]));
                let isa = k.isa();
                let what = format!("{ours:?}, row {i} of {rows} x {cols}, {from:?}, {isa}");
                let loss = weight * expected.losses[i];
                // A loss below the normal numbers may be 0.
                let bound =
                    U * (cols as f64 + LOSS_ROUNDINGS) * loss + f64::from(f32::MIN_POSITIVE);
                assert_close(losses[i], loss, bound, &what);
                assert_close(alone[i], loss, bound, &what);
                for j in 0..cols {
                    let factor = f64::from(SCALE) * weight;
                    let slope = factor * expected.gradient.at(i, j);
                    // The derivative is the difference of two numbers, which may be larger than it.
                    let size = match exact {
                        Pointwise::Binary => factor.abs(),
                        _ => slope.abs(),
                    };
                    assert_close(grad.at(i, j), slope, SLOPE_ROUNDINGS * U * size, &what);
                }
            }
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_the_reference() {
    let mut values = Values::new(24);
    let narrow = (0..=67).map(|cols| (3, cols));
    for (rows, cols) in narrow.chain([(0, 10), (1, 10), (130, 7), (2, 1000)]) {
        let exact = |x: f64| f64::from(x as f32);
        let x = values.matrix(rows, cols).map(|x| exact(4.0 * x));
        let t = values.matrix(rows, cols).map(|t| exact(t.abs()));
        let weights: Vec<f32> = values.vec(rows).iter().map(|w| w.abs()).collect();
        for (ours, exact) in ALL {
            check(ours, exact, &x, &t, None);
            check(ours, exact, &x, &t, Some(&weights));
        }
    }
}

/// Logits so large that `e^x` would overflow, so small that `1 + e^x` is 1, and all between.
#[test]
fn binary_cross_entropy_is_exact_for_logits_of_any_size() {
    let logits: Vec<f32> = (-60..=60i8).map(|i| 1.45 * f32::from(i)).collect();
    let n = logits.len();
    let x = Matrix::from_f32(1, n, &logits).transposed();
    for target in [0.0, 0.25, 1.0] {
        let t = Matrix::from_fn(n, 1, |_, _| target);
        let loss = PointwiseLoss::BinaryCrossEntropy;
        check(loss, Pointwise::Binary, &x, &t, None);
    }
    let ends = [f32::MAX, -f32::MAX];
    let x = MatRef::from_row_major(&ends, 2, 1).expect("two");
    for k in available() {
        let (mut losses, mut grad) = ([9.0; 2], [9.0; 2]);
        let out = MatMut::from_row_major(&mut grad, 2, 1).expect("two");
        let t = MatRef::from_row_major(&[1.0, 0.0], 2, 1).expect("two");
        let loss = PointwiseLoss::BinaryCrossEntropy;
        k.pointwise_loss(loss, x, t, PLAIN, Some(out), &mut losses)
            .expect("fits");
        assert_eq!((losses, grad), ([0.0; 2], [0.0; 2]));
    }
}

#[test]
fn a_number_that_is_none_shows_in_its_row_alone() {
    for k in available() {
        for (loss, _) in ALL {
            let mut x = [0.5; 33];
            x[17] = f32::NAN;
            let x = MatRef::from_row_major(&x, 3, 11).expect("33");
            let t = [0.25; 33];
            let t = MatRef::from_row_major(&t, 3, 11).expect("33");
            let (mut grad, mut losses) = ([0.0; 33], [0.0; 3]);
            let out = MatMut::from_row_major(&mut grad, 3, 11).expect("33");
            k.pointwise_loss(loss, x, t, PLAIN, Some(out), &mut losses)
                .expect("fits");
            let what = format!("{loss:?}, {}", k.isa());
            assert_eq!(losses.map(f32::is_nan), [false, true, false], "{what}");
            let nan: Vec<usize> = (0..33).filter(|&i| grad[i].is_nan()).collect();
            assert_eq!(nan, [17], "{what}");
        }
    }
}

#[test]
fn wrong_input_is_an_error_and_changes_nothing() {
    let data = [1.0; 12];
    let x = MatRef::from_row_major(&data, 3, 4).expect("12 elements");
    let turned = MatRef::from_row_major(&data, 4, 3).expect("12 elements");
    let short = Weighting {
        scale: 1.0,
        rows: Some(&[1.0; 2]),
    };
    let squared = PointwiseLoss::Squared;
    for k in available() {
        let (mut grad, mut losses) = ([7.0; 12], [7.0; 3]);
        let out = MatMut::from_row_major(&mut grad, 4, 3).expect("12 elements");
        for result in [
            k.pointwise_loss(squared, x, x, PLAIN, Some(out), &mut losses),
            k.pointwise_loss(squared, x, turned, PLAIN, None, &mut losses),
            k.pointwise_loss(squared, x, x, short, None, &mut losses),
            k.pointwise_loss(squared, x, x, PLAIN, None, &mut losses[..2]),
        ] {
            let refused = matches!(result, Err(KernelError::Shape { .. }));
            assert!(refused, "{result:?}");
        }
        for delta in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let loss = PointwiseLoss::Huber { delta };
            let result = k.pointwise_loss(loss, x, x, PLAIN, None, &mut losses);
            let refused = matches!(result, Err(KernelError::Parameter { name: "delta", .. }));
            assert!(refused, "{result:?}");
        }
        assert_eq!((grad, losses), ([7.0; 12], [7.0; 3]));
    }
}
