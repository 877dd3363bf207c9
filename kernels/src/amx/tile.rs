//! Eight tiles of 16 rows of 64 bytes, and the product of two of them.
//!
//! ```text
//! C: 16 x 16 f32    A: 16 rows, 16 pairs of bf16 each    B: 16 rows, one pair for each of 16 columns
//! C(i, j) += sum_r A(i, r).0 B(r, j).0 + A(i, r).1 B(r, j).1
//! ```
//!
//! Which two steps of the depth make a pair is free, as long as A and B agree. The first numbers of the
//! pairs are summed apart from the second ones, each in a chain of 16 fused multiply-adds that starts from
//! zero; the sum of both chains is added to C. Denormal operands count as zero, denormal results become
//! zero, and all is rounded to nearest, whatever MXCSR says (Intel SDM, TDPBF16PS).
//!
//! The instructions are inline assembly, since the intrinsics are not stable. The compiler never uses tiles
//! itself, so what one statement leaves in them is there for the next.

use std::marker::PhantomData;

use super::permission;

/// 32-bit words of a tile.
pub(crate) const TILE_WORDS: usize = 256;
/// Bytes of a row of a tile.
const ROW_BYTES: usize = 64;
/// Alignment of tiles in memory: a load that crosses cache lines takes twice as long.
pub(crate) const TILE_ALIGN: usize = 64;

/// The operations of the matrix unit on its tiles, numbered 0 to 7.
pub(crate) trait TileUnit {
    /// `T <- 0`
    fn zero<const T: usize>(&mut self);

    /// `T <-` the 256 words at `from`, row by row.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn load<const T: usize>(&mut self, from: *const u32);

    /// Writes the rows of T as 16 `f32` each, `row` elements apart.
    ///
    /// # Safety
    /// They can be written.
    unsafe fn store<const T: usize>(&self, to: *mut f32, row: usize);

    /// `C <- C + A B`, tiles by number.
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// The tiles of this thread, configured for as long as the value lives.
///
/// There is one at a time on a thread, which does not hand over to other work meanwhile: what else runs
/// there may want a configuration of its own.
#[derive(Debug)]
pub(crate) struct Amx {
    /// Tiles belong to a thread.
    _thread: PhantomData<*mut ()>,
}

#[cfg(target_arch = "x86_64")]
mod instructions {
    use std::arch::asm;
    use std::marker::PhantomData;

    use super::{Amx, ROW_BYTES, TileUnit, permission};

    /// What `ldtilecfg` reads.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    static ALL_WHOLE: Configuration = Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    impl Amx {
        /// Configures the tiles of this thread; `None` where the unit is absent or was refused.
        pub(crate) fn configure() -> Option<Self> {
            if !permission::is_granted() {
                return None;
            }
            // SAFETY: the CPU has the instruction, the system saves its state, and the configuration is
            // one that the CPU offers: `is_granted` has asked all three.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const ALL_WHOLE, options(nostack, readonly));
            }
            Some(Self {
                _thread: PhantomData,
            })
        }
    }

    impl Drop for Amx {
        fn drop(&mut self) {
            // SAFETY: the value exists, so this thread can. Back to the state in which threads start,
            // in which nothing of tiles has to be saved.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }

    impl TileUnit for Amx {
        #[inline(always)]
        fn zero<const T: usize>(&mut self) {
            // SAFETY: the value exists, so the tiles are configured; no memory is touched.
            unsafe { asm!("tilezero tmm{}", const T, options(nostack, nomem)) }
        }

        #[inline(always)]
        unsafe fn load<const T: usize>(&mut self, from: *const u32) {
            // SAFETY: as above; the caller vouches for the memory.
            unsafe {
                asm!(
                    "tileloadd tmm{}, [{} + {}*1]", const T, in(reg) from, in(reg) ROW_BYTES,
                    options(nostack, readonly),
                );
            }
        }

        #[inline(always)]
        unsafe fn store<const T: usize>(&self, to: *mut f32, row: usize) {
            // SAFETY: as above; the caller vouches for the memory.
            unsafe {
                asm!(
                    "tilestored [{} + {}*1], tmm{}",
                    in(reg) to, in(reg) row * size_of::<f32>(), const T,
                    options(nostack),
                );
            }
        }

        #[inline(always)]
        fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
            // SAFETY: as for `zero`.
            unsafe {
                asm!(
                    "tdpbf16ps tmm{}, tmm{}, tmm{}", const C, const A, const B,
                    options(nostack, nomem),
                );
            }
        }
    }
}

/// No other CPU has the unit, so none of these is ever called.
#[cfg(not(target_arch = "x86_64"))]
mod instructions {
    use super::{Amx, TileUnit, permission};

    impl Amx {
        pub(crate) fn configure() -> Option<Self> {
            debug_assert!(!permission::is_granted());
            None
        }

        fn absent(&self) -> ! {
            unreachable!("a value of this type is made by no one")
        }
    }

    impl TileUnit for Amx {
        fn zero<const T: usize>(&mut self) {
            self.absent()
        }

        unsafe fn load<const T: usize>(&mut self, _: *const u32) {
            self.absent()
        }

        unsafe fn store<const T: usize>(&self, _: *mut f32, _: usize) {
            self.absent()
        }

        fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
            self.absent()
        }
    }
}
