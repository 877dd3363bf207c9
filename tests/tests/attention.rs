//! Attention on every instruction set, against the f64 reference: one block and several, masks,
//! strides, threads, wrong input.

mod common;

use kernels::{
    Attention, AttentionGradients, AttentionWorkspace, KernelError, Kernels, MatMut, MatRef, Team,
    with_team,
};
use tests::attention::Attention as Reference;
use tests::cases::check_each;
use tests::layout::{Guarded, Storage};
use tests::matrix::Matrix;
use tests::uncertain::Uncertain;
use tests::values::Values;

use common::{available, view, view_mut};

/// The sizes of a case, and its masks.
#[derive(Clone, Debug)]
struct Case {
    steps: usize,
    heads: usize,
    d: usize,
    causal: bool,
    lengths: Vec<u32>,
    /// Factor on the queries: how far apart the scores are.
    spread: f64,
}

impl Case {
    fn new(batch: usize, steps: usize, heads: usize, d: usize) -> Self {
        Self {
            steps,
            heads,
            d,
            causal: false,
            lengths: vec![steps as u32; batch],
            spread: 1.0,
        }
    }

    fn causal(self) -> Self {
        Self {
            causal: true,
            ..self
        }
    }

    fn lengths(self, lengths: &[u32]) -> Self {
        let lengths = lengths.to_vec();
        Self { lengths, ..self }
    }

    fn rows(&self) -> usize {
        self.lengths.len() * self.steps
    }

    fn width(&self) -> usize {
        self.heads * self.d
    }

    fn reference(&self) -> (Reference, Uncertain) {
        let mut values = Values::new(61);
        let mut matrix = || values.matrix(self.rows(), self.width());
        let exact = Uncertain::exact;
        let narrow = |x: f64| f64::from((self.spread * x) as f32);
        let reference = Reference {
            q: exact(matrix().map(narrow)),
            k: exact(matrix()),
            v: exact(matrix()),
            batch: self.lengths.len(),
            heads: self.heads,
            causal: self.causal,
            lengths: self.lengths.iter().map(|&l| l as usize).collect(),
        };
        let d_o = exact(matrix());
        (reference, d_o)
    }
}

fn lay(storage: Storage, x: &Matrix) -> Guarded {
    Guarded::new(storage, x.rows, x.cols, |i, j| x.at(i, j) as f32)
}

/// What the kernels give for a case, all of it.
struct Results {
    o: Guarded,
    lse: Vec<f32>,
    gradients: [Guarded; 3],
}

fn run(
    k: &Kernels,
    case: &Case,
    (reference, d_o): &(Reference, Uncertain),
    storage: Storage,
    workspace: &mut AttentionWorkspace,
    team: &Team,
) -> Results {
    let [q, keys, v] = [&reference.q, &reference.k, &reference.v].map(|x| lay(storage, &x.value));
    let batch = case.lengths.len();
    let attention = Attention {
        causal: case.causal,
        lengths: Some(&case.lengths),
        ..Attention::new(view(&q), view(&keys), view(&v), batch, case.heads)
    };
    let rows = Storage::Rows { pad: 3 };
    let blank = |storage| Guarded::new(storage, case.rows(), case.width(), |_, _| 9.0);
    let (mut o, mut lse) = (blank(rows), vec![9.0; case.rows() * case.heads]);
    k.attention(&attention, view_mut(&mut o), &mut lse, workspace, team)
        .expect("fits");
    let d_o = lay(rows, &d_o.value);
    let [mut dq, mut dk, mut dv] = [storage; 3].map(blank);
    let gradients = AttentionGradients {
        dq: view_mut(&mut dq),
        dk: view_mut(&mut dk),
        dv: view_mut(&mut dv),
    };
    let forward = (view(&o), lse.as_slice());
    k.attention_backward(&attention, forward, view(&d_o), gradients, workspace, team)
        .expect("fits");
    Results {
        o,
        lse,
        gradients: [dq, dk, dv],
    }
}

