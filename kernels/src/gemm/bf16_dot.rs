//! The micro-kernel of dot products: 32 x 32 elements of C from one part of each operand, by AVX512-BF16.
//!
//! ```text
//! for each 8 rows:
//!     for each pair of steps of the depth:
//!         8 x 2 sums += broadcast pair of A * two registers of pairs of B
//! ```
//!
//! Panels are those of the matrix unit, whose pairs `vdpbf16ps` takes as they are. It adds the two products
//! of a pair to the sum one after the other, rounded to nearest, with denormal operands and results as zero,
//! whatever MXCSR says (Intel SDM, VDPBF16PS): a chain as long as the block of the depth. Sixteen sums hide
//! the latency; higher strips would leave no registers for B.

use std::arch::x86_64::{
    __m512bh, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::amx_kernel::{DotProducts, MultiplyArgs};
use super::bf16_pack::{PART_WORDS, SIDE};
use super::vector::prefetch;
use crate::amx::tile::TILE_WORDS;

/// Rows whose sums are in registers.
const ROWS: usize = 8;
/// Pairs of a row of a tile, and columns of a register.
const TILE: usize = 16;

/// [`super::amx_kernel::MultiplyFn`] for one part.
///
/// # Safety
/// As there; the CPU has AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply(t: &MultiplyArgs<DotProducts>) {
    // SAFETY: the contract of `MultiplyFn`: rows of C are only fetched; panels have the words of so many
    // blocks, in two tiles each; there is room for all sums.
    unsafe {
        for i in 0..t.rows {
            let row = t.c.wrapping_offset(i as isize * t.c_row);
            prefetch(row);
            prefetch(row.wrapping_add(TILE));
        }
        for first in (0..SIDE).step_by(ROWS) {
            // Sixteen rows to a tile of A.
            let (tile, row) = (first / TILE, first % TILE);
            let mut a = t.a.add(tile * TILE_WORDS + row * TILE);
            let mut b = t.b;
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            for _ in 0..t.blocks {
                for pair in 0..TILE {
                    let cols: [__m512bh; 2] = [
                        b.add(pair * TILE).cast::<__m512bh>().read_unaligned(),
                        b.add(TILE_WORDS + pair * TILE)
                            .cast::<__m512bh>()
                            .read_unaligned(),
                    ];
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let pair = _mm512_set1_epi32((*a.add(i * TILE + pair)).cast_signed());
                        let pair = (&raw const pair).cast::<__m512bh>().read();
                        sums[0] = _mm512_dpbf16_ps(sums[0], pair, cols[0]);
                        sums[1] = _mm512_dpbf16_ps(sums[1], pair, cols[1]);
                    }
                }
                a = a.wrapping_add(PART_WORDS);
                b = b.wrapping_add(PART_WORDS);
            }
            for (i, sums) in sums.into_iter().enumerate() {
                let to = t.sums.add((first + i) * SIDE);
                _mm512_storeu_ps(to, sums[0]);
                _mm512_storeu_ps(to.add(TILE), sums[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn sums_are_those_of_the_pairs() {
        if !Isa::Avx512Bf16.is_supported() {
            eprintln!("skipped: no AVX512-BF16");
            return;
        }
        const BLOCKS: usize = 3;
        // Whole numbers, whose sums are exact: 8 bits of significand, 2 x 16 x 3 products.
        let number = |seed: usize| (seed * 7919 % 255) as f32 - 127.0;
        let half = |x: f32| x.to_bits() >> 16;
        let words = |seed: usize| -> Vec<u32> {
            (0..BLOCKS * PART_WORDS)
                .map(|i| half(number(2 * i + seed)) | half(number(2 * i + seed + 1)) << 16)
                .collect()
        };
        let (a, b) = (words(3), words(14));
        let mut sums = vec![f32::NAN; SIDE * SIDE];
        let args = MultiplyArgs {
            unit: &mut DotProducts,
            a: a.as_ptr(),
            b: b.as_ptr(),
            blocks: BLOCKS,
            sums: sums.as_mut_ptr(),
            c: std::ptr::null(),
            c_row: 0,
            rows: 0,
        };
        // SAFETY: the CPU has the instruction; panels and sums have their whole lengths.
        unsafe { multiply(&args) };
        let product = |x: u32, y: u32| f32::from_bits(x << 16) * f32::from_bits(y << 16);
        for i in 0..SIDE {
            for j in 0..SIDE {
                let mut expected = 0.0;
                for block in 0..BLOCKS {
                    for pair in 0..TILE {
                        let before = block * PART_WORDS;
                        let x = a[before + i / TILE * TILE_WORDS + i % TILE * TILE + pair];
                        let y = b[before + j / TILE * TILE_WORDS + pair * TILE + j % TILE];
                        expected += product(x & 0xffff, y & 0xffff) + product(x >> 16, y >> 16);
                    }
                }
                assert_eq!(sums[i * SIDE + j], expected, "{i}, {j}");
            }
        }
    }
}
