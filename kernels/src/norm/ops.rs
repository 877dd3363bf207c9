//! The public door: shapes are checked here, then the kernels run on parts of the rows or columns.

use super::batch::{BatchNorm, BatchNormBackward, BatchNormPredict};
use super::columns::WIDE;
use super::layer::{LayerNorm, LayerNormBackward, LayerNormParameters};
use super::operands::{Norm, NormGradients, Running, Statistics, StatisticsMut};
use crate::dispatch::Kernels;
use crate::error::{KernelError, Range};
use crate::parts::each_piece;
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// Elements that a part has at least: some ten microseconds of work.
const GRAIN: usize = 1 << 15;

/// Columns of a part are a multiple of this: a strip of the widest registers.
const STRIP: usize = WIDE * 16;

/// What a normalisation is over: it decides how many means there are.
#[derive(Clone, Copy)]
enum Over {
    Rows,
    Columns,
}

/// The shapes that the operands of one call have to have.
struct Expected {
    op: &'static str,
    rows: usize,
    cols: usize,
}

impl Expected {
    fn of(op: &'static str, x: MatRef<'_>) -> Self {
        let (rows, cols) = (x.rows(), x.cols());
        Self { op, rows, cols }
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<(), KernelError> {
        if (rows, cols) == (self.rows, self.cols) {
            return Ok(());
        }
        Err(KernelError::shape(
            self.op,
            format!("{name} {} x {}, the shape of x", self.rows, self.cols),
            format!("{rows} x {cols}"),
        ))
    }

    /// One value for each column.
    fn columns(&self, name: &str, len: usize) -> Result<(), KernelError> {
        self.vector(name, len, self.cols, "column")
    }

    fn statistics(
        &self,
        over: Over,
        mean: usize,
        (second, len): (&str, usize),
    ) -> Result<(), KernelError> {
        let (expected, of) = match over {
            Over::Rows => (self.rows, "row"),
            Over::Columns => (self.cols, "column"),
        };
        self.vector("mean", mean, expected, of)?;
        self.vector(second, len, expected, of)
    }

    fn vector(&self, name: &str, len: usize, expected: usize, of: &str) -> Result<(), KernelError> {
        if len == expected {
            return Ok(());
        }
        Err(KernelError::shape(
            self.op,
            format!("{expected} values of {name}, one per {of} of x"),
            len.to_string(),
        ))
    }

    fn norm(&self, norm: &Norm<'_>) -> Result<(), KernelError> {
        Range::Positive.check(self.op, "eps", norm.eps)?;
        self.columns("gamma", norm.gamma.len())?;
        self.columns("beta", norm.beta.len())
    }

    /// More than one row: one alone has no variance.
    fn some_rows(&self) -> Result<(), KernelError> {
        if self.rows >= 2 {
            return Ok(());
        }
        Err(KernelError::shape(
            self.op,
            "at least 2 rows, for their variance",
            self.rows.to_string(),
        ))
    }

    fn gradients(&self, gradients: &NormGradients<'_>) -> Result<(), KernelError> {
        if let Some(dx) = &gradients.dx {
            self.matrix("dx", dx.rows(), dx.cols())?;
        }
        self.columns("dgamma", gradients.dgamma.len())?;
        self.columns("dbeta", gradients.dbeta.len())
    }

    /// Rows of a part that is worth a member of a team.
    fn grain_of_rows(&self) -> usize {
        (GRAIN / self.cols.max(1)).max(1)
    }

    /// Columns of a part that is worth a member of a team.
    fn grain_of_columns(&self) -> usize {
        (GRAIN / self.rows.max(1))
            .next_multiple_of(STRIP)
            .max(STRIP)
    }
}

impl Kernels {
    /// `y_ij = gamma_j (x_ij - mean_i) rstd_i + beta_j`, with `mean_i` and the variance of each row
    /// over its n columns, `rstd_i = 1 / sqrt(var_i + eps)`, `var_i = sum_j (x_ij - mean_i)^2 / n`.
    ///
    /// # Shapes
    /// x, y: rows x n, any strides; gamma, beta: n; mean, rstd (written): rows. Rows whose elements
    /// lie together are fast.
    ///
    /// # Complexity
    /// Three passes over each row while it is in a near cache; no allocation.
    ///
    /// # Numerics
    /// The first mean is corrected by the mean of the deviations from it, so errors are in proportion
    /// to the spread of a row, up to the rounding of the mean to one f32: that one costs
    /// `2^-24 |mean| rstd`. Squares of deviations must not overflow: |x - mean| below 1.8e19. NaN or
    /// infinity in a row make that row NaN. The bits do not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit, [`KernelError::Parameter`] if eps is not finite
    /// and above 0; nothing has been written then.
    pub fn layer_norm(
        &self,
        norm: Norm<'_>,
        x: MatRef<'_>,
        y: MatMut<'_>,
        saved: StatisticsMut<'_>,
        team: &Team,
    ) -> Result<(), KernelError> {
        let expected = Expected::of("layer_norm", x);
        expected.norm(&norm)?;
        expected.matrix("y", y.rows(), y.cols())?;
        expected.statistics(Over::Rows, saved.mean.len(), ("rstd", saved.rstd.len()))?;
        let whole = LayerNorm { norm, x, y, saved };
        each_piece(team, whole, expected.grain_of_rows(), &|part| {
            (self.vector.layer_norm)(part);
        });
        Ok(())
    }

