//! The whole of it on small problems; comparisons with a reference are elsewhere.

mod blocks;
mod decay;
mod ensemble;
mod explain;
mod losses;
mod rates;
mod refused_calls;
mod refused_networks;
mod save;
mod search;
mod stopping;

use std::ops::ControlFlow;

use crate::{
    Adam, AdamW, Data, Dataset, EarlyStopping, Init, Loss, MatMut, MatRef, Mlp, MlpBuilder,
    MlpError, Optimizer, Rmsprop, Sgd, StopReason, Targets, Team, TrainConfig,
};

const XOR: [f32; 8] = [0., 0., 0., 1., 1., 0., 1., 1.];
const XOR_LABELS: [u32; 4] = [0, 1, 1, 0];

/// The message of an error, for tables of what is refused.
fn message<T>(result: Result<T, impl ToString>) -> String {
    match result {
        Ok(_) => "accepted".into(),
        Err(error) => error.to_string(),
    }
}

fn xor() -> Dataset {
    Dataset::classes(XOR.to_vec(), 2, XOR_LABELS.to_vec()).unwrap()
}

/// Points on two arms of a spiral.
fn spiral(n: usize) -> Dataset {
    let label = |i: usize| (i % 2) as u32;
    let points = (0..n).flat_map(|i| {
        let t = (i / 2) as f32 / (n / 2) as f32 * 6.0 + 0.5;
        let angle = t + 3.2 * label(i) as f32;
        [t * angle.cos() / 6.0, t * angle.sin() / 6.0]
    });
    Dataset::classes(points.collect(), 2, (0..n).map(label).collect()).unwrap()
}

fn small() -> MlpBuilder {
    Mlp::builder(2).dense(16).tanh().dense(2).seed(1)
}

fn config<'a>() -> TrainConfig<'a> {
    TrainConfig::default()
        .optimizer(Adam::new(0.03))
        .batch_size(16)
        .max_epochs(8)
        .threads(1)
}

#[test]
fn learns_xor_with_every_activation() {
    let net = || Mlp::builder(2).dense(16);
    for builder in [
        net().relu(),
        net().leaky_relu(0.1),
        net().sigmoid(),
        net().tanh(),
    ] {
        let mut net = builder.dense(2).seed(3).build().unwrap();
        let config = config().optimizer(Adam::new(0.05)).max_epochs(400);
        let report = net.fit(&xor(), &config).unwrap();
        assert_eq!(report.stop_reason, StopReason::MaxEpochs);
        assert_eq!((report.epochs, report.steps), (400, 400));
        assert!(report.loss() < 0.05, "{report}");
        assert_eq!(net.predict(xor().inputs()).unwrap(), XOR_LABELS);
        assert_eq!(net.evaluate(&xor()).unwrap().accuracy, Some(1.0));
    }
}

#[test]
fn learns_with_every_optimizer() {
    let optimizers: [Optimizer; 6] = [
        Sgd::new(0.5).into(),
        Sgd::new(0.1).momentum(0.9).into(),
        Sgd::new(0.1)
            .momentum(0.9)
            .nesterov()
            .weight_decay(1e-5)
            .into(),
        Adam::new(0.05).into(),
        AdamW::new(0.05).into(),
        Rmsprop::new(0.01).into(),
    ];
    for optimizer in optimizers {
        let mut net = small().build().unwrap();
        let config = config().optimizer(optimizer).max_epochs(600);
        let report = net.fit(&xor(), &config).unwrap();
        assert!(report.loss() < 0.05, "{optimizer:?}: {report}");
    }
}

#[test]
fn regression_fits_a_line() {
    let x: Vec<f32> = (0..64u8).map(|i| f32::from(i) / 32.0 - 1.0).collect();
    let y: Vec<f32> = x.iter().map(|x| 3.0 * x - 0.5).collect();
    let data = Dataset::values(x, 1, y, 1).unwrap();
    let builder = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError);
    let mut net = builder.build().unwrap();
    let config = config().optimizer(Sgd::new(0.2)).max_epochs(100);
    let report = net.fit(&data, &config).unwrap();
    assert!(report.loss() < 1e-6, "{report}");
    assert!((net.weights(0).unwrap().at(0, 0) - 3.0).abs() < 1e-3);
    assert!((net.bias(0).unwrap()[0] + 0.5).abs() < 1e-3);
    assert_eq!(net.evaluate(&data).unwrap().accuracy, None);
}

