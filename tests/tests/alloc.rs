//! Nothing is allocated once a call or a step of its size has been seen.
//!
//! The counter counts what any thread of the process allocates, and the test runner is one of them.
//! So the tests of this file take turns, and each count is the least of several: what the work
//! itself allocates, it allocates every time.

#[path = "common/every_layer.rs"]
mod every_layer;

use std::alloc::System;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use every_layer::EveryLayer;
use kernels::{
    Gemm, GemmTask, Gradient, Kernels, MatMut, MatRef, SgdRule, Team, Update, Workspace, with_team,
};
use mlp::{Adam, Clip, Dataset, Mlp, Optimizer, Rmsprop, Schedule, Sgd, Targets, TrainConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tests::values::Values;

#[global_allocator]
static COUNTER: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Keeps the other tests of this file from allocating meanwhile.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allocations and reallocations so far.
fn allocations() -> usize {
    let stats = COUNTER.stats();
    stats.allocations + stats.reallocations
}

/// How often a measurement is repeated.
const REPETITIONS: usize = 5;

/// How often `work` allocates between two calls of the function it is given, the least of several.
fn least(mut work: impl FnMut(&mut dyn FnMut())) -> usize {
    let counts = (0..REPETITIONS).map(|_| {
        let mut marks = [0; 2];
        let mut marked = 0;
        work(&mut || {
            marks[marked] = allocations();
            marked += 1;
        });
        assert_eq!(marked, 2, "a beginning and an end");
        marks[1] - marks[0]
    });
    counts.min().expect("there are repetitions")
}

/// How often `work` allocates.
fn count(mut work: impl FnMut()) -> usize {
    least(|mark| {
        mark();
        work();
        mark();
    })
}

fn available() -> Vec<&'static Kernels> {
    Kernels::available().expect("the environment asks for what this machine has")
}

#[test]
fn the_counter_counts() {
    let _turn = alone();
    let allocate = || drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(count(allocate), 1);
    assert_eq!(count(|| ()), 0);
}

#[test]
fn a_warm_gemm_allocates_nothing() {
    let _turn = alone();
    for kernels in available() {
        for [m, n, k] in [[3, 5, 7], [64, 256, 784], [150, 33, 1000], [1, 300, 300]] {
            let mut values = Values::new(1);
            let (a, b) = (values.vec(m * k), values.vec(k * n));
            let a = MatRef::from_row_major(&a, m, k).expect("m k elements");
            // Both orders of B: one of them is packed.
            let rows = MatRef::from_row_major(&b, k, n).expect("k n elements");
            let cols = MatRef::from_row_major(&b, n, k).expect("k n elements").t();
            let mut c = vec![0.0; m * n];
            for threads in [1, 2, 3] {
                with_team(threads, |team| {
                    for b in [rows, cols] {
                        let mut workspace = Workspace::new();
                        let mut call = || {
                            let c = MatMut::from_row_major(&mut c, m, n).expect("m n elements");
                            let done = kernels.gemm(&Gemm::new(a, b), c, &mut workspace, team);
                            done.expect("the shapes fit");
                        };
                        call();
                        let warm = count(&mut call);
                        let isa = kernels.isa();
                        assert_eq!(warm, 0, "{isa}, {m} x {n} x {k}, {threads} threads");
                    }
                });
            }
        }
    }
}

#[test]
fn a_reserved_workspace_is_large_enough() {
    let _turn = alone();
    for [m, n, k] in [
        [64, 256, 784],
        [1, 71, 50],
        [300, 450, 513],
        [16, 40, 9000],
        [3, 5, 90_000],
    ] {
        let (a, b) = (vec![1.0; m * k], vec![1.0; k * n]);
        let mut c = vec![0.0; m * n];
        // Row by row, and column by column.
        let orders = |data, rows, cols| {
            let whole = |r, c| MatRef::from_row_major(data, r, c).expect("all elements");
            [whole(rows, cols), whole(cols, rows).t()]
        };
        let (a, b) = (orders(&a, m, k), orders(&b, k, n));
        let strides = [(n as isize, 1), (1, m as isize)];
        let calls = a.iter().flat_map(|&a| b.map(|b| Gemm::new(a, b)));
        for gemm in calls {
            for (row_stride, col_stride) in strides {
                for (kernels, threads) in available().into_iter().flat_map(|k| [(k, 1), (k, 2)]) {
                    let first = with_team(threads, |team| {
                        least(|mark| {
                            let mut workspace = Workspace::new();
                            workspace.reserve(m, n, k, team.threads());
                            let c = MatMut::with_strides(&mut c, 0, m, n, row_stride, col_stride)
                                .expect("m n elements");
                            mark();
                            let done = kernels.gemm(&gemm, c, &mut workspace, team);
                            mark();
                            done.expect("the shapes fit");
                        })
                    });
                    let isa = kernels.isa();
                    assert_eq!(first, 0, "{isa}, {threads} threads, {gemm:?}");
                }
            }
        }
    }
}

