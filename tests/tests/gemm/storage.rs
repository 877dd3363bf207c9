//! Strides of every kind, and views inside larger matrices.

use tests::layout::Storage;

use crate::case::{Case, check};

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
fn powers_of_two_between_rows() {
    // Such rows share a few sets of a cache, so a driver may take another path for them.
    let mut cases = Vec::new();
    for shape in [[9, 31, 40], [40, 70, 150]] {
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
