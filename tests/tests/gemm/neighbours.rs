//! Operands and results beside one another in one buffer: each is written in its own columns alone.

use kernels::{Gemm, GemmTask, Kernels, MatMut, MatRef, Team, Workspace, with_team};
use tests::cases::check_each;
use tests::gemm::gemm;
use tests::matrix::Matrix;
use tests::tolerance;
use tests::values::Values;

use crate::case::available;

/// m, n, k; n is at most m. The last are packed, in several blocks of C, and in blocks of the
/// depth that members share.
const SHAPES: [[usize; 3]; 6] = [
    [1, 1, 1],
    [7, 5, 3],
    [40, 33, 17],
    [97, 70, 64],
    [300, 130, 290],
    [600, 9, 2500],
];

/// A, C and B^T are columns of one row-major matrix, A first.
struct Buffer {
    shape: [usize; 3],
    data: Vec<f32>,
}

impl Buffer {
    fn new([m, n, k]: [usize; 3]) -> Self {
        // B^T has n rows, so that it fits beside A and C.
        let width = k + n + k;
        Self {
            shape: [m, n, k],
            data: Values::new((m * 31 + n * 7 + k) as u64).vec(m * width),
        }
    }

    /// `C <- A B` among its operands.
    fn multiply(&mut self, kernels: &Kernels, team: &Team) -> Result<(), String> {
        let [m, n, k] = self.shape;
        let whole = MatMut::from_row_major(&mut self.data, m, k + n + k);
        let (a, rest) = whole.map_err(|e| e.to_string())?.split_at_col(k);
        let (c, b_t) = rest.split_at_col(n);
        let b = b_t.into_ref().part(0..n, 0..k).t();
        kernels
            .gemm(&Gemm::new(a.into_ref(), b), c, &mut Workspace::new(), team)
            .map_err(|e| e.to_string())
    }

    fn matrix(&self, rows: usize, cols: std::ops::Range<usize>) -> Matrix {
        let [_, n, k] = self.shape;
        Matrix::from_fn(rows, cols.len(), |i, j| {
            f64::from(self.data[i * (k + n + k) + cols.start + j])
        })
    }
}

#[test]
fn a_result_among_its_operands() {
    check_each(SHAPES, |&shape| {
        let [m, n, k] = shape;
        let before = Buffer::new(shape);
        let (a, b_t) = (before.matrix(m, 0..k), before.matrix(n, k + n..k + n + k));
        let expected = gemm(1.0, &a, &b_t.transposed(), 0.0, &Matrix::zeros(m, n));
        for kernels in available() {
            for threads in [1, 2, 3] {
                let mut after = Buffer::new(shape);
                with_team(threads, |team| after.multiply(kernels, team))?;
                let what = format!("{}, {threads} threads", kernels.isa());
                for (index, (x, y)) in before.data.iter().zip(&after.data).enumerate() {
                    let (i, j) = (index / (k + n + k), index % (k + n + k));
                    if !(k..k + n).contains(&j) {
                        if x.to_bits() != y.to_bits() {
                            return Err(format!("{what}: an operand was changed at [{i}, {j}]"));
                        }
                        continue;
                    }
                    let (value, magnitude) =
                        (expected.value.at(i, j - k), expected.magnitude.at(i, j - k));
                    if !tolerance::agrees(*y, value, tolerance::gemm(k, magnitude)) {
                        return Err(format!("{what}: C[{i}, {}] is {y}, not {value}", j - k));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn results_beside_one_another() {
    // Two products write the two halves of the rows of one matrix at the same time.
    check_each([[5, 6, 7], [64, 65, 66], [130, 200, 70]], |&[m, n, k]| {
        let mut values = Values::new(9);
        let (a, b) = (values.vec(m * k), values.vec(k * 2 * n));
        let a = MatRef::from_row_major(&a, m, k).map_err(|e| e.to_string())?;
        let b = MatRef::from_row_major(&b, k, 2 * n).map_err(|e| e.to_string())?;
        let halves = [b.part(0..k, 0..n), b.part(0..k, n..2 * n)];
        for kernels in available() {
            let mut workspace = Workspace::new();
            // Each alone, in memory of its own.
            let mut alone = [vec![f32::NAN; m * n], vec![f32::NAN; m * n]];
            for (b, c) in halves.into_iter().zip(&mut alone) {
                let c = MatMut::from_row_major(c, m, n).map_err(|e| e.to_string())?;
                kernels
                    .gemm(&Gemm::new(a, b), c, &mut workspace, &Team::solo())
                    .map_err(|e| e.to_string())?;
            }
            for threads in [1, 2, 3] {
                let mut both = vec![f32::NAN; m * 2 * n];
                let c = MatMut::from_row_major(&mut both, m, 2 * n).map_err(|e| e.to_string())?;
                let (left, right) = c.split_at_col(n);
                let mut tasks = [(halves[0], left), (halves[1], right)]
                    .map(|(b, c)| GemmTask::new(Gemm::new(a, b), c));
                with_team(threads, |team| {
                    kernels.gemm_batch(&mut tasks, &mut workspace, team)
                })
                .map_err(|e| e.to_string())?;
                for (index, x) in both.iter().enumerate() {
                    let (i, j) = (index / (2 * n), index % (2 * n));
                    if x.to_bits() != alone[j / n][i * n + j % n].to_bits() {
                        let isa = kernels.isa();
                        return Err(format!("{isa}, {threads} threads: C[{i}, {j}] differs"));
                    }
                }
            }
        }
        Ok(())
    });
}
