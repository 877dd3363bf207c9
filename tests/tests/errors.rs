//! What users can get wrong: an error that says what was expected, what came, and where; no panic,
//! and the network as it was.

use mlp::{
    Activation, Adam, Data, DataError, Dataset, Init, Loss, MatMut, MatRef, Mlp, MlpError, Sgd,
    Targets, Team, TrainConfig,
};
use tests::cases::check_each;

/// Three samples of two features and two classes.
const X: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
const LABELS: [u32; 3] = [0, 1, 1];

fn matrix(data: &[f32], rows: usize, cols: usize) -> MatRef<'_> {
    MatRef::from_row_major(data, rows, cols).expect("the slice has rows cols elements")
}

fn network() -> Mlp {
    let builder = Mlp::builder(2).dense(4).relu().dense(2);
    builder.build().expect("a description without mistakes")
}

fn regression() -> Mlp {
    let builder = Mlp::builder(2).dense(3).loss(Loss::MeanSquaredError);
    builder.build().expect("a description without mistakes")
}

/// A mistake, what it is, and words that the message must hold.
struct Mistake {
    name: &'static str,
    words: &'static [&'static str],
    make: fn() -> Result<(), MlpError>,
}

impl std::fmt::Debug for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn check(mistakes: impl IntoIterator<Item = Mistake>) {
    check_each(mistakes, |mistake| {
        let text = match (mistake.make)() {
            Ok(()) => return Err("was accepted".to_owned()),
            Err(error) => error.to_string(),
        };
        match mistake.words.iter().find(|&&word| !text.contains(word)) {
            None => Ok(()),
            Some(word) => Err(format!("{text:?} lacks {word:?}")),
        }
    });
}

fn mistake(
    name: &'static str,
    words: &'static [&'static str],
    make: fn() -> Result<(), MlpError>,
) -> Mistake {
    Mistake { name, words, make }
}

#[test]
fn descriptions() {
    check([
        mistake("no features", &["inputs", "at least 1", "0"], || {
            Mlp::builder(0).dense(2).build().map(drop)
        }),
        mistake("no layers", &["dense layer", "no layers"], || {
            Mlp::builder(2).build().map(drop)
        }),
        mistake(
            "a first layer without units",
            &["layer 0", "at least 1", "0"],
            || Mlp::builder(2).dense(0).dense(2).build().map(drop),
        ),
        mistake(
            "a last layer without units",
            &["layer 2", "at least 1", "0"],
            || Mlp::builder(2).dense(3).relu().dense(0).build().map(drop),
        ),
        mistake("an activation first", &["layer 0", "dense layer"], || {
            Mlp::builder(2).relu().dense(2).build().map(drop)
        }),
        mistake(
            "a slope that is no number",
            &["layer 1", "negative_slope", "NaN"],
            || {
                Mlp::builder(2)
                    .dense(3)
                    .leaky_relu(f32::NAN)
                    .dense(2)
                    .build()
                    .map(drop)
            },
        ),
        mistake(
            "a negative slope",
            &["layer 1", "negative_slope", "-1"],
            || {
                Mlp::builder(2)
                    .dense(3)
                    .activation(Activation::LeakyRelu {
                        negative_slope: -1.0,
                    })
                    .dense(2)
                    .build()
                    .map(drop)
            },
        ),
        mistake("an infinite constant", &["init", "finite", "inf"], || {
            Mlp::builder(2)
                .dense(2)
                .init(Init::Constant(f32::INFINITY))
                .build()
                .map(drop)
        }),
        mistake("one class", &["at least 2 outputs", "1"], || {
            Mlp::builder(2).dense(1).build().map(drop)
        }),
    ]);
}

/// An answer about data as one about networks.
fn refused<T>(answer: Result<T, DataError>) -> Result<(), MlpError> {
    answer.map(drop).map_err(MlpError::from)
}

