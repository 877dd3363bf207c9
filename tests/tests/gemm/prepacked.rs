//! Operands that were packed before: the bits of the call that packs for itself.

use kernels::{
    Gemm, Isa, KernelError, Kernels, MatMut, MatRef, PackedA, PackedB, Team, Workspace, with_team,
};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::layout::Storage;

use crate::case::{Case, Post, available, call, check_by, run, view, view_mut};

/// Whether the call without packing is a dot product for each element, whose order of the sums is
/// another; see [`Kernels::gemm`].
fn is_dots(isa: Isa, case: &Case) -> bool {
    let [m, n, k] = case.shape;
    let (_, a_col) = case.a.strides(m, k);
    let (b_row, _) = case.b.strides(k, n);
    let is_wide = matches!(isa, Isa::Avx512 | Isa::Amx);
    let most_rows = if is_wide || m * k > 1 << 16 { 48 } else { 64 };
    let are_few =
        m <= most_rows.min(k / 10) || n <= 12.min(k / 16) && m * n.max(8) * (k + 32) < 1 << 19;
    a_col == 1 && b_row == 1 && (n == 1 || are_few)
}

fn cases() -> Vec<Case> {
    let (rows, cols) = (Storage::Rows { pad: 0 }, Storage::Cols { pad: 0 });
    let mut cases = Vec::new();
    for shape in [
        [0, 5, 3],
        [5, 0, 3],
        [3, 5, 0],
        [1, 1, 1],
        [1, 10, 40],
        [7, 19, 23],
        [3, 200, 100],
        [64, 100, 70],
        [70, 49, 385],
        [150, 170, 800],
        [9, 33, 1100],
        [20, 1600, 30],
        [90, 12, 200],
        [90, 12, 191],
        [450, 12, 200],
        [60, 40, 700],
        [20, 30, 600],
        [42, 63, 1000],
    ] {
        for (a, b) in [(rows, rows), (cols, rows), (rows, cols), (cols, cols)] {
            let case = Case {
                a,
                b,
                ..Case::new(shape)
            };
            let post = Post::Activate {
                bias: true,
                activation: Activation::Tanh,
            };
            cases.extend([case, Case { post, ..case }.scaled(-2.5, 0.5)]);
        }
    }
    cases
}

/// Numbers of rows that a packed operand may be made for: the right one, and others.
fn hints(m: usize) -> [usize; 4] {
    [m, 0, 1, 1000]
}

/// Which operands a call finds packed.
const PACKED: [(bool, bool); 3] = [(false, true), (true, false), (true, true)];

