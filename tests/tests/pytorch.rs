//! Ten steps of every optimiser, loss, clipping and schedule, and of every kind of layer, against
//! PyTorch: the parameters, the running statistics, and what the network answers afterwards.
//!
//! The numbers come from `tests/reference/steps.py`, run in float64, and are kept beside it. A case is
//! found by its names: network, loss, optimiser, what decays, clipping, schedule.

use std::collections::BTreeMap;
use std::path::Path;

use kernels::Kernels;
use mlp::{
    Adam, AdamW, Clip, Data, Loss, MatRef, Mlp, MlpBuilder, Objective, Optimizer, ParamGroup,
    ReduceOnPlateau, Rmsprop, Schedule, Sgd, TrainConfig,
};
use safetensors::SafeTensors;
use tests::cases::check_each;
use tests::measured::Measured;

const REFERENCE: &str = include_str!("../reference/steps.txt");

const BATCH: usize = 8;
const WIDTHS: [usize; 3] = [4, 6, 3];
const STEPS: usize = 10;

const SAMPLE_WEIGHTS: [f32; BATCH] = [1.0, 0.5, 0.0, 2.0, 1.0, 0.25, 3.0, 1.0];

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
        "sample_weights" => Ok((Loss::MeanSquaredError, plain())),
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
            let rmsprop = Rmsprop::new(slower).alpha(0.75).eps(1e-3);
            let rmsprop = rmsprop.momentum(0.5).centered();
            rmsprop.weight_decay(0.125).into()
        }
        other => return unknown(other),
    })
}

fn network(name: &str) -> Result<MlpBuilder, String> {
    let [inputs, hidden, outputs] = WIDTHS;
    let net = Mlp::builder(inputs);
    let around = |layers: fn(MlpBuilder) -> MlpBuilder| {
        layers(Mlp::builder(inputs).dense(hidden)).dense(outputs)
    };
    let sequences = |layers: fn(MlpBuilder) -> MlpBuilder| {
        let net = Mlp::builder(inputs).dense(3 * inputs).rows(3);
        layers(net).rows(1).dense(outputs)
    };
    Ok(match name {
        "plain" => around(|net| net.tanh()),
        "sigmoid" => around(|net| net.sigmoid()),
        "relu" => around(|net| net.relu()),
        "leaky_relu" => around(|net| net.leaky_relu(0.125)),
        "gelu" => around(|net| net.gelu()),
        "gelu_tanh" => around(|net| net.gelu_tanh()),
        "silu" => around(|net| net.silu()),
        "elu" => around(|net| net.elu(0.5)),
        "softplus" => around(|net| net.softplus()),
        "batch_norm" => {
            let net = net.batch_norm().dense(hidden).tanh();
            net.batch_norm().dense(outputs)
        }
        "layer_norm" => around(|net| net.tanh().layer_norm()),
        "residual" => around(|net| net.residual(|block| block.dense(6).tanh())),
        "residual_after" => around(|net| {
            net.residual(|block| block.dense(6).batch_norm().relu().dense(6))
                .relu()
        }),
        "residual_before" => {
            around(|net| net.residual(|block| block.layer_norm().relu().dense(6).tanh().dense(6)))
        }
        "dense_connections" => {
            let net = net.concat(|block| block.dense(3).tanh());
            net.concat(|block| block.dense(2).tanh()).dense(outputs)
        }
        "residual_projected" => {
            let net = net.dense(hidden);
            let net = net.residual_projected(|block| block.dense(6).tanh().dense(5));
            net.dense(outputs)
        }
        "skip" => {
            let net = net.dense(hidden).tanh().dense(hidden).tanh();
            let net = net.dense(hidden).tanh().skip(2);
            net.dense(hidden).tanh().skip(2).dense(outputs)
        }
        "skip_projected" => {
            let net = net.dense(hidden).tanh().dense(5).tanh();
            net.skip_projected(1).dense(outputs)
        }
        "padded_attention" | "padded_causal_attention" | "padded_causal_transformer" => {
            let net = net.padding(0.0).embedding(5, 4);
            let net = match name {
                "padded_attention" => net.attention(2),
                "padded_causal_attention" => net.causal_attention(2),
                _ => net.causal_transformer(2, 6),
            };
            net.rows(1).dense(outputs)
        }
        "attention" => sequences(|net| net.attention(2)),
        "causal_attention" => sequences(|net| net.causal_attention(2)),
        "transformer" => sequences(|net| net.transformer(2, 6)),
        "symbols" => {
            let net = net.embedding(5, 4).transformer(2, 6).layer_norm();
            net.rows(1).dense(outputs)
        }
        other => return unknown(other),
    })
}