    /// The gradients of [`Self::layer_norm`]: with `xhat_ij = (x_ij - mean_i) rstd_i` and
    /// `g_ij = dy_ij gamma_j`,
    ///
    /// `dx_ij = rstd_i (g_ij - sum_k g_ik / n - xhat_ij sum_k g_ik xhat_ik / n)`,
    /// `dgamma_j = sum_i dy_ij xhat_ij`, `dbeta_j = sum_i dy_ij`
    ///
    /// # Shapes
    /// x, dy, dx: rows x n, any strides; gamma, dgamma, dbeta: n; `saved`: what the forward pass left
    ///
    /// # Complexity
    /// Two passes over the rows of x and dy for dx, one down their columns for dgamma and dbeta; no
    /// allocation.
    ///
    /// # Numerics
    /// Sums over a row lose at most 25 roundings of their terms, sums over a column `69 + rows / 64`.
    /// The bits do not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit; nothing has been written then.
    pub fn layer_norm_backward(
        &self,
        gamma: &[f32],
        x: MatRef<'_>,
        saved: Statistics<'_>,
        dy: MatRef<'_>,
        gradients: NormGradients<'_>,
        team: &Team,
    ) -> Result<(), KernelError> {
        let expected = Expected::of("layer_norm_backward", x);
        expected.columns("gamma", gamma.len())?;
        expected.statistics(Over::Rows, saved.mean.len(), ("rstd", saved.rstd.len()))?;
        expected.matrix("dy", dy.rows(), dy.cols())?;
        expected.gradients(&gradients)?;
        let NormGradients { dx, dgamma, dbeta } = gradients;
        if let Some(dx) = dx {
            let whole = LayerNormBackward {
                gamma,
                x,
                saved,
                dy,
                dx,
            };
            each_piece(team, whole, expected.grain_of_rows(), &|part| {
                (self.vector.layer_norm_backward)(part);
            });
        }
        let whole = LayerNormParameters {
            x,
            saved,
            dy,
            dgamma,
            dbeta,
        };
        each_piece(team, whole, expected.grain_of_columns(), &|part| {
            (self.vector.layer_norm_parameters)(part);
        });
        Ok(())
    }

    /// `y_ij = gamma_j (x_ij - mean_j) rstd_j + beta_j`, with the mean and variance of each column
    /// over the rows of the batch, `rstd_j = 1 / sqrt(var_j + eps)`,
    /// `var_j = sum_i (x_ij - mean_j)^2 / rows`: batch normalisation in training.
    ///
    /// `var` becomes the unbiased variance `sum_i (x_ij - mean_j)^2 / (rows - 1)`: with PyTorch's
    /// conventions that one goes into running statistics, which is left to the caller, who knows
    /// whether the batch counts: `running <- (1 - momentum) running + momentum var`.
    ///
    /// # Shapes
    /// x, y: rows x n, any strides, at least 2 rows; gamma, beta, mean, rstd and var (written): n. Rows
    /// whose elements lie together are fast.
    ///
    /// # Complexity
    /// Three passes over strips of columns, which are in a near cache up to some thousand rows; no
    /// allocation.
    ///
    /// # Numerics
    /// As [`Self::layer_norm`], for columns; a sum loses at most `66 + rows / 64` roundings of its
    /// terms. The bits do not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit or there is but one row, which has no variance;
    /// [`KernelError::Parameter`] if eps is not finite and above 0. Nothing has been written then.
    pub fn batch_norm(
        &self,
        norm: Norm<'_>,
        x: MatRef<'_>,
        y: MatMut<'_>,
        saved: StatisticsMut<'_>,
        var: &mut [f32],
        team: &Team,
    ) -> Result<(), KernelError> {
        let expected = Expected::of("batch_norm", x);
        expected.norm(&norm)?;
        expected.matrix("y", y.rows(), y.cols())?;
        expected.statistics(Over::Columns, saved.mean.len(), ("rstd", saved.rstd.len()))?;
        expected.some_rows()?;
        expected.columns("var", var.len())?;
        let whole = BatchNorm {
            x,
            y,
            norm,
            saved,
            var,
        };
        each_piece(team, whole, expected.grain_of_columns(), &|part| {
            (self.vector.batch_norm)(part);
        });
        Ok(())
    }

