//! Laws that hold exactly, and a second opinion.

use kernels::{Gemm, Kernels, MatMut, MatRef, Team, Workspace};
use tests::cases::check_each;
use tests::tolerance;
use tests::values::Values;

use crate::case::available;

/// Shapes of full and partial tiles, packed and not.
const SIZES: [usize; 9] = [1, 2, 7, 16, 31, 48, 65, 130, 200];

fn gemm(kernels: &Kernels, a: MatRef<'_>, b: MatRef<'_>) -> Vec<f32> {
    let (m, n) = (a.rows(), b.cols());
    let mut c = vec![f32::NAN; m * n];
    let view = MatMut::from_row_major(&mut c, m, n).expect("m n elements");
    kernels
        .gemm(&Gemm::new(a, b), view, &mut Workspace::new(), &Team::solo())
        .expect("the shapes fit");
    c
}

fn dense(data: &[f32], rows: usize, cols: usize) -> MatRef<'_> {
    MatRef::from_row_major(data, rows, cols).expect("the slice has rows cols elements")
}

#[test]
fn the_identity_changes_nothing() {
    check_each(SIZES, |&n| {
        let m = n + 3;
        let a = Values::new(n as u64).vec(m * n);
        let mut eye = vec![0.0; n * n];
        eye.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
        for kernels in available() {
            if gemm(kernels, dense(&a, m, n), dense(&eye, n, n)) != a {
                return Err(format!("{}: A I differs from A", kernels.isa()));
            }
            if gemm(kernels, dense(&eye, n, n), dense(&a, n, m)) != a {
                return Err(format!("{}: I A differs from A", kernels.isa()));
            }
        }
        Ok(())
    });
}

/// The elements of a row-major matrix in column-major order.
fn transposed(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols)
        .map(|at| x[(at % rows) * cols + at / rows])
        .collect()
}

#[test]
fn a_transposed_view_gives_what_the_transposed_matrix_gives() {
    check_each(SIZES, |&n| {
        let (m, k) = (n + 5, 2 * n + 1);
        let mut values = Values::new(n as u64);
        let (a, b) = (values.vec(m * k), values.vec(k * n));
        let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, k, n));
        for kernels in available() {
            let nn = gemm(kernels, dense(&a, m, k), dense(&b, k, n));
            for (name, a, b) in [
                ("NT", dense(&a, m, k), dense(&b_t, n, k).t()),
                ("TN", dense(&a_t, k, m).t(), dense(&b, k, n)),
                ("TT", dense(&a_t, k, m).t(), dense(&b_t, n, k).t()),
            ] {
                let got = gemm(kernels, a, b);
                // Another order of the same sums: each may be off by its bound.
                for (i, (&x, &y)) in nn.iter().zip(&got).enumerate() {
                    let bound = 2.0 * tolerance::gemm(k, k as f64);
                    if !tolerance::agrees(y, f64::from(x), bound) {
                        let isa = kernels.isa();
                        return Err(format!("{isa}: {name} differs at {i}: {x} and {y}"));
                    }
                }
            }
        }
        Ok(())
    });
}

/// Small integers: every sum is exact in f32, so every order must give the same.
#[test]
fn products_of_integers_are_exact() {
    check_each([[5, 9, 40], [64, 64, 64], [100, 70, 513]], |&[m, n, k]| {
        let mut values = Values::new(7);
        let mut integers =
            |count| -> Vec<f32> { (0..count).map(|_| values.below(31) as f32 - 15.0).collect() };
        let (a, b) = (integers(m * k), integers(k * n));
        for kernels in available() {
            let c = gemm(kernels, dense(&a, m, k), dense(&b, k, n));
            for i in 0..m {
                for j in 0..n {
                    let sum: f32 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                    if c[i * n + j] != sum {
                        return Err(format!("{}: C[{i}, {j}] is not {sum}", kernels.isa()));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn matrixmultiply_agrees() {
    check_each(
        [[256, 256, 256], [129, 513, 300], [64, 256, 784]],
        |&[m, n, k]| {
            let mut values = Values::new(11);
            let (a, b) = (values.vec(m * k), values.vec(k * n));
            let (dense_a, dense_b) = (dense(&a, m, k), dense(&b, k, n));
            let theirs = second_opinion(&a, &b, [m, n, k]);
            for kernels in available() {
                let ours = gemm(kernels, dense_a, dense_b);
                let bound = 2.0 * tolerance::gemm(k, k as f64);
                for (i, (&x, &y)) in theirs.iter().zip(&ours).enumerate() {
                    if !tolerance::agrees(y, f64::from(x), bound) {
                        return Err(format!("{}: at {i} {y}, theirs {x}", kernels.isa()));
                    }
                }
            }
            Ok(())
        },
    );
}

/// `A B` by matrixmultiply, all row-major.
fn second_opinion(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f32> {
    assert_eq!((a.len(), b.len()), (m * k, k * n));
    let mut c = vec![0.0; m * n];
    let (k_stride, n_stride) = (k as isize, n as isize);
    // SAFETY: row-major with these strides, the three slices hold exactly m k, k n and m n elements.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            k_stride,
            1,
            b.as_ptr(),
            n_stride,
            1,
            0.0,
            c.as_mut_ptr(),
            n_stride,
            1,
        );
    }
    c
}