/// The running statistics of a network by the names that PyTorch gives them, as its file has them.
fn running_statistics(net: &Mlp) -> Result<Numbers, String> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pytorch.safetensors");
    net.save(&path).map_err(|e| e.to_string())?;
    let file = std::fs::read(&path).map_err(|e| e.to_string())?;
    let tensors = SafeTensors::deserialize(&file).map_err(|e| e.to_string())?;
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let numbers = |data: &[u8]| data.chunks_exact(4).map(|b| number(b).into()).collect();
    let all = tensors.iter();
    let running = all.filter(|(name, _)| name.contains("running"));
    Ok(running
        .map(|(name, tensor)| (name.to_owned(), numbers(tensor.data())))
        .collect())
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
fn close(
    what: &str,
    got: &[f32],
    expected: &[f64],
    measured: &mut dyn FnMut(f64),
) -> Result<(), String> {
    let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    if got.len() != expected.len() || largest == 0.0 {
        return Err(format!("{what}: {got:?} against {expected:?}"));
    }
    for (i, (&got, expected)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(got) - expected).abs() / largest;
        measured(off);
        if off.is_nan() || off > TOLERANCE {
            return Err(format!(
                "{what} {i}: {got}, expected {expected}, off {off:.1e}"
            ));
        }
    }
    Ok(())
}

fn check(shared: &Numbers, case: &Case, measured: &mut Measured) -> Result<(), String> {
    let [of_network, of_loss, of_optimizer, _, clip, schedule] = &case.names;
    let special =
        [("clip", clip), ("schedule", schedule)].map(|(what, name)| format!("{what} {name}"));
    let special = special.iter().filter(|name| !name.ends_with(" none"));
    let names: Vec<&String> = special.chain([of_network, of_loss, of_optimizer]).collect();
    let mut close = |what: &str, got: &[f32], expected: &[f64]| {
        close(what, got, expected, &mut |off| {
            for name in &names {
                measured.record(name, off);
            }
        })
    };
    let rows = |name: &str| narrow(&shared[name]);
    let (inputs, values, shares) = (rows("inputs"), rows("values"), rows("shares"));
    let labels: Vec<u32> = shared["labels"].iter().map(|&x| x as u32).collect();
    let matrix = |data, cols| MatRef::from_row_major(data, BATCH, cols).expect("a batch");
    let (sequences, padded) = (rows("sequences"), rows("padded"));
    let x = match of_network.as_str() {
        "symbols" => matrix(&sequences, WIDTHS[0]),
        name if name.starts_with("padded") => matrix(&padded, WIDTHS[0]),
        _ => matrix(&inputs, WIDTHS[0]),
    };
    let data = match of_loss.as_str() {
        "squared" | "absolute" | "huber" | "sample_weights" => {
            Data::values(x, matrix(&values, WIDTHS[2]))
        }
        "binary" | "soft_targets" | "soft_smoothing_and_weights" => {
            Data::values(x, matrix(&shares, WIDTHS[2]))
        }
        _ => Data::classes(x, &labels),
    };
    let mut data = data.map_err(|e| e.to_string())?;
    if of_loss == "sample_weights" {
        data = data.weighted(&SAMPLE_WEIGHTS).map_err(|e| e.to_string())?;
    }
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
        for (tensor, &len) in shared[&format!("{of_network}.sizes")].iter().enumerate() {
            let (here, there) = (got.split_at(len as usize), expected.split_at(len as usize));
            close(&format!("{isa}: tensor {tensor}"), here.0, there.0)?;
            (got, expected) = (here.1, there.1);
        }
        if !got.is_empty() || net.parameters() == before {
            return Err(format!("{isa}: parameters were left over, or left alone"));
        }
        let running = running_statistics(&net)?;
        let expected = case.numbers.iter();
        let expected: Numbers = expected
            .filter(|(name, _)| name.contains("running"))
            .map(|(name, numbers)| (name.clone(), numbers.clone()))
            .collect();
        if !running.keys().eq(expected.keys()) {
            return Err(format!("{isa}: {running:?}, expected {expected:?}"));
        }
        for (name, got) in &running {
            close(&format!("{isa}: {name}"), &narrow(got), &expected[name])?;
        }
        let answers = net.forward(x).map_err(|e| e.to_string())?;
        let what = format!("{isa}: answer");
        close(&what, answers.as_slice(), &case.numbers["answers"])?;
    }
    Ok(())
}

#[test]
fn ten_steps_end_where_those_of_pytorch_do() {
    let (shared, cases) = reference();
    let mut measured = Measured::new("of the largest entry after ten steps");
    check_each(cases, |case| check(&shared, case, &mut measured));
}

/// A case for each of what there is: none can be lost from the file unnoticed.
#[test]
fn the_reference_has_every_case() {
    let (_, cases) = reference();
    assert_eq!(cases.len(), 82);
    let names = |place: usize| {
        let mut names: Vec<&str> = cases.iter().map(|case| &*case.names[place]).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    assert_eq!([0, 1, 2, 3, 4, 5].map(names), [25, 11, 9, 2, 3, 8]);
}
