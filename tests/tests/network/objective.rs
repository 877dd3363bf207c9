//! Label smoothing and weights, against the reference with softened targets.

use mlp::{Data, Objective, Sgd, Targets, Team};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::loss::softened;
use tests::network::{Loss, flatten};
use tests::tolerance::U;
use tests::values::Values;

use crate::nets::{Problem, compare, isas};

/// Label smoothing, and whether classes, samples and targets have weights.
fn cases() -> Vec<(f32, bool, bool, bool)> {
    let mut cases = Vec::new();
    for smoothing in [0.0, 0.25] {
        for bits in 0..8 {
            cases.push((smoothing, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
        }
    }
    cases
}

#[test]
fn gradients_of_changed_objectives_agree_with_the_reference() {
    check_each(cases(), |&(smoothing, of_classes, of_samples, labels)| {
        let problem = Problem {
            widths: vec![11, 23, 5],
            activation: Activation::Tanh,
            loss: Loss::CrossEntropy,
            batch: 40,
            labels,
        };
        let (reference, batch) = (problem.reference(), problem.batch());
        let (x, t) = batch.exact();
        let mut values = Values::new(0x0b7e);
        let mut weights = |wanted, n| -> Vec<f32> {
            let drawn = values.vec(n).into_iter().map(f32::abs);
            drawn.map(|w| if wanted { w } else { 1.0 }).collect()
        };
        let (classes, samples) = (weights(of_classes, 5), weights(of_samples, 40));
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
        let (classes64, samples64) = (wide(&classes), wide(&samples));
        let soft = softened(&t, f64::from(smoothing), &classes64, &samples64);
        // The mean is one over the weights of the labels, or over those of the samples.
        let total: f64 = (0..40)
            .map(|i| {
                let of_label = (0..5).map(|j| t.at(i, j) * classes64[j]).sum::<f64>();
                samples64[i] * if labels { of_label } else { 1.0 }
            })
            .sum();
        let factor = 40.0 / total;
        let (loss, gradients) = reference.gradients(&x, &soft);
        let bounds = reference.bounds(&x, &soft);
        let scaled = |layers| -> Vec<f64> { flatten(layers).iter().map(|g| g * factor).collect() };
        let expected = scaled(&gradients);
        // Softened targets and the mean are a few roundings of the terms, which are no larger than
        // the total of the targets times the largest input or weight: some 8.
        let own = 16.0 * U * 8.0;
        let bounds_of: Vec<f64> = scaled(&bounds.gradients).iter().map(|b| b + own).collect();

        let mut objective = Objective::default().label_smoothing(smoothing);
        if of_classes {
            objective = objective.class_weights(&classes);
        }
        for isa in isas() {
            let mut network = problem.network(isa)?;
            let before = network.parameters().to_vec();
            let trainer = network.trainer(Sgd::new(1.0)).map_err(|e| e.to_string())?;
            let mut trainer = trainer
                .objective(objective.clone())
                .map_err(|e| e.to_string())?
                .watch_gradient_norm(true);
            let data = match batch.targets() {
                Targets::Classes(labels) => Data::classes(batch.x(), labels),
                Targets::Values(values) => Data::values(batch.x(), values),
                _ => return Err("targets of another kind".into()),
            };
            let mut data = data.map_err(|e| e.to_string())?;
            if of_samples {
                data = data.weighted(&samples).map_err(|e| e.to_string())?;
            }
            let got = trainer
                .step_data(data, &Team::solo())
                .map_err(|e| e.to_string())?;
            let bound = (bounds.loss + 16.0 * U * loss) * factor;
            compare("loss", &[got], &[loss * factor], &[bound])?;
            let gradients = trainer.gradients().ok_or("the norm was watched")?;
            compare("gradient", gradients, &expected, &bounds_of)
                .map_err(|e| format!("{isa}: {e}"))?;
            if network.parameters() == before {
                return Err("nothing moved".into());
            }
        }
        Ok(())
    });
}
