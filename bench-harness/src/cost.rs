//! Floating-point operations, a multiplication and an addition being two.

/// `C = A B` with A of m x k and B of k x n: `2 m n k`.
pub(crate) fn gemm(m: usize, n: usize, k: usize) -> f64 {
    2.0 * m as f64 * n as f64 * k as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        assert_eq!(gemm(2, 3, 5), 60.0);
    }
}
