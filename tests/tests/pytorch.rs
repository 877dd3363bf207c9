//! Ten steps of every optimiser, loss, clipping and schedule against PyTorch.
//!
//! The numbers come from `tests/reference/steps.py`, run in float64, and are kept beside it. A case is
//! found by its names: network, loss, optimiser, what decays, clipping, schedule.

use std::collections::BTreeMap;

use kernels::Kernels;
use mlp::{
    Adam, AdamW, Clip, Data, Loss, MatRef, Mlp, Objective, Optimizer, ParamGroup, ReduceOnPlateau,
    Rmsprop, Schedule, Sgd, TrainConfig,
};
use tests::cases::check_each;

const REFERENCE: &str = include_str!("../reference/steps.txt");

const BATCH: usize = 8;
const WIDTHS: [usize; 3] = [4, 6, 3];
const STEPS: usize = 10;

/// Largest difference of a parameter, in parts of the largest entry of its tensor.
const TOLERANCE: f64 = 1e-5;

/// Lists of numbers by their names.
type Numbers = BTreeMap<String, Vec<f64>>;

/// A case: its names, and what PyTorch made of it.
#[derive(Debug)]
struct Case {
    names: [String; 6],
    numbers: Numbers,
}

/// What all cases share, and the cases.
fn reference() -> (Numbers, Vec<Case>) {
    let (mut shared, mut cases) = (Numbers::new(), Vec::<Case>::new());
    for line in REFERENCE.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let name = words.next().expect("no empty lines");
        if name == "case" {
            let names: Vec<String> = words.map(str::to_owned).collect();
            cases.push(Case {
                names: names.try_into().expect("six names"),
                numbers: Numbers::new(),
            });
            continue;
        }
        let numbers = words.map(|word| word.parse().expect("a number")).collect();
        let place = cases
            .last_mut()
            .map_or(&mut shared, |case| &mut case.numbers);
        place.insert(name.to_owned(), numbers);
    }
    (shared, cases)
}

fn narrow(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&x| x as f32).collect()
}

fn unknown<T>(what: &str) -> Result<T, String> {
    Err(format!("the test knows nothing of {what}"))
}

fn loss(name: &str) -> Result<(Loss, Objective), String> {
    let plain = Objective::default;
    let weights = [1.0, 0.5, 3.0];
    let cross_entropy = |objective| Ok((Loss::SoftmaxCrossEntropy, objective));
    match name {
        "cross_entropy" | "soft_targets" => cross_entropy(plain()),
        "label_smoothing" => cross_entropy(plain().label_smoothing(0.25)),
        "class_weights" => cross_entropy(plain().class_weights(&weights)),
        "smoothing_and_weights" | "soft_smoothing_and_weights" => {
            cross_entropy(plain().label_smoothing(0.25).class_weights(&weights))
        }
        "binary" => Ok((Loss::BinaryCrossEntropy, plain())),
        "squared" => Ok((Loss::MeanSquaredError, plain())),
        "absolute" => Ok((Loss::MeanAbsoluteError, plain())),
        "huber" => Ok((Loss::Huber { delta: 0.5 }, plain())),
        other => unknown(other),
    }
}

fn optimizer(name: &str) -> Result<Optimizer, String> {
    let (slow, slower) = (0.03125, 0.015625);
    Ok(match name {
        "sgd" => Sgd::new(0.25).into(),
        "sgd_l2" => Sgd::new(0.25).weight_decay(0.125).into(),
        "momentum" => Sgd::new(0.125).momentum(0.75).into(),
        "nesterov" => {
            let sgd = Sgd::new(0.125).momentum(0.75).nesterov();
            sgd.weight_decay(0.125).into()
        }
        "adam" => Adam::new(slow).into(),
        "adam_l2" => Adam::new(slow).weight_decay(0.125).into(),
        "adamw" => AdamW::new(slow).weight_decay(0.5).into(),
        "rmsprop" => Rmsprop::new(slower).into(),
        "rmsprop_all" => {
            let rmsprop = Rmsprop::new(slower).alpha(0.75).eps(1e-6);
            let rmsprop = rmsprop.momentum(0.5).centered();
            rmsprop.weight_decay(0.125).into()
        }
        other => return unknown(other),
    })
}

fn network(name: &str) -> Result<mlp::MlpBuilder, String> {
    match name {
        "plain" => Ok(Mlp::builder(WIDTHS[0])
            .dense(WIDTHS[1])
            .tanh()
            .dense(WIDTHS[2])),
        other => unknown(other),
    }
}

