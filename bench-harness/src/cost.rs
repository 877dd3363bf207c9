//! Floating-point operations, a multiplication and an addition being two; and the least bytes that
//! have to move, each operand once.

/// What a piece of work takes at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) flop: f64,
    pub(crate) bytes: f64,
}

/// `C = A B` with A of m x k and B of k x n: `2 m n k`.
pub(crate) fn gemm(m: usize, n: usize, k: usize) -> f64 {
    2.0 * m as f64 * n as f64 * k as f64
}

/// The same with its bytes: A, B and C once each.
pub(crate) fn product(m: usize, n: usize, k: usize) -> Cost {
    Cost {
        flop: gemm(m, n, k),
        bytes: bytes(m * k + k * n + m * n),
    }
}

/// Operations of a vector operation for each element, as its formula in `kernels` has them: an
/// addition, a multiplication, a division, a root and a comparison are one each, a multiply-add is two.
/// `None` for an operation without a count.
pub(crate) fn vector_flop(op: &str) -> Option<f64> {
    // Reduction of the argument, polynomial of six terms, scaling.
    const EXP: f64 = 23.0;
    Some(match op {
        "relu" => 1.0,
        "sigmoid" => EXP + 9.0,
        // The polynomial near zero, and the exponential elsewhere: both are made, one is taken.
        "tanh" => EXP + 19.0,
        // Largest, difference, exponential, sum, quotient.
        "softmax" => EXP + 4.0,
        // The same, and the gradient's difference and scale.
        "softmax_cross_entropy" => EXP + 6.0,
        // Mean 1, variance 3, difference, quotient, gamma and beta 4.
        "layer_norm" | "batch_norm" => 8.0,
        // The normalised value again 2, gradients of gamma and beta 3, gradient by gamma 1 and the sums of
        // it 3, what is taken from it 3, quotient 1.
        "layer_norm_backward" => 13.0,
        // The same, the sums being those of gamma and beta.
        "batch_norm_backward" => 10.0,
        "sgd" => 2.0,
        // Velocity 2, product and difference 2.
        "momentum" => 4.0,
        // First moment 3, second moment 4, root, two quotients, sum, product, difference.
        "adam" => 13.0,
        _ => return None,
    })
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

/// A forward pass: each layer reads its inputs and weights and writes its outputs.
pub(crate) fn forward_pass(layers: &[usize], batch: usize) -> Cost {
    let values = |d: &[usize]| batch * (d[0] + d[1]) + d[0] * d[1];
    Cost {
        flop: forward(layers, batch),
        bytes: bytes(layers.windows(2).map(values).sum()),
    }
}

/// A backward pass: each layer reads the gradient of its outputs and its inputs and writes that of
/// its weights; each but the first also reads its weights and writes the gradient of its inputs.
pub(crate) fn backward_pass(layers: &[usize], batch: usize) -> Cost {
    let values = |d: &[usize]| batch * (d[0] + d[1]) + d[0] * d[1];
    let weight_gradients: usize = layers.windows(2).map(values).sum();
    let inner = layers.get(1..).unwrap_or_default();
    let data_gradients: usize = inner.windows(2).map(|d| (batch + d[1]) * d[0]).sum();
    Cost {
        flop: forward(layers, batch) + forward(inner, batch),
        bytes: bytes(weight_gradients + data_gradients),
    }
}

/// A step of training with plain gradient descent: all three passes.
pub(crate) fn training_pass(layers: &[usize], batch: usize) -> Cost {
    let passes = [
        forward_pass(layers, batch),
        backward_pass(layers, batch),
        sgd_update(layers),
    ];
    Cost {
        flop: passes.iter().map(|pass| pass.flop).sum(),
        bytes: passes.iter().map(|pass| pass.bytes).sum(),
    }
}

/// Weights and biases.
pub(crate) fn parameters(layers: &[usize]) -> usize {
    layers.windows(2).map(|d| (d[0] + 1) * d[1]).sum()
}

/// `w -= lr g` for all weights and biases.
pub(crate) fn sgd_update(layers: &[usize]) -> Cost {
    let parameters = parameters(layers);
    Cost {
        flop: 2.0 * parameters as f64,
        bytes: bytes(3 * parameters),
    }
}

/// Of so many numbers in f32.
fn bytes(values: usize) -> f64 {
    (size_of::<f32>() * values) as f64
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

    #[test]
    fn passes_by_hand() {
        let layers = [2, 3, 1];
        // 4 samples: 4 x (2 + 3) values and 6 weights, then 4 x (3 + 1) and 3.
        let forward = Cost {
            flop: 72.0,
            bytes: 4.0 * (20.0 + 6.0 + 16.0 + 3.0),
        };
        assert_eq!(forward_pass(&layers, 4), forward);
        // The same for the gradients of the weights; and 3 weights, 4 x 3 values for the data.
        let backward = Cost {
            flop: 72.0 + 24.0,
            bytes: forward.bytes + 4.0 * (3.0 + 12.0),
        };
        assert_eq!(backward_pass(&layers, 4), backward);
        let update = Cost {
            flop: 2.0 * (9.0 + 4.0),
            bytes: 12.0 * (9.0 + 4.0),
        };
        assert_eq!(sgd_update(&layers), update);
        let step = training_pass(&layers, 4);
        assert_eq!(step.flop, forward.flop + backward.flop + update.flop);
        assert_eq!(step.bytes, forward.bytes + backward.bytes + update.bytes);
        let product = Cost {
            flop: 60.0,
            bytes: 4.0 * (10.0 + 15.0 + 6.0),
        };
        assert_eq!(super::product(2, 3, 5), product);
    }
}