    /// `y_ij = gamma_j (x_ij - mean_j) / sqrt(var_j + eps) + beta_j`, with the statistics that
    /// [`Self::batch_norm`] collected: batch normalisation in prediction.
    ///
    /// # Shapes
    /// x, y: rows x n, any strides, any number of rows; all else: n
    ///
    /// # Complexity
    /// One pass; no allocation.
    ///
    /// # Numerics
    /// Five roundings for each element; a variance below `-eps` gives NaN.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit, [`KernelError::Parameter`] if eps is not finite
    /// and above 0; nothing has been written then.
    pub fn batch_norm_predict(
        &self,
        norm: Norm<'_>,
        running: Running<'_>,
        x: MatRef<'_>,
        y: MatMut<'_>,
        team: &Team,
    ) -> Result<(), KernelError> {
        let expected = Expected::of("batch_norm_predict", x);
        expected.norm(&norm)?;
        expected.matrix("y", y.rows(), y.cols())?;
        let Running { mean, var } = running;
        expected.statistics(Over::Columns, mean.len(), ("var", var.len()))?;
        let whole = BatchNormPredict {
            x,
            y,
            norm,
            running,
        };
        each_piece(team, whole, expected.grain_of_columns(), &|part| {
            (self.vector.batch_norm_predict)(part);
        });
        Ok(())
    }

    /// The gradients of [`Self::batch_norm`]: with `xhat_ij = (x_ij - mean_j) rstd_j`,
    ///
    /// `dgamma_j = sum_i dy_ij xhat_ij`, `dbeta_j = sum_i dy_ij`,
    /// `dx_ij = gamma_j rstd_j (dy_ij - dbeta_j / rows - xhat_ij dgamma_j / rows)`
    ///
    /// # Shapes
    /// x, dy, dx: rows x n, any strides, at least 2 rows; gamma, dgamma, dbeta: n; `saved`: what the
    /// forward pass left
    ///
    /// # Complexity
    /// Two passes over strips of columns of x and dy; no allocation.
    ///
    /// # Numerics
    /// The sums lose at most `69 + rows / 64` roundings of their terms. The bits do not depend on the
    /// number of threads.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit; nothing has been written then.
    pub fn batch_norm_backward(
        &self,
        gamma: &[f32],
        x: MatRef<'_>,
        saved: Statistics<'_>,
        dy: MatRef<'_>,
        gradients: NormGradients<'_>,
        team: &Team,
    ) -> Result<(), KernelError> {
        let expected = Expected::of("batch_norm_backward", x);
        expected.some_rows()?;
        self.columns_backward(&expected, gamma, x, saved, dy, gradients, true, team)
    }

    /// The gradients of [`Self::batch_norm_predict`], whose statistics are no function of x: with
    /// `rstd = 1 / sqrt(var + eps)` and the formulas of [`Self::batch_norm_backward`] for dgamma and
    /// dbeta, `dx_ij = gamma_j rstd_j dy_ij`.
    ///
    /// # Shapes
    /// As [`Self::batch_norm_backward`], any number of rows
    ///
    /// # Complexity
    /// As [`Self::batch_norm_backward`].
    ///
    /// # Numerics
    /// As [`Self::batch_norm_backward`].
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit; nothing has been written then.
    pub fn batch_norm_predict_backward(
        &self,
        gamma: &[f32],
        x: MatRef<'_>,
        statistics: Statistics<'_>,
        dy: MatRef<'_>,
        gradients: NormGradients<'_>,
        team: &Team,
    ) -> Result<(), KernelError> {
        let expected = Expected::of("batch_norm_predict_backward", x);
        self.columns_backward(&expected, gamma, x, statistics, dy, gradients, false, team)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the operands of the public doors, in their order"
    )]
    fn columns_backward(
        &self,
        expected: &Expected,
        gamma: &[f32],
        x: MatRef<'_>,
        saved: Statistics<'_>,
        dy: MatRef<'_>,
        gradients: NormGradients<'_>,
        of_batch: bool,
        team: &Team,
    ) -> Result<(), KernelError> {
        expected.columns("gamma", gamma.len())?;
        expected.statistics(Over::Columns, saved.mean.len(), ("rstd", saved.rstd.len()))?;
        expected.matrix("dy", dy.rows(), dy.cols())?;
        expected.gradients(&gradients)?;
        let NormGradients { dx, dgamma, dbeta } = gradients;
        let whole = BatchNormBackward {
            x,
            dy,
            dx,
            gamma,
            saved,
            of_batch,
            dgamma,
            dbeta,
        };
        each_piece(team, whole, expected.grain_of_columns(), &|part| {
            (self.vector.batch_norm_backward)(part);
        });
        Ok(())
    }
}