#[test]
fn soft_targets_that_are_one_hot_train_like_labels() {
    let one_hot = [1., 0., 0., 1., 0., 1., 1., 0.];
    let x = MatRef::from_row_major(&XOR, 4, 2).unwrap();
    let y = MatRef::from_row_major(&one_hot, 4, 2).unwrap();
    let (mut by_label, mut by_row) = (small().build().unwrap(), small().build().unwrap());
    by_label.fit(&xor(), &config()).unwrap();
    by_row.fit(Data::values(x, y).unwrap(), &config()).unwrap();
    for (a, b) in by_label.parameters().iter().zip(by_row.parameters()) {
        approx::assert_relative_eq!(a, b, max_relative = 1e-4, epsilon = 1e-6);
    }
}

#[test]
fn the_answers_agree_with_each_other() {
    let data = spiral(700);
    let mut net = small().build().unwrap();
    net.fit(&data, &config()).unwrap();
    let x = data.inputs();
    let logits = net.forward(x).unwrap();
    let probs = net.predict_proba(x).unwrap();
    let classes = net.predict(x).unwrap();
    let mut out = vec![f32::NAN; 1400];
    let mut workspace = net.predict_workspace();
    let view = MatMut::from_row_major(&mut out, 700, 2).unwrap();
    net.predict_into(x, view, &mut workspace).unwrap();
    assert_eq!(out, probs.as_slice());
    let mut hits = 0;
    for (i, &class) in classes.iter().enumerate() {
        let class = class as usize;
        assert!(logits.row(i)[class] >= logits.row(i)[1 - class]);
        assert!(probs.row(i)[class] >= 0.5);
        approx::assert_relative_eq!(probs.row(i).iter().sum::<f32>(), 1.0, epsilon = 1e-6);
        hits += usize::from(data.labels().unwrap()[i] as usize == class);
    }
    let accuracy = net.evaluate(&data).unwrap().accuracy;
    assert_eq!(accuracy, Some(hits as f32 / 700.0));
}

#[test]
fn gradients_of_the_loss_and_of_its_output_gradient_agree() {
    let team = Team::solo();
    let x = MatRef::from_row_major(&XOR, 4, 2).unwrap();
    let target = [0.5, -1.0, 2.0, 0.0];
    let target = MatRef::from_row_major(&target, 4, 1).unwrap();
    let builder = Mlp::builder(2).dense(5).sigmoid().dense(1);
    let mut net = builder.loss(Loss::MeanSquaredError).build().unwrap();
    let mut trainer = net.trainer(Sgd::new(0.1)).unwrap();
    trainer
        .gradients_of(x, Targets::Values(target), &team)
        .unwrap();
    let by_loss = trainer.gradients().unwrap().to_vec();
    let outputs = trainer.forward(x, &team).unwrap();
    let by_hand: Vec<f32> = (0..4)
        .map(|i| 2.0 / 4.0 * (outputs.at(i, 0) - target.at(i, 0)))
        .collect();
    let by_hand = MatRef::from_row_major(&by_hand, 4, 1).unwrap();
    trainer.backward(x, by_hand, &team).unwrap();
    for (a, b) in by_loss.iter().zip(trainer.gradients().unwrap()) {
        approx::assert_relative_eq!(a, b, max_relative = 1e-5, epsilon = 1e-7);
    }
    assert!(by_loss.iter().any(|g| g.abs() > 1e-3));
    let error = trainer.backward(x, by_hand, &team).unwrap_err();
    assert!(
        error.to_string().contains("expected a forward pass"),
        "{error}"
    );
}

