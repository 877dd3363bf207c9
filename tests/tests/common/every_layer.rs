//! Networks in which every kind of layer stands, and samples for them.

use mlp::{Dataset, Mlp, MlpBuilder};
use tests::values::Values;

pub(crate) const CLASSES: usize = 10;

/// A network and what its samples are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EveryLayer {
    /// Batch and layer norm, dropout of both kinds (fused and alone), skip and dense connections.
    Normalised,
    /// Embedding, attention and its causal form, Transformer blocks.
    Transformer,
    /// Attention over a sequence so long that scores are made in tiles.
    LongSequence,
}

impl EveryLayer {
    pub(crate) const ALL: [Self; 3] = [Self::Normalised, Self::Transformer, Self::LongSequence];

    fn features(self) -> usize {
        match self {
            Self::Normalised => 50,
            Self::Transformer => 12,
            Self::LongSequence => 150,
        }
    }

    /// How many symbols samples are made of; 0 for values.
    fn symbols(self) -> usize {
        match self {
            Self::Normalised => 0,
            Self::Transformer | Self::LongSequence => 20,
        }
    }

    pub(crate) fn builder(self) -> MlpBuilder {
        let net = Mlp::builder(self.features());
        let net = match self {
            Self::Normalised => net
                .dense(70)
                .batch_norm()
                .relu()
                .dropout(0.25)
                .residual(|block| block.layer_norm().dense(70).tanh().dropout(0.5))
                .concat(|block| block.dense(33).batch_norm().gelu())
                .dense(40)
                .relu()
                .dropout(0.1)
                .dense(40)
                .silu()
                .skip(1),
            Self::Transformer => net
                .embedding(self.symbols(), 32)
                .transformer(4, 48)
                .causal_transformer(2, 40)
                .dropout(0.1)
                .causal_attention(8)
                .layer_norm()
                .rows(1),
            Self::LongSequence => net.embedding(self.symbols(), 16).attention(2).rows(1),
        };
        net.dense(CLASSES).seed(3)
    }

    pub(crate) fn samples(self, n: usize) -> Dataset {
        let mut values = Values::new(0xe7e1);
        let count = n * self.features();
        let inputs = match self.symbols() {
            0 => values.vec(count),
            symbols => {
                let numbers = values.labels(count, symbols);
                numbers.iter().map(|&number| number as f32).collect()
            }
        };
        let labels = values.labels(n, CLASSES);
        Dataset::classes(inputs, self.features(), labels).expect("good data")
    }
}
