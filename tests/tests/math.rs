//! exp, the activations, sums and axpy on every instruction set: errors in units in the last place,
//! special values, every length of a tail.

use kernels::{Activation, DerivativeFrom, KernelError, Kernels, MatRef};
use tests::activation as reference;
use tests::layout::{Guarded, Storage};
use tests::measured::Measured;
use tests::tolerance::{self, U};
use tests::ulp::ulps;
use tests::values::Values;

/// How a function is called.
type Run = fn(&Kernels, &[f32], &mut [f32]) -> Result<(), KernelError>;

/// A function under test, what it ought to be, and how far it may be off.
struct Function {
    name: &'static str,
    run: Run,
    exact: fn(f64) -> f64,
    /// Units in the last place.
    bound: f64,
    /// Whether results below the normal numbers are 0.
    flushes: bool,
}

const FUNCTIONS: [Function; 6] = [
    Function {
        name: "exp",
        run: |k, x, y| k.exp(x, y),
        exact: f64::exp,
        bound: 1.0,
        flushes: true,
    },
    Function {
        name: "tanh",
        run: |k, x, y| k.activation_forward(Activation::Tanh, x, y),
        exact: f64::tanh,
        bound: 1.5,
        flushes: false,
    },
    Function {
        name: "sigmoid",
        run: |k, x, y| k.activation_forward(Activation::Sigmoid, x, y),
        exact: |x| 1.0 / (1.0 + (-x).exp()),
        bound: 2.0,
        flushes: true,
    },
    Function {
        name: "erf",
        run: |k, x, y| k.erf(x, y),
        exact: reference::erf,
        bound: 1.5,
        flushes: false,
    },
    Function {
        name: "elu",
        run: |k, x, y| k.activation_forward(Activation::Elu { alpha: 1.0 }, x, y),
        exact: |x| reference::Activation::Elu(1.0).apply(x),
        bound: 3.0,
        flushes: false,
    },
    Function {
        name: "softplus",
        run: |k, x, y| k.activation_forward(Activation::Softplus, x, y),
        exact: |x| reference::Activation::Softplus.apply(x),
        bound: 3.0,
        flushes: true,
    },
];

const ACTIVATIONS: [Activation; 11] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu {
        negative_slope: 0.01,
    },
    Activation::LeakyRelu {
        negative_slope: 1.5,
    },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Elu { alpha: 0.5 },
    Activation::Softplus,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
];

/// Longest slice of the tests of tails: two registers of the widest kind, and a bit.
const LONGEST_TAIL: usize = 67;

fn kernels() -> Vec<&'static Kernels> {
    Kernels::available().expect("the environment names an instruction set that is here")
}

/// Holds a function against f64 on the floats with the bits 0, `step`, 2 `step` and so on.
fn check_range(step: usize) {
    let mut bits = (0..=u32::MAX).step_by(step);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let mut measured = Measured::new("units in the last place");
    loop {
        x.clear();
        x.extend(bits.by_ref().take(1 << 16).map(f32::from_bits));
        if x.is_empty() {
            return;
        }
        y.resize(x.len(), 0.0);
        for function in &FUNCTIONS {
            for k in kernels() {
                (function.run)(k, &x, &mut y).expect("the lengths are equal");
                let errors = x.iter().zip(&y).map(|(&x, &y)| check(function, k, x, y));
                measured.record(function.name, errors.fold(0.0, f64::max));
            }
        }
    }
}

/// The error in units in the last place; 0 where there is none, for NaN and below the normal numbers.
#[track_caller]
fn check(function: &Function, k: &Kernels, x: f32, y: f32) -> f64 {
    let exact = (function.exact)(f64::from(x));
    let error = ulps(y, exact);
    let good = if x.is_nan() {
        y.is_nan()
    } else if function.flushes && exact < f64::from(f32::MIN_POSITIVE) {
        // The argument nearest to the limit may round up to it.
        y == 0.0 || y == f32::MIN_POSITIVE
    } else {
        error <= function.bound && y.is_sign_negative() == exact.is_sign_negative()
    };
    let Function { name, .. } = function;
    assert!(
        good,
        "{name}({x:e}) on {}: {y:e}, expected {exact:e}",
        k.isa()
    );
    if error > function.bound || x.is_nan() {
        return 0.0;
    }
    error
}

#[test]
fn sampled_over_all_floats() {
    check_range(4_093);
}

#[test]
#[ignore = "all 2^32 floats take an hour"]
fn exhaustive() {
    check_range(1);
}