#[test]
fn the_same_bits_whatever_the_threads() {
    // Wide enough for updates in several chunks and products that are worth dividing.
    let data = spiral(300);
    let bits = |threads| {
        let builder = Mlp::builder(2).dense(150).relu().dense(130).tanh().dense(2);
        let mut net = builder.seed(5).build().unwrap();
        net.fit(&data, &config().threads(threads).batch_size(64))
            .unwrap();
        net.parameters()
            .iter()
            .map(|w| w.to_bits())
            .collect::<Vec<_>>()
    };
    let one = bits(1);
    for threads in [2, 3, 8] {
        assert_eq!(one, bits(threads), "{threads} threads");
    }
}

#[test]
fn resumed_and_partial_trainings_end_in_the_bits_of_one_run() {
    let data = spiral(100);
    let mut straight = small().build().unwrap();
    straight.fit(&data, &config().max_epochs(5)).unwrap();

    let mut resumed = small().build().unwrap();
    resumed.fit(&data, &config().max_epochs(2)).unwrap();
    let snapshot = resumed.snapshot();
    let mut restored = small().seed(1).build().unwrap();
    restored.restore(&snapshot).unwrap();
    for net in [&mut resumed, &mut restored] {
        net.resume(&data, &config().max_epochs(3)).unwrap();
        assert_eq!(net.parameters(), straight.parameters());
    }

    let mut partial = small().build().unwrap();
    for _ in 0..5 {
        let report = partial.partial_fit(&data, &config()).unwrap();
        assert_eq!((report.epochs, report.steps), (1, 7));
    }
    assert_eq!(partial.parameters(), straight.parameters());
}

#[test]
fn a_loop_of_ones_own_is_what_fit_does() {
    let data = spiral(96);
    let (x, labels) = (data.inputs(), data.labels().unwrap());
    let mut fitted = small().build().unwrap();
    let settings = config()
        .optimizer(Sgd::new(0.1).momentum(0.9))
        .shuffle(false);
    fitted
        .fit(&data, &settings.batch_size(20).max_epochs(2))
        .unwrap();

    let mut net = small().build().unwrap();
    let mut trainer = net.trainer(Sgd::new(0.1).momentum(0.9)).unwrap();
    for start in [0, 20, 40, 60, 80, 0, 20, 40, 60, 80] {
        let rows = start..96.min(start + 20);
        let batch = x.part(rows.clone(), 0..2);
        let targets = Targets::Classes(&labels[rows]);
        trainer.step(batch, targets, &Team::solo()).unwrap();
    }
    assert_eq!(net.parameters(), fitted.parameters());
}

#[test]
fn the_order_of_the_samples_is_that_of_the_seed() {
    let data = spiral(64);
    let fit = |settings: TrainConfig<'_>| {
        let mut net = small().build().unwrap();
        net.fit(&data, &settings).unwrap();
        net.parameters().to_vec()
    };
    assert_eq!(fit(config()), fit(config().seed(1)));
    assert_ne!(fit(config()), fit(config().seed(2)));
    assert_ne!(fit(config()), fit(config().shuffle(false)));
}

#[test]
fn early_stopping_ends_with_the_best_parameters() {
    // The validation labels are turned round: what is learned makes them worse from the start on.
    let data = spiral(60);
    let wrong: Vec<u32> = data.labels().unwrap().iter().map(|l| 1 - l).collect();
    let wrong = Data::classes(data.inputs(), &wrong).unwrap();
    let stopping = EarlyStopping::patience(3).min_delta(1e-6).restore_best();
    let settings = config()
        .max_epochs(100)
        .validation(wrong)
        .early_stopping(stopping);
    let mut net = small().init(Init::XavierUniform).build().unwrap();
    let report = net.fit(&data, &settings).unwrap();
    assert_eq!(report.stop_reason, StopReason::ValidationPlateau);
    assert_eq!(Some(report.epochs - 3), report.best_epoch);
    assert_eq!(net.evaluate(wrong).unwrap().loss, report.best_validation);
    let losses = report
        .history
        .iter()
        .map(|epoch| epoch.validation.unwrap().loss);
    assert_eq!(losses.fold(f32::INFINITY, f32::min), report.best_validation);
}

