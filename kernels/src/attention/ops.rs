//! The public door: shapes are checked here, then each sequence and head is computed.

use std::sync::{Mutex, PoisonError};

use super::backward::Backward;
use super::forward::Forward;
use super::operands::{Attention, AttentionGradients, Share};
use super::workspace::{AttentionWorkspace, BLOCK, Slot};
use crate::dispatch::Kernels;
use crate::error::KernelError;
use crate::parts::{Divide, MAX_PARTS, Pieces, each_part};
use crate::team::Team;
use crate::view::{MatMut, MatRef};

/// From so many sequences on each part takes all heads of some; below, one head of one.
const MANY_SAMPLES: usize = 16;

/// Multiply-adds that are worth a second thread: some twenty microseconds.
const WORTH_SHARING: usize = 1 << 20;

impl Kernels {
    /// `o = softmax(q k^T / sqrt(d)) v` for each sequence and each head of d columns, where a row sees
    /// the rows of its sequence that `causal` and `lengths` leave: scaled dot-product attention
    /// (A. Vaswani et al., *Attention Is All You Need*, 2017, equation 1).
    ///
    /// # Shapes
    /// q, k, v: `batch * T x width`, any strides, so that all three may be columns of one matrix; o: the
    /// same, elements of a row together; `lse` (written, for the backward pass):
    /// `batch * heads * T`, the logarithm of the sum of `e^score` of each row. A sequence of length 0
    /// has outputs 0 and `lse` -inf.
    ///
    /// # Complexity
    /// `4 batch T^2 width` flop, half of it if causal, and one exponential for each score; blocks of at
    /// most 128 x 128 scores in memory. No allocation once `workspace` has seen the shape.
    ///
    /// # Numerics
    /// Scores as of [`Self::gemm`]; a probability is off by twice the error of the scores of its row,
    /// and by `|score - max| + 2 T` roundings. No finite score overflows. The bits do not depend on
    /// the number of threads.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if shapes do not fit, if the heads do not divide the width, or the
    /// sequences the rows; nothing has been written then.
    pub fn attention(
        &self,
        attention: &Attention<'_>,
        o: MatMut<'_>,
        lse: &mut [f32],
        workspace: &mut AttentionWorkspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        let check = Check::of("attention", attention)?;
        check.together("o", o.as_ref())?;
        check.lse(lse.len())?;
        let whole = Forward {
            attention: *attention,
            share: Share::all(attention),
            o,
            lse,
        };
        run(attention, whole, workspace, team, &|part, slot| {
            part.run(self, slot)
        })
    }

