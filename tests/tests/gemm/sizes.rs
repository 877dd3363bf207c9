//! Shapes at which blocks, tiles and vectors begin and end.

use tests::activation::Activation;
use tests::layout::Storage;
use tests::shapes::{BLOCKS, LARGE_BLOCKS, block_shapes, small_shapes};

use crate::case::{Case, Post, check};

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
fn one_row_or_column() {
    // Longer than a strip, deeper than a block, and their last parts not whole.
    let shapes = [[1, 2050, 70], [1, 4103, 3], [1, 70, 1030], [1, 9, 1]];
    let columns = shapes.map(|[m, n, k]| [n, m, k]);
    let post = Post::Activate {
        bias: true,
        activation: Activation::Relu,
    };
    let c = Storage::Cols { pad: 0 };
    check(transposed([shapes, columns].concat()).flat_map(|case| {
        [
            case,
            case.scaled(-2.5, 0.5),
            Case { post, ..case }.scaled(0.5, 1.0),
            Case { c, ..case },
        ]
    }));
}

#[test]
fn products_of_a_few_tiles() {
    // Tiles of every height and width below one another, the last ones partial.
    let sizes = [5, 7, 13, 25, 29, 50];
    let shapes = sizes.into_iter().flat_map(|m| {
        [3, 8, 10, 17, 24, 31, 40, 49, 81].map(|n| [[m, n, 2], [m, n, 9], [m, n, 40]])
    });
    let post = Post::Activate {
        bias: true,
        activation: Activation::Relu,
    };
    check(
        transposed(shapes.flatten().collect())
            .flat_map(|case| [case, Case { post, ..case }.scaled(-2.5, 0.5)]),
    );
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
