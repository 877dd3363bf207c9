//! Which instruction set the kernels use: what the CPU has, capped by `KERNELS_ISA`.

mod choice;
mod dot_rate;

use std::fmt;
use std::str::FromStr;

pub(crate) use choice::{Standing, choose};

#[cfg(target_arch = "x86_64")]
use crate::amx::permission;

/// A level of vector instructions, ordered by preference.
///
/// `KERNELS_ISA=scalar|neon|avx2|avx512|avx512bf16|amx` caps what is used (`amx`, the highest, caps nothing);
/// `KERNELS_ENSURE_ISA=...` makes the absence of a level an error instead of a silent step down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; runs everywhere.
    Scalar,
    /// 128-bit Advanced SIMD of aarch64.
    Neon,
    /// AVX2 with FMA (x86-64-v3).
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL (x86-64-v4).
    Avx512,
    /// AVX-512 and dot products of pairs of bf16 numbers (AVX512-BF16), for [`crate::Precision::Medium`].
    /// Taken on CPUs that compute these at the full rate of the registers; elsewhere only by name.
    Avx512Bf16,
    /// AVX-512 and the AMX tile unit with bf16, where the operating system permits it: Linux is asked
    /// once, and only for this level.
    Amx,
}

impl Isa {
    /// All levels, lowest first.
    pub const ALL: [Self; 6] = [
        Self::Scalar,
        Self::Neon,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The word used in `KERNELS_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether this CPU and operating system can run the level, and the crate has kernels for it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                pulp::x86::V4::try_new().is_some()
                    && std::arch::is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx => pulp::x86::V4::try_new().is_some() && permission::is_granted(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().is_some(),
            _ => false,
        }
    }

    /// Whether the level is chosen without being named: it can run, and gains something over the one below.
    pub fn is_preferred(self) -> bool {
        self.standing() == Standing::Fast
    }

    pub(crate) fn standing(self) -> Standing {
        match self {
            _ if !self.is_supported() => Standing::Absent,
            Self::Avx512Bf16 if !dot_rate::is_full() => Standing::Slow,
            _ => Standing::Fast,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no instruction set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction set {word:?}: expected one of scalar, neon, avx2, avx512, avx512bf16, amx")]
pub struct ParseIsaError {
    word: String,
}

impl FromStr for Isa {
    type Err = ParseIsaError;

    /// The level of which `word` is the [`Isa::name`].
    fn from_str(word: &str) -> Result<Self, ParseIsaError> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name() == word)
            .ok_or_else(|| ParseIsaError {
                word: word.to_owned(),
            })
    }
}
