//! Loops that measure the machine, for benchmarks only: each does a known amount of work and leaves
//! the timing to the caller.

use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};

use crate::amx::tile::{Amx, TILE_WORDS, TileUnit};
use crate::isa::Isa;

/// Independent chains of multiply-adds. One chain has to wait for its own last result, 4 cycles on
/// most CPUs; with two units that is 8 chains at least, with four, as some ARM cores have, 16.
const CHAINS: usize = 16;

/// With 16 registers, two of them taken by the factors, 16 chains would spill.
const CHAINS_OF_16_REGISTERS: usize = 12;

/// Lanes of the registers that every x86-64 and every aarch64 has.
const BASELINE_LANES: usize = 4;

/// Cycles from one 64-bit integer multiplication to the next that needs its result, on every x86-64
/// core since 2008.
#[cfg(target_arch = "x86_64")]
const MULTIPLY_LATENCY: u64 = 3;

/// Does multiply-adds in registers alone, on the widest registers of `isa`; returns the number of
/// floating-point operations (two per lane). `None` if this CPU cannot run `isa`.
///
/// For [`Isa::Scalar`] it is what the compiler makes of plain Rust for the target's baseline: on
/// x86-64 separate multiplications and additions, four lanes at a time.
pub fn multiply_add(isa: Isa, rounds: u64) -> Option<u64> {
    match isa {
        Isa::Scalar => Some(multiply_add_baseline(rounds)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            let token = pulp::x86::V3::try_new()?;
            Some(Simd::vectorize(
                token,
                MultiplyAdd::<CHAINS_OF_16_REGISTERS> { rounds },
            ))
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => {
            let token = pulp::x86::V4::try_new()?;
            Some(Simd::vectorize(token, MultiplyAdd::<CHAINS> { rounds }))
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => {
            let token = pulp::aarch64::Neon::try_new()?;
            Some(Simd::vectorize(token, MultiplyAdd::<CHAINS> { rounds }))
        }
        _ => None,
    }
}

/// Products of tiles of bf16 numbers that one round of [`tile_multiply`] does.
const TILE_PRODUCTS: u64 = 4;

/// Floating-point operations of one: 16 x 16 sums of 32 products each.
const TILE_FLOP: u64 = 2 * 16 * 16 * 32;

/// Multiplies tiles of bf16 numbers, into four accumulators in turn; returns the number of floating-point
/// operations. With `loads`, each round first loads the four operands that it uses, as a kernel without reuse
/// of more than that would, from the first-level cache. `None` if this process has no matrix unit.
pub fn tile_multiply(rounds: u64, loads: bool) -> Option<u64> {
    let mut unit = Amx::configure()?;
    let operands = Tiles([0; 4 * TILE_WORDS]);
    let from = black_box(operands.0.as_ptr());
    unit.zero::<0>();
    unit.zero::<1>();
    unit.zero::<2>();
    unit.zero::<3>();
    let load = |unit: &mut Amx| {
        // SAFETY: there are four tiles.
        unsafe {
            unit.load::<4>(from);
            unit.load::<5>(from.add(TILE_WORDS));
            unit.load::<6>(from.add(2 * TILE_WORDS));
            unit.load::<7>(from.add(3 * TILE_WORDS));
        }
    };
    load(&mut unit);
    for _ in 0..rounds {
        if loads {
            load(&mut unit);
        }
        unit.multiply::<0, 4, 6>();
        unit.multiply::<1, 4, 7>();
        unit.multiply::<2, 5, 6>();
        unit.multiply::<3, 5, 7>();
    }
    Some(rounds * TILE_PRODUCTS * TILE_FLOP)
}

/// Four tiles, in cache lines.
#[repr(align(64))]
struct Tiles([u32; 4 * TILE_WORDS]);

/// `x = x a + b` on `N` registers in turn; with a = b = 1/2 every x tends to 1.
struct MultiplyAdd<const N: usize> {
    rounds: u64,
}

impl<const N: usize> WithSimd for MultiplyAdd<N> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        let half = simd.splat_f32s(black_box(0.5));
        let mut x = [simd.splat_f32s(black_box(0.25)); N];
        for _ in 0..self.rounds {
            for x in &mut x {
                *x = simd.mul_add_f32s(*x, half, half);
            }
        }
        let sum = x.into_iter().reduce(|a, b| simd.add_f32s(a, b));
        black_box(sum.map(|sum| simd.reduce_sum_f32s(sum)));
        2 * self.rounds * (N * S::F32_LANES) as u64
    }
}

