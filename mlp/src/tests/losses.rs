//! What each loss means for training and for answers.

use super::{XOR, XOR_LABELS, config, message, small, xor};
use crate::{
    Adam, Data, Dataset, EarlyStopping, Loss, LossBatch, MatRef, Mlp, MlpError, Objective, Sgd,
    StopReason, Targets, Team, TrainConfig,
};

fn line() -> Dataset {
    let x: Vec<f32> = (0..64u8).map(|i| f32::from(i) / 32.0 - 1.0).collect();
    let y: Vec<f32> = x.iter().map(|x| 3.0 * x - 0.5).collect();
    Dataset::values(x, 1, y, 1).unwrap()
}

#[test]
fn regression_fits_a_line_with_every_loss() {
    for loss in [
        Loss::MeanSquaredError,
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.5 },
    ] {
        let mut net = Mlp::builder(1).dense(1).loss(loss).build().unwrap();
        let schedule = crate::Schedule::cosine(200, 0.0);
        let settings = config().optimizer(Adam::new(0.1)).schedule(schedule);
        let report = net.fit(&line(), &settings.max_epochs(200)).unwrap();
        assert!(report.loss() < 1e-3, "{loss}: {report}");
        assert!((net.weights(0).unwrap().at(0, 0) - 3.0).abs() < 1e-2);
        assert_eq!(net.evaluate(&line()).unwrap().accuracy, None);
        let refused = net.predict(line().inputs()).unwrap_err();
        assert!(
            matches!(refused, MlpError::NotAClassifier { .. }),
            "{refused}"
        );
    }
}

/// One outlier moves the mean, not the median.
#[test]
fn absolute_error_finds_the_median() {
    let x = vec![1.0; 5];
    let data = Dataset::values(x, 1, vec![1.0, 2.0, 3.0, 4.0, 1000.0], 1).unwrap();
    let mut net = Mlp::builder(1)
        .dense(1)
        .loss(Loss::MeanAbsoluteError)
        .build()
        .unwrap();
    let schedule = crate::Schedule::cosine(400, 0.0);
    let settings = config().optimizer(Sgd::new(0.5)).schedule(schedule);
    net.fit(&data, &settings.max_epochs(400)).unwrap();
    let answer = net.forward(data.inputs()).unwrap().row(0)[0];
    assert!((answer - 3.0).abs() < 0.05, "{answer}");
}

#[test]
fn one_output_tells_two_classes_apart() {
    let builder = Mlp::builder(2).dense(16).tanh().dense(1).seed(1);
    let mut net = builder.loss(Loss::BinaryCrossEntropy).build().unwrap();
    let settings = config().optimizer(Adam::new(0.05)).max_epochs(300);
    let x = xor();
    let report = net.fit(&x, &settings.validation(&x)).unwrap();
    assert!(report.loss() < 0.05, "{report}");
    let last = report.history.last().unwrap().validation.unwrap();
    assert_eq!(last.accuracy, Some(1.0));
    assert_eq!(net.predict(x.inputs()).unwrap(), XOR_LABELS);
    let probabilities = net.predict_proba(x.inputs()).unwrap();
    let logits = net.forward(x.inputs()).unwrap();
    for (row, &label) in XOR_LABELS.iter().enumerate() {
        let (p, z) = (probabilities.row(row)[0], logits.row(row)[0]);
        approx::assert_relative_eq!(p, 1.0 / (1.0 + (-z).exp()), max_relative = 1e-5);
        assert_eq!(p > 0.5, label == 1);
    }
    let mut out = [f32::NAN; 4];
    let view = crate::MatMut::from_row_major(&mut out, 4, 1).unwrap();
    let mut workspace = net.predict_workspace();
    net.predict_into(x.inputs(), view, &mut workspace).unwrap();
    assert_eq!(out, probabilities.as_slice());

    let labels = Data::classes(x.inputs(), &[0, 2, 1, 0]).unwrap();
    let error = net.evaluate(labels).unwrap_err().to_string();
    assert!(error.starts_with("label 2 in row 1"), "{error}");
}

