//! One step of training on one thread: ours, and beside it the same matrix products alone by
//! matrixmultiply, without activations, loss and update. Elements are floating-point operations.
#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mlp::{MatRef, Mlp, Optimizer, Sgd, Targets, Team};
use ndarray::Array2;
use ndarray::linalg::general_mat_mul;

const BATCH: usize = 128;

/// Widths from the inputs to the outputs.
const NETWORKS: [&[usize]; 2] = [&[64, 64, 10], &[784, 512, 256, 10]];

/// So slow that the numbers keep their range over all repetitions.
const LEARNING_RATE: f32 = 1e-4;

/// The optimisers by name.
fn optimizers() -> [(&'static str, Optimizer); 2] {
    [
        ("sgd", Sgd::new(LEARNING_RATE).into()),
        ("adam", mlp::Adam::new(LEARNING_RATE).into()),
    ]
}

/// Operands and results of the products of one layer: x is batch x fan_in, w fan_out x fan_in.
struct Layer {
    x: Array2<f32>,
    dx: Array2<f32>,
    w: Array2<f32>,
    dw: Array2<f32>,
    y: Array2<f32>,
    dy: Array2<f32>,
}

impl Layer {
    fn new(fan_in: usize, fan_out: usize) -> Self {
        let filled = |rows, cols| Array2::from_elem((rows, cols), 0.01);
        Self {
            x: filled(BATCH, fan_in),
            dx: filled(BATCH, fan_in),
            w: filled(fan_out, fan_in),
            dw: filled(fan_out, fan_in),
            y: filled(BATCH, fan_out),
            dy: filled(BATCH, fan_out),
        }
    }

    /// `y = x w^T`
    fn forward(&mut self) {
        general_mat_mul(1.0, &self.x, &self.w.t(), 0.0, &mut self.y);
    }

    /// `dw = dy^T x`, and `dx = dy w` unless nobody wants it.
    fn backward(&mut self, is_first: bool) {
        general_mat_mul(1.0, &self.dy.t(), &self.x, 0.0, &mut self.dw);
        if !is_first {
            general_mat_mul(1.0, &self.dy, &self.w, 0.0, &mut self.dx);
        }
    }
}

fn network(widths: &[usize]) -> Mlp {
    let mut builder = Mlp::builder(widths[0]);
    for (layer, &width) in widths.iter().enumerate().skip(1) {
        builder = builder.dense(width);
        if layer + 1 < widths.len() {
            builder = builder.relu();
        }
    }
    builder.build().expect("a sound description")
}

fn train_step(criterion: &mut Criterion) {
    for widths in NETWORKS {
        let name: Vec<_> = widths.iter().map(usize::to_string).collect();
        let mut group = criterion.benchmark_group(format!("train_step/{}", name.join("-")));
        // Forward pass and weight gradients, and the data gradients of all layers but the first.
        let weights: usize = widths.windows(2).map(|d| d[0] * d[1]).sum();
        let flop = 2 * BATCH * (3 * weights - widths[0] * widths[1]);
        group.throughput(Throughput::Elements(flop as u64));

        let x: Vec<f32> = (0..BATCH * widths[0])
            .map(|i| (i as f32 * 0.37).sin())
            .collect();
        let x = MatRef::from_row_major(&x, BATCH, widths[0]).expect("as allocated");
        let classes = widths[widths.len() - 1];
        let labels: Vec<u32> = (0..BATCH).map(|row| (row % classes) as u32).collect();
        for (optimizer_name, optimizer) in optimizers() {
            let mut net = network(widths);
            let id = BenchmarkId::new("ours", format!("{optimizer_name}/{}", net.isa()));
            let mut trainer = net.trainer(optimizer).expect("a sound optimiser");
            let team = Team::solo();
            group.bench_function(id, |bencher| {
                bencher.iter(|| trainer.step(x, Targets::Classes(&labels), &team));
            });
        }

        let mut layers: Vec<_> = widths.windows(2).map(|d| Layer::new(d[0], d[1])).collect();
        group.bench_function("matrixmultiply products alone", |bencher| {
            bencher.iter(|| {
                layers.iter_mut().for_each(Layer::forward);
                for (index, layer) in layers.iter_mut().enumerate().rev() {
                    layer.backward(index == 0);
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, train_step);
criterion_main!(benches);
