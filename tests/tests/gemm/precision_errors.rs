//! Errors of products as sums of bf16 products beside those of multiply-adds, element by element against
//! f64 and in units of 2^-24 of the sum of the absolute values of the terms.

use std::fmt::Write;

use kernels::{Gemm, Isa, Kernels, MatMut, MatRef, Precision, Team, Workspace};
use tests::gemm::gemm;
use tests::matrix::Matrix;
use tests::tolerance::U;
use tests::values::Values;

use crate::case::available;

/// How the elements of A and B are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Data {
    Uniform,
    OneSigned,
    Normal,
    Relu,
    LogNormal,
    PowersOfTen,
}

const DATA: [(Data, &str); 6] = [
    (Data::Uniform, "uniform on (-1, 1)"),
    (Data::OneSigned, "uniform on (0, 1)"),
    (Data::Normal, "normal"),
    (Data::Relu, "ReLU of normal by normal"),
    (Data::LogNormal, "± log-normal, sigma 3"),
    (Data::PowersOfTen, "± 10^U(-10, 10)"),
];

/// Depths, and the rows and columns with which the matrix unit takes them.
const DEPTHS: [(usize, usize); 5] = [(32, 128), (128, 64), (512, 64), (2048, 64), (8192, 64)];

impl Data {
    fn number(self, values: &mut Values, is_left: bool) -> f32 {
        let x = values.uniform();
        match self {
            Self::Uniform => x,
            Self::OneSigned => x.abs(),
            Self::Normal => normal(values),
            Self::Relu if is_left => normal(values).max(0.0),
            Self::Relu => normal(values),
            Self::LogNormal => (3.0 * normal(values)).exp().copysign(x),
            Self::PowersOfTen => 10.0_f32.powf(10.0 * values.uniform()).copysign(x),
        }
    }
}

/// The sum of twelve uniform numbers, to within 2 % a normal one as far as it goes.
fn normal(values: &mut Values) -> f32 {
    (0..12).map(|_| values.uniform()).sum::<f32>() / 2.0
}

/// The largest error and the root of the mean square.
#[derive(Clone, Copy, Debug)]
struct Errors {
    max: f64,
    rms: f64,
}

/// The errors of a product at each of the precisions.
fn errors<const N: usize>(
    kernels: &Kernels,
    data: Data,
    (k, m): (usize, usize),
    precisions: [Precision; N],
) -> [Errors; N] {
    let mut values = Values::new(k as u64 + 17 * data as u64);
    let a: Vec<_> = (0..m * k).map(|_| data.number(&mut values, true)).collect();
    let b: Vec<_> = (0..k * m)
        .map(|_| data.number(&mut values, false))
        .collect();
    let (left, right) = (Matrix::from_f32(m, k, &a), Matrix::from_f32(k, m, &b));
    let exact = gemm(1.0, &left, &right, 0.0, &Matrix::zeros(m, m));
    precisions.map(|precision| {
        let mut c = vec![f32::NAN; m * m];
        let product = Gemm {
            precision,
            ..Gemm::new(
                MatRef::from_row_major(&a, m, k).unwrap(),
                MatRef::from_row_major(&b, k, m).unwrap(),
            )
        };
        assert_eq!(kernels.effective_precision(precision, (m, m, k)), precision);
        let out = MatMut::from_row_major(&mut c, m, m).unwrap();
        kernels
            .gemm(&product, out, &mut Workspace::new(), &Team::solo())
            .unwrap();
        let in_units = |at: usize| {
            let error = (f64::from(c[at]) - exact.value.data[at]).abs();
            error / exact.magnitude.data[at] / U
        };
        let all: Vec<f64> = (0..m * m).map(in_units).collect();
        let squares: f64 = all.iter().map(|e| e * e).sum();
        Errors {
            max: all.iter().fold(0.0, |max, &e| max.max(e)),
            rms: (squares / all.len() as f64).sqrt(),
        }
    })
}

/// The best kernels with a matrix unit: its own, or the model.
fn best() -> &'static Kernels {
    available()
        .into_iter()
        .next_back()
        .expect("the model is everywhere")
}

#[test]
fn highest_is_as_exact_as_multiply_adds() {
    if best().isa() == Isa::Scalar {
        eprintln!("skipped: no fused multiply-adds to compare with");
        return;
    }
    let mut wrong = String::new();
    for (data, name) in DATA {
        for depth in DEPTHS {
            let [highest, ieee] =
                errors(best(), data, depth, [Precision::Highest, Precision::Ieee]);
            if highest.rms > 1.05 * ieee.rms || highest.max > 1.2 * ieee.max {
                let _ = writeln!(wrong, "{name}, k = {}: {highest:?}, {ieee:?}", depth.0);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// `cargo test --release -p tests --test gemm -- --ignored --nocapture table_of_errors`
#[test]
#[ignore = "prints the table of docs/numerics.md"]
fn table_of_errors() {
    println!("| A and B | k | `ieee` | `highest` | `high` | `medium` |");
    println!("|---|---|---|---|---|---|");
    for (data, name) in DATA {
        for depth in DEPTHS {
            let asked = [
                Precision::Ieee,
                Precision::Highest,
                Precision::High,
                Precision::Medium,
            ];
            let cells = errors(best(), data, depth, asked)
                .map(|Errors { max, rms }| format!("{} ({})", digits(max), digits(rms)));
            println!("| {name} | {} | {} |", depth.0, cells.join(" | "));
        }
    }
}

/// Two or three digits that say something.
fn digits(x: f64) -> String {
    match x {
        x if x < 10.0 => format!("{x:.2}"),
        x if x < 1000.0 => format!("{x:.0}"),
        _ => format!("{x:.1e}"),
    }
}
