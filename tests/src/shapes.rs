//! Sizes at which a blocked algorithm changes its path.

use crate::values::Values;

/// Largest size of the small shapes.
const SMALL: usize = 20;

/// Sizes at which some loop of a GEMM may begin a new block: register tiles, vectors and pairs of
/// vectors, cache blocks of m and k. What a kernel really uses is its own affair; multiples of 16
/// and their halves up to the largest block cover it.
pub const BLOCKS: [usize; 14] = [4, 6, 8, 12, 14, 16, 24, 32, 48, 64, 128, 144, 256, 384];

/// Larger sizes, at which a cache block of n or k, or a switch to another path, may lie.
pub const LARGE_BLOCKS: [usize; 4] = [512, 768, 1024, 1536];

/// `b - 1, b, b + 1`
pub fn around(block: usize) -> [usize; 3] {
    [block - 1, block, block + 1]
}

/// All shapes (m, n, k) with two sizes of 0, 1 or 2 and a third up to 20, and `sampled` others with
/// all three up to 20.
pub fn small_shapes(sampled: usize, seed: u64) -> Vec<[usize; 3]> {
    let mut shapes = Vec::new();
    for long in 0..=SMALL {
        for (x, y) in (0..=2).flat_map(|x| (0..=2).map(move |y| (x, y))) {
            shapes.extend([[long, x, y], [x, long, y], [x, y, long]]);
        }
    }
    let mut values = Values::new(seed);
    shapes.extend((0..sampled).map(|_| [0; 3].map(|_| values.below(SMALL + 1))));
    shapes
}

/// For each block one shape per side that lies around it, the other sides small and odd, and for
/// each of -1, 0, +1 a shape with all sides around blocks of the same rank.
pub fn block_shapes(blocks: &[usize]) -> Vec<[usize; 3]> {
    let mut shapes = Vec::new();
    for (i, &block) in blocks.iter().enumerate() {
        for size in around(block) {
            shapes.extend([[size, 17, 9], [7, size, 33], [13, 19, size], [1, 5, size]]);
            shapes.extend([[size, 1, 35], [2, size, 1]]);
        }
        // Sides that leave their blocks at the same time.
        let other = blocks[(i + blocks.len() / 2) % blocks.len()];
        for (x, y) in around(block).into_iter().zip(around(other)) {
            if x * x * y < 1 << 22 {
                shapes.extend([[x, x, y], [x, y, x], [y, x, x]]);
            }
        }
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_meets_every_block_and_its_neighbours() {
        let shapes = block_shapes(&BLOCKS);
        for side in 0..3 {
            for size in BLOCKS.into_iter().flat_map(around) {
                assert!(shapes.iter().any(|s| s[side] == size), "{side}: {size}");
            }
        }
    }

    #[test]
    fn small_shapes_hold_the_empty_and_the_single() {
        let shapes = small_shapes(100, 1);
        for shape in [[0, 0, 0], [1, 1, 1], [0, 2, 20], [20, 0, 1], [2, 20, 0]] {
            assert!(shapes.contains(&shape), "{shape:?}");
        }
        assert!(shapes.iter().any(|s| s.iter().all(|&x| x > 10)));
    }
}
