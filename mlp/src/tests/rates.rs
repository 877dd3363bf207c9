//! Clipping and schedules in a training.

use super::{XOR, XOR_LABELS, config, small, spiral, xor};
use crate::{
    Adam, Clip, Dataset, Loss, MatRef, Mlp, MlpError, ReduceOnPlateau, Schedule, Sgd, StopReason,
    Targets, Team, TrainConfig,
};

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|v| v * v).sum::<f32>().sqrt()
}

#[test]
fn a_clipped_step_is_as_long_as_it_may_be() {
    let x = MatRef::from_row_major(&XOR, 4, 2).unwrap();
    let team = Team::solo();
    for (clip, max) in [(Clip::norm(0.01), 0.01), (Clip::value(0.001), 0.001)] {
        let mut net = small().build().unwrap();
        let before = net.parameters().to_vec();
        let mut trainer = net.trainer(Sgd::new(1.0)).unwrap();
        let targets = Targets::Classes(&XOR_LABELS);
        trainer.gradients_of(x, targets, &team).unwrap();
        let gradients = trainer.gradients().unwrap().to_vec();
        let mut trainer = trainer.clip(clip).unwrap();
        trainer.step(x, targets, &team).unwrap();
        // The norm is that before clipping.
        let reported = trainer.gradient_norm().unwrap();
        approx::assert_relative_eq!(reported, norm(&gradients), max_relative = 1e-5);
        let clipped = trainer.gradients().unwrap().to_vec();
        let after = net.parameters();
        let moved: Vec<f32> = before.iter().zip(after).map(|(b, a)| b - a).collect();
        for (moved, clipped) in moved.iter().zip(&clipped) {
            assert!((moved - clipped).abs() < 1e-6);
        }
        let size = match clip == Clip::norm(0.01) {
            true => norm(&clipped),
            false => clipped.iter().fold(0f32, |max, g| max.max(g.abs())),
        };
        approx::assert_relative_eq!(size, max, max_relative = 1e-4);
    }
}

#[test]
fn reports_say_how_long_gradients_were_and_how_fast_they_were_followed() {
    let train = |settings: TrainConfig<'_>| {
        let mut net = small().build().unwrap();
        net.fit(&spiral(64), &settings.max_epochs(3))
            .unwrap()
            .history
    };
    assert!(train(config()).iter().all(|e| e.gradient_norm.is_none()));
    // A bound that is never reached changes nothing.
    let wide = train(config().clip(Clip::norm(1e6)));
    assert!(wide.iter().all(|e| e.gradient_norm.unwrap() > 0.0));
    let losses = |history: &[crate::EpochReport]| -> Vec<f32> {
        history.iter().map(|epoch| epoch.loss).collect()
    };
    assert_eq!(losses(&wide), losses(&train(config())));

    let rates = |settings: TrainConfig<'_>| -> Vec<f32> {
        let settings = settings.optimizer(Sgd::new(2.0));
        let history = train(settings);
        history.iter().map(|epoch| epoch.learning_rate).collect()
    };
    assert_eq!(rates(config()), [2.0, 2.0, 2.0]);
    let halves = Schedule::exponential(0.5);
    assert_eq!(rates(config().schedule(halves.clone())), [2.0, 1.0, 0.5]);
    // Four steps in an epoch: what is reported is the rate of the last.
    assert_eq!(
        rates(config().schedule(halves.clone().per_step())),
        [3, 7, 11].map(|step| 2.0 * 0.5f32.powi(step))
    );
    // No loss is better than the first by as much.
    let plateau = ReduceOnPlateau::new(0.5).patience(0).threshold(0.99);
    let settings = config().reduce_on_plateau(plateau);
    assert_eq!(rates(settings), [2.0, 2.0, 1.0]);
    let both = config().schedule(halves).reduce_on_plateau(plateau);
    assert_eq!(rates(both), [2.0, 1.0, 0.25]);
}

