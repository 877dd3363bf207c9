//! Gradients of networks whose layers form a graph: each layer alone, each loss alone, and graphs that
//! are drawn at random.

use mlp::{MatRef, Sgd, Targets, with_team};
use tests::cases::check_each;
use tests::measured::Measured;
use tests::network::graph::Block;
use tests::norm::Over;
use tests::uncertain::Uncertain;

use crate::draw::{BATCH, Case};
use crate::nets::{compare, isas, narrow, norm};

/// The largest distance of two gradients, in the 2-norm, relative to the second.
const DISTANCE: f64 = 1e-5;

fn all() -> impl Iterator<Item = Case> {
    Case::alone().chain(Case::losses()).chain(Case::random())
}

/// A kind of block, by name.
type Named<'a> = (&'a str, &'a dyn Fn(&Block) -> bool);

#[test]
fn at_least_thirty_graphs_mix_all_kinds_of_layers() {
    let kinds: [&dyn Fn(&Block) -> bool; 5] = [
        &|b| matches!(b, Block::Skip(..) | Block::Residual(..)),
        &|b| matches!(b, Block::Concat(_)),
        &|b| matches!(b, Block::Norm(_)),
        &|b| matches!(b, Block::Dropout(_)),
        &|b| matches!(b, Block::Attention(..) | Block::Transformer(..)),
    ];
    let has = |case: &Case, kind: &dyn Fn(&Block) -> bool| {
        let mut blocks = case.net.blocks.iter();
        blocks.any(|block| block.any(kind))
    };
    let mixed = |case: &Case| kinds.iter().all(|kind| has(case, kind));
    let count = Case::random().filter(mixed).count();
    assert!(count >= 30, "{count} graphs mix all");
    // And these are in some of them each.
    let some: [Named<'_>; 4] = [
        ("padding", &|b| matches!(b, Block::Padding)),
        ("softmax", &|b| matches!(b, Block::Softmax)),
        (
            "dropout in a Transformer block",
            &|b| matches!(b, Block::Transformer(.., rate) if *rate > 0.0),
        ),
        ("a Transformer block without dropout", &|b| {
            matches!(b, Block::Transformer(.., 0.0))
        }),
    ];
    for (name, kind) in some {
        let count = Case::random().filter(|case| has(case, kind)).count();
        assert!(count >= 2, "{count} graphs have {name}");
    }
}

#[test]
fn the_reference_of_graphs_agrees_with_central_differences() {
    check_each(all(), |case| {
        let analytic = case.net.gradients(&case.x, &case.targets).flat();
        let numeric = case.net.numeric_gradients(&case.x, &case.targets);
        for (i, (a, n)) in analytic.iter().zip(&numeric).enumerate() {
            let off = (a - n).abs();
            if off.is_nan() || off > 1e-6 {
                return Err(format!("parameter {i}: {a} by formula, {n} by difference"));
            }
        }
        Ok(())
    });
}

/// One tensor: each element within its bound, and all of them together within [`DISTANCE`].
///
/// Bounds that hold for the worst case grow by a factor with each layer. Behind several normalised ones
/// they may allow anything; then only the norms speak.
///
/// Where the exact gradient is a sum of large terms that cancel (that of a bias before a norm is 0), its
/// rounding is measured by the whole gradient, and has to be ten times smaller.
fn check_tensor(
    number: usize,
    got: &[f32],
    expected: &Uncertain,
    whole: f64,
) -> Result<(), String> {
    let what = format!("gradient of tensor {number}, element");
    let (exact, bounds) = (&expected.value.data, &expected.error.data);
    if bounds.iter().all(|bound| bound.is_finite()) {
        compare(&what, got, exact, bounds)?;
    }
    let off = got.iter().zip(exact).map(|(&g, e)| f64::from(g) - e);
    let (off, length) = (norm(off), norm(exact.iter().copied()));
    if off > DISTANCE * length.max(whole / 10.0) {
        let relative = off / length;
        return Err(format!("tensor {number} is {relative:.1e} of its norm off"));
    }
    Ok(())
}

