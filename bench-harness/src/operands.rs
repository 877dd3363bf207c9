//! The operands of a product to be timed, and the check of its result.

use kernels::Precision;

use crate::args::{ActivationName, Op};
use crate::floats::{Floats, uniform};

/// Elements of C that are held against f64: all of a small C, an even spread over a large one.
const CHECKED: usize = 4096;

/// An activation may be off by this many units in the last place.
const ACTIVATION_UNITS: f64 = 4.0;

/// A and B as they are stored, row-major.
#[derive(Debug)]
pub(crate) struct Operands {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    op: Op,
    pub(crate) a: Floats,
    pub(crate) b: Floats,
}

impl Operands {
    /// Numbers between -1 and 1, the same in every run.
    pub(crate) fn random(m: usize, n: usize, k: usize, op: Op) -> Self {
        Self {
            m,
            n,
            k,
            op,
            a: uniform(m * k, 1),
            b: uniform(k * n, 2),
        }
    }

    pub(crate) fn a_is_transposed(&self) -> bool {
        self.op == Op::Tn
    }

    pub(crate) fn b_is_transposed(&self) -> bool {
        self.op == Op::Nt
    }

    /// Rows and columns of A in memory.
    pub(crate) fn a_stored(&self) -> (usize, usize) {
        if self.a_is_transposed() {
            (self.k, self.m)
        } else {
            (self.m, self.k)
        }
    }

    /// Rows and columns of B in memory.
    pub(crate) fn b_stored(&self) -> (usize, usize) {
        if self.b_is_transposed() {
            (self.n, self.k)
        } else {
            (self.k, self.n)
        }
    }

    fn a_at(&self, i: usize, p: usize) -> f64 {
        let (row, col) = if self.a_is_transposed() {
            (p, i)
        } else {
            (i, p)
        };
        f64::from(self.a[row * self.a_stored().1 + col])
    }

    fn b_at(&self, p: usize, j: usize) -> f64 {
        let (row, col) = if self.b_is_transposed() {
            (j, p)
        } else {
            (p, j)
        };
        f64::from(self.b[row * self.b_stored().1 + col])
    }

    /// Holds C against sums in f64: `|c - c64| <= (k + 4) eps sum |a| |b|`, the bound of any order of
    /// summation, twice over.
    pub(crate) fn check(&self, c: &[f32]) -> Result<(), String> {
        self.check_at(c, Precision::Ieee)
    }

    /// The same with operands as exact as `precision` says.
    pub(crate) fn check_at(&self, c: &[f32], precision: Precision) -> Result<(), String> {
        let zeros = vec![0.0; self.n];
        self.check_sums(c, (&zeros, ActivationName::Identity), left_out(precision))
    }

    /// The same of `act(A B + bias)`, whose slope is nowhere above 1: the bias is one more summand, and
    /// the activation may be off by some units in its last place.
    pub(crate) fn check_layer(
        &self,
        c: &[f32],
        bias: &[f32],
        activation: ActivationName,
    ) -> Result<(), String> {
        self.check_sums(c, (bias, activation), 0.0)
    }

    /// The same with products that are off by `left_out` of themselves.
    fn check_sums(
        &self,
        c: &[f32],
        (bias, activation): (&[f32], ActivationName),
        left_out: f64,
    ) -> Result<(), String> {
        let eps = f64::from(f32::EPSILON);
        let step = c.len().div_ceil(CHECKED).max(1);
        for index in (0..c.len()).step_by(step) {
            let (i, j) = (index / self.n, index % self.n);
            let products = (0..self.k).map(|p| self.a_at(i, p) * self.b_at(p, j));
            let bias = f64::from(bias[j]);
            let (sum, scale) =
                products.fold((bias, bias.abs()), |(sum, abs), x| (sum + x, abs + x.abs()));
            let exact = activation.of(sum);
            let mut bound = ((self.k + 4) as f64 * eps + left_out) * scale;
            if activation != ActivationName::Identity {
                bound += ACTIVATION_UNITS * eps * exact.abs();
            }
            let got = f64::from(c[index]);
            let error = (got - exact).abs();
            if error.is_nan() || error > bound {
                return Err(format!(
                    "C[{i}, {j}] of {} x {} x {} ({}): expected {exact} within {bound:e}, got {got}",
                    self.m, self.n, self.k, self.op
                ));
            }
        }
        Ok(())
    }
}

/// What products of operands rounded for a precision leave out of themselves at most, beyond roundings of
/// f32 (docs/numerics.md).
pub(crate) fn left_out(precision: Precision) -> f64 {
    match precision {
        Precision::Medium => 1.0 / 128.0 + 1.0 / 65_536.0,
        Precision::High => 3.03 / 65_536.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_finds_a_wrong_and_a_missing_element() {
        let operands = Operands::random(5, 7, 11, Op::Nt);
        let mut c: Vec<_> = (0..35)
            .map(|index| {
                let (i, j) = (index / 7, index % 7);
                (0..11)
                    .map(|p| operands.a_at(i, p) * operands.b_at(p, j))
                    .sum::<f64>() as f32
            })
            .collect();
        assert_eq!(operands.check(&c), Ok(()));
        for wrong in [c[17] + 1e-3, f32::NAN] {
            let right = std::mem::replace(&mut c[17], wrong);
            let message = operands.check(&c).expect_err("a wrong element");
            assert!(
                message.starts_with("C[2, 3] of 5 x 7 x 11 (nt)"),
                "{message}"
            );
            c[17] = right;
        }
    }
}
