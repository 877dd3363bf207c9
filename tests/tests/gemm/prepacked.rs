//! A right operand that was packed before: the bits of the call that packs for itself.

use kernels::{Gemm, Isa, KernelError, Kernels, MatMut, MatRef, Team, Workspace, with_team};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::layout::Storage;

use crate::case::{Case, Post, available, call, check_by, run, view, view_mut};

/// Whether the call without packing is a dot product for each element, whose order of the sums is
/// another; see [`Kernels::gemm`].
fn is_dots(case: &Case) -> bool {
    let [m, n, k] = case.shape;
    let (_, a_col) = case.a.strides(m, k);
    let (b_row, _) = case.b.strides(k, n);
    a_col == 1 && b_row == 1 && (n == 1 || m <= 48.min(k / 10))
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

#[test]
fn the_bits_are_those_of_the_view() {
    check_each(cases(), |case| {
        let operands = case.operands();
        for kernels in available() {
            let mut workspace = Workspace::new();
            let plain = run(case, &operands, kernels, &mut workspace, &Team::solo())?;
            for hint in hints(case.shape[0]) {
                let packed = kernels.pack_b(view(&operands.b), hint);
                let mut gemm = call(case, &operands);
                gemm.b = (&packed).into();
                for threads in [1, 3] {
                    let mut c = operands.old.clone();
                    with_team(threads, |team| {
                        kernels.gemm(&gemm, view_mut(&mut c), &mut workspace, team)
                    })
                    .map_err(|e| e.to_string())?;
                    let what = format!("{}, packed for {hint} rows", kernels.isa());
                    if !is_dots(case) && c.bits() != plain.bits() {
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
    check_by(strided, |case, operands, kernels, workspace| {
        let packed = kernels.pack_b(view(&operands.b), case.shape[0]);
        let mut gemm = call(case, operands);
        gemm.b = (&packed).into();
        let mut c = operands.old.clone();
        kernels
            .gemm(&gemm, view_mut(&mut c), workspace, &Team::solo())
            .map_err(|e| e.to_string())?;
        Ok(c)
    });
}

#[test]
fn a_refreshed_operand_is_as_if_packed_anew() {
    check_each(cases(), |case| {
        let operands = case.operands();
        let [m, n, k] = case.shape;
        let zeros = vec![0.0; k * n];
        let old = MatRef::from_row_major(&zeros, k, n).map_err(|e| e.to_string())?;
        for kernels in available() {
            let fresh = kernels.pack_b(view(&operands.b), m);
            let mut refreshed = kernels.pack_b(old, m);
            refreshed
                .refresh(view(&operands.b))
                .map_err(|e| e.to_string())?;
            let product = |packed| {
                let gemm = Gemm::new(view(&operands.a), packed);
                let mut c = operands.old.clone();
                kernels
                    .gemm(
                        &gemm,
                        view_mut(&mut c),
                        &mut Workspace::new(),
                        &Team::solo(),
                    )
                    .map(|()| c.bits())
            };
            if product(&fresh) != product(&refreshed) {
                return Err(format!("{}: other bits", kernels.isa()));
            }
        }
        Ok(())
    });
}

/// The error of a product `C = A B` of 2 x 3 by 3 x 4 with this B, for a C that stays as it was.
fn refused(kernels: &Kernels, packed: &kernels::PackedB) -> String {
    let (data, mut c) = ([1.0; 6], [7.0; 8]);
    let a = MatRef::from_row_major(&data, 2, 3).expect("small");
    let view = MatMut::from_row_major(&mut c, 2, 4).expect("small");
    let (mut workspace, team) = (Workspace::new(), Team::solo());
    let error = kernels
        .gemm(&Gemm::new(a, packed), view, &mut workspace, &team)
        .expect_err("a B that does not fit");
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
        let error = packed.refresh(matrix(3, 4)).expect_err("another shape");
        let text = error.to_string();
        assert!(text.contains("4 x 3") && text.contains("3 x 4"), "{text}");
        for other in available() {
            if other.isa() != kernels.isa() {
                let text = refused(kernels, &other.pack_b(matrix(3, 4), 2));
                let names = [other.isa(), kernels.isa()].map(|isa: Isa| isa.to_string());
                assert!(names.iter().all(|name| text.contains(name)), "{text}");
            }
        }
    }
}
