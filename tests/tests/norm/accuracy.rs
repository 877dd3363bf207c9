//! How near to the reference: every shape, a mean far from 0, what does not vary.

use kernels::{Kernels, MatMut, MatRef, Norm, StatisticsMut, Team};
use tests::layout::Storage;
use tests::norm::Over;
use tests::values::Values;

use crate::case::{BOTH, Case, EPS, assert_close, filled, lay, layouts, shapes};
use crate::common::{available, view, view_mut};

/// Runs a check on every shape, of rows and of columns, in every layout.
fn check_all(
    seed: u64,
    shapes: impl Fn(Over) -> Vec<(usize, usize)>,
    check: fn(&Case, &Kernels, Storage, Storage),
) {
    let mut values = Values::new(seed);
    for over in BOTH {
        for (rows, cols) in shapes(over) {
            let case = Case::new(over, rows, cols, 0.25, &mut values);
            for (from, to) in layouts() {
                for k in available() {
                    check(&case, k, from, to);
                }
            }
        }
    }
}

#[test]
fn forward_on_every_width_and_layout() {
    check_all(41, |_| shapes().collect(), Case::check_forward);
}

#[test]
fn backward_on_every_width_and_layout() {
    // A row of one element has no gradient.
    let shapes = |over| {
        let varying = |&(_, cols): &(usize, usize)| over == Over::Columns || cols > 1;
        shapes().filter(varying).collect()
    };
    check_all(42, shapes, Case::check_backward);
}

#[test]
fn a_mean_far_from_zero_costs_no_more_than_its_own_rounding() {
    let mut values = Values::new(43);
    let rows = Storage::Rows { pad: 0 };
    for over in BOTH {
        for offset in [30.0, -1000.0, 1e4] {
            for (n, m) in [(100, 33), (700, 65)] {
                let case = match over {
                    Over::Rows => Case::new(over, m, n, offset, &mut values),
                    Over::Columns => Case::new(over, n, m, offset, &mut values),
                };
                for k in available() {
                    case.check_forward(k, rows, rows);
                    case.check_backward(k, rows, rows);
                }
            }
        }
    }
}

#[test]
fn what_does_not_vary_becomes_beta() {
    for over in BOTH {
        for value in [0.0, 0.1, -1234.567] {
            let mut case = Case::new(over, 70, 37, 0.0, &mut Values::new(44));
            case.x = case.x.map(|_| f64::from(value as f32));
            for k in available() {
                let x = lay(Storage::Rows { pad: 0 }, &case.x);
                let mut y = filled(Storage::Rows { pad: 0 }, 70, 37);
                let saved = case.forward(k, view(&x), view_mut(&mut y), &Team::solo());
                let [mean, _] = saved.expect("fits");
                assert!(
                    mean.iter().all(|&mean| mean == value as f32),
                    "{over:?} {value}"
                );
                for i in 0..70 {
                    for j in 0..37 {
                        assert_eq!(y.at(i, j), case.beta[j], "{over:?} {value} on {}", k.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn the_variance_left_is_unbiased_and_that_of_the_batch_is_not() {
    // Columns 1, 3, 8 and 2, 2, 2: means 4 and 2, sums of squares 26 and 0.
    let x = [1.0, 2.0, 3.0, 2.0, 8.0, 2.0];
    let x = MatRef::from_row_major(&x, 3, 2).expect("6 elements");
    let norm = Norm {
        gamma: &[1.0; 2],
        beta: &[0.0; 2],
        eps: EPS,
    };
    for k in available() {
        let (mut y, [mut mean, mut rstd, mut var]) = ([0.0; 6], [[9.0; 2]; 3]);
        let out = MatMut::from_row_major(&mut y, 3, 2).expect("6 elements");
        let saved = StatisticsMut {
            mean: &mut mean,
            rstd: &mut rstd,
        };
        k.batch_norm(norm, x, out, saved, &mut var, &Team::solo())
            .expect("fits");
        assert_eq!(mean, [4.0, 2.0], "{}", k.isa());
        assert_close(var[0], 13.0, 1e-5, "26 / 2");
        assert_eq!(var[1], 0.0);
        assert_close(rstd[0], (3.0f64 / 26.0).sqrt(), 1e-6, "from 26 / 3");
    }
}
