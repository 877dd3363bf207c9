//! What networks answer: outputs, probabilities, losses.

use mlp::{MatMut, Sgd, Team, with_team};
use tests::cases::check_each;
use tests::loss::softmax;
use tests::measured::Measured;
use tests::network::Loss;

use crate::nets::{compare, isas, norm, problems};

#[test]
fn outputs_of_the_forward_pass() {
    let mut measured = Measured::new("of the norm of the outputs");
    check_each(problems(), |problem| {
        let (reference, batch) = (problem.reference(), problem.batch());
        let (x, t) = batch.exact();
        let outputs = reference.forward(&x);
        let expected = &outputs[reference.layers.len()];
        let bounds = reference.bounds(&x, &t).outputs;
        for isa in isas() {
            let named = |e: String| format!("{isa}: {e}");
            let mut network = problem.network(isa)?;
            let got = network
                .forward(batch.x())
                .map_err(|e| named(e.to_string()))?;
            compare("output", got.as_slice(), &expected.data, &bounds.data).map_err(named)?;
            let off = got.as_slice().iter().zip(&expected.data);
            let off = norm(off.map(|(&y, e)| f64::from(y) - e));
            measured.record("forward pass", off / norm(expected.data.iter().copied()));
            let mut trainer = network.trainer(Sgd::new(0.1)).map_err(|e| e.to_string())?;
            for threads in [1, 2] {
                let view = with_team(threads, |team| -> Result<Vec<f32>, String> {
                    let view = trainer
                        .forward(batch.x(), team)
                        .map_err(|e| e.to_string())?;
                    let rows = (0..view.rows()).flat_map(|i| (0..view.cols()).map(move |j| (i, j)));
                    Ok(rows.map(|(i, j)| *view.at(i, j)).collect())
                })?;
                compare("output in training", &view, &expected.data, &bounds.data)
                    .map_err(named)?;
            }
        }
        Ok(())
    });
}

#[test]
fn probabilities_and_classes() {
    let classifiers = problems()
        .into_iter()
        .filter(|p| p.loss == Loss::CrossEntropy);
    check_each(classifiers, |problem| {
        let (reference, batch) = (problem.reference(), problem.batch());
        let (x, t) = batch.exact();
        let outputs = reference.forward(&x);
        let logits = &outputs[reference.layers.len()];
        let bounds = reference.bounds(&x, &t).outputs;
        let expected: Vec<f64> = (0..logits.rows)
            .flat_map(|i| softmax(logits.row(i)))
            .collect();
        // A probability is a function of its logits with slopes of at most 1/4 each, and 16
        // roundings of its own.
        let widest = bounds.data.iter().copied().fold(0.0, f64::max);
        let bound = widest * logits.cols as f64 / 4.0 + 16.0 * tests::tolerance::U;
        for isa in isas() {
            let network = problem.network(isa)?;
            let got = network
                .predict_proba(batch.x())
                .map_err(|e| e.to_string())?;
            compare(
                "probability",
                got.as_slice(),
                &expected,
                &vec![bound; expected.len()],
            )
            .map_err(|e| format!("{isa}: {e}"))?;

            let mut out = vec![f32::NAN; expected.len()];
            let view = MatMut::from_row_major(&mut out, logits.rows, logits.cols)
                .map_err(|e| e.to_string())?;
            let mut workspace = network.predict_workspace();
            network
                .predict_into(batch.x(), view, &mut workspace)
                .map_err(|e| e.to_string())?;
            if out != got.as_slice() {
                return Err(format!("{isa}: predict_into differs from predict_proba"));
            }

            let classes = network.predict(batch.x()).map_err(|e| e.to_string())?;
            for (i, &class) in classes.iter().enumerate() {
                let best = logits
                    .row(i)
                    .iter()
                    .copied()
                    .fold(f64::NEG_INFINITY, f64::max);
                if logits.at(i, class as usize) < best - 2.0 * widest {
                    return Err(format!("{isa}: class {class} for row {i}"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn losses() {
    check_each(problems(), |problem| {
        let (reference, batch) = (problem.reference(), problem.batch());
        let (x, t) = batch.exact();
        let (expected, bound) = (reference.loss(&x, &t), reference.bounds(&x, &t).loss);
        for isa in isas() {
            let mut network = problem.network(isa)?;
            let mut trainer = network.trainer(Sgd::new(0.1)).map_err(|e| e.to_string())?;
            let loss = trainer
                .gradients_of(batch.x(), batch.targets(), &Team::solo())
                .map_err(|e| e.to_string())?;
            compare("loss", &[loss], &[expected], &[bound]).map_err(|e| format!("{isa}: {e}"))?;
        }
        Ok(())
    });
}