fn settings<'a>(case: &Case) -> Result<TrainConfig<'a>, String> {
    let [_, of_loss, of_optimizer, decay, clip, schedule] = &case.names;
    let settings = TrainConfig::default()
        .optimizer(optimizer(of_optimizer)?)
        .objective(loss(of_loss)?.1)
        .batch_size(BATCH)
        .max_epochs(STEPS)
        .shuffle(false);
    let settings = match decay.as_str() {
        "weights" => settings,
        // PyTorch's optimisers decay everything unless told otherwise.
        "all" => settings.group(ParamGroup::all().weight_decay_factor(1.0)),
        other => return unknown(other),
    };
    let settings = match clip.as_str() {
        "none" => settings,
        "norm" => settings.clip(Clip::norm(0.25)),
        "value" => settings.clip(Clip::value(0.0625)),
        other => return unknown(other),
    };
    // An epoch is one step here.
    let schedule = match schedule.as_str() {
        "none" => return Ok(settings),
        "plateau" => {
            let plateau = ReduceOnPlateau::new(0.5).patience(1);
            return Ok(settings.reduce_on_plateau(plateau.threshold(0.25).cooldown(1)));
        }
        "step" => Schedule::step(3, 0.5),
        "exponential" => Schedule::exponential(0.75),
        "cosine" => Schedule::cosine(10, 0.125),
        "warmup" => Schedule::warmup(5, 0.25).per_epoch(),
        "one_cycle" => Schedule::one_cycle(10).per_step(),
        "sequence" => Schedule::warmup(4, 0.25).then(4, Schedule::cosine(6, 0.0)),
        other => return unknown(other),
    };
    Ok(settings.schedule(schedule))
}

/// Holds numbers against the reference, in parts of its largest.
fn close(what: &str, got: &[f32], expected: &[f64]) -> Result<(), String> {
    let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    if got.len() != expected.len() || largest == 0.0 {
        return Err(format!("{what}: {got:?} against {expected:?}"));
    }
    for (i, (&got, expected)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(got) - expected).abs() / largest;
        if off.is_nan() || off > TOLERANCE {
            return Err(format!(
                "{what} {i}: {got}, expected {expected}, off {off:.1e}"
            ));
        }
    }
    Ok(())
}

fn check(shared: &Numbers, case: &Case) -> Result<(), String> {
    let [of_network, of_loss, ..] = &case.names;
    let rows = |name: &str| narrow(&shared[name]);
    let (inputs, values, shares) = (rows("inputs"), rows("values"), rows("shares"));
    let labels: Vec<u32> = shared["labels"].iter().map(|&x| x as u32).collect();
    let matrix = |data, cols| MatRef::from_row_major(data, BATCH, cols).expect("a batch");
    let x = matrix(&inputs, WIDTHS[0]);
    let data = match of_loss.as_str() {
        "squared" | "absolute" | "huber" => Data::values(x, matrix(&values, WIDTHS[2])),
        "binary" | "soft_targets" | "soft_smoothing_and_weights" => {
            Data::values(x, matrix(&shares, WIDTHS[2]))
        }
        _ => Data::classes(x, &labels),
    };
    let data = data.map_err(|e| e.to_string())?;
    let settings = settings(case)?;
    for kernels in Kernels::available().map_err(|e| e.to_string())? {
        let isa = kernels.isa();
        let builder = network(of_network)?.loss(loss(of_loss)?.0).isa(isa);
        let mut net = builder.build().map_err(|e| e.to_string())?;
        let before = narrow(&shared[of_network]);
        net.set_parameters(&before).map_err(|e| e.to_string())?;
        let report = net.fit(data, &settings).map_err(|e| e.to_string())?;

        let losses: Vec<f32> = report.history.iter().map(|epoch| epoch.loss).collect();
        close(
            &format!("{isa}: loss of step"),
            &losses,
            &case.numbers["losses"],
        )?;
        let rates: Vec<f32> = report.history.iter().map(|e| e.learning_rate).collect();
        close(
            &format!("{isa}: rate of step"),
            &rates,
            &case.numbers["rates"],
        )?;
        let (mut got, mut expected) = (net.parameters(), &case.numbers["after"][..]);
        for layer in 0..net.dense_layers() {
            let weight = net.weights(layer).map_or(0, |w| w.rows() * w.cols());
            for len in [weight, net.bias(layer).map_or(0, <[f32]>::len)] {
                let what = format!("{isa}: parameter of layer {layer}");
                close(&what, &got[..len], &expected[..len])?;
                (got, expected) = (&got[len..], &expected[len..]);
            }
        }
        if !got.is_empty() || net.parameters() == before {
            return Err(format!("{isa}: parameters were left over, or left alone"));
        }
    }
    Ok(())
}

#[test]
fn ten_steps_end_where_those_of_pytorch_do() {
    let (shared, cases) = reference();
    check_each(cases, |case| check(&shared, case));
}

/// A case for each of what there is: none can be lost from the file unnoticed.
#[test]
fn the_reference_has_every_case() {
    let (_, cases) = reference();
    assert_eq!(cases.len(), 39);
    let names = |place: usize| {
        let mut names: Vec<&str> = cases.iter().map(|case| &*case.names[place]).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    assert_eq!([0, 1, 2, 3, 4, 5].map(names), [1, 10, 9, 2, 3, 8]);
}
