//! Derivatives by central differences.

/// Half the distance of the two points: the truncation error `h^2 f'''/6` and the rounding error
/// `2^-52 |f| / h` meet near the cube root of 2^-52, where both are about 4e-11.
pub const H: f64 = 6e-6;

/// `f'(x) = (f(x + h) - f(x - h)) / 2h + O(h^2)`
pub fn derivative(x: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    // The step as it is after rounding: x + H is seldom exactly H away from x.
    let (right, left) = (x + H, x - H);
    (f(right) - f(left)) / (right - left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn a_cubic_by_hand() {
        assert_abs_diff_eq!(derivative(2.0, |x| x * x * x), 12.0, epsilon = 1e-9);
        assert_abs_diff_eq!(derivative(0.0, f64::sin), 1.0, epsilon = 1e-9);
    }
}
