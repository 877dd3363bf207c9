//! What ends a training.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{config, small, spiral, xor};
use crate::{
    Adam, Data, Dataset, EarlyStopping, Loss, Mlp, ReduceOnPlateau, Report, Sgd, StopReason,
    TrainConfig,
};

fn train(settings: TrainConfig<'_>) -> (Mlp, Report) {
    let mut net = small().build().unwrap();
    let report = net.fit(&spiral(64), &settings).unwrap();
    (net, report)
}

#[test]
fn a_low_loss_ends_a_training() {
    let (_, all) = train(config().max_epochs(20));
    let losses: Vec<f32> = all.history.iter().map(|epoch| epoch.loss).collect();
    let bar = 0.5 * (losses[0] + losses[19]);
    let first = losses.iter().position(|&loss| loss < bar).unwrap() + 1;
    let (_, report) = train(config().max_epochs(20).stop_below_loss(bar));
    assert_eq!(report.stop_reason, StopReason::LossThreshold);
    assert_eq!(report.epochs, first);
    assert!(report.to_string().starts_with("stopped by a loss below"));
}

#[test]
fn a_small_gradient_ends_a_training() {
    let data = Dataset::values(vec![1.0, 2.0], 1, vec![1.0, 2.0], 1).unwrap();
    let builder = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError);
    let mut net = builder.build().unwrap();
    let settings = config()
        .optimizer(Sgd::new(0.2))
        .max_epochs(10_000)
        .stop_below_gradient_norm(1e-3);
    let report = net.fit(&data, &settings).unwrap();
    assert_eq!(report.stop_reason, StopReason::GradientNorm);
    let norms: Vec<f32> = report
        .history
        .iter()
        .map(|e| e.gradient_norm.unwrap())
        .collect();
    let (last, before) = norms.split_last().unwrap();
    assert!(*last < 1e-3 && before.iter().all(|norm| *norm >= 1e-3));
    assert!(!before.is_empty());
}

#[test]
fn accuracy_is_watched_if_asked_for() {
    let data = spiral(64);
    let stopping = || EarlyStopping::patience(3).on_accuracy();
    let settings = || config().optimizer(Adam::new(0.05)).validation(&data);
    let (net, report) = train(
        settings()
            .max_epochs(200)
            .early_stopping(stopping().restore_best()),
    );
    let accuracy: Vec<f32> = report
        .history
        .iter()
        .map(|epoch| epoch.validation.unwrap().accuracy.unwrap())
        .collect();
    assert_eq!(report.stop_reason, StopReason::ValidationPlateau);
    let best = report.best_epoch.unwrap();
    let highest = accuracy.iter().fold(0f32, |max, &a| max.max(a));
    assert_eq!(accuracy[best - 1], highest);
    assert!(accuracy[..best - 1].iter().all(|&a| a < highest));
    assert_eq!(report.epochs, best + 3);
    let at_best = report.history[best - 1].validation.unwrap();
    assert_eq!(report.best_validation, at_best.loss);
    assert_eq!(net.evaluate(&data).unwrap(), at_best);

    let mut regression = Mlp::builder(2)
        .dense(2)
        .loss(Loss::MeanSquaredError)
        .build()
        .unwrap();
    let values = Dataset::values(vec![0.0; 4], 2, vec![0.0; 4], 2).unwrap();
    let settings = config().validation(&values).early_stopping(stopping());
    assert_eq!(
        regression.fit(&values, &settings).unwrap_err().to_string(),
        "early_stopping: expected a network that tells classes apart, to watch its accuracy, \
         got mean squared error"
    );
}

#[test]
fn a_training_ends_when_its_time_is_up() {
    // Four steps in an epoch: the first is taken, the epoch is not finished.
    let (net, report) = train(config().time_budget(Duration::ZERO));
    assert_eq!(report.stop_reason, StopReason::TimeBudget);
    assert_eq!((report.steps, report.epochs), (1, 0));
    assert!(report.history.is_empty() && report.loss().is_nan());
    assert_ne!(net.parameters(), small().build().unwrap().parameters());
    // One step in an epoch: it is finished.
    let (_, report) = train(config().time_budget(Duration::ZERO).batch_size(64));
    assert_eq!(report.stop_reason, StopReason::TimeBudget);
    assert_eq!((report.steps, report.epochs), (1, 1));
    let (_, report) = train(config().time_budget(Duration::from_secs(1000)));
    assert_eq!(report.stop_reason, StopReason::MaxEpochs);
}

