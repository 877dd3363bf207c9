//! Normalisation, attention and embedding as layers of networks.

use approx::assert_abs_diff_eq;

use super::config;
use crate::{Data, Dataset, LayerSpec, Loss, MatRef, Mlp, MlpError, Sgd, Targets, Team};

fn normalised() -> Mlp {
    let net = Mlp::builder(3).dense(6).batch_norm().tanh();
    let net = net.residual(|block| block.batch_norm().tanh().dense(6).batch_norm());
    net.dense(2).seed(5).build().unwrap()
}

/// Points whose class is the sign of their first value, which is large and far from 0.
fn points(n: usize) -> Dataset {
    let value = |i: usize, j: usize| ((i * 7 + j * 3) as f32 * 0.7).sin() * 40.0 + 100.0;
    let x = (0..n).flat_map(|i| (0..3).map(move |j| value(i, j)));
    let y = (0..n).map(|i| u32::from(value(i, 0) > 100.0)).collect();
    Dataset::classes(x.collect(), 3, y).unwrap()
}

#[test]
fn running_statistics_follow_the_batches_as_in_pytorch() {
    let mut net = Mlp::builder(1)
        .batch_norm()
        .dense(1)
        .loss(Loss::MeanSquaredError)
        .build()
        .unwrap();
    let (x, t) = ([1.0, 3.0, 8.0], [0.0; 3]);
    let x = MatRef::from_row_major(&x, 3, 1).unwrap();
    let targets = Targets::Values(MatRef::from_row_major(&t, 3, 1).unwrap());
    let team = Team::solo();
    let mut trainer = net.trainer(Sgd::new(0.0)).unwrap();
    // Mean 4, unbiased variance 13, momentum 0.1, from 0 and 1; a question changes nothing.
    for (mean, var) in [(0.4, 2.2), (0.76, 3.28)] {
        trainer.step(x, targets, &team).unwrap();
        trainer.network().forward(x).unwrap();
        let net = trainer.network();
        let behind = &net.network.parameters[net.network.parameter_count()..];
        assert_abs_diff_eq!(behind[0], mean, epsilon = 1e-6);
        assert_abs_diff_eq!(behind[1], var, epsilon = 1e-5);
    }
    // A batch whose loss is not finite does not count.
    let before = trainer.network().network.parameters.to_vec();
    let far = [f32::MAX, -f32::MAX, 1.0];
    let targets = Targets::Values(MatRef::from_row_major(&far, 3, 1).unwrap());
    assert!(trainer.step(x, targets, &team).is_err());
    assert_eq!(trainer.network().network.parameters.to_vec(), before);
}

#[test]
fn prediction_does_not_depend_on_the_batch() {
    let data = points(200);
    let mut net = normalised();
    let report = net.fit(&data, &config().max_epochs(30)).unwrap();
    assert!(report.loss() < 0.2, "{report}");
    assert!(net.evaluate(&data).unwrap().accuracy > Some(0.95));
    let together = net.forward(data.inputs()).unwrap();
    for i in [0, 7, 199] {
        let alone = data.inputs().part(i..i + 1, 0..3);
        let alone = net.forward(alone).unwrap();
        for j in 0..2 {
            let (a, b) = (*alone.view().at(0, j), *together.view().at(i, j));
            assert_abs_diff_eq!(a, b, epsilon = 1e-4);
        }
    }
}

#[test]
fn batch_norm_goes_into_the_layer_in_front_of_it() {
    let data = points(100);
    let mut net = normalised();
    net.fit(&data, &config()).unwrap();
    let folded = net.fold_batch_norm().unwrap();
    let norms = |layers: &[LayerSpec]| {
        let is_norm = |layer: &&LayerSpec| matches!(layer, LayerSpec::BatchNorm { .. });
        layers.iter().filter(is_norm).count()
    };
    assert_eq!(norms(&folded.spec().layers), 0);
    let LayerSpec::Residual { block, .. } = &folded.spec().layers[2] else {
        panic!("{:?}", folded.spec());
    };
    // The one at the beginning of the block stands behind no dense layer.
    assert_eq!((block.len(), norms(block)), (3, 1));
    let (before, after) = (
        net.forward(data.inputs()).unwrap(),
        folded.forward(data.inputs()).unwrap(),
    );
    for i in 0..100 {
        for j in 0..2 {
            let (a, b) = (*before.view().at(i, j), *after.view().at(i, j));
            assert_abs_diff_eq!(a, b, epsilon = 1e-4);
        }
    }
}

