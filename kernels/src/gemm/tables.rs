//! Which micro-kernels an instruction set has: one family per number of registers across.
//!
//! A tile of `mr` rows and `nv` registers needs `mr * nv` accumulators, `nv` registers for a row of
//! B and one for the broadcast of A. The families below are as high as the register file allows:
//! 32 registers for AVX-512 and NEON, 16 for AVX2 and plain SSE2.

use super::amx_kernel::AmxKit;
use super::dot::{DotFn, dot_fn};
use super::finish::{Finish, FinishFn, FinishedTile, Finishing};
use super::microkernel::{Copying, TileFn, Variants, copying, variants};
use super::pack::{PackFn, pack_fn};
use super::partial::{AddFn, add_fn};
use super::row::{RowFn, row_fn};
use super::step::{Step, StepFn, StepOnTile};
use super::vector::{Lane, Level, Vector};
use crate::isa::Isa;
use crate::level;
use pulp::Simd;

/// All micro-kernels that are `nv` registers wide, by height: 1 row first.
pub(super) type Family<T> = &'static [Variants<T>];

/// What the driver needs to know of an instruction set for one element type.
#[derive(Debug)]
pub(super) struct Kit<T: 'static> {
    /// Elements in a register.
    pub(super) lanes: usize,
    /// The family that is `nv` registers wide stands at `nv - 1`; wider families are lower.
    pub(super) families: &'static [Family<T>],
    /// Those that pack B too: of the heights that the highest tiles of a C of eight panels and more have.
    copying: &'static [Copying<T>],
    /// Registers across of the tile for a C that is wide and high.
    pub(super) wide: usize,
    /// Packs one micro-panel.
    pub(super) pack: PackFn<T>,
    /// Products of few rows.
    pub(super) dot: DotFn<T>,
    /// One row times a matrix stored by rows.
    pub(super) row: RowFn<T>,
    /// Adds partial sums to C.
    pub(super) add: AddFn<T>,
}

impl<T> Kit<T> {
    /// The kernels of this size that pack B too, if there are some.
    pub(super) fn copying(&self, height: usize, registers: usize) -> Option<[TileFn<T>; 2]> {
        let mut sizes = self.copying.iter();
        let found = sizes.find(|(mr, nv, _)| (*mr, *nv) == (height, registers));
        found.map(|&(_, _, kernels)| kernels)
    }
}

/// The GEMM kernels of one instruction set.
#[derive(Debug)]
pub(crate) struct GemmKernels {
    pub(super) f32: Kit<f32>,
    pub(super) f64: Kit<f64>,
    /// Products of f32 as sums of bf16 products.
    pub(super) amx: AmxKit,
    /// Applies an epilogue to a tile.
    pub(super) finish: FinishFn,
    /// Updates the weights of a tile.
    pub(super) step: StepFn,
}

impl GemmKernels {
    /// The kernels of `isa`, which must be one the crate is compiled for.
    pub(crate) const fn of(isa: Isa) -> &'static Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => &AVX512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &AVX2,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &NEON,
            _ => &SCALAR,
        }
    }
}

/// Stamps the list of heights of one family.
macro_rules! family {
    ($level:ty, $elem:ty, $nv:literal: $($mr:literal)*) => {
        &[$(variants::<$level, $elem, $mr, $nv>()),*]
    };
}

