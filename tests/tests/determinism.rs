//! The same bits: again, for any number of threads, and in a process where other work goes on.

#[path = "common/every_layer.rs"]
mod every_layer;

use std::path::Path;
use std::time::Duration;

use every_layer::EveryLayer;
use kernels::{Isa, Kernels};
use mlp::{
    Adam, AdamW, Clip, Dataset, Mlp, Optimizer, ParamGroup, Rmsprop, Sgd, Targets, Team,
    TrainConfig, with_team,
};
use tests::cases::check_each;
use tests::values::Values;

const FEATURES: usize = 61;
const CLASSES: usize = 7;
const SAMPLES: usize = 333;

fn isas() -> Vec<Isa> {
    let all = Kernels::available().expect("the environment asks for what this machine has");
    all.into_iter().map(Kernels::isa).collect()
}

fn data() -> Dataset {
    let mut values = Values::new(0xda7a);
    let x = values.vec(SAMPLES * FEATURES);
    Dataset::classes(x, FEATURES, values.labels(SAMPLES, CLASSES)).expect("good data")
}

/// Odd widths, and large enough that several threads take part.
fn network(isa: Isa, seed: u64) -> Mlp {
    let hidden = Mlp::builder(FEATURES).dense(301).relu().dense(163).tanh();
    let network = hidden.dense(CLASSES).isa(isa).seed(seed).build();
    network.expect("a description without mistakes")
}

