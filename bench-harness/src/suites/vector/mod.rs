//! Operations on vectors and rows, on one thread: elements per nanosecond, gigabytes per second, and
//! GFLOP/s where they are made of products. Every operation is called once and what it leaves held
//! against f64 before it is timed.
//!
//! | file | operations |
//! |---|---|
//! | `activations` | forward, and backward from what is kept for it |
//! | `losses` | softmax, and cross-entropy with its gradient |
//! | `norms` | layer and batch normalisation, forward and backward |
//! | `attention` | forward and backward, sequences of one block and of more |
//! | `embedding` | rows of a table, and their gradients |
//! | `updates` | optimisers |

mod activations;
mod attention;
mod embedding;
mod losses;
mod norms;
mod updates;

use anyhow::{Context, ensure};
use kernels::{KernelError, Kernels};
use reference::ulp::ulps;
use serde::Serialize;

use crate::args::CommonArgs;
use crate::floats::{Floats, uniform};
use crate::progress::each;
use crate::report::{Beside, Versioned, print_json, print_line};
use crate::stats::Summary;
use crate::timing::{Call, Contestant, in_turn};

/// Elements of activations and updates: within the first-level cache, the second, and beyond both.
const LENGTHS: [usize; 3] = [1 << 12, 1 << 16, 1 << 22];

/// Logits and arguments of activations lie between minus this and this.
const RANGE: f32 = 4.0;

/// Results may differ from those in f64 by this much of 1 or of themselves, whichever is more. The
/// tests of the kernels hold them to their derived bounds; here it is about wrong indices.
const TOLERANCE: f64 = 1e-5;

/// Elements that are held against f64: all of a short vector, an even spread over a long one.
const CHECKED: usize = 1 << 16;

/// One operation on data of one size, with its results.
trait Operation {
    fn name(&self) -> &'static str;

    /// Rows and columns of what it goes over.
    fn shape(&self) -> (usize, usize);

    fn work(&self) -> Work;

    fn call(&mut self, kernels: &Kernels) -> Result<(), KernelError>;

    /// Holds what the first call left against f64, and says how far it was off.
    fn check(&self) -> anyhow::Result<Errors>;
}

/// The largest errors of what was held against f64, in units in the last place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Errors {
    /// Of the exact results. Where these are differences of which little is left, it is large, and says
    /// what was lost before.
    max_ulp: f64,
    /// Of the larger of result and operands: of what the difference was made of.
    max_ulp_of_operands: f64,
}

impl Errors {
    fn and(self, other: Self) -> Self {
        Self {
            max_ulp: self.max_ulp.max(other.max_ulp),
            max_ulp_of_operands: self.max_ulp_of_operands.max(other.max_ulp_of_operands),
        }
    }
}

/// What an operation has to do at least.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Values read or written, each operand once for each.
    values: usize,
    /// Operations of its products, if it is made of such.
    flop: Option<f64>,
}

impl Work {
    fn moving(values: usize) -> Self {
        Self { values, flop: None }
    }
}

/// Makes an operation ready to be called. Its operands exist no longer than it does.
type Make = Box<dyn Fn(&Kernels) -> anyhow::Result<Box<dyn Operation>>>;