/// Stamps the families for a register file of 32.
macro_rules! families_of_32 {
    ($level:ty, $elem:ty) => {
        &[
            family!($level, $elem, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            family!($level, $elem, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            family!($level, $elem, 3: 1 2 3 4 5 6 7 8),
            family!($level, $elem, 4: 1 2 3 4 5 6),
        ]
    };
}

/// Stamps a list of copying kernels, by height and width.
macro_rules! copying {
    ($level:ty, $elem:ty: $($mr:literal x $nv:literal)*) => {
        &[$(copying::<$level, $elem, $mr, $nv>()),*]
    };
}

/// Stamps the copying kernels for a register file of 32.
macro_rules! copying_of_32 {
    ($level:ty) => {
        copying!($level, f32: 13 x 2 14 x 2 8 x 3 6 x 4)
    };
}

/// Stamps the families of f64, which is no one's hot loop: fewer, so that the crate builds faster.
macro_rules! families_of_f64 {
    ($level:ty, 32) => {
        &[
            family!($level, f64, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            family!($level, f64, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        ]
    };
    ($level:ty, 16) => {
        &[family!($level, f64, 1: 1 2 3 4 5 6), family!($level, f64, 2: 1 2 3 4 5 6)]
    };
}

/// Stamps the families for a register file of 16.
macro_rules! families_of_16 {
    ($level:ty, $elem:ty) => {
        &[
            family!($level, $elem, 1: 1 2 3 4 5 6 7 8 9 10 11 12),
            family!($level, $elem, 2: 1 2 3 4 5 6),
            family!($level, $elem, 3: 1 2 3),
        ]
    };
}

/// Rows that a tile has at least which several others surround: with fewer, loads of B hold up the
/// multiply-adds. 4 x 24 on AVX2 took 1.5 times as long as 6 x 16.
pub(super) const HIGH: usize = 6;

/// The widest family of high tiles.
const fn widest<T>(families: &[Family<T>]) -> usize {
    let mut wide = families.len();
    while wide > 1 && families[wide - 1].len() < HIGH {
        wide -= 1;
    }
    wide
}

const fn kit<L: Level, T: Lane>(
    families: &'static [Family<T>],
    copying: &'static [Copying<T>],
) -> Kit<T> {
    Kit {
        lanes: <T::Of<L> as Vector>::LANES,
        families,
        copying,
        wide: widest(families),
        pack: pack_fn::<L, T>(),
        dot: dot_fn::<L, T>(),
        row: row_fn::<L, T>(),
        add: add_fn::<L, T>(),
    }
}

/// A [`FinishFn`] of one level.
///
/// # Safety
/// As [`FinishFn`].
unsafe fn finish<L: Level>(finishing: &Finishing<'_>, tile: &FinishedTile<f32>) {
    // SAFETY: the caller vouches for the CPU and for the tile.
    let (token, finish) = unsafe { (L::token(), Finish::new(finishing, tile)) };
    token.vectorize(finish);
}

/// A [`StepFn`] of one level.
///
/// # Safety
/// As [`StepFn`].
unsafe fn step<L: Level>(step: &Step, tile: &FinishedTile<f32>) {
    // SAFETY: the caller vouches for the CPU, the tile and the places.
    let (token, step) = unsafe { (L::token(), StepOnTile::new(step, tile)) };
    token.vectorize(step);
}

#[cfg(target_arch = "x86_64")]
static AVX512: GemmKernels = {
    use level::Avx512;
    GemmKernels {
        f32: kit::<Avx512, f32>(families_of_32!(Avx512, f32), copying_of_32!(Avx512)),
        f64: kit::<Avx512, f64>(families_of_f64!(Avx512, 32), &[]),
        amx: AmxKit {
            dot: Some(super::bf16_dot::multiply),
            ..AmxKit::of::<Avx512>()
        },
        finish: finish::<Avx512>,
        step: step::<Avx512>,
    }
};

#[cfg(target_arch = "x86_64")]
static AVX2: GemmKernels = {
    use level::Avx2;
    GemmKernels {
        f32: kit::<Avx2, f32>(families_of_16!(Avx2, f32), copying!(Avx2, f32: 6 x 2)),
        f64: kit::<Avx2, f64>(families_of_f64!(Avx2, 16), &[]),
        amx: AmxKit::of::<Avx2>(),
        finish: finish::<Avx2>,
        step: step::<Avx2>,
    }
};

#[cfg(target_arch = "aarch64")]
static NEON: GemmKernels = {
    use level::Neon;
    GemmKernels {
        f32: kit::<Neon, f32>(families_of_32!(Neon, f32), copying_of_32!(Neon)),
        f64: kit::<Neon, f64>(families_of_f64!(Neon, 32), &[]),
        amx: AmxKit::of::<Neon>(),
        finish: finish::<Neon>,
        step: step::<Neon>,
    }
};

static SCALAR: GemmKernels = GemmKernels {
    f32: kit::<level::Scalar, f32>(
        families_of_16!(level::Scalar, f32),
        copying!(level::Scalar, f32: 6 x 2),
    ),
    f64: kit::<level::Scalar, f64>(families_of_f64!(level::Scalar, 16), &[]),
    amx: AmxKit::of::<level::Scalar>(),
    finish: finish::<level::Scalar>,
    step: step::<level::Scalar>,
};