    /// The gradients of [`Self::attention`], from its outputs, `lse`, and the gradient `d_o` of its
    /// outputs: with the probabilities p, `D_i = sum_j do_ij o_ij` and `ds = p (do v^T - D)`,
    ///
    /// `dv = p^T do`, `dq = ds k / sqrt(d)`, `dk = ds^T q / sqrt(d)`
    ///
    /// # Shapes
    /// As for [`Self::attention`]; dq, dk, dv: as q, any strides; o, d_o: elements of a row together
    ///
    /// # Complexity
    /// `10 batch T^2 width` flop, half of it if causal, and one exponential for each score: the
    /// probabilities are computed again, block by block. No allocation once `workspace` has seen the
    /// shape.
    ///
    /// # Numerics
    /// As [`Self::attention`]; the sums over rows are made in one order for any number of threads.
    ///
    /// # Errors
    /// As [`Self::attention`].
    pub fn attention_backward(
        &self,
        attention: &Attention<'_>,
        (o, lse): (MatRef<'_>, &[f32]),
        d_o: MatRef<'_>,
        gradients: AttentionGradients<'_>,
        workspace: &mut AttentionWorkspace,
        team: &Team,
    ) -> Result<(), KernelError> {
        let check = Check::of("attention_backward", attention)?;
        check.together("o", o)?;
        check.lse(lse.len())?;
        check.together("do", d_o)?;
        for (name, matrix) in [
            ("dq", &gradients.dq),
            ("dk", &gradients.dk),
            ("dv", &gradients.dv),
        ] {
            check.same(name, matrix.rows(), matrix.cols())?;
        }
        let whole = Backward {
            attention: *attention,
            share: Share::all(attention),
            o,
            lse,
            d_o,
            gradients,
        };
        run(attention, whole, workspace, team, &|part, slot| {
            part.run(self, slot)
        })
    }
}

/// Runs `work` on all sequences and heads.
fn run<D: Divide + Send>(
    attention: &Attention<'_>,
    whole: D,
    workspace: &mut AttentionWorkspace,
    team: &Team,
    work: &(dyn Fn(D, &mut Slot) -> Result<(), KernelError> + Sync),
) -> Result<(), KernelError> {
    let (steps, width) = (attention.steps(), attention.q.cols());
    if attention.q.rows() == 0 || width == 0 {
        return Ok(());
    }
    let multiply_adds = attention
        .q
        .rows()
        .saturating_mul(steps)
        .saturating_mul(width);
    let shared = team.threads() > 1 && multiply_adds >= WORTH_SHARING;
    let slots = if shared { team.threads() } else { 1 };
    let block = steps.min(BLOCK);
    workspace.grow(slots, block, block);
    if !shared {
        return workspace.with(0, |slot| work(whole, slot));
    }
    let failure = Mutex::new(None);
    let workspace = &*workspace;
    let on_part = |part: D, slot: usize| {
        if let Err(error) = workspace.with(slot, |slot| work(part, slot)) {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    };
    if attention.batch >= MANY_SAMPLES {
        let piece = attention.batch.div_ceil(MAX_PARTS);
        each_part(team, Pieces::new(whole, piece), &on_part);
    } else {
        let heads = Pieces::new(whole, 1).flat_map(|sample| Pieces::new(sample, 1));
        each_part(team, heads, &on_part);
    }
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// The shapes that the operands of one call have to have.
struct Check<'a> {
    op: &'static str,
    attention: &'a Attention<'a>,
}

impl<'a> Check<'a> {
    fn of(op: &'static str, attention: &'a Attention<'a>) -> Result<Self, KernelError> {
        let Attention {
            q,
            k,
            v,
            batch,
            heads,
            lengths,
            ..
        } = *attention;
        let wrong = |expected: String, got: String| Err(KernelError::shape(op, expected, got));
        if heads == 0 || q.cols() % heads != 0 {
            let expected = format!("heads that divide the width of {}", q.cols());
            return wrong(expected, heads.to_string());
        }
        if batch == 0 && q.rows() > 0 || batch > 0 && q.rows() % batch != 0 {
            let expected = format!("a number of sequences that divides the {} rows", q.rows());
            return wrong(expected, batch.to_string());
        }
        let check = Self { op, attention };
        check.same("k", k.rows(), k.cols())?;
        check.same("v", v.rows(), v.cols())?;
        match lengths {
            Some(lengths) if lengths.len() != batch => wrong(
                format!("{batch} lengths, one per sequence"),
                lengths.len().to_string(),
            ),
            _ => Ok(check),
        }
    }

    /// The shape of the queries.
    fn same(&self, name: &str, rows: usize, cols: usize) -> Result<(), KernelError> {
        let q = self.attention.q;
        if (rows, cols) == (q.rows(), q.cols()) {
            return Ok(());
        }
        Err(KernelError::shape(
            self.op,
            format!("{name} {} x {}, the shape of q", q.rows(), q.cols()),
            format!("{rows} x {cols}"),
        ))
    }

    /// The shape of the queries, with rows whose elements lie together.
    fn together(&self, name: &str, x: MatRef<'_>) -> Result<(), KernelError> {
        self.same(name, x.rows(), x.cols())?;
        if x.col_stride() == 1 || x.cols() <= 1 {
            return Ok(());
        }
        Err(KernelError::shape(
            self.op,
            format!("{name} with elements of a row together"),
            format!("a column stride of {}", x.col_stride()),
        ))
    }

    fn lse(&self, len: usize) -> Result<(), KernelError> {
        let expected = self.attention.q.rows() * self.attention.heads;
        if len == expected {
            return Ok(());
        }
        Err(KernelError::shape(
            self.op,
            format!("{expected} values of lse, one per row and head"),
            len.to_string(),
        ))
    }
}