#[test]
fn several_outputs_are_questions_of_their_own() {
    let builder = Mlp::builder(2).dense(16).tanh().dense(2).seed(1);
    let mut net = builder.loss(Loss::BinaryCrossEntropy).build().unwrap();
    // Whether any feature is 1, and whether both are.
    let targets = vec![0., 0., 1., 0., 1., 0., 1., 1.];
    let data = Dataset::values(XOR.to_vec(), 2, targets.clone(), 2).unwrap();
    let settings = config().optimizer(Adam::new(0.05)).max_epochs(200);
    net.fit(&data, &settings).unwrap();
    assert_eq!(net.evaluate(&data).unwrap().accuracy, Some(1.0));
    let answers = net.predict_proba(data.inputs()).unwrap();
    for (p, t) in answers.as_slice().iter().zip(targets) {
        assert_eq!(*p > 0.5, t == 1.0);
    }
    let refused = net.predict(data.inputs()).unwrap_err().to_string();
    assert!(refused.contains("expected one output"), "{refused}");
    let impossible = Dataset::values(XOR.to_vec(), 2, vec![1.5; 8], 2).unwrap();
    assert_eq!(
        net.evaluate(&impossible).unwrap_err().to_string(),
        "targets for binary cross-entropy: expected probabilities, 0 to 1, got 1.5 in row 0, column 0"
    );
    let labels = net.evaluate(&xor()).unwrap_err();
    assert!(matches!(labels, MlpError::Targets { .. }), "{labels}");
}

/// A weight of 2 is a sample that is there twice, one of 0 a sample that is not there.
#[test]
fn weights_count_samples() {
    let x = [0.5, -1.0, 2.0, 0.25, -0.75, 1.5];
    let twice = [0.5, -1.0, 0.5, -1.0, -0.75, 1.5];
    let values = [0.25, 0.75, 1.0, 0.5, 0.0, 1.0];
    let twice_values = [0.25, 0.75, 0.25, 0.75, 0.0, 1.0];
    let weights = [2.0, 0.0, 1.0];
    let matrix = |data| MatRef::from_row_major(data, 3, 2).unwrap();
    for loss in [
        Loss::SoftmaxCrossEntropy,
        Loss::BinaryCrossEntropy,
        Loss::MeanSquaredError,
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.5 },
    ] {
        let data = Data::values(matrix(&x), matrix(&values)).unwrap();
        let weighted = data.weighted(&weights).unwrap();
        let doubled = Data::values(matrix(&twice), matrix(&twice_values)).unwrap();
        let mut cases = vec![(weighted, doubled)];
        let labels = Data::classes(matrix(&x), &[1, 0, 0]).unwrap();
        if loss == Loss::SoftmaxCrossEntropy {
            let doubled = Data::classes(matrix(&twice), &[1, 1, 0]).unwrap();
            cases.push((labels.weighted(&weights).unwrap(), doubled));
        }
        for (weighted, doubled) in cases {
            let run = |data: Data<'_>| {
                let mut net = small().loss(loss).build().unwrap();
                let evaluated = net.evaluate(data).unwrap().loss;
                let mut trainer = net.trainer(Sgd::new(1.0)).unwrap();
                let first = trainer.step_data(data, &Team::solo()).unwrap();
                (evaluated, first, net.parameters().to_vec())
            };
            let (ours, expected) = (run(weighted), run(doubled));
            approx::assert_relative_eq!(ours.0, expected.0, max_relative = 1e-5);
            approx::assert_relative_eq!(ours.1, expected.1, max_relative = 1e-5);
            for (a, b) in ours.2.iter().zip(&expected.2) {
                approx::assert_relative_eq!(a, b, max_relative = 1e-4, epsilon = 1e-6);
            }
            // In a training the loss of an epoch is the mean over weights, however they are batched.
            let mut net = small().loss(loss).build().unwrap();
            let settings = config().optimizer(Sgd::new(0.0)).batch_size(2);
            let report = net.fit(weighted, &settings.max_epochs(1)).unwrap();
            approx::assert_relative_eq!(report.loss(), expected.0, max_relative = 1e-5);
        }
    }
}

#[test]
fn an_objective_changes_training_and_not_validation() {
    let data = xor();
    let plain = |objective: Objective| {
        let mut net = small().build().unwrap();
        let settings = config().optimizer(Sgd::new(0.0)).max_epochs(1);
        let settings = settings.objective(objective).validation(&data);
        let history = net.fit(&data, &settings);
        let epoch = history.unwrap().history[0];
        (epoch.loss, epoch.validation.unwrap().loss)
    };
    let (loss, validation) = plain(Objective::default());
    approx::assert_relative_eq!(loss, validation, max_relative = 1e-5);
    let smoothed = Objective::default().label_smoothing(0.5);
    let weighted = Objective::default().class_weights(&[1.0, 0.0]);
    for objective in [smoothed, weighted] {
        let (changed, still) = plain(objective);
        assert_eq!(still, validation);
        assert!((changed - loss).abs() > 1e-3, "{changed} {loss}");
    }
}