fn close(what: &str, got: &Guarded, expected: &Uncertain) -> Result<(), String> {
    let (exact, bound) = (&expected.value, &expected.error);
    if let Some(index) = got.broken_guard() {
        return Err(format!("{what}: wrote beside the matrix, at {index}"));
    }
    for i in 0..exact.rows {
        for j in 0..exact.cols {
            let (got, exact, bound) = (got.at(i, j), exact.at(i, j), bound.at(i, j));
            let error = (f64::from(got) - exact).abs();
            // NaN is not within any bound.
            let within = error <= bound;
            if !within {
                let text = format!("{what} at {i}, {j}: {got:e}, expected {exact:e} +- {bound:e}");
                return Err(text);
            }
        }
    }
    Ok(())
}

fn check(case: &Case, storage: Storage) -> Result<(), String> {
    let operands = case.reference();
    let (forward, backward) = (operands.0.forward(), operands.0.backward(&operands.1));
    for k in available() {
        let workspace = &mut AttentionWorkspace::new();
        let got = run(k, case, &operands, storage, workspace, &Team::solo());
        close(&format!("o on {}", k.isa()), &got.o, &forward.o)?;
        for (i, &lse) in got.lse.iter().enumerate() {
            let (exact, bound) = (forward.lse[i], forward.lse_bound[i]);
            let same = f64::from(lse) == exact;
            if !(same || (f64::from(lse) - exact).abs() <= bound) {
                return Err(format!(
                    "lse {i} on {}: {lse}, expected {exact} +- {bound:e}",
                    k.isa()
                ));
            }
        }
        for (name, which) in ["dq", "dk", "dv"].into_iter().zip(0..3) {
            let what = format!("{name} on {}", k.isa());
            close(&what, &got.gradients[which], &backward[which])?;
        }
    }
    Ok(())
}

#[test]
fn one_block_of_any_size() {
    let sizes = [1, 2, 3, 7, 8, 9, 16, 31];
    let cases = sizes.into_iter().flat_map(|steps| {
        [(1, 1), (1, 5), (2, 8), (3, 17)].map(|(heads, d)| Case::new(2, steps, heads, d))
    });
    let masked = cases.clone().map(Case::causal);
    check_each(cases.chain(masked), |case| {
        check(case, Storage::Rows { pad: 0 })
    });
}

#[test]
fn several_blocks() {
    let cases = [127, 128, 129, 200, 300].map(|steps| Case::new(1, steps, 1, 8));
    let causal = cases.clone().map(Case::causal);
    let padded = [
        Case::new(2, 300, 1, 4).lengths(&[129, 10]),
        Case::new(2, 260, 1, 4).lengths(&[128, 257]).causal(),
    ];
    let cases = cases.into_iter().chain(causal).chain(padded);
    check_each(cases, |case| check(case, Storage::Rows { pad: 0 }));
}

#[test]
fn padding_is_seen_by_none() {
    let cases = [
        Case::new(3, 6, 2, 4).lengths(&[6, 1, 3]),
        Case::new(3, 6, 2, 4).lengths(&[0, 6, 2]),
        Case::new(3, 6, 2, 4).lengths(&[5, 4, 1]).causal(),
        // More than there are rows: all of them.
        Case::new(1, 6, 2, 4).lengths(&[6]),
    ];
    check_each(cases, |case| check(case, Storage::Rows { pad: 0 }));
}

#[test]
fn operands_of_any_strides() {
    let case = Case::new(2, 11, 2, 5).causal();
    check_each(Storage::DISTINCT, |&storage| check(&case, storage));
}

#[test]
fn scores_far_apart() {
    let cases = [10.0, 300.0].map(|spread| Case {
        spread,
        ..Case::new(1, 140, 1, 16)
    });
    check_each(cases, |case| check(case, Storage::Rows { pad: 0 }));
    // Beyond what the exponential can tell apart the largest score takes all.
    for k in available() {
        let (q, keys) = ([1e6, -1e6], [1.0, -1.0]);
        let of = |x| MatRef::from_row_major(x, 2, 1).expect("2 elements");
        let (mut o, mut lse) = ([9.0; 2], [9.0; 2]);
        let attention = Attention::new(of(&q), of(&keys), of(&keys), 1, 1);
        let out = MatMut::from_row_major(&mut o, 2, 1).expect("2 elements");
        let workspace = &mut AttentionWorkspace::new();
        k.attention(&attention, out, &mut lse, workspace, &Team::solo())
            .expect("fits");
        assert_eq!((o, lse), ([1.0, -1.0], [1e6, 1e6]), "{}", k.isa());
    }
}

