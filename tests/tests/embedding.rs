//! Embeddings on every instruction set, against plain loops in f64.

mod common;

use kernels::{KernelError, MatMut, MatRef, Team, with_team};
use tests::layout::{Guarded, Storage};
use tests::tolerance::gamma as roundings;
use tests::values::Values;

use common::{available, view, view_mut};

const ROWS: Storage = Storage::Rows { pad: 2 };

/// Batch, steps, symbols, width.
const SHAPES: [[usize; 4]; 6] = [
    [1, 1, 1, 1],
    [3, 4, 5, 7],
    [2, 9, 3, 16],
    [5, 8, 10, 33],
    [0, 4, 3, 8],
    [70, 8, 11, 130],
];

#[test]
fn rows_are_gathered_and_gradients_summed() {
    let mut values = Values::new(71);
    for [batch, steps, symbols, width] in SHAPES {
        let mut matrix = |rows, cols| {
            let data = values.vec(rows * cols);
            Guarded::new(ROWS, rows, cols, |i, j| data[i * cols + j])
        };
        let (table, positions) = (matrix(symbols, width), matrix(steps, width));
        let dy = matrix(batch * steps, width);
        let labels = values.labels(batch * steps, symbols);
        for storage in Storage::DISTINCT {
            let numbers = Guarded::new(storage, batch, steps, |b, t| labels[b * steps + t] as f32);
            for k in available() {
                let blank = |rows| Guarded::new(ROWS, rows, width, |_, _| 9.0);
                let (mut plain, mut placed) = (blank(batch * steps), blank(batch * steps));
                let (mut d_table, mut d_positions) = (blank(symbols), blank(steps));
                let (table_view, numbers_view) = (view(&table), view(&numbers));
                let team = &Team::solo();
                k.embed(table_view, None, numbers_view, view_mut(&mut plain), team)
                    .expect("fits");
                let places = Some(view(&positions));
                k.embed(
                    table_view,
                    places,
                    numbers_view,
                    view_mut(&mut placed),
                    team,
                )
                .expect("fits");
                let (to_table, to_places) = (view_mut(&mut d_table), view_mut(&mut d_positions));
                k.embed_backward(numbers_view, view(&dy), to_table, Some(to_places), team)
                    .expect("fits");
                for result in [&plain, &placed, &d_table, &d_positions] {
                    assert_eq!(result.broken_guard(), None);
                }
                for (i, &label) in labels.iter().enumerate() {
                    for j in 0..width {
                        let row = table.at(label as usize, j);
                        assert_eq!(plain.at(i, j), row);
                        assert_eq!(placed.at(i, j), row + positions.at(i % steps, j));
                    }
                }
                let sums = |got: &Guarded, number: &dyn Fn(usize) -> usize| {
                    for n in 0..got.rows {
                        for j in 0..width {
                            let rows = (0..batch * steps).filter(|&i| number(i) == n);
                            let terms: Vec<f64> = rows.map(|i| f64::from(dy.at(i, j))).collect();
                            let exact: f64 = terms.iter().sum();
                            let magnitude: f64 = terms.iter().map(|x| x.abs()).sum();
                            let error = (f64::from(got.at(n, j)) - exact).abs();
                            assert!(error <= roundings(terms.len()) * magnitude, "{n}, {j}");
                        }
                    }
                };
                sums(&d_table, &|i| labels[i] as usize);
                sums(&d_positions, &|i| i % steps);
            }
        }
    }
}

#[test]
fn the_bits_are_the_same_for_any_number_of_threads() {
    let (batch, steps, symbols, width) = (300, 16, 50, 96);
    let mut values = Values::new(72);
    let table = values.vec(symbols * width);
    let dy = values.vec(batch * steps * width);
    let numbers: Vec<f32> = values
        .labels(batch * steps, symbols)
        .iter()
        .map(|&label| label as f32)
        .collect();
    let of = |data, rows, cols| MatRef::from_row_major(data, rows, cols).expect("as many");
    for k in available() {
        let run = |team: &Team| {
            let (mut y, mut d_table) = (vec![0.0; dy.len()], vec![0.0; table.len()]);
            let numbers = of(&numbers, batch, steps);
            let out = MatMut::from_row_major(&mut y, batch * steps, width).expect("as many");
            k.embed(of(&table, symbols, width), None, numbers, out, team)
                .expect("fits");
            let out = MatMut::from_row_major(&mut d_table, symbols, width).expect("as many");
            k.embed_backward(numbers, of(&dy, batch * steps, width), out, None, team)
                .expect("fits");
            (y, d_table)
        };
        let alone = run(&Team::solo());
        for threads in [2, 3, 8] {
            assert!(with_team(threads, run) == alone, "{threads} threads");
        }
    }
}

#[test]
fn what_is_no_number_of_a_row_is_an_error_and_changes_nothing() {
    let table = [1.0; 6];
    let table = MatRef::from_row_major(&table, 3, 2).expect("6 elements");
    for k in available() {
        for bad in [3.0, -1.0, 0.5, f32::NAN, f32::INFINITY, 1e30] {
            let numbers = [0.0, 1.0, 2.0, bad];
            let numbers = MatRef::from_row_major(&numbers, 2, 2).expect("4 elements");
            let mut y = [7.0; 8];
            let out = MatMut::from_row_major(&mut y, 4, 2).expect("8 elements");
            let error = k.embed(table, None, numbers, out, &Team::solo());
            let expected = KernelError::Number {
                op: "embed",
                row: 1,
                col: 1,
                number: bad.to_string(),
                rows: 3,
            };
            assert_eq!(error, Err(expected));
            assert_eq!(y, [7.0; 8]);
        }
        let numbers = [0.0; 4];
        let numbers = MatRef::from_row_major(&numbers, 2, 2).expect("4 elements");
        let mut y = [7.0; 6];
        let out = MatMut::from_row_major(&mut y, 3, 2).expect("6 elements");
        let error = k.embed(table, None, numbers, out, &Team::solo());
        assert_eq!(
            error.expect_err("three rows for four symbols").to_string(),
            "embed: expected y 4 x 2 with elements of a row together, \
             got 3 x 2 with a column stride of 1"
        );
    }
}
