//! Strides of every kind, and views inside larger matrices.

use kernels::{Gemm, MatMut, MatRef, Team, Workspace};
use tests::layout::Storage;

use crate::case::{Case, available, check};

/// Shapes with full and partial tiles; the last is large enough to be packed.
const SHAPES: [[usize; 3]; 4] = [[1, 1, 1], [5, 7, 9], [33, 50, 21], [70, 97, 130]];

fn every_storage(scaled: impl Fn(Case) -> Case) -> Vec<Case> {
    let mut cases = Vec::new();
    let rows = Storage::Rows { pad: 0 };
    let read = || Storage::DISTINCT.into_iter().chain(Storage::REPEATED);
    for shape in SHAPES {
        for x in read() {
            for (a, b) in [(x, rows), (rows, x), (x, Storage::Cols { pad: 1 }), (x, x)] {
                let case = Case {
                    a,
                    b,
                    ..Case::new(shape)
                };
                cases.push(scaled(case));
            }
        }
        for c in Storage::DISTINCT {
            for (a, b) in [(rows, rows), (rows, Storage::Cols { pad: 0 })] {
                let case = Case {
                    a,
                    b,
                    c,
                    ..Case::new(shape)
                };
                cases.push(scaled(case));
            }
        }
    }
    cases
}

#[test]
fn every_storage_overwriting_c() {
    check(every_storage(|case| case));
}

#[test]
fn every_storage_adding_to_c() {
    check(every_storage(|case| case.scaled(-2.5, -0.5)));
}

#[test]
fn a_stride_that_is_never_taken_may_be_anything() {
    let (x, y) = ([2.0, 3.0], [5.0, 7.0, 11.0]);
    for stride in [0, isize::MAX, isize::MIN] {
        let a = MatRef::with_strides(&x, 0, 2, 1, 1, stride).expect("two elements");
        let b = MatRef::with_strides(&y, 0, 1, 3, stride, 1).expect("three elements");
        for kernels in available() {
            let mut c = [0.0; 6];
            let view = MatMut::from_row_major(&mut c, 2, 3).expect("six elements");
            kernels
                .gemm(&Gemm::new(a, b), view, &mut Workspace::new(), &Team::solo())
                .expect("the shapes fit");
            assert_eq!(c, [10.0, 14.0, 22.0, 15.0, 21.0, 33.0], "{stride}");
        }
    }
}

#[test]
fn powers_of_two_between_rows() {
    // Such rows share a few sets of a cache, so a driver may take another path for them.
    let mut cases = Vec::new();
    // The last has both operands packed, in several blocks of the depth.
    for shape in [[9, 31, 40], [40, 70, 150], [64, 64, 1100], [260, 300, 900]] {
        for ld in [1024, 4096] {
            let (rows, cols) = (Storage::RowsLd(ld), Storage::ColsLd(ld));
            let plain = Storage::Rows { pad: 0 };
            for (a, b, c) in [
                (rows, rows, rows),
                (rows, cols, rows),
                (cols, rows, rows),
                (cols, cols, cols),
                (plain, cols, plain),
            ] {
                cases.push(Case {
                    a,
                    b,
                    c,
                    ..Case::new(shape)
                });
            }
        }
    }
    check(cases);
}
