//! Vector operations on one thread: activations, softmax and losses in elements per nanosecond,
//! updates of parameters in gigabytes per second. No figure is printed of a result that f64 refutes.

use anyhow::{Context, ensure};
use kernels::{Activation, AdamRule, KernelError, Kernels, MatMut, MatRef, SgdRule, Targets};
use serde::Serialize;

use crate::args::{ActivationName, CommonArgs};
use crate::operands::uniform;
use crate::progress::each;
use crate::report::{Versioned, print_json, print_line};
use crate::stats::Summary;
use crate::timing::{Call, Contestant, in_turn};

/// Elements of activations and updates: within the first-level cache, the second, and beyond both.
const LENGTHS: [usize; 3] = [1 << 12, 1 << 16, 1 << 22];

/// (rows, classes) of logits.
const LOGITS: [(usize, usize); 3] = [(128, 10), (128, 100), (128, 1000)];

/// So small that parameters keep their range over all repetitions.
const LEARNING_RATE: f32 = 1e-6;

/// Logits and arguments of activations lie between minus this and this.
const RANGE: f32 = 4.0;

/// Results may differ from those in f64 by this much of 1 or of themselves, whichever is more. The
/// tests of the kernels hold them to a few units in the last place; here it is about wrong indices.
const TOLERANCE: f64 = 1e-5;

/// One operation on data of one size.
#[derive(Debug, Serialize)]
struct Case {
    op: &'static str,
    rows: usize,
    cols: usize,
    isa: &'static str,
}

/// What was reached.
#[derive(Debug, Serialize)]
struct Figures {
    repeats: usize,
    median_ns: f64,
    min_ns: f64,
    mad_ns: f64,
    elements_per_ns: f64,
    /// Each operand once.
    bytes: f64,
    gb_per_s: f64,
    /// The largest error among the results, in units in the last place of the exact ones; `None` where
    /// a result is a difference, of which nothing may be left.
    max_ulp: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    case: Case,
    #[serde(flatten)]
    figures: Figures,
}

/// Runs the suite.
pub(crate) fn run(args: &CommonArgs) -> anyhow::Result<()> {
    let kernels = args.common.kernels()?;
    for case in each("vector", cases()) {
        match case {
            Op::Activation(activation, len) => activations(args, kernels, activation, len)?,
            Op::Softmax(rows, cols) => softmax(args, kernels, rows, cols)?,
            Op::CrossEntropy(rows, cols) => cross_entropy(args, kernels, rows, cols)?,
            Op::Sgd(len) => sgd(args, kernels, len)?,
            Op::Adam(len) => adam(args, kernels, len)?,
        }
    }
    Ok(())
}

/// An operation and how much of it.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Forward and backward.
    Activation(ActivationName, usize),
    Softmax(usize, usize),
    CrossEntropy(usize, usize),
    Sgd(usize),
    Adam(usize),
}

fn cases() -> Vec<Op> {
    use ActivationName::{Relu, Sigmoid, Tanh};
    let mut cases = Vec::new();
    for len in LENGTHS {
        cases.extend([Relu, Sigmoid, Tanh].map(|activation| Op::Activation(activation, len)));
    }
    for (rows, cols) in LOGITS {
        cases.extend([Op::Softmax(rows, cols), Op::CrossEntropy(rows, cols)]);
    }
    for len in LENGTHS {
        cases.extend([Op::Sgd(len), Op::Adam(len)]);
    }
    cases
}

fn activations(
    args: &CommonArgs,
    kernels: &Kernels,
    name: ActivationName,
    len: usize,
) -> anyhow::Result<()> {
    let activation = Activation::from(name);
    let (forward, backward) = match name {
        ActivationName::Relu => ("relu", "relu_backward"),
        ActivationName::Sigmoid => ("sigmoid", "sigmoid_backward"),
        _ => ("tanh", "tanh_backward"),
    };
    let x = arguments(len);
    let (mut y, mut dx) = (vec![f32::NAN; len], vec![f32::NAN; len]);
    let line = time(args, kernels, forward, (1, len), 2 * len, || {
        kernels.activation_forward(activation, &x, &mut y)
    })?;
    let error = check(forward, &y, |i| name.of(f64::from(x[i])))?;
    line.with_error(error).print(args)?;
    // The derivative comes from the output; x serves as the gradient that is passed on.
    let line = time(args, kernels, backward, (1, len), 3 * len, || {
        kernels.activation_backward(activation, &y, &x, &mut dx)
    })?;
    check(backward, &dx, |i| {
        let (y, dy) = (f64::from(y[i]), f64::from(x[i]));
        match name {
            ActivationName::Relu => dy * f64::from(u8::from(y > 0.0)),
            ActivationName::Sigmoid => dy * y * (1.0 - y),
            _ => dy * (1.0 - y * y),
        }
    })?;
    line.print(args)
}