#[test]
fn a_resumed_schedule_goes_on_where_it_was() {
    let data = spiral(64);
    let settings = |epochs| {
        config()
            .optimizer(Adam::new(0.01))
            .clip(Clip::norm(0.1))
            .schedule(
                Schedule::warmup(5, 0.1)
                    .then(7, Schedule::cosine(20, 0.0))
                    .per_step(),
            )
            // Nothing is ever better by as much.
            .reduce_on_plateau(ReduceOnPlateau::new(0.5).patience(1).threshold(0.99))
            .max_epochs(epochs)
    };
    let mut whole = small().build().unwrap();
    let rates = whole.fit(&data, &settings(5)).unwrap().history;
    let rates: Vec<f32> = rates.iter().map(|epoch| epoch.learning_rate).collect();

    let mut parts = small().build().unwrap();
    parts.fit(&data, &settings(2)).unwrap();
    let snapshot = parts.snapshot();
    parts.resume(&data, &settings(3)).unwrap();
    assert_eq!(parts.parameters(), whole.parameters());

    // Another network, brought to where the first stood.
    let mut other = small().seed(9).build().unwrap();
    other.restore(&snapshot).unwrap();
    let report = other.resume(&data, &settings(3).seed(1)).unwrap();
    assert_eq!(other.parameters(), whole.parameters());
    let resumed: Vec<f32> = report.history.iter().map(|e| e.learning_rate).collect();
    assert_eq!(resumed, rates[2..]);
    assert!(rates[4] < 0.3 * rates[2], "{rates:?}");

    parts.fit(&data, &settings(5)).unwrap();
    let mut again = small().build().unwrap();
    again.set_parameters(whole.parameters()).unwrap();
    again.fit(&data, &settings(5)).unwrap();
    assert_eq!(parts.parameters(), again.parameters());
}

#[test]
fn a_reduction_ends_with_the_training_that_asked_for_it() {
    let rate = 0.03;
    let plateau = ReduceOnPlateau::new(0.5).patience(0).threshold(0.99);
    let reduced = || config().reduce_on_plateau(plateau).max_epochs(3);
    let mut net = small().build().unwrap();
    let report = net.fit(&xor(), &reduced()).unwrap();
    assert!(report.history[2].learning_rate < rate);
    let lowered = net.progress.plateau.factor;
    assert!(lowered < 1.0);
    let saved = net.snapshot();
    // With the setting it goes on, without it it does not, nor in a loop of one's own.
    let report = net.resume(&xor(), &reduced()).unwrap();
    assert_eq!(report.history[0].learning_rate, rate * lowered);
    net.restore(&saved).unwrap();
    let report = net.resume(&xor(), &config()).unwrap();
    assert_eq!(report.history[0].learning_rate, rate);
    net.restore(&saved).unwrap();
    let report = net.partial_fit(&xor(), &config()).unwrap();
    assert_eq!(report.history[0].learning_rate, rate);
    net.restore(&saved).unwrap();
    let mut trainer = net.trainer(Sgd::new(rate)).unwrap();
    let (x, team) = (xor(), Team::solo());
    trainer.step(x.inputs(), x.targets(), &team).unwrap();
    assert_eq!(trainer.learning_rate(), rate);
}

#[test]
fn a_loop_of_ones_own_can_have_a_schedule() {
    let x = MatRef::from_row_major(&XOR, 4, 2).unwrap();
    let (targets, team) = (Targets::Classes(&XOR_LABELS), Team::solo());
    let mut net = small().build().unwrap();
    let trainer = net.trainer(Sgd::new(1.0)).unwrap();
    let halved = Schedule::exponential(0.5);
    let mut trainer = trainer.schedule(halved.per_epoch()).unwrap();
    let mut rates = Vec::new();
    for _ in 0..2 {
        trainer.step(x, targets, &team).unwrap();
        rates.push(trainer.learning_rate());
        trainer.end_epoch();
    }
    let mut trainer = trainer
        .schedule(Schedule::exponential(0.5).per_step())
        .unwrap();
    trainer.step(x, targets, &team).unwrap();
    rates.push(trainer.learning_rate());
    assert_eq!(rates, [1.0, 0.5, 0.25]);
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let build = || {
        let net = Mlp::builder(1).dense(1).init(crate::Init::Zeros);
        net.loss(Loss::MeanSquaredError).build().unwrap()
    };
    // The output is 0, the loss 100; the gradient of the weight is -20 times the largest number.
    let data = Dataset::values(vec![f32::MAX], 1, vec![10.0], 1).unwrap();
    let mut net = build();
    let trainer = net.trainer(Sgd::new(0.1)).unwrap();
    let mut trainer = trainer.clip(Clip::norm(1.0)).unwrap();
    let error = trainer.step(data.inputs(), data.targets(), &Team::solo());
    assert!(
        matches!(error, Err(MlpError::NonFiniteGradient { step: 1, .. })),
        "{error:?}"
    );
    assert_eq!(net.parameters(), [0.0, 0.0]);
    let mut net = build();
    let settings = config().clip(Clip::norm(1.0));
    let report = net.fit(&data, &settings).unwrap();
    assert_eq!(report.stop_reason, StopReason::NonFinite);
    assert_eq!((report.steps, net.parameters()), (0, &[0.0, 0.0][..]));
}