#[test]
fn special_values() {
    let inf = f32::INFINITY;
    // x, exp, tanh, sigmoid, erf; NaN where no value is promised to the last place
    let table = [
        [0.0, 1.0, 0.0, 0.5, 0.0],
        [-0.0, 1.0, -0.0, 0.5, -0.0],
        [inf, inf, 1.0, 1.0, 1.0],
        [-inf, 0.0, -1.0, 0.0, -1.0],
        [89.0, inf, 1.0, 1.0, 1.0],
        [-88.0, 0.0, -1.0, 0.0, -1.0],
        [f32::MAX, inf, 1.0, 1.0, 1.0],
        [f32::MIN, 0.0, -1.0, 0.0, -1.0],
        [20.0, 20f64.exp() as f32, 1.0, 1.0, 1.0],
        [1e-40, 1.0, 1e-40, 0.5, f32::NAN],
        [-f32::MIN_POSITIVE, 1.0, -f32::MIN_POSITIVE, 0.5, f32::NAN],
    ];
    for k in kernels() {
        for [x, expected @ ..] in table {
            for (function, expected) in FUNCTIONS.iter().zip(expected) {
                let mut y = [7.0];
                (function.run)(k, &[x], &mut y).expect("the lengths are equal");
                let what = format!("{}({x:e}) on {}", function.name, k.isa());
                if expected.is_nan() {
                    continue;
                }
                if function.name == "exp" && x == 20.0 {
                    assert!(ulps(y[0], 20f64.exp()) <= 1.0, "{what}");
                } else {
                    assert_eq!(y[0].to_bits(), expected.to_bits(), "{what}: {:e}", y[0]);
                }
            }
        }
        // A NaN stays one, whatever its sign and payload.
        for bits in [0x7fc0_0000, 0xffc0_0001, 0x7f80_0001, 0x7fff_ffff] {
            for function in &FUNCTIONS {
                let mut y = [0.0; 17];
                (function.run)(k, &[f32::from_bits(bits); 17], &mut y).expect("as long");
                assert!(y.iter().all(|y| y.is_nan()), "{} {bits:x}", function.name);
            }
            for activation in ACTIVATIONS {
                let mut y = [0.0; 17];
                k.activation_forward(activation, &[f32::from_bits(bits); 17], &mut y)
                    .expect("as long");
                assert!(y.iter().all(|y| y.is_nan()), "{activation:?} {bits:x}");
            }
        }
    }
}

/// A guarded row: its slice starts at an odd place, so vectors in it are not aligned.
fn row(values: &[f32]) -> Guarded {
    Guarded::new(Storage::Rows { pad: 0 }, 1, values.len(), |_, j| values[j])
}

fn slice(row: &mut Guarded) -> &mut [f32] {
    &mut row.data[row.offset..row.offset + row.cols]
}

/// The activation in f64.
fn exact(activation: Activation) -> reference::Activation {
    match activation {
        Activation::Relu => reference::Activation::Relu,
        Activation::LeakyRelu { negative_slope } => {
            reference::Activation::LeakyRelu(negative_slope)
        }
        Activation::Sigmoid => reference::Activation::Sigmoid,
        Activation::Tanh => reference::Activation::Tanh,
        Activation::Elu { alpha } => reference::Activation::Elu(alpha),
        Activation::Softplus => reference::Activation::Softplus,
        Activation::Gelu => reference::Activation::Gelu,
        Activation::GeluTanh => reference::Activation::GeluTanh,
        Activation::Silu => reference::Activation::Silu,
        _ => reference::Activation::Identity,
    }
}

#[test]
fn activations_at_every_length() {
    let mut values = Values::new(11);
    for n in 0..=LONGEST_TAIL {
        let x: Vec<f32> = values.vec(n).iter().map(|x| 4.0 * x).collect();
        let dy = values.vec(n);
        for k in kernels() {
            for activation in ACTIVATIONS {
                let exact = exact(activation);
                let (mut y, mut dx) = (row(&vec![9.0; n]), row(&vec![9.0; n]));
                k.activation_forward(activation, &x, slice(&mut y))
                    .expect("as long");
                let saved: Vec<f32> = match activation.derivative_from() {
                    DerivativeFrom::Input => x.clone(),
                    DerivativeFrom::Output => slice(&mut y).to_vec(),
                };
                k.activation_backward(activation, &saved, &dy, slice(&mut dx))
                    .expect("as long");
                assert_eq!((y.broken_guard(), dx.broken_guard()), (None, None));
                for j in 0..n {
                    let what = format!("{activation:?} on {}, {j} of {n}", k.isa());
                    let expected = exact.apply(f64::from(x[j]));
                    let bound = tolerance::activated(exact, expected, 0.0);
                    let error = (f64::from(y.at(0, j)) - expected).abs();
                    assert!(error <= bound, "{what}: {} for {expected}", y.at(0, j));
                    let (dy, saved) = (f64::from(dy[j]), f64::from(saved[j]));
                    let expected = dy * exact.derivative(saved);
                    let bound = tolerance::differentiated(exact, dy, saved, 0.0);
                    let error = (f64::from(dx.at(0, j)) - expected).abs();
                    assert!(error <= bound, "{what}: {} for {expected}", dx.at(0, j));
                }
            }
        }
    }
}

