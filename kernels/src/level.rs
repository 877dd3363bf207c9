//! The instruction sets as types: which registers of `pulp` they have.

use pulp::Simd;

/// An instruction set as a type: which registers it has, and how to get leave to use them.
pub(crate) trait Level: 'static {
    /// Proof that the instructions are there.
    type Token: Simd;

    /// Makes the proof out of nothing.
    ///
    /// # Safety
    /// The CPU has to have the instruction set.
    unsafe fn token() -> Self::Token;
}

/// Plain Rust.
pub(crate) struct Scalar;

impl Level for Scalar {
    type Token = pulp::Scalar;

    unsafe fn token() -> Self::Token {
        pulp::Scalar
    }
}

/// AVX2 with FMA.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Level for Avx2 {
    type Token = pulp::x86::V3;

    unsafe fn token() -> Self::Token {
        // SAFETY: the caller guarantees that the CPU has it.
        unsafe { pulp::x86::V3::new_unchecked() }
    }
}

/// AVX-512 F, BW, CD, DQ, VL.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Level for Avx512 {
    type Token = pulp::x86::V4;

    unsafe fn token() -> Self::Token {
        // SAFETY: the caller guarantees that the CPU has it.
        unsafe { pulp::x86::V4::new_unchecked() }
    }
}

/// Advanced SIMD of aarch64.
#[cfg(target_arch = "aarch64")]
pub(crate) struct Neon;

#[cfg(target_arch = "aarch64")]
impl Level for Neon {
    type Token = pulp::aarch64::Neon;

    unsafe fn token() -> Self::Token {
        // SAFETY: the caller guarantees that the CPU has it.
        unsafe { pulp::aarch64::Neon::new_unchecked() }
    }
}
