//! Other libraries that multiply matrices, each behind its own safe interface.
//!
//! A library whose only doors are unsafe functions is here through one that wraps it: matrixmultiply
//! through ndarray, gemm through a crate that does nothing else (`bench-harness/peers/gemm`).

#[cfg(feature = "peers")]
mod faer;
#[cfg(feature = "peers")]
mod gemm;
#[cfg(feature = "peers")]
mod gemmkit;
mod matrixmultiply;

use crate::operands::Operands;

/// A library that multiplies matrices.
pub(crate) trait Multiply {
    /// Its name on crates.io.
    fn name(&self) -> &'static str;

    /// How many threads it uses.
    fn threads(&self) -> usize;

    /// `C = A B`; C is m x n, row-major.
    fn multiply(&mut self, operands: &Operands, c: &mut [f32]);
}

/// All peers of this build, on at most `threads` threads.
pub(crate) fn all(threads: usize) -> Vec<Box<dyn Multiply>> {
    #[cfg(not(feature = "peers"))]
    let _ = threads;
    vec![
        Box::new(matrixmultiply::MatrixMultiply),
        #[cfg(feature = "peers")]
        Box::new(gemm::GemmCrate { threads }),
        #[cfg(feature = "peers")]
        Box::new(gemmkit::GemmKit { threads }),
        #[cfg(feature = "peers")]
        Box::new(faer::Faer { threads }),
    ]
}

/// `name` and the version of it that this program was built with, as the lock file says.
pub(crate) fn with_version(name: &str) -> String {
    const LOCK: &str = include_str!("../../../Cargo.lock");
    let version = LOCK
        .split("[[package]]")
        .find(|package| package.contains(&format!("\nname = \"{name}\"\n")))
        .and_then(|package| package.split_once("\nversion = \"")?.1.split_once('"'))
        .map_or("?", |(version, _)| version);
    format!("{name} {version}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Op;

    #[test]
    fn every_peer_multiplies() {
        for op in [Op::Nn, Op::Nt, Op::Tn] {
            for (m, n, k) in [(1, 1, 1), (2, 3, 4), (33, 17, 65)] {
                let operands = Operands::random(m, n, k, op);
                for mut peer in all(2) {
                    let mut c = vec![f32::NAN; m * n];
                    peer.multiply(&operands, &mut c);
                    assert_eq!(operands.check(&c), Ok(()), "{} {op}", peer.name());
                }
            }
        }
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        for peer in all(1) {
            let text = with_version(peer.name());
            assert!(
                text.starts_with(peer.name()) && !text.ends_with('?'),
                "{text}"
            );
        }
        assert_eq!(with_version("no-such-package"), "no-such-package ?");
    }
}