#[derive(Debug, Serialize)]
struct Line {
    op: &'static str,
    rows: usize,
    cols: usize,
    isa: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

/// What was reached.
#[derive(Debug, Serialize)]
struct Figures {
    repeats: usize,
    median_ns: f64,
    min_ns: f64,
    mad_ns: f64,
    elements_per_ns: f64,
    bytes: f64,
    gb_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    flop: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gflop_per_s: Option<f64>,
    #[serde(flatten)]
    errors: Errors,
    #[serde(flatten)]
    beside: Beside,
}

/// Runs the suite.
pub(crate) fn run(args: &CommonArgs) -> anyhow::Result<()> {
    args.common.ensure_one_thread("vector")?;
    args.common.ensure_no_precision("vector")?;
    let kernels = args.common.kernels()?;
    for make in each("vector", operations()) {
        let mut operation = make(kernels)?;
        operation.call(kernels)?;
        let errors = operation.check()?;
        let line = time(args, kernels, operation.as_mut(), errors)?;
        if args.common.json {
            print_json(&Versioned::new("vector", &line))?;
        } else {
            print_line(&line.words())?;
        }
    }
    Ok(())
}

fn operations() -> Vec<Make> {
    [
        activations::operations(),
        losses::operations(),
        norms::operations(),
        attention::operations(),
        embedding::operations(),
        updates::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn time(
    args: &CommonArgs,
    kernels: &Kernels,
    operation: &mut dyn Operation,
    errors: Errors,
) -> anyhow::Result<Line> {
    let (op, (rows, cols), work) = (operation.name(), operation.shape(), operation.work());
    let call = || {
        operation
            .call(kernels)
            .expect("the same call succeeded before");
    };
    let mut contestants: [Box<dyn Contestant + '_>; 1] = [Box::new(Call::new(op, call))];
    let series = in_turn(&mut contestants, kernels.isa(), args.common.budget());
    let ns = &series[0].ns;
    let time = Summary::of(ns).context("nothing was timed")?;
    let bytes = (work.values * size_of::<f32>()) as f64;
    Ok(Line {
        op,
        rows,
        cols,
        isa: kernels.isa().name(),
        figures: Figures {
            repeats: ns.len(),
            median_ns: time.median,
            min_ns: time.min,
            mad_ns: time.mad,
            elements_per_ns: (rows * cols) as f64 / time.median,
            bytes,
            gb_per_s: bytes / time.median,
            flop: work.flop,
            gflop_per_s: work.flop.map(|flop| flop / time.median),
            errors,
            beside: Beside::of(&series[0]).context("nothing was timed")?,
        },
    })
}

impl Line {
    /// The same for people.
    fn words(&self) -> String {
        let figures = &self.figures;
        let words = |figure: Option<f64>, unit: &str| {
            figure.map_or(String::new(), |figure| format!(" {figure:>7.2} {unit}"))
        };
        format!(
            "{:<24} {:>5} x {:<8} {:<7} {:>12.2} us +-{:>5.1} % {:>8.2} elements/ns {:>8.1} GB/s{}{}",
            self.op,
            self.rows,
            self.cols,
            self.isa,
            figures.median_ns / 1e3,
            100.0 * figures.mad_ns / figures.median_ns,
            figures.elements_per_ns,
            figures.gb_per_s,
            words(figures.gflop_per_s, "GFLOP/s"),
            words(Some(figures.errors.max_ulp), "ulp"),
        )
    }
}

/// Numbers between minus [`RANGE`] and [`RANGE`].
fn arguments(len: usize, seed: u64) -> Floats {
    let mut x = uniform(len, seed);
    x.iter_mut().for_each(|x| *x *= RANGE);
    x
}

/// The elements that are held against f64.
fn checked(len: usize) -> impl Iterator<Item = usize> {
    // Odd, so that it meets every lane of a register.
    (0..len).step_by(len.div_ceil(CHECKED) | 1)
}

/// Holds results against f64; `operand` is the size of the largest number that a result is made of.
fn check(
    op: &str,
    got: &[f32],
    exact: impl Fn(usize) -> f64,
    operand: impl Fn(usize) -> f64,
) -> anyhow::Result<Errors> {
    let of = |i| {
        let exact: f64 = exact(i);
        (exact, TOLERANCE * exact.abs().max(1.0))
    };
    check_within(op, got, &of)?;
    Ok(errors(got, exact, operand))
}

/// How far results are off.
fn errors(got: &[f32], exact: impl Fn(usize) -> f64, operand: impl Fn(usize) -> f64) -> Errors {
    let of = |i: usize| {
        let exact = exact(i);
        // The same error in the unit of a larger number.
        let size = exact.abs().max(operand(i).abs());
        let error = (f64::from(got[i]) - exact).abs();
        Errors {
            max_ulp: ulps(got[i], exact),
            max_ulp_of_operands: error / unit(size),
        }
    };
    checked(got.len())
        .map(of)
        .fold(Errors::default(), Errors::and)
}

/// The unit in the last place of an f32 of this size.
fn unit(size: f64) -> f64 {
    let size = (size as f32).max(f32::MIN_POSITIVE);
    f64::from(size.next_up()) - f64::from(size)
}

/// Holds results against f64, each with how far it may be off.
fn check_within(op: &str, got: &[f32], exact: &dyn Fn(usize) -> (f64, f64)) -> anyhow::Result<()> {
    for index in checked(got.len()) {
        let (exact, bound) = exact(index);
        let got = got[index];
        ensure!(
            (f64::from(got) - exact).abs() <= bound,
            "{op}: element {index}: expected {exact} within {bound:e}, got {got}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_element_is_named() {
        let exact = |i: usize| i as f64;
        assert!(check("op", &[0.0, 1.0, 2.0], exact, exact).is_ok());
        for wrong in [2.001, f32::NAN] {
            let error = check("op", &[0.0, 1.0, wrong], exact, exact).expect_err("a wrong element");
            assert!(error.to_string().starts_with("op: element 2"), "{error}");
        }
        let above = 1.0 + f32::EPSILON;
        let errors = check("op", &[1.0, above], |_| 1.0, |_| 4.0).expect("near");
        // Four times as large a number has a unit four times as large.
        assert_eq!((errors.max_ulp, errors.max_ulp_of_operands), (1.0, 0.25));
    }

    #[test]
    fn of_a_long_vector_a_spread_is_checked_with_both_ends_near() {
        assert!(checked(CHECKED).eq(0..CHECKED));
        let some: Vec<_> = checked(1 << 22).collect();
        assert!(some.len() <= CHECKED && some.len() > CHECKED / 2);
        assert_eq!(some[0], 0);
        assert!(some[some.len() - 1] + 128 > 1 << 22);
        assert!((0..16).all(|lane| some.iter().any(|i| i % 16 == lane)));
    }

    #[test]
    fn operations_are_refuted_by_what_no_call_has_written() {
        let kernels = Kernels::detect().expect("an instruction set");
        for make in operations() {
            let operation = make(kernels).expect("an operation");
            let (name, shape) = (operation.name(), operation.shape());
            // The results begin as NaN; what is updated in place begins as it was.
            assert!(operation.check().is_err(), "{name} {shape:?}");
        }
    }
}