#[test]
fn the_bits_are_the_same_for_any_number_of_threads() {
    let cases = [
        Case::new(3, 150, 4, 8),
        Case::new(40, 48, 2, 8).causal(),
        Case::new(1, 400, 3, 8),
    ];
    for case in cases {
        let operands = case.reference();
        for k in available() {
            let bits = |team: &Team| {
                let workspace = &mut AttentionWorkspace::new();
                let rows = Storage::Rows { pad: 0 };
                let got = run(k, &case, &operands, rows, workspace, team);
                (got.o.bits(), got.lse, got.gradients.map(|g| g.bits()))
            };
            let alone = bits(&Team::solo());
            for threads in [2, 3, 8] {
                assert!(
                    with_team(threads, bits) == alone,
                    "{case:?}, {threads} threads"
                );
            }
        }
    }
}

#[test]
fn a_workspace_serves_any_shape() {
    for k in available() {
        let workspace = &mut AttentionWorkspace::new();
        for steps in [150, 3, 200] {
            let case = Case::new(1, steps, 1, 4);
            let operands = case.reference();
            let rows = Storage::Rows { pad: 0 };
            let kept = run(k, &case, &operands, rows, workspace, &Team::solo());
            let fresh = &mut AttentionWorkspace::new();
            let fresh = run(k, &case, &operands, rows, fresh, &Team::solo());
            assert_eq!(kept.o.bits(), fresh.o.bits(), "{steps}");
        }
    }
}

#[test]
fn wrong_input_is_an_error_and_changes_nothing() {
    let data = [1.0; 24];
    let x = MatRef::from_row_major(&data, 4, 6).expect("24 elements");
    let narrow = MatRef::from_row_major(&data, 4, 3).expect("12 elements");
    for k in available() {
        let (mut o, mut lse) = ([7.0; 24], [7.0; 8]);
        let mut attention = |attention: Attention<'_>, turned: bool, values: usize| {
            let out = match turned {
                false => MatMut::from_row_major(&mut o, 4, 6),
                true => MatMut::with_strides(&mut o, 0, 4, 6, 1, 4),
            };
            let workspace = &mut AttentionWorkspace::new();
            let out = out.expect("24 elements");
            k.attention(
                &attention,
                out,
                &mut lse[..values],
                workspace,
                &Team::solo(),
            )
        };
        let good = Attention::new(x, x, x, 2, 2);
        let lengths = [1; 3];
        let long = Attention {
            lengths: Some(&lengths),
            ..good
        };
        let results = [
            (
                attention(Attention { heads: 4, ..good }, false, 8),
                "heads that divide the width of 6, got 4",
            ),
            (
                attention(Attention { heads: 0, ..good }, false, 8),
                "heads that divide the width of 6, got 0",
            ),
            (
                attention(Attention { batch: 3, ..good }, false, 8),
                "a number of sequences that divides the 4 rows, got 3",
            ),
            (
                attention(Attention { k: narrow, ..good }, false, 8),
                "k 4 x 6, the shape of q, got 4 x 3",
            ),
            (
                attention(Attention { v: narrow, ..good }, false, 8),
                "v 4 x 6, the shape of q, got 4 x 3",
            ),
            (
                attention(long, false, 8),
                "2 lengths, one per sequence, got 3",
            ),
            (
                attention(good, true, 8),
                "o with elements of a row together, got a column stride of 4",
            ),
            (
                attention(good, false, 7),
                "8 values of lse, one per row and head, got 7",
            ),
        ];
        for (result, message) in results {
            let error: KernelError = result.expect_err(message);
            assert_eq!(error.to_string(), format!("attention: expected {message}"));
        }
        assert_eq!((o, lse), ([7.0; 24], [7.0; 8]));
    }
}