/// The softmax of each row in f64.
fn probabilities(x: &[f32], cols: usize) -> Vec<f64> {
    x.chunks_exact(cols)
        .flat_map(|row| {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            row.iter().map(move |&x| f64::from(x).exp() / sum)
        })
        .collect()
}

fn softmax(args: &CommonArgs, kernels: &Kernels, rows: usize, cols: usize) -> anyhow::Result<()> {
    let x = arguments(rows * cols);
    let mut y = vec![f32::NAN; x.len()];
    let line = time(args, kernels, "softmax", (rows, cols), 2 * x.len(), || {
        let x = MatRef::from_row_major(&x, rows, cols)?;
        kernels.softmax(x, MatMut::from_row_major(&mut y, rows, cols)?)
    })?;
    let exact = probabilities(&x, cols);
    let error = check("softmax", &y, |i| exact[i])?;
    line.with_error(error).print(args)
}

fn cross_entropy(
    args: &CommonArgs,
    kernels: &Kernels,
    rows: usize,
    cols: usize,
) -> anyhow::Result<()> {
    let x = arguments(rows * cols);
    let labels = (0..rows)
        .map(|row| u32::try_from(row % cols))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut grad, mut losses) = (vec![f32::NAN; x.len()], vec![f32::NAN; rows]);
    let op = "softmax_cross_entropy";
    let line = time(args, kernels, op, (rows, cols), 2 * x.len(), || {
        let x = MatRef::from_row_major(&x, rows, cols)?;
        let grad = MatMut::from_row_major(&mut grad, rows, cols)?;
        let targets = Targets::Classes(&labels);
        kernels.softmax_cross_entropy(x, targets, 1.0, Some(grad), &mut losses)
    })?;
    let exact = probabilities(&x, cols);
    let label = |row: usize| labels[row] as usize;
    check(op, &grad, |i| {
        exact[i] - f64::from(u8::from(label(i / cols) == i % cols))
    })?;
    let error = check(op, &losses, |row| -exact[row * cols + label(row)].ln())?;
    line.with_error(error).print(args)
}

fn sgd(args: &CommonArgs, kernels: &Kernels, len: usize) -> anyhow::Result<()> {
    let rule = SgdRule {
        learning_rate: LEARNING_RATE,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    };
    let grads = uniform(len, 1);
    let mut params = uniform(len, 2);
    let start = params.clone();
    kernels.sgd_update(rule, &grads, &mut [], &mut params)?;
    check("sgd", &params, |i| {
        f64::from(start[i]) - f64::from(rule.learning_rate) * f64::from(grads[i])
    })?;
    // Gradients and parameters are read, parameters are written.
    let line = time(args, kernels, "sgd", (1, len), 3 * len, || {
        kernels.sgd_update(rule, &grads, &mut [], &mut params)
    })?;
    line.print(args)
}

fn adam(args: &CommonArgs, kernels: &Kernels, len: usize) -> anyhow::Result<()> {
    let rule = AdamRule {
        learning_rate: LEARNING_RATE,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled_weight_decay: 0.0,
        step: 1,
    };
    let grads = uniform(len, 1);
    let mut params = uniform(len, 2);
    let start = params.clone();
    let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
    kernels.adam_update(rule, &grads, &mut first, &mut second, &mut params)?;
    check("adam", &params, |i| {
        // The first step goes against the sign of the gradient.
        let g = f64::from(grads[i]);
        let step = g / (g.abs() + f64::from(rule.eps));
        f64::from(start[i]) - f64::from(rule.learning_rate) * step
    })?;
    // Gradients, moments and parameters are read, moments and parameters are written.
    let line = time(args, kernels, "adam", (1, len), 7 * len, || {
        kernels.adam_update(rule, &grads, &mut first, &mut second, &mut params)
    })?;
    line.print(args)
}

/// Numbers between minus [`RANGE`] and [`RANGE`].
fn arguments(len: usize) -> Vec<f32> {
    let mut x = uniform(len, 1);
    x.iter_mut().for_each(|x| *x *= RANGE);
    x
}