/// Cut after every single step, and once in a checkpoint: the numbers, the schedule and the plateau, which
/// watches the loss of whole epochs, are those of a training in one piece.
#[test]
fn an_epoch_cut_short_goes_on_where_it_was() {
    let data = spiral(64);
    let net = || {
        let net = Mlp::builder(2).dense(16).batch_norm().tanh().dropout(0.25);
        net.dense(2).seed(3).build().unwrap()
    };
    let settings = || {
        let plateau = ReduceOnPlateau::new(0.5).patience(0).threshold(0.05);
        let settings = config().reduce_on_plateau(plateau);
        settings.stop_below_gradient_norm(1e-9).max_epochs(3)
    };
    let mut straight = net();
    let whole = straight.fit(&data, &settings()).unwrap();
    assert!(whole.history.iter().any(|epoch| epoch.learning_rate < 0.03));

    let mut cut = net();
    let short = || settings().time_budget(Duration::ZERO);
    let mut history = Vec::new();
    let first = cut.fit(&data, &short()).unwrap();
    assert_eq!((first.steps, first.epochs), (1, 0));
    let path = std::env::temp_dir().join(format!("mlp-cut-{}", std::process::id()));
    for step in 1..12 {
        if step == 6 {
            cut.save_checkpoint(&path).unwrap();
            cut = Mlp::load(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        if step == 7 {
            let snapshot = cut.snapshot();
            cut = net();
            cut.restore(&snapshot).unwrap();
        }
        let report = cut.resume(&data, &short()).unwrap();
        assert_eq!(report.steps, 1);
        history.extend(report.history);
    }
    assert_eq!(cut.network.parameters, straight.network.parameters);
    let told = |epoch: &crate::EpochReport| (epoch.loss, epoch.gradient_norm, epoch.learning_rate);
    let whole: Vec<_> = whole.history.iter().map(told).collect();
    assert_eq!(history.iter().map(told).collect::<Vec<_>>(), whole);

    // Of other data, or in a training of its own, no batch is left out.
    let mut other = net();
    other.fit(&data, &short()).unwrap();
    let report = other.resume(&spiral(60), &settings().max_epochs(1));
    assert_eq!(report.unwrap().steps, 4);
    other.fit(&data, &short()).unwrap();
    assert_eq!(
        other.fit(&data, &settings().max_epochs(1)).unwrap().steps,
        4
    );
}

#[test]
fn early_stopping_leaves_a_training_that_can_go_on() {
    let data = spiral(60);
    let wrong: Vec<u32> = data.labels().unwrap().iter().map(|l| 1 - l).collect();
    let wrong = Data::classes(data.inputs(), &wrong).unwrap();
    let settings = || {
        let plateau = ReduceOnPlateau::new(0.5).patience(0);
        config().validation(wrong).reduce_on_plateau(plateau)
    };
    let net = || small().dropout(0.1).dense(2).build().unwrap();
    let straight = |epochs| {
        let mut straight = net();
        straight.fit(&data, &settings().max_epochs(epochs)).unwrap();
        straight
    };
    for restore_best in [false, true] {
        let mut stopping = EarlyStopping::patience(3);
        if restore_best {
            stopping = stopping.restore_best();
        }
        let mut stopped = net();
        let early = settings().max_epochs(100).early_stopping(stopping);
        let report = stopped.fit(&data, &early).unwrap();
        assert_eq!(report.stop_reason, StopReason::ValidationPlateau);
        assert_eq!(report.steps, 4 * report.epochs as u64);
        let best = report.best_epoch.unwrap();
        assert!(best + 3 == report.epochs);
        let kept = if restore_best { best } else { report.epochs };
        assert_eq!(stopped.parameters(), straight(kept).parameters());
        stopped.resume(&data, &settings().max_epochs(2)).unwrap();
        assert_eq!(stopped.parameters(), straight(kept + 2).parameters());
    }
}

/// All at once: the callback is asked first, then what the data say.
#[test]
fn the_report_names_the_first_reason() {
    let settings = || {
        config()
            .time_budget(Duration::ZERO)
            .batch_size(64)
            .stop_below_loss(1e9)
            .stop_below_gradient_norm(1e9)
    };
    let (_, report) = train(settings());
    assert_eq!(report.stop_reason, StopReason::LossThreshold);
    let (_, report) = train(settings().stop_below_loss(-1.0));
    assert_eq!(report.stop_reason, StopReason::GradientNorm);
    let (_, report) = train(settings().on_epoch(|_| ControlFlow::Break(())));
    assert_eq!(report.stop_reason, StopReason::Callback);
}

#[test]
fn thresholds_out_of_range_are_refused() {
    let mut net = small().build().unwrap();
    for (settings, expected) in [
        (
            config().stop_below_loss(f32::NAN),
            "stop_below_loss: expected a number, got NaN",
        ),
        (
            config().stop_below_gradient_norm(0.0),
            "stop_below_gradient_norm: expected a finite number above 0, got 0",
        ),
    ] {
        let error = net.fit(&xor(), &settings).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