/// `y = W_2 (gamma (W_1 x + b_1 - mean) / sqrt(var + eps) + beta) + b_2` in f64, from the values before.
#[test]
fn a_folded_network_gives_what_the_formula_gives() {
    let data = points(100);
    let net = Mlp::builder(3).dense(6).batch_norm().dense(2).seed(5);
    let mut net = net.build().unwrap();
    net.fit(&data, &config()).unwrap();
    let folded = net.fold_batch_norm().unwrap();
    assert_eq!(folded.spec().layers.len(), 2);
    let got = folded.forward(data.inputs()).unwrap();
    let layout = net.network.graph.parameters();
    let all: Vec<_> = layout.iter().cloned().chain(layout.buffers()).collect();
    let value = |name: &str, index: usize| {
        let found = all.iter().find(|parameter| parameter.name == name);
        let range = found.expect("a parameter of this name").range();
        f64::from(net.network.parameters[range][index])
    };
    for i in 0..data.n_samples() {
        for j in 0..2 {
            let (mut y, mut terms) = (value("2.bias", j), value("2.bias", j).abs());
            for h in 0..6 {
                let g = value("1.weight", h) / (value("1.running_var", h) + 1e-5).sqrt();
                let out = value("2.weight", j * 6 + h);
                let shift = [value("0.bias", h) * g, -value("1.running_mean", h) * g];
                let x = (0..3).map(|c| f64::from(*data.inputs().at(i, c)));
                let products = x
                    .enumerate()
                    .map(|(c, x)| g * value("0.weight", h * 3 + c) * x);
                for term in products.chain(shift).chain([value("1.bias", h)]) {
                    y += out * term;
                    terms += (out * term).abs();
                }
            }
            // Weights and biases are rounded once more, sums of 3 and 6 terms as often: far below 16 u.
            let error = (f64::from(*got.view().at(i, j)) - y).abs();
            assert!(error <= 1e-6 * terms, "{i}, {j}: {error} of {terms}");
        }
    }
}

#[test]
fn misuse_is_an_error_by_name() {
    let refused = |builder: crate::MlpBuilder| builder.build().unwrap_err().to_string();
    let cases = [
        (
            Mlp::builder(12).rows(2).attention(4).rows(1).dense(2),
            "layer 1: expected heads that divide the width, got 4 heads for a width of 6",
        ),
        (
            Mlp::builder(12).rows(2).transformer(0, 8).rows(1).dense(2),
            "layer 1: expected heads that divide the width, got 0 heads for a width of 6",
        ),
        (
            Mlp::builder(4).dense(4).embedding(3, 2).rows(1).dense(2),
            "layer 1: expected an embedding at the beginning, of the samples, \
             got one behind other layers",
        ),
        (
            Mlp::builder(4).embedding(0, 2).rows(1).dense(2),
            "layer 0: expected 1 to 2^24 symbols, and a width of at least 1, \
             got 0 symbols, width 2",
        ),
    ];
    for (builder, message) in cases {
        assert_eq!(refused(builder), message);
    }
    let mut net = normalised();
    let data = points(9);
    let error = net.fit(&data, &config().batch_size(8)).unwrap_err();
    let expected = MlpError::BatchTooSmall {
        layer: "1".into(),
        rows: 1,
    };
    assert_eq!(error, expected);
    let one = data.inputs().part(0..1, 0..3);
    let mut trainer = net.trainer(Sgd::new(0.1)).unwrap();
    let error = trainer.step(one, Targets::Classes(&[0]), &Team::solo());
    assert_eq!(error.unwrap_err(), expected);
    assert!(net.predict(one).is_ok(), "prediction needs no variance");
}

#[test]
fn numbers_that_are_no_symbols_are_an_error() {
    let mut net = Mlp::builder(2)
        .embedding(3, 4)
        .rows(1)
        .dense(2)
        .build()
        .unwrap();
    let good = Dataset::classes(vec![0.0, 1.0, 2.0, 0.0], 2, vec![0, 1]).unwrap();
    for (bad, got) in [(3.0, "3"), (0.5, "0.5"), (-1.0, "-1")] {
        let before = net.parameters().to_vec();
        let bad = Dataset::classes(vec![0.0, 1.0, 2.0, bad], 2, vec![0, 1]).unwrap();
        let expected = format!("below 3, got {got} in row 1, column 1");
        let mut epochs = 0;
        let count = |_: &crate::EpochReport| {
            epochs += 1;
            std::ops::ControlFlow::Continue(())
        };
        let error = net.fit(&good, &config().validation(&bad).on_epoch(count));
        let words = error.unwrap_err().to_string();
        assert!(words.contains(&expected), "{words}");
        assert_eq!(epochs, 0, "found before the first epoch");
        let calls = [
            net.fit(&bad, &config().batch_size(1).shuffle(false)).err(),
            net.fit(&bad, &config().batch_size(1).loss_fn(|_| 0.0))
                .err(),
            net.evaluate(&bad).err(),
            net.predict(Data::from(&bad).inputs()).err(),
        ];
        for (call, error) in calls.into_iter().enumerate() {
            let words = error.expect("an error").to_string();
            assert!(words.contains(&expected), "{call}: {words}");
        }
        let mut trainer = net.trainer(Sgd::new(0.1)).unwrap();
        let error = trainer.step_data(&bad, &Team::solo());
        assert!(error.unwrap_err().to_string().contains(&expected));
        assert_eq!(net.parameters(), before);
    }
}

#[test]
fn blocks_are_saved_and_loaded_with_what_they_collected() {
    let name = format!("mlp-blocks-{}.safetensors", std::process::id());
    let path = std::env::temp_dir().join(name);
    let data = points(60);
    let mut net = normalised();
    net.fit(&data, &config().max_epochs(2)).unwrap();
    net.save_checkpoint(&path).unwrap();
    let mut again = Mlp::load(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(again.network.parameters, net.network.parameters);
    net.resume(&data, &config().max_epochs(2)).unwrap();
    again.resume(&data, &config().max_epochs(2)).unwrap();
    assert_eq!(again.network.parameters, net.network.parameters);
}
