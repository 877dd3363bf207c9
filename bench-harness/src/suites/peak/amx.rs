//! The matrix unit of x86-64 (Intel AMX): whether this process may use one.

use std::fs;

use kernels::Isa;
use serde::Serialize;

/// Flags of Linux for tiles, and for products of bf16 numbers in them.
const FLAGS: [&str; 2] = ["amx_tile", "amx_bf16"];

/// What the sheet says of the unit.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Amx {
    /// `present` or `absent`.
    pub(super) state: &'static str,
    pub(super) reason: &'static str,
}

/// That of this machine.
pub(super) fn amx() -> Amx {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok();
    of(Isa::Amx.is_supported(), cpuinfo.as_deref())
}

/// Whether there are kernels for it here, and why not, by what a `/proc/cpuinfo` says.
fn of(is_supported: bool, cpuinfo: Option<&str>) -> Amx {
    if is_supported {
        let reason = "the CPU has tiles of bf16 numbers, and the system grants them";
        return Amx {
            state: "present",
            reason,
        };
    }
    let flags = cpuinfo.and_then(|text| text.lines().find(|line| line.starts_with("flags")));
    let reason = match flags {
        None => "the system lists no flags of an x86-64 CPU",
        Some(flags) => {
            let has = |flag: &&str| flags.split_whitespace().any(|word| word == *flag);
            if FLAGS.iter().all(has) {
                "the system does not grant it to this process"
            } else {
                "the CPU does not list both amx_tile and amx_bf16"
            }
        }
    };
    Amx {
        state: "absent",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_there_if_it_is_granted() {
        let tiles = "processor: 0\nflags\t: amx_bf16 avx2 amx_tile\n";
        assert_eq!(of(true, Some(tiles)).state, "present");
        let reason = |cpuinfo| {
            let amx = of(false, cpuinfo);
            assert_eq!(amx.state, "absent");
            amx.reason
        };
        assert!(reason(None).contains("no flags"));
        assert!(reason(Some("flags\t: amx_tile avx2\n")).contains("does not list"));
        assert!(reason(Some(tiles)).contains("does not grant"));
    }
}
