//! Whether this process may use the tiles: the CPU has them, and Linux grants them.
//!
//! Linux saves the 8 KiB of tiles of a thread in signal frames and at context switches only for processes
//! that have asked (`arch_prctl`, Documentation/arch/x86/xstate.rst). Asked once, it holds for all threads,
//! those that already run included. Where it refuses, and on other systems, the unit counts as absent.

/// The variable by which a test refuses the permission, and its value.
const VARIABLE: &str = "KERNELS_TILES";
const REFUSED: &str = "refused";

/// Whether bf16 products of tiles can be computed; found out, and asked, at the first call.
pub(crate) fn is_granted() -> bool {
    use std::sync::OnceLock;
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let refused = std::env::var_os(VARIABLE).is_some_and(|word| word == REFUSED);
        decide(system::cpu_has_tiles(), || !refused && system::request())
    })
}

/// The system is asked only where the CPU has the unit.
fn decide(cpu_has_tiles: bool, request: impl FnOnce() -> bool) -> bool {
    cpu_has_tiles && request()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod system {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    const FEATURES: u32 = 7;
    const TILE_INFORMATION: u32 = 0x1D;
    const MULTIPLY_INFORMATION: u32 = 0x1E;
    /// Bits of leaf 7, register EDX: AMX-BF16 and AMX-TILE.
    const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
    /// Bit of leaf 1, register ECX: the system uses XSAVE, so that XCR0 can be read.
    const OSXSAVE: u32 = 1 << 27;
    /// Bits of XCR0: the system saves the configuration and the data of tiles.
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    /// The palette of eight tiles, of which each row has 64 bytes.
    const PALETTE: u32 = 1;

    const SYS_ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_TILE_DATA: usize = 18;

    /// Whether the CPU multiplies tiles of bf16 of the size that the kernels are written for, and the
    /// system saves them.
    pub(super) fn cpu_has_tiles() -> bool {
        let highest = __cpuid(0).eax;
        if highest < MULTIPLY_INFORMATION || __cpuid(1).ecx & OSXSAVE == 0 {
            return false;
        }
        if __cpuid_count(FEATURES, 0).edx & BF16_AND_TILE != BF16_AND_TILE {
            return false;
        }
        // SAFETY: OSXSAVE says that there is XGETBV, and register 0 always exists.
        if unsafe { _xgetbv(0) } & TILE_STATE != TILE_STATE {
            return false;
        }
        let tile = __cpuid_count(TILE_INFORMATION, PALETTE);
        let (tile_bytes, row_bytes) = (tile.eax >> 16, tile.ebx & 0xffff);
        let (tiles, rows) = (tile.ebx >> 16, tile.ecx & 0xffff);
        let multiply = __cpuid_count(MULTIPLY_INFORMATION, 0).ebx;
        let (depth, width_bytes) = (multiply & 0xff, multiply >> 8 & 0xffff);
        tile_bytes >= 1024
            && row_bytes >= 64
            && tiles >= 8
            && rows >= 16
            && depth >= 16
            && width_bytes >= 64
    }

    /// Asks Linux for this process; another answer than 0 is a refusal.
    pub(super) fn request() -> bool {
        let answer: isize;
        // SAFETY: the call reads and writes no memory of ours; the kernel overwrites rcx and r11 and keeps
        // all other registers.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") SYS_ARCH_PRCTL => answer,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        answer == 0
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod system {
    pub(super) fn cpu_has_tiles() -> bool {
        false
    }

    pub(super) fn request() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_as_good_as_no_unit() {
        assert!(decide(true, || true));
        assert!(!decide(true, || false));
        assert!(!decide(false, || unreachable!(
            "nothing is asked for in vain"
        )));
    }

    #[test]
    fn the_answer_does_not_change() {
        assert_eq!(is_granted(), is_granted());
        assert!(!is_granted() || system::cpu_has_tiles());
    }
}
