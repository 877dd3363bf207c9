//! Softmax, its logarithm and its gradient, row by row.
//!
//! # Method
//! With `max = max_j x_j` and `e_j = e^(x_j - max)`, all of them at most 1:
//!
//! `softmax_j = e_j / sum_k e_k`, `log_softmax_j = (x_j - max) - ln sum_k e_k`
//!
//! so no exponential of finite logits overflows, however far apart they are; where `x_j - max` itself
//! does, the probability is 0 and its logarithm -inf. A row of one or two registers stays in them
//! from the only load to the only store; a longer one takes three passes, the second of which leaves
//! e in the output. Rows whose elements do not lie together take the same passes one element at a
//! time.
//!
//! # Special values
//! A logit of -inf has probability 0. A row with NaN or +inf, or of -inf alone, has no softmax: all
//! its results are NaN.
//!
//! # Error
//! Relative, of a probability, in units of eps = 2^-24: `|x_j - max| + 5 + t`, with
//! `t <= 64 + n / (64 lanes) + log2(lanes)` for the sum. Probabilities below 2^-126 are 0.
//!
//! # Gradient
//! From `y = softmax(x)` and dy the product with the Jacobian `diag(y) - y y^T`:
//!
//! `dx_j = y_j (dy_j - D)`, `D = sum_k dy_k y_k`
//!
//! in two passes over the row. D is summed as the exponentials are, so with s the sum of `|dy_k| y_k` it
//! is off by `(t + 1) eps s`, and dx_j by `y_j ((t + 1) eps s + 2 eps |dy_j - D|)`.

use pulp::{Simd, WithSimd};

use crate::lanes::{Apart, Row, RowMut, Tail, Together, TogetherMut, load_row, store_row};
use crate::math;
use crate::view::{MatMut, MatRef};

/// Registers that are summed one after another before the blocks are: it bounds the error of long
/// rows.
const BLOCK: usize = 64;

/// Maxima that run side by side, so that one comparison need not wait for the one before it.
const MAXIMA: usize = 4;

/// The largest logit. A NaN may or may not come through: the exponentials will meet it anyway.
#[inline(always)]
pub(crate) fn row_max<S: Simd>(s: S, x: &impl Row<S>) -> f32 {
    let lowest = f32::NEG_INFINITY;
    let mut maxima = [s.splat_f32s(lowest); MAXIMA];
    let registers = x.registers();
    let grouped = registers - registers % MAXIMA;
    for first in (0..grouped).step_by(MAXIMA) {
        for (r, max) in maxima.iter_mut().enumerate() {
            *max = s.max_f32s(*max, x.load(s, first + r, lowest));
        }
    }
    for index in grouped..registers {
        maxima[0] = s.max_f32s(maxima[0], x.load(s, index, lowest));
    }
    let [a, b, c, d] = maxima;
    s.reduce_max_f32s(s.max_f32s(s.max_f32s(a, b), s.max_f32s(c, d)))
}

/// `sum_j e^(x_j - max)`, the terms of which go to `e` if it is given.
#[inline(always)]
pub(crate) fn exp_sum<S: Simd>(
    s: S,
    x: &impl Row<S>,
    max: f32,
    mut e: Option<&mut impl RowMut<S>>,
) -> f32 {
    let max = s.splat_f32s(max);
    let mut total = s.splat_f32s(0.0);
    for first in (0..x.registers()).step_by(BLOCK) {
        let mut block = s.splat_f32s(0.0);
        for index in first..x.registers().min(first + BLOCK) {
            let shifted = s.sub_f32s(x.load(s, index, f32::NEG_INFINITY), max);
            let term = math::exp(s, shifted);
            if let Some(e) = &mut e {
                e.store(s, index, term);
            }
            block = s.add_f32s(block, term);
        }
        total = s.add_f32s(total, block);
    }
    s.reduce_sum_f32s(total)
}

/// A row that stays in registers, exponentiated.
pub(crate) struct ShortRow<S: Simd, const REGISTERS: usize> {
    /// `x_j - max`; -inf behind the end of the row.
    pub(crate) shifted: [S::f32s; REGISTERS],
    /// `e^(x_j - max)`; 0 behind the end of the row.
    pub(crate) e: [S::f32s; REGISTERS],
    /// `sum_j e_j`
    pub(crate) sum: f32,
}

impl<S: Simd, const REGISTERS: usize> ShortRow<S, REGISTERS> {
    #[inline(always)]
    pub(crate) fn new(s: S, x: &[f32], tail: Tail<S>) -> Self {
        let mut shifted: [S::f32s; REGISTERS] = load_row(s, x, tail, f32::NEG_INFINITY);
        let mut max = shifted[0];
        for &x in &shifted[1..] {
            max = s.max_f32s(max, x);
        }
        let max = s.reduce_max_f32s(max);
        let mut e = shifted;
        let mut sum = s.splat_f32s(0.0);
        for r in 0..REGISTERS {
            shifted[r] = s.sub_f32s(shifted[r], s.splat_f32s(max));
            e[r] = math::exp(s, shifted[r]);
            sum = s.add_f32s(sum, e[r]);
        }
        Self {
            shifted,
            e,
            sum: s.reduce_sum_f32s(sum),
        }
    }
}

