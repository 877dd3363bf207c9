//! Several products as one phase: the bits that each has alone.

use kernels::{Gemm, GemmTask, KernelError, MatMut, MatRef, Team, Workspace, with_team};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::layout::Storage;

use crate::case::{Case, Post, agrees, available, call, run, view_mut};

/// Products that fit together in no way, some of them empty, some worth several threads.
fn mixed() -> Vec<Case> {
    let (rows, cols) = (Storage::Rows { pad: 0 }, Storage::Cols { pad: 0 });
    let post = Post::Activate {
        bias: true,
        activation: Activation::Relu,
    };
    vec![
        Case::new([1, 1, 1]),
        Case::new([0, 7, 3]),
        Case::new([7, 5, 0]),
        Case {
            b: cols,
            post,
            ..Case::new([64, 100, 300])
        },
        Case {
            a: cols,
            ..Case::new([100, 130, 64])
        }
        .scaled(0.5, 1.0),
        Case {
            c: cols,
            ..Case::new([150, 33, 90])
        },
        Case {
            b: cols,
            ..Case::new([4, 300, 400])
        },
        Case {
            a: rows,
            b: cols,
            ..Case::new([300, 1, 200])
        },
        Case::new([130, 150, 600]),
    ]
}

/// Products that a call by itself computes without a plan, and a batch with one.
fn simple() -> Vec<Case> {
    let cols = Storage::Cols { pad: 0 };
    let with = |a, b, c, shape| Case {
        a,
        b,
        c,
        ..Case::new(shape)
    };
    let rows = Storage::Rows { pad: 0 };
    vec![
        Case::new([1, 3001, 1100]),
        with(Storage::Spread, rows, rows, [1, 500, 1030]),
        with(cols, rows, rows, [2300, 1, 1100]).scaled(2.5, 1.0),
        with(cols, rows, cols, [70, 1, 600]),
        with(rows, cols, rows, [13, 17, 30]),
        with(rows, cols, rows, [9, 33, 5]).scaled(-2.5, 0.5),
        with(rows, rows, cols, [20, 9, 33]),
        with(cols, rows, rows, [31, 40, 500]),
    ]
}

fn batches() -> Vec<Vec<Case>> {
    let small = vec![Case::new([8, 8, 8]); 20];
    let equal = vec![Case::new([49, 65, 100]); 7];
    vec![vec![], vec![mixed()[4]], mixed(), small, equal, simple()]
}

#[test]
fn each_product_is_that_of_the_reference_with_the_bits_it_has_alone() {
    check_each(batches(), |batch| {
        let operands: Vec<_> = batch.iter().map(Case::operands).collect();
        for kernels in available() {
            let isa = kernels.isa();
            let mut workspace = Workspace::new();
            for threads in [1, 2, 3] {
                let mut results: Vec<_> = operands.iter().map(|x| x.old.clone()).collect();
                let mut tasks: Vec<_> = (batch.iter().zip(&operands))
                    .zip(&mut results)
                    .map(|((case, x), c)| GemmTask::new(call(case, x), view_mut(c)))
                    .collect();
                with_team(threads, |team| {
                    kernels.gemm_batch(&mut tasks, &mut workspace, team)
                })
                .map_err(|e| e.to_string())?;
                drop(tasks);
                for ((case, x), c) in batch.iter().zip(&operands).zip(&results) {
                    agrees(case, x, c).map_err(|why| format!("{isa}: {case:?}: {why}"))?;
                    let alone = run(case, x, kernels, &mut Workspace::new(), &Team::solo())?;
                    if c.bits() != alone.bits() {
                        return Err(format!("{isa}: {case:?}: other bits on {threads} threads"));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn one_misfit_stops_the_batch_before_it_begins() {
    let data = [1.0; 12];
    let matrix = |rows, cols| MatRef::from_row_major(&data, rows, cols).expect("small");
    for kernels in available() {
        let (mut first, mut second) = ([7.0; 4], [7.0; 4]);
        let fits = Gemm::new(matrix(2, 3), matrix(3, 2));
        let misfit = Gemm::new(matrix(2, 3), matrix(4, 2));
        let mut tasks = [(fits, &mut first), (misfit, &mut second)]
            .map(|(gemm, c)| GemmTask::new(gemm, MatMut::from_row_major(c, 2, 2).expect("small")));
        let answer = kernels.gemm_batch(&mut tasks, &mut Workspace::new(), &Team::solo());
        let Err(
            error @ KernelError::Shape {
                op: "gemm_batch", ..
            },
        ) = answer
        else {
            panic!("expected a shape error, got {answer:?}");
        };
        assert!(error.to_string().contains("4 x 2"), "{error}");
        assert_eq!((first, second), ([7.0; 4], [7.0; 4]));
    }
}
