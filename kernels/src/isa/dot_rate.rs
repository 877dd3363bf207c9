//! Which CPUs compute dot products of bf16 pairs at the full rate of their registers.

/// Maker and family of CPUs whose `vdpbf16ps` of 512 bits takes no longer than a multiply-add of f32, so that
/// it does twice the work: AMD's Zen 4 (the Zen 3 of the same family has no AVX-512) and Zen 5. On Sapphire
/// Rapids it does half the work of f32 multiply-adds: 114 to 118 GFLOP/s where they reach 235.
const FULL: [(&[u8; 12], u32); 2] = [(AMD, 0x19), (AMD, 0x1A)];
const AMD: &[u8; 12] = b"AuthenticAMD";

/// Whether this CPU is one of them.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_full() -> bool {
    use std::arch::x86_64::__cpuid;
    let maker = __cpuid(0);
    let mut name = [0; 12];
    for (part, register) in name
        .chunks_exact_mut(4)
        .zip([maker.ebx, maker.edx, maker.ecx])
    {
        part.copy_from_slice(&register.to_le_bytes());
    }
    FULL.contains(&(&name, family(__cpuid(1).eax)))
}

/// No other CPU has the instruction.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_full() -> bool {
    false
}

/// The family in the signature that leaf 1 gives (AMD64 Architecture Programmer's Manual, volume 3, E.3.2).
#[cfg(target_arch = "x86_64")]
fn family(signature: u32) -> u32 {
    let base = signature >> 8 & 0xf;
    if base == 0xf {
        base + (signature >> 20 & 0xff)
    } else {
        base
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_from_signatures() {
        // EPYC 7763, EPYC 9654, EPYC 9755, Xeon Platinum 8480+.
        for (signature, expected) in [
            (0x00a0_0f11, 0x19),
            (0x00a1_0f11, 0x19),
            (0x00b0_0f21, 0x1a),
            (0x0008_06f8, 0x6),
        ] {
            assert_eq!(family(signature), expected);
        }
    }
}
