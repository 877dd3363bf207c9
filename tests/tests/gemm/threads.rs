//! The same bits for any number of threads, and for a workspace that has been used before.

use kernels::{Team, Workspace, with_team};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::layout::Storage;

use crate::case::{Case, Post, available, check_by, run};

fn cases() -> Vec<Case> {
    let (rows, cols) = (Storage::Rows { pad: 0 }, Storage::Cols { pad: 0 });
    let relu = Post::Activate {
        bias: true,
        activation: Activation::Relu,
    };
    let mut cases = Vec::new();
    for shape in [
        [1, 1, 1],
        [3, 200, 5],
        [200, 3, 5],
        [5, 7, 2000],
        [64, 256, 300],
        [257, 129, 65],
        [300, 310, 320],
        [10, 1600, 160],
        [16, 2100, 200],
        // One row or column: cut along it, and the depth in several blocks.
        [1, 3001, 1100],
        [2300, 1, 1100],
    ] {
        for (a, b) in [(rows, rows), (rows, cols), (cols, rows), (cols, cols)] {
            let case = Case {
                a,
                b,
                ..Case::new(shape)
            };
            cases.extend([
                case,
                Case { post: relu, ..case },
                case.scaled(-2.5, 1.0),
                Case { c: cols, ..case },
            ]);
        }
    }
    for shape in LONG {
        for (a, b) in [(rows, rows), (rows, cols), (cols, rows)] {
            let derivative = Post::Derivative(Activation::Tanh);
            let case = Case {
                a,
                b,
                post: derivative,
                ..Case::new(shape)
            };
            cases.extend([case.scaled(-2.5, 0.5), Case { post: relu, ..case }]);
            let spread = Storage::Spread;
            cases.extend([spread, Storage::RowsBackwards].map(|c| Case { c, ..case }));
        }
    }
    cases
}

/// Few outputs of a long depth, which members share by its blocks: in tiles and dot products, with
/// more blocks than there is room for partial sums, and fewer than members.
const LONG: [[usize; 3]; 6] = [
    [16, 16, 9000],
    [10, 33, 5001],
    [66, 50, 1100],
    [3, 5, 100_000],
    [70, 1, 20_000],
    [256, 200, 1300],
];

#[test]
fn few_outputs_of_a_long_depth() {
    let (rows, cols) = (Storage::Rows { pad: 0 }, Storage::Cols { pad: 0 });
    let post = Post::Activate {
        bias: true,
        activation: Activation::Sigmoid,
    };
    let cases = LONG.into_iter().flat_map(|shape| {
        [(rows, rows), (rows, cols), (cols, rows)].map(|(a, b)| Case {
            a,
            b,
            post,
            ..Case::new(shape).scaled(0.5, -1.5)
        })
    });
    check_by(cases, |case, operands, kernels, workspace| {
        with_team(3, |team| run(case, operands, kernels, workspace, team))
    });
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    check_each(cases(), |case| {
        let operands = case.operands();
        for kernels in available() {
            let solo = run(
                case,
                &operands,
                kernels,
                &mut Workspace::new(),
                &Team::solo(),
            )?;
            for threads in [1, 2, 3, 8] {
                let c = with_team(threads, |team| {
                    run(case, &operands, kernels, &mut Workspace::new(), team)
                })?;
                if c.bits() != solo.bits() || c.broken_guard().is_some() {
                    let isa = kernels.isa();
                    return Err(format!("{isa}: {threads} threads differ from one"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_used_workspace_gives_the_same_bits() {
    let all = available();
    let mut used: Vec<_> = all.iter().map(|_| Workspace::new()).collect();
    check_each(cases(), |case| {
        let operands = case.operands();
        for (kernels, used) in all.iter().zip(&mut used) {
            let fresh = run(
                case,
                &operands,
                kernels,
                &mut Workspace::new(),
                &Team::solo(),
            )?;
            for threads in [1, 3] {
                for _ in 0..2 {
                    let c = with_team(threads, |team| run(case, &operands, kernels, used, team))?;
                    if c.bits() != fresh.bits() {
                        let isa = kernels.isa();
                        return Err(format!("{isa}: {threads} threads, reused workspace"));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn reserving_changes_no_bits() {
    check_each(cases(), |case| {
        let operands = case.operands();
        let [m, n, k] = case.shape;
        for kernels in available() {
            let fresh = run(
                case,
                &operands,
                kernels,
                &mut Workspace::new(),
                &Team::solo(),
            )?;
            let mut reserved = Workspace::new();
            reserved.reserve(m, n, k, 2);
            let c = with_team(2, |team| run(case, &operands, kernels, &mut reserved, team))?;
            if c.bits() != fresh.bits() {
                return Err(format!("{}: reserved workspace", kernels.isa()));
            }
        }
        Ok(())
    });
}
