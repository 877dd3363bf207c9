//! Dropout: masks against the reference, bit for bit; their statistics; fused against separate.

mod common;

use common::{available, view, view_mut};
use kernels::{
    Activation, Dropout, Epilogue, Gemm, KernelError, MatRef, Team, Workspace, with_team,
};
use tests::dropout::{bits, mask};
use tests::layout::{Guarded, Storage};
use tests::values::Values;

#[test]
fn every_instruction_set_has_the_masks_of_the_reference() {
    for (rate, seed, step, layer) in [
        (0.0, 0, 0, 0),
        (0.5, 1, 2, 3),
        (0.1, u64::MAX, 1 << 40, 7),
        (0.999, 42, 0, 1),
    ] {
        let dropout = Dropout::new(rate, seed, step, layer).expect("a good rate");
        for storage in Storage::DISTINCT {
            for cols in [1, 7, 16, 67] {
                let expected = mask(rate, seed, step, layer, 5, cols);
                for k in available() {
                    let mut x = Guarded::new(storage, 5, cols, |_, _| 1.0);
                    k.dropout(dropout, view_mut(&mut x));
                    assert_eq!(x.broken_guard(), None);
                    for i in 0..5 {
                        for j in 0..cols {
                            let got = x.at(i, j);
                            assert_eq!(got, expected.at(i, j) as f32, "{} {i} {j}", k.isa());
                        }
                    }
                }
            }
        }
    }
}

/// The correlation of two sequences of random bits as numbers in [-1/2, 1/2).
fn correlation(pairs: impl Iterator<Item = (u32, u32)>) -> f64 {
    let number = |bits: u32| f64::from(bits) / 2f64.powi(32) - 0.5;
    let (sum, count) = pairs.fold((0.0, 0.0), |(sum, count), (a, b)| {
        (sum + number(a) * number(b), count + 1.0)
    });
    // Each number has variance 1/12.
    12.0 * sum / count
}

#[test]
fn neighbours_are_not_correlated() {
    const ROWS: usize = 300;
    const COLS: usize = 300;
    let places = || (0..ROWS).flat_map(|i| (0..COLS).map(move |j| (i, j)));
    let at = |i, j| bits(5, 6, 7, i, j);
    // Seed, step, layer, and how many rows and columns further.
    for (what, [seed, step, layer], [down, right]) in [
        ("columns", [5, 6, 7], [0, 1]),
        ("rows", [5, 6, 7], [1, 0]),
        ("diagonals", [5, 6, 7], [1, 1]),
        ("steps", [5, 7, 7], [0, 0]),
        ("layers", [5, 6, 8], [0, 0]),
        ("seeds", [6, 6, 7], [0, 0]),
    ] {
        let other = |i, j| bits(seed, step, layer, i + down, j + right);
        let r = correlation(places().map(|(i, j)| (at(i, j), other(i, j))));
        // Five standard errors of a correlation of so many independent pairs.
        assert!(r.abs() < 5.0 / ((ROWS * COLS) as f64).sqrt(), "{what}: {r}");
    }
}

#[test]
fn each_bit_is_set_half_of_the_time() {
    let counted = 100_000;
    for bit in 0..32 {
        let set = |n: &usize| bits(1, 2, 3, n / 500, n % 500) >> bit & 1 == 1;
        let share = (0..counted).filter(set).count() as f64 / counted as f64;
        assert!(
            (share - 0.5).abs() < 5.0 * 0.5 / (counted as f64).sqrt(),
            "bit {bit}: {share}"
        );
    }
}

/// A product with a mask has the bits of the product, the activation and the mask one after the other;
/// for any number of threads.
#[test]
fn fused_is_what_separate_calls_give() {
    let mut values = Values::new(77);
    let (m, n, k) = (70, 131, 90);
    let storage = Storage::Rows { pad: 3 };
    let a = Guarded::new(storage, m, k, |_, _| values.uniform());
    let b = Guarded::new(storage, k, n, |_, _| values.uniform());
    let saved = Guarded::new(storage, m, n, |_, _| values.uniform());
    let bias = values.vec(n);
    let dropout = Dropout::new(0.3, 9, 8, 7).expect("a good rate");
    for kernels in available() {
        let zeros = Guarded::new(storage, m, n, |_, _| f32::NAN);
        let run = |gemm: &Gemm<'_>, team: &Team| {
            let mut c = zeros.clone();
            kernels
                .gemm(gemm, view_mut(&mut c), &mut Workspace::new(), team)
                .expect("the shapes fit");
            c
        };
        let plain = Gemm::new(view(&a), view(&b));
        for activation in [Activation::Relu, Activation::Tanh] {
            let forward = Gemm {
                epilogue: Epilogue::Activate {
                    bias: Some(&bias),
                    activation,
                },
                ..plain
            };
            let mut separate = run(&forward, &Team::solo());
            kernels.dropout(dropout, view_mut(&mut separate));
            let backward = Gemm {
                epilogue: Epilogue::Derivative {
                    activation,
                    saved: view(&saved),
                },
                ..plain
            };
            let mut dropped = run(&plain, &Team::solo());
            kernels.dropout(dropout, view_mut(&mut dropped));
            let mut derived = zeros.clone();
            let mut derived_view = view_mut(&mut derived);
            let dropped = view(&dropped);
            for i in 0..m {
                let row = |x: MatRef<'_>| -> Vec<f32> { (0..n).map(|j| *x.at(i, j)).collect() };
                let out = derived_view.row_mut(i).expect("contiguous rows");
                kernels
                    .activation_backward(activation, &row(view(&saved)), &row(dropped), out)
                    .expect("as long");
            }
            for (gemm, expected) in [(forward, &separate), (backward, &derived)] {
                let gemm = Gemm {
                    dropout: Some(dropout),
                    ..gemm
                };
                for threads in [1, 2] {
                    let got = with_team(threads, |team| run(&gemm, team));
                    let same = (0..m).all(|i| (0..n).all(|j| got.at(i, j) == expected.at(i, j)));
                    assert!(
                        same,
                        "{activation:?} on {}, {threads} threads",
                        kernels.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn a_rate_outside_its_range_is_an_error() {
    for rate in [1.0, -0.1, 2.0, f32::NAN] {
        let expected = KernelError::Parameter {
            op: "dropout",
            name: "rate",
            expected: "a number of at least 0 and below 1",
            got: rate.to_string(),
        };
        assert_eq!(Dropout::new(rate, 0, 0, 0), Err(expected));
    }
}
