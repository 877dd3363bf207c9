//! Gradients of whole networks.

use std::collections::BTreeSet;

use mlp::{Sgd, Team, with_team};
use tests::cases::check_each;
use tests::measured::Measured;
use tests::network::flatten;

use crate::nets::{compare, isas, norm, problems};

/// The largest distance of a gradient, in the 2-norm, relative to the gradient.
const DISTANCE: f64 = 1e-5;

/// A gradient is farther off than [`DISTANCE`] only where its bound is: one network of one sample happens to
/// give nearly the shares that it is to learn, and what is left of `p sum t - t` carries the roundings of
/// two numbers some hundred times as large.
#[test]
fn gradients_agree_with_the_reference() {
    let mut measured = Measured::new("of the norm of the gradient");
    let mut beyond = BTreeSet::new();
    check_each(problems(), |problem| {
        let (reference, batch) = (problem.reference(), problem.batch());
        let (x, t) = batch.exact();
        let (_, expected) = reference.gradients(&x, &t);
        let bounds = reference.bounds(&x, &t).gradients;
        let (expected, bounds) = (flatten(&expected), flatten(&bounds));
        for isa in isas() {
            let mut network = problem.network(isa)?;
            let mut trainer = network.trainer(Sgd::new(0.1)).map_err(|e| e.to_string())?;
            for threads in [1, 2] {
                with_team(threads, |team| {
                    trainer
                        .gradients_of(batch.x(), batch.targets(), team)
                        .map_err(|e| e.to_string())?;
                    let gradients = trainer.gradients().ok_or("no gradients were kept")?;
                    compare("gradient", gradients, &expected, &bounds)?;
                    let off = gradients.iter().zip(&expected);
                    let off = norm(off.map(|(&g, e)| f64::from(g) - e));
                    let length = norm(expected.iter().copied());
                    if length > 0.0 {
                        let name = format!("layers without branches, {:?}", problem.loss);
                        measured.record(&name, off / length);
                        if off > DISTANCE * length {
                            // Without a hidden layer the activation makes no other network.
                            let (widths, batch) = (&problem.widths, problem.batch);
                            beyond.insert(format!("{widths:?}, {:?}, {batch}", problem.loss));
                            let bound = norm(bounds.iter().copied()) / length;
                            println!("{:.1e} off, bound {bound:.1e}: {problem:?}", off / length);
                            if bound <= DISTANCE {
                                return Err(format!("{:.1e} of the norm off", off / length));
                            }
                        }
                    }
                    Ok(())
                })
                .map_err(|e: String| format!("{isa}, {threads} threads: {e}"))?;
            }
        }
        Ok(())
    });
    let count = beyond.len();
    println!("measured: {count} networks farther than {DISTANCE:e} off, each within its bound");
    assert!(count <= 1, "{beyond:#?}");
}

/// The reference against its own differences: its backward pass is no better than the formulas in
/// it, a difference of two losses needs none.
#[test]
fn the_reference_agrees_with_central_differences() {
    let small = problems()
        .into_iter()
        .filter(|problem| problem.reference().flat().len() < 200);
    check_each(small, |problem| {
        let (reference, batch) = (problem.reference(), problem.batch());
        let (x, t) = batch.exact();
        let analytic = flatten(&reference.gradients(&x, &t).1);
        let numeric = reference.numeric_gradients(&x, &t);
        for (i, (a, n)) in analytic.iter().zip(&numeric).enumerate() {
            if (a - n).abs() > 1e-6 {
                return Err(format!("parameter {i}: {a} by formula, {n} by difference"));
            }
        }
        Ok(())
    });
}

/// A step of plain gradient descent is the gradient, times the learning rate, taken away: also when
/// the update of one layer runs beside the gradient of the next.
#[test]
fn a_step_uses_the_gradients_of_the_parameters_before_it() {
    check_each(problems(), |problem| {
        let batch = problem.batch();
        for isa in isas() {
            let mut network = problem.network(isa)?;
            let before = network.parameters().to_vec();
            let mut trainer = network.trainer(Sgd::new(0.5)).map_err(|e| e.to_string())?;
            trainer
                .gradients_of(batch.x(), batch.targets(), &Team::solo())
                .map_err(|e| e.to_string())?;
            let gradients = trainer
                .gradients()
                .ok_or("no gradients were kept")?
                .to_vec();
            with_team(2, |team| trainer.step(batch.x(), batch.targets(), team))
                .map_err(|e| e.to_string())?;
            let moved = before.iter().zip(&gradients);
            let expected: Vec<f64> = moved
                .map(|(&w, &g)| f64::from(w) - 0.5 * f64::from(g))
                .collect();
            // One rounding of the product and one of the difference.
            let rounding = |w: &f64| 2.0 * tests::tolerance::U * (w.abs() + 1.0);
            let bounds: Vec<f64> = expected.iter().map(rounding).collect();
            compare("parameter", network.parameters(), &expected, &bounds)
                .map_err(|e| format!("{isa}: {e}"))?;
        }
        Ok(())
    });
}
