//! What is refused, and in which words.

use super::{XOR, config, small, xor};
use crate::{
    Adam, AdamW, Clip, Data, EarlyStopping, Init, Loss, MatMut, MatRef, Mlp, MlpBuilder, Objective,
    ParamGroup, ParameterKind, Rmsprop, Sgd, TransformerBlock,
};

/// The message of an error, for tables of what is refused.
fn message<T>(result: Result<T, impl ToString>) -> String {
    match result {
        Ok(_) => "accepted".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn descriptions_that_are_no_network_are_refused() {
    let net = || Mlp::builder(4);
    for (builder, expected) in [
        (
            Mlp::builder(0).dense(2),
            "inputs: expected at least 1 feature, got 0",
        ),
        (
            net(),
            "layer 0: expected a dense layer at the beginning, got no layers",
        ),
        (
            net().relu().dense(2),
            "layer 0: expected a dense layer at the beginning, got Activation(Relu)",
        ),
        (
            net().dense(3).relu().dense(0),
            "layer 2: expected a width of at least 1, got 0",
        ),
        (
            net().dense(1),
            "layer 0: expected at least 2 outputs for softmax cross-entropy, got 1",
        ),
        (
            net().dense(3).leaky_relu(-0.1).dense(2),
            "layer 1: expected a finite negative_slope of at least 0, got -0.1",
        ),
        (
            net().dense(8).relu().residual(|block| block.dense(7)),
            "layer 2: expected a skip connection between equal widths, or one with a projection, \
             got from width 8 to width 7",
        ),
        (
            net()
                .dense(8)
                .residual_projected(|block| block.dense(0).relu()),
            "layer 1.0: expected a width of at least 1, got 0",
        ),
        (
            net().dense(8).concat(|block| block.skip(1)),
            "layer 1.0: expected a skip over dense layers that stand before it, got over 1 of 0",
        ),
        (
            net().dense(8).relu().skip(2),
            "layer 2: expected a skip over dense layers that stand before it, got over 2 of 1",
        ),
        (
            net().dense(8).relu().dropout(1.0).dense(2),
            "layer 2: expected a rate of at least 0 and below 1, got 1",
        ),
        (
            net()
                .dense(8)
                .residual(|block| block.dropout(-0.5))
                .dense(2),
            "layer 1.0: expected a rate of at least 0 and below 1, got -0.5",
        ),
        (
            net().dense(8).elu(-1.0).dense(2),
            "layer 1: expected a finite alpha of at least 0, got -1",
        ),
        (
            net().dense(8).rows(3),
            "layer 1: expected a number of rows that divides the values of a sample, \
             got 3 rows for 8 values",
        ),
        (
            net().dense(8).rows(2),
            "layer 1: expected one row for each sample at the end, got 2",
        ),
        (
            net().dense(8).residual(|block| block.rows(2).dense(8)),
            "layer 1: expected a connection between samples of equally many rows, got from 1 to 2",
        ),
        (
            net().dense(2).init(Init::Constant(f32::NAN)),
            "init: expected a finite constant, got NaN",
        ),
    ] {
        assert_eq!(message(builder.build()), expected);
    }
}

#[test]
fn blocks_and_settings_of_layers_that_make_no_sense_are_refused() {
    let rows = || Mlp::builder(12).rows(3);
    let end = |net: MlpBuilder| net.rows(1).dense(2);
    let block = TransformerBlock::new;
    let eps = "expected a finite eps above 0";
    let momentum = "expected a momentum from 0 to 1";
    let heads = "expected heads that divide the width";
    let empty = "expected a block of at least one layer, got none";
    let rate = "expected a rate of at least 0 and below 1";
    let widths = "expected a skip connection between equal widths, or one with a projection";
    for (builder, expected) in [
        (Mlp::builder(4).residual(|b| b).dense(2), format!("layer 0: {empty}")),
        (Mlp::builder(4).dense(4).concat(|b| b).dense(2), format!("layer 1: {empty}")),
        (
            Mlp::builder(4).dense(5).tanh().dense(6).tanh().skip(1).dense(2),
            format!("layer 4: {widths}, got from width 5 to width 6"),
        ),
        (
            Mlp::builder(4).dense(4).skip(0).dense(2),
            "layer 1: expected a skip over dense layers that stand before it, got over 0 of 1".into(),
        ),
        (
            Mlp::builder(4).softmax().dense(2),
            "layer 0: expected a dense layer at the beginning, got Softmax".into(),
        ),
        (
            Mlp::builder(4).dense(1).softmax(),
            "layer 1: expected at least 2 outputs for softmax cross-entropy, got 1".into(),
        ),
        (Mlp::builder(4).dense(2).dropout(f32::NAN), format!("layer 1: {rate}, got NaN")),
        (
            Mlp::builder(4).dense(3).leaky_relu(f32::INFINITY).dense(2),
            "layer 1: expected a finite negative_slope of at least 0, got inf".into(),
        ),
        (Mlp::builder(4).batch_norm_with(0.0, 0.1).dense(2), format!("layer 0: {eps}, got 0")),
        (Mlp::builder(4).batch_norm_with(-1.0, 0.1).dense(2), format!("layer 0: {eps}, got -1")),
        (
            Mlp::builder(4).dense(3).batch_norm_with(1e-5, 1.5).dense(2),
            format!("layer 1: {momentum}, got 1.5"),
        ),
        (
            Mlp::builder(4).batch_norm_with(1e-5, f32::NAN).dense(2),
            format!("layer 0: {momentum}, got NaN"),
        ),
        (
            Mlp::builder(4).layer_norm_with(f32::INFINITY).dense(2),
            format!("layer 0: {eps}, got inf"),
        ),
        (end(rows().attention(3)), format!("layer 1: {heads}, got 3 heads for a width of 4")),
        (end(rows().attention(0)), format!("layer 1: {heads}, got 0 heads for a width of 4")),
        (
            end(rows().transformer(8, 4)),
            format!("layer 1.0.1: {heads}, got 8 heads for a width of 4"),
        ),
        (
            end(rows().transformer(2, 0)),
            "layer 1.1.1: expected a width of at least 1, got 0".into(),
        ),
        (
            end(rows().transformer_block(block(2, 4).dropout(1.0))),
            "layer 1: expected a dropout of at least 0 and below 1, got 1".into(),
        ),
        (
            Mlp::builder(4).rows(0).dense(2),
            "layer 0: expected a number of rows that divides the values of a sample, \
             got 0 rows for 4 values"
                .into(),
        ),
        (
            Mlp::builder(4).embedding(0, 2).rows(1).dense(2),
            "layer 0: expected 1 to 2^24 symbols, and a width of at least 1, got 0 symbols, width 2"
                .into(),
        ),
        (
            Mlp::builder(4).dense(2).loss(Loss::Huber { delta: 0.0 }),
            "delta: expected a finite number above 0, got 0".into(),
        ),
        (
            Mlp::builder(4).dense(2).loss(Loss::Huber { delta: f32::NAN }),
            "delta: expected a finite number above 0, got NaN".into(),
        ),
    ] {
        assert_eq!(message(builder.build()), expected);
    }
}

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
        let expected = "layer 1: batch normalisation in training: expected batches of at least 2 rows, got one of 1";
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
    }
    assert_eq!(net.parameters(), before);
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
        "parameters: expected 82, got 8"
    );
}

