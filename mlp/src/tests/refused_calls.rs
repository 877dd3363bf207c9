//! Trainings, data and questions that make no sense, and in which words they are refused.

use super::{XOR, config, message, small, xor};
use crate::{
    Adam, AdamW, Clip, Data, EarlyStopping, Loss, MatMut, MatRef, Mlp, Objective, ParamGroup,
    ParameterKind, Rmsprop, Sgd, Team,
};

#[test]
fn trainings_that_make_no_sense_are_refused() {
    let share = "expected a number of at least 0 and below 1";
    let at_least = "expected a finite number of at least 0";
    let stopping = |stopping| config().early_stopping(stopping);
    let objective = |objective| config().objective(objective);
    let plain = Objective::default;
    let data = xor();
    for (settings, expected) in [
        (
            stopping(EarlyStopping::patience(0)),
            "patience: expected at least 1, got 0".into(),
        ),
        (
            stopping(EarlyStopping::patience(1).min_delta(-0.5)),
            format!("min_delta: {at_least}, got -0.5"),
        ),
        (
            config().optimizer(Rmsprop::new(-1.0)),
            format!("learning_rate: {at_least}, got -1"),
        ),
        (
            config().optimizer(Rmsprop::new(0.1).momentum(1.0)),
            format!("momentum: {share}, got 1"),
        ),
        (
            config().optimizer(Adam::new(0.1).betas(-0.1, 0.9)),
            format!("beta1: {share}, got -0.1"),
        ),
        (
            config().optimizer(Adam::new(0.1).weight_decay(f32::INFINITY)),
            format!("weight_decay: {at_least}, got inf"),
        ),
        (
            config().group(ParamGroup::kind(ParameterKind::Bias).learning_rate_factor(-1.0)),
            format!("learning_rate_factor: {at_least}, got -1"),
        ),
        (
            config().clip(Clip::norm(0.0)),
            "clip: expected a finite number above 0, got 0".into(),
        ),
        (
            config().clip(Clip::value(f32::NAN)),
            "clip: expected a finite number above 0, got NaN".into(),
        ),
        (
            objective(plain().label_smoothing(1.0)),
            format!("label_smoothing: {share}, got 1"),
        ),
        (
            objective(plain().class_weights(&[1.0])),
            "class_weights: expected a weight for each class, got 1 for 2 classes".into(),
        ),
        (
            objective(plain().class_weights(&[1.0, -1.0])),
            "class_weights: expected finite numbers of at least 0, not all 0, got -1".into(),
        ),
        (
            config().stop_below_gradient_norm(0.0),
            "stop_below_gradient_norm: expected a finite number above 0, got 0".into(),
        ),
        (
            config().stop_below_loss(f32::NAN),
            "stop_below_loss: expected a number, got NaN".into(),
        ),
    ] {
        let mut net = small().build().unwrap();
        let before = net.parameters().to_vec();
        let watched = settings.validation(&data);
        assert_eq!(message(net.fit(&data, &watched)), expected);
        assert_eq!(net.parameters(), before);
    }
    let mut net = small().build().unwrap();
    assert_eq!(
        message(net.trainer(Sgd::new(-1.0))),
        format!("learning_rate: {at_least}, got -1")
    );
    // A batch of one, whole or left over, has no variance: seen before the first step.
    let normed = Mlp::builder(2).dense(4).batch_norm().relu().dense(2);
    let mut net = normed.build().unwrap();
    let before = net.parameters().to_vec();
    for batch_size in [1, 3] {
        let error = message(net.fit(&xor(), &config().batch_size(batch_size)));
        let expected = "layer 1: batch normalisation in training: expected batches of at least 2 rows, got one of 1; another batch_size, or drop_last where the last batch of an epoch is short, avoids it";
        assert_eq!(error, expected);
    }
    assert_eq!(net.parameters(), before);
}