#[test]
fn warm_batches_updates_and_refreshes_allocate_nothing() {
    let _turn = alone();
    let (m, n, k) = (130, 200, 300);
    let mut values = Values::new(3);
    let (a, b) = (values.vec(m * k), values.vec(k * n));
    let a = MatRef::from_row_major(&a, m, k).expect("m k elements");
    let b = MatRef::from_row_major(&b, k, n).expect("k n elements");
    let (mut c, mut w) = (vec![0.0; m * n], vec![0.0; m * n]);
    for kernels in available() {
        for threads in [1, 2, 3] {
            with_team(threads, |team| {
                let mut workspace = Workspace::new();
                let (mut packed_a, mut packed_b) = (kernels.pack_a(a, n), kernels.pack_b(b, m));
                let mut calls = || {
                    let (top, bottom) = c.split_at_mut(m * n / 2);
                    let halves = [(0..m / 2, top), (m / 2..m, bottom)];
                    let mut tasks = halves.map(|(rows, c)| {
                        let a = a.part(rows, 0..k);
                        let c = MatMut::from_row_major(c, m / 2, n).expect("half of C");
                        GemmTask::new(Gemm::new(a, b), c)
                    });
                    let done = kernels.gemm_batch(&mut tasks, &mut workspace, team);
                    done.expect("the shapes fit");
                    packed_a.refresh(a, team).expect("the same shape");
                    packed_b.refresh(b, team).expect("the same shape");
                    let gemm = Gemm::new(&packed_a, &packed_b);
                    let grads = MatMut::from_row_major(&mut c, m, n).expect("m n elements");
                    let params = MatMut::from_row_major(&mut w, m, n).expect("m n elements");
                    let update = Update::Sgd {
                        rule: SgdRule {
                            learning_rate: 0.1,
                            momentum: 0.0,
                            nesterov: false,
                            weight_decay: 0.0,
                        },
                        velocity: None,
                        params,
                    };
                    let (keep, workspace) = (Gradient::Keep, &mut workspace);
                    let done = kernels.gemm_update(&gemm, update, grads, keep, workspace, team);
                    done.expect("the shapes fit");
                };
                calls();
                assert_eq!(count(calls), 0, "{}, {threads} threads", kernels.isa());
            });
        }
    }
}

/// A network with a batch for it of up to 128 rows.
struct Setup {
    network: Mlp,
    x: Vec<f32>,
    labels: Vec<u32>,
}

const FEATURES: usize = 50;
const CLASSES: usize = 10;
const BATCH: usize = 128;

fn setup(kernels: &Kernels) -> Setup {
    let builder = Mlp::builder(FEATURES).dense(70).relu().dense(33).tanh();
    let network = builder.dense(CLASSES).isa(kernels.isa()).build();
    let mut values = Values::new(2);
    Setup {
        network: network.expect("a description without mistakes"),
        x: values.vec(BATCH * FEATURES),
        labels: values.labels(BATCH, CLASSES),
    }
}

#[test]
fn a_training_step_after_the_first_allocates_nothing() {
    let _turn = alone();
    let optimizers: [Optimizer; 4] = [
        Sgd::new(0.01).into(),
        Sgd::new(0.01).momentum(0.9).nesterov().into(),
        Adam::new(0.001).weight_decay(0.01).into(),
        Rmsprop::new(0.001).momentum(0.9).centered().into(),
    ];
    for kernels in available() {
        for optimizer in optimizers {
            for threads in [1, 2] {
                let mut setup = setup(kernels);
                let mut trainer = setup.network.trainer(optimizer).expect("good settings");
                with_team(threads, |team| {
                    // The last batch of an epoch is often a smaller one.
                    let mut epoch = || {
                        for rows in [BATCH, BATCH, 37] {
                            let x = &setup.x[..rows * FEATURES];
                            let x = MatRef::from_row_major(x, rows, FEATURES).expect("rows");
                            let targets = Targets::Classes(&setup.labels[..rows]);
                            trainer.step(x, targets, team).expect("a good batch");
                        }
                    };
                    epoch();
                    let isa = kernels.isa();
                    let warm = count(&mut epoch);
                    assert_eq!(warm, 0, "{isa}, {optimizer:?}, {threads} threads");
                });
            }
        }
    }
}

