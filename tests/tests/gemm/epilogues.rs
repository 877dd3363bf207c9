//! Factors, bias, activations and derivatives.

use tests::activation::Activation;
use tests::layout::Storage;

use crate::case::{Case, Old, Post, check};

/// Empty sums, single elements, partial tiles, and a k of several blocks.
const SHAPES: [[usize; 3]; 9] = [
    [3, 5, 0],
    [0, 5, 3],
    [3, 0, 5],
    [1, 1, 1],
    [6, 16, 4],
    [15, 33, 20],
    [4, 10, 300],
    [49, 65, 257],
    [21, 50, 800],
];

const FACTORS: [(f32, f32); 8] = [
    (1.0, 0.0),
    (1.0, 1.0),
    (1.0, -0.5),
    (-2.5, 0.0),
    (-2.5, 1.0),
    (-2.5, -0.5),
    (0.0, 0.0),
    (0.0, -0.5),
];

fn with_factors(posts: &[Post]) -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        for &post in posts {
            for (alpha, beta) in FACTORS {
                let case = Case::new(shape).scaled(alpha, beta);
                cases.push(Case { post, ..case });
            }
        }
    }
    cases
}

#[test]
fn factors() {
    check(with_factors(&[Post::Store]));
}

#[test]
fn activations_with_and_without_bias() {
    let posts = Activation::ALL
        .map(|activation| [true, false].map(|bias| Post::Activate { bias, activation }));
    check(with_factors(posts.as_flattened()));
}

#[test]
fn derivatives() {
    check(with_factors(&Activation::ALL.map(Post::Derivative)));
}

/// Both operands contiguous along k, few rows or one column: where dot products may take over, and
/// the shapes next to those.
#[test]
fn epilogues_along_a_long_depth() {
    let b = Storage::Cols { pad: 0 };
    let activation = Activation::Tanh;
    let posts = [
        Post::Store,
        Post::Activate {
            bias: true,
            activation,
        },
        Post::Derivative(activation),
    ];
    let mut cases = Vec::new();
    for shape in [
        [1, 37, 50],
        [4, 33, 200],
        [7, 70, 69],
        [7, 70, 70],
        [48, 21, 480],
        [49, 21, 490],
        [37, 1, 50],
        [70, 1, 1030],
    ] {
        for post in posts {
            for (alpha, beta) in FACTORS {
                let case = Case::new(shape).scaled(alpha, beta);
                cases.push(Case { b, post, ..case });
            }
        }
    }
    check(cases);
}

#[test]
fn epilogues_of_strided_c() {
    let mut cases = Vec::new();
    for c in Storage::DISTINCT {
        for activation in Activation::ALL {
            let bias = true;
            for post in [
                Post::Activate { bias, activation },
                Post::Derivative(activation),
            ] {
                for (alpha, beta) in [(1.0, 0.0), (1.0, 1.0)] {
                    let case = Case::new([19, 37, 30]).scaled(alpha, beta);
                    cases.push(Case { c, post, ..case });
                }
            }
        }
    }
    check(cases);
}

#[test]
fn alpha_zero_of_a_large_product() {
    // Also where the operands would be packed.
    check(
        [(0.0, 0.0), (0.0, 1.0)].map(|(alpha, beta)| Case::new([150, 60, 400]).scaled(alpha, beta)),
    );
}

#[test]
fn beta_adds_to_numbers_and_zero_beta_ignores_them() {
    check([Old::Values, Old::Nan].map(|old| Case {
        old,
        ..Case::new([17, 35, 18])
    }));
}