#[test]
fn the_bits_are_those_of_the_view() {
    check_each(cases(), |case| {
        let operands = case.operands();
        let [m, n, k] = case.shape;
        for kernels in available() {
            let mut workspace = Workspace::new();
            let plain = run(case, &operands, kernels, &mut workspace, &Team::solo())?;
            let both = hints(m).into_iter().zip(hints(n));
            for ((m_hint, n_hint), (a, b)) in both.flat_map(|h| PACKED.map(|p| (h, p))) {
                let (view_a, view_b) = (view(&operands.a), view(&operands.b));
                let packed_a = kernels.pack_a(view_a, if b { n } else { n_hint });
                let packed_b = kernels.pack_b(view_b, if a { m } else { m_hint });
                let mut gemm = call(case, &operands);
                // A copy for the matrix unit is used by that, and no other, whatever the shape.
                let here = kernels.effective_precision(gemm.precision, (m, n, k));
                if a && packed_a.precision() != here || b && packed_b.precision() != here {
                    continue;
                }
                if a {
                    gemm.a = (&packed_a).into();
                }
                if b {
                    gemm.b = (&packed_b).into();
                }
                for threads in [1, 3] {
                    let mut c = operands.old.clone();
                    with_team(threads, |team| {
                        kernels.gemm(&gemm, view_mut(&mut c), &mut workspace, team)
                    })
                    .map_err(|e| e.to_string())?;
                    let isa = kernels.isa();
                    let what = format!("{isa}, A: {a}, B: {b} for {m_hint} rows, {n_hint} columns");
                    if !is_dots(isa, case) && c.bits() != plain.bits() {
                        return Err(format!("{what}: other bits on {threads} threads"));
                    }
                    if c.broken_guard().is_some() {
                        return Err(format!("{what}: wrote beside C"));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn the_product_is_that_of_the_reference() {
    // Also for a C by columns, where the bits may be others.
    let (rows, cols) = (Storage::Rows { pad: 3 }, Storage::Cols { pad: 1 });
    let strided = cases()
        .into_iter()
        .flat_map(|case| [rows, cols, Storage::Spread].map(|c| Case { c, ..case }));
    let strided: Vec<_> = strided.collect();
    for (a, b) in PACKED {
        check_by(strided.clone(), |case, operands, kernels, workspace| {
            let packed_a = kernels.pack_a(view(&operands.a), case.shape[1]);
            let packed_b = kernels.pack_b(view(&operands.b), case.shape[0]);
            let mut gemm = call(case, operands);
            if a {
                gemm.a = (&packed_a).into();
            }
            if b {
                gemm.b = (&packed_b).into();
            }
            let mut c = operands.old.clone();
            kernels
                .gemm(&gemm, view_mut(&mut c), workspace, &Team::solo())
                .map_err(|e| e.to_string())?;
            Ok(c)
        });
    }
}

/// Large enough for several members to pack, with a last panel that is lower than the others.
const LARGE: [[usize; 3]; 3] = [[395, 390, 400], [1030, 5, 130], [7, 1030, 130]];

#[test]
fn a_refreshed_operand_is_as_if_packed_anew() {
    let (rows, cols) = (Storage::Rows { pad: 1 }, Storage::Cols { pad: 2 });
    let large = LARGE.into_iter().flat_map(|shape| {
        [
            (rows, cols),
            (cols, rows),
            (Storage::Spread, Storage::Spread),
        ]
        .map(|(a, b)| Case {
            a,
            b,
            ..Case::new(shape)
        })
    });
    check_each(cases().into_iter().chain(large), |case| {
        let operands = case.operands();
        let [m, n, k] = case.shape;
        let zeros = vec![0.0; k * m.max(n)];
        let old = |rows, cols| {
            MatRef::from_row_major(&zeros[..rows * cols], rows, cols).map_err(|e| e.to_string())
        };
        let (a, b) = (view(&operands.a), view(&operands.b));
        for kernels in available() {
            let product = |a: &PackedA, b: &PackedB| {
                let mut c = operands.old.clone();
                let (mut workspace, team) = (Workspace::new(), Team::solo());
                kernels
                    .gemm(&Gemm::new(a, b), view_mut(&mut c), &mut workspace, &team)
                    .map(|()| c.bits())
                    .map_err(|e| e.to_string())
            };
            let fresh = product(&kernels.pack_a(a, n), &kernels.pack_b(b, m))?;
            for threads in [1, 2, 3, 8] {
                let mut packed_a = kernels.pack_a(old(m, k)?, n);
                let mut packed_b = kernels.pack_b(old(k, n)?, m);
                with_team(threads, |team| {
                    packed_a.refresh(a, team)?;
                    packed_b.refresh(b, team)
                })
                .map_err(|e| e.to_string())?;
                if product(&packed_a, &packed_b)? != fresh {
                    let isa = kernels.isa();
                    return Err(format!("{isa}: other bits, refreshed by {threads} threads"));
                }
            }
        }
        Ok(())
    });
}

/// The error of a product `C = A B` of 2 x 3 by 3 x 4 with this B, for a C that stays as it was.
fn refused(kernels: &Kernels, packed: &PackedB) -> String {
    let data = [1.0; 6];
    let a = MatRef::from_row_major(&data, 2, 3).expect("small");
    refused_product(kernels, &Gemm::new(a, packed))
}

/// The error of a product for a C of 2 x 4 that stays as it was.
fn refused_product(kernels: &Kernels, gemm: &Gemm<'_>) -> String {
    let mut c = [7.0; 8];
    let view = MatMut::from_row_major(&mut c, 2, 4).expect("small");
    let (mut workspace, team) = (Workspace::new(), Team::solo());
    let error = kernels
        .gemm(gemm, view, &mut workspace, &team)
        .expect_err("an operand that does not fit");
    assert!(matches!(error, KernelError::Shape { op: "gemm", .. }));
    assert_eq!(c, [7.0; 8]);
    error.to_string()
}

#[test]
fn a_packed_operand_that_does_not_fit_is_refused() {
    let data = [1.0; 20];
    let matrix = |rows, cols| MatRef::from_row_major(&data, rows, cols).expect("small");
    for kernels in available() {
        let mut packed = kernels.pack_b(matrix(4, 3), 2);
        assert_eq!((packed.rows(), packed.cols()), (4, 3));
        assert_eq!(packed.isa(), kernels.isa());
        let text = refused(kernels, &packed);
        assert!(text.contains("3 x 4") || text.contains("x 4"), "{text}");
        assert!(text.contains("4 x 3"), "{text}");
        let mut packed_a = kernels.pack_a(matrix(4, 3), 4);
        assert_eq!((packed_a.rows(), packed_a.cols()), (4, 3));
        assert_eq!(packed_a.isa(), kernels.isa());
        let text = refused_product(kernels, &Gemm::new(&packed_a, matrix(3, 4)));
        assert!(text.contains("2 x k") && text.contains("4 x 3"), "{text}");
        let team = &Team::solo();
        for error in [
            packed
                .refresh(matrix(3, 4), team)
                .expect_err("another shape"),
            packed_a
                .refresh(matrix(3, 4), team)
                .expect_err("another shape"),
        ] {
            let text = error.to_string();
            assert!(text.contains("4 x 3") && text.contains("3 x 4"), "{text}");
        }
        for other in available() {
            if other.isa() != kernels.isa() {
                let packed_a = other.pack_a(matrix(2, 3), 4);
                for text in [
                    refused(kernels, &other.pack_b(matrix(3, 4), 2)),
                    refused_product(kernels, &Gemm::new(&packed_a, matrix(3, 4))),
                ] {
                    let names = [other.isa(), kernels.isa()].map(|isa: Isa| isa.to_string());
                    assert!(names.iter().all(|name| text.contains(name)), "{text}");
                }
            }
        }
    }
}

#[test]
fn operands_packed_for_other_tiles_are_refused() {
    // A packed for one column has high panels, which no tile of the width for one row has.
    let (m, n, k) = (100, 200, 3);
    let data = vec![1.0; n * m];
    let matrix = |rows: usize, cols| {
        MatRef::from_row_major(&data[..rows * cols], rows, cols).expect("enough")
    };
    for kernels in available() {
        let (a, b) = (
            kernels.pack_a(matrix(m, k), 1),
            kernels.pack_b(matrix(k, n), 1),
        );
        let mut c = vec![7.0; m * n];
        let view = MatMut::from_row_major(&mut c, m, n).expect("all elements");
        let (mut workspace, team) = (Workspace::new(), Team::solo());
        let error = kernels
            .gemm(&Gemm::new(&a, &b), view, &mut workspace, &team)
            .expect_err("tiles of different shapes");
        let text = error.to_string();
        assert!(
            text.contains("rows") && text.contains("registers"),
            "{text}"
        );
        assert!(c.iter().all(|&x| x == 7.0));
    }
}