/// 0.1 times 1e30 is a rate that loses the loss, 0.1 times its square is none.
#[test]
fn a_learning_rate_that_is_not_finite_changes_nothing() {
    let x = xor();
    let fit = |schedule, clip: Option<Clip>| {
        let net = Mlp::builder(2).dense(4).batch_norm().tanh().dense(2);
        let mut net = net.seed(1).build().unwrap();
        let before = net.network.parameters.to_vec();
        let mut settings = config().optimizer(Sgd::new(1e-33)).schedule(schedule);
        if let Some(clip) = clip {
            settings = settings.clip(clip);
        }
        let report = net.fit(&x, &settings.max_epochs(5)).unwrap();
        assert_eq!(report.stop_reason, StopReason::NonFinite);
        (net, before, report)
    };
    for clip in [None, Some(Clip::norm(1e9))] {
        // Rates 1e-33, 1e-3, 1e27; the third is finite, the loss after it is not; or 1e-33, then infinite.
        let (net, _, report) = fit(Schedule::exponential(1e30), clip);
        assert!(report.epochs >= 2, "{report}");
        assert!(net.evaluate(&x).unwrap().loss.is_finite());
        let (net, before, report) = fit(Schedule::step(1, f32::MAX), clip);
        assert_eq!((report.epochs, report.steps), (2, 2), "{report}");
        // The step of epoch 2, with a rate of 3e5, is not taken for good.
        assert!(net.evaluate(&x).unwrap().loss.is_finite());
        assert_ne!(net.network.parameters.to_vec(), before);
    }
    let mut net = small().build().unwrap();
    let before = net.parameters().to_vec();
    let trainer = net.trainer(Sgd::new(1e30)).unwrap();
    let mut trainer = trainer
        .schedule(Schedule::warmup(1, 1e30).per_step())
        .unwrap();
    let error = trainer.step(x.inputs(), x.targets(), &Team::solo());
    assert_eq!(
        error.unwrap_err().to_string(),
        "step 1: the learning rate is inf; the parameters were left as they were"
    );
    assert_eq!(net.parameters(), before);
    // Known beforehand: a group whose factor is too large.
    let group = crate::ParamGroup::all().learning_rate_factor(1e30);
    let error = net.fit(&x, &config().optimizer(Sgd::new(1e30)).group(group));
    assert_eq!(
        error.unwrap_err().to_string(),
        "learning_rate: expected a finite number of at least 0, got inf"
    );
}

#[test]
fn settings_out_of_range_are_refused_by_the_trainer_too() {
    let mut net = small().build().unwrap();
    let trainer = net.trainer(Sgd::new(0.1)).unwrap();
    let error = trainer.clip(Clip::value(0.0)).unwrap_err().to_string();
    assert_eq!(error, "clip: expected a finite number above 0, got 0");
    let trainer = net.trainer(Sgd::new(0.1)).unwrap();
    let error = trainer.schedule(Schedule::cosine(0, 0.0)).unwrap_err();
    assert!(error.to_string().starts_with("schedule: length"));
    let trainer = net.trainer(Sgd::new(0.1)).unwrap();
    let error = trainer.schedule(Schedule::cosine(9, 0.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "schedule: expected per_step(), or per_epoch() in a loop that tells the ends of epochs, got neither"
    );
    let trainer = net.trainer(Sgd::new(0.1)).unwrap();
    assert!(trainer.schedule(Schedule::constant()).is_ok());
    for settings in [
        config().clip(Clip::norm(f32::INFINITY)),
        config().schedule(Schedule::step(0, 0.5)),
        config().reduce_on_plateau(ReduceOnPlateau::new(2.0)),
        config().reduce_on_plateau(ReduceOnPlateau::new(0.5).cooldown(u64::MAX)),
    ] {
        let error = net.fit(&xor(), &settings).unwrap_err();
        assert!(matches!(error, MlpError::Setting { .. }), "{error}");
    }
}