/// What is wanted of a row.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Probabilities,
    Logarithms,
}

/// `y = softmax(x)` or its logarithm, row by row.
pub(crate) struct Softmax<'a> {
    pub(crate) form: Form,
    pub(crate) x: MatRef<'a>,
    pub(crate) y: MatMut<'a>,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { form, x, y } = self;
        match form {
            Form::Probabilities => all_rows(s, Form::Probabilities, x, y),
            Form::Logarithms => all_rows(s, Form::Logarithms, x, y),
        }
    }
}

/// Whether all elements of each row lie together.
#[inline(always)]
pub(crate) fn rows_together(x: MatRef<'_>) -> bool {
    x.rows() == 0 || x.row(0).is_some()
}

#[inline(always)]
fn all_rows<S: Simd>(s: S, form: Form, x: MatRef<'_>, mut y: MatMut<'_>) {
    let n = x.cols();
    if n == 0 {
        return;
    }
    if !(rows_together(x) && rows_together(y.as_ref())) {
        for row in 0..x.rows() {
            let (x, matrix) = (Apart { matrix: x, row }, y.reborrow());
            long_row(pulp::Scalar, form, &x, &mut Apart { matrix, row });
        }
        return;
    }
    let tail = Tail::of_row(s, n);
    for i in 0..x.rows() {
        let (Some(x), Some(y)) = (x.row(i), y.row_mut(i)) else {
            return;
        };
        match n.div_ceil(S::F32_LANES) {
            1 => short_row::<S, 1>(s, form, x, tail, y),
            2 => short_row::<S, 2>(s, form, x, tail, y),
            _ => long_row(
                s,
                form,
                &Together::new(x, tail),
                &mut TogetherMut::new(y, tail),
            ),
        }
    }
}

#[inline(always)]
fn short_row<S: Simd, const REGISTERS: usize>(
    s: S,
    form: Form,
    x: &[f32],
    tail: Tail<S>,
    y: &mut [f32],
) {
    let mut row = ShortRow::<S, REGISTERS>::new(s, x, tail);
    for r in 0..REGISTERS {
        row.e[r] = match form {
            Form::Probabilities => s.mul_f32s(row.e[r], s.splat_f32s(1.0 / row.sum)),
            Form::Logarithms => s.sub_f32s(row.shifted[r], math::ln(s, s.splat_f32s(row.sum))),
        };
    }
    store_row(s, y, tail, row.e);
}

#[inline(always)]
fn long_row<S: Simd>(s: S, form: Form, x: &impl Row<S>, y: &mut impl RowMut<S>) {
    let max = row_max(s, x);
    let sum = s.splat_f32s(exp_sum(s, x, max, Some(y)));
    match form {
        Form::Probabilities => {
            let factor = s.div_f32s(s.splat_f32s(1.0), sum);
            for index in 0..x.registers() {
                let e = y.reader().load(s, index, 0.0);
                y.store(s, index, s.mul_f32s(e, factor));
            }
        }
        Form::Logarithms => {
            let log_sum = math::ln(s, sum);
            for index in 0..x.registers() {
                let shifted = s.sub_f32s(x.load(s, index, 0.0), s.splat_f32s(max));
                y.store(s, index, s.sub_f32s(shifted, log_sum));
            }
        }
    }
}

/// `dx = y (dy - D)`, see the text of the module.
pub(crate) struct SoftmaxBackward<'a> {
    pub(crate) y: MatRef<'a>,
    pub(crate) dy: MatRef<'a>,
    pub(crate) dx: MatMut<'a>,
}

impl WithSimd for SoftmaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { y, dy, mut dx } = self;
        let n = y.cols();
        if n == 0 {
            return;
        }
        let together = [y, dy, dx.as_ref()].into_iter().all(rows_together);
        let tail = Tail::of_row(s, n);
        for row in 0..y.rows() {
            if together
                && let (Some(y), Some(dy), Some(dx)) = (y.row(row), dy.row(row), dx.row_mut(row))
            {
                let (y, dy) = (Together::new(y, tail), Together::new(dy, tail));
                gradient_of_row(s, &y, &dy, &mut TogetherMut::new(dx, tail));
            } else {
                let (y, dy) = (Apart { matrix: y, row }, Apart { matrix: dy, row });
                let matrix = dx.reborrow();
                gradient_of_row(pulp::Scalar, &y, &dy, &mut Apart { matrix, row });
            }
        }
    }
}

#[inline(always)]
fn gradient_of_row<S: Simd>(s: S, y: &impl Row<S>, dy: &impl Row<S>, dx: &mut impl RowMut<S>) {
    let mut total = s.splat_f32s(0.0);
    for first in (0..y.registers()).step_by(BLOCK) {
        let mut block = s.splat_f32s(0.0);
        for index in first..y.registers().min(first + BLOCK) {
            block = s.mul_add_f32s(dy.load(s, index, 0.0), y.load(s, index, 0.0), block);
        }
        total = s.add_f32s(total, block);
    }
    let dot = s.splat_f32s(s.reduce_sum_f32s(total));
    for index in 0..y.registers() {
        let centred = s.sub_f32s(dy.load(s, index, 0.0), dot);
        dx.store(s, index, s.mul_f32s(y.load(s, index, 0.0), centred));
    }
}
