//! Floating-point operations, a multiplication and an addition being two.

/// `C = A B` with A of m x k and B of k x n: `2 m n k`.
pub(crate) fn gemm(m: usize, n: usize, k: usize) -> f64 {
    2.0 * m as f64 * n as f64 * k as f64
}

/// The products of a forward pass: `2 batch sum d_l d_(l-1)`.
pub(crate) fn forward(layers: &[usize], batch: usize) -> f64 {
    layers.windows(2).map(|d| gemm(batch, d[1], d[0])).sum()
}

/// The products of a training step: the forward pass, as much again for the weight gradients, and
/// the data gradients of all layers but the first.
pub(crate) fn training_step(layers: &[usize], batch: usize) -> f64 {
    let data_gradients = forward(layers.get(1..).unwrap_or_default(), batch);
    2.0 * forward(layers, batch) + data_gradients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        assert_eq!(gemm(2, 3, 5), 60.0);
        // 4 x (3 x 2 + 1 x 3) products, two operations each.
        assert_eq!(forward(&[2, 3, 1], 4), 72.0);
        // Forward, weight gradients, and the data gradient 4 x 1 x 3 of the second layer.
        assert_eq!(training_step(&[2, 3, 1], 4), 72.0 + 72.0 + 24.0);
        assert_eq!(training_step(&[7], 4), 0.0);
    }
}