#[test]
fn settings_out_of_range_are_refused() {
    let sgd = |sgd: Sgd| config().optimizer(sgd);
    let adam = |adam: Adam| config().optimizer(adam);
    let at_least = "expected a finite number of at least 0";
    let share = "expected a number of at least 0 and below 1";
    for (settings, expected) in [
        (
            config().batch_size(0),
            "batch_size: expected at least 1, got 0".into(),
        ),
        (
            config().max_epochs(0),
            "max_epochs: expected at least 1, got 0".into(),
        ),
        (
            sgd(Sgd::new(-0.1)),
            format!("learning_rate: {at_least}, got -0.1"),
        ),
        (
            sgd(Sgd::new(f32::NAN)),
            format!("learning_rate: {at_least}, got NaN"),
        ),
        (
            sgd(Sgd::new(0.1).momentum(1.0)),
            format!("momentum: {share}, got 1"),
        ),
        (
            sgd(Sgd::new(0.1).momentum(-0.5)),
            format!("momentum: {share}, got -0.5"),
        ),
        (
            sgd(Sgd::new(0.1).weight_decay(-1.0)),
            format!("weight_decay: {at_least}, got -1"),
        ),
        (
            sgd(Sgd::new(0.1).nesterov()),
            "nesterov: expected a momentum above 0, got momentum 0".into(),
        ),
        (
            adam(Adam::new(f32::INFINITY)),
            format!("learning_rate: {at_least}, got inf"),
        ),
        (
            adam(Adam::new(0.1).betas(0.9, 1.0)),
            format!("beta2: {share}, got 1"),
        ),
        (
            adam(Adam::new(0.1).eps(0.0)),
            "eps: expected a finite number above 0, got 0".into(),
        ),
        (
            config().optimizer(AdamW::new(0.1).weight_decay(-1.0)),
            format!("weight_decay: {at_least}, got -1"),
        ),
        (
            config().optimizer(Rmsprop::new(0.1).alpha(1.0)),
            format!("alpha: {share}, got 1"),
        ),
        (
            config().optimizer(Rmsprop::new(0.1).eps(-1.0)),
            "eps: expected a finite number above 0, got -1".into(),
        ),
        (
            config().group(ParamGroup::named("9")),
            "group: expected parameters that the network has, got Name(\"9\")".into(),
        ),
        (
            config().early_stopping(EarlyStopping::patience(2)),
            "early_stopping: expected validation data to watch, got none".into(),
        ),
    ] {
        let mut net = small().build().unwrap();
        let before = net.parameters().to_vec();
        assert_eq!(message(net.fit(&xor(), &settings)), expected);
        assert_eq!(net.parameters(), before);
    }
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let mut net = small().build().unwrap();
    let before = net.parameters().to_vec();
    let x = MatRef::from_row_major(&XOR, 4, 2).unwrap();
    let wide = MatRef::from_row_major(&XOR, 2, 4).unwrap();
    let values = [-0.5; 8];
    let narrow = MatRef::from_row_major(&values, 4, 1).unwrap();
    let negative = MatRef::from_row_major(&values, 4, 2).unwrap();
    for (data, expected) in [
        (
            Data::classes(wide, &[0, 1]),
            "inputs: expected rows of 2 features, got 2 x 4",
        ),
        (
            Data::classes(x, &[0, 1, 2, 1]),
            "label 2 in row 2 is out of range: the network has 2 outputs",
        ),
        (
            Data::values(x, narrow),
            "targets: expected 4 x 2, got 4 x 1",
        ),
        (
            Data::values(x, negative),
            "targets for softmax cross-entropy: expected weights of at least 0, \
             got -0.5 in row 0, column 0",
        ),
    ] {
        let data = data.unwrap();
        assert_eq!(message(net.fit(data, &config())), expected);
        assert_eq!(
            message(net.fit(&xor(), &config().validation(data))),
            expected
        );
        assert_eq!(message(net.evaluate(data)), expected);
        let mut trainer = net.trainer(Adam::new(0.1)).unwrap();
        assert_eq!(message(trainer.step_data(data, &Team::solo())), expected);
        let (x, targets) = (data.inputs(), data.targets());
        assert_eq!(message(trainer.step(x, targets, &Team::solo())), expected);
        let gradients = trainer.gradients_of(x, targets, &Team::solo());
        assert_eq!(message(gradients), expected);
    }
    assert_eq!(net.parameters(), before);
    // No probabilities.
    let binary = Mlp::builder(2).dense(1).loss(Loss::BinaryCrossEntropy);
    let mut net = binary.build().unwrap();
    let targets = [0.0, 1.0, 1.5, 0.0];
    let data = Data::values(x, MatRef::from_row_major(&targets, 4, 1).unwrap()).unwrap();
    let mut trainer = net.trainer(Adam::new(0.1)).unwrap();
    let expected = "targets for binary cross-entropy: expected probabilities, 0 to 1, \
                    got 1.5 in row 2, column 0";
    assert_eq!(message(trainer.step_data(data, &Team::solo())), expected);
    let step = trainer.step(x, data.targets(), &Team::solo());
    assert_eq!(message(step), expected);
}

