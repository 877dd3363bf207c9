//! The public door: shapes and numbers are checked here, then rows are gathered or scattered.

use super::rows::{Choice, Gather, Scatter};
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::parts::each_piece;
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// Elements that a part has at least: some ten microseconds of work.
const GRAIN: usize = 1 << 15;

/// Columns of a part are a multiple of this: the widest register, a cache line.
const LINE: usize = 16;

impl Kernels {
    /// `y_(b T + t) = table_(n_bt) + positions_t`: for each symbol of each sequence its row of the
    /// table, and if `positions` are given, the row of its place.
    ///
    /// # Shapes
    /// numbers: batch x T, whole numbers from 0 to the rows of the table - 1 (as f32, so at most
    /// 2^24 rows), any strides; table: symbols x width; positions: T x width; y: `batch * T x width`.
    /// Elements of a row lie together in all but the numbers.
    ///
    /// # Complexity
    /// Each element of y is written once; no allocation.
    ///
    /// # Numerics
    /// Exact; one rounding with positions.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit, [`KernelError::Number`] if a number is not that of
    /// a row; nothing has been written then.
    pub fn embed(
        &self,
        table: MatRef<'_>,
        positions: Option<MatRef<'_>>,
        numbers: MatRef<'_>,
        y: MatMut<'_>,
        team: &Team,
    ) -> Result<(), KernelError> {
        const OP: &str = "embed";
        let (symbols, width) = (table.rows(), table.cols());
        check(
            OP,
            "y",
            y.as_ref(),
            (numbers.rows() * numbers.cols(), width),
        )?;
        check(OP, "table", table, (symbols, width))?;
        if let Some(positions) = positions {
            check(OP, "positions", positions, (numbers.cols(), width))?;
        }
        check_numbers(OP, numbers, symbols)?;
        let whole = Gather {
            table,
            numbers,
            positions,
            first: 0,
            y,
        };
        each_piece(team, whole, (GRAIN / width.max(1)).max(1), &|part| {
            (self.vector.gather)(part);
        });
        Ok(())
    }

    /// The gradients of [`Self::embed`]: `d_table_n` is the sum of `dy_i` over all symbols i with the
    /// number n, and `d_positions_t` over all sequences at place t.
    ///
    /// # Shapes
    /// As for [`Self::embed`]; dy: as y; d_table, d_positions (written): as the table and the positions
    ///
    /// # Complexity
    /// One pass over dy for each; no allocation.
    ///
    /// # Numerics
    /// Terms are added one after the other, in the order of the rows, for any number of threads:
    /// with m terms `gamma_m` of the sum of their absolute values.
    ///
    /// # Errors
    /// As for [`Self::embed`].
    pub fn embed_backward(
        &self,
        numbers: MatRef<'_>,
        dy: MatRef<'_>,
        d_table: MatMut<'_>,
        d_positions: Option<MatMut<'_>>,
        team: &Team,
    ) -> Result<(), KernelError> {
        const OP: &str = "embed_backward";
        let (steps, width) = (numbers.cols(), dy.cols());
        check(OP, "dy", dy, (numbers.rows() * steps, width))?;
        check(OP, "d_table", d_table.as_ref(), (d_table.rows(), width))?;
        if let Some(positions) = &d_positions {
            check(OP, "d_positions", positions.as_ref(), (steps, width))?;
        }
        check_numbers(OP, numbers, d_table.rows())?;
        let columns = (GRAIN / dy.rows().max(1)).next_multiple_of(LINE).max(LINE);
        let scatter = |choice, d_table| {
            let whole = Scatter {
                choice,
                dy,
                d_table,
            };
            each_piece(team, whole, columns, &|part| (self.vector.scatter)(part));
        };
        scatter(Choice::Numbers(numbers), d_table);
        if let Some(positions) = d_positions {
            scatter(Choice::Places(steps), positions);
        }
        Ok(())
    }
}

/// Checks the shape of a matrix, and that its rows lie together.
fn check(
    op: &'static str,
    name: &str,
    x: MatRef<'_>,
    (rows, cols): (usize, usize),
) -> Result<(), KernelError> {
    if (x.rows(), x.cols()) == (rows, cols) && (x.col_stride() == 1 || cols <= 1) {
        return Ok(());
    }
    Err(KernelError::shape(
        op,
        format!("{name} {rows} x {cols} with elements of a row together"),
        format!(
            "{} x {} with a column stride of {}",
            x.rows(),
            x.cols(),
            x.col_stride()
        ),
    ))
}

/// Checks that every number is that of one of `rows` rows.
fn check_numbers(op: &'static str, numbers: MatRef<'_>, rows: usize) -> Result<(), KernelError> {
    for i in 0..numbers.rows() {
        for j in 0..numbers.cols() {
            let number = *numbers.at(i, j);
            if !(number >= 0.0 && (number as usize) < rows && number.fract() == 0.0) {
                return Err(KernelError::Number {
                    op,
                    row: i,
                    col: j,
                    number: number.to_string(),
                    rows,
                });
            }
        }
    }
    Ok(())
}