#[test]
fn data() {
    check([
        mistake(
            "no samples",
            &["inputs", "at least one sample", "0 x 2"],
            || refused(Dataset::classes(vec![], 2, vec![])),
        ),
        mistake("no features", &["inputs", "one column", "0"], || {
            refused(Dataset::classes(vec![], 0, vec![]))
        }),
        mistake("a broken row", &["inputs", "rows of 2", "5 values"], || {
            refused(Dataset::classes(X[..5].to_vec(), 2, LABELS.to_vec()))
        }),
        mistake("too few labels", &["targets", "3 samples", "2"], || {
            refused(Dataset::classes(X.to_vec(), 2, vec![0, 1]))
        }),
        mistake(
            "NaN among the features",
            &["inputs", "finite", "NaN", "row 1, column 1"],
            || {
                let mut x = X.to_vec();
                x[3] = f32::NAN;
                refused(Dataset::classes(x, 2, LABELS.to_vec()))
            },
        ),
        mistake(
            "infinity among the targets",
            &["targets", "finite", "-inf", "row 2, column 0"],
            || {
                refused(Dataset::values(
                    X.to_vec(),
                    2,
                    vec![0.0, 1.0, -f32::INFINITY],
                    1,
                ))
            },
        ),
        mistake(
            "a split that leaves nothing",
            &["fraction", "3 samples", "1"],
            || refused(Dataset::classes(X.to_vec(), 2, LABELS.to_vec())?.split(1.0, 0)),
        ),
        mistake("more folds than samples", &["folds", "2 to 3", "4"], || {
            refused(Dataset::classes(X.to_vec(), 2, LABELS.to_vec())?.stratified_folds(4, 0))
        }),
    ]);
}

#[test]
fn training() {
    fn fit(x: MatRef<'_>, labels: &[u32]) -> Result<(), MlpError> {
        let config = TrainConfig::default();
        network().fit(Data::classes(x, labels)?, &config).map(drop)
    }
    fn with(config: &TrainConfig<'_>) -> Result<(), MlpError> {
        let data = Data::classes(matrix(&X, 3, 2), &LABELS)?;
        network().fit(data, config).map(drop)
    }
    check([
        mistake(
            "a feature too many",
            &["inputs", "2 features", "2 x 3"],
            || fit(matrix(&X, 2, 3), &[0, 1]),
        ),
        mistake(
            "a feature too few",
            &["inputs", "2 features", "6 x 1"],
            || fit(matrix(&X, 6, 1), &[0, 1, 0, 1, 0, 1]),
        ),
        mistake(
            "a class too high",
            &["label 2", "row 1", "2 outputs"],
            || fit(matrix(&X, 3, 2), &[0, 2, 1]),
        ),
        mistake(
            "the highest label there is",
            &["label 4294967295", "row 2"],
            || fit(matrix(&X, 3, 2), &[0, 0, u32::MAX]),
        ),
        mistake(
            "labels for a regression",
            &["mean squared error", "class labels"],
            || {
                let data = Data::classes(matrix(&X, 3, 2), &LABELS)?;
                regression().fit(data, &TrainConfig::default()).map(drop)
            },
        ),
        mistake(
            "targets of another width",
            &["targets", "3 x 3", "3 x 2"],
            || {
                let data = Data::values(matrix(&X, 3, 2), matrix(&X, 3, 2))?;
                regression().fit(data, &TrainConfig::default()).map(drop)
            },
        ),
        mistake("empty batches", &["batch_size", "at least 1", "0"], || {
            with(&TrainConfig::default().batch_size(0))
        }),
        mistake("no epochs", &["max_epochs", "at least 1", "0"], || {
            with(&TrainConfig::default().max_epochs(0))
        }),
        mistake(
            "a learning rate that is no number",
            &["learning_rate", "finite", "NaN"],
            || with(&TrainConfig::default().optimizer(Sgd::new(f32::NAN))),
        ),
        mistake("a momentum of 1", &["momentum", "below 1", "1"], || {
            with(&TrainConfig::default().optimizer(Sgd::new(0.1).momentum(1.0)))
        }),
        mistake("a beta out of range", &["beta1", "below 1", "1.5"], || {
            with(&TrainConfig::default().optimizer(Adam::new(0.1).betas(1.5, 0.9)))
        }),
    ]);
}

