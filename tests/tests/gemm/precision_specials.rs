//! Numbers that are no sums of bf16 numbers: products on the matrix unit give what multiply-adds give.

use std::fmt;

use kernels::Precision;
use tests::cases::check_each;
use tests::gemm::gemm;
use tests::matrix::Matrix;
use tests::tolerance;
use tests::values::Values;

use crate::precision::{PARTS, product, with_tiles};

/// What a number is, beside its value.
fn kind(x: f32) -> &'static str {
    match (x.is_nan(), x.is_infinite(), x > 0.0) {
        (true, ..) => "NaN",
        (_, true, true) => "infinity",
        (_, true, false) => "-infinity",
        _ => "a number",
    }
}

/// Two operands, by name.
struct Special(&'static str, Vec<f32>, Vec<f32>);

impl fmt::Debug for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What cannot be a sum of bf16 numbers gives what multiply-adds give.
#[test]
fn specials_are_equal_in_kind_to_those_of_multiply_adds() {
    let (m, n, k) = (96, 124, 320);
    let mut values = Values::new(11);
    let plain = (values.vec(m * k), values.vec(k * n));
    let scaled = |x: &[f32], factor: f32| -> Vec<f32> { x.iter().map(|x| x * factor).collect() };
    let magnitudes = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| x.abs()).collect() };
    let with = |special: &[(usize, f32)]| {
        let mut a = plain.0.clone();
        for &(at, x) in special {
            a[at] = x;
        }
        a
    };
    let odd_nan = f32::from_bits(0x7fff_ffff);
    let cases = [
        Special("1e-30", scaled(&plain.0, 1e-30), plain.1.clone()),
        Special("1e-34", scaled(&plain.0, 1e-34), plain.1.clone()),
        Special("1e-38", scaled(&plain.0, 1e-38), plain.1.clone()),
        Special("denormal", scaled(&plain.0, 1e-40), plain.1.clone()),
        Special(
            "denormal by 1e30",
            scaled(&plain.0, 1e-40),
            scaled(&plain.1, 1e30),
        ),
        Special(
            "small products",
            scaled(&plain.0, 1e-17),
            scaled(&plain.1, 1e-16),
        ),
        Special(
            "denormal products",
            scaled(&plain.0, 1e-20),
            scaled(&plain.1, 1e-20),
        ),
        Special("1e38", scaled(&plain.0, 1e38), scaled(&plain.1, 0.02)),
        Special(
            "1e38 by 1e-3",
            scaled(&plain.0, 3e38),
            scaled(&plain.1, 1e-3),
        ),
        // Of one sign: where both infinities meet is a matter of the order.
        Special(
            "overflow",
            scaled(&magnitudes(&plain.0), 1e25),
            scaled(&magnitudes(&plain.1), 1e20),
        ),
        Special("infinity", with(&[(77, f32::INFINITY)]), plain.1.clone()),
        Special(
            "both infinities",
            with(&[
                (77, f32::INFINITY),
                (90, f32::NEG_INFINITY),
                (5000, f32::NEG_INFINITY),
            ]),
            plain.1.clone(),
        ),
        Special(
            "NaN",
            with(&[(30_000, f32::NAN), (3, odd_nan)]),
            plain.1.clone(),
        ),
        Special(
            "largest",
            with(&[(640, f32::MAX), (999, f32::MIN)]),
            plain.1.clone(),
        ),
        Special("zero by infinity", vec![0.0; m * k], {
            let mut b = plain.1.clone();
            b[777] = f32::INFINITY;
            b
        }),
    ];
    check_each(cases, |Special(_, a, b)| {
        let exact = gemm(
            1.0,
            &Matrix::from_f32(m, k, a),
            &Matrix::from_f32(k, n, b),
            0.0,
            &Matrix::zeros(m, n),
        );
        let largest = |x: &[f32]| {
            let finite = x.iter().filter(|x| x.is_finite());
            finite.fold(0.0, |max: f64, &x| max.max(f64::from(x.abs())))
        };
        // Where numbers are denormal, each rounding is off by half of the last place that there is: that of
        // f32, or for an operand that is one bf16 number, of that.
        let denormal = 2.0_f64.powi(-150);
        let of_bf16 = 2.0_f64.powi(-134) * (largest(a) + largest(b));
        let absolute = [denormal + of_bf16, denormal, denormal].map(|x| 2.0 * x);
        for kernels in with_tiles() {
            let ieee = product(kernels, Precision::Ieee, (a, b), (m, n, k));
            for (precision, parts) in PARTS {
                // Not every unit serves all of them; what multiply-adds do is tested elsewhere.
                if kernels.effective_precision(precision, (m, n, k)) != precision {
                    continue;
                }
                let got = product(kernels, precision, (a, b), (m, n, k));
                for (at, (&got, &ieee)) in got.iter().zip(&ieee).enumerate() {
                    if kind(got) != kind(ieee) {
                        return Err(format!("{precision}: [{at}] is {got}, by f32 {ieee}"));
                    }
                    let magnitude = exact.magnitude.data[at];
                    let far = tolerance::gemm_bf16(parts, k, magnitude)
                        + tolerance::gemm(k, magnitude)
                        + k as f64 * absolute[parts - 1];
                    if got.is_finite() && (f64::from(got) - f64::from(ieee)).abs() > far {
                        return Err(format!("{precision}: [{at}] is {got}, by f32 {ieee}"));
                    }
                }
            }
        }
        Ok(())
    });
}
