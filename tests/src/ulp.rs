//! Distances in units in the last place.

/// Fraction bits of an f32.
const FRACTION_BITS: i32 = 23;

/// Distance of `got` from the exact result, in units in the last place that an f32 of the size of
/// `exact` has; infinite if one of them is NaN, or infinite where the other is not.
///
/// Below the normal numbers the unit stays that of the smallest normal one.
pub fn ulps(got: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if f64::from(got) == exact || (rounded.is_infinite() && got == rounded) {
        return 0.0;
    }
    if !got.is_finite() || !rounded.is_finite() {
        return f64::INFINITY;
    }
    let size = exact.abs().max(f64::from(f32::MIN_POSITIVE));
    // The exponent of a normal f64, exactly.
    let exponent = (size.to_bits() >> 52) as i32 - 1023;
    (f64::from(got) - exact).abs() / 2f64.powi(exponent - FRACTION_BITS)
}

#[cfg(test)]
mod tests {
    use super::ulps;

    #[test]
    fn neighbours_are_one_unit_apart() {
        for x in [1.0f32, 1.5, -3.0, 1e-30, 3e38, f32::MIN_POSITIVE] {
            assert_eq!(ulps(x, f64::from(x)), 0.0);
            let away = f32::from_bits(x.to_bits() + 1);
            assert_eq!(ulps(away, f64::from(x)), 1.0, "{x}");
        }
        // Just below a power of two the unit is half as large.
        assert_eq!(ulps(1.0, 1.0 - 2f64.powi(-24)), 1.0);
        assert_eq!(ulps(1.0, 1.0 - 2f64.powi(-25)), 0.5);
    }

    #[test]
    fn what_is_not_a_number_is_infinitely_far() {
        assert_eq!(ulps(f32::INFINITY, 1e39), 0.0);
        assert_eq!(ulps(f32::INFINITY, 1e38), f64::INFINITY);
        assert_eq!(ulps(f32::MAX, f64::INFINITY), f64::INFINITY);
        assert_eq!(ulps(f32::NAN, 1.0), f64::INFINITY);
        assert_eq!(ulps(1.0, f64::NAN), f64::INFINITY);
    }
}