#[test]
fn steps_and_questions() {
    fn step(x: MatRef<'_>, targets: Targets<'_>) -> Result<(), MlpError> {
        let mut network = network();
        let before = network.parameters().to_vec();
        let mut trainer = network.trainer(Sgd::new(0.1))?;
        let answer = trainer.step(x, targets, &Team::solo()).map(drop);
        assert_eq!(
            network.parameters(),
            before,
            "a refused step changes nothing"
        );
        answer
    }
    check([
        mistake("a step without rows", &["at least 1 row", "none"], || {
            step(matrix(&[], 0, 2), Targets::Classes(&[]))
        }),
        mistake(
            "a step with a feature too many",
            &["2 features", "2 x 3"],
            || step(matrix(&X, 2, 3), Targets::Classes(&[0, 1])),
        ),
        mistake("a step with too few labels", &["3", "2"], || {
            step(matrix(&X, 3, 2), Targets::Classes(&[0, 1]))
        }),
        mistake(
            "a step with a class too high",
            &["label 7", "row 0", "2"],
            || step(matrix(&X, 3, 2), Targets::Classes(&[7, 1, 1])),
        ),
        mistake("a step with targets too wide", &["3 x 2", "2 x 3"], || {
            step(matrix(&X, 3, 2), Targets::Values(matrix(&X, 2, 3)))
        }),
        mistake(
            "a step with NaN",
            &["inputs", "finite", "NaN", "row 0, column 0"],
            || step(matrix(&[f32::NAN, 1.0], 1, 2), Targets::Classes(&[0])),
        ),
        mistake(
            "a step with infinity",
            &["inputs", "finite", "inf", "row 0, column 1"],
            || step(matrix(&[1.0, f32::INFINITY], 1, 2), Targets::Classes(&[0])),
        ),
        mistake(
            "a gradient of one's own with NaN",
            &[
                "gradient of the outputs",
                "finite",
                "NaN",
                "row 0, column 1",
            ],
            || {
                let (mut network, x) = (network(), matrix(&X[..2], 1, 2));
                let mut trainer = network.trainer(Sgd::new(0.1))?;
                trainer.forward(x, &Team::solo())?;
                trainer.backward(x, matrix(&[0.0, f32::NAN], 1, 2), &Team::solo())
            },
        ),
        mistake(
            "classes where the outputs overflow",
            &["outputs", "finite", "NaN", "row 1"],
            || {
                let mut network = network();
                // Hidden units of 3e39, and outputs that are the difference of two such.
                let (weights, biases) = ([10.0; 8], [0.0; 4]);
                let signs = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
                network.set_parameters(&[&weights[..], &biases, &signs, &[0.0; 2]].concat())?;
                let x = [0.0, 0.0, 3e38, 3e38];
                network.predict(matrix(&x, 2, 2)).map(drop)
            },
        ),
        mistake(
            "a question with NaN",
            &["inputs", "finite", "NaN", "row 0, column 1"],
            || network().predict(matrix(&[1.0, f32::NAN], 1, 2)).map(drop),
        ),
        mistake(
            "a question of another width",
            &["inputs", "2 features", "2 x 3"],
            || network().predict_proba(matrix(&X, 2, 3)).map(drop),
        ),
        mistake(
            "classes of a regression",
            &["predict", "mean squared error"],
            || regression().predict(matrix(&X, 3, 2)).map(drop),
        ),
        mistake(
            "answers that do not fit the memory",
            &["3 x 2", "2 x 3"],
            || {
                let (network, mut out) = (network(), [0.0; 6]);
                let out = MatMut::from_row_major(&mut out, 2, 3)?;
                let mut workspace = network.predict_workspace();
                network.predict_into(matrix(&X, 3, 2), out, &mut workspace)
            },
        ),
        mistake(
            "an evaluation with other features",
            &["inputs", "2 features", "2 x 3"],
            || {
                network()
                    .evaluate(Data::classes(matrix(&X, 2, 3), &[0, 1])?)
                    .map(drop)
            },
        ),
        mistake("parameters of another network", &["22", "3"], || {
            network().set_parameters(&[0.0; 3])
        }),
        mistake(
            "a parameter that is no number",
            &["parameters", "finite", "NaN", "index 5"],
            || {
                let mut network = network();
                let mut parameters = network.parameters().to_vec();
                parameters[5] = f32::NAN;
                network.set_parameters(&parameters)
            },
        ),
    ]);
}