/// The smooth activations and their derivatives over the whole line, tails included.
#[test]
fn smooth_activations_over_all_floats() {
    let x: Vec<f32> = (0..=u32::MAX)
        .step_by(40_009)
        .map(f32::from_bits)
        .filter(|x| x.is_finite())
        .collect();
    for k in kernels() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            let exact = exact(activation);
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let ones = vec![1.0; x.len()];
            k.activation_forward(activation, &x, &mut y)
                .expect("as long");
            k.activation_backward(activation, &x, &ones, &mut dx)
                .expect("as long");
            for ((&x, y), dx) in x.iter().zip(y).zip(dx) {
                let at = f64::from(x);
                let expected = exact.apply(at);
                // To the far left the factor of x is a number below the normal ones: 0.
                let flushed = f64::from(f32::MIN_POSITIVE) * at.abs().clamp(1.0, 110.0);
                let bound = tolerance::activated(exact, expected, 0.0) + flushed;
                let what = format!("{activation:?}({x:e}) on {}", k.isa());
                assert!((f64::from(y) - expected).abs() <= bound, "{what}: {y:e}");
                let slope = if at.abs() > 100.0 {
                    f64::from(at > 0.0)
                } else {
                    exact.derivative(at)
                };
                let bound = tolerance::differentiated(exact, 1.0, at.clamp(-100.0, 100.0), 0.0);
                assert!((f64::from(dx) - slope).abs() <= bound, "{what}': {dx:e}");
            }
        }
    }
}

#[test]
fn exp_add_axpy_and_scale_at_every_length() {
    let mut values = Values::new(12);
    for n in 0..=LONGEST_TAIL {
        let (x, old) = (values.vec(n), values.vec(n));
        for k in kernels() {
            let (mut e, mut y, mut z) = (row(&old), row(&old), row(&old));
            let mut sum = row(&old);
            k.add(&x, &old, slice(&mut sum)).expect("as long");
            k.exp(&x, slice(&mut e)).expect("as long");
            k.axpy(0.3, &x, slice(&mut y)).expect("as long");
            k.scale(0.3, slice(&mut z));
            for buffer in [&e, &y, &z, &sum] {
                assert_eq!(buffer.broken_guard(), None);
            }
            for j in 0..n {
                assert!(ulps(e.at(0, j), f64::from(x[j]).exp()) <= 1.0);
                assert_eq!(z.at(0, j), 0.3 * old[j]);
                assert_eq!(sum.at(0, j), x[j] + old[j]);
                let exact = f64::from(old[j]) + f64::from(0.3f32) * f64::from(x[j]);
                let error = (f64::from(y.at(0, j)) - exact).abs();
                assert!(error <= 2.0 * U, "{error:e}");
            }
        }
    }
}

/// The bound that `Kernels::sum` states, in units of U times the sum of absolute values.
const SUM_UNITS: f64 = 23.0;

#[test]
fn sums_keep_their_bound() {
    let mut values = Values::new(13);
    for n in (0..=LONGEST_TAIL).chain([1023, 1024, 1025, 100_003]) {
        let x = values.vec(n);
        let exact: f64 = x.iter().map(|&x| f64::from(x)).sum();
        let size: f64 = x.iter().map(|&x| f64::from(x).abs()).sum();
        let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for k in kernels() {
            let what = format!("{n} on {}", k.isa());
            let error = (f64::from(k.sum(&x)) - exact).abs();
            assert!(error <= SUM_UNITS * U * size, "sum of {what}: {error:e}");
            let error = (f64::from(k.sum_squares(&x)) - squares).abs();
            assert!(error <= SUM_UNITS * U * squares, "squares of {what}");
            assert_eq!(k.max(&x), max, "max of {what}");
        }
    }
    // A plain loop over f32 would stop at 2^24 here.
    let ones = vec![1.0; (1 << 24) + 4096];
    for k in kernels() {
        assert_eq!(k.sum(&ones), ones.len() as f32);
    }
}

