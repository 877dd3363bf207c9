//! The errors that a test saw: the largest of each name, printed when the test ends.
//!
//! `docs/source-text.md` says with which command they are read.

use std::collections::BTreeMap;

/// Largest errors by name.
#[derive(Debug)]
pub struct Measured {
    unit: &'static str,
    largest: BTreeMap<String, f64>,
}

impl Measured {
    /// Nothing yet, of what is counted in this unit.
    pub fn new(unit: &'static str) -> Self {
        let largest = BTreeMap::new();
        Self { unit, largest }
    }

    /// Keeps an error if it is the largest of its name; one that is no number is larger than any.
    pub fn record(&mut self, name: &str, error: f64) {
        let error = if error.is_nan() { f64::INFINITY } else { error };
        let entry = self.largest.entry(name.to_owned()).or_insert(error);
        *entry = entry.max(error);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        for (name, error) in &self.largest {
            // 1.69 of something, or 1.7e-7.
            let error = match *error > 0.01 {
                true => format!("{error:.2}"),
                false => format!("{error:.1e}"),
            };
            println!("measured: {name}: {error} {}", self.unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_kept() {
        let mut measured = Measured::new("of the norm");
        for error in [0.25, 0.5, 0.125] {
            measured.record("sums", error);
        }
        measured.record("products", f64::NAN);
        let kept: Vec<f64> = measured.largest.values().copied().collect();
        assert_eq!(kept, [f64::INFINITY, 0.5]);
    }
}
