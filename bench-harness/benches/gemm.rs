//! `C = A B` on one thread, matrixmultiply beside ours. Elements are floating-point operations.
#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::{Gemm, Kernels, MatMut, MatRef, Team, Workspace};
use ndarray::ArrayView2;
use ndarray::linalg::general_mat_mul;

/// (m, n, k): squares, and forward passes of common layers.
const SHAPES: [(usize, usize, usize); 6] = [
    (64, 64, 64),
    (128, 128, 128),
    (256, 256, 256),
    (512, 512, 512),
    (64, 256, 784),
    (128, 512, 512),
];

/// How A and B are stored: B of nt is n x k, A of tn is k x m.
const OPS: [(&str, bool, bool); 3] = [
    ("nn", false, false),
    ("nt", false, true),
    ("tn", true, false),
];

fn gemm(criterion: &mut Criterion) {
    let kernels = Kernels::detect().expect("KERNELS_ISA names an instruction set of this CPU");
    for (m, n, k) in SHAPES {
        let mut group = criterion.benchmark_group(format!("gemm/{m}x{n}x{k}"));
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
        let (a, b) = (vec![0.5_f32; m * k], vec![0.25_f32; k * n]);
        let mut c = vec![0.0_f32; m * n];
        for (op, a_transposed, b_transposed) in OPS {
            let shape = |rows, cols, transposed| {
                if transposed {
                    (cols, rows)
                } else {
                    (rows, cols)
                }
            };
            let (a_shape, b_shape) = (shape(m, k, a_transposed), shape(k, n, b_transposed));

            let id = BenchmarkId::new("ours", format!("{op}/{}", kernels.isa()));
            group.bench_function(id, |bencher| {
                let view = |data, (rows, cols), transposed| {
                    let view = MatRef::from_row_major(data, rows, cols).expect("as allocated");
                    if transposed { view.t() } else { view }
                };
                let product = Gemm::new(
                    view(&a, a_shape, a_transposed),
                    view(&b, b_shape, b_transposed),
                );
                let (mut workspace, team) = (Workspace::new(), Team::solo());
                bencher.iter(|| {
                    let c = MatMut::from_row_major(&mut c, m, n).expect("as allocated");
                    kernels.gemm(&product, c, &mut workspace, &team)
                });
            });

            let id = BenchmarkId::new("matrixmultiply", op);
            group.bench_function(id, |bencher| {
                let view = |data, shape, transposed| {
                    let mut view = ArrayView2::from_shape(shape, data).expect("as allocated");
                    if transposed {
                        view.swap_axes(0, 1);
                    }
                    view
                };
                let (a, b) = (
                    view(&a, a_shape, a_transposed),
                    view(&b, b_shape, b_transposed),
                );
                let mut c = ndarray::Array2::<f32>::zeros((m, n));
                bencher.iter(|| general_mat_mul(1.0, &a, &b, 0.0, &mut c));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, gemm);
criterion_main!(benches);