#[test]
fn networks_too_large_for_any_memory_are_refused() {
    for builder in [
        Mlp::builder(2).dense(usize::MAX),
        Mlp::builder(usize::MAX).dense(2),
        Mlp::builder(1).dense(1 << 62).dense(2),
        Mlp::builder(1 << 31).dense(1 << 31).dense(2),
    ] {
        let error = message(builder.build());
        assert!(
            error.starts_with("layers: expected no more parameters than there is memory for, got "),
            "{error}"
        );
    }
}

#[test]
fn probabilities_are_not_taken_for_scores() {
    let rows = || Mlp::builder(4).rows(2);
    for (builder, got) in [
        (rows().dense(3).softmax().rows(1), "softmax"),
        (Mlp::builder(4).dense(3).softmax().dropout(0.5), "softmax"),
        (
            rows()
                .dense(1)
                .sigmoid()
                .rows(1)
                .loss(Loss::BinaryCrossEntropy),
            "a sigmoid",
        ),
    ] {
        let words = message(builder.build());
        assert!(words.starts_with("loss: expected scores"), "{words}");
        assert!(
            words.ends_with(&format!("got {got} before other layers")),
            "{words}"
        );
    }
    let squares = rows()
        .dense(3)
        .softmax()
        .rows(1)
        .loss(Loss::MeanSquaredError);
    assert!(squares.build().is_ok());
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
