//! ln alone: the other functions are public, and held against f64 in the crate `tests`.

use pulp::{Simd, WithSimd};

use super::ln;

/// Units in the last place that [`ln`] may be off.
const BOUND: f64 = 1.0;

struct Ln<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Ln<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (x, x_rest) = S::as_simd_f32s(self.x);
        let (y, _) = S::as_mut_simd_f32s(self.y);
        assert!(x_rest.is_empty(), "whole registers only");
        for (y, &x) in y.iter_mut().zip(x) {
            *y = ln(s, x);
        }
    }
}

/// ln of 64 numbers on plain Rust and on the widest registers of this CPU.
fn results(x: &[f32; 64]) -> [[f32; 64]; 2] {
    let mut y = [[0.0; 64]; 2];
    let [plain, wide] = &mut y;
    Ln { x, y: plain }.with_simd(pulp::Scalar);
    pulp::Arch::new().dispatch(Ln { x, y: wide });
    y
}

#[test]
fn one_unit_from_one_to_the_largest_float() {
    let (first, last) = (1f32.to_bits(), f32::MAX.to_bits());
    let mut worst = 0.0f64;
    for start in (first..last - 64).step_by(64 * 97) {
        let x: [f32; 64] = std::array::from_fn(|i| f32::from_bits(start + i as u32));
        for y in results(&x) {
            for (x, y) in x.iter().zip(y) {
                let exact = f64::from(*x).ln();
                let unit = 2f64.powi(exact.max(f64::MIN_POSITIVE).log2().floor() as i32 - 23);
                worst = worst.max((f64::from(y) - exact).abs() / unit);
            }
        }
    }
    assert!(worst <= BOUND, "{worst} units");
}

#[test]
fn special_values() {
    let mut x = [1.0; 64];
    (x[1], x[2], x[3]) = (f32::INFINITY, f32::NAN, -f32::NAN);
    for y in results(&x) {
        assert_eq!((y[0], y[1]), (0.0, f32::INFINITY));
        assert!(y[2].is_nan() && y[3].is_nan());
    }
}