#[test]
fn gradients_of_graphs_agree_with_the_reference() {
    let mut measured = Measured::new("of the norm of the gradient");
    let (mut cases, mut bounded) = (0, 0);
    check_each(all(), |case| {
        let expected = case.net.gradients(&case.x, &case.targets);
        cases += 1;
        bounded += usize::from(norm(expected.flat_bounds()) < norm(expected.flat()));
        let (x, t) = (narrow(&case.x), narrow(&case.targets));
        let x = MatRef::from_row_major(&x, BATCH, case.x.cols).map_err(|e| e.to_string())?;
        let t = MatRef::from_row_major(&t, BATCH, case.targets.cols).map_err(|e| e.to_string())?;
        for isa in isas() {
            let mut network = case.network(isa)?;
            let mut trainer = network.trainer(Sgd::new(0.1)).map_err(|e| e.to_string())?;
            for threads in [1, 2] {
                with_team(threads, |team| {
                    let loss = trainer
                        .gradients_of(x, Targets::Values(t), team)
                        .map_err(|e| e.to_string())?;
                    if (f64::from(loss) - expected.loss).abs() > DISTANCE * expected.loss {
                        return Err(format!("loss {loss}, expected {}", expected.loss));
                    }
                    let mut got = trainer.gradients().ok_or("no gradients were kept")?;
                    let whole = got.to_vec();
                    for (number, tensor) in expected.params.iter().enumerate() {
                        let (own, rest) = got.split_at(tensor.value.data.len());
                        check_tensor(number, own, tensor, norm(expected.flat()))?;
                        got = rest;
                    }
                    let exact = expected.flat();
                    let off = whole.iter().zip(&exact);
                    let off = norm(off.map(|(&g, e)| f64::from(g) - e));
                    let relative = off / norm(exact);
                    measured.record(&case.name, relative);
                    if relative.is_nan() || relative > DISTANCE {
                        return Err(format!("off by {relative:.1e} of the norm"));
                    }
                    Ok(())
                })
                .map_err(|e| format!("{isa}, {threads} threads: {e}"))?;
            }
        }
        Ok(())
    });
    println!("measured: bounds below the gradient itself in {bounded} of {cases} networks");
    assert!(
        2 * bounded > cases,
        "bounds of {bounded} of {cases} say something"
    );
}

/// Predictions leave dropout out, and are what the forward pass of a training without it gives.
#[test]
fn predictions_leave_dropout_out() {
    fn without(blocks: &[Block]) -> Vec<Block> {
        let kept = blocks.iter().filter(|b| !matches!(b, Block::Dropout(_)));
        kept.map(|block| match block {
            Block::Residual(inner, p) => Block::Residual(without(inner), *p),
            Block::Concat(inner) => Block::Concat(without(inner)),
            Block::Transformer(heads, hidden, causal, _) => {
                Block::Transformer(*heads, *hidden, *causal, 0.0)
            }
            other => other.clone(),
        })
        .collect()
    }
    // Predictions normalise by running statistics, not by those of the batch.
    let of_the_batch = |block: &Block| matches!(block, Block::Norm(Over::Columns));
    let cases = all().filter(|case| !case.net.blocks.iter().any(|b| b.any(&of_the_batch)));
    check_each(cases, |case| {
        let x = narrow(&case.x);
        let x = MatRef::from_row_major(&x, BATCH, case.x.cols).map_err(|e| e.to_string())?;
        let mut plain = case.net.clone();
        plain.blocks = without(&plain.blocks);
        let expected = plain.outputs(&case.x);
        for isa in isas() {
            let got = case.network(isa)?.forward(x).map_err(|e| e.to_string())?;
            let (exact, bounds) = (&expected.value.data, &expected.error.data);
            if bounds.iter().all(|bound| bound.is_finite()) {
                compare("output", got.as_slice(), exact, bounds)
                    .map_err(|e| format!("{isa}: {e}"))?;
            }
            let off = got.as_slice().iter().zip(exact);
            let off = norm(off.map(|(&y, e)| f64::from(y) - e));
            if off.is_nan() || off > DISTANCE * norm(exact.iter().copied()) {
                return Err(format!("{isa}: outputs are {off:.1e} off"));
            }
        }
        Ok(())
    });
}
