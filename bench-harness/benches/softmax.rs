//! Row softmax, and softmax fused with cross-entropy and its gradient. Elements are logits.
#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::{Kernels, MatMut, MatRef, Targets};

/// (rows, columns): a batch of digits, of a hundred and of a thousand classes.
const SHAPES: [(usize, usize); 3] = [(128, 10), (128, 100), (128, 1000)];

fn softmax(criterion: &mut Criterion) {
    let kernels = Kernels::detect().expect("KERNELS_ISA names an instruction set of this CPU");
    let mut group = criterion.benchmark_group("softmax");
    for (rows, cols) in SHAPES {
        // Logits between -4 and 4.
        let x: Vec<f32> = (0..rows * cols)
            .map(|i| 4.0 * (i as f32 * 0.37).sin())
            .collect();
        let x = MatRef::from_row_major(&x, rows, cols).expect("as allocated");
        let labels: Vec<u32> = (0..rows).map(|row| (row % cols) as u32).collect();
        let (mut y, mut losses) = (vec![0.0; rows * cols], vec![0.0; rows]);
        group.throughput(Throughput::Elements((rows * cols) as u64));
        let shape = format!("{rows}x{cols}/{}", kernels.isa());
        group.bench_function(BenchmarkId::new("forward", &shape), |bencher| {
            bencher.iter(|| {
                let y = MatMut::from_row_major(&mut y, rows, cols).expect("as allocated");
                kernels.softmax(x, y)
            });
        });
        group.bench_function(BenchmarkId::new("cross_entropy", &shape), |bencher| {
            bencher.iter(|| {
                let grad = MatMut::from_row_major(&mut y, rows, cols).expect("as allocated");
                let scale = 1.0 / rows as f32;
                let targets = Targets::Classes(&labels);
                kernels.softmax_cross_entropy(x, targets, scale, Some(grad), &mut losses)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, softmax);
criterion_main!(benches);
