//! The optimiser updates on every instruction set, against the f64 reference.

use kernels::{AdamRule, KernelError, Kernels, RmspropRule, SgdRule};
use tests::layout::{Guarded, Storage};
use tests::optimizer::{Optimizer, Rule};
use tests::values::Values;

const STEPS: u64 = 10;

/// Ten steps of a few roundings each, on parameters and steps of size 1 and below.
const TOLERANCE: f64 = 1e-6;

const SGD: SgdRule = SgdRule {
    learning_rate: 0.1,
    momentum: 0.0,
    nesterov: false,
    weight_decay: 0.0,
};

const ADAM: AdamRule = AdamRule {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.0,
    decoupled_weight_decay: 0.0,
    step: 0,
};

const RMSPROP: RmspropRule = RmspropRule {
    learning_rate: 0.01,
    alpha: 0.75,
    eps: 1e-2,
    momentum: 0.0,
    centered: false,
    weight_decay: 0.0,
};

fn kernels() -> Vec<&'static Kernels> {
    Kernels::available().expect("the environment names an instruction set that is here")
}

fn guarded(values: &[f32]) -> Guarded {
    Guarded::new(Storage::Rows { pad: 0 }, 1, values.len(), |_, j| values[j])
}

fn slice(row: &mut Guarded) -> &mut [f32] {
    &mut row.data[row.offset..row.offset + row.cols]
}

/// Steps of a kernel and of the reference from the same parameters with the same gradients.
fn compare(
    what: &str,
    n: usize,
    rule: Rule,
    mut step: impl FnMut(u64, &[f32], [&mut [f32]; 3], &mut [f32]),
) {
    let mut values = Values::new(n as u64);
    let start = values.vec(n);
    let mut params = guarded(&start);
    let mut state = [(); 3].map(|()| guarded(&vec![0.0; n]));
    let mut exact: Vec<f64> = start.iter().map(|&w| f64::from(w)).collect();
    let mut reference = Optimizer::new(rule, n);
    for t in 1..=STEPS {
        let grads = values.vec(n);
        let wide: Vec<f64> = grads.iter().map(|&g| f64::from(g)).collect();
        let state = state.each_mut().map(slice);
        step(t, &grads, state, slice(&mut params));
        reference.step(&mut exact, &wide);
    }
    for buffer in state.iter().chain([&params]) {
        assert_eq!(buffer.broken_guard(), None, "{what}, {n}");
    }
    for (j, exact) in exact.iter().enumerate() {
        let error = (f64::from(params.at(0, j)) - exact).abs();
        assert!(
            error <= TOLERANCE,
            "{what}, {j} of {n}: off by {error:e} from {exact}"
        );
    }
}

#[test]
fn ten_steps_of_gradient_descent() {
    for k in kernels() {
        for n in 0..=67 {
            for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
                for weight_decay in [0.0, 0.01] {
                    let rule = SgdRule {
                        momentum,
                        nesterov,
                        weight_decay,
                        ..SGD
                    };
                    let reference = Rule::Sgd {
                        learning_rate: f64::from(rule.learning_rate),
                        momentum: f64::from(momentum),
                        nesterov,
                        weight_decay: f64::from(weight_decay),
                    };
                    let what = format!("{rule:?} on {}", k.isa());
                    compare(&what, n, reference, |_, grads, [velocity, ..], params| {
                        k.sgd_update(rule, grads, velocity, params)
                            .expect("as long");
                    });
                }
            }
        }
    }
}

#[test]
fn ten_steps_of_adam() {
    for k in kernels() {
        for n in 0..=67 {
            for (weight_decay, decoupled_weight_decay) in [(0.0, 0.0), (0.01, 0.0), (0.0, 0.25)] {
                let rule = AdamRule {
                    weight_decay,
                    decoupled_weight_decay,
                    ..ADAM
                };
                let reference = Rule::Adam {
                    learning_rate: f64::from(rule.learning_rate),
                    beta1: f64::from(rule.beta1),
                    beta2: f64::from(rule.beta2),
                    eps: f64::from(rule.eps),
                    weight_decay: f64::from(weight_decay),
                    decoupled_weight_decay: f64::from(decoupled_weight_decay),
                };
                let what = format!("{rule:?} on {}", k.isa());
                compare(&what, n, reference, |step, grads, [m, v, _], params| {
                    k.adam_update(AdamRule { step, ..rule }, grads, m, v, params)
                        .expect("as long");
                });
            }
        }
    }
}

