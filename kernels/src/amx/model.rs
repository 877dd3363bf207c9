//! The arithmetic of the tiles in plain Rust, bit for bit: for tests on machines without them.

use super::tile::{TILE_WORDS, TileUnit};

/// Rows of a tile, pairs of a row, and columns of a result.
const SIDE: usize = 16;

/// Biased exponent below which no product of two bf16 numbers, nor any sum of such, is denormal when it
/// is the sum of both exponents: products are multiples of 2^-14 of their power of two, and -126 is the
/// lowest exponent of normal numbers.
const NO_UNDERFLOW: u32 = 2 * 127 - 126 + 16;
/// Biased exponents up to which no sum of products overflows.
const NO_OVERFLOW: u32 = 2 * 127 + 120;

/// Eight tiles.
pub(crate) struct Model {
    tiles: Box<[[u32; TILE_WORDS]; 8]>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            tiles: Box::new([[0; TILE_WORDS]; 8]),
        }
    }
}

impl TileUnit for Model {
    #[inline(always)]
    fn zero<const T: usize>(&mut self) {
        self.tiles[T] = [0; TILE_WORDS];
    }

    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u32) {
        // SAFETY: the caller vouches for the words; a `u32` has no invalid values.
        self.tiles[T] = unsafe { *from.cast() };
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(&self, to: *mut f32, row: usize) {
        for (i, words) in self.tiles[T].chunks_exact(SIDE).enumerate() {
            for (j, &word) in words.iter().enumerate() {
                // SAFETY: the caller vouches for the rows.
                unsafe { *to.add(i * row + j) = f32::from_bits(word) };
            }
        }
    }

    #[inline(always)]
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        let (a, b) = (self.tiles[A], self.tiles[B]);
        let c = &mut self.tiles[C];
        let (a_low, a_high) = exponents(&a);
        let (b_low, b_high) = exponents(&b);
        if a_low + b_low >= NO_UNDERFLOW && a_high + b_high <= NO_OVERFLOW {
            multiply(c, &a, &b, |a, b, sum| a * b + sum);
        } else {
            multiply(c, &a, &b, |a, b, sum| flush(a.mul_add(b, sum)));
        }
    }
}

/// `c += a b`, with the given `(a, b, sum) -> a b + sum`
#[inline(always)]
fn multiply(
    c: &mut [u32; TILE_WORDS],
    a: &[u32; TILE_WORDS],
    b: &[u32; TILE_WORDS],
    mul_add: impl Fn(f32, f32, f32) -> f32,
) {
    for (c, a) in c.chunks_exact_mut(SIDE).zip(a.chunks_exact(SIDE)) {
        let (mut first, mut second) = ([0.0; SIDE], [0.0; SIDE]);
        for (&pair, b) in a.iter().zip(b.chunks_exact(SIDE)) {
            let (x, y) = halves(pair);
            for ((first, second), &b) in first.iter_mut().zip(&mut second).zip(b) {
                let (u, v) = halves(b);
                *first = mul_add(x, u, *first);
                *second = mul_add(y, v, *second);
            }
        }
        for ((first, second), c) in first.iter().zip(&second).zip(c) {
            let sum = flush(first + second);
            *c = flush(flush(f32::from_bits(*c)) + sum).to_bits();
        }
    }
}

/// The two numbers of a pair; denormal ones are zero.
#[inline(always)]
fn halves(pair: u32) -> (f32, f32) {
    (
        flush(f32::from_bits(pair << 16)),
        flush(f32::from_bits(pair & 0xffff_0000)),
    )
}

/// Zero, with its sign, in the place of a denormal number.
#[inline(always)]
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE {
        0.0_f32.copysign(x)
    } else {
        x
    }
}

/// The lowest biased exponent of what is not zero, and the highest of all.
#[inline(always)]
fn exponents(pairs: &[u32; TILE_WORDS]) -> (u32, u32) {
    let (mut low, mut high) = (u32::MAX, 0);
    for &pair in pairs {
        for number in [pair << 16, pair & 0xffff_0000] {
            let magnitude = number & 0x7fff_ffff;
            // Zero becomes the largest number.
            low = low.min(magnitude.wrapping_sub(1));
            high = high.max(magnitude);
        }
    }
    (low >> 23, high >> 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(x: f32, y: f32) -> u32 {
        x.to_bits() >> 16 | y.to_bits() & 0xffff_0000
    }

    /// `A B` of one row and one column, from pairs of numbers.
    fn product(a: [[f32; 2]; 3], b: [[f32; 2]; 3]) -> f32 {
        let mut words = [[0; TILE_WORDS]; 2];
        for (r, (a, b)) in a.into_iter().zip(b).enumerate() {
            words[0][r] = pair(a[0], a[1]);
            words[1][r * SIDE] = pair(b[0], b[1]);
        }
        let (mut model, mut out) = (Model::new(), [f32::NAN; TILE_WORDS]);
        model.zero::<0>();
        // SAFETY: each array has the words of a tile.
        unsafe {
            model.load::<1>(words[0].as_ptr());
            model.load::<2>(words[1].as_ptr());
            model.multiply::<0, 1, 2>();
            model.store::<0>(out.as_mut_ptr(), SIDE);
        }
        let is_finite = a.iter().flatten().all(|x| x.is_finite());
        assert!(!is_finite || out[1..].iter().all(|&x| x == 0.0));
        out[0]
    }

    #[test]
    fn pairs_are_multiplied_and_summed_apart() {
        let sum = product(
            [[1.0, 2.0], [3.0, 4.0], [0.0, 0.5]],
            [[1.0, 1.0], [10.0, 100.0], [7.0, 8.0]],
        );
        assert_eq!(sum, 437.0);
        // 2^24 + 1 - 2^24 is lost in one chain, and not in two.
        let big = 16_777_216.0;
        let ones = [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]];
        assert_eq!(product([[big, 1.0], [-big, 0.0], [0.0; 2]], ones), 1.0);
        assert_eq!(product([[big, 0.0], [1.0, 0.0], [-big, 0.0]], ones), 0.0);
    }

    #[test]
    fn denormal_numbers_are_zero() {
        let tiny = f32::from_bits(0x0001_0000);
        assert_eq!(product([[tiny, 0.0]; 3], [[1e30, 0.0]; 3]), 0.0);
        let small = 2.0_f32.powi(-100);
        assert_eq!(product([[small, 0.0]; 3], [[small, 0.0]; 3]), 0.0);
        assert_eq!(product([[-small, 0.0]; 3], [[1.0, 0.0]; 3]), -3.0 * small);
    }

    #[test]
    fn infinity_and_nan_pass() {
        let infinite = product([[f32::INFINITY, 0.0]; 3], [[1.0, 0.0]; 3]);
        assert_eq!(infinite, f32::INFINITY);
        assert!(product([[f32::INFINITY, 1.0]; 3], [[0.0, 1.0]; 3]).is_nan());
    }
}