#[test]
fn questions_that_do_not_fit_are_refused() {
    let net = small().build().unwrap();
    let x = [1.0, f32::INFINITY];
    let infinite = MatRef::from_row_major(&x, 1, 2).unwrap();
    let narrow = MatRef::from_row_major(&x, 2, 1).unwrap();
    let good = MatRef::from_row_major(&XOR, 4, 2).unwrap();
    let error = message(net.predict(infinite));
    assert!(error.contains("got inf in row 0, column 1"), "{error}");
    assert_eq!(
        message(net.forward(narrow)),
        "inputs: expected rows of 2 features, got 2 x 1"
    );
    let mut out = [0.0; 4];
    let mut workspace = net.predict_workspace();
    let short = MatMut::from_row_major(&mut out, 2, 2).unwrap();
    assert_eq!(
        message(net.predict_into(good, short, &mut workspace)),
        "memory for predictions: expected 4 x 2, got 2 x 2"
    );
    assert_eq!(message(net.plan(0)), "batch: expected at least 1, got 0");
    assert_eq!(
        message(net.plan(1 << 60)),
        "batch: expected rows whose values and operations can be counted, got 1152921504606846976"
    );

    let builder = small().loss(Loss::MeanSquaredError);
    let mut net = builder.build().unwrap();
    assert_eq!(
        message(net.predict(good)),
        "predict: expected a network with softmax cross-entropy as its loss, or with binary \
         cross-entropy, this one has mean squared error; forward gives its values"
    );
    assert_eq!(
        message(net.fit(&xor(), &config())),
        "targets for mean squared error: expected a row of values for each sample, got class labels"
    );
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let mut net = small().build().unwrap();
    let mut parameters = net.parameters().to_vec();
    assert_eq!(
        message(net.set_parameters(&parameters[1..])),
        "parameters: expected 82, got 81"
    );
    parameters[7] = f32::NAN;
    assert_eq!(
        message(net.set_parameters(&parameters)),
        "parameters: expected finite values, got NaN at index 7"
    );
    let other = Mlp::builder(3).dense(2).build().unwrap().snapshot();
    assert_eq!(
        message(net.restore(&other)),
        "snapshot: expected one of a network of the same inputs, layers and loss, got one of a network \
         of 3 inputs and other layers or another loss"
    );
    // As many parameters in other layers, and the same layers for another end.
    for other in [
        Mlp::builder(2).dense(16).relu().dense(2),
        small().loss(Loss::BinaryCrossEntropy),
    ] {
        let other = other.build().unwrap();
        assert_eq!(other.parameters().len(), net.parameters().len());
        let refused = message(net.restore(&other.snapshot()));
        assert!(
            refused.starts_with("snapshot: expected one of"),
            "{refused}"
        );
    }
}

/// The sum of a row's products is beyond f32: nothing says which class it is.
#[test]
fn answers_about_classes_need_finite_outputs() {
    let x = [1e30, 1e30, 0.5, 0.5];
    let x = MatRef::from_row_major(&x, 2, 2).unwrap();
    for (loss, sign, got) in [
        (Loss::SoftmaxCrossEntropy, 1.0, "inf"),
        (Loss::BinaryCrossEntropy, -1.0, "-inf"),
    ] {
        for end in [false, true] {
            let net = Mlp::builder(2).dense(2);
            let net = match loss {
                _ if !end => net,
                Loss::BinaryCrossEntropy => net.sigmoid(),
                _ => net.softmax(),
            };
            let mut net = net.loss(loss).build().unwrap();
            net.set_parameters(&[sign * 1e30; 6]).unwrap();
            let expected = format!("outputs: expected finite values, got {got} in row 0, column 0");
            assert_eq!(message(net.predict_proba(x)), expected);
            if loss == Loss::SoftmaxCrossEntropy {
                assert_eq!(message(net.predict(x)), expected);
            }
            let mut out = [0.0; 4];
            let out = MatMut::from_row_major(&mut out, 2, 2).unwrap();
            let refused = net.predict_into(x, out, &mut net.predict_workspace());
            assert_eq!(message(refused), expected);
            if !end {
                assert_eq!(net.forward(x).unwrap().row(0), [sign * f32::INFINITY; 2]);
            }
        }
    }
}

#[test]
fn memory_for_the_predictions_of_other_layers_is_refused() {
    let net = |width| {
        Mlp::builder(2)
            .dense(width)
            .relu()
            .dense(2)
            .build()
            .unwrap()
    };
    let (one, other) = (net(4), net(5));
    let (x, mut out) = ([0.5; 6], [0.0; 6]);
    let mut workspace = other.predict_workspace();
    let mut predict = |net: &Mlp| {
        let x = MatRef::from_row_major(&x, 3, 2).unwrap();
        let out = MatMut::from_row_major(&mut out, 3, 2).unwrap();
        net.predict_into(x, out, &mut workspace)
    };
    assert!(predict(&other).is_ok());
    let words = message(predict(&one));
    assert!(
        words.starts_with("workspace: expected one of a network of the same"),
        "{words}"
    );
}

/// More than any address space holds, and fewer than cannot be counted.
#[test]
fn batches_without_memory_for_them_are_refused() {
    let net = small().build().unwrap();
    for batch in [1 << 42, 1 << 44] {
        let expected =
            format!("batch: expected no more rows than there is memory for, got {batch}");
        assert_eq!(message(net.plan(batch)), expected);
        assert_eq!(message(net.explain(batch)), expected);
        assert_eq!(message(net.effective_precision(batch)), expected);
    }
    // One row, over and over: answers for all would have no place.
    let x = [0.5, -0.5];
    let x = MatRef::with_strides(&x, 0, 1 << 46, 2, 0, 1).unwrap();
    let error = message(net.forward(x));
    assert!(
        error.starts_with("matrix: expected no more elements"),
        "{error}"
    );
    let data = crate::Batches::new(1 << 46, 1, 0);
    assert!(message(data).contains("memory to number them"));
}
