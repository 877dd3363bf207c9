//! Random numbers for initialisation and shuffling: ChaCha with 8 rounds, one stream per use.
//!
//! The 256-bit key of a stream is the triple (seed, purpose, index) itself. Different triples are
//! different keys, so no two streams of a program overlap, and what one part of it draws never
//! changes what another part sees. ChaCha8 (Bernstein, 2008, "ChaCha, a variant of Salsa20") is
//! fixed by its definition: the same seed gives the same numbers on every machine and after every
//! upgrade, which `rand`'s `StdRng` does not promise.
//!
//! Not for dropout: a mask must not depend on the order in which its elements are drawn.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// What a stream of random numbers is drawn for.
///
/// The numbers are part of the key: changing one changes every result that depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Initial weights; the index is that of the layer.
    Weights = 1,
    /// The order of the samples; the index is the epoch.
    Shuffle = 2,
    /// Dividing a data set into parts; the index is 0.
    Split = 3,
    /// Points of a search; the index is that of the point.
    Search = 4,
}

/// The stream of `(seed, purpose, index)`, from its beginning.
pub(crate) fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [seed, purpose as u64, index];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    /// Literals from an independent implementation of ChaCha8, written after the definition.
    #[test]
    fn numbers_never_change() {
        let draw = |seed, purpose, index| {
            let mut rng = stream(seed, purpose, index);
            [rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(
            draw(0, Purpose::Weights, 0),
            [4606029925845525861, 5881008411243030533]
        );
        assert_eq!(
            draw(42, Purpose::Shuffle, 7),
            [14939747751404582485, 173670564201413197]
        );
    }

    #[test]
    fn no_two_streams_start_alike() {
        let mut first: Vec<u64> = Vec::new();
        for seed in [0, 1, u64::MAX] {
            for purpose in [
                Purpose::Weights,
                Purpose::Shuffle,
                Purpose::Split,
                Purpose::Search,
            ] {
                first.extend((0..4).map(|index| stream(seed, purpose, index).next_u64()));
            }
        }
        let drawn = first.len();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), drawn);
    }
}