/// With an eps of 0.01 no parameter stands on the edge of a division by nothing, where a rounding
/// of the variance would decide where it goes.
#[test]
fn ten_steps_of_rmsprop() {
    for k in kernels() {
        for n in 0..=67 {
            for (momentum, centered, weight_decay) in [
                (0.0, false, 0.0),
                (0.0, false, 0.01),
                (0.5, false, 0.0),
                (0.0, true, 0.01),
                (0.5, true, 0.0),
            ] {
                let rule = RmspropRule {
                    momentum,
                    centered,
                    weight_decay,
                    ..RMSPROP
                };
                let reference = Rule::Rmsprop {
                    learning_rate: f64::from(rule.learning_rate),
                    alpha: f64::from(rule.alpha),
                    eps: f64::from(rule.eps),
                    momentum: f64::from(momentum),
                    centered,
                    weight_decay: f64::from(weight_decay),
                };
                let what = format!("{rule:?} on {}", k.isa());
                compare(&what, n, reference, |_, grads, [v, m, b], params| {
                    let m = if centered { m } else { &mut [] };
                    let b = if momentum > 0.0 { b } else { &mut [] };
                    k.rmsprop_update(rule, grads, v, m, b, params)
                        .expect("as long");
                });
            }
        }
    }
}

#[test]
fn moments_do_not_decay_into_subnormal_numbers() {
    let tiny = [2.0 * f32::MIN_POSITIVE; 19];
    for k in kernels() {
        let (mut velocity, mut m, mut v) = (tiny, tiny, tiny);
        let mut of_rmsprop = [tiny; 3];
        let mut params = [1.0; 19];
        for step in 1..=20 {
            let momentum = SgdRule {
                momentum: 0.5,
                ..SGD
            };
            k.sgd_update(momentum, &[0.0; 19], &mut velocity, &mut params)
                .expect("as long");
            let adam = AdamRule {
                beta1: 0.5,
                beta2: 0.5,
                step,
                ..ADAM
            };
            k.adam_update(adam, &[0.0; 19], &mut m, &mut v, &mut params)
                .expect("as long");
            let rmsprop = RmspropRule {
                momentum: 0.5,
                centered: true,
                ..RMSPROP
            };
            let [v, m, b] = &mut of_rmsprop;
            k.rmsprop_update(rmsprop, &[0.0; 19], v, m, b, &mut params)
                .expect("as long");
        }
        assert_eq!((velocity, m, v), ([0.0; 19], [0.0; 19], [0.0; 19]));
        // A quarter is lost in each step, half of the velocity.
        let [second, first, velocity] = of_rmsprop;
        assert_eq!((second, first), ([0.0; 19], [0.0; 19]));
        assert_eq!((velocity, params), ([0.0; 19], [1.0; 19]));
    }
}

#[test]
fn a_gradient_that_is_not_a_number_shows_in_the_parameters() {
    for k in kernels() {
        let (mut velocity, mut m, mut v) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        let (mut by_sgd, mut by_adam, mut by_rmsprop) = ([1.0; 3], [1.0; 3], [1.0; 3]);
        let momentum = SgdRule {
            momentum: 0.9,
            ..SGD
        };
        let grads = [0.0, f32::NAN, 0.0];
        k.sgd_update(momentum, &grads, &mut velocity, &mut by_sgd)
            .expect("as long");
        let adam = AdamRule { step: 1, ..ADAM };
        k.adam_update(adam, &grads, &mut m, &mut v, &mut by_adam)
            .expect("as long");
        let centered = RmspropRule {
            centered: true,
            ..RMSPROP
        };
        let (mut v, mut m) = ([0.0; 3], [0.0; 3]);
        k.rmsprop_update(centered, &grads, &mut v, &mut m, &mut [], &mut by_rmsprop)
            .expect("as long");
        for params in [by_sgd, by_adam, by_rmsprop] {
            assert_eq!(params.map(f32::is_nan), [false, true, false]);
        }
    }
}