/// Holds results against f64; returns the largest error in units in the last place.
fn check(op: &str, got: &[f32], exact: impl Fn(usize) -> f64) -> anyhow::Result<f64> {
    let mut max_ulp = 0.0_f64;
    for (index, &got) in got.iter().enumerate() {
        let exact = exact(index);
        let error = (f64::from(got) - exact).abs();
        ensure!(
            error <= TOLERANCE * exact.abs().max(1.0),
            "{op}: element {index}: expected {exact}, got {got}"
        );
        max_ulp = max_ulp.max(error / ulp(exact));
    }
    Ok(max_ulp)
}

/// The distance of an f32 near `x` to the next: that of the smallest normal number below it.
fn ulp(x: f64) -> f64 {
    let magnitude = x.abs().max(f64::from(f32::MIN_POSITIVE));
    (magnitude.log2().floor() + 1.0 - f64::from(f32::MANTISSA_DIGITS)).exp2()
}

/// Times a call that moves so many values to and from memory.
fn time(
    args: &CommonArgs,
    kernels: &Kernels,
    op: &'static str,
    (rows, cols): (usize, usize),
    values_moved: usize,
    mut call: impl FnMut() -> Result<(), KernelError>,
) -> anyhow::Result<Line> {
    call()?;
    let call = || call().expect("the same call succeeded before");
    let mut contestants: [Box<dyn Contestant + '_>; 1] = [Box::new(Call::new(op, call))];
    let series = in_turn(&mut contestants, kernels.isa(), args.common.budget());
    let ns = &series[0].ns;
    let time = Summary::of(ns).context("nothing was timed")?;
    let bytes = (values_moved * size_of::<f32>()) as f64;
    Ok(Line {
        case: Case {
            op,
            rows,
            cols,
            isa: kernels.isa().name(),
        },
        figures: Figures {
            repeats: ns.len(),
            median_ns: time.median,
            min_ns: time.min,
            mad_ns: time.mad,
            elements_per_ns: (rows * cols) as f64 / time.median,
            bytes,
            gb_per_s: bytes / time.median,
            max_ulp: None,
        },
    })
}

impl Line {
    fn with_error(mut self, max_ulp: f64) -> Self {
        self.figures.max_ulp = Some(max_ulp);
        self
    }

    fn print(&self, args: &CommonArgs) -> anyhow::Result<()> {
        let Self { case, figures } = self;
        if args.common.json {
            print_json(&Versioned::new("vector", self))?;
        } else {
            print_line(&format!(
                "{:<24} {:>5} x {:<8} {:<7} {:>12.2} us +-{:>5.1} % {:>8.2} elements/ns {:>8.1} GB/s{}",
                case.op,
                case.rows,
                case.cols,
                case.isa,
                figures.median_ns / 1e3,
                100.0 * figures.mad_ns / figures.median_ns,
                figures.elements_per_ns,
                figures.gb_per_s,
                figures
                    .max_ulp
                    .map_or(String::new(), |ulp| format!(" {ulp:>5.2} ulp"))
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_element_is_named() {
        let exact = |i: usize| i as f64;
        assert!(check("op", &[0.0, 1.0, 2.0], exact).is_ok());
        for wrong in [2.001, f32::NAN] {
            let error = check("op", &[0.0, 1.0, wrong], exact).expect_err("a wrong element");
            assert!(error.to_string().starts_with("op: element 2"), "{error}");
        }
    }

    #[test]
    fn units_in_the_last_place_by_hand() {
        assert_eq!(ulp(1.0), f64::from(f32::EPSILON));
        assert_eq!(ulp(-1.99), f64::from(f32::EPSILON));
        assert_eq!(ulp(4.0), 4.0 * f64::from(f32::EPSILON));
        assert_eq!(ulp(0.0), f64::from(f32::from_bits(1)));
        let above = 1.0 + f32::EPSILON;
        assert_eq!(check("op", &[1.0, above], |_| 1.0).expect("near"), 1.0);
    }

    #[test]
    fn probabilities_by_hand() {
        let third = 1.0 / 3.0;
        let got = probabilities(&[0.0, 2.0_f32.ln(), 1.0, 1.0], 2);
        for (got, expected) in got.iter().zip([third, 2.0 * third, 0.5, 0.5]) {
            assert!((got - expected).abs() < 1e-7, "{got} {expected}");
        }
    }
}