#[test]
fn max_keeps_nan_wherever_it_stands() {
    for k in kernels() {
        assert_eq!(k.max(&[]), f32::NEG_INFINITY);
        for n in 1..=LONGEST_TAIL {
            for nan in 0..n {
                let mut x = vec![1.0; n];
                x[nan] = f32::NAN;
                assert!(k.max(&x).is_nan(), "{nan} of {n} on {}", k.isa());
            }
            assert_eq!(k.max(&vec![f32::INFINITY; n]), f32::INFINITY);
            assert_eq!(k.max(&vec![f32::NEG_INFINITY; n]), f32::NEG_INFINITY);
        }
    }
}

#[test]
fn column_sums_of_every_layout() {
    let mut values = Values::new(14);
    let columns = (0..=LONGEST_TAIL).chain([128, 130]);
    let shapes = columns.flat_map(|cols| [0, 1, 3, 64, 65, 200].map(|rows| (rows, cols)));
    for (rows, cols) in shapes {
        let x = values.matrix(rows, cols);
        for storage in Storage::DISTINCT {
            let laid = Guarded::new(storage, rows, cols, |i, j| x.at(i, j) as f32);
            let view = MatRef::with_strides(
                &laid.data,
                laid.offset,
                rows,
                cols,
                laid.row_stride,
                laid.col_stride,
            )
            .expect("the buffer holds the matrix");
            for k in kernels() {
                let mut sums = row(&vec![9.0; cols]);
                k.column_sums(view, 0.5, slice(&mut sums)).expect("as wide");
                assert_eq!(sums.broken_guard(), None);
                for j in 0..cols {
                    let exact: f64 = (0..rows).map(|i| x.at(i, j)).sum();
                    let size: f64 = (0..rows).map(|i| x.at(i, j).abs()).sum();
                    let error = (f64::from(sums.at(0, j)) - 0.5 * exact).abs();
                    assert!(
                        error <= 0.5 * 68.0 * U * size,
                        "column {j} of {rows} x {cols}, {storage:?}, {}",
                        k.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn column_sums_tell_infinite_columns_from_those_that_are_not_a_number() {
    let mut x = vec![1.0; 200 * 3];
    (x[150 * 3], x[20 * 3 + 1], x[190 * 3 + 1]) = (f32::INFINITY, f32::INFINITY, -f32::INFINITY);
    let view = MatRef::from_row_major(&x, 200, 3).expect("600 elements");
    for k in kernels() {
        let mut sums = [0.0; 3];
        k.column_sums(view, 1.0, &mut sums).expect("as wide");
        let [infinite, not_a_number, finite] = sums;
        assert!(infinite == f32::INFINITY && not_a_number.is_nan() && finite == 200.0);
    }
}

#[test]
fn wrong_lengths_are_errors_and_change_nothing() {
    for k in kernels() {
        let (short, long) = ([1.0; 3], [7.0; 4]);
        let mut out = long;
        let tanh = Activation::Tanh;
        let results = [
            k.exp(&short, &mut out),
            k.axpy(1.0, &short, &mut out),
            k.add(&short, &long, &mut [0.0; 3]),
            k.add(&short, &long, &mut long.clone()),
            k.activation_forward(tanh, &short, &mut out),
            k.activation_backward(tanh, &short, &short, &mut out),
            k.activation_backward(tanh, &short, &long, &mut [0.0; 3]),
            k.column_sums(
                MatRef::from_row_major(&short, 1, 3).expect("3 elements"),
                1.0,
                &mut out,
            ),
        ];
        for result in results {
            assert!(matches!(result, Err(KernelError::Shape { .. })));
        }
        assert_eq!(out, long);
    }
}

#[test]
fn a_slope_that_would_hide_the_sign_is_an_error_and_changes_nothing() {
    for k in kernels() {
        for got in [-0.1, f32::NAN, f32::INFINITY, -f32::INFINITY] {
            for (name, activation) in [
                (
                    "negative_slope",
                    Activation::LeakyRelu {
                        negative_slope: got,
                    },
                ),
                ("alpha", Activation::Elu { alpha: got }),
            ] {
                let (x, mut y) = ([1.0; 3], [7.0; 3]);
                let forward = k.activation_forward(activation, &x, &mut y);
                let backward = k.activation_backward(activation, &x, &x, &mut y);
                for (op, answer) in [
                    ("activation_forward", forward),
                    ("activation_backward", backward),
                ] {
                    let expected = KernelError::Parameter {
                        op,
                        name,
                        expected: "a finite number of at least 0",
                        got: got.to_string(),
                    };
                    assert_eq!(answer, Err(expected));
                }
                assert_eq!(y, [7.0; 3]);
            }
        }
    }
}
