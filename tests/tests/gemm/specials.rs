//! NaN and infinity in the operands.

use kernels::{Epilogue, Gemm, MatMut, MatRef, Team, Workspace};
use tests::activation::Activation;
use tests::cases::check_each;

use crate::activation::to_kernel;
use crate::case::available;

const INF: f32 = f32::INFINITY;

/// (value in A, value in B at the same k, what the element of C is)
const CASES: [(f32, f32, f32); 8] = [
    (f32::NAN, 1.0, f32::NAN),
    (1.0, f32::NAN, f32::NAN),
    (INF, 1.0, INF),
    (-2.0, INF, -INF),
    (INF, -INF, -INF),
    (INF, 0.0, f32::NAN),
    (0.0, f32::NAN, f32::NAN),
    (f32::MAX, 2.0, INF),
];

fn same(got: f32, expected: f32) -> bool {
    got == expected || (got.is_nan() && expected.is_nan())
}

/// `C = A B` where all is 1 except one element of A and one of B, so that one element of C sees
/// both, its row the one and its column the other.
#[test]
fn specials_reach_their_row_and_column_and_nothing_else() {
    let mut cases = Vec::new();
    for shape in [[1, 1, 1], [7, 19, 5], [33, 70, 40], [20, 17, 300]] {
        cases.extend(CASES.map(|case| (shape, case)));
    }
    check_each(cases, |&([m, n, k], (x, y, both))| {
        let (i0, j0, p0) = (m / 2, n - 1, k / 3);
        let mut a = vec![1.0; m * k];
        let mut b = vec![1.0; k * n];
        (a[i0 * k + p0], b[p0 * n + j0]) = (x, y);
        let rest = (k - 1) as f32;
        for kernels in available() {
            let mut c = vec![0.0; m * n];
            let a = MatRef::from_row_major(&a, m, k).map_err(|e| e.to_string())?;
            let b = MatRef::from_row_major(&b, k, n).map_err(|e| e.to_string())?;
            let view = MatMut::from_row_major(&mut c, m, n).map_err(|e| e.to_string())?;
            kernels
                .gemm(&Gemm::new(a, b), view, &mut Workspace::new(), &Team::solo())
                .map_err(|e| e.to_string())?;
            for i in 0..m {
                for j in 0..n {
                    let expected = match (i == i0, j == j0) {
                        (true, true) => both + rest,
                        (true, false) => x + rest,
                        (false, true) => y + rest,
                        (false, false) => 1.0 + rest,
                    };
                    let got = c[i * n + j];
                    if !same(got, expected) {
                        let isa = kernels.isa();
                        return Err(format!("{isa}: C[{i}, {j}] = {got}, expected {expected}"));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn opposite_infinities_are_nan() {
    let (a, b) = ([INF, -INF], [1.0, 1.0]);
    for kernels in available() {
        let mut c = [0.0];
        let a = MatRef::from_row_major(&a, 1, 2).expect("2 elements");
        let b = MatRef::from_row_major(&b, 2, 1).expect("2 elements");
        let view = MatMut::from_row_major(&mut c, 1, 1).expect("1 element");
        kernels
            .gemm(&Gemm::new(a, b), view, &mut Workspace::new(), &Team::solo())
            .expect("the shapes fit");
        assert!(c[0].is_nan(), "{}: {}", kernels.isa(), c[0]);
    }
}

#[test]
fn nan_in_old_c_counts_when_beta_is_not_zero() {
    for kernels in available() {
        let mut c = [f32::NAN, 1.0];
        let (a, b) = ([1.0], [2.0, 3.0]);
        let a = MatRef::from_row_major(&a, 1, 1).expect("1 element");
        let b = MatRef::from_row_major(&b, 1, 2).expect("2 elements");
        let mut call = Gemm::new(a, b);
        call.beta = 1.0;
        let view = MatMut::from_row_major(&mut c, 1, 2).expect("2 elements");
        kernels
            .gemm(&call, view, &mut Workspace::new(), &Team::solo())
            .expect("the shapes fit");
        assert!(c[0].is_nan() && c[1] == 4.0, "{}: {c:?}", kernels.isa());
    }
}

#[test]
fn epilogues_pass_nan_on_and_saturate_at_infinity() {
    let (nan, slope) = (f32::NAN, 0.25);
    // One k, so that C = epilogue(a) exactly. Each row: activation, then what it makes of
    // NaN, infinity and minus infinity.
    let cases = [
        (Activation::Identity, [nan, INF, -INF]),
        (Activation::Relu, [nan, INF, 0.0]),
        (Activation::LeakyRelu(slope), [nan, INF, -INF]),
        (Activation::Sigmoid, [nan, 1.0, 0.0]),
        (Activation::Tanh, [nan, 1.0, -1.0]),
        (Activation::Elu(0.75), [nan, INF, -0.75]),
        (Activation::Softplus, [nan, INF, 0.0]),
        (Activation::Gelu, [nan, INF, -0.0]),
        (Activation::GeluTanh, [nan, INF, -0.0]),
        (Activation::Silu, [nan, INF, -0.0]),
    ];
    check_each(cases, |&(activation, expected)| {
        let (a, b) = ([nan, INF, -INF], [1.0; 20]);
        for kernels in available() {
            let mut c = vec![0.0; 60];
            let a = MatRef::from_row_major(&a, 3, 1).map_err(|e| e.to_string())?;
            let b = MatRef::from_row_major(&b, 1, 20).map_err(|e| e.to_string())?;
            let mut call = Gemm::new(a, b);
            call.epilogue = Epilogue::Activate {
                bias: Some(&[0.5; 20]),
                activation: to_kernel(activation),
            };
            let view = MatMut::from_row_major(&mut c, 3, 20).map_err(|e| e.to_string())?;
            kernels
                .gemm(&call, view, &mut Workspace::new(), &Team::solo())
                .map_err(|e| e.to_string())?;
            for (row, expected) in c.chunks(20).zip(expected) {
                if !row.iter().all(|&got| same(got, expected)) {
                    return Err(format!("{}: {row:?}, expected {expected}", kernels.isa()));
                }
            }
        }
        Ok(())
    });
}
