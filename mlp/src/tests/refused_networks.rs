//! Descriptions that are no network, and in which words they are refused.

use super::message;
use crate::{BlockBuilder, Init, Loss, Mlp, MlpBuilder, TransformerBlock};

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
    let padding = "expected padding at the beginning, directly before the rows or the embedding \
                   that it fills up";
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
        (
            end(Mlp::builder(4).padding(0.0).dense(4)),
            format!("layer 0: {padding}, got padding before Dense {{ width: 4 }}"),
        ),
        (
            end(Mlp::builder(4).dense(4).padding(0.0).rows(2)),
            format!("layer 1: {padding}, got padding behind other layers"),
        ),
        (Mlp::builder(4).padding(0.0), format!("layer 0: {padding}, got padding at the end")),
        (end(rows().attention(3)), format!("layer 1: {heads}, got 3 heads for a width of 4")),
        (end(rows().attention(0)), format!("layer 1: {heads}, got 0 heads for a width of 4")),
        (
            end(rows().transformer(8, 4)),
            format!("layer 1: {heads}, got 8 heads for a width of 4"),
        ),
        (
            end(rows().transformer(2, 0)),
            "layer 1: expected at least 1 hidden column, got 0".into(),
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
        (
            rows().dense(3).softmax().rows(1),
            "softmax before other layers",
        ),
        (
            Mlp::builder(4).dense(3).softmax().dropout(0.5),
            "softmax before other layers",
        ),
        (
            Mlp::builder(4).dense(3).softmax().relu(),
            "softmax before other layers",
        ),
        (
            Mlp::builder(4).dense(3).softmax().dropout(0.5).tanh(),
            "softmax before other layers",
        ),
        (
            Mlp::builder(4)
                .dense(3)
                .sigmoid()
                .relu()
                .loss(Loss::BinaryCrossEntropy),
            "a sigmoid before other layers",
        ),
        (
            Mlp::builder(4)
                .dense(3)
                .softmax()
                .loss(Loss::BinaryCrossEntropy),
            "softmax before binary cross-entropy",
        ),
        (
            rows()
                .dense(1)
                .sigmoid()
                .rows(1)
                .loss(Loss::BinaryCrossEntropy),
            "a sigmoid before other layers",
        ),
    ] {
        let words = message(builder.build());
        assert!(words.starts_with("loss: expected scores"), "{words}");
        assert!(words.ends_with(&format!("got {got}")), "{words}");
    }
    let squares = rows()
        .dense(3)
        .softmax()
        .rows(1)
        .loss(Loss::MeanSquaredError);
    assert!(squares.build().is_ok());
}

#[test]
fn blocks_are_nested_as_deep_as_files_can_hold() {
    // As deep as asked for, without a function that calls itself.
    let nested = |depth: usize| {
        let mut block = BlockBuilder::default().dense(3).tanh();
        for level in 1..depth {
            block = match level % 3 {
                0 => BlockBuilder::default().residual(|_| block),
                1 => BlockBuilder::default()
                    .residual_projected(|_| block)
                    .dense(3),
                _ => BlockBuilder::default().concat(|_| block).dense(3),
            };
        }
        Mlp::builder(3).residual(|_| block).dense(2)
    };
    let path = std::env::temp_dir().join(format!("mlp-nested-{}", std::process::id()));
    let net = nested(32).build().unwrap();
    net.save_checkpoint(&path).unwrap();
    let again = Mlp::load(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(again.spec(), net.spec());
    assert_eq!(again.parameters(), net.parameters());
    for depth in [33, 40, 5_000, 200_000] {
        assert_eq!(
            message(nested(depth).build()),
            format!("layers: expected blocks inside blocks at most 32 deep, got {depth}")
        );
    }
}
