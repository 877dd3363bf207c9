//! How exact a product of f32 matrices has to be.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// How exact the products of f32 matrices have to be; sums are always accumulated in f32.
///
/// The names are those of PyTorch's `float32_matmul_precision`, and `Ieee`, what its `highest` means on
/// CPUs. What is asked for is a lower bound: where a more exact way is not slower for a product on this
/// CPU, or the only one that there is, that one is taken ([`crate::Kernels::effective_precision`]). The
/// variants are ordered, the least exact first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Precision {
    /// Operands rounded to bf16, 8 bits of significand.
    Medium,
    /// Each operand as the sum of two bf16 numbers, 16 bits, of whose four products the three largest
    /// count.
    High,
    /// Errors no larger than those of `Ieee`, by whichever unit is the fastest; the default.
    #[default]
    Highest,
    /// Fused multiply-adds of f32 only.
    Ieee,
}

/// [`Precision::process_wide`], as its place in [`Precision::ALL`].
static PROCESS_WIDE: AtomicU8 = AtomicU8::new(Precision::Highest as u8);

impl Precision {
    /// All of them, the least exact first.
    pub const ALL: [Self; 4] = [Self::Medium, Self::High, Self::Highest, Self::Ieee];

    /// The word used in reports and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ieee => "ieee",
            Self::Highest => "highest",
            Self::High => "high",
            Self::Medium => "medium",
        }
    }

    /// What [`crate::Gemm::new`] asks for: [`Precision::Highest`], until it is set.
    #[inline]
    pub fn process_wide() -> Self {
        Self::ALL[usize::from(PROCESS_WIDE.load(Ordering::Relaxed))]
    }

    /// Sets [`Precision::process_wide`] for all threads.
    pub fn set_process_wide(self) {
        PROCESS_WIDE.store(self as u8, Ordering::Relaxed);
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("precision {word:?}: expected one of ieee, highest, high, medium")]
pub struct ParsePrecisionError {
    word: String,
}

impl FromStr for Precision {
    type Err = ParsePrecisionError;

    /// The precision of which `word` is the [`Precision::name`].
    fn from_str(word: &str) -> Result<Self, ParsePrecisionError> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == word)
            .ok_or_else(|| ParsePrecisionError {
                word: word.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_there_and_back() {
        for (place, precision) in Precision::ALL.into_iter().enumerate() {
            assert_eq!(precision as usize, place);
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!(Precision::Medium < Precision::Ieee);
        let error = "fast".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(
            error,
            "precision \"fast\": expected one of ieee, highest, high, medium"
        );
    }
}