/// Half of the mean of squares, for rows of any width.
fn half_squares(batch: LossBatch<'_>) -> f32 {
    let (mut gradient, mut sum) = (batch.gradient, 0.0);
    let Targets::Values(targets) = batch.targets else {
        return f32::NAN;
    };
    let (rows, cols) = (batch.outputs.rows(), batch.outputs.cols());
    let count = (rows * cols) as f32;
    for row in 0..rows {
        for col in 0..cols {
            let d = batch.outputs.at(row, col) - targets.at(row, col);
            sum += d * d / 2.0;
            *gradient.at_mut(row, col) = d / count;
        }
    }
    sum / count
}

#[test]
fn a_loss_of_ones_own_trains_like_one_built_in() {
    let data = line();
    let build = || {
        let builder = Mlp::builder(1).dense(8).tanh().dense(1);
        builder.loss(Loss::MeanSquaredError).build().unwrap()
    };
    let (mut own, mut built) = (build(), build());
    let settings = || config().validation(&data).threads(2).max_epochs(30);
    let ours = settings()
        .optimizer(Sgd::new(0.2))
        .loss_fn(half_squares)
        .early_stopping(EarlyStopping::patience(50).restore_best());
    let ours = own.fit(&data, &ours).unwrap();
    let theirs = built.fit(&data, &settings().optimizer(Sgd::new(0.1)));
    let theirs = theirs.unwrap();
    for (a, b) in own.parameters().iter().zip(built.parameters()) {
        approx::assert_relative_eq!(a, b, max_relative = 1e-3, epsilon = 1e-4);
    }
    let (ours, theirs) = (ours.best_validation, theirs.best_validation);
    approx::assert_relative_eq!(2.0 * ours, theirs, max_relative = 1e-2);

    // Step by step, and with targets of another shape than the outputs.
    let before = own.parameters().to_vec();
    let wide = vec![0.0; 3 * data.n_samples()];
    let wide = MatRef::from_row_major(&wide, data.n_samples(), 3).unwrap();
    let mut trainer = own.trainer(Sgd::new(0.1)).unwrap();
    let loss = trainer.step_with(
        data.inputs(),
        Targets::Values(wide),
        &Team::solo(),
        |batch| {
            let mut gradient = batch.gradient;
            *gradient.at_mut(0, 0) = 1.0;
            7.0
        },
    );
    assert_eq!(loss.unwrap(), 7.0);
    assert_ne!(own.parameters(), before);
}

/// Two batches an epoch, and no number from one of the calls of the loss.
#[test]
fn what_is_not_finite_costs_no_finished_epoch() {
    let data = Dataset::values(vec![0.0, 1.0, 2.0, 3.0], 1, vec![1.0, 0.0, 3.0, 2.0], 1).unwrap();
    let build = || {
        let builder = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError);
        builder.build().unwrap()
    };
    let plain = |batch: LossBatch<'_>| {
        let mut gradient = batch.gradient;
        for row in 0..batch.outputs.rows() {
            *gradient.at_mut(row, 0) = 0.5 * *batch.outputs.at(row, 0) - 1.0;
        }
        1.0
    };
    fn settings<'a>() -> TrainConfig<'a> {
        config()
            .optimizer(Sgd::new(0.1))
            .batch_size(2)
            .max_epochs(9)
    }
    for bad_call in 1..=6usize {
        let mut calls = 0;
        let loss = |batch: LossBatch<'_>| {
            calls += 1;
            let loss = plain(batch);
            if calls == bad_call { f32::NAN } else { loss }
        };
        let mut net = build();
        let report = net.fit(&data, &settings().loss_fn(loss)).unwrap();
        assert_eq!(report.stop_reason, StopReason::NonFinite);
        let finished = (bad_call - 1) / 2;
        assert_eq!(report.epochs, finished);
        let mut other = build();
        if finished > 0 {
            let settings = settings().max_epochs(finished).loss_fn(plain);
            other.fit(&data, &settings).unwrap();
        }
        assert_eq!(net.parameters(), other.parameters(), "call {bad_call}");
    }
}

#[test]
fn a_loss_of_ones_own_that_is_not_finite_changes_nothing() {
    let data = line();
    let builder = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError);
    let mut net = builder.build().unwrap();
    let before = net.parameters().to_vec();
    let poisoned = |batch: LossBatch<'_>| {
        let mut gradient = batch.gradient;
        *gradient.at_mut(3, 0) = f32::INFINITY;
        1.0
    };
    for settings in [config().loss_fn(|_| f32::NAN), config().loss_fn(poisoned)] {
        let report = net.fit(&data, &settings).unwrap();
        assert_eq!(report.stop_reason, StopReason::NonFinite);
    }
    let mut trainer = net.trainer(Sgd::new(0.1)).unwrap();
    let error = trainer.step_with(data.inputs(), data.targets(), &Team::solo(), poisoned);
    assert!(
        matches!(error, Err(MlpError::NonFiniteLoss { .. })),
        "{error:?}"
    );
    assert_eq!(net.parameters(), before);
}

