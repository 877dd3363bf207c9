//! Shapes that do not fit: an error that names both, and C as it was.

use kernels::{Activation, Epilogue, Gemm, KernelError, MatMut, MatRef, Team, Workspace};
use tests::cases::check_each;

use crate::case::available;

/// Shapes of A, B, C, the length of the bias, the shape of the saved output.
#[derive(Clone, Copy, Debug)]
struct Shapes {
    a: (usize, usize),
    b: (usize, usize),
    c: (usize, usize),
    bias: Option<usize>,
    output: Option<(usize, usize)>,
}

const FITTING: Shapes = Shapes {
    a: (3, 5),
    b: (5, 4),
    c: (3, 4),
    bias: None,
    output: None,
};

/// Calls gemm on every instruction set; each must answer in the same way and leave C alone if it
/// refuses.
fn call(shapes: Shapes) -> Result<(), KernelError> {
    let data = [1.0f32; 64];
    let mat = |(r, c)| MatRef::from_row_major(&data, r, c).expect("small");
    let mut answers = available().into_iter().map(|kernels| {
        let mut gemm = Gemm::new(mat(shapes.a), mat(shapes.b));
        gemm.epilogue = match (shapes.bias, shapes.output) {
            (Some(len), _) => Epilogue::Activate {
                bias: Some(&data[..len]),
                activation: Activation::Relu,
            },
            (_, Some(shape)) => Epilogue::Derivative {
                activation: Activation::Relu,
                saved: mat(shape),
            },
            _ => Epilogue::Store,
        };
        let mut c = vec![7.0; shapes.c.0 * shapes.c.1];
        let view = MatMut::from_row_major(&mut c, shapes.c.0, shapes.c.1)?;
        let answer = kernels.gemm(&gemm, view, &mut Workspace::new(), &Team::solo());
        let untouched = c.iter().all(|&x| x == 7.0);
        assert_eq!(answer.is_err(), untouched, "{} {shapes:?}", kernels.isa());
        answer
    });
    let first = answers.next().expect("scalar is always there");
    assert!(answers.all(|answer| answer == first), "{shapes:?}");
    first
}

#[test]
fn fitting_shapes_are_accepted() {
    call(FITTING).expect("the shapes fit");
    call(Shapes {
        bias: Some(4),
        ..FITTING
    })
    .expect("one bias per column");
    call(Shapes {
        output: Some((3, 4)),
        ..FITTING
    })
    .expect("the output has the shape of C");
}

#[test]
fn misfits_are_named() {
    let cases = [
        // What does not fit, and words that the message must hold.
        (
            Shapes {
                a: (3, 6),
                ..FITTING
            },
            ["3 x 6", "5 x 4"],
        ),
        (
            Shapes {
                a: (2, 5),
                ..FITTING
            },
            ["2 x 5", "3 x 4"],
        ),
        (
            Shapes {
                b: (5, 3),
                ..FITTING
            },
            ["5 x 3", "3 x 4"],
        ),
        (
            Shapes {
                b: (4, 5),
                ..FITTING
            },
            ["4 x 5", "3 x 4"],
        ),
        (
            Shapes {
                bias: Some(3),
                ..FITTING
            },
            ["4", "3"],
        ),
        (
            Shapes {
                bias: Some(0),
                ..FITTING
            },
            ["4", "0"],
        ),
        (
            Shapes {
                output: Some((4, 3)),
                ..FITTING
            },
            ["3 x 4", "4 x 3"],
        ),
        (
            Shapes {
                output: Some((3, 5)),
                ..FITTING
            },
            ["3 x 4", "3 x 5"],
        ),
        (
            Shapes {
                a: (3, 0),
                ..FITTING
            },
            ["3 x 0", "5 x 4"],
        ),
    ];
    check_each(cases, |&(shapes, words)| match call(shapes) {
        Err(error @ KernelError::Shape { op: "gemm", .. }) => {
            let text = error.to_string();
            match words.iter().find(|&&word| !text.contains(word)) {
                None => Ok(()),
                Some(word) => Err(format!("{text:?} lacks {word:?}")),
            }
        }
        other => Err(format!("expected a shape error of gemm, got {other:?}")),
    });
}

#[test]
fn a_slope_that_would_hide_the_sign_is_named() {
    let ones = [1.0f32; 4];
    let ones = MatRef::from_row_major(&ones, 2, 2).expect("4 elements");
    for negative_slope in [-0.1, f32::NAN, f32::INFINITY] {
        let activation = Activation::LeakyRelu { negative_slope };
        let forward = Epilogue::Activate {
            bias: None,
            activation,
        };
        let backward = Epilogue::Derivative {
            activation,
            saved: ones,
        };
        for (kernels, epilogue) in available()
            .into_iter()
            .flat_map(|kernels| [(kernels, forward), (kernels, backward)])
        {
            let mut gemm = Gemm::new(ones, ones);
            gemm.epilogue = epilogue;
            let mut c = [7.0; 4];
            let view = MatMut::from_row_major(&mut c, 2, 2).expect("4 elements");
            let expected = KernelError::Parameter {
                op: "gemm",
                name: "negative_slope",
                expected: "a finite number of at least 0",
                got: negative_slope.to_string(),
            };
            let answer = kernels.gemm(&gemm, view, &mut Workspace::new(), &Team::solo());
            assert_eq!((answer, c), (Err(expected), [7.0; 4]));
        }
    }
}