fn config<'a>(threads: usize) -> TrainConfig<'a> {
    let config = TrainConfig::default().optimizer(Adam::new(0.003));
    config.batch_size(100).max_epochs(2).threads(threads)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

fn same_for_any_number_of_threads<R: PartialEq>(run: impl Fn(usize) -> R) -> Result<(), String> {
    let expected = run(1);
    match [2, 3, 8]
        .into_iter()
        .find(|&threads| run(threads) != expected)
    {
        None => Ok(()),
        Some(threads) => Err(format!("{threads} threads end in other bits")),
    }
}

/// The parameters and losses of a training.
fn train(isa: Isa, seed: u64, threads: usize) -> (Vec<u32>, Vec<u32>) {
    let mut network = network(isa, seed);
    let report = network.fit(&data(), &config(threads)).expect("good data");
    let losses: Vec<f32> = report.history.iter().map(|epoch| epoch.loss).collect();
    (bits(network.parameters()), bits(&losses))
}

#[test]
fn a_training_is_the_same_again_and_for_any_number_of_threads() {
    check_each(isas(), |&isa| {
        let expected = train(isa, 1, 1);
        for threads in [1, 2, 3, 8, 0] {
            if train(isa, 1, threads) != expected {
                return Err(format!("{threads} threads end in other bits"));
            }
        }
        if train(isa, 2, 1) == expected {
            return Err("another seed ends in the same bits".to_owned());
        }
        Ok(())
    });
}

#[test]
fn a_clipped_training_is_the_same_for_any_number_of_threads() {
    check_each(isas(), |&isa| {
        for clip in [Clip::norm(0.1), Clip::value(0.001)] {
            let run = |threads| {
                let mut network = network(isa, 1);
                let config = config(threads).clip(clip);
                let report = network.fit(&data(), &config).expect("good data");
                let norms = report.history.iter().map(|epoch| epoch.gradient_norm);
                let norms: Vec<f32> = norms.map(|norm| norm.expect("clipped")).collect();
                (bits(network.parameters()), bits(&norms))
            };
            let expected = run(1);
            for threads in [2, 3] {
                if run(threads) != expected {
                    return Err(format!("{clip:?}: {threads} threads end in other bits"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn steps_are_the_same_for_any_number_of_threads() {
    let data = data();
    let (x, labels) = (data.inputs(), data.labels().expect("classes"));
    check_each(isas(), |&isa| {
        let run = |threads| {
            let mut network = network(isa, 3);
            let optimizer = Sgd::new(0.1).momentum(0.9).nesterov();
            let mut trainer = network.trainer(optimizer).expect("good settings");
            let losses = with_team(threads, |team| {
                [SAMPLES, 1, 2, 37, 128].map(|rows| {
                    let targets = Targets::Classes(&labels[..rows]);
                    let batch = x.part(0..rows, 0..FEATURES);
                    trainer.step(batch, targets, team).expect("a good batch")
                })
            });
            (bits(&losses), bits(network.parameters()))
        };
        same_for_any_number_of_threads(run)
    });
}

#[test]
fn every_kind_of_layer_trains_the_same_for_any_number_of_threads() {
    let cases = isas()
        .into_iter()
        .flat_map(|isa| EveryLayer::ALL.map(|kind| (isa, kind)));
    check_each(cases, |&(isa, kind)| {
        let samples = kind.samples(70);
        let run = |threads| {
            let mut network = kind.builder().isa(isa).build().expect("a network");
            let config = TrainConfig::default()
                .optimizer(AdamW::new(0.003))
                .clip(Clip::norm(1.0))
                .batch_size(32)
                .max_epochs(2)
                .threads(threads);
            let report = network.fit(&samples, &config).expect("good data");
            let losses: Vec<f32> = report.history.iter().map(|epoch| epoch.loss).collect();
            // The answers are those of running statistics too.
            let answers = network.forward(samples.inputs()).expect("the same samples");
            let all = [network.parameters(), &losses, answers.as_slice()];
            bits(&all.concat())
        };
        same_for_any_number_of_threads(run)
    });
}

#[test]
fn a_training_resumed_at_any_step_ends_in_the_same_bits() {
    const STEPS: usize = 6;
    const ROWS: usize = 12;
    check_each(EveryLayer::ALL, |&kind| {
        let samples = kind.samples(STEPS * ROWS);
        let (x, labels) = (samples.inputs(), samples.labels().expect("classes"));
        let steps = |network: &mut Mlp, range: std::ops::Range<usize>| {
            let mut trainer = network.trainer(Adam::new(0.01)).expect("good settings");
            for step in range {
                let rows = step * ROWS..(step + 1) * ROWS;
                let targets = Targets::Classes(&labels[rows.clone()]);
                let batch = x.part(rows, 0..x.cols());
                let loss = trainer.step(batch, targets, &Team::solo());
                loss.expect("a good batch");
            }
        };
        let answers = |network: &Mlp| {
            let answers = network.forward(x).expect("the same samples");
            [bits(network.parameters()), bits(answers.as_slice())]
        };
        let mut whole = kind.builder().build().expect("a network");
        steps(&mut whole, 0..STEPS);
        let expected = answers(&whole);
        let file = format!("resumed-{kind:?}.safetensors");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        for stop in 0..=STEPS {
            let mut first = kind.builder().build().expect("a network");
            steps(&mut first, 0..stop);
            first.save_checkpoint(&path).map_err(|e| e.to_string())?;
            let mut second = Mlp::load(&path).map_err(|e| e.to_string())?;
            steps(&mut second, stop..STEPS);
            if answers(&second) != expected {
                return Err(format!("stopped after {stop} steps, it ends in other bits"));
            }
        }
        Ok(())
    });
}

#[test]
fn trainings_side_by_side_do_not_disturb_each_other() {
    check_each(isas(), |&isa| {
        let expected = train(isa, 1, 1);
        let all = std::thread::scope(|scope| {
            let runs = [2, 1, 0, 2].map(|threads| scope.spawn(move || train(isa, 1, threads)));
            runs.map(|run| run.join().expect("a training that does not panic"))
        });
        match all.iter().position(|got| *got != expected) {
            None => Ok(()),
            Some(run) => Err(format!("run {run} of {} ends in other bits", all.len())),
        }
    });
}

#[test]
fn trainings_inside_tasks_of_a_pool_end_in_the_same_bits() {
    // Each caller is a worker of the pool that its helpers are borrowed from, and with two of them in
    // a pool of two there is nobody left to borrow.
    check_each(isas(), |&isa| {
        let expected = train(isa, 1, 1);
        for size in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(size).build();
            let pool = pool.map_err(|error| error.to_string())?;
            let (first, (second, third)) = pool.install(|| {
                let run = |threads| move || train(isa, 1, threads);
                rayon::join(run(0), || rayon::join(run(2), run(3)))
            });
            if [first, second, third] != [&expected; 3].map(Clone::clone) {
                return Err(format!("other bits in a pool of {size}"));
            }
        }
        Ok(())
    });
}

#[test]
fn how_long_helpers_spin_changes_no_bit() {
    let isa = isas()[0];
    let expected = train(isa, 1, 1);
    for micros in [0, 20, 10_000] {
        let mut network = network(isa, 1);
        let config = config(3).spin(Duration::from_micros(micros));
        network.fit(&data(), &config).expect("good data");
        assert_eq!(bits(network.parameters()), expected.0, "{micros} us");
    }
}

#[test]
fn the_same_question_has_the_same_answer() {
    let data = data();
    let x = data.inputs();
    check_each(isas(), |&isa| {
        let network = network(isa, 4);
        let all = network.forward(x).map_err(|e| e.to_string())?;
        let again = network.forward(x).map_err(|e| e.to_string())?;
        if bits(all.as_slice()) != bits(again.as_slice()) {
            return Err("the same question has another answer".to_owned());
        }
        Ok(())
    });
}

/// A step uses the gradients of large layers where they are made, some of them while the gradient
/// that flows on is computed from the same weights.
#[test]
fn a_step_in_one_has_the_bits_of_gradients_and_update() {
    let data = data();
    let (x, labels) = (data.inputs(), data.labels().expect("classes"));
    let optimizers: [Optimizer; 6] = [
        Sgd::new(0.1).into(),
        Sgd::new(0.1).weight_decay(0.01).into(),
        Sgd::new(0.1).momentum(0.9).nesterov().into(),
        Adam::new(0.003).into(),
        AdamW::new(0.003).into(),
        Rmsprop::new(0.003)
            .momentum(0.5)
            .centered()
            .weight_decay(0.01)
            .into(),
    ];
    // One layer has settings of its own.
    let groups = [ParamGroup::named("2")
        .learning_rate_factor(0.5)
        .weight_decay_factor(2.0)];
    let run = |isa, optimizer, threads, in_one: bool| {
        let mut network = network(isa, 5);
        let trainer = network.trainer(optimizer).expect("good settings");
        let mut trainer = trainer.groups(&groups).expect("a layer");
        with_team(threads, |team| {
            for rows in [SAMPLES, 1, 37, 128] {
                let targets = Targets::Classes(&labels[..rows]);
                let batch = x.part(0..rows, 0..FEATURES);
                if in_one {
                    trainer.step(batch, targets, team).expect("a good batch");
                    assert!(trainer.gradients().is_none(), "the gradients were used up");
                } else {
                    trainer
                        .gradients_of(batch, targets, team)
                        .expect("a good batch");
                    trainer.update(team).expect("gradients were kept");
                }
            }
        });
        bits(network.parameters())
    };
    check_each(isas(), |&isa| {
        for optimizer in optimizers {
            let expected = run(isa, optimizer, 1, false);
            for threads in [1, 2, 3] {
                if run(isa, optimizer, threads, true) != expected {
                    return Err(format!("{optimizer:?}: other bits on {threads} threads"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn an_update_without_gradients_is_refused() {
    let mut network = network(Isa::Scalar, 6);
    let mut trainer = network.trainer(Sgd::new(0.1)).expect("good settings");
    let error = trainer
        .update(&Team::solo())
        .expect_err("nothing was computed");
    assert!(
        error.to_string().contains("gradients of a backward pass"),
        "{error}"
    );
}

/// Small, with batches so large that a step runs in row blocks.
fn in_row_blocks(isa: Isa) -> Mlp {
    let hidden = Mlp::builder(FEATURES).dense(40).tanh().dropout(0.3);
    let network = hidden.dense(32).relu().dense(CLASSES).isa(isa).seed(7);
    network.build().expect("a description without mistakes")
}

#[test]
fn row_blocks_end_in_the_same_bits_for_any_number_of_threads() {
    let data = data();
    let (x, labels) = (data.inputs(), data.labels().expect("classes"));
    check_each(isas(), |&isa| {
        let blocks = in_row_blocks(isa).explain(SAMPLES);
        let blocks = blocks.map_err(|e| e.to_string())?.row_blocks;
        if blocks < 3 {
            return Err(format!("{blocks} row blocks"));
        }
        let steps = |threads, in_one| {
            let mut network = in_row_blocks(isa);
            let mut trainer = network.trainer(Adam::new(0.01)).expect("good settings");
            let losses = with_team(threads, |team| {
                [SAMPLES, 300, 64, SAMPLES].map(|rows| {
                    let targets = Targets::Classes(&labels[..rows]);
                    let batch = x.part(0..rows, 0..FEATURES);
                    if in_one {
                        return trainer.step(batch, targets, team).expect("a good batch");
                    }
                    let loss = trainer.gradients_of(batch, targets, team);
                    trainer.update(team).expect("gradients were kept");
                    loss.expect("a good batch")
                })
            });
            (bits(&losses), bits(network.parameters()))
        };
        if steps(1, true) != steps(1, false) {
            return Err("a step in one has other bits than gradients and update".to_owned());
        }
        same_for_any_number_of_threads(|threads| steps(threads, true))
    });
}

/// Forward and backward pass by themselves run layer by layer: the same sums, with the same masks, in another
/// order.
#[test]
fn row_blocks_compute_the_gradients_of_the_whole_batch() {
    let data = data();
    let (x, labels) = (data.inputs(), data.labels().expect("classes"));
    let targets = Targets::Classes(labels);
    check_each(isas(), |&isa| {
        let mut network = in_row_blocks(isa);
        let mut trainer = network.trainer(Sgd::new(0.1)).expect("good settings");
        let mut run = |own: bool| {
            if own {
                let outputs = trainer.forward(x, &Team::solo()).expect("a good batch");
                let mut gradient = Vec::new();
                for (row, &label) in labels.iter().enumerate() {
                    let e: Vec<f64> = (0..CLASSES)
                        .map(|class| f64::from(*outputs.at(row, class)).exp())
                        .collect();
                    let sum: f64 = e.iter().sum();
                    let hit = |class| f64::from(u8::from(class == label as usize));
                    let of_row = e.iter().enumerate();
                    gradient.extend(
                        of_row.map(|(class, e)| ((e / sum - hit(class)) / SAMPLES as f64) as f32),
                    );
                }
                let gradient = mlp::MatRef::from_row_major(&gradient, SAMPLES, CLASSES);
                let gradient = gradient.expect("an element for each output");
                trainer
                    .backward(x, gradient, &Team::solo())
                    .expect("a forward pass before");
            } else {
                trainer
                    .gradients_of(x, targets, &Team::solo())
                    .expect("a good batch");
            }
            trainer.gradients().expect("they were kept").to_vec()
        };
        let (layers, blocks) = (run(true), run(false));
        // Sums of SAMPLES terms, each of which may be as large as the largest sum.
        let largest = layers.iter().fold(0.0_f32, |max, g| max.max(g.abs()));
        let bound = SAMPLES as f32 * f32::EPSILON * largest;
        let off = |(a, b): (&f32, &f32)| (a - b).abs() > bound || !b.is_finite();
        match layers.iter().zip(&blocks).position(off) {
            None => Ok(()),
            Some(at) => Err(format!(
                "parameter {at}: {} in row blocks, {} layer by layer, bound {bound}",
                blocks[at], layers[at]
            )),
        }
    });
}

#[test]
fn a_label_that_is_none_is_found_in_its_row_whatever_block_it_is_in() {
    let data = data();
    let mut labels = data.labels().expect("classes").to_vec();
    labels[SAMPLES - 1] = CLASSES as u32;
    let mut network = in_row_blocks(isas()[0]);
    let before = bits(network.parameters());
    let mut trainer = network.trainer(Sgd::new(0.1)).expect("good settings");
    for threads in [1, 2] {
        let error = with_team(threads, |team| {
            trainer.step(data.inputs(), Targets::Classes(&labels), team)
        });
        let error = error.expect_err("a label that is none").to_string();
        let row = (SAMPLES - 1).to_string();
        assert!(error.contains(&row), "{error}");
    }
    assert_eq!(bits(network.parameters()), before);
}
