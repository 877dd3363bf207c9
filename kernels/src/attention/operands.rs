//! What attention is given, and which part of it one sequence and head are.

use std::ops::Range;

use crate::view::{MatMut, MatRef};

/// The operands of attention: sequences one after the other, heads side by side.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Queries: `batch * T x width`; head h is columns `h width / heads` and on.
    pub q: MatRef<'a>,
    /// Keys, of the same shape.
    pub k: MatRef<'a>,
    /// Values, of the same shape.
    pub v: MatRef<'a>,
    /// Number of sequences.
    pub batch: usize,
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Whether a row sees no row behind it.
    pub causal: bool,
    /// How many rows of each sequence are no padding: rows from there on are seen by none. `None`
    /// for all of them.
    pub lengths: Option<&'a [u32]>,
}

impl<'a> Attention<'a> {
    /// Attention of every row to every row of its sequence.
    pub fn new(q: MatRef<'a>, k: MatRef<'a>, v: MatRef<'a>, batch: usize, heads: usize) -> Self {
        Self {
            q,
            k,
            v,
            batch,
            heads,
            causal: false,
            lengths: None,
        }
    }

    /// T
    pub(super) fn steps(&self) -> usize {
        self.q.rows() / self.batch.max(1)
    }

    /// d
    pub(super) fn head_width(&self) -> usize {
        self.q.cols() / self.heads.max(1)
    }

    /// `1 / sqrt(d)`
    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.head_width() as f32).sqrt()
    }

    /// Rows of sequence `sample` that can be seen.
    pub(super) fn length(&self, sample: usize) -> usize {
        let steps = self.steps();
        self.lengths
            .map_or(steps, |lengths| steps.min(lengths[sample] as usize))
    }

    /// The rows and columns of one sequence and head.
    pub(super) fn place(&self, sample: usize, head: usize) -> (Range<usize>, Range<usize>) {
        let (steps, d) = (self.steps(), self.head_width());
        (
            sample * steps..(sample + 1) * steps,
            head * d..(head + 1) * d,
        )
    }
}

/// Where the backward pass writes: matrices of the shapes of q, k and v.
#[derive(Debug)]
pub struct AttentionGradients<'a> {
    /// With respect to the queries.
    pub dq: MatMut<'a>,
    /// With respect to the keys.
    pub dk: MatMut<'a>,
    /// With respect to the values.
    pub dv: MatMut<'a>,
}

/// The samples and heads that a part is made of.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) samples: Range<usize>,
    pub(super) heads: Range<usize>,
}

impl Share {
    pub(super) fn all(attention: &Attention<'_>) -> Self {
        Self {
            samples: 0..attention.batch,
            heads: 0..attention.heads,
        }
    }

    /// What it is cut between: samples, or the heads of a single one.
    pub(super) fn len(&self) -> usize {
        match self.samples.len() {
            1 => self.heads.len(),
            samples => samples,
        }
    }

    pub(super) fn split(self, at: usize) -> (Self, Self) {
        let Self { samples, heads } = self;
        let cut = |range: &Range<usize>| {
            let middle = range.start + at;
            (range.start..middle, middle..range.end)
        };
        let (first, second) = if samples.len() == 1 {
            let (first, second) = cut(&heads);
            ((samples.clone(), first), (samples, second))
        } else {
            let (first, second) = cut(&samples);
            ((first, heads.clone()), (second, heads))
        };
        let share = |(samples, heads)| Self { samples, heads };
        (share(first), share(second))
    }

    /// Cuts a matrix of which this is the share where [`Share::split`] cuts the share.
    pub(super) fn split_matrix<'m>(
        &self,
        at: usize,
        (steps, d): (usize, usize),
        matrix: MatMut<'m>,
    ) -> (MatMut<'m>, MatMut<'m>) {
        if self.samples.len() == 1 {
            matrix.split_at_col(at * d)
        } else {
            matrix.split_at_row(at * steps)
        }
    }

    /// How many pairs of sequence and head come before `at`.
    pub(super) fn pairs_before(&self, at: usize) -> usize {
        match self.samples.len() {
            1 => at,
            _ => at * self.heads.len(),
        }
    }

    /// All pairs of sequence and head, with the rows and columns of each inside the share.
    pub(super) fn pairs(
        &self,
        (steps, d): (usize, usize),
    ) -> impl Iterator<Item = (usize, usize, Range<usize>, Range<usize>)> + use<> {
        let Self { samples, heads } = self.clone();
        samples.clone().enumerate().flat_map(move |(i, sample)| {
            heads.clone().enumerate().map(move |(j, head)| {
                let (rows, cols) = (i * steps..(i + 1) * steps, j * d..(j + 1) * d);
                (sample, head, rows, cols)
            })
        })
    }
}
