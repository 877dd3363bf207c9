//! What is refused, and in which words.

use super::{XOR, config, small, xor};
use crate::{
    Adam, AdamW, Data, EarlyStopping, Init, Loss, MatMut, MatRef, Mlp, ParamGroup, Rmsprop, Sgd,
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
