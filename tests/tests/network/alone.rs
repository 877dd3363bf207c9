//! Each layer, and each kind of block, alone in a network.

use tests::activation::Activation;
use tests::network::graph::Block;
use tests::norm::Over;

use crate::draw::Inputs;

/// Names, what is read, and layers.
pub(crate) fn cases() -> Vec<(&'static str, Inputs, Vec<Block>)> {
    use Block::{
        Act, Attention, Concat, Dense, Dropout, Embedding, Norm, Padding, Residual, Rows, Skip,
        Transformer,
    };
    const BATCH_NORM: Block = Norm(Over::Columns);
    const LAYER_NORM: Block = Norm(Over::Rows);
    let relu = || Act(Activation::Relu);
    let tanh = || Act(Activation::Tanh);
    let values = |count| Inputs::Values(count);
    let mut cases = vec![
        ("dense", values(5), vec![Dense(3)]),
        ("batch norm", values(4), vec![BATCH_NORM]),
        ("layer norm", values(6), vec![LAYER_NORM]),
        ("layer norm of 17", values(17), vec![LAYER_NORM]),
        (
            "batch norm behind dense",
            values(5),
            vec![Dense(7), BATCH_NORM, tanh(), Dense(3)],
        ),
        (
            "batch norm of sequences",
            values(6),
            vec![Rows(3), BATCH_NORM, Dense(4), BATCH_NORM, Rows(1)],
        ),
        ("dropout", values(5), vec![Dense(9), Dropout(0.5), Dense(3)]),
        (
            "dropout of sequences",
            values(12),
            vec![Rows(3), Dense(4), Dropout(0.5), Rows(1), Dense(3)],
        ),
        (
            "dropout behind batch norm",
            values(5),
            vec![Dense(9), BATCH_NORM, relu(), Dropout(0.25), Dense(3)],
        ),
        (
            "skip connection",
            values(4),
            vec![Dense(4), tanh(), Dense(4), tanh(), Skip(2, false)],
        ),
        (
            "skip connection with a projection",
            values(5),
            vec![Dense(4), tanh(), Dense(3), tanh(), Skip(2, true)],
        ),
        (
            "residual, activation behind",
            values(4),
            vec![
                Residual(vec![Dense(4), relu(), Dense(4)], false),
                relu(),
                Dense(3),
            ],
        ),
        (
            "residual with norms, activation behind",
            values(4),
            vec![
                Residual(
                    vec![Dense(4), BATCH_NORM, relu(), Dense(4), BATCH_NORM],
                    false,
                ),
                relu(),
            ],
        ),
        (
            "residual, norm and activation before",
            values(4),
            vec![
                Dense(4),
                Residual(
                    vec![BATCH_NORM, relu(), Dense(4), BATCH_NORM, relu(), Dense(4)],
                    false,
                ),
            ],
        ),
        (
            "residual with a projection",
            values(4),
            vec![Residual(vec![Dense(5), tanh()], true)],
        ),
        (
            "dense connections",
            values(4),
            vec![
                Concat(vec![Dense(3), relu()]),
                Concat(vec![Dense(3), relu()]),
                Dense(2),
            ],
        ),
        (
            "dense connections with norms and dropout",
            values(4),
            vec![
                Concat(vec![LAYER_NORM, relu(), Dense(3), Dropout(0.25)]),
                Concat(vec![BATCH_NORM, relu(), Dense(3)]),
                Dense(2),
            ],
        ),
        (
            "embedding",
            Inputs::Symbols(4, 5),
            vec![Embedding(5, 3), Rows(1)],
        ),
        (
            "attention of one head",
            values(20),
            vec![Rows(5), Attention(1, false), Rows(1)],
        ),
        (
            "attention",
            values(20),
            vec![Rows(5), Attention(2, false), Rows(1)],
        ),
        (
            "causal attention between concatenations",
            values(12),
            vec![
                Rows(4),
                Dense(4),
                Concat(vec![Attention(4, true), Dense(2)]),
                Rows(1),
            ],
        ),
        (
            "transformer",
            values(40),
            vec![Rows(5), Transformer(2, 12, false, 0.0), Rows(1), Dense(3)],
        ),
        (
            "transformers of symbols",
            Inputs::Symbols(5, 7),
            vec![
                Embedding(7, 8),
                Transformer(2, 12, false, 0.0),
                Transformer(4, 10, true, 0.0),
                LAYER_NORM,
                Rows(1),
                Dense(3),
            ],
        ),
        (
            "transformer with dropout",
            values(20),
            vec![Rows(5), Transformer(2, 6, false, 0.25), Rows(1), Dense(3)],
        ),
        (
            "padded rows of values",
            Inputs::PaddedRows(4, 3),
            vec![
                Padding,
                Rows(4),
                Dense(4),
                Attention(2, false),
                Rows(1),
                Dense(3),
            ],
        ),
        (
            "padded transformers of symbols",
            Inputs::PaddedSymbols(5, 7),
            vec![
                Padding,
                Embedding(7, 4),
                Transformer(2, 6, true, 0.0),
                Transformer(2, 6, false, 0.25),
                Rows(1),
                Dense(3),
            ],
        ),
    ];
    for activation in Activation::ALL {
        cases.push((
            "activation",
            values(5),
            vec![Dense(9), Act(activation), Dense(3)],
        ));
    }
    cases.push(("softmax", values(5), vec![Dense(4), Block::Softmax]));
    cases
}