fn multiply_add_baseline(rounds: u64) -> u64 {
    const ELEMENTS: usize = CHAINS_OF_16_REGISTERS * BASELINE_LANES;
    let half = black_box(0.5_f32);
    let mut x = black_box([0.25_f32; ELEMENTS]);
    for _ in 0..rounds {
        for x in &mut x {
            *x = *x * half + half;
        }
    }
    black_box(x);
    2 * rounds * ELEMENTS as u64
}

/// Squares a number over and over, each time waiting for the last result; returns the cycles that
/// takes. `None` where the latency of a multiplication is not known.
///
/// Additions would not do: recent CPUs fold those of constants away.
pub fn cycles(multiplications: u64) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        let mut x = black_box(3_u64);
        for _ in 0..multiplications {
            x = x.wrapping_mul(x);
        }
        black_box(x);
        Some(multiplications * MULTIPLY_LATENCY)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = multiplications;
        None
    }
}

/// Reads every element once; returns their sum, so that the reading cannot be left out.
pub fn read(x: &[f32]) -> f32 {
    Arch::new().dispatch(Read(x))
}

struct Read<'a>(&'a [f32]);

impl WithSimd for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (body, tail) = S::as_simd_f32s(self.0);
        let mut sums = [simd.splat_f32s(0.0); CHAINS_OF_16_REGISTERS];
        let (groups, rest) = body.as_chunks::<CHAINS_OF_16_REGISTERS>();
        for group in groups {
            for (sum, &x) in sums.iter_mut().zip(group) {
                *sum = simd.add_f32s(*sum, x);
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum = simd.add_f32s(*sum, x);
        }
        let tail: f32 = tail.iter().sum();
        sums.into_iter()
            .fold(tail, |total, sum| total + simd.reduce_sum_f32s(sum))
    }
}

/// Writes every element once, through the caches.
pub fn write(x: &mut [f32], value: f32) {
    Arch::new().dispatch(|| black_box(&mut *x).fill(value));
    black_box(x);
}

/// Reads every element of `x` and writes it to `y`, times a one that the compiler does not know: it would
/// make a call of the system's `memcpy` of it, which on some CPUs takes ten times as long where both
/// lie alike in their pages.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn copy(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "copy: elements read and written");
    let one = black_box(1.0);
    Arch::new().dispatch(|| {
        for (y, x) in y.iter_mut().zip(x) {
            *y = one * x;
        }
    });
    black_box(y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_two_operations_per_lane() {
        for (isa, lanes, chains) in [
            (Isa::Scalar, BASELINE_LANES, CHAINS_OF_16_REGISTERS),
            (Isa::Neon, 4, CHAINS),
            (Isa::Avx2, 8, CHAINS_OF_16_REGISTERS),
            (Isa::Avx512, 16, CHAINS),
            (Isa::Avx512Bf16, 16, CHAINS),
            (Isa::Amx, 16, CHAINS),
        ] {
            let expected = isa
                .is_supported()
                .then_some(2 * 100 * (lanes * chains) as u64);
            assert_eq!(multiply_add(isa, 100), expected, "{isa}");
        }
    }

    #[test]
    fn tiles_are_multiplied_where_there_are_some() {
        let expected = Isa::Amx.is_supported().then_some(2 * 16 * 16 * 32 * 4 * 50);
        for loads in [false, true] {
            assert_eq!(tile_multiply(50, loads), expected);
        }
    }

    #[test]
    fn streams_touch_every_element() {
        for len in [0, 1, 15, 16, 17, 191, 192, 1000] {
            let mut x = vec![0.0; len];
            write(&mut x, 2.0);
            assert_eq!(read(&x), 2.0 * len as f32, "{len}");
            let mut y = vec![0.0; len];
            copy(&x, &mut y);
            assert_eq!(x, y);
        }
    }
}