#[test]
fn the_best_epoch_is_the_lowest_however_little_it_was_better() {
    let data = spiral(60);
    let mut net = small().build().unwrap();
    let stopping = EarlyStopping::patience(4).min_delta(1e3).restore_best();
    let settings = config().max_epochs(50).validation(&data);
    let report = net.fit(&data, &settings.early_stopping(stopping)).unwrap();
    // No epoch after the first is better by as much, so patience ends with the fifth.
    assert_eq!(report.stop_reason, StopReason::ValidationPlateau);
    assert_eq!(report.epochs, 5);
    let losses = report
        .history
        .iter()
        .map(|epoch| epoch.validation.unwrap().loss);
    assert_eq!(report.best_validation, losses.fold(f32::INFINITY, f32::min));
    assert_ne!(report.best_epoch, Some(1));
    assert_eq!(net.evaluate(&data).unwrap().loss, report.best_validation);
}

#[test]
fn the_callback_sees_each_epoch_and_may_stop() {
    let mut seen = Vec::new();
    let mut net = small().build().unwrap();
    let settings = config().on_epoch(|epoch| {
        seen.push(epoch.epoch);
        match epoch.epoch {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    let report = net.fit(&xor(), &settings).unwrap();
    drop(settings);
    assert_eq!(report.stop_reason, StopReason::Callback);
    assert_eq!((report.epochs, seen), (3, vec![1, 2, 3]));
}

#[test]
fn a_training_that_diverges_ends_with_good_parameters() {
    let data = spiral(64);
    for (learning_rate, batch_size) in [(1e20, 64), (1e20, 16), (1e38, 16)] {
        let deep = Mlp::builder(2).dense(16).relu().dense(16).relu().dense(2);
        let mut net = deep.build().unwrap();
        let before = net.parameters().to_vec();
        let settings = config().optimizer(Sgd::new(learning_rate));
        let report = net.fit(&data, &settings.batch_size(batch_size)).unwrap();
        assert_eq!(report.stop_reason, StopReason::NonFinite, "{report}");
        assert_eq!(net.parameters(), before);
        assert_eq!((report.epochs, net.progress.epochs), (0, 0), "{report}");
        assert!(net.evaluate(&data).unwrap().loss.is_finite());
    }
}

#[test]
fn a_step_with_a_loss_that_is_not_finite_changes_nothing() {
    let mut net = small().build().unwrap();
    net.set_parameters(&[3e38; 82]).unwrap();
    let before = net.parameters().to_vec();
    let mut trainer = net.trainer(Adam::new(0.1)).unwrap();
    let x = [1.0, 1.0];
    let x = MatRef::from_row_major(&x, 1, 2).unwrap();
    let step = trainer.step(x, Targets::Classes(&[0]), &Team::solo());
    assert!(matches!(step, Err(MlpError::NonFiniteLoss { step: 1, .. })));
    assert_eq!(net.parameters(), before);
}

#[test]
fn parameters_are_in_the_order_of_the_layers() {
    let mut net = Mlp::builder(2).dense(3).relu().dense(2).build().unwrap();
    assert_eq!((net.dense_layers(), net.parameters().len()), (2, 17));
    assert!(net.bias(0).unwrap().iter().all(|&b| b == 0.0));
    let numbers: Vec<f32> = (0..17u8).map(f32::from).collect();
    net.set_parameters(&numbers).unwrap();
    assert_eq!(net.parameters(), numbers);
    assert_eq!(*net.weights(0).unwrap().at(2, 1), 5.0);
    assert_eq!(net.bias(0).unwrap(), [6.0, 7.0, 8.0]);
    assert_eq!(*net.weights(1).unwrap().at(1, 2), 14.0);
    assert_eq!(net.bias(1).unwrap(), [15.0, 16.0]);
    assert!(net.weights(2).is_none() && net.bias(2).is_none());
}