#[test]
fn wrong_lengths_are_errors_and_change_nothing() {
    for k in kernels() {
        let mut params = [1.0; 4];
        let momentum = SgdRule {
            momentum: 0.9,
            ..SGD
        };
        let adam = AdamRule { step: 1, ..ADAM };
        let (g, s) = ([1.0; 4], || [0.0; 4]);
        let centered = RmspropRule {
            centered: true,
            ..RMSPROP
        };
        let heavy = RmspropRule {
            momentum: 0.5,
            ..RMSPROP
        };
        let results = [
            k.rmsprop_update(RMSPROP, &g[1..], &mut s(), &mut [], &mut [], &mut params),
            k.rmsprop_update(RMSPROP, &g, &mut s()[1..], &mut [], &mut [], &mut params),
            k.rmsprop_update(centered, &g, &mut s(), &mut [], &mut [], &mut params),
            k.rmsprop_update(heavy, &g, &mut s(), &mut [], &mut s()[1..], &mut params),
            k.sgd_update(SGD, &g[1..], &mut [], &mut params),
            k.sgd_update(momentum, &g, &mut [], &mut params),
            k.adam_update(adam, &g[1..], &mut s(), &mut s(), &mut params),
            k.adam_update(adam, &g, &mut s()[1..], &mut s(), &mut params),
            k.adam_update(adam, &g, &mut s(), &mut s()[1..], &mut params),
        ];
        for result in results {
            assert!(
                matches!(result, Err(KernelError::Shape { .. })),
                "{result:?}"
            );
        }
        assert_eq!(params, [1.0; 4]);
        // Without momentum there is no velocity to be long enough.
        assert_eq!(k.sgd_update(SGD, &g, &mut [], &mut params), Ok(()));
    }
}

#[test]
fn hyperparameters_out_of_range_are_errors_and_change_nothing() {
    let not_finite = [f32::NAN, f32::INFINITY, -f32::INFINITY];
    let negative = [vec![-0.1], not_finite.to_vec()].concat();
    let not_positive = [vec![0.0], negative.clone()].concat();
    let no_share = [vec![1.0, 1.5], negative.clone()].concat();
    type Set<Rule> = fn(&mut Rule, f32);
    let sgd: [(&str, Set<SgdRule>, &[f32]); 3] = [
        ("learning_rate", |r, x| r.learning_rate = x, &negative),
        ("momentum", |r, x| r.momentum = x, &no_share),
        ("weight_decay", |r, x| r.weight_decay = x, &negative),
    ];
    let adam: [(&str, Set<AdamRule>, &[f32]); 7] = [
        ("learning_rate", |r, x| r.learning_rate = x, &negative),
        ("beta1", |r, x| r.beta1 = x, &no_share),
        ("beta2", |r, x| r.beta2 = x, &no_share),
        ("eps", |r, x| r.eps = x, &not_positive),
        ("weight_decay", |r, x| r.weight_decay = x, &negative),
        (
            "decoupled_weight_decay",
            |r, x| r.decoupled_weight_decay = x,
            &negative,
        ),
        ("step", |r, x| r.step = x as u64, &[0.0]),
    ];
    let rmsprop: [(&str, Set<RmspropRule>, &[f32]); 5] = [
        ("learning_rate", |r, x| r.learning_rate = x, &negative),
        ("alpha", |r, x| r.alpha = x, &no_share),
        ("eps", |r, x| r.eps = x, &not_positive),
        ("momentum", |r, x| r.momentum = x, &no_share),
        ("weight_decay", |r, x| r.weight_decay = x, &negative),
    ];
    for k in kernels() {
        let (g, mut v, mut m, mut params) = ([1.0; 4], [2.0; 4], [3.0; 4], [4.0; 4]);
        let mut answers = Vec::new();
        for (name, set, values) in sgd {
            for &value in values {
                let mut rule = SGD;
                set(&mut rule, value);
                let answer = k.sgd_update(rule, &g, &mut v, &mut params);
                answers.push((name, value, answer));
            }
        }
        for (name, set, values) in adam {
            for &value in values {
                let mut rule = AdamRule { step: 1, ..ADAM };
                set(&mut rule, value);
                let answer = k.adam_update(rule, &g, &mut m, &mut v, &mut params);
                answers.push((name, value, answer));
            }
        }
        for (name, set, values) in rmsprop {
            for &value in values {
                let mut rule = RMSPROP;
                set(&mut rule, value);
                let (mut first, mut velocity) = ([2.0; 4], [2.0; 4]);
                let state = (&mut v, &mut first, &mut velocity);
                let answer = k.rmsprop_update(rule, &g, state.0, state.1, state.2, &mut params);
                answers.push((name, value, answer));
            }
        }
        for (wanted, value, answer) in answers {
            match answer {
                Err(KernelError::Parameter { name, got, .. }) => {
                    assert_eq!((name, got), (wanted, value.to_string()));
                }
                other => panic!("{wanted} = {value}: {other:?}"),
            }
        }
        assert_eq!((v, m, params), ([2.0; 4], [3.0; 4], [4.0; 4]));
    }
}