/// Targets of a loss of one's own may be anything; an accuracy is told where they name classes.
#[test]
fn accuracy_beside_a_loss_of_ones_own_needs_targets_that_name_classes() {
    let (x, wide) = (xor(), [0.25; 12]);
    let wide = MatRef::from_row_major(&wide, 4, 3).unwrap();
    let wide = Data::values(x.inputs(), wide).unwrap();
    fn settings<'a>(validation: Data<'a>) -> TrainConfig<'a> {
        let settings = config().loss_fn(|_| 1.0).max_epochs(1);
        settings.validation(validation)
    }
    let accuracy = |data: Data<'_>| {
        let report = small().build().unwrap().fit(data, &settings(data));
        report.unwrap().history[0].validation.unwrap().accuracy
    };
    assert!(accuracy(Data::from(&x)).is_some());
    assert_eq!(accuracy(wide), None);
    let watching = |data| {
        let stopping = EarlyStopping::patience(1).on_accuracy();
        settings(data).early_stopping(stopping)
    };
    let mut net = small().build().unwrap();
    assert!(net.fit(&x, &watching(Data::from(&x))).is_ok());
    let before = net.parameters().to_vec();
    assert_eq!(
        message(net.fit(wide, &watching(wide))),
        "targets: expected 4 x 2, got 4 x 3"
    );
    assert_eq!(net.parameters(), before);
}

#[test]
fn an_objective_beside_a_loss_of_ones_own_is_refused() {
    let x = xor();
    let smoothed = || Objective::default().label_smoothing(0.25);
    let expected = "objective: expected no label smoothing and no weights of classes beside a loss of \
                    one's own, got Objective { label_smoothing: 0.25, class_weights: [] }";
    let mut net = small().build().unwrap();
    let settings = || config().objective(smoothed()).loss_fn(|_| 1.0);
    assert_eq!(message(net.fit(&x, &settings())), expected);
    let sweep = crate::RateSweep::default();
    let swept = net.find_learning_rate(&x, &settings(), sweep);
    assert_eq!(message(swept), expected);
    let trainer = net.trainer(Sgd::new(0.1)).unwrap();
    let mut trainer = trainer.objective(smoothed()).unwrap();
    let step = trainer.step_with(x.inputs(), x.targets(), &Team::solo(), |_| 1.0);
    assert_eq!(message(step), expected);
}

#[test]
fn objectives_and_losses_out_of_range_are_refused() {
    let refused = |objective: Objective| {
        let mut net = small().build().unwrap();
        let settings = config().objective(objective.clone());
        let by_fit = net.fit(&xor(), &settings).unwrap_err().to_string();
        let trainer = net.trainer(Sgd::new(0.1)).unwrap();
        let by_trainer = trainer.objective(objective).unwrap_err().to_string();
        assert_eq!(by_fit, by_trainer);
        by_fit
    };
    let plain = Objective::default;
    let finite = "class_weights: expected finite numbers of at least 0, not all 0";
    for (objective, expected) in [
        (
            plain().label_smoothing(1.0),
            "label_smoothing: expected a number of at least 0 and below 1, got 1".into(),
        ),
        (
            plain().class_weights(&[1.0; 3]),
            "class_weights: expected a weight for each class, got 3 for 2 classes".into(),
        ),
        (
            plain().class_weights(&[1.0, -1.0]),
            format!("{finite}, got -1"),
        ),
        (
            plain().class_weights(&[0.0, 0.0]),
            format!("{finite}, got 0 for each"),
        ),
    ] {
        assert_eq!(refused(objective), expected);
    }
    let mut net = Mlp::builder(1)
        .dense(1)
        .loss(Loss::MeanSquaredError)
        .build()
        .unwrap();
    let settings = config().objective(plain().label_smoothing(0.1));
    assert_eq!(
        net.fit(&line(), &settings).unwrap_err().to_string(),
        "objective: expected softmax cross-entropy as the loss of the network, got mean squared error"
    );
    for delta in [0.0, -1.0, f32::NAN] {
        let huber = Mlp::builder(1).dense(1).loss(Loss::Huber { delta });
        let error = huber.build().unwrap_err().to_string();
        assert!(error.starts_with("delta: expected a finite number above 0"));
    }
}