#[test]
fn steps_in_row_blocks_allocate_nothing() {
    const ROWS: usize = 900;
    let _turn = alone();
    let mut values = Values::new(3);
    let (x, labels) = (values.vec(ROWS * FEATURES), values.labels(ROWS, CLASSES));
    for kernels in available() {
        for threads in [1, 2, 3] {
            let network = Mlp::builder(FEATURES).dense(32).tanh().dense(CLASSES);
            let mut network = network.isa(kernels.isa()).build().expect("a network");
            let blocks = network.explain(ROWS).expect("a good batch").row_blocks;
            assert!(blocks > 1, "a step that runs in row blocks");
            let mut trainer = network.trainer(Adam::new(0.001)).expect("good settings");
            with_team(threads, |team| {
                let mut steps = || {
                    for rows in [ROWS, ROWS - 70] {
                        let x = &x[..rows * FEATURES];
                        let x = MatRef::from_row_major(x, rows, FEATURES).expect("rows");
                        let targets = Targets::Classes(&labels[..rows]);
                        trainer.step(x, targets, team).expect("a good batch");
                    }
                };
                steps();
                let warm = count(&mut steps);
                assert_eq!(warm, 0, "{}, {threads} threads", kernels.isa());
            });
        }
    }
}

#[test]
fn steps_and_answers_of_every_kind_of_layer_allocate_nothing() {
    let _turn = alone();
    for (kernels, kind) in (available().into_iter()).flat_map(|k| EveryLayer::ALL.map(|n| (k, n))) {
        let samples = kind.samples(16);
        for threads in [1, 2] {
            let builder = kind.builder().isa(kernels.isa());
            let mut network = builder.build().expect("a description without mistakes");
            let (x, labels) = (samples.inputs(), samples.labels().expect("classes"));
            let part = |rows: usize| {
                let targets = Targets::Classes(&labels[..rows]);
                (x.part(0..rows, 0..x.cols()), targets)
            };
            let trainer = network.trainer(Adam::new(0.001)).expect("good settings");
            let mut trainer = trainer.clip(Clip::norm(0.5)).expect("good settings");
            with_team(threads, |team| {
                let mut epoch = || {
                    for rows in [16, 16, 5] {
                        let (x, targets) = part(rows);
                        trainer.step(x, targets, team).expect("a good batch");
                    }
                };
                epoch();
                let warm = count(&mut epoch);
                assert_eq!(warm, 0, "{}, {kind:?}, {threads} threads", kernels.isa());
            });
            let mut out = vec![0.0; 16 * every_layer::CLASSES];
            let mut workspace = network.predict_workspace();
            let mut predict = || {
                let out = MatMut::from_row_major(&mut out, 16, every_layer::CLASSES);
                let done = network.predict_into(x, out.expect("rows"), &mut workspace);
                done.expect("shapes fit");
            };
            predict();
            let isa = kernels.isa();
            assert_eq!(count(&mut predict), 0, "answers on {isa}, {kind:?}");
        }
    }
}

#[test]
fn fit_allocates_in_its_first_epoch_only() {
    let _turn = alone();
    for kernels in available() {
        for shuffle in [true, false] {
            let mut setup = setup(kernels);
            let (x, labels) = (setup.x.clone(), setup.labels.clone());
            let data = Dataset::classes(x, FEATURES, labels).expect("good data");
            let later = least(|mark| {
                let config = TrainConfig::default()
                    .batch_size(50)
                    .max_epochs(5)
                    .shuffle(shuffle)
                    .validation(&data)
                    .clip(Clip::norm(0.1))
                    .schedule(Schedule::warmup(3, 0.1).then(3, Schedule::cosine(9, 0.0)))
                    .on_epoch(|epoch| {
                        if epoch.epoch == 1 || epoch.epoch == 5 {
                            mark();
                        }
                        ControlFlow::Continue(())
                    });
                let report = setup.network.fit(&data, &config);
                report.expect("good data and settings");
            });
            assert_eq!(later, 0, "{}, shuffle: {shuffle}", kernels.isa());
        }
    }
}

#[test]
fn predict_into_allocates_once() {
    let _turn = alone();
    for kernels in available() {
        let setup = setup(kernels);
        let x = MatRef::from_row_major(&setup.x, BATCH, FEATURES).expect("rows");
        let mut out = vec![0.0; BATCH * CLASSES];
        let mut workspace = setup.network.predict_workspace();
        let mut predict = || {
            let out = MatMut::from_row_major(&mut out, BATCH, CLASSES).expect("rows");
            let done = setup.network.predict_into(x, out, &mut workspace);
            done.expect("shapes fit");
        };
        predict();
        assert_eq!(count(&mut predict), 0, "{}", kernels.isa());
    }
}

#[test]
fn a_team_of_one_is_free() {
    let _turn = alone();
    assert_eq!(count(|| drop(Team::solo())), 0);
}
