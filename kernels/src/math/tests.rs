//! The logarithms: the other functions are public, and held against f64 in the crate `tests`.

use pulp::{Simd, WithSimd};

use super::{ln, ln_1p};

/// Units in the last place that [`ln`] and [`ln_1p`] may be off.
const LN_BOUND: f64 = 1.0;
const LN_1P_BOUND: f64 = 1.5;

#[derive(Clone, Copy)]
enum Function {
    Ln,
    Ln1p,
}

struct Map<'a> {
    function: Function,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (x, x_rest) = S::as_simd_f32s(self.x);
        let (y, _) = S::as_mut_simd_f32s(self.y);
        assert!(x_rest.is_empty(), "whole registers only");
        for (y, &x) in y.iter_mut().zip(x) {
            *y = match self.function {
                Function::Ln => ln(s, x),
                Function::Ln1p => ln_1p(s, x),
            };
        }
    }
}

/// A function of 64 numbers on plain Rust and on the widest registers of this CPU.
fn results(function: Function, x: &[f32; 64]) -> [[f32; 64]; 2] {
    let mut y = [[0.0; 64]; 2];
    let [plain, wide] = &mut y;
    let map = |y| Map { function, x, y };
    map(plain).with_simd(pulp::Scalar);
    pulp::Arch::new().dispatch(map(wide));
    y
}

/// The largest error in units in the last place, over numbers from `first` to `last`.
fn worst(function: Function, first: f32, last: f32, exact: fn(f64) -> f64) -> f64 {
    let (first, last) = (first.to_bits(), last.to_bits());
    let mut worst = 0.0f64;
    for start in (first..last - 64).step_by(64 * 97) {
        let x: [f32; 64] = std::array::from_fn(|i| f32::from_bits(start + i as u32));
        for y in results(function, &x) {
            for (x, y) in x.iter().zip(y) {
                let exact = exact(f64::from(*x));
                let unit = 2f64.powi(exact.max(f64::MIN_POSITIVE).log2().floor() as i32 - 23);
                worst = worst.max((f64::from(y) - exact).abs() / unit);
            }
        }
    }
    worst
}

#[test]
fn one_unit_from_one_to_the_largest_float() {
    let worst = worst(Function::Ln, 1.0, f32::MAX, f64::ln);
    assert!(worst <= LN_BOUND, "{worst} units");
}

#[test]
fn one_unit_and_a_half_of_one_and_a_bit() {
    let worst = worst(Function::Ln1p, f32::MIN_POSITIVE, 1.0, f64::ln_1p);
    assert!(worst <= LN_1P_BOUND, "{worst} units");
}

#[test]
fn special_values() {
    let mut x = [1.0; 64];
    (x[1], x[2], x[3]) = (f32::INFINITY, f32::NAN, -f32::NAN);
    for y in results(Function::Ln, &x) {
        assert_eq!((y[0], y[1]), (0.0, f32::INFINITY));
        assert!(y[2].is_nan() && y[3].is_nan());
    }
    let mut x = [0.0; 64];
    (x[1], x[2]) = (1.0, f32::NAN);
    for y in results(Function::Ln1p, &x) {
        assert_eq!((y[0], y[1]), (0.0, std::f32::consts::LN_2));
        assert!(y[2].is_nan());
    }
}
