//! Shapes at which blocks, tiles and vectors begin and end.

use tests::layout::Storage;
use tests::shapes::{BLOCKS, LARGE_BLOCKS, block_shapes, small_shapes};

use crate::case::{Case, check};

/// Storage of A and B for NN, NT, TN and TT.
const TRANSPOSITIONS: [(Storage, Storage); 4] = {
    let (rows, cols) = (Storage::Rows { pad: 0 }, Storage::Cols { pad: 0 });
    [(rows, rows), (rows, cols), (cols, rows), (cols, cols)]
};

fn transposed(shapes: Vec<[usize; 3]>) -> impl Iterator<Item = Case> {
    shapes.into_iter().flat_map(|shape| {
        TRANSPOSITIONS.map(|(a, b)| Case {
            a,
            b,
            ..Case::new(shape)
        })
    })
}

#[test]
fn small_sizes() {
    check(transposed(small_shapes(600, 0x5317)));
}

#[test]
fn around_blocks() {
    check(transposed(block_shapes(&BLOCKS)));
}

#[test]
fn around_large_blocks() {
    check(transposed(block_shapes(&LARGE_BLOCKS)));
}

#[test]
fn both_operands_packed_in_several_blocks() {
    check(transposed(vec![[301, 450, 513]]));
}

#[test]
fn few_rows_by_a_matrix_beyond_the_caches() {
    let cols = Storage::Cols { pad: 0 };
    let case = Case::new([9, 3001, 2800]);
    check([case, Case { a: cols, ..case }]);
}

#[test]
fn layers_of_networks() {
    // Forward, data gradient and weight gradient of two layers at one batch size each.
    let (batch, fan_in, fan_out) = (64, 200, 100);
    check(transposed(vec![
        [batch, fan_out, fan_in],
        [batch, fan_in, fan_out],
        [fan_out, fan_in, batch],
        [batch, 10, fan_out],
        [10, fan_out, batch],
        [1, fan_out, fan_in],
    ]));
}

#[test]
fn column_major_c() {
    let c = Storage::Cols { pad: 0 };
    let mut shapes = small_shapes(100, 0x5318);
    shapes.extend(block_shapes(&[16, 48, 144]));
    check(transposed(shapes).map(|case| Case { c, ..case }));
}
